"""The database as these rooms use it: transactions that write the audit come one after another.

Each of them appends to one chain, so only one can be right at a time. On PostgreSQL they would find that out when they
commit, and begin anew again and again; a lock that is taken first makes a queue of them. On SQLite there is one writer anyway.

Whom a transaction has changed is stamped when it is over, before its caller goes on: see `sso.memory`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DataError, StatementError

from security.database import Database
from security.stamps import Stamps
from sso.problems import refusal
from sso.tidings import EVERYBODYS, is_quiet

T = TypeVar("T")
_CHANGED = "sso changed"
# WHY: PostgreSQL freezes what a serialisable transaction sees at its first query, and a lock is none: whoever has waited
# here sees what the one before has written.
_QUEUE = text("LOCK TABLE sso_audit_head IN EXCLUSIVE MODE")


class Storage:
    """Reads and writes as whole transactions, as `Database` does; *stamps* are those of this machine.

    Either raises Problem 422 for a value that the database cannot hold: PostgreSQL knows no text with a NUL in it, and none knows
    the last hours of the year 9999 west of Greenwich.
    """

    def __init__(self, database: Database, stamps: Stamps | None = None) -> None:
        self._database = database
        self.stamps = stamps or Stamps()
        self._queues = database.dialect == "postgresql"

    def read(self, work: Callable[[Connection], T]) -> T:
        """What *work* returns, from one transaction that can change nothing."""
        try:
            return self._database.read(work)
        except StatementError as error:
            raise _named(error) from error

    def write(self, work: Callable[[Connection], T], *, audited: bool = True) -> T:
        """What *work* returns, from one transaction; *audited* tells that it appends to the audit."""
        changed: set[str] = set()

        def queued(connection: Connection) -> T:
            connection.info[_CHANGED] = changed
            if audited and self._queues:
                connection.execute(_QUEUE)
            return work(connection)

        try:
            return self._database.write(queued)
        except StatementError as error:
            raise _named(error) from error
        finally:
            # SECURITY: S24. Even where the commit failed: its answer may have been lost on the way.
            if "" in changed:
                self.stamps.change_all()
            elif changed:
                self.stamps.change(*changed)


def _named(error: StatementError) -> Exception:
    """The refusal where *error* is about a value of the caller's, or *error* itself."""
    if isinstance(error, DataError):
        return refusal("validation-failed", "a text holds what cannot be kept: leave control characters out")
    if isinstance(error.orig, OverflowError):
        return refusal("validation-failed", "this moment is too far away")
    return error


def tell(connection: Connection, action: str, target: str) -> None:
    """Note within a transaction whom it changes, by the record of the audit that it writes."""
    changed = connection.info.get(_CHANGED)
    if changed is None:
        return
    if action in EVERYBODYS:
        changed.add("")
    elif target and not is_quiet(action):
        changed.add(target)
