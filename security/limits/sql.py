"""Buckets in the database, for long quotas that must survive everything: a reboot, a lost machine, a table laid out anew.

One transaction for the chain. The time of day counts, which a database knows over reboots; what was set back gives nothing away.
Kept to gcra and fixed windows. On SQLite a debit waits for the disk (0.3 to 8 ms): for quotas by the month.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeVar

from sqlalchemy import BigInteger, Column, Connection, LargeBinary, Table, delete, select
from sqlalchemy.exc import SQLAlchemyError

from security.database import Database, metadata, upsert
from security.limits import Charge, Decision, Store, StoreUnavailable
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


class SqlStore(Store):
    """The durable buckets of an installation. *wall* tells the time of day in nanoseconds."""

    def __init__(self, database: Database, *, wall: Callable[[], int] = time.time_ns) -> None:
        self._database = database
        self._wall = wall

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
        before = self._wall() - older_than_ns
        self._try(
            lambda: self._database.write(lambda c: c.execute(delete(BUCKETS).where(BUCKETS.c.until < before))) and None
        )

    def _run(self, charges: Sequence[Charge], work: Callable[[MemoryStore, int], Decision], *, write: bool) -> Decision:
        def transaction(connection: Connection) -> Decision:
            now = self._wall()
            memory = MemoryStore(wall=lambda: now)
            digests = {_digest(one): one.key for one in charges}
            statement = select(BUCKETS).where(BUCKETS.c.key.in_(digests))
            before = {row.key: (row.until, row.value) for row in connection.execute(statement)}
            for digest, (until, value) in before.items():
                memory.load(digests[digest], until, value)
            decision = work(memory, now)
            if write:
                for digest, key in digests.items():
                    after = memory.dump(key)
                    if after != before.get(digest, (0, 0)):
                        upsert(connection, BUCKETS, {"key": digest}, {"until": after[0], "value": after[1]})
            return decision

        run = self._database.write if write else self._database.read
        return self._try(lambda: run(transaction))

    def _try(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (BackendError, SQLAlchemyError) as error:
            raise StoreUnavailable(f"the database does not count: {type(error).__name__}") from error


def _digest(charge: Charge) -> bytes:
    # A54: the bucket's whole name, however long.
    return blake2b(charge.key, digest_size=16).digest()
