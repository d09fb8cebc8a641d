"""``self.kvdb.conn``: the simple commands of redis-py on the shared cache, with texts as answers.

Enough for services that keep texts, numbers and small hashes under keys. Lists, sets, streams and scripts are Redis' own:
who needs them configures a ``redis`` connection.

>>> import tempfile
>>> from security.database import metadata, open_database
>>> database = open_database(tempfile.mkdtemp())
>>> database.write(lambda connection: metadata.create_all(connection))
>>> conn = KeyValueDatabase(database).conn
>>> conn.set("rates:2013:09:03", 1.22), conn.get("rates:2013:09:03"), conn.get("rates:2013:09:04")
(True, '1.22', None)
>>> database.close()
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

import orjson

from backends.cache import BYTES, HASH, LARGEST_VALUE, TEXT, Entries, Entry
from backends.clock import Clock, utc_now
from security.database import Database
from specs.problems import nearest

#: What a value may be, as in redis-py: everything comes back as text.
Value = str | bytes | int | float


class KeyValueDatabase:
    """``self.kvdb``: its `conn` takes the commands."""

    def __init__(self, database: Database, *, clock: Clock = utc_now, largest_value: int = LARGEST_VALUE) -> None:
        self.conn = KeyValue(Entries(database, "kvdb", clock=clock, largest_value=largest_value))


class KeyValue:
    """Commands by the names, arguments and answers of redis-py with ``decode_responses=True``.

    Each is one atomic step. Times are in seconds but where the name begins with ``p``; a timedelta will do. A command that
    is not here is an AttributeError that names the nearest; one on a value of the wrong kind is a TypeError, a value that cannot
    be kept a ValueError.
    """

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def __getattr__(self, command: str) -> NoReturn:
        known = [name for name in dir(type(self)) if not name.startswith("_")]
        raise AttributeError(
            f"kvdb has no command '{command}': {nearest(command, known)} "
            "The full set of commands comes with a connection of type 'redis'."
        )

    def ping(self) -> bool:
        """True."""
        return True

    # texts

    def get(self, name: str) -> str | None:
        """The text, or None."""
        return self.mget(name)[0]

    def set(
        self,
        name: str,
        value: Value,
        ex: float | timedelta | None = None,
        px: float | timedelta | None = None,
        nx: bool = False,
        xx: bool = False,
        keepttl: bool = False,
        get: bool = False,
    ) -> Any:
        """Keep *value*; None where *nx* found one or *xx* none. With *get*, the value before."""
        expires_at = self._expiry(ex, px)

        def make(before: Entry | None) -> tuple[Entry | None, Any]:
            old = _text(name, before) if get and before else None
            if (nx and before) or (xx and not before):
                return before, old
            kept = before.expires_at if keepttl and before else expires_at
            return _entry(value, kept), old if get else True

        return self._entries.change(name, make)

    def setex(self, name: str, time: float | timedelta, value: Value) -> bool:
        """Keep *value* for *time* seconds."""
        return bool(self.set(name, value, ex=time))

    def psetex(self, name: str, time_ms: float | timedelta, value: Value) -> bool:
        """Keep *value* for *time_ms* milliseconds."""
        return bool(self.set(name, value, px=time_ms))

    def setnx(self, name: str, value: Value) -> bool:
        """Keep *value* where there is none; whether it was kept."""
        return bool(self.set(name, value, nx=True))

    def getset(self, name: str, value: Value) -> str | None:
        """Keep *value*; the one before."""
        return self.set(name, value, get=True)  # type: ignore[no-any-return]

    def getdel(self, name: str) -> str | None:
        """Remove the key; its value."""
        return self._entries.change(name, lambda entry: (None, _text(name, entry) if entry else None))

    def append(self, key: str, value: Value) -> int:
        """Add to the end of the text; its new length in bytes."""

        def make(before: Entry | None) -> tuple[Entry | None, int]:
            _text_only(key, before)
            after = _entry((before.value if before else b"") + _entry(value).value, _expiry_of(before))
            return after, len(after.value)

        return self._entries.change(key, make)

    def mget(self, keys: str | list[str] | tuple[str, ...], *args: str) -> list[str | None]:
        """The texts of several keys, None where there is none."""
        names = [*([keys] if isinstance(keys, str) else keys), *args]
        found = self._entries.get(*names)
        return [_text(name, found[name]) if name in found else None for name in names]

    def mset(self, mapping: Mapping[str, Value]) -> bool:
        """Keep several values, or none."""
        self._entries.put({name: _entry(value) for name, value in mapping.items()})
        return True

    # numbers

    def incr(self, name: str, amount: int = 1) -> int:
        """Add to a whole number, from 0 where there is none; the sum."""

        def make(before: Entry | None) -> tuple[Entry | None, int]:
            total = _whole_number(name, _text(name, before) if before else "0") + amount
            _whole_number(name, str(total))
            return _entry(total, _expiry_of(before)), total

        return self._entries.change(name, make)

    incrby = incr

    def decr(self, name: str, amount: int = 1) -> int:
        """Subtract from a whole number; what is left."""
        return self.incr(name, -amount)

    decrby = decr

    # keys

    def delete(self, *names: str) -> int:
        """Remove keys; how many existed."""
        return self._entries.delete(*names)

    unlink = delete

    def exists(self, *names: str) -> int:
        """How many of *names* exist; one named twice counts twice."""
        found = self._entries.get(*names)
        return sum(name in found for name in names)

    def keys(self, pattern: str = "*") -> list[str]:
        """The keys that fit a glob pattern: ``*``, ``?``, ``[a-z]``, ``[^a]``, ``\\`` before one of these."""
        expression = _glob(pattern)
        literal = re.split(r"[*?\[\\]", pattern, maxsplit=1)[0]
        return [key for key in self._entries.keys(literal) if expression.fullmatch(key)]

    def scan_iter(self, match: str = "*", count: int | None = None) -> Iterator[str]:
        """The keys that fit, one by one."""
        return iter(self.keys(match))

    def type(self, name: str) -> str:
        """``string``, ``hash`` or ``none``."""
        entry = self._entries.get(name).get(name)
        return "none" if entry is None else "hash" if entry.kind == HASH else "string"

    def expire(self, name: str, time: float | timedelta) -> bool:
        """Let the key go in *time* seconds; whether it exists."""
        return self._entries.expire(name, self._in(_seconds(time)))

    def pexpire(self, name: str, time: float | timedelta) -> bool:
        """Let the key go in *time* milliseconds; whether it exists."""
        return self._entries.expire(name, self._expiry(None, time))

    def persist(self, name: str) -> bool:
        """Take the expiry away; whether there was one."""
        return self._entries.change(
            name, lambda entry: (entry and replace(entry, expires_at=None), _expiry_of(entry) is not None)
        )

    def ttl(self, name: str) -> int:
        """Seconds to live; -1 for ever, -2 no such key."""
        left = self.pttl(name)
        return left if left < 0 else round(left / 1000)

    def pttl(self, name: str) -> int:
        """Milliseconds to live; -1 for ever, -2 no such key."""
        entry = self._entries.get(name).get(name)
        if entry is None:
            return -2
        if entry.expires_at is None:
            return -1
        return max(0, int((entry.expires_at - self._entries.clock()).total_seconds() * 1000))

    # hashes

    def hset(
        self, name: str, key: str | None = None, value: Value | None = None, mapping: Mapping[str, Value] | None = None
    ) -> int:
        """Set fields of a hash; how many are new."""
        fields = dict(mapping or {})
        if key is not None and value is not None:
            fields[key] = value
        texts = {field: _entry(text).value.decode() for field, text in fields.items()}
        if not texts:
            raise ValueError("hset needs a field and its value")

        def add(hash_: dict[str, str]) -> int:
            new = len(texts.keys() - hash_.keys())
            hash_.update(texts)
            return new

        return self._change_hash(name, add)

    def hget(self, name: str, key: str) -> str | None:
        """One field, or None."""
        return self.hgetall(name).get(key)

    def hmget(self, name: str, keys: list[str] | tuple[str, ...] | str, *args: str) -> list[str | None]:
        """Several fields, None where there is none."""
        found = self.hgetall(name)
        return [found.get(key) for key in (*([keys] if isinstance(keys, str) else keys), *args)]

    def hgetall(self, name: str) -> dict[str, str]:
        """Every field; an empty dict where there is no such key."""
        return _hash(name, self._entries.get(name).get(name))

    def hexists(self, name: str, key: str) -> bool:
        """Whether the hash has the field."""
        return key in self.hgetall(name)

    def hkeys(self, name: str) -> list[str]:
        """The names of the fields."""
        return list(self.hgetall(name))

    def hlen(self, name: str) -> int:
        """How many fields there are."""
        return len(self.hgetall(name))

    def hdel(self, name: str, *keys: str) -> int:
        """Remove fields; how many existed. A hash without fields is gone."""
        return self._change_hash(name, lambda hash_: sum(hash_.pop(key, None) is not None for key in keys))

    def hincrby(self, name: str, key: str, amount: int = 1) -> int:
        """Add to a whole number in a field; the sum."""

        def add(hash_: dict[str, str]) -> int:
            total = _whole_number(f"{name}.{key}", hash_.get(key, "0")) + amount
            hash_[key] = str(_whole_number(f"{name}.{key}", str(total)))
            return total

        return self._change_hash(name, add)

    def _change_hash(self, name: str, change: Callable[[dict[str, str]], int]) -> int:
        def make(before: Entry | None) -> tuple[Entry | None, int]:
            hash_ = _hash(name, before)
            result = change(hash_)
            after = Entry(HASH, orjson.dumps(hash_), _expiry_of(before))
            return after if hash_ else None, result

        return self._entries.change(name, make)

    def _expiry(self, ex: float | timedelta | None, px: float | timedelta | None) -> datetime | None:
        seconds = _seconds(ex) if ex is not None else None
        if px is not None:
            seconds = px.total_seconds() if isinstance(px, timedelta) else px / 1000
        if seconds is None:
            return None
        if seconds <= 0:
            raise ValueError("an expiry is later than now: give a positive number")
        return self._in(seconds)

    def _in(self, seconds: float) -> datetime:
        return self._entries.clock() + timedelta(seconds=seconds)


def _glob(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "*":
            # WHY: many stars in a row are one; written out they make the expression slow.
            if not parts or parts[-1] != ".*":
                parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character == "[" and (end := pattern.find("]", position + 1)) > position + 1:
            inside = pattern[position + 1 : end]
            negated = inside.startswith("^")
            members = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[negated:])
            parts.append(f"[{'^' * negated}{members}]")
            position = end
        else:
            if character == "\\" and position + 1 < len(pattern):
                position += 1
            parts.append(re.escape(pattern[position]))
        position += 1
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise ValueError(f"not a pattern of keys: {pattern!r}") from error


def _seconds(time: float | timedelta) -> float:
    return time.total_seconds() if isinstance(time, timedelta) else time


def _entry(value: Value, expires_at: datetime | None = None) -> Entry:
    if isinstance(value, bool) or not isinstance(value, (str, bytes, int, float)):
        raise TypeError(f"kvdb keeps text, bytes and numbers, not {type(value).__name__}: convert it first")
    if isinstance(value, bytes):
        return Entry(BYTES, value, expires_at)
    return Entry(TEXT, (value if isinstance(value, str) else repr(value)).encode(), expires_at)


def _expiry_of(entry: Entry | None) -> datetime | None:
    return None if entry is None else entry.expires_at


def _text_only(name: str, entry: Entry | None) -> None:
    if entry is not None and entry.kind == HASH:
        raise TypeError(f"'{name}' holds a hash: use hget or hgetall")


def _text(name: str, entry: Entry) -> str:
    _text_only(name, entry)
    return entry.value.decode()


def _hash(name: str, entry: Entry | None) -> dict[str, str]:
    if entry is None:
        return {}
    if entry.kind != HASH:
        raise TypeError(f"'{name}' holds a text: use get")
    return dict(orjson.loads(entry.value))


def _whole_number(name: str, text: str) -> int:
    if re.fullmatch(r"-?\d{1,19}", text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    raise ValueError(f"'{name}' does not hold a whole number of 64 bits")
