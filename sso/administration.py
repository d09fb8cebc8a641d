"""The API for super-users: people, approvals, sessions, the audit. Every call is audited, with the *reason* where one is given.

Who has to have a second factor uses these with one alone. `PATHS` says which path and method each is meant for.
"""

from __future__ import annotations

from specs.elements import Bool, Dict, DictList, Int, List, Opaque, Text
from sso.links import SECOND_FACTOR
from sso.problems import invalid
from sso.services import SsoService, plain, session_of
from sso.users import ADMINISTERED, NewUser

namespace = "sso"

_ID = Text("id", max_length=40)
_REASON = Text("-reason", max_length=500, description="why; it is kept in the audit")
_LIMIT = Int("-limit", default=50, minimum=1, maximum=100)
_CURSOR = Text("-cursor", max_length=40)
_PAGE = DictList("items"), Text("next_cursor", nullable=True)


class CreateUser(SsoService):
    """Makes a user who is active at once; without a password they set one by a reset."""

    name = "sso.users.create"
    input = (
        Text("username", max_length=255), Text("email", max_length=320), Text("-password", max_length=4096),
        Text("-password_hash", max_length=1024), Text("-display_name", max_length=512), Text("-language", max_length=16),
        Bool("-is_super_user", default=False), List("-roles", Text), Bool("-must_change", default=True), _REASON,
    )  # fmt: skip
    output = (Dict("user"),)

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        given = {name: value for name, value in self.request.input.items() if name != "reason" and value is not None}
        given["roles"] = tuple(given.get("roles", ()))
        user = self.rooms.users.create(NewUser(**given), caller)
        self.response.status_code = 201
        self.response.payload.user = plain(user)


class GetUser(SsoService):
    """Gives a user."""

    name = "sso.users.get"
    input = _ID, _REASON
    output = (Dict("user"),)

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        self.response.payload.user = plain(self.rooms.users.get(self.request.input.id, caller))


class SearchUsers(SsoService):
    """Finds users by name, whole address and state, page by page."""

    name = "sso.users.search"
    input = (
        Dict("-query"), Text("-op", default="and", pattern="^(and|or)$"),
        Text("-match", default="exact", pattern="^(exact|prefix)$"), Text("-state", max_length=16), _LIMIT, _CURSOR, _REASON,
    )  # fmt: skip
    output = _PAGE

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        given = self.request.input
        query = given.query or {}
        for member, wanted in query.items():
            if not isinstance(wanted, str):
                raise invalid(f"query/{member}", "wrong-type", "search for a text")
        found = self.rooms.users.search(
            query, caller, either=given.op == "or", prefix=given.match == "prefix", state=given.state or "",
            after=given.cursor or "", most=given.limit,
        )  # fmt: skip
        self.response.payload.items = [plain(user) for user in found]
        self.response.payload.next_cursor = found[-1].id if len(found) == given.limit else None


class ChangeUser(SsoService):
    """Changes a user."""

    name = "sso.users.change"
    input = (
        _ID, Text("-display_name", max_length=512), Text("-language", max_length=16), List("-roles", Text),
        Bool("-is_super_user"), Bool("-must_change"), List("-addresses", Text), _REASON,
    )  # fmt: skip
    output = (Dict("user"),)

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        changes = {name: value for name, value in self.request.input.items() if name in ADMINISTERED}
        if not changes:
            raise invalid("", "missing", "nothing to change")
        user = self.rooms.users.change(self.request.input.id, changes, caller, allowed=ADMINISTERED)
        self.response.payload.user = plain(user)


class DeleteUser(SsoService):
    """Deletes a user for good."""

    name = "sso.users.delete"
    input = _ID, _REASON

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        self.rooms.users.erase(self.request.input.id, caller)
        self.response.status_code = 204


class DecideOnUser(SsoService):
    """Approves, rejects, locks or unlocks a user."""

    name = "sso.users.decide"
    input = _ID, Text("event", pattern="^(approve|reject|lock|unlock)$"), _REASON
    output = (Text("state"),)

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        given = self.request.input
        self.response.payload.state = self.rooms.users.decide(given.id, given.event, caller)


class RequirePasswordChange(SsoService):
    """Has a user choose another password at the next login."""

    name = "sso.users.require-password-change"
    input = _ID, _REASON

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        self.rooms.users.require_change(self.request.input.id, caller)
        self.response.status_code = 204


class SendReset(SsoService):
    """Has the letter sent by which a user sets a new password; nobody chooses it for them."""

    name = "sso.users.send-password-reset"
    input = _ID, _REASON

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        user = self.rooms.users.get(self.request.input.id, caller)
        self.rooms.accounts.forgot(user.username, caller)
        self.response.status_code = 202


class ResetTotp(SsoService):
    """Takes a user's second factor away; their sessions end, and they are told."""

    name = "sso.users.reset-totp"
    input = _ID, _REASON

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        self.rooms.factors.remove(self.request.input.id, caller, forced=True)
        self.response.status_code = 204


class ListUsersSessions(SsoService):
    """Lists the sessions of a user."""

    name = "sso.users.sessions.list"
    input = _ID, _REASON
    output = (DictList("items"),)

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        user = self.rooms.users.get(self.request.input.id, caller)
        self.response.payload.items = [session_of(one) for one in self.rooms.sessions.list(user.id)]


class EndUsersSessions(SsoService):
    """Ends the sessions of a user, or one of them."""

    name = "sso.users.sessions.end"
    input = _ID, Text("-session_id", max_length=40), _REASON

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        user = self.rooms.users.get(self.request.input.id, caller)
        if self.request.input.session_id:
            self.rooms.sessions.end(user.id, self.request.input.session_id, caller)
        else:
            self.rooms.sessions.end_all(user.id, caller)
        self.response.status_code = 204


class EndEverybodysSessions(SsoService):
    """Ends every session of everybody, the caller's as well."""

    name = "sso.sessions.end-everybodys"
    input = (_REASON,)

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        self.rooms.sessions.end_everybodys(caller)
        self.response.status_code = 204


class ListLinks(SsoService):
    """Lists the links of a user."""

    name = "sso.users.links.list"
    input = _ID, _REASON
    output = (DictList("items"),)

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        user = self.rooms.users.get(self.request.input.id, caller)
        self.response.payload.items = [plain(link) for link in self.rooms.links.all(user.id)]


class AddLink(SsoService):
    """Links what a security definition proves to a user."""

    name = "sso.users.links.add"
    input = (
        _ID, Text("definition", max_length=200), Text("principal", max_length=200),
        Text("-second_factor", default="required", pattern=f"^({'|'.join(SECOND_FACTOR)})$"), _REASON,
    )  # fmt: skip
    output = (Dict("link"),)

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        given = self.request.input
        link = self.rooms.links.add(
            given.id, given.definition, given.principal, caller, second_factor=given.second_factor
        )
        self.response.status_code = 201
        self.response.payload.link = plain(link)


class RemoveLink(SsoService):
    """Takes a link away."""

    name = "sso.users.links.remove"
    input = _ID, Text("link_id", max_length=40), _REASON

    def handle(self) -> None:
        """See the class."""
        _, caller = self.super_user()
        self.rooms.links.remove(self.request.input.id, self.request.input.link_id, caller)
        self.response.status_code = 204


class ListAudit(SsoService):
    """Lists records of the audit, in their order, page by page."""

    name = "sso.audit.list"
    input = (
        Text("-actor", max_length=40),
        Text("-target", max_length=40),
        Text("-action", max_length=64),
        _LIMIT,
        _CURSOR,
    )
    output = List("items", Opaque), Text("next_cursor", nullable=True)

    def handle(self) -> None:
        """See the class."""
        self.super_user()
        given = self.request.input
        cursor = given.cursor or "0"
        if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
            raise invalid("cursor", "invalid", "use the cursor of the page before")
        found = self.rooms.audit.find(
            actor=given.actor or "",
            target=given.target or "",
            action=given.action or "",
            after=int(cursor),
            most=given.limit,
        )
        self.response.payload.items = [{**one, "at": one["at"].isoformat()} for one in found]
        self.response.payload.next_cursor = str(found[-1]["sequence"]) if len(found) == given.limit else None


class VerifyAudit(SsoService):
    """Says whether every record of the audit is as it was written, and names the first that is not."""

    name = "sso.audit.verify"
    input = (Text("-checkpoint", max_length=100),)
    output = Bool("good"), Int("checked"), Int("bad", nullable=True), Text("why"), Text("checkpoint")

    def handle(self) -> None:
        """See the class."""
        self.super_user()
        verdict = self.rooms.audit.verify(self.request.input.checkpoint or "")
        checkpoint = self.rooms.audit.checkpoint()
        self.response.payload = {**verdict._asdict(), "good": verdict.bad is None, "checkpoint": checkpoint}


#: Where each service is meant to be, below ``/sso/v1``: method, path, service.
PATHS = (
    ("POST", "/users", CreateUser.name), ("POST", "/users/search", SearchUsers.name), ("GET", "/users/{id}", GetUser.name),
    ("PATCH", "/users/{id}", ChangeUser.name), ("DELETE", "/users/{id}", DeleteUser.name),
    ("POST", "/users/{id}/decide", DecideOnUser.name),
    ("POST", "/users/{id}/require-password-change", RequirePasswordChange.name),
    ("POST", "/users/{id}/send-password-reset", SendReset.name), ("POST", "/users/{id}/reset-totp", ResetTotp.name),
    ("GET", "/users/{id}/sessions", ListUsersSessions.name), ("DELETE", "/users/{id}/sessions", EndUsersSessions.name),
    ("DELETE", "/users/{id}/sessions/{session_id}", EndUsersSessions.name),
    ("DELETE", "/sessions/all", EndEverybodysSessions.name), ("GET", "/users/{id}/links", ListLinks.name),
    ("POST", "/users/{id}/links", AddLink.name), ("DELETE", "/users/{id}/links/{link_id}", RemoveLink.name),
    ("GET", "/audit", ListAudit.name), ("GET", "/audit/verify", VerifyAudit.name),
)  # fmt: skip
