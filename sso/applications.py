"""Applications that prove themselves: what ``X-Gateway-App`` says is a claim, a credential of the application's own proves it.

A credential is an id, which is public, and a secret of 256 bits, shown once, of which only the SHA-256 is kept. It is sent as
``X-Gateway-App-Secret``, or by HTTP Basic with the application or the id as the name. Several hold at once, so that one can be
replaced before it is taken away. An application with ``credential: true`` is heard with one alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select

from backends.clock import Clock
from specs.problems import Problem
from sso import tables
from sso.audit import Audit, Caller
from sso.memory import Memory, Watch
from sso.privacy import Randomness
from sso.problems import invalid, refusal
from sso.settings import Sso
from sso.storage import Storage
from sso.tokens import digest_of

#: The header by which applications say who they are, and the one by which they prove it.
APP_HEADER: Final = "x-gateway-app"
SECRET_HEADER: Final = "x-gateway-app-secret"  # noqa: S105  the name of a header
PREFIX: Final = "gwa_"
LENGTH: Final = len(PREFIX) + 43
MOST: Final = 10


@dataclass(frozen=True, slots=True)
class AppCredential:
    """What an application proves itself by, without its secret."""

    id: str
    app: str
    name: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None


class Issued(NamedTuple):
    """A new credential and its secret, to be shown once."""

    credential: AppCredential
    secret: str


class Applications:
    """The applications of one installation, and what they prove themselves by."""

    def __init__(
        self, database: Storage, settings: Sso, audit: Audit, clock: Clock, randomness: Randomness, watch: Watch
    ) -> None:
        self.database = database
        self.settings = settings
        self.audit = audit
        self.clock = clock
        self.randomness = randomness
        self._memory: Memory[AppCredential] = Memory(database.stamps, watch, most=1000)

    def add(self, app: str, caller: Caller, *, name: str = "", expires_at: datetime | None = None) -> Issued:
        """A new credential of *app*. Raises Problem 404, 409 where it has as many as it may, and 422."""
        self._known(app)
        now = self.clock()
        if expires_at is not None and (expires_at.tzinfo is None or expires_at <= now):
            raise invalid("expires_at", "invalid", "a moment to come, with its time zone")
        secret = PREFIX + base64.urlsafe_b64encode(self.randomness(32)).decode().rstrip("=")
        credential = AppCredential(
            tables.new_id("apc_", self.randomness(17)), app, name[:100], now, caller.actor[:40], expires_at
        )
        row = {member: getattr(credential, member) for member in credential.__slots__}
        held = tables.app_credentials

        def work(connection: Connection) -> None:
            connection.execute(delete(held).where(held.c.app == app, held.c.expires_at <= now))
            if connection.execute(select(func.count()).where(held.c.app == app)).scalar_one() >= MOST:
                raise refusal("too-many-credentials", f"an application has {MOST} at most: take one away first")
            connection.execute(insert(held).values(digest=digest_of(secret), **row))
            self.audit.record(connection, "app.credential-add", caller, details={"app": app, "id": credential.id})

        self.database.write(work)
        return Issued(credential, secret)

    def all(self, app: str) -> list[AppCredential]:
        """The credentials of *app*, the oldest first. Raises Problem 404."""
        self._known(app)
        held = tables.app_credentials
        query = select(held).where(held.c.app == app).order_by(held.c.created_at, held.c.id)
        return self.database.read(lambda connection: [_credential(row) for row in connection.execute(query)])

    def remove(self, app: str, credential_id: str, caller: Caller) -> None:
        """Take a credential away, at once. Raises Problem 404."""
        held = tables.app_credentials

        def work(connection: Connection) -> None:
            gone = connection.execute(delete(held).where(held.c.app == app, held.c.id == credential_id)).rowcount
            if not gone:
                raise refusal("no-such-app", "this application has no such credential")
            self.audit.record(connection, "app.credential-remove", caller, details={"app": app, "id": credential_id})

        self.database.write(work)

    def prove(self, secret: str) -> AppCredential:
        """Whose *secret* this is. Raises Problem 401; the same whether it never was one, has ended or was taken away."""
        # SECURITY: what is looked up is a digest of 256 bits: how long that takes tells nothing about a secret.
        if len(secret) != LENGTH or not secret.startswith(PREFIX):
            raise wrong()
        digest = digest_of(secret)
        # PERF: applications send it with each call; a query takes 100 us.
        found = self._memory.recall(digest) or self._held(digest)
        if found is None or (found.expires_at is not None and found.expires_at <= self.clock()):
            raise wrong()
        if found.app not in self.settings.apps:
            raise wrong()
        return found

    def _held(self, digest: str) -> AppCredential | None:
        began, held = self._memory.begin(), tables.app_credentials
        query = select(held).where(held.c.digest == digest)
        row = self.database.read(lambda connection: connection.execute(query).first())
        if row is None:
            return None
        found = _credential(row)
        self._memory.keep(digest, found, "", began)
        return found

    def named_by(self, headers: Mapping[str, str]) -> str:
        """The application that a call comes from, proven where it has to be; *headers* by lower-case name.

        Raises Problem 401 for a wrong secret, one of another application, and none where one is needed.
        """
        claimed, secret = headers.get(APP_HEADER, ""), headers.get(SECRET_HEADER, "")
        if secret:
            app = self.prove(secret).app
            if claimed not in ("", app):
                raise wrong()
            return app
        found = self.settings.app_of(claimed)
        if found is None:
            return claimed[:100]
        if found.credential:
            raise refusal("app-unproven", "this application proves itself by X-Gateway-App-Secret")
        return found.name

    def claimed_by(self, headers: Mapping[str, str]) -> str:
        """As `named_by`, but empty where nothing is said: a session knows which application it is of. Raises Problem 401."""
        return self.named_by(headers) if APP_HEADER in headers or SECRET_HEADER in headers else ""

    def calling(self, headers: Mapping[str, str]) -> AppCredential:
        """The application that calls in its own name, by its secret's header, HTTP Basic or as a bearer token.

        Raises Problem 401, with what can be sent.
        """
        secret = headers.get(SECRET_HEADER, "")
        if secret:
            return self.prove(secret)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip()
        if scheme.lower() == "bearer":
            return self.prove(given)
        if scheme.lower() != "basic" or len(given) > 1024:
            raise wrong()
        try:
            name, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise wrong() from None
        found = self.prove(secret)
        if name not in (found.app, found.id):
            raise wrong()
        return found

    def _known(self, app: str) -> None:
        if app not in self.settings.apps:
            raise refusal("no-such-app", "there is no such application: it has to be one of sso.apps")


def wrong() -> Problem:
    """What a credential that proves nothing is answered with."""
    problem = refusal("app-unproven", "this is no credential of an application")
    problem.headers = (*problem.headers, ("WWW-Authenticate", 'Basic realm="applications"'))
    return problem


def _credential(row: Any) -> AppCredential:
    return AppCredential(**{member: getattr(row, member) for member in AppCredential.__slots__})
