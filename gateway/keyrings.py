"""The keyring of an installation: `open_keyring` gives the one that its database was sealed with, and no other.

A keyring that is lost must not be replaced by a new one unnoticed: every stored secret and every deployed version would be
unreadable, and the gateway would serve without them.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, exists, select

from backends.versions import service_deployments
from gateway.administrators import ADMINISTRATORS
from gateway.configuration.store import REVISIONS
from security.database import Database
from security.passwords import PURPOSE
from security.secrets import Keyring, SecretError
from specs.problems import ConfigurationError

_REMEDY = "restore it from a backup, or give its place by --keys"


def open_keyring(database: Database, path: Path, *, create: bool) -> Keyring:
    """The keyring in the file at *path*; *create* makes one there for a database that holds nothing yet.

    Raises ConfigurationError for a keyring that is missing, damaged, or not the one of *database*.
    """
    witness, sealed = database.read(_witness)
    if sealed and not path.exists():
        raise ConfigurationError("keys", f"there is no key file {path}, and the database was sealed with one", _REMEDY)
    keyring = Keyring.open(path, create=create)
    if witness is not None:
        try:
            keyring.ring("edge").decrypt(witness, PURPOSE)
        except SecretError:
            raise ConfigurationError("keys", f"{path} is not the keyring of this database", _REMEDY) from None
    return keyring


def _witness(connection: Connection) -> tuple[str | None, bool]:
    """A box that the right keyring opens, where there is one; and whether anything was ever sealed or signed."""
    # WHY: the first start makes an administrator, so an installation that ever served has this box.
    box = connection.execute(select(ADMINISTRATORS.c.password).limit(1)).scalar()
    used = select(exists().select_from(REVISIONS), exists().select_from(service_deployments))
    return box, box is not None or any(connection.execute(used).one())
