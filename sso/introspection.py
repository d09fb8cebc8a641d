"""Whether a session's token is good, and whose it is: for systems that are handed tokens (RFC 7662), which may end them (RFC 7009).

Who asks is an application with a credential (`sso.applications`). It is told of sessions that were opened through it; through
others too where its ``introspect`` is ``any``. Whatever is not told of (a token that never was, has ended, or belongs to another
application) is answered by one and the same ``{"active": false}``.
"""

from __future__ import annotations

from specs.elements import Bool, Int, List, Text
from sso.applications import AppCredential
from sso.audit import Caller
from sso.services import SsoService
from sso.sessions import Session

namespace = "sso"

_TOKEN = Text("token", max_length=1024)
#: Taken, and not needed: a token is found without it (RFC 7662, 2.1).
_HINT = Text("-token_type_hint", max_length=100)


class _OfApplication(SsoService):
    """A service that applications call in their own name."""

    def application(self) -> AppCredential:
        """Who calls. Raises Problem 401."""
        return self.rooms.applications.calling(self._call.headers)

    def found(self, app: AppCredential) -> Session | None:
        """The live session of the token, as far as *app* may know of it."""
        session = self.rooms.sessions.look_up(self.request.input.token)
        if session is None:
            return None
        anys = self.rooms.settings.apps[app.app].introspect == "any"
        return session if anys or session.app == app.app else None


class Introspect(_OfApplication):
    """Says whether a token is good, and whose it is; called by an application with its credential."""

    name = "sso.introspect"
    input = _TOKEN, _HINT
    output = (
        Bool("active"), Text("-sub"), Text("-username"), Text("-client_id"), Text("-token_type"), Int("-exp"), Int("-iat"),
        Int("-auth_time"), List("-amr", Text), Int("-aal"), List("-roles", Text), Bool("-is_super_user"), Text("-sid"),
    )  # fmt: skip

    def handle(self) -> None:
        """See the class."""
        session = self.found(self.application())
        self.response.headers["Cache-Control"] = "no-store"
        if session is None:
            self.response.payload.active = False
            return
        self.response.payload = {
            "active": True, "sub": session.user_id, "username": session.username, "client_id": session.app,
            "token_type": "Bearer", "exp": int(session.expires_at.timestamp()), "iat": int(session.created_at.timestamp()),
            "auth_time": int(session.authenticated_at.timestamp()), "amr": list(session.methods), "aal": session.level,
            "roles": list(session.roles), "is_super_user": session.is_super_user, "sid": session.id,
        }  # fmt: skip


class Revoke(_OfApplication):
    """Ends the session of a token that an application opened; the answer is the same whether there was one."""

    name = "sso.revoke"
    input = _TOKEN, _HINT

    def handle(self) -> None:
        """See the class."""
        app = self.application()
        session = self.rooms.sessions.look_up(self.request.input.token)
        if session is not None and session.app == app.app:
            # WHY: `any` is for reading; nobody ends what another application has opened.
            caller = Caller(
                app=app.app, address=self._call.address, cid=self.cid, actor=app.id,
                user_agent=self._call.headers.get("user-agent", "")[:200],
            )  # fmt: skip
            self.rooms.sessions.end(session.user_id, session.id, caller)
        self.response.headers["Cache-Control"] = "no-store"


#: Where each service is meant to be, below ``/sso/v1``: method, path, service.
PATHS = (("POST", "/introspect", Introspect.name), ("POST", "/revoke", Revoke.name))
