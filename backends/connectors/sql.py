"""SQL: ask a SQLite or PostgreSQL database.

crm = self.out.sql["crm"]
crm.one("select * from customers where id = :id", id=7).name
with crm.transaction() as transaction:
    transaction.execute("update stock set amount = amount - 1 where sku = :sku", sku=7)
    transaction.execute("insert into orders (sku) values (:sku)", sku=7)
for row in crm.rows("select * from events"):     # lazily
    ...
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from backends import connectors
from backends.connectors import setting
from backends.statements import Locked, Result, Row, Statements, each, prepared, rows_of, translated
from specs.problems import BackendError, ConfigurationError, nearest
from specs.settings import Seconds, Secret

T = TypeVar("T")

#: What may stand before ``://`` and the driver behind it.
DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
#: Drivers that stop every other request of a worker while they wait, and what to use instead.
BLOCKING = {
    "postgresql+psycopg2": "postgresql+psycopg",
    "postgresql+pg8000": "postgresql+psycopg",
    "mysql+mysqldb": "mysql+pymysql",
    "mysql": "mysql+pymysql",
    "mssql+pyodbc": "a connection of type mssql",
    "mssql+pymssql": "a connection of type mssql",
    "mssql": "a connection of type mssql",
}


class Connector(connectors.Base, Statements):
    """A pool of connections to one database.

    Each statement is a transaction of its own; `transaction` joins several. Parameters are ``:name`` in the statement and
    ``name=`` in the call, never part of the text.

    SQLite runs in place: its statements are short and nothing yields inside of one, so a transaction of a single
    # statement is never held across a switch of greenlets. A `transaction` may be; whoever finds the file locked by it, or
    # by another process, waits by sleeping between attempts, never in SQLite's own busy handler, which would stop the
    # hub, and with it the greenlet that holds the lock. What computes for long belongs into a service with `blocking = True`.
    """

    class Settings(connectors.Settings):
        """Where the database is and how much of it one process may use."""

        url: str = setting("postgresql+psycopg://user@host/database, or sqlite:////path/to/file")
        password: Secret | None = setting("the password of the user in the address", default=None)
        pool_size: int = setting("how many connections a process may have open", default=10)
        timeout: Seconds = setting(
            "the longest that one statement, or waiting for a connection, may take", default="30s"
        )

        def check(self, path: str) -> None:
            """The address must name a driver that we have and that lets others run while it waits."""
            if self.pool_size < 1:
                raise ConfigurationError(f"{path}.pool_size", "a pool holds at least one connection")
            if self.timeout <= 0:
                raise ConfigurationError(f"{path}.timeout", "a statement needs some time")
            if "${" not in self.url:  # a reference is resolved, and then checked, by whoever applies the document
                read_url(self.url, f"{path}.url")

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings)
        url = read_url(settings.url, f"connections.{name}.url")
        if settings.password is not None:
            url = url.set(password=settings.password.reveal())
        self.dialect = url.get_backend_name()
        self._timeout = float(settings.timeout)
        self._procedures: dict[tuple[str, int], str] = {}
        self._engine = _engine(url, settings.pool_size, self._timeout)
        # PERF: a statement of its own needs no BEGIN and COMMIT in PostgreSQL: one round trip in place of three.
        self._single = self._engine
        if self.dialect == "postgresql":
            self._single = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    def _run(
        self, statement: str, parameters: dict[str, Any], take: Callable[[Result], T], *, write: bool = False
    ) -> T:
        def work() -> T:
            connection = self._begin(write=write, single=True)
            try:
                taken = take(connection.execute(prepared(statement), parameters))
                connection.commit()
                return taken
            finally:
                connection.close()

        return self.patiently(work)

    def rows(self, statement: str, /, **parameters: Any) -> Iterator[Row]:
        """The rows one by one, as the database gives them: a large result is never whole in memory.

        A connection is held until the last row was taken or the iterator is closed; what the statement changed is kept only
        in the first case.
        """

        def start() -> tuple[Connection, Result]:
            connection = self._begin(write=False)
            try:
                streaming = connection.execution_options(stream_results=True, max_row_buffer=500)
                return connection, streaming.execute(prepared(statement), parameters)
            except BaseException:
                connection.close()
                raise

        connection, result = self.patiently(start)
        try:
            yield from each(result, self.name)
            with translated(self.name):
                connection.commit()
        finally:
            connection.close()

    def usage(self) -> tuple[int, int, int] | None:
        """How the pool stands."""
        pool = self._engine.pool
        if not isinstance(pool, QueuePool):
            return None
        return pool.checkedout(), pool.checkedin(), self.settings.pool_size

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Several statements that happen together or not at all: committed at the end, undone by an exception."""
        connection = self.patiently(lambda: self._begin(write=True))
        try:
            yield Transaction(self, connection)
            if self.dialect == "sqlite":
                # WHY: SQLAlchemy takes a commit that found the file locked for the end of the transaction, SQLite does not.
                self.patiently(lambda: connection.exec_driver_sql("COMMIT"))
            with translated(self.name):
                connection.commit()
        finally:
            connection.close()  # which rolls back what is not committed

    def session(self) -> Session:
        """The older way of asking: `Session.execute`, `Session.callproc`, `Session.commit`."""
        return Session(self)

    def callproc(self, name: str, args: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows that a function or procedure gives, one by one. Raises BackendError where there is none of that name."""
        if self.dialect == "sqlite":
            raise BackendError(f"connection '{self.name}': SQLite has no stored procedures")
        kind = self._procedure(name, len(args))
        quoted = ".".join(f'"{part}"' for part in kind[1:].split("."))
        parameters = {f"a{number}": value for number, value in enumerate(args)}
        call = f"{quoted}({', '.join(f':{key}' for key in parameters)})"
        if kind[0] == "p":
            return iter(self._run(f"call {call}", parameters, rows_of, write=True))
        return self.rows(f"select * from {call}", **parameters)  # noqa: S608 - the name as the catalogue gave it

    def _procedure(self, name: str, count: int) -> str:
        """``p`` or ``f``, procedure or function, and the name as the database spells it."""
        found = self._procedures.get((name, count))
        if found is None:
            schema, _, plain = name.rpartition(".")
            if not re.fullmatch(r"\w+(\.\w+)?", name):
                raise BackendError(f"connection '{self.name}': not the name of a procedure: {name!r}")
            rows = self.all(_FIND_PROCEDURE, plain=plain, schema=schema, count=count)
            if not rows:
                raise BackendError(f"connection '{self.name}': no procedure called '{name}' takes {count} arguments")
            row = rows[0]
            found = row.prokind + (f"{row.nspname}." if schema else "") + row.proname
            self._procedures[name, count] = found
        return found

    def patiently(self, work: Callable[[], T]) -> T:
        """What *work* gives; where another transaction has locked the SQLite file, it is tried again for a while."""
        end = time.monotonic() + self._timeout
        pause = 0.001
        while True:
            try:
                with translated(self.name):
                    return work()
            except Locked:
                if time.monotonic() + pause > end:
                    raise
                time.sleep(pause)
                pause = min(pause * 2, 0.05)

    def _begin(self, *, write: bool, single: bool = False) -> Connection:
        connection = (self._single if single else self._engine).connect()
        try:
            if self.dialect == "sqlite":
                connection.connection.info["deadline"] = time.monotonic() + self._timeout
                connection = connection.execution_options(gatewright_begin="BEGIN IMMEDIATE" if write else "BEGIN")
            connection.begin()
        except BaseException:
            connection.close()
            raise
        return connection

    def ping(self) -> None:
        """Ask the database for the number 1. Raises BackendError."""
        self.one("select 1 as one")

    def close(self) -> None:
        """Close what is idle now, and the rest as it is given back."""
        self._engine.dispose()


class Transaction(Statements):
    """Statements of one transaction: the same words, on one connection."""

    def __init__(self, connector: Connector, connection: Connection) -> None:
        self._connector = connector
        self._connection = connection

    def _run(
        self, statement: str, parameters: dict[str, Any], take: Callable[[Result], T], *, write: bool = False
    ) -> T:
        if self._connector.dialect == "sqlite":
            self._connection.connection.info["deadline"] = time.monotonic() + self._connector.settings.timeout
        with translated(self._connector.name):
            return take(self._connection.execute(prepared(statement), parameters))

    def rows(self, statement: str, /, **parameters: Any) -> Iterator[Row]:
        """The rows one by one, as the database gives them."""
        with translated(self._connector.name):
            streaming = self._connection.execution_options(stream_results=True, max_row_buffer=500)
            result = streaming.execute(prepared(statement), parameters)
        yield from each(result, self._connector.name)


class Session:
    """One conversation with a database: a transaction that begins by itself and lasts until `commit` or `rollback`.

    `callproc` is a transaction of its own and holds nothing afterwards, as services that never close their session need.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._open: ExitStack | None = None
        self._transaction: Transaction | None = None

    def execute(self, statement: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> list[Row]:
        """The rows of a statement, none where it gives none. Parameters come as a map or by keyword."""
        if self._transaction is None:
            stack = ExitStack()
            self._transaction = stack.enter_context(self._connector.transaction())
            self._open = stack
        try:
            return self._transaction._run(statement, {**(parameters or {}), **more}, rows_of)
        except BaseException:
            self.rollback()  # PostgreSQL takes nothing more from a transaction that failed
            raise

    def callproc(self, name: str, args: Sequence[Any] = (), use_yield: bool = False) -> Iterable[Row]:
        """The rows that a stored procedure gives: a list, or with *use_yield* an iterator that reads them one by one."""
        rows = self._connector.callproc(name, args)
        return rows if use_yield else list(rows)

    def commit(self) -> None:
        """Keep what was done since the last commit."""
        stack, self._open, self._transaction = self._open, None, None
        if stack is not None:
            stack.close()

    def rollback(self) -> None:
        """Undo what was done since the last commit."""
        stack, self._open, self._transaction = self._open, None, None
        if stack is not None:
            try:
                stack.__exit__(_Undone, _Undone(), None)
            except _Undone:
                pass

    close = rollback

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.rollback()

    def __del__(self) -> None:
        # A service that forgets its session must not keep a connection, or a lock on a SQLite file.
        self.rollback()


class _Undone(Exception):
    """Ends a transaction without keeping it."""


def read_url(url: str, path: str) -> URL:
    """The address with its driver spelled out. Raises ConfigurationError at *path*."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            path, "not the address of a database", "write postgresql+psycopg://user@host/database or sqlite:////file"
        ) from None
    word = parsed.drivername
    if word in BLOCKING:
        raise ConfigurationError(path, f"the driver of '{word}' blocks every other request", f"use {BLOCKING[word]}")
    if word not in DRIVERS:
        raise ConfigurationError(path, f"no such kind of database: '{word}'", nearest(word, DRIVERS))
    if word.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise ConfigurationError(path, "a database in memory is lost with its process", "write sqlite:////path/to/file")
    return parsed.set(drivername=DRIVERS[word])


def _engine(url: URL, pool_size: int, timeout: float) -> Engine:
    options: dict[str, Any] = {"connect_timeout": max(1, round(min(timeout, 10)))}
    if url.get_backend_name() == "postgresql":
        options["options"] = f"-c statement_timeout={max(1, round(timeout * 1000))}"
        options["application_name"] = "gatewright"
    else:
        # WHY 0: see the docstring of Connector. Waiting is done by `patiently`.
        options = {"timeout": 0, "check_same_thread": False}
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout,
        poolclass=QueuePool,
        pool_pre_ping=url.get_backend_name() == "postgresql",
        pool_reset_on_return="rollback",
        hide_parameters=True,
        connect_args=options,
    )
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver would leave reads outside of transactions
    connection.execute("PRAGMA foreign_keys = ON")

    def late() -> bool:
        return time.monotonic() > float(record.info.get("deadline", "inf"))

    connection.set_progress_handler(late, 20_000)


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("gatewright_begin", "BEGIN"))


_FIND_PROCEDURE = """
    with wanted as (select cast(:plain as text) as plain, cast(:schema as text) as schema, cast(:count as int) as count)
    select p.prokind::text as prokind, p.proname::text as proname, n.nspname::text as nspname
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace cross join wanted w
    where p.proname in (w.plain, lower(w.plain)) and p.prokind in ('p', 'f')
      and (case when w.schema = '' then pg_function_is_visible(p.oid) else n.nspname in (w.schema, lower(w.schema)) end)
      and (w.count between p.pronargs - p.pronargdefaults and p.pronargs or p.provariadic <> 0)
    order by p.proname = w.plain desc limit 1
"""
