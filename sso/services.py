"""What the services of single sign-on share: who calls, with which session, and inputs that hold nothing undeclared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from backends.service import Service
from specs.problems import Fault
from sso.audit import Caller
from sso.problems import refusal
from sso.sessions import Session
from sso.system import SingleSignOn

#: Header by which applications say who they are; a claim, unless something else has proven it.
APP_HEADER = "x-gateway-app"


class SsoService(Service):
    """A service of ours. `platform.sso` is the process's `SingleSignOn`."""

    @property
    def rooms(self) -> SingleSignOn:
        """Single sign-on of this process."""
        found: SingleSignOn = self.platform.sso
        return found

    def before_handle(self) -> None:
        """Refuse members that the contract does not declare. SECURITY: S4. What is ignored today is assigned tomorrow."""
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
        """Where the call comes from, nobody proven."""
        call = self._call
        app = self.rooms.settings.app_of(call.headers.get(APP_HEADER, ""))
        return Caller(
            app=app.name if app is not None else call.headers.get(APP_HEADER, "")[:100],
            address=call.address,
            user_agent=call.headers.get("user-agent", "")[:200],
            cid=self.cid,
            reason=str(self.request.input.get("reason") or ""),
        )

    def session(self) -> tuple[Session, Caller]:
        """The session whose token came with the call, and its person as the caller. Raises Problem 401."""
        caller = self.caller
        session = self.rooms.sessions.check(self.token(), caller)
        return session, replace(caller, actor=session.user_id)

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
        """The token of ``Authorization: Bearer``. Raises Problem 401."""
        scheme, _, token = self._call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise refusal("session-invalid", "send the session's token as a bearer token")
        return token.strip()

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
