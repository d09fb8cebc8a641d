"""What the services of single sign-on share: who calls, with which session, and inputs that hold nothing undeclared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from backends.service import Service
from specs.elements import Text
from specs.problems import Fault
from sso.audit import Caller
from sso.browsers import refuse_forgery, session_cookie, set_cookie
from sso.problems import refusal
from sso.sessions import Session
from sso.system import SingleSignOn

CODE = Text("-totp_code", max_length=16)


def password(name: str) -> Text:
    """An element for a password.

    # SECURITY: S9. Longer than any password that is taken: what is too long is told so by the rules, not cut off before.
    """
    return Text(name, max_length=4096)


class SsoService(Service):
    """A service of ours. `platform.sso` is the process's `SingleSignOn`."""

    @property
    def rooms(self) -> SingleSignOn:
        """Single sign-on of this process."""
        found: SingleSignOn = self.platform.sso
        return found

    def before_handle(self) -> None:
        """Refuse what another site's page sent (S19), and members that the contract does not declare.

        # SECURITY: S4. What is ignored today is assigned tomorrow.
        """
        self._refuse_forgery()
        self.response.headers["Cache-Control"] = "no-store"
        given = self.request.payload
        if not isinstance(given, Mapping):
            return
        # The input knows every name that is declared, given or not.
        known = getattr(type(self.request.input), "_names", ())
        faults = [Fault(f"/{name}", "unknown", "there is no such member") for name in given if name not in known]
        if faults:
            raise refusal("validation-failed", "members that do not exist here", errors=faults)

    @property
    def caller(self) -> Caller:
        """Where the call comes from, no person proven. Raises Problem 401 where the application has to prove itself."""
        return self._caller(self.rooms.applications.named_by(self._call.headers))

    def _caller(self, app: str) -> Caller:
        call = self._call
        return Caller(
            app=app,
            address=call.address,
            user_agent=call.headers.get("user-agent", "")[:200],
            cid=self.cid,
            reason=str(self.request.input.get("reason") or ""),
        )

    def claimed(self) -> Caller:
        """As `caller`, with no application where none is said: a session knows which it is of. Raises Problem 401."""
        return self._caller(self.rooms.applications.claimed_by(self._call.headers))

    def session(self) -> tuple[Session, Caller]:
        """The session whose token came with the call, and its person as the caller. Raises Problem 401."""
        token, sso, caller = self.token(), self.rooms, self.claimed()
        session = sso.sessions.check(token, caller)
        return session, replace(caller, actor=session.user_id, app=session.app)

    def recent(self) -> tuple[Session, Caller]:
        """As `session`, where the person has proven themselves a short while ago. Raises Problem 401 and 403."""
        session, caller = self.session()
        self.rooms.sessions.require_recent(session)
        return session, caller

    def super_user(self) -> tuple[Session, Caller]:
        """As `session`, of a super-user with a second factor where one is required. Raises Problem 401 and 403 (S7)."""
        session, caller = self.session()
        self.rooms.require_super_user(session, caller, self.name)
        return session, caller

    def token(self) -> str:
        """The session's token: of ``Authorization: Bearer``, else of the session's cookie. Raises Problem 401."""
        token = self._bearer() or self._cookie()
        if not token:
            raise refusal("session-invalid", "send the session's token as a bearer token")
        return token

    def hand_out(self, token: str, *, cookie: bool | None = None) -> dict[str, str]:
        """The members of an answer that give *token*: none where it is set as the session's cookie, as it came or as was asked.

        # SECURITY: what a page's script does not get, no script that was planted there gets either.
        """
        if cookie if cookie is not None else not self._bearer():
            self.response.headers["Set-Cookie"] = set_cookie(token, secure=self.rooms.secure)
            return {}
        return {"token": token, "token_type": "Bearer"}

    def take_back(self) -> None:
        """The session is over: a browser forgets its cookie."""
        if not self._bearer():
            self.response.headers["Set-Cookie"] = set_cookie("", secure=self.rooms.secure)
            self.response.headers["Clear-Site-Data"] = '"cache", "storage"'

    def form_proof(self) -> str:
        """What a page sends back in ``X-Gateway-CSRF`` where its browser says nothing of where a call comes from."""
        token = self._cookie()
        return self.rooms.form_proof(token) if token else ""

    def _bearer(self) -> str:
        scheme, _, token = self._call.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def _cookie(self) -> str:
        return session_cookie(self._call.headers.get("cookie", ""), secure=self.rooms.secure)

    def _refuse_forgery(self) -> None:
        call, sso = self._call, self.rooms
        host = call.headers.get("host", "").lower()
        schemes = ("https",) if sso.secure else ("https", "http")
        token = "" if self._bearer() else self._cookie()
        refuse_forgery(
            call.method,
            call.headers,
            {*sso.origins, *(f"{scheme}://{host}" for scheme in schemes)},
            by_cookie=bool(token),
            proves=lambda given: sso.proves_form(token, given),
        )

    def own_or_session(self, session: Session) -> str:
        """Whose attributes are meant."""
        return session.id if self.request.input.get("of") == "session" else session.user_id


def plain(record: Any) -> dict[str, Any]:
    """A record as JSON values: moments in ISO 8601, tuples as lists."""
    return {name: _value(getattr(record, name)) for name in record.__slots__}


def session_of(session: Session) -> dict[str, Any]:
    """A session as its person sees it."""
    return {**plain(session), "level": session.level}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value
