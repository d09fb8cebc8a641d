"""Attributes: what applications keep of a user or of a session, as JSON values, optionally encrypted, optionally for a time.

An encrypted value is under its person's key and bound to its owner and name. What has expired is not there any more, swept
or not; what was kept for a session goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, delete, false, func, or_, select

from backends.clock import Clock
from security.database import upsert
from sso import tables
from sso.audit import Audit, Caller
from sso.privacy import Keys
from sso.problems import invalid, refusal
from sso.storage import Storage
from sso.users import Users, open_value

MOST: Final = 100
LARGEST: Final = 16_384
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute."""

    name: str
    value: Any
    encrypted: bool
    expires_at: datetime | None
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Given:
    """What an attribute is set to."""

    value: Any
    encrypted: bool = False
    expires_at: datetime | None = None


class Attributes:
    """The attributes of users and of sessions. *owner_id* is a user's or a session's id, *user_id* the person's own."""

    def __init__(self, database: Storage, keys: Keys, users: Users, audit: Audit, clock: Clock) -> None:
        self.database = database
        self.keys = keys
        self.users = users
        self.audit = audit
        self.clock = clock

    def names(self, owner_id: str) -> list[str]:
        """The names of what an owner has, in order."""
        query = self._of(select(tables.attributes.c.name), owner_id).order_by(tables.attributes.c.name)
        return self.database.read(lambda connection: list(connection.execute(query).scalars()))

    def all(self, owner_id: str, user_id: str) -> list[Attribute]:
        """What an owner has, in the order of names."""
        query = self._of(select(tables.attributes), owner_id).order_by(tables.attributes.c.name)
        return self.database.read(lambda connection: self._opened(connection, query, user_id))

    def get(self, owner_id: str, user_id: str, name: str) -> Attribute:
        """One attribute. Raises Problem 404."""
        query = self._of(select(tables.attributes), owner_id).where(tables.attributes.c.name == name)
        found = self.database.read(lambda connection: self._opened(connection, query, user_id))
        if not found:
            raise refusal("no-such-attribute", "there is no such attribute")
        return found[0]

    def set(
        self, owner_id: str, user_id: str, given: Mapping[str, Given], caller: Caller, *, alone: bool = False
    ) -> None:
        """Set attributes, all or none; *alone* takes away the others. Raises Problem 422 for what cannot be kept (S45)."""
        now = self.clock()
        encoded = {name: _encoded(name, one, now) for name, one in given.items()}

        def work(connection: Connection) -> None:
            ring = self.keys.person(self.users.row(connection, user_id).key_box)
            self._check_session(connection, owner_id, user_id)
            stale = or_(
                tables.attributes.c.expires_at <= now, tables.attributes.c.name.not_in(given) if alone else false()
            )
            connection.execute(delete(tables.attributes).where(tables.attributes.c.owner_id == owner_id, stale))
            created = select(tables.attributes.c.name, tables.attributes.c.created_at)
            mine = created.where(tables.attributes.c.owner_id == owner_id)
            kept = {row.name: row.created_at for row in connection.execute(mine)}
            if len({*kept, *given}) > MOST:
                raise invalid("name", "too-many", f"there can be {MOST} attributes at most")
            for name, text in encoded.items():
                one = given[name]
                value = ring.encrypt(text, f"attribute {owner_id} {name}") if one.encrypted else text
                values = {
                    "user_id": user_id, "value": value, "encrypted": one.encrypted, "expires_at": one.expires_at,
                    "created_at": kept.get(name, now), "changed_at": now,
                }  # fmt: skip
                upsert(connection, tables.attributes, {"owner_id": owner_id, "name": name}, values)
            self.audit.record(
                connection, "attribute.set", caller, target=user_id, details={"names": sorted(given), "owner": owner_id}
            )

        self.database.write(work)

    def delete(self, owner_id: str, user_id: str, name: str, caller: Caller) -> None:
        """Take an attribute away. Raises Problem 404."""

        def work(connection: Connection) -> None:
            attributes = tables.attributes
            found = connection.execute(self._of(select(attributes.c.name), owner_id).where(attributes.c.name == name))
            if found.first() is None:
                raise refusal("no-such-attribute", "there is no such attribute")
            connection.execute(delete(attributes).where(attributes.c.owner_id == owner_id, attributes.c.name == name))
            self.audit.record(
                connection, "attribute.delete", caller, target=user_id, details={"names": [name], "owner": owner_id}
            )

        self.database.write(work)

    def sweep(self, connection: Connection) -> int:
        """Forget what has expired; how many there were."""
        return connection.execute(
            delete(tables.attributes).where(tables.attributes.c.expires_at <= self.clock())
        ).rowcount

    def _of(self, query: Any, owner_id: str) -> Any:
        attributes = tables.attributes
        alive = or_(attributes.c.expires_at.is_(None), attributes.c.expires_at > self.clock())
        return query.where(attributes.c.owner_id == owner_id, alive)

    def _opened(self, connection: Connection, query: Any, user_id: str) -> list[Attribute]:
        ring = self.keys.person(self.users.row(connection, user_id).key_box)
        return [
            Attribute(row.name, open_value(ring, row), row.encrypted, row.expires_at, row.created_at, row.changed_at)
            for row in connection.execute(query)
        ]

    def _check_session(self, connection: Connection, owner_id: str, user_id: str) -> None:
        if owner_id == user_id:
            return
        sessions = tables.sessions
        query = select(func.count()).where(sessions.c.id == owner_id, sessions.c.user_id == user_id)
        if not connection.execute(query).scalar_one():
            raise refusal("no-such-session")


def _encoded(name: str, given: Given, now: datetime) -> str:
    if not _NAME.fullmatch(name):
        raise invalid("name", "invalid", "a name has 1 to 128 letters, digits, dots, dashes, colons and underscores")
    if given.expires_at is not None and given.expires_at <= now:
        raise invalid("expires_at", "invalid", "this moment is over")
    try:
        text = orjson.dumps(given.value).decode()
    except (TypeError, ValueError):
        raise invalid("value", "invalid", "a value is one that JSON can hold") from None
    if len(text) > LARGEST:
        raise invalid("value", "too-long", f"a value has {LARGEST:,} bytes of JSON at most")
    return text
