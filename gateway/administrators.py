"""Administrators of an installation: who may use the admin API.

The first start makes one, with a random password that stands in a file only the owner can read; nothing is ever a default
(A46). Passwords are kept as every other: hashed, and the hash encrypted.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Column, Table, Text, func, select

from security.credentials import CredentialCache, Verifier
from security.database import Database, UtcDateTime, metadata, upsert
from security.passwords import HashingPool, PasswordHasher, PasswordUnusable
from security.secrets import Keyring
from specs.problems import ConfigurationError

ADMINISTRATORS = Table(
    "administrators",
    metadata,
    Column("name", Text, primary_key=True),
    Column("password", Text, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
)

FIRST_NAME = "admin"
PASSWORD_FILE = "admin-password"  # noqa: S105 - the name of a file
SHORTEST = 12


class Administrators:
    """The administrators of one database. *pool* hashes in threads, so that a login does not hold up others."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        pool: HashingPool | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._hasher = PasswordHasher(keyring.ring("edge"))
        self._pool = pool or HashingPool()
        self._verifier = Verifier(self._hasher, self._pool, CredentialCache(size=100, ttl=300.0))
        self._clock = clock

    def verify(self, name: str, password: str) -> bool:
        """Whether *password* is the one of administrator *name*. Raises Problem ``overloaded``."""
        statement = select(ADMINISTRATORS.c.password).where(ADMINISTRATORS.c.name == name)
        # WHY: nobody is called so, and PostgreSQL would not even look.
        stored = (
            None if "\0" in name else self._database.read(lambda connection: connection.execute(statement).scalar())
        )
        return bool(self._verifier.verify("administrators", name, password, stored))

    def set_password(self, name: str, password: str) -> None:
        """Make *password* the one of *name*, who need not exist yet. Raises ConfigurationError for one that is too short."""
        if len(password) < SHORTEST:
            raise ConfigurationError("password", f"a password has at least {SHORTEST} characters")
        try:
            stored = self._pool.run(lambda: self._hasher.hash(password))
        except PasswordUnusable as error:
            raise ConfigurationError("password", str(error)) from None
        now = self._clock()
        self._database.write(
            lambda connection: upsert(connection, ADMINISTRATORS, {"name": name}, {"password": stored, "made_at": now})
        )

    def ensure_first(self, data: Path) -> Path | None:
        """Make the first administrator, if there is none; the file with the name and the password, ``admin:...``.

        None where there are administrators already.
        """
        count = select(func.count()).select_from(ADMINISTRATORS)
        if self._database.read(lambda connection: connection.execute(count).scalar_one()):
            return None
        password = secrets.token_urlsafe(24)
        stored = self._pool.run(lambda: self._hasher.hash(password))
        row = {"name": FIRST_NAME, "password": stored, "made_at": self._clock()}
        path = data / PASSWORD_FILE
        # The file comes first: a password that is stored and written nowhere would lock everybody out.
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(f"{FIRST_NAME}:{password}\n")
            file.flush()
            os.fsync(file.fileno())

        def first(connection: object) -> bool:
            if connection.execute(count).scalar_one():  # type: ignore[attr-defined]
                return False
            connection.execute(ADMINISTRATORS.insert(), row)  # type: ignore[attr-defined]
            # WHY: here, where nobody else can be: of two that start at once the file is of the one whose password counts.
            with suppress(FileNotFoundError):  # in place, if this is tried again
                beside.replace(path)
            return True

        try:
            return path if self._database.write(first) else None
        finally:
            beside.unlink(missing_ok=True)
