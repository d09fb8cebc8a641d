"""Users, as they are found and read: by id, by name or address, by search. Every reading of somebody's data is audited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, and_, or_, select

from backends.clock import Clock
from sso import names, passkeys, tables
from sso.audit import Audit, Caller
from sso.privacy import Keys
from sso.problems import invalid, refusal
from sso.settings import Sso
from sso.storage import Storage

MOST_FOUND: Final = 100


@dataclass(frozen=True, slots=True)
class User:
    """A user as people and super-users see them; nothing secret is in it (Z8)."""

    id: str
    username: str
    email: str
    display_name: str
    language: str
    state: str
    is_super_user: bool
    roles: tuple[str, ...]
    addresses: tuple[str, ...]
    must_change: bool
    has_second_factor: bool
    password_expires_at: datetime | None
    created_at: datetime


class Directory:
    """Finds users, and opens what is kept of them."""

    def __init__(self, database: Storage, settings: Sso, keys: Keys, audit: Audit, clock: Clock) -> None:
        self.database = database
        self.settings = settings
        self.keys = keys
        self.audit = audit
        self.clock = clock

    def get(self, user_id: str, caller: Caller | None = None) -> User:
        """The user with that id; with *caller*, audited as a reading of personal data. Raises Problem 404."""
        if caller is not None:
            return self.database.write(lambda connection: self._read_audited(connection, user_id, caller))
        return self.database.read(lambda connection: self.user_of(connection, self.row(connection, user_id)))

    def row(self, connection: Connection, user_id: str) -> Any:
        """The row of a user who was not deleted. Raises Problem 404."""
        users = tables.users
        query = select(users).where(users.c.id == user_id, users.c.state != "deleted")
        row = connection.execute(query).first()
        if row is None:
            raise refusal("no-such-user", "there is no such user")
        return row

    def by_identifier(self, connection: Connection, identifier: str) -> Any:
        """The row of the user with this name or address, or None."""
        users = tables.users
        kind, key = names.identifier_key(identifier)
        if kind == "none":
            return None
        same = users.c.username_key == key if kind == "username" else self._has_address(key)
        return connection.execute(select(users).where(same)).first()

    def with_address(self, connection: Connection, email_digest: str) -> Any:
        """The row of the user whose address has this digest, or None."""
        return connection.execute(select(tables.users).where(tables.users.c.email_digest == email_digest)).first()

    def search(
        self,
        query: Mapping[str, str],
        caller: Caller,
        *,
        either: bool = False,
        prefix: bool = False,
        state: str = "",
        after: str = "",
        most: int = 50,
    ) -> list[User]:
        """Users by ``username``, ``email`` and ``display_name``, at most *most* (and 100), from the id *after* on.

        *either* means that one of them is enough; *prefix* that names begin so, addresses are always whole. Raises Problem 422.
        """
        users = tables.users
        conditions = []
        for member, wanted in query.items():
            if member == "email":
                conditions.append(self._has_address(names.email_key(wanted)))
                continue
            if member not in ("username", "display_name"):
                raise invalid(member, "unknown", "search by username, email and display_name")
            if member == "display_name" and self.settings.privacy.encrypt_names:
                raise invalid(member, "encrypted", "names are encrypted here and cannot be searched")
            column = users.c.username_key if member == "username" else users.c.name_key
            key = names.name_key(wanted)
            # SECURITY: S44. What has a meaning in LIKE is escaped.
            conditions.append(column.startswith(key, autoescape=True) if prefix else column == key)
        statement = select(users).where(users.c.state != "deleted", users.c.id > after).order_by(users.c.id)
        if conditions:
            statement = statement.where(or_(*conditions) if either else and_(*conditions))
        if state:
            statement = statement.where(users.c.state == state)
        statement = statement.limit(max(1, min(most, MOST_FOUND)))

        def work(connection: Connection) -> list[User]:
            found = [self.user_of(connection, row) for row in connection.execute(statement)]
            details = {"members": sorted(query), "found": [user.id for user in found]}
            self.audit.record(connection, "user.search", caller, details=details)
            return found

        return self.database.write(work)

    # Rows

    def user_of(self, connection: Connection, row: Any) -> User:
        """The user of a row."""
        query = select(tables.totp.c.user_id).where(tables.totp.c.user_id == row.id)
        coded = connection.execute(query).first() is not None
        return User(
            id=row.id,
            username=row.username,
            email=self.email_of(row),
            display_name=self.name_of(row),
            language=row.language,
            state=row.state,
            is_super_user=row.is_super_user,
            roles=tuple(row.roles),
            addresses=tuple(row.addresses),
            must_change=row.must_change,
            has_second_factor=coded or passkeys.count(connection, row.id) > 0,
            password_expires_at=self.password_end(row),
            created_at=row.created_at,
        )

    def email_of(self, row: Any) -> str:
        """The address of a row. Raises SecretError for a box that was moved or changed (S30)."""
        return row.email if "@" in row.email else self.keys.person(row.key_box).decrypt(row.email, "email")

    def name_of(self, row: Any) -> str:
        """The display name of a row. Raises SecretError."""
        if row.name_key is not None:
            return str(row.display_name)
        return self.keys.person(row.key_box).decrypt(row.display_name, "name")

    def password_end(self, row: Any) -> datetime | None:
        """When the password of a row has to be changed, if ever."""
        age = self.settings.password.expires_after
        if isinstance(age, str) or row.password_set_at is None:
            return None
        return row.password_set_at + timedelta(seconds=age)  # type: ignore[no-any-return]

    def _read_audited(self, connection: Connection, user_id: str, caller: Caller) -> User:
        user = self.user_of(connection, self.row(connection, user_id))
        self.audit.record(connection, "user.read", caller, target=user_id)
        return user

    def _has_address(self, key: str) -> Any:
        return tables.users.c.email_digest == self.keys.digest("email", key)
