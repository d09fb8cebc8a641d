"""The database as these rooms use it: transactions that write the audit come one after another.

Each of them appends to one chain, so only one can be right at a time. On PostgreSQL they would find that out when they
commit, and begin anew again and again; a lock that is taken first makes a queue of them. On SQLite there is one writer anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, text

from security.database import Database

T = TypeVar("T")
# WHY: PostgreSQL freezes what a serialisable transaction sees at its first query, and a lock is none: whoever has waited
# here sees what the one before has written.
_QUEUE = text("LOCK TABLE sso_audit_head IN EXCLUSIVE MODE")


class Storage:
    """Reads and writes as whole transactions, as `Database` does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queues = database.dialect == "postgresql"

    def read(self, work: Callable[[Connection], T]) -> T:
        """What *work* returns, from one transaction that can change nothing."""
        return self._database.read(work)

    def write(self, work: Callable[[Connection], T], *, audited: bool = True) -> T:
        """What *work* returns, from one transaction; *audited* tells that it appends to the audit."""
        if not (audited and self._queues):
            return self._database.write(work)

        def queued(connection: Connection) -> T:
            connection.execute(_QUEUE)
            return work(connection)

        return self._database.write(queued)
