"""The keyring of an installation: the one that its database was sealed with, and who uses which of its keys.

A keyring that is lost must not be replaced by a new one unnoticed: every stored secret and every deployed version would be
unreadable, and the gateway would serve without them.

Every process that serves notes in the database which keys it encrypts with and which it knows, so that no key is made active
that some machine lacks, and none retired that some machine still uses.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import Column, Connection, String, Table, delete, exists, select

from backends.clock import Clock, utc_now
from backends.versions import service_deployments
from gateway.administrators import ADMINISTRATORS
from gateway.configuration.store import REVISIONS
from security.database import Database, Json, UtcDateTime, metadata, upsert
from security.passwords import PURPOSE
from security.secrets import KeyMissing, Keyring, SecretError
from specs.problems import BackendUnavailable, ConfigurationError

log = logging.getLogger("gatewright.keys")

KEY_USERS = Table(
    "key_users",
    metadata,
    Column("process", String(200), primary_key=True),
    Column("machine", String(100), nullable=False),
    Column("rings", Json, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)
#: A process says so often that it is there, and is believed for so long after.
SAY_EVERY: Final = timedelta(seconds=20)
BELIEVED: Final = timedelta(seconds=60)
LOOK_EVERY: Final = 0.5
_REMEDY = "restore it from a backup, or give its place by --keys"


class Stop(Protocol):
    """An event that ends a task."""

    def wait(self, timeout: float) -> Any:
        """Wait for it; whether it is set."""


class User(NamedTuple):
    """A process that serves: by ring, the key that it encrypts with and those that it knows."""

    process: str
    machine: str
    rings: dict[str, dict[str, Any]]
    seen_at: datetime


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
        except KeyMissing as error:
            raise ConfigurationError(
                "keys",
                f"this database is under the key '{error.key_id}' of the ring '{error.ring}', which {path} does not have: "
                "it was retired after this copy of the database was made, or the file is not its keyring",
                "use the key file of that time, which `gatewright backup` keeps beside the database",
            ) from None
        except SecretError:
            raise ConfigurationError("keys", f"{path} is not the keyring of this database", _REMEDY) from None
    return keyring


class KeyUse:
    """Keeps the keys of a process that serves up to date, and tells the others which those are.

    *database* is asked for each time, so that one that is opened later will do.
    """

    def __init__(self, database: Database, keyring: Keyring, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._machine = socket.gethostname()[:100]
        self._process = f"{self._machine} {os.getpid()} {secrets.token_hex(4)}"
        self._said: tuple[dict[str, Any], datetime] | None = None

    def look(self) -> bool:
        """Follow the key file, and tell the database what is new or due; whether anything was told."""
        self._keyring.follow()
        now = self._clock()
        rings = {
            name: {"active": ring.active, "known": sorted(ring.keys)}
            for name in self._keyring.names
            for ring in [self._keyring.ring(name)]
        }
        if self._said is not None and self._said[0] == rings and now - self._said[1] < SAY_EVERY:
            return False
        values = {"machine": self._machine, "rings": rings, "seen_at": now}
        self._database.write(lambda connection: upsert(connection, KEY_USERS, {"process": self._process}, values))
        self._said = rings, now
        return True

    def leave(self) -> None:
        """Say that this process uses no key any more."""
        mine = delete(KEY_USERS).where(KEY_USERS.c.process == self._process)
        self._database.write(lambda connection: connection.execute(mine).rowcount)

    def run(self, stop: Stop) -> None:
        """Look until *stop* is set. A database that is away is told later."""
        while not stop.wait(LOOK_EVERY):
            try:
                self.look()
            except BackendUnavailable as error:
                log.warning("which keys this process uses cannot be told: %s", error)
            except Exception:
                log.exception("the keys could not be followed; tried again")
        try:
            self.leave()
        except Exception as error:
            log.warning("this process stays noted as a user of its keys for a minute: %s", error)


def users_of_keys(
    database: Database, *, clock: Clock = utc_now, alive: Callable[[int], bool] | None = None
) -> list[User]:
    """The processes that serve on *database*, as they have told within the last minute. *alive* tells of this machine's pids."""
    recent = select(KEY_USERS).where(KEY_USERS.c.seen_at > clock() - BELIEVED).order_by(KEY_USERS.c.process)
    found = database.read(lambda connection: [User(*row) for row in connection.execute(recent)])
    here = socket.gethostname()[:100]
    return [one for one in found if one.machine != here or (alive or _alive)(int(one.process.split()[-2]))]


def sweep_key_users(database: Database, now: datetime) -> int:
    """Forget processes that have not told anything for an hour; how many they were."""
    old = delete(KEY_USERS).where(KEY_USERS.c.seen_at < now - timedelta(hours=1))
    return database.write(lambda connection: connection.execute(old).rowcount)


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _witness(connection: Connection) -> tuple[str | None, bool]:
    """A box that the right keyring opens, where there is one; and whether anything was ever sealed or signed."""
    # WHY: the first start makes an administrator, so an installation that ever served has this box.
    box = connection.execute(select(ADMINISTRATORS.c.password).limit(1)).scalar()
    used = select(exists().select_from(REVISIONS), exists().select_from(service_deployments))
    return box, box is not None or any(connection.execute(used).one())
