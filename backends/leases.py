"""Leases: one holder at a time, among all processes of an installation, as a fenced row.

A lease ends by itself after its time to live, so that a dead holder stops nobody for long. Its *token* grows with each change
of holder. A holder that was paused may believe too long that it still holds: work that must not be done twice calls
`Lease.guard` in the transaction that does it.

>>> import tempfile
>>> from security.database import metadata, open_database
>>> database = open_database(tempfile.mkdtemp())
>>> database.write(lambda connection: metadata.create_all(connection))
>>> first, second = Lease(database, "jobs", "a", ttl=15), Lease(database, "jobs", "b", ttl=15)
>>> first.hold(), second.hold()
(True, False)
>>> first.release(), second.hold()
(True, True)
>>> database.close()
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Column, Connection, String, Table, delete, insert, select, update

from backends.clock import LONG_AGO, Clock, utc_now
from security.database import Database, UtcDateTime, metadata
from specs.problems import BackendUnavailable

LONGEST_NAME = 250

leases = Table(
    "leases",
    metadata,
    Column("name", String(LONGEST_NAME), primary_key=True),
    Column("holder", String(LONGEST_NAME), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)


class LeaseLost(BackendUnavailable):
    """Somebody else holds the lease by now; what was to be done under it was not done."""


class Lease:
    """The right to be the only one, under *name*, for *ttl* seconds at a time. *holder* is unique in the installation.

    *margin* is the most, in seconds, that the clocks of two machines may differ by: the holder stops believing that much
    earlier than the others may take over.
    """

    def __init__(
        self, database: Database, name: str, holder: str, *, ttl: float, margin: float = 0.0, clock: Clock = utc_now
    ) -> None:
        if not name or len(name) > LONGEST_NAME:
            raise ValueError(f"the name of a lease or lock has 1 to {LONGEST_NAME} characters, not {len(name)}")
        if not 0 <= margin < ttl:
            raise ValueError("a lease lives longer than clocks differ")
        self.database = database
        self.name = name
        self.holder = holder
        self.ttl = timedelta(seconds=ttl)
        self.margin = timedelta(seconds=margin)
        self.clock = clock
        self.token: int | None = None
        self._expires_at = LONG_AGO

    @property
    def held(self) -> bool:
        """Whether we hold it, as far as we can know without asking."""
        return self.token is not None and self.clock() < self._expires_at - self.margin

    def acquire(self) -> int | None:
        """The token, where the lease was free or is ours already (which prolongs it); else None."""
        # WHY: the clock is read before the row is written: a slow write shortens what we believe, never lengthens it.
        now = self.clock()
        self._keep(self.database.write(lambda connection: self._acquire(connection, now)), now)
        return self.token

    def renew(self) -> bool:
        """Prolong what is held; False where it is lost, if only because its time ran out."""
        now = self.clock()
        token = self.token
        ours = update(leases).where(
            leases.c.name == self.name,
            leases.c.holder == self.holder,
            leases.c.token == token,
            leases.c.expires_at > now,
        )
        prolonged = token is not None and self.database.write(
            lambda connection: connection.execute(ours.values(expires_at=now + self.ttl)).rowcount
        )
        self._keep(token if prolonged else None, now)
        return bool(prolonged)

    def hold(self) -> bool:
        """Renew or acquire, whichever is due. Call it more often than the lease lives."""
        return (self.token is not None and self.renew()) or self.acquire() is not None

    def release(self) -> bool:
        """Let go, so that others need not wait; False where it was lost before."""
        now = self.clock()
        ours = update(leases).where(
            leases.c.name == self.name, leases.c.holder == self.holder, leases.c.token == self.token
        )
        released = self.token is not None and self.database.write(
            lambda connection: (
                connection.execute(
                    ours.where(leases.c.expires_at > now).values(holder="", expires_at=LONG_AGO)
                ).rowcount
            )
        )
        self._keep(None, now)
        return bool(released)

    def guard(self, connection: Connection) -> None:
        """Raise LeaseLost, and so undo the transaction of *connection*, unless its work is done under our lease.

        The row is locked until that transaction ends: nobody takes over in the middle of it.
        """
        row = connection.execute(
            select(leases.c.holder, leases.c.token).where(leases.c.name == self.name).with_for_update()
        ).one_or_none()
        if self.token is None or row is None or (row.holder, row.token) != (self.holder, self.token):
            raise LeaseLost(f"the lease '{self.name}' is no longer held by '{self.holder}'")

    def _acquire(self, connection: Connection, now: datetime) -> int | None:
        row = connection.execute(select(leases).where(leases.c.name == self.name)).one_or_none()
        free = {"holder": self.holder, "expires_at": now + self.ttl}
        if row is None:
            # WHY: rows that nobody uses are swept; tokens made from the moment go on growing all the same.
            token = int(now.timestamp() * 1e6)
            connection.execute(insert(leases).values(name=self.name, token=token, **free))
            return token
        if row.expires_at > now and row.holder != self.holder:
            return None
        still_ours = row.holder == self.holder and row.token == self.token and row.expires_at > now
        token = row.token if still_ours else max(row.token + 1, int(now.timestamp() * 1e6))
        connection.execute(update(leases).where(leases.c.name == self.name).values(token=token, **free))
        return int(token)

    def _keep(self, token: int | None, now: datetime) -> None:
        self.token = token
        self._expires_at = LONG_AGO if token is None else now + self.ttl


def sweep_leases(database: Database, now: datetime) -> int:
    """Delete the rows of leases and locks that ended more than a day ago; how many they were."""
    ended = delete(leases).where(leases.c.expires_at < now - timedelta(days=1), leases.c.holder != "")
    released = delete(leases).where(leases.c.holder == "", leases.c.token < int((now.timestamp() - 86400) * 1e6))
    return database.write(lambda connection: connection.execute(ended).rowcount + connection.execute(released).rowcount)
