"""The attributes of other people, for super-users: listed, set and taken away. People's own are in `sso.account_api`."""

from __future__ import annotations

from specs.elements import Bool, DateTime, List, Opaque, Text
from sso.attributes import Given
from sso.problems import invalid
from sso.services import SsoService, plain

namespace = "sso"

_ID = Text("id", max_length=40)
_NAME = Text("name", max_length=128)
_REASON = Text("-reason", max_length=500, description="why; it is kept in the audit")


class ListUsersAttributes(SsoService):
    """Lists what applications keep of a user."""

    name = "sso.users.attributes.list"
    input = _ID, _REASON
    output = (List("items"),)

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        user = self.rooms.users.get(self.request.input.id, caller)
        self.response.payload.items = [plain(one) for one in self.rooms.attributes.all(user.id, user.id)]


class SetUsersAttribute(SsoService):
    """Sets one attribute of a user."""

    name = "sso.users.attributes.set"
    input = (
        _ID, _NAME, Opaque("value", nullable=True), Bool("-encrypted", default=False), DateTime("-expires_at"), _REASON,
    )  # fmt: skip

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        given = self.request.input
        if given.expires_at is not None and given.expires_at.tzinfo is None:
            raise invalid("expires_at", "invalid", "a moment needs its time zone")
        user = self.rooms.users.get(given.id, caller)
        one = Given(given.value, given.encrypted, given.expires_at)
        self.rooms.attributes.set(user.id, user.id, {given.name: one}, caller)
        self.response.status_code = 204


class DeleteUsersAttribute(SsoService):
    """Takes one attribute of a user away."""

    name = "sso.users.attributes.delete"
    input = _ID, _NAME, _REASON

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        user = self.rooms.users.get(self.request.input.id, caller)
        self.rooms.attributes.delete(user.id, user.id, self.request.input.name, caller)
        self.response.status_code = 204


#: Where each service is meant to be, below ``/sso/v1``: method, path, service.
PATHS = (
    ("GET", "/users/{id}/attributes", ListUsersAttributes.name),
    ("PUT", "/users/{id}/attributes/{name}", SetUsersAttribute.name),
    ("DELETE", "/users/{id}/attributes/{name}", DeleteUsersAttribute.name),
)
