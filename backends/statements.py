"""What can be asked of a SQL database, whatever its kind, and what becomes of its errors.

>>> row = Row(name="Ann")
>>> row.name == row["name"]
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import TextClause, text
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from specs.problems import BackendError, BackendTimeout, BackendUnavailable, nearest

T = TypeVar("T")
Result = CursorResult[Any]


class Row(dict[str, Any]):
    """A row by the names of its columns, as members or as attributes."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the row has no column '{name}': {nearest(name, self)}") from None


class ConstraintViolated(BackendError):
    """A statement would have broken a constraint: a duplicate key, a missing parent."""


class Statements:
    """What can be asked of a database: by a connection, each statement in a transaction of its own, or inside of one."""

    def one(self, statement: str, /, **parameters: Any) -> Row | None:
        """The only row of the result, or None. Raises BackendError where there are more."""
        rows = self._run(statement, parameters, lambda result: [Row(row) for row in result.mappings().fetchmany(2)])
        if len(rows) > 1:
            raise BackendError("one() found more than one row: use all(), or a statement that finds one")
        return rows[0] if rows else None

    def all(self, statement: str, /, **parameters: Any) -> list[Row]:
        """Every row of the result."""
        return self._run(statement, parameters, lambda result: [Row(row) for row in result.mappings()])

    def execute(self, statement: str, /, **parameters: Any) -> int:
        """Run a statement whose rows are not wanted; how many rows it changed, -1 where the driver cannot tell."""
        return self._run(statement, parameters, lambda result: int(result.rowcount), write=True)

    def _run(
        self, statement: str, parameters: dict[str, Any], take: Callable[[Result], T], *, write: bool = False
    ) -> T:
        raise NotImplementedError


class Locked(BackendTimeout):
    """Another transaction has the SQLite file; it may be tried again."""


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Errors of the database as BackendErrors. Their messages hold the driver's words, never the parameters."""
    try:
        yield
    except DBAPIError as error:
        said = f"connection '{name}': {str(error.orig).strip()}"
        state = getattr(error.orig, "sqlstate", None) or ""
        code = getattr(error.orig, "sqlite_errorname", "")
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise Locked(said) from error
        if code == "SQLITE_INTERRUPT" or state == "57014":
            raise BackendTimeout(said) from error
        if isinstance(error, IntegrityError):
            raise ConstraintViolated(said) from error
        unreachable = error.connection_invalidated or state.startswith(("08", "53", "57P")) or code == "SQLITE_CANTOPEN"
        if unreachable or (isinstance(error, OperationalError) and not state and not code):
            raise BackendUnavailable(said) from error
        raise BackendError(said) from error
    except PoolTimeout as error:
        raise BackendUnavailable(f"connection '{name}': no connection of the pool became free in time") from error
    except SQLAlchemyError as error:  # a missing parameter, a result that has no rows
        raise BackendError(f"connection '{name}': {type(error).__name__}: {error}") from error


# PERF: finding the parameters in a statement's text costs 8 us; services use the same few texts again and again.
@lru_cache(maxsize=1024)
def prepared(statement: str) -> TextClause:
    """The statement as SQLAlchemy takes it."""
    return text(statement)


def rows_of(result: Result) -> list[Row]:
    """Every row, none where the statement gives none."""
    return [Row(row) for row in result.mappings()] if result.returns_rows else []


def each(result: Result, name: str) -> Iterator[Row]:
    """The rows one by one, read as they are asked for."""
    rows = iter(result.mappings())
    try:
        while True:
            with translated(name):
                row = next(rows, None)
            if row is None:
                return
            yield Row(row)
    finally:
        try:
            result.close()
        except SQLAlchemyError:
            pass  # what broke the connection has been raised already
