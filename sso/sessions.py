"""Sessions: who is logged in, by an opaque token of 256 bits of which only the SHA-256 is kept.

A session ends when it was not used for long (*idle*), at its *absolute* end however often it was renewed, when it is revoked,
and with its person's *epoch*: lock, delete and change of password raise that number in their own transaction, and whatever
was begun under an older one is dead, a login in flight included (S31).

A renewed token follows from the one before it under a key of ours. So two tabs that renew at the same moment get the same
new token; the old one is taken for a few seconds more, and its use after that ends the session, for somebody has kept a copy.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from backends.clock import Clock
from security.addresses import parse_address
from specs.problems import Problem
from sso import tables
from sso.audit import Audit, Caller
from sso.memory import Memory, Watch
from sso.privacy import Keys
from sso.problems import refusal
from sso.settings import Sso
from sso.storage import Storage, tell
from sso.tokens import digest_of

PREFIX: Final = "gws_"
#: ``gws_`` and 256 bits in base64.
LENGTH: Final = len(PREFIX) + 43
#: The moment of last use is written at most so often, or four times in what a session lives without being used.
TOUCH: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Session:
    """A session that is alive, and as much of its person as each request needs."""

    id: str
    user_id: str
    username: str
    is_super_user: bool
    roles: tuple[str, ...]
    app: str
    address: str
    user_agent: str
    methods: tuple[str, ...]
    authenticated_at: datetime
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    ends_at: datetime

    @property
    def level(self) -> int:
        """How surely the person was proven: 2 with a second factor, else 1."""
        # WHY: a command proves nothing of the person, so whoever proves one thing beside it has proven one.
        return 2 if len({*self.methods} - {"command"}) > 1 else 1


class Checked(NamedTuple):
    """A session that is alive, and until when nothing but a change of its person's ends it, or has it noted as used."""

    session: Session
    until: datetime


class _Known(NamedTuple):
    """A session as it was read: by which token, its row with its person's, and what is given out of it."""

    digest: str
    row: Mapping[str, Any]
    checked: Checked

    def outlived(self, now: datetime) -> bool:
        """Whether the token that it was found by was renewed so long ago that it is not taken any more."""
        return self.row["token_digest"] != self.digest and bool(now >= self.row["previous_until"])


class Opened(NamedTuple):
    """A token, to be handed out once, and its session."""

    token: str
    session: Session


class Sessions:
    """Opens, checks, renews and ends sessions."""

    def __init__(self, database: Storage, settings: Sso, keys: Keys, audit: Audit, clock: Clock, watch: Watch) -> None:
        self.database = database
        self.rules = rules = settings.session
        self._proving = frozenset(name for name, app in settings.apps.items() if app.credential)
        # WHY: a session lives on by being used, however soon it ends without.
        self._touch = min(TOUCH, timedelta(seconds=rules.idle) / 4)
        self.keys = keys
        self.audit = audit
        self.clock = clock
        self._memory: Memory[_Known] = Memory(database.stamps, watch)

    def open(self, connection: Connection, user: Any, methods: tuple[str, ...], caller: Caller) -> Opened:
        """A new session for the row *user*, always with a new token (S18), within a transaction that has proven them.

        Raises Problem 409 where the person has as many as they may and the oldest is not to make room.
        """
        now = self.clock()
        sessions = tables.sessions
        self._remove(connection, sessions.c.user_id == user.id, self._over(now))
        mine = select(sessions.c.id).where(sessions.c.user_id == user.id).order_by(sessions.c.created_at, sessions.c.id)
        alive = [row.id for row in connection.execute(mine)]
        surplus = len(alive) + 1 - self.rules.max_per_user
        if surplus > 0:
            if self.rules.when_full == "refuse":
                raise refusal("too-many-sessions", "end another session first")
            self._remove(connection, sessions.c.id.in_(alive[:surplus]))
        token = _token(self.keys.randomness(32))
        ends_at = now + timedelta(seconds=self.rules.absolute)
        row = {
            "token_digest": digest_of(token),
            "id": tables.new_id("ses_", self.keys.randomness(17)),
            "user_id": user.id,
            "epoch": user.session_epoch,
            "app": "" if caller.unproven else caller.app,
            "address": caller.address[:64],
            "user_agent": caller.user_agent[:200],
            "methods": list(methods),
            "authenticated_at": now,
            "created_at": now,
            "seen_at": now,
            "idle_until": min(ends_at, now + timedelta(seconds=self.rules.idle)),
            "ends_at": ends_at,
        }
        connection.execute(insert(sessions).values(row))
        return Opened(token, _session({**row, **_of_user(user)}))

    def check(self, token: str, caller: Caller) -> Session:
        """The live session of *token*, used just now. Raises Problem 401: ``session-invalid``, ``-binding``, ``app-unproven``.

        *caller* has proven its application, where that is one that proves itself. Costs no query where the token was checked a
        moment ago and nothing of its person has changed since.
        """
        return self.check_until(token, caller).session

    def check_until(self, token: str, caller: Caller) -> Checked:
        """As `check`, and until when the same call would find the same."""
        known = self._by_token(token)
        if known.outlived(self.clock()):
            self._stolen(known.row, caller)
        self._check_binding(known.row, caller)
        app = known.row["app"]
        # SECURITY: asked here, so that no way in forgets it: its token alone is worth nothing, by whatever name it is sent.
        if app in self._proving and (caller.app != app or caller.unproven):
            raise refusal("app-unproven", "this application proves itself by X-Gateway-App-Secret")
        return known.checked

    def _by_token(self, token: str) -> _Known:
        # PERF: a text that cannot be a token is not looked up.
        if len(token) != LENGTH or not token.startswith(PREFIX):
            raise refusal("session-invalid")
        digest, now = digest_of(token), self.clock()
        known = self._memory.recall(digest)
        return known if known is not None and now < known.checked.until else self._known(digest, now)

    def _known(self, digest: str, now: datetime) -> _Known:
        """The live session of the token with that digest, read anew, and noted as used where that was a minute ago."""
        began = self._memory.begin()
        row = self._find(digest, now)
        if now - row["seen_at"] >= self._touch:
            idle_until = min(row["ends_at"], now + timedelta(seconds=self.rules.idle))
            self.database.write(lambda connection: self._use(connection, row["id"], now, idle_until), audited=False)
            row = {**row, "seen_at": now, "idle_until": idle_until}
        ends = [row["idle_until"], row["ends_at"], row["seen_at"] + self._touch]
        if row["token_digest"] != digest:
            ends.append(row["previous_until"])
        known = _Known(digest, row, Checked(_session(row), min(ends)))
        self._memory.keep(digest, known, row["user_id"], began)
        return known

    def renew(self, token: str, caller: Caller) -> Opened:
        """A new token for the session, whose absolute end stays. The old one is taken for a moment more."""
        session = self.check(token, caller)
        fresh = _token(self.keys.renewal(token))
        return self.database.write(lambda connection: self._renew(connection, session, token, fresh, caller))

    def prove_again(self, connection: Connection, session: Session, method: str, caller: Caller) -> Opened:
        """A new token for *session* whose person has just been proven once more by *method*; the old one is dead."""
        now, token = self.clock(), _token(self.keys.randomness(32))
        methods = tuple(dict.fromkeys((*session.methods, method)))
        values = {
            "token_digest": digest_of(token),
            "authenticated_at": now,
            "methods": list(methods),
            "previous_digest": None,
            "previous_until": None,
        }
        changed = connection.execute(
            update(tables.sessions).where(tables.sessions.c.id == session.id).values(values)
        ).rowcount
        if not changed:
            raise refusal("session-invalid")
        row = _row(connection, tables.sessions.c.id == session.id)
        self.audit.record(connection, "session.prove-again", caller, target=session.user_id)
        assert row is not None
        return Opened(token, _session(row))

    def require_recent(self, session: Session) -> None:
        """Raise Problem 403 where the person proved themselves too long ago for what is delicate."""
        if self.clock() - session.authenticated_at > timedelta(seconds=self.rules.recent):
            raise refusal("reauthentication-required")

    def look_up(self, token: str) -> Session | None:
        """The live session of *token* for somebody who was handed it, from wherever; None where there is none.

        It counts as used, and nothing else comes of it: what is bound elsewhere or was replaced is not ended by a question.
        """
        try:
            known = self._by_token(token)
        except Problem:
            return None
        return None if known.outlived(self.clock()) else known.checked.session

    def list(self, user_id: str) -> list[Session]:
        """The live sessions of a person, the newest first; no token is among what is given (Z5)."""
        now = self.clock()
        sessions = tables.sessions
        query = _joined().where(sessions.c.user_id == user_id).order_by(sessions.c.created_at.desc(), sessions.c.id)
        rows = self.database.read(lambda connection: [dict(row) for row in connection.execute(query).mappings()])
        return [_session(row) for row in rows if _alive(row, now)]

    def end(self, user_id: str, session_id: str, caller: Caller) -> None:
        """End one session of a person. Raises Problem 404 where it is not theirs, or there is none (S26)."""

        def work(connection: Connection) -> None:
            sessions = tables.sessions
            if not self._remove(connection, sessions.c.user_id == user_id, sessions.c.id == session_id):
                raise refusal("no-such-session")
            self.audit.record(connection, "session.end", caller, target=user_id, details={"session": session_id})

        self.database.write(work)

    def end_all(self, user_id: str, caller: Caller, *, keep: str = "") -> None:
        """End every session of a person, but for the one with the id *keep*, logins in flight included."""

        def work(connection: Connection) -> None:
            self.raise_epoch(connection, user_id, keep=keep)
            self.audit.record(connection, "session.end-all", caller, target=user_id, details={"kept": keep})

        self.database.write(work)

    def end_everybodys(self, caller: Caller) -> None:
        """End every session of everybody."""

        def work(connection: Connection) -> None:
            users = tables.users
            connection.execute(update(users).values(session_epoch=users.c.session_epoch + 1))
            self._remove(connection)
            self.audit.record(connection, "session.end-everybodys", caller)

        self.database.write(work)

    def raise_epoch(self, connection: Connection, user_id: str, *, keep: str = "") -> None:
        """Within a transaction: whatever was begun by this person before it is dead, but for the session *keep*."""
        users, sessions = tables.users, tables.sessions
        tell(connection, "session.epoch", user_id)
        connection.execute(update(users).where(users.c.id == user_id).values(session_epoch=users.c.session_epoch + 1))
        self._remove(connection, sessions.c.user_id == user_id, sessions.c.id != keep)
        epoch = select(users.c.session_epoch).where(users.c.id == user_id).scalar_subquery()
        connection.execute(
            update(sessions)
            .where(sessions.c.id == keep, sessions.c.user_id == user_id)
            .values(epoch=epoch, previous_digest=None, previous_until=None)
        )

    def sweep(self, connection: Connection) -> int:
        """Forget sessions that are over; how many there were."""
        return self._remove(connection, self._over(self.clock()))

    def _renew(self, connection: Connection, session: Session, token: str, fresh: str, caller: Caller) -> Opened:
        now, sessions = self.clock(), tables.sessions
        old = digest_of(token)
        values = {
            "token_digest": digest_of(fresh),
            "previous_digest": old,
            "previous_until": now + timedelta(seconds=self.rules.renewal_grace),
            "seen_at": now,
            "idle_until": min(session.ends_at, now + timedelta(seconds=self.rules.idle)),
        }
        # WHY: compare and set; who comes second with the same token finds it replaced and gets the same new one.
        changed = connection.execute(update(sessions).where(sessions.c.token_digest == old).values(values)).rowcount
        row = _row(connection, sessions.c.token_digest == digest_of(fresh), sessions.c.previous_digest == old)
        if row is None or not _alive(row, now):
            raise refusal("session-invalid")
        if changed:
            self.audit.record(connection, "session.renew", caller, target=session.user_id, actor=session.user_id)
        return Opened(fresh, _session(row))

    def _find(self, digest: str, now: datetime) -> dict[str, Any]:
        # PERF: one join by primary key.
        sessions = tables.sessions
        row = self.database.read(
            lambda connection: _row(
                connection, or_(sessions.c.token_digest == digest, sessions.c.previous_digest == digest)
            )
        )
        if row is None or not _alive(row, now):
            raise refusal("session-invalid")
        return row

    def _stolen(self, row: Mapping[str, Any], caller: Caller) -> None:
        def work(connection: Connection) -> None:
            self._remove(connection, tables.sessions.c.id == row["id"])
            self.audit.record(
                connection, "session.replayed", caller, target=row["user_id"], result="refused",
                details={"session": row["id"]},
            )  # fmt: skip

        self.database.write(work)
        raise refusal("session-invalid")

    def _check_binding(self, row: Mapping[str, Any], caller: Caller) -> None:
        # What nobody says is no claim.
        other_app = self.rules.bind_app and caller.app not in ("", row["app"])
        other_address = self.rules.bind_address and parse_address(caller.address) != parse_address(row["address"])
        if not other_app and not other_address:
            return

        def work(connection: Connection) -> None:
            self._remove(connection, tables.sessions.c.id == row["id"])
            self.audit.record(
                connection, "session.binding", caller, target=row["user_id"], result="refused",
                details={"session": row["id"], "app": row["app"]},
            )  # fmt: skip

        self.database.write(work)
        raise refusal("session-binding", "this session was opened elsewhere and has been ended")

    def _use(self, connection: Connection, session_id: str, now: datetime, idle_until: datetime) -> None:
        sessions = tables.sessions
        # WHY: of all workers that find it a minute old one writes, and a slower one never takes a later use back.
        connection.execute(
            update(sessions)
            .where(sessions.c.id == session_id, sessions.c.seen_at <= now - self._touch)
            .values(seen_at=now, idle_until=idle_until)
        )

    def _over(self, now: datetime) -> Any:
        sessions, users = tables.sessions, tables.users
        epoch = select(users.c.session_epoch).where(users.c.id == sessions.c.user_id).scalar_subquery()
        return or_(sessions.c.ends_at <= now, sessions.c.idle_until <= now, sessions.c.epoch != epoch)

    def _remove(self, connection: Connection, *conditions: Any) -> int:
        # S45: what was kept for a session goes with it.
        gone = [row.id for row in connection.execute(select(tables.sessions.c.id).where(*conditions))]
        for start in range(0, len(gone), 500):
            some = gone[start : start + 500]
            connection.execute(delete(tables.attributes).where(tables.attributes.c.owner_id.in_(some)))
            connection.execute(delete(tables.sessions).where(tables.sessions.c.id.in_(some)))
        return len(gone)


def count_of(connection: Connection, user_id: str) -> int:
    """How many sessions a person has, those that are over included."""
    sessions = tables.sessions
    query = select(func.count()).select_from(sessions).where(sessions.c.user_id == user_id)
    return connection.execute(query).scalar_one()


def _token(random: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(random).decode().rstrip("=")


def _of_user(user: Any) -> dict[str, Any]:
    return {"username": user.username, "is_super_user": user.is_super_user, "roles": user.roles}


def _joined() -> Any:
    users = tables.users
    columns = (users.c.username, users.c.is_super_user, users.c.roles, users.c.state, users.c.session_epoch)
    return select(tables.sessions, *columns).join(users, users.c.id == tables.sessions.c.user_id)


def _row(connection: Connection, *conditions: Any) -> dict[str, Any] | None:
    row = connection.execute(_joined().where(*conditions)).mappings().first()
    return None if row is None else dict(row)


def _alive(row: Mapping[str, Any], now: datetime) -> bool:
    valid = row["state"] == "active" and row["epoch"] == row["session_epoch"]
    return bool(valid and now < row["idle_until"] and now < row["ends_at"])


def _session(row: Mapping[str, Any]) -> Session:
    same = ("id", "user_id", "username", "is_super_user", "app", "address", "user_agent")
    moments = ("authenticated_at", "created_at", "seen_at", "ends_at")
    return Session(
        **{name: row[name] for name in (*same, *moments)},
        roles=tuple(row["roles"]),
        methods=tuple(row["methods"]),
        expires_at=row["idle_until"],
    )
