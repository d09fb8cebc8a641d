"""Users: made, changed, approved, locked, exported and erased. They are found in `sso.directory`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Connection, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from backends.clock import Clock
from security.database import upsert
from security.secrets import Ring
from specs.problems import ConfigurationError, Problem
from sso import names, tables, workflow
from sso.audit import Audit, Caller
from sso.directory import Directory, User
from sso.letters import Outbox
from sso.passwords import Passwords
from sso.privacy import Keys
from sso.problems import invalid, refusal, together
from sso.sessions import Sessions
from sso.settings import Sso, check_networks
from sso.storage import Storage
from sso.tokens import Tokens

__all__ = ["ADMINISTERED", "OWN_MEMBERS", "NewUser", "User", "Users", "open_value"]

#: What the person may change of themselves, and what a super-user may change of anybody (S4).
OWN_MEMBERS: Final = frozenset({"display_name", "language"})
ADMINISTERED: Final = OWN_MEMBERS | {"roles", "is_super_user", "must_change", "addresses"}
_LETTERS: Final = {"approve": "welcome", "reject": "rejected", "lock": "locked"}


@dataclass(frozen=True, slots=True)
class NewUser:
    """What a user begins with. *password_hash* is one of another system, taken over as it is."""

    username: str
    email: str
    password: str = ""
    password_hash: str = ""
    display_name: str = ""
    language: str = "en"
    is_super_user: bool = False
    roles: tuple[str, ...] = ()
    must_change: bool = False


class Users(Directory):
    """The people of one installation."""

    def __init__(
        self,
        database: Storage,
        settings: Sso,
        keys: Keys,
        passwords: Passwords,
        sessions: Sessions,
        tokens: Tokens,
        outbox: Outbox,
        audit: Audit,
        clock: Clock,
    ) -> None:
        super().__init__(database, settings, keys, audit, clock)
        self.passwords = passwords
        self.sessions = sessions
        self.tokens = tokens
        self.outbox = outbox

    # Made

    def create(self, new: NewUser, caller: Caller) -> User:
        """A user who is active at once. Raises Problem 409 where the name or the address is taken, 422 where one cannot be."""
        row = self.prepare(new, "active", caller)

        def work(connection: Connection) -> None:
            if self.taken(connection, row):
                raise Problem.of("conflict", "this user name or address is taken")
            connection.execute(insert(tables.users).values(row))
            self.audit.record(connection, "user.create", caller, target=row["id"])

        try:
            self.database.write(work)
        except IntegrityError:
            raise Problem.of("conflict", "this user name or address is taken") from None
        return self.get(row["id"])

    def prepare(self, new: NewUser, state: str, caller: Caller) -> dict[str, Any]:
        """The row of a new user, password hashed, nothing written yet. Raises Problem 422."""
        # WHY: whoever fills in a form is told of everything at once.
        key, address, shown, foreign = together(
            lambda: names.username_key(new.username),
            lambda: names.email_key(new.email),
            lambda: names.display_name(new.display_name),
            lambda: self._judged(new),
        )
        stored: str | None = self.passwords.hash(new.password) if new.password and foreign is None else foreign
        now = self.clock()
        key_box, ring = self.keys.new_person()
        privacy = self.settings.privacy
        return {
            "id": tables.new_id("usr_", self.keys.randomness(17)),
            "username": new.username,
            "username_key": key,
            "email": ring.encrypt(address, "email") if privacy.encrypt_email else address,
            "email_digest": self.keys.digest("email", address),
            "display_name": ring.encrypt(shown, "name") if privacy.encrypt_names else shown,
            "name_key": None if privacy.encrypt_names else names.name_key(shown),
            "language": new.language[:16],
            "password": stored,
            "password_set_at": now if stored else None,
            "must_change": new.must_change,
            "password_disabled": stored is None,
            "failures": 0,
            "state": state,
            "state_at": now,
            "state_by": caller.actor[:40],
            "session_epoch": 0,
            "is_super_user": new.is_super_user,
            "roles": list(new.roles),
            "addresses": [],
            "key_box": key_box,
            "created_at": now,
        }

    def _judged(self, new: NewUser) -> str | None:
        """The hash that a new user brings along, if any. Raises Problem 422 for one that is none, and for a weak password."""
        if new.password_hash:
            return self.passwords.take_foreign(new.password_hash)
        if new.password:
            self.check_password(new.password, "password", new.username, new.email, new.display_name)
        return None

    def taken(self, connection: Connection, row: Mapping[str, Any]) -> bool:
        """Whether another account has the name or the address of *row*, or had the name before it was deleted."""
        users = tables.users
        gone = "#" + self.keys.digest("username", row["username_key"])
        same = or_(users.c.username_key.in_([row["username_key"], gone]), users.c.email_digest == row["email_digest"])
        return connection.execute(select(users.c.id).where(same).limit(1)).first() is not None

    def check_password(
        self, password: str, member: str, username: str, email: str, display_name: str = "", *, mfa: bool = False
    ) -> None:
        """Raise Problem 422 where *password* is not good enough for this account."""
        local, _, domain = email.partition("@")
        own = [username, local, self.settings.site_name]
        context = [*domain.split("."), *names.name_key(display_name).split(), *self.settings.apps]
        enforced = mfa and self.settings.second_factor.required == "all"
        self.passwords.check(password, member, own=own, context=context, mfa=enforced)

    # Changed

    def change(self, user_id: str, changes: Mapping[str, Any], caller: Caller, *, allowed: Iterable[str]) -> User:
        """Change members of a user, of those *allowed*. Raises Problem 404, 409 and 422; nothing else is touched (S4)."""
        allowed = set(allowed)
        for member in changes:
            if member not in allowed:
                raise invalid(member, "unknown", "this cannot be changed here")
        if "addresses" in changes:
            try:
                check_networks(changes["addresses"], "addresses")
            except ConfigurationError as error:
                raise invalid("addresses", "invalid", error.message) from error

        def work(connection: Connection) -> User:
            row = self.row(connection, user_id)
            values = dict(changes)
            if "display_name" in values:
                values |= self._named(row, names.display_name(values["display_name"]))
            if values.get("is_super_user") is False:
                self._keep_one_super_user(connection, row)
            connection.execute(update(tables.users).where(tables.users.c.id == user_id).values(values))
            self.audit.record(connection, "user.change", caller, target=user_id, details={"members": sorted(changes)})
            return self.user_of(connection, self.row(connection, user_id))

        return self.database.write(work)

    def decide(self, user_id: str, event: str, caller: Caller) -> str:
        """``approve``, ``reject``, ``lock`` or ``unlock`` a user; the state that they are in now.

        Raises Problem 404, 409 where it cannot happen in their state, and 403 where it is done to oneself (S7).
        """
        if user_id == caller.actor:
            raise Problem.of("forbidden", "somebody else has to do this")
        return self.database.write(lambda connection: self.apply(connection, user_id, event, caller))

    def apply(self, connection: Connection, user_id: str, event: str, caller: Caller) -> str:
        """Within a transaction: an event of `sso.workflow`, with all that follows from it."""
        row = self.row(connection, user_id)
        state = workflow.after(row.state, event)
        if state == row.state:
            return state
        if event in ("lock", "delete"):
            self._keep_one_super_user(connection, row)
        users = tables.users
        values = {"state": state, "state_at": self.clock(), "state_by": caller.actor[:40]}
        connection.execute(update(users).where(users.c.id == user_id).values(values))
        if event in ("lock", "reject", "delete"):
            self.sessions.raise_epoch(connection, user_id)
            self.tokens.revoke(connection, user_id)
        self.audit.record(connection, f"user.{event}", caller, target=user_id, details={"from": row.state, "to": state})
        letter = _LETTERS.get(event) or ("welcome" if state == "active" and event == "confirm" else "")
        if letter and (letter != "welcome" or state == "active"):
            self.write_to(connection, row, letter)
        return state

    def require_change(self, user_id: str, caller: Caller) -> None:
        """Have the user choose another password when they next log in."""
        self.change(user_id, {"must_change": True}, caller, allowed=("must_change",))

    # Exported and erased

    def export(self, user_id: str, caller: Caller) -> dict[str, Any]:
        """All that is kept of a person, as JSON values, without hashes and secrets (S47)."""

        def work(connection: Connection) -> dict[str, Any]:
            row = self.row(connection, user_id)
            user = self.user_of(connection, row)
            ring = self.keys.person(row.key_box)
            links = select(tables.links).where(tables.links.c.user_id == user_id)
            audit = select(tables.audit).where(or_(tables.audit.c.actor == user_id, tables.audit.c.target == user_id))
            kept = select(tables.attributes).where(tables.attributes.c.user_id == user_id)
            kept_keys = select(tables.passkeys).where(tables.passkeys.c.user_id == user_id)
            exported = {
                "profile": _plain(user),
                "attributes": [
                    {"name": one.name, "value": open_value(ring, one), "of": one.owner_id[:3]}
                    for one in connection.execute(kept)
                ],
                "links": [
                    {"definition": one.definition, "principal": one.principal} for one in connection.execute(links)
                ],
                "passkeys": [
                    {"name": ring.decrypt(one.name_box, "passkey"), "created_at": one.created_at.isoformat()}
                    for one in connection.execute(kept_keys)
                ],
                "audit": [
                    {
                        "at": one.at.isoformat(),
                        "action": one.action,
                        "result": one.result,
                        # S47: where somebody else did it from is theirs.
                        "address": one.address if one.actor in ("", user_id) else "",
                    }
                    for one in connection.execute(audit.order_by(tables.audit.c.sequence))
                ],
            }
            self.audit.record(connection, "user.export", caller, target=user_id)
            return exported

        exported = self.database.write(work)
        exported["sessions"] = [_plain(session) for session in self.sessions.list(user_id)]
        return exported

    def erase(self, user_id: str, caller: Caller) -> None:
        """Delete a person: their key is dropped, so that no copy of their data opens again; what remains has no name."""

        def work(connection: Connection) -> None:
            row = self.row(connection, user_id)
            self.write_to(connection, row, "deleted")
            self.apply(connection, user_id, "delete", caller)
            reusable = self.settings.privacy.reuse_usernames
            gone = user_id if reusable else self.keys.digest("username", row.username_key)
            erased: dict[str, Any] = {
                "username": "", "username_key": f"#{gone}", "email": "", "email_digest": None, "display_name": "",
                "name_key": None, "password": None, "password_disabled": True, "is_super_user": False, "roles": [],
                "addresses": [], "key_box": None,
            }  # fmt: skip
            connection.execute(update(tables.users).where(tables.users.c.id == user_id).values(erased))
            self._empty(connection, user_id)

        self.database.write(work)

    def forget(self, connection: Connection, user_id: str) -> None:
        """Within a transaction: an account that was never anybody's was never there; its name and address are free."""
        self._empty(connection, user_id)
        connection.execute(delete(tables.users).where(tables.users.c.id == user_id))

    def _empty(self, connection: Connection, user_id: str) -> None:
        for table in (
            tables.totp, tables.recovery_codes, tables.passkeys, tables.attributes, tables.links, tables.tokens,
            tables.old_passwords,
        ):  # fmt: skip
            connection.execute(delete(table).where(table.c.user_id == user_id))
        letters = tables.letters
        connection.execute(delete(letters).where(letters.c.user_id == user_id, letters.c.kind != "deleted"))

    # Within transactions

    def write_to(self, connection: Connection, row: Any, kind: str, values: Mapping[str, Any] | None = None) -> None:
        """Post a letter to the address that is kept for a row."""
        filled = {"site_name": self.settings.site_name, "username": row.username, **(values or {})}
        self.outbox.post(connection, kind, row.id, self.email_of(row), row.language, filled)

    def set_password(self, connection: Connection, row: Any, stored: str, *, keep: str = "") -> None:
        """Give a row another password; every session but *keep* ends, every token of theirs is dead (S40)."""
        values = {
            "password": stored,
            "password_set_at": self.clock(),
            "must_change": False,
            "password_disabled": False,
            "failures": 0,
        }
        self._remember(connection, row)
        connection.execute(update(tables.users).where(tables.users.c.id == row.id).values(values))
        self.sessions.raise_epoch(connection, row.id, keep=keep)
        self.tokens.revoke(connection, row.id, "reset", "reset-key", "login")
        self.write_to(connection, row, "password-changed")

    def check_reuse(self, row: Any, password: str, member: str) -> None:
        """Raise Problem 422 where *password* is the one of the row, or one of those before it that may not come again.

        Costs a hash for each. Not within a transaction.
        """
        history = self.settings.password.history
        if not history:
            return
        old = tables.old_passwords
        before = select(old.c.password).where(old.c.user_id == row.id).order_by(old.c.until.desc()).limit(history)
        stored = self.database.read(lambda connection: list(connection.execute(before).scalars()))
        if any(self.passwords.verify(password, one) for one in [row.password, *stored] if one):
            raise invalid(member, "reused", f"none of the last {history} passwords may come again")

    def _remember(self, connection: Connection, row: Any) -> None:
        """Keep the password of a row as a former one, and no more of those than the settings say."""
        history, old = self.settings.password.history, tables.old_passwords
        if history and row.password is not None:
            upsert(connection, old, {"user_id": row.id, "until": self.clock()}, {"password": row.password})
        newest = select(old.c.until).where(old.c.user_id == row.id).order_by(old.c.until.desc()).limit(history)
        kept = list(connection.execute(newest).scalars())
        connection.execute(delete(old).where(old.c.user_id == row.id, old.c.until.not_in(kept)))

    def _named(self, row: Any, shown: str) -> dict[str, Any]:
        if row.name_key is not None:
            return {"display_name": shown, "name_key": names.name_key(shown)}
        return {"display_name": self.keys.person(row.key_box).encrypt(shown, "name")}

    def _keep_one_super_user(self, connection: Connection, row: Any) -> None:
        users = tables.users
        others = select(func.count()).where(users.c.is_super_user, users.c.state == "active", users.c.id != row.id)
        if row.is_super_user and not connection.execute(others).scalar_one():
            raise refusal("last-super-user", "there has to be a super-user: make another one first")


def open_value(ring: Ring, row: Any) -> Any:
    """The value of an attribute's row. Raises SecretError."""
    return orjson.loads(ring.decrypt(row.value, f"attribute {row.owner_id} {row.name}") if row.encrypted else row.value)


def _plain(record: Any) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in record.__slots__}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
