"""The database: one engine per process, read and write as whole transactions, the same on SQLite and PostgreSQL.

Every layer declares its tables on `metadata` and does its work in callables that get a SQLAlchemy Core connection. The
callable is the transaction: it begins before, commits after, and rolls back if it raises. It returns plain values, never a
cursor or a lazy result, and may be called again after a serialization failure, so it does nothing but database work.

>>> import tempfile
>>> database = open_database(tempfile.mkdtemp())
>>> database.write(lambda connection: connection.execute(text("create table t (a integer)"))) and None
>>> database.write(lambda connection: connection.execute(text("insert into t values (7)")).rowcount)
1
>>> database.read(lambda connection: connection.execute(text("select a from t")).scalar_one())
7
>>> database.close()
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import os
import random
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection, DateTime, Engine, MetaData, Table, Text, create_engine, event, text
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeDecorator

from security.threads import Threads, native_ident, native_lock
from specs.problems import BackendUnavailable, ConfigurationError

T = TypeVar("T")
Work = Callable[[Connection], T]

#: Every table of every layer; the names of constraints are fixed so that migrations can speak of them.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

FILE_NAME = "gatewright.db"
SQLITE_BUSY = 5
#: Results of SQLite that are about the disk and pass when it is mended.
_DISK_TROUBLE = {
    10: "the disk fails, or has no room",
    13: "the disk is full",
    14: "its file cannot be opened",
}
#: Serialization failure and deadlock: the transaction was right and only came at the wrong moment.
RETRIED_STATES = ("40001", "40P01")
ATTEMPTS = 12


class DatabaseUnavailable(BackendUnavailable):
    """The database cannot be reached."""


class DatabaseBusy(DatabaseUnavailable):
    """Others held the database for longer than the busy timeout, or in every attempt."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: an aware datetime in, the same moment in UTC out. A naive one is a ValueError."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """As the database keeps it: in UTC; SQLite's text form has no zone and sorts as it stands."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs its time zone: use datetime.now(UTC)")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """As Python gets it: aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Json(TypeDecorator[Any]):
    """A JSON value kept as text, the same on every database. None is NULL; integers have at most 64 bits."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """As the database keeps it. Raises TypeError for what JSON cannot hold."""
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """As Python gets it."""
        return None if value is None else orjson.loads(value)


def open_database(where: str | Path, *, pool_size: int = 5, busy_timeout: float = 5.0) -> Database:
    """The database at a URL, or the embedded one in a data directory (made where it is missing, for its owner alone)."""
    if "://" in str(where):
        return Database(str(where), pool_size=pool_size, busy_timeout=busy_timeout)
    directory = Path(where)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Database(f"sqlite:///{directory / FILE_NAME}", pool_size=pool_size, busy_timeout=busy_timeout)


class Database:
    """All database work of this process. Opened after the fork, by the thread whose hub must not be blocked.

    *pool_size* connections are kept; *busy_timeout* is in seconds. Raises ConfigurationError for a URL that cannot be
    used and DatabaseUnavailable where the server does not answer.
    """

    def __init__(self, url: str, *, pool_size: int = 5, busy_timeout: float = 5.0) -> None:
        self.url = _checked(url)
        self.dialect = self.url.get_backend_name()
        self._process = os.getpid()
        if self.dialect == "sqlite":
            self._engine: _Sqlite | _Postgresql = _Sqlite(self.url, pool_size, busy_timeout)
        else:
            self._engine = _Postgresql(self.url, pool_size, busy_timeout)

    def read(self, work: Work[T]) -> T:
        """What *work* returns, from one transaction that sees one state of the database and can change nothing.

        On SQLite it runs in place: keep queries short, they hold the hub. Raises DatabaseBusy, DatabaseUnavailable.
        """
        self._check_process()
        return self._engine.read(work)

    def write(self, work: Work[T]) -> T:
        """What *work* returns, from one transaction that is on the disk when this returns.

        Transactions are serialisable on both databases. On SQLite *work* runs whole in the one writer thread of the process
        while the calling greenlet waits, so *work* must not touch greenlets. A greenlet that is killed while it waits does not
        undo the transaction. Raises DatabaseBusy, DatabaseUnavailable.
        """
        self._check_process()
        return self._engine.write(work)

    def mark(self) -> int | None:
        """A number that is another one once anybody has changed the database; None where only a query can tell.

        Whoever looks often asks for it first, and reads only what may have changed.
        """
        # PERF: a tenth of what the smallest query takes, 10 us; of those that looked anew each time a busy worker stood still for
        # 1 % of its time.
        self._check_process()
        return self._engine.mark()

    def locked(self, name: str, *, timeout: float = 60.0) -> AbstractContextManager[None]:
        """A lock between all processes on this database, for migrations. Raises DatabaseBusy after *timeout* seconds."""
        self._check_process()
        return self._engine.locked(name, timeout)

    def copy_to(self, path: Path) -> None:
        """Write a consistent copy of an embedded database to *path*, which must not exist, while others go on using it."""
        self._check_process()
        self._engine.copy_to(path)

    def close(self) -> None:
        """Give every connection back and end the writer thread. Again is no harm."""
        if os.getpid() == self._process:
            self._engine.close()

    def _check_process(self) -> None:
        # WHY: a SQLite connection carried over a fork loses its locks and corrupts the file; a PostgreSQL one has two speakers.
        if os.getpid() != self._process:
            raise RuntimeError("this database was opened before the fork: open it in the process that uses it")


def upsert(
    connection: Connection, table: Table, keys: Mapping[str, Any], values: Mapping[str, Any] | None = None
) -> None:
    """Insert the row *keys* + *values*, or give the row that has these unique *keys* these *values*. One statement.

    Without *values* a row that exists stays as it is.
    """
    # PERF: only the dialect in use is imported: PostgreSQL's takes a tenth of a start.
    dialect = importlib.import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    statement = dialect.insert(table).values({**keys, **(values or {})})
    columns = [table.c[name] for name in keys]
    if values:
        connection.execute(statement.on_conflict_do_update(index_elements=columns, set_=dict(values)))
    else:
        connection.execute(statement.on_conflict_do_nothing(index_elements=columns))


class _Sqlite:
    """One file in WAL mode: a few read-only connections, and one that writes."""

    def __init__(self, url: URL, pool_size: int, busy_timeout: float) -> None:
        self.path = Path(url.database or "")
        self.pool_size = pool_size
        self.busy_timeout = busy_timeout
        _make_private(self.path)
        self.engine = create_engine(
            url, poolclass=NullPool, connect_args={"check_same_thread": False, "timeout": busy_timeout}
        )
        event.listen(self.engine, "connect", self._prepare)
        event.listen(self.engine, "begin", _begin)
        # PERF: taking from a deque is one atomic step and needs no lock of any kind of thread: a pool of SQLAlchemy's would
        # bring patched locks into the writer thread. Connecting for each read costs 41 us, a held connection 16.
        self.readers: deque[Connection] = deque()
        self.threads = Threads(1)
        self.lock = native_lock()
        self.lock_holder: int | None = None
        self.writer: Connection | None = None
        self.marker: sqlite3.Connection | None = None
        try:
            # WHY: the switch of a new file to WAL fails at once, whatever the timeout, where two processes do it together.
            with self.locked("open", busy_timeout):
                self.writer = self.engine.connect().execution_options(begin="BEGIN IMMEDIATE")
            self._give_back(self._reader())
        except DBAPIError as error:
            raise _named(error) from error

    def _prepare(self, connection: Any, record: Any) -> None:
        # WHY: the driver opens transactions behind our back (deferred, and not around every statement); None stops that
        # and the "begin" event says which kind each transaction is.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    def read(self, work: Work[T]) -> T:
        connection = self._reader()
        try:
            with connection.begin():
                result = work(connection)
        except DBAPIError as error:
            connection.close()
            raise _named(error) from error
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)
        return result

    def write(self, work: Work[T]) -> T:
        return self.threads.run(lambda: self._write(work))

    def _write(self, work: Work[T]) -> T:
        if self.lock_holder == native_ident():
            raise RuntimeError("a write inside a write: use the connection that the outer one got")
        with self.lock:
            if self.writer is None:
                raise RuntimeError("this database is closed")
            self.lock_holder = native_ident()
            try:
                with self.writer.begin():
                    return work(self.writer)
            except DBAPIError as error:
                raise _named(error) from error
            finally:
                self.lock_holder = None

    def mark(self) -> int | None:
        try:
            if self.marker is None:
                self.marker = sqlite3.connect(self.path, isolation_level=None, timeout=0, check_same_thread=False)
            # It tells of what other connections have changed, and this one never changes anything.
            return int(self.marker.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error:
            return None  # the query that follows says what is wrong

    @contextmanager
    def locked(self, name: str, timeout: float) -> Iterator[None]:
        path = self.path.with_name(f"{self.path.name}.{name}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

        def taken() -> bool:
            try:
                # WHY: flock, not lockf: it excludes a second opener in this process too.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        try:
            _wait_until(taken, name, timeout)
            yield
        finally:
            os.close(descriptor)

    def copy_to(self, path: Path) -> None:
        _make_private(path, must_be_new=True)
        with sqlite3.connect(self.path, isolation_level=None, timeout=self.busy_timeout) as connection:
            connection.execute("VACUUM INTO ?", (str(path),))
        connection.close()

    def close(self) -> None:
        self.threads.close()
        with self.lock:
            if self.writer is not None:
                self.writer.close()
                self.writer = None
        while self.readers:
            self.readers.pop().close()
        if self.marker is not None:
            self.marker.close()
            self.marker = None

    def _reader(self) -> Connection:
        if self.writer is None:
            raise RuntimeError("this database is closed")
        try:
            return self.readers.pop()
        except IndexError:
            connection = self.engine.connect()
            connection.exec_driver_sql("PRAGMA query_only=ON")
            connection.commit()
            return connection

    def _give_back(self, connection: Connection) -> None:
        if len(self.readers) < self.pool_size and self.writer is not None:
            self.readers.append(connection)
        else:
            connection.close()


class _Postgresql:
    """A server: SQLAlchemy's pool over psycopg, which waits cooperatively under gevent."""

    def __init__(self, url: URL, pool_size: int, busy_timeout: float) -> None:
        self.engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=busy_timeout,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 10, "options": f"-c lock_timeout={int(busy_timeout * 1000)}"},
        )
        # WHY: as on SQLite, nobody sees half of what another does: what is right there is right here, at the price of retries.
        self.readers = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self.writers = self.engine.execution_options(isolation_level="SERIALIZABLE")
        self.read(lambda connection: connection.execute(text("select 1")).scalar())

    def read(self, work: Work[T]) -> T:
        return self._run(self.readers, work)

    def write(self, work: Work[T]) -> T:
        return self._run(self.writers, work)

    def _run(self, engine: Engine, work: Work[T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                with engine.begin() as connection:
                    return work(connection)
            except PoolTimeout as error:
                raise DatabaseBusy("every connection to the database is in use") from error
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in RETRIED_STATES:
                    raise _named(error) from error
                last = error
            time.sleep(random.uniform(0, 0.002 * 2 ** min(attempt, 6)))
        raise DatabaseBusy(f"the transaction met others in each of {ATTEMPTS} attempts") from last

    def mark(self) -> int | None:
        return None

    @contextmanager
    def locked(self, name: str, timeout: float) -> Iterator[None]:
        key = int.from_bytes(hashlib.blake2b(f"gatewright {name}".encode(), digest_size=8).digest(), signed=True)
        # WHY: a session's lock, on a connection of its own: it must outlive the transactions it guards, and falls when we die.
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            _wait_until(
                lambda: bool(connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": key}).scalar()),
                name,
                timeout,
            )
            try:
                yield
            finally:
                connection.execute(text("select pg_advisory_unlock(:key)"), {"key": key})

    def copy_to(self, path: Path) -> None:
        raise ConfigurationError("", "only an embedded database is copied to a file", "use pg_dump for this one")

    def close(self) -> None:
        self.engine.dispose()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _make_private(path: Path, *, must_be_new: bool = False) -> None:
    # SECURITY: password hashes and encrypted secrets are for the owner alone; the WAL and the index inherit the mode.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if must_be_new else 0)
    try:
        os.close(os.open(path, flags, 0o600))
    except OSError as error:
        raise ConfigurationError("database", f"cannot open {path}", error.strerror or "") from error


def _wait_until(taken: Callable[[], bool], name: str, timeout: float) -> None:
    end = time.monotonic() + timeout
    while not taken():
        if time.monotonic() >= end:
            raise DatabaseBusy(f"the lock '{name}' was held by another process for {timeout:g} seconds")
        time.sleep(0.02)


def _named(error: DBAPIError) -> Exception:
    """The error of ours that says what *error* means, or *error* itself."""
    if isinstance(error.orig, sqlite3.Error):
        code = (getattr(error.orig, "sqlite_errorcode", 0) or 0) & 0xFF
        if code == SQLITE_BUSY:
            return DatabaseBusy("another process held the database for longer than the busy timeout")
        if code in _DISK_TROUBLE:
            return DatabaseUnavailable(f"the database cannot be used: {_DISK_TROUBLE[code]}")
        return error
    state = getattr(error.orig, "sqlstate", None)
    if state == "55P03":
        return DatabaseBusy("another transaction held a lock for longer than the busy timeout")
    if error.connection_invalidated or (state is None and isinstance(error, OperationalError)):
        return DatabaseUnavailable("the database server cannot be reached")
    if state is not None and state.startswith(("08", "57P")):
        return DatabaseUnavailable("the database server cannot be reached")
    return error


def _checked(url: str) -> URL:
    try:
        found = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError(
            "database", "not a database URL", "write postgresql+psycopg://user@host/name"
        ) from error
    backend, driver = found.get_backend_name(), found.drivername.partition("+")[2]
    if backend == "sqlite" and driver in ("", "pysqlite") and found.database not in (None, "", ":memory:"):
        return found
    if backend == "postgresql" and driver in ("", "psycopg"):
        return found.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        raise ConfigurationError("database", "the embedded database is a file", "write sqlite:////path/to/file.db")
    # WHY: other drivers wait in C and stop every greenlet of the process.
    raise ConfigurationError(
        "database", f"no database driver called '{found.drivername}'", "use postgresql+psycopg or sqlite"
    )
