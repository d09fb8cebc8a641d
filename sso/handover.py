"""A log-in on our pages, handed over to an application that has a credential: by a code, for a session of its own.

The pages are ours, so no application proves itself to show them: people are sent to them, and back to the application's
``origins``. With its credential the application finds ``code`` in the address that they come back to, and its server has a
session for it, once and within a minute. The code alone is worth nothing, and one that was made for another application, or
that waits at an origin of another, neither.

SECURITY: whoever got hold of a code could bring it to the application as their own, and be taken for another. So an application
may bind the code to the browser that it sent away (PKCE: RFC 7636, and RFC 9700, 2.1.1): ``code_challenge`` in the address is the
digest of a secret, ``code_verifier``, and without that the code is good for nothing. Who brings a verifier for a code that is bound
to nobody is refused as well: or else the challenge could be left out of the address on the way (RFC 9700, 4.8).

>>> challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, select, update

from sso import tables
from sso.audit import Caller
from sso.browsers import origin_of
from sso.login import LoggedIn, Login, is_at_home
from sso.problems import refusal
from sso.sessions import Session
from sso.settings import AppRules

#: How long the code can be used, in seconds (RFC 6749, 4.1.2: ten minutes at most; ASVS 10.4.3: one).
LIFETIME: Final = 60.0
#: The letters of a challenge: a SHA-256 as base64url. What is none is a challenge that no verifier fits.
CHALLENGE_LENGTH: Final = 43


@dataclass(eq=False)
class Handover:
    """Makes codes for people who have logged in here, and sessions for codes."""

    login: Login

    def wanted(self, app: AppRules | None, place: str) -> bool:
        """Whether who is sent on to *place* takes a code along for *app*."""
        return app is not None and app.credential and origin_of(place) in app.origins

    def issue(self, session: Session, caller: Caller, challenge: str = "") -> str:
        """The code by which the application of *caller* gets a session of the person of *session*. Raises Problem 403.

        It is bound to whoever knows the verifier of *challenge*, where there is one.
        """
        caller = self.login.admit(caller)
        users = self.login.users

        def work(connection: Connection) -> str:
            row = users.row(connection, session.user_id)
            if not is_at_home(row, caller):
                raise refusal("address-not-allowed", "this person may not log in from this address")
            payload = {
                "app": caller.app, "epoch": row.session_epoch, "session": session.id, "agent": caller.user_agent,
                "challenge": challenge,
            }  # fmt: skip
            self.login.audit.record(
                connection, "login.hand-over", caller, target=row.id, actor=row.id, details={"session": session.id}
            )
            return self.login.tokens.issue(connection, "code", row.id, LIFETIME, payload)

        return self.login.database.write(work)

    def redeem(self, code: str, caller: Caller, verifier: str = "") -> LoggedIn:
        """A session for *code*, once. It was proven when the log-in here was, and lasts no longer than that.

        Raises Problem 400; the same for a code that was used, is over, is another application's, or is bound to another *verifier*,
        and where the log-in has ended.
        """
        users, sessions = self.login.users, tables.sessions

        def work(connection: Connection) -> LoggedIn | None:
            found = self.login.tokens.use(connection, "code", code)
            # SECURITY: whoever had the code may have stolen it: it is used up by a wrong application, too.
            if found is None or not caller.app or found.payload["app"] != caller.app:
                return None
            if not _fits(verifier, str(found.payload.get("challenge", ""))):
                return None
            row = users.row(connection, found.user_id)
            query = select(sessions.c.methods, sessions.c.authenticated_at, sessions.c.ends_at)
            source = connection.execute(query.where(sessions.c.id == found.payload["session"])).first()
            # SECURITY: S31. A lock, a logout and another password end what was begun before them.
            if source is None or row.session_epoch != found.payload["epoch"] or source.ends_at <= self.login.clock():
                return None
            agent = str(found.payload["agent"])
            done = self.login.let_in(connection, row, tuple(source.methods), replace(caller, user_agent=agent))
            bounds = {
                "authenticated_at": source.authenticated_at, "ends_at": source.ends_at,
                "idle_until": min(source.ends_at, done.session.created_at + self._idle),
            }  # fmt: skip
            connection.execute(update(sessions).where(sessions.c.id == done.session.id).values(bounds))
            session = replace(
                done.session, authenticated_at=source.authenticated_at, ends_at=source.ends_at,
                expires_at=bounds["idle_until"],
            )  # fmt: skip
            return done._replace(session=session)

        done = self.login.database.write(work)
        if done is None:
            raise refusal("token-invalid", "this code cannot be used (any more)")
        return done

    @property
    def _idle(self) -> timedelta:
        return timedelta(seconds=self.login.settings.session.idle)


def challenge_of(verifier: str) -> str:
    """The challenge of *verifier* (RFC 7636, 4.2: S256)."""
    digest = hashlib.sha256(verifier.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _fits(verifier: str, challenge: str) -> bool:
    if not verifier or not challenge:
        return verifier == challenge
    return hmac.compare_digest(challenge_of(verifier).encode(), challenge.encode("utf-8", "surrogatepass"))
