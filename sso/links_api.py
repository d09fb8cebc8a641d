"""A person's links as services: seen, taken away, and made with proof of the credential that is linked."""

from __future__ import annotations

from specs.elements import Dict, DictList, Text
from sso.services import SsoService, plain

namespace = "sso"


class ListOwnLinks(SsoService):
    """Lists the credentials of other security definitions that are linked to the person."""

    name = "sso.me.links.list"
    output = (DictList("items"),)

    def handle(self) -> None:
        """See the class."""
        session, _ = self.session()
        self.response.payload.items = [plain(link) for link in self.rooms.links.all(session.user_id)]


class AddOwnLink(SsoService):
    """Links a credential of another security definition to the person, who proves to have it."""

    name = "sso.me.links.add"
    input = (
        Text("definition", max_length=200), Text("-username", max_length=320), Text("-password", max_length=4096),
        Text("-key", max_length=1024),
    )  # fmt: skip
    output = (Dict("link"),)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        given = self.request.input
        credential = {name: given[name] for name in ("username", "password", "key") if given.get(name)}
        link = self.rooms.links.add_proven(session.user_id, given.definition, credential, caller)
        self.response.status_code = 201
        self.response.payload.link = plain(link)


class RemoveOwnLink(SsoService):
    """Takes one of the person's links away."""

    name = "sso.me.links.remove"
    input = (Text("id", max_length=40),)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        self.rooms.links.remove(session.user_id, self.request.input.id, caller)
        self.response.status_code = 204


#: Where each service is meant to be, below ``/sso/v1``: method, path, service.
PATHS = (
    ("GET", "/me/links", ListOwnLinks.name), ("POST", "/me/links", AddOwnLink.name),
    ("DELETE", "/me/links/{id}", RemoveOwnLink.name),
)  # fmt: skip
