"""`gatewright admin`, `backup`, `restore`, `doctor` and `completion`: looking after an installation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, open_installation, refusing

admin = typer.Typer(help="The administrators of an installation.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the program."""


@admin.callback()
def _admin() -> None:
    """The administrators of an installation."""


@admin.command()
def password(
    name: Annotated[str, typer.Argument(help="Whose password it is.")] = "admin",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the new password from standard input; else one is made.")
    ] = False,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Replace an administrator's password, or make an administrator."""
    import secrets

    from gateway.administrators import Administrators

    with refusing(), open_installation(data, database, keys) as installation:
        new = sys.stdin.readline().rstrip("\r\n") if password_stdin else secrets.token_urlsafe(24)
        Administrators(installation.database, installation.keyring).set_password(name, new)
        if not password_stdin:
            print(new)
        # The file of the first start would only mislead from now on.
        (data / "admin-password").unlink(missing_ok=True)


__all__ = ["Path", "add_to", "admin"]
