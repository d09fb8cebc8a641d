"""The verbs of `gatewright`, one file a group; and what most of them begin with: opening an installation.

Importing this costs nothing but typer: what a verb needs is imported when it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.configuration.document import Document
    from gateway.configuration.store import Store
    from security.database import Database
    from security.secrets import Keyring
    from specs.contract import Contract

KEYS_FILE = "keys.json"

Data = Annotated[
    Path, typer.Option("--data", envvar="GATEWRIGHT_DATA", help="Directory of the embedded database and the keyring.")
]
DatabaseUrl = Annotated[
    str,
    typer.Option("--database", envvar="GATEWRIGHT_DATABASE_URL", help="URL of the database, if not the embedded one."),
]
Keys = Annotated[
    Path | None, typer.Option("--keys", envvar="GATEWRIGHT_KEYS", help="File of the keyring, if not the one in --data.")
]
DEFAULT_DATA = Path("var")


@dataclass(frozen=True)
class Installation:
    """The database and the keyring of a gateway, opened; whether one runs meanwhile or not."""

    database: Database
    keyring: Keyring

    def store(self) -> Store:
        """Its configuration."""
        from gateway.configuration.store import Store

        return Store(self.database, self.keyring)

    def services(self) -> dict[str, Contract]:
        """The contracts of the services that are deployed in it, ours included, by name."""
        from gateway.preparation import deployments_of

        return deployments_of(self.database, self.keyring).contracts()


def key_file(data: Path, keys: Path | None) -> Path:
    """Where the keyring is."""
    return data / KEYS_FILE if keys is None else keys


@contextmanager
def open_installation(data: Path, database: str = "", keys: Path | None = None) -> Iterator[Installation]:
    """The installation that the common options name, made or migrated where need be, and closed at the end.

    Raises ConfigurationError for a database or keyring that cannot be used.
    """
    from sqlalchemy.exc import DBAPIError

    from gateway.keyrings import open_keyring
    from gateway.migrations import migrate
    from security.database import open_database
    from specs.problems import ConfigurationError

    opened = None
    try:
        try:
            opened = open_database(database or data)
            migrate(opened)
            keyring = open_keyring(opened, key_file(data, keys), create=keys is None)
        except DBAPIError as error:
            place = "the database" if database else f"the database in {data}"
            raise ConfigurationError("database", f"{place} cannot be used ({error.orig})", "restore a backup") from None
        yield Installation(opened, keyring)
    finally:
        if opened is not None:
            opened.close()


@contextmanager
def refusing(document: Document | None = None) -> Iterator[None]:
    """Turn what is refused into a line on stderr for each fault, with its place in *document*, and exit code 1."""
    from specs.problems import BackendError, ConfigurationError

    try:
        yield
    except ConfigurationError as error:
        for line in document.describe(error) if document is not None else str(error).splitlines():
            print(f"gatewright: {line}", file=sys.stderr)
        raise typer.Exit(1) from None
    except (BackendError, OSError) as error:
        print(f"gatewright: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
