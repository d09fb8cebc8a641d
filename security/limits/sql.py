"""Buckets in the database, for long quotas that must survive everything: a reboot, a lost machine, a table laid out anew.

One transaction for the chain. Kept to gcra and fixed windows. On SQLite a debit waits for the disk (0.3 to 8 ms): for quotas by the
month.

**The time** is the machine's time of day when the store was first used after its start, and goes on from there with the clock that
nobody can set: the difference between the two stands beside the buckets, one for each start of each machine. So a clock that is
set while machines run changes nothing, for processes that start later neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

from sqlalchemy import BigInteger, Column, Connection, LargeBinary, Table, delete, select
from sqlalchemy.exc import SQLAlchemyError

from security.database import Database, metadata, upsert
from security.limits import GCRA, Charge, Decision, Store, StoreUnavailable
from security.limits.clocks import boot_id, up_ns
from security.limits.gcra import owed as gcra_owed
from security.limits.memory import MemoryStore
from specs.problems import BackendError

T = TypeVar("T")

BUCKETS = Table(
    "limit_buckets",
    metadata,
    Column("key", LargeBinary(16), primary_key=True),
    Column("until", BigInteger, nullable=False, index=True),  # nanoseconds since 1970: owes nothing after it
    Column("value", BigInteger, nullable=False),  # gcra: the interval; fixed-window: the hits
)


#: A start of a machine is remembered for so long: no machine runs longer without one.
_LONGEST_UP_NS = 30 * 365 * 86_400 * 1_000_000_000


class SqlStore(Store):
    """The durable buckets of an installation.

    *wall* tells the time of day in nanoseconds, *up* those since the machine was started, *boot* names that start.
    """

    def __init__(
        self,
        database: Database,
        *,
        wall: Callable[[], int] = time.time_ns,
        up: Callable[[], int] = up_ns,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self._database = database
        self._wall = wall
        self._up = up
        self._clock_key = blake2b(b"clock " + boot().encode(), digest_size=16).digest()
        #: What the time since the start lacks to the time that counts; None until the database has told.
        self._started: int | None = None

    def debit(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """Take from every bucket of *charges*, or from none, on the disk when this returns. Raises StoreUnavailable."""
        return self._run(charges, lambda memory, now: memory.debit(charges, now), write=True)

    def peek(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """What `debit` would say."""
        return self._run(charges, lambda memory, now: memory.peek(charges, now), write=False)

    def add(self, charges: Sequence[Charge], now_ns: int) -> None:
        """Charge afterwards, or give back what has a cost below nothing."""

        def work(memory: MemoryStore, now: int) -> Decision:
            memory.add(charges, now)
            return Decision((), (), ())

        self._run(charges, work, write=True)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Empty these buckets."""
        keys = [_digest(one) for one in charges]
        self._try(
            lambda: self._database.write(lambda c: c.execute(delete(BUCKETS).where(BUCKETS.c.key.in_(keys)))) and None
        )

    def sweep(self, older_than_ns: int = 86_400 * 1_000_000_000) -> None:
        """Forget buckets that have owed nothing for a day."""
        started = self._wall() - self._up() if self._started is None else self._started
        before = started + self._up() - older_than_ns
        self._try(
            lambda: self._database.write(lambda c: c.execute(delete(BUCKETS).where(BUCKETS.c.until < before))) and None
        )

    def _run(self, charges: Sequence[Charge], work: Callable[[MemoryStore, int], Decision], *, write: bool) -> Decision:
        def transaction(connection: Connection) -> tuple[Decision, int]:
            digests = {_digest(one): one for one in charges}
            wanted = [*digests, self._clock_key] if self._started is None else digests
            statement = select(BUCKETS).where(BUCKETS.c.key.in_(wanted))
            before = {row.key: (row.until, row.value) for row in connection.execute(statement)}
            started = self._begun(connection, before.pop(self._clock_key, None), write)
            now = started + self._up()
            memory = MemoryStore(wall=self._wall)
            for digest, (until, value) in before.items():
                memory.load(digests[digest].key, _believable(digests[digest], until, value, now), value)
            decision = work(memory, now)
            if write:
                for digest, one in digests.items():
                    after = memory.dump(one.key)
                    if after != before.get(digest, (0, 0)):
                        upsert(connection, BUCKETS, {"key": digest}, {"until": after[0], "value": after[1]})
            return decision, started

        run = self._database.write if write else self._database.read
        decision, started = self._try(lambda: run(transaction))
        if write:
            self._started = started
        return decision

    def _begun(self, connection: Connection, stored: tuple[int, int] | None, write: bool) -> int:
        """The time of day at which this machine was started, as whoever asked first after that start saw it."""
        if self._started is not None:
            return self._started
        if stored is not None:
            return stored[1]
        wall = self._wall()
        if write:
            values = {"until": wall + _LONGEST_UP_NS, "value": wall - self._up()}
            upsert(connection, BUCKETS, {"key": self._clock_key}, values)
            return values["value"]
        return wall - self._up()

    def _try(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (BackendError, SQLAlchemyError) as error:
            raise StoreUnavailable(f"the database does not count: {type(error).__name__}") from error


def _digest(charge: Charge) -> bytes:
    # A54: the bucket's whole name, however long.
    return blake2b(charge.key, digest_size=16).digest()


def _believable(charge: Charge, until: int, value: int, now: int) -> int:
    # A machine that starts with a clock far behind finds debts from its future. They are paid from now on, like any other.
    if charge.algorithm == GCRA and until > now:
        owed = gcra_owed(until, value, now, charge.interval_ns, charge.capacity_ns)
        return now + owed if value == charge.interval_ns else until
    return until
