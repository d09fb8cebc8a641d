"""The credentials of applications, for super-users: made, listed and taken away."""

from __future__ import annotations

from specs.elements import DateTime, Dict, DictList, Text
from sso.services import SsoService, plain

namespace = "sso"

_APP = Text("app", max_length=100)
_REASON = Text("-reason", max_length=500, description="why; it is kept in the audit")


class ListAppCredentials(SsoService):
    """Lists the credentials of an application, without their secrets."""

    name = "sso.apps.credentials.list"
    input = _APP, _REASON
    output = (DictList("items"),)

    def handle(self) -> None:
        """See the class."""
        self.super_user()
        self.response.payload.items = [plain(one) for one in self.rooms.applications.all(self.request.input.app)]


class AddAppCredential(SsoService):
    """Makes a credential for an application; its secret is shown once."""

    name = "sso.apps.credentials.add"
    input = _APP, Text("-name", max_length=100), DateTime("-expires_at"), _REASON
    output = Dict("credential"), Text("secret")

    def handle(self) -> None:
        """See the class."""
        session, caller = self.super_user()
        self.rooms.sessions.require_recent(session)
        given = self.request.input
        issued = self.rooms.applications.add(
            given.app, caller, name=given.name or "", expires_at=given.expires_at or None
        )
        self.response.status_code = 201
        self.response.headers["Cache-Control"] = "no-store"
        self.response.payload = {"credential": plain(issued.credential), "secret": issued.secret}


class RemoveAppCredential(SsoService):
    """Takes a credential away; it proves nothing from then on."""

    name = "sso.apps.credentials.remove"
    input = _APP, Text("id", max_length=40), _REASON

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        given = self.request.input
        self.rooms.applications.remove(given.app, given.id, caller)
        self.response.status_code = 204


#: Where each service is meant to be, below ``/sso/v1``: method, path, service.
PATHS = (
    ("GET", "/apps/{app}/credentials", ListAppCredentials.name),
    ("POST", "/apps/{app}/credentials", AddAppCredential.name),
    ("DELETE", "/apps/{app}/credentials/{id}", RemoveAppCredential.name),
)
