"""The cache that all processes of an installation share: ``self.cache``, kept in SQL.

Values are any JSON value, text or bytes, and come back as what they were. An entry with an expiry is gone at that moment;
`sweep_cache` takes the rows away later. ``self.kvdb`` (`backends.keyvalue`) keeps its own entries in the same table.

>>> import tempfile
>>> from security.database import metadata, open_database
>>> database = open_database(tempfile.mkdtemp())
>>> database.write(lambda connection: metadata.create_all(connection))
>>> cache = Caches(database)
>>> cache.set("rate", {"eur": 1.22}, expiry=60)
>>> cache.default["rate"], cache.get("other", "none")
({'eur': 1.22}, 'none')
>>> cache.get_cache("builtin", "second").incr("visits", 2)
2
>>> database.close()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import orjson
from sqlalchemy import Column, Connection, LargeBinary, Select, String, Table, and_, delete, func, or_, select, update

from backends.clock import Clock, utc_now
from security.database import Database, UtcDateTime, metadata, upsert
from specs.problems import nearest

T = TypeVar("T")

LONGEST_KEY = 500
LARGEST_VALUE = 1 << 20
# WHY: a date would come back as a text; it is better refused.
_ONLY_JSON = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
TEXT, BYTES, JSON, HASH = "text", "bytes", "json", "hash"

cache_entries = Table(
    "cache_entries",
    metadata,
    Column("cache", String(100), primary_key=True),
    Column("key", String(LONGEST_KEY), primary_key=True),
    Column("kind", String(5), nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("expires_at", UtcDateTime, index=True),
)

_cache, _key, _expires_at = cache_entries.c.cache, cache_entries.c.key, cache_entries.c.expires_at


@dataclass(frozen=True, slots=True)
class Entry:
    """What one key holds: *value* is bytes, *kind* tells how to read them, *expires_at* None means for ever."""

    kind: str
    value: bytes
    expires_at: datetime | None = None

    @classmethod
    def of(cls, value: Any, expires_at: datetime | None = None) -> Entry:
        """The entry of a Python value. Raises TypeError for what neither is bytes nor fits JSON."""
        if isinstance(value, str):
            return cls(TEXT, value.encode(), expires_at)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return cls(BYTES, bytes(value), expires_at)
        return cls(JSON, orjson.dumps(value, option=_ONLY_JSON), expires_at)

    def read(self) -> Any:
        """The Python value."""
        if self.kind == TEXT:
            return self.value.decode()
        return self.value if self.kind == BYTES else orjson.loads(self.value)


class Entries:
    """The entries of one named cache: the work behind every command, each one transaction."""

    def __init__(
        self, database: Database, name: str, *, clock: Clock = utc_now, largest_value: int = LARGEST_VALUE
    ) -> None:
        self.database = database
        self.name = name
        self.clock = clock
        self.largest_value = largest_value

    def get(self, *keys: str) -> dict[str, Entry]:
        """Those of *keys* that exist."""
        now = self.clock()
        return self.database.read(lambda connection: self._get(connection, keys, now))

    def get_prefix(self, prefix: str) -> dict[str, Entry]:
        """The entries whose keys begin with *prefix*."""
        ours = select(cache_entries).where(self._begins(prefix), _lives(self.clock()))
        return self.database.read(lambda connection: _read(connection, ours))

    def change(self, key: str, make: Callable[[Entry | None], tuple[Entry | None, T]]) -> T:
        """Replace the entry of *key* by what *make* makes of it (None: by nothing), in one step; give *make*'s second."""
        now = self.clock()

        def work(connection: Connection) -> T:
            before = self._get(connection, (key,), now).get(key)
            after, result = make(before)
            if after is None:
                connection.execute(delete(cache_entries).where(_cache == self.name, _key == key))
            elif after != before:
                self._put(connection, key, after)
            return result

        return self.database.write(work)

    def put(self, entries: dict[str, Entry]) -> None:
        """Set all of *entries*, or none."""

        def work(connection: Connection) -> None:
            for key, entry in entries.items():
                self._put(connection, key, entry)

        self.database.write(work)

    def delete(self, *keys: str) -> int:
        """Remove *keys*; how many existed."""
        ours = delete(cache_entries).where(_cache == self.name, _key.in_(keys), _lives(self.clock()))
        return self.database.write(lambda connection: connection.execute(ours).rowcount)

    def delete_prefix(self, prefix: str) -> int:
        """Remove every key that begins with *prefix*; how many existed."""
        ours = delete(cache_entries).where(self._begins(prefix), _lives(self.clock()))
        return self.database.write(lambda connection: connection.execute(ours).rowcount)

    def expire(self, key: str, expires_at: datetime | None) -> bool:
        """Set when *key* goes; whether it exists."""
        ours = update(cache_entries).where(_cache == self.name, _key == key, _lives(self.clock()))
        return self.database.write(
            lambda connection: connection.execute(ours.values(expires_at=expires_at)).rowcount > 0
        )

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with *prefix*, sorted by code point."""
        ours = select(_key).where(self._begins(prefix), _lives(self.clock()))
        return sorted(self.database.read(lambda connection: connection.execute(ours).scalars().all()))

    def moment(self, seconds: float | None) -> datetime | None:
        """The moment *seconds* from now; None for None and for 0."""
        return self.clock() + timedelta(seconds=seconds) if seconds else None

    def _get(self, connection: Connection, keys: tuple[str, ...], now: datetime) -> dict[str, Entry]:
        ours = select(cache_entries).where(_cache == self.name, _key.in_(keys), _lives(now))
        return _read(connection, ours)

    def _put(self, connection: Connection, key: str, entry: Entry) -> None:
        if not 0 < len(key) <= LONGEST_KEY or "\0" in key:
            raise ValueError(f"a key has 1 to {LONGEST_KEY} characters and no NUL; this one has {len(key)}")
        if len(entry.value) > self.largest_value:
            raise ValueError(
                f"the value of '{key}' has {len(entry.value)} bytes; at most {self.largest_value} are kept"
            )
        values = {"kind": entry.kind, "value": entry.value, "expires_at": entry.expires_at}
        upsert(connection, cache_entries, {"cache": self.name, "key": key}, values)

    def _begins(self, prefix: str) -> Any:
        # WHY: LIKE takes no notice of case on SQLite, and ranges depend on the collation of PostgreSQL.
        return and_(_cache == self.name, func.substr(_key, 1, len(prefix)) == prefix)


class Cache:
    """One named cache. ``cache[key]`` raises KeyError where `get` gives None. *expiry* is in seconds, 0 for ever."""

    def __init__(self, entries: Entries) -> None:
        self.entries = entries

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or *default*."""
        entry = self.entries.get(key).get(key)
        return default if entry is None else entry.read()

    def set(self, key: str, value: Any, expiry: float = 0) -> None:
        """Keep *value*. Raises TypeError for what JSON cannot hold, ValueError for what is too large."""
        self.entries.put({key: Entry.of(value, self.entries.moment(expiry))})

    def get_or_set(self, key: str, make: Callable[[], Any], expiry: float = 0) -> Any:
        """The value; where there is none, what *make* gives, which is then kept. Two callers at once may both make it."""
        entry = self.entries.get(key).get(key)
        if entry is not None:
            return entry.read()
        value = make()
        self.set(key, value, expiry)
        return value

    def delete(self, key: str) -> bool:
        """Remove *key*; whether it existed."""
        return self.entries.delete(key) > 0

    def expire(self, key: str, expiry: float = 0) -> bool:
        """Let *key* go in *expiry* seconds from now, or never (0); whether it exists."""
        return self.entries.expire(key, self.entries.moment(expiry))

    def incr(self, key: str, amount: int = 1) -> int:
        """Add to a whole number, from 0 where there is none, in one step; the sum."""
        return self.entries.change(key, lambda entry: _sum(key, entry, amount))

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that begin with *prefix*."""
        return self.entries.keys(prefix)

    def get_by_prefix(self, prefix: str) -> dict[str, Any]:
        """The values of the keys that begin with *prefix*."""
        return {key: entry.read() for key, entry in self.entries.get_prefix(prefix).items()}

    def delete_by_prefix(self, prefix: str) -> int:
        """Remove the keys that begin with *prefix*; how many there were."""
        return self.entries.delete_prefix(prefix)

    def __getitem__(self, key: str) -> Any:
        entry = self.entries.get(key).get(key)
        if entry is None:
            raise KeyError(key)
        return entry.read()

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: str) -> bool:
        return key in self.entries.get(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())


class Caches(Cache):
    """``self.cache``: the default cache, and the way to others."""

    def __init__(self, database: Database, *, clock: Clock = utc_now, largest_value: int = LARGEST_VALUE) -> None:
        def make(name: str) -> Entries:
            return Entries(database, name, clock=clock, largest_value=largest_value)

        self._make = make
        super().__init__(make("default"))

    @property
    def default(self) -> Cache:
        """The default cache."""
        return self

    def get_cache(self, type: str, name: str) -> Cache:  # noqa: A002 - the name that authors know
        """The cache called *name*; it needs no making. *type* is ``builtin``. Raises LookupError for another."""
        if type != "builtin":
            raise LookupError(f"no type of cache called '{type}': {nearest(type, ['builtin'])}")
        return self if name == "default" else Cache(self._make(f"builtin:{name}"))


def sweep_cache(database: Database, now: datetime) -> int:
    """Delete the entries that expired before *now*, those of ``self.kvdb`` too; how many they were."""
    gone = delete(cache_entries).where(_expires_at <= now)
    return database.write(lambda connection: connection.execute(gone).rowcount)


def _read(connection: Connection, rows: Select[Any]) -> dict[str, Entry]:
    return {row.key: Entry(row.kind, bytes(row.value), row.expires_at) for row in connection.execute(rows)}


def _lives(now: datetime) -> Any:
    return or_(_expires_at.is_(None), _expires_at > now)


def _sum(key: str, entry: Entry | None, amount: int) -> tuple[Entry, int]:
    before = 0 if entry is None else entry.read()
    if type(before) is not int or not -(2**63) <= before + amount < 2**63:
        raise ValueError(f"'{key}' does not hold a whole number of 64 bits")
    return Entry.of(before + amount, entry.expires_at if entry else None), before + amount
