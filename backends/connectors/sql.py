"""SQL: ask a SQLite or PostgreSQL database."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from backends import connectors
from backends.connectors import setting
from specs.problems import ConfigurationError, nearest
from specs.settings import Seconds, Secret

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


class Connector(connectors.Base):
    """A pool of connections to one database."""

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
            if "${" not in self.url:  # a reference is resolved, and then checked, by whoever applies the document
                read_url(self.url, f"{path}.url")


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
