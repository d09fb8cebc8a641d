"""`gatewright admin`, `backup`, `restore`, `doctor` and `version`: looking after an installation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, key_file, open_installation, refusing

admin = typer.Typer(help="The administrators of an installation.", no_args_is_help=True)

Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    app.command()(backup)
    app.command()(restore)
    app.command()(doctor)
    app.command("version")(print_version)
    app.callback()(_program)


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
    """Replace an administrator's password, or make an administrator. A password that was made is printed, once."""
    import secrets

    from gateway.administrators import FIRST_NAME, PASSWORD_FILE, Administrators
    from specs.problems import ConfigurationError

    with refusing():
        if not name or ":" in name or not name.isprintable():
            raise ConfigurationError("", f"an administrator cannot be called {name!r}", "names hold no colon")
        new = sys.stdin.readline().rstrip("\r\n") if password_stdin else secrets.token_urlsafe(24)
        with open_installation(data, database, keys) as installation:
            Administrators(installation.database, installation.keyring).set_password(name, new)
    if name == FIRST_NAME:
        # The file of the first start would only mislead from now on.
        (data / PASSWORD_FILE).unlink(missing_ok=True)
    if not password_stdin:
        print(new)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the archive goes, such as gatewright.tar.gz.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="Leave the keyring out; a restore needs it from elsewhere.")
    ] = False,
    force: Force = False,
) -> None:
    """Copy an embedded installation into one file, while it serves.

    The file holds the keyring too: who has it can read every secret of the installation.
    """
    from datetime import UTC, datetime

    from gateway.backup import backup as write
    from gateway.version import version
    from security.database import FILE_NAME, open_database
    from specs.problems import ConfigurationError

    with refusing():
        if database.startswith("postgres"):
            raise ConfigurationError("database", "a PostgreSQL database is not copied by this", "use pg_dump")
        if not database and not (data / FILE_NAME).is_file():
            raise ConfigurationError("data", f"there is no installation in {data}", "give its folder by --data")
        opened = open_database(database or data)
        try:
            ring = None if without_keys else key_file(data, keys)
            made = write(opened, ring, file, now=datetime.now(UTC), version=version(), replace=force)
        finally:
            opened.close()
    held = "with its keys: keep it as safe as those" if made.has_keys else "without its keys"
    print(f"{file}: revision {made.revision}, {held}")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An archive that `gatewright backup` wrote.")],
    data: Data = DEFAULT_DATA,
    force: Annotated[
        bool, typer.Option("--force", help="Where there is an installation already, move it to a folder below.")
    ] = False,
) -> None:
    """Make an embedded installation from a backup. The gateway must not run meanwhile."""
    from datetime import UTC, datetime

    from gateway.backup import restore as read

    with refusing():
        made = read(file, data, now=datetime.now(UTC), replace=force)
    print(f"{data}: revision {made.revision} as of {made.made_at}")
    if not made.has_keys:
        print(f"gatewright: the archive holds no keys: put the keyring at {key_file(data, None)}", file=sys.stderr)


def doctor(
    config: Annotated[
        Path | None, typer.Option(envvar="GATEWRIGHT_CONFIG", help="Document to check; else what was applied is.")
    ] = None,
    services: Annotated[
        Path | None, typer.Option(envvar="GATEWRIGHT_SERVICES", help="Folder of services to check.")
    ] = None,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    listen: Annotated[
        list[str] | None, typer.Option(envvar="GATEWRIGHT_LISTEN", help="HOST:PORT or unix:PATH; may be repeated.")
    ] = None,
    admin: Annotated[
        str, typer.Option(envvar="GATEWRIGHT_ADMIN", help="HOST:PORT of the admin listener.")
    ] = "127.0.0.1:8001",
    health: Annotated[str, typer.Option(envvar="GATEWRIGHT_HEALTH", help="HOST:PORT of a listener for probes.")] = "",
    tls_cert: Annotated[Path | None, typer.Option(envvar="GATEWRIGHT_TLS_CERT", help="Certificate, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar="GATEWRIGHT_TLS_KEY", help="Its private key, PEM.")] = None,
) -> None:
    """Check what `run` with the same options would meet, and say what to mend. Works beside a running gateway too."""
    import logging

    from gateway.doctor import WRONG, examine
    from gateway.options import Options

    # What is looked at logs what it meets, and would say it twice.
    logging.getLogger("gatewright").addHandler(logging.NullHandler())

    options = Options(
        config=config,
        services=services,
        data=data,
        database=database,
        keys=keys,
        listen=tuple(listen or ["127.0.0.1:8000"]),
        admin=admin,
        health=health,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
    wrong = 0
    for finding in examine(options):
        wrong += finding.grade == WRONG
        print(finding, flush=True)
    if wrong:
        print(f"gatewright: {wrong} {'thing is' if wrong == 1 else 'things are'} wrong", file=sys.stderr)
        raise typer.Exit(1)


def print_version() -> None:
    """Print the version of the program."""
    from gateway.version import version

    print(f"gatewright {version()}")


def _version(asked: bool) -> None:
    if asked:
        print_version()
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version of the program.")
    ] = False,
) -> None:
    """An API gateway with single sign-on, rate limiting and spec generation."""
