"""The API for people, second part: what is theirs; each call a service with a contract.

Profile, password, address, second factor, sessions, attributes; the paths are in `PATHS`, below ``/sso/v1``.
"""

from __future__ import annotations

from specs.elements import Bool, DateTime, Dict, DictList, Int, List, Opaque, Text
from sso.attributes import Given
from sso.problems import invalid, refusal
from sso.services import CODE, SsoService, password, plain, session_of
from sso.users import OWN_MEMBERS

namespace = "sso"

_OF = Text(
    "-of", default="user", pattern="^(user|session)$", description="whose attributes: the user's or the session's"
)


class ListSessions(SsoService):
    """Lists the sessions of the person."""

    name = "sso.sessions.list"
    output = (DictList("items"),)

    def handle(self) -> None:
        """See the class."""
        session, _ = self.session()
        self.response.payload.items = [session_of(one) for one in self.rooms.sessions.list(session.user_id)]


class EndSession(SsoService):
    """Ends one session of the person; all others where no id is given."""

    name = "sso.sessions.end"
    input = (Text("-id", max_length=40),)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        if self.request.input.id:
            self.rooms.sessions.end(session.user_id, self.request.input.id, caller)
        else:
            self.rooms.sessions.end_all(session.user_id, caller, keep=session.id)
        self.response.status_code = 204


class GetMe(SsoService):
    """Gives the person's profile."""

    name = "sso.me.get"
    output = (Dict("user"),)

    def handle(self) -> None:
        """See the class."""
        session, _ = self.session()
        self.response.payload.user = plain(self.rooms.users.get(session.user_id))


class ChangeMe(SsoService):
    """Changes the person's profile."""

    name = "sso.me.change"
    input = Text("-display_name", max_length=512), Text("-language", max_length=16)
    output = (Dict("user"),)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.session()
        changes = dict(self.request.input)
        if not changes:
            raise refusal("validation-failed", "nothing to change")
        user = self.rooms.users.change(session.user_id, changes, caller, allowed=OWN_MEMBERS)
        self.response.payload.user = plain(user)


class DeleteMe(SsoService):
    """Deletes the person's account for good."""

    name = "sso.me.delete"

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        self.rooms.users.erase(session.user_id, caller)
        self.response.status_code = 204


class ExportMe(SsoService):
    """Gives all that is kept of the person."""

    name = "sso.me.export"
    output = (
        Dict("profile"), DictList("attributes"), DictList("links"), DictList("passkeys"), DictList("sessions"),
        DictList("audit"),
    )  # fmt: skip

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        self.response.payload = self.rooms.users.export(session.user_id, caller)


class ChangePassword(SsoService):
    """Changes the person's password; other sessions end."""

    name = "sso.me.password"
    input = (
        password("current_password"), password("new_password"), CODE,
        Bool("-keep_current_session", default=True),
    )  # fmt: skip

    def handle(self) -> None:
        """See the class."""
        session, caller = self.session()
        given = self.request.input
        self.rooms.accounts.change_password(
            session, given.current_password, given.new_password, caller, totp_code=given.totp_code or "",
            keep=given.keep_current_session,
        )  # fmt: skip
        self.response.status_code = 204


class ChangeEmail(SsoService):
    """Begins to change the person's address: it is changed when the new one is confirmed."""

    name = "sso.me.email"
    input = (Text("email", max_length=320),)
    output = (Text("status"),)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        self.rooms.accounts.change_email(session, self.request.input.email, caller)
        self.response.status_code = 202
        self.response.payload.status = "accepted"


class ConfirmEmail(SsoService):
    """Changes the person's address by the token that was sent to it."""

    name = "sso.me.email.confirm"
    input = (Text("token", max_length=200),)
    output = (Dict("user"),)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.session()
        user = self.rooms.accounts.confirm_email(session, self.request.input.token, caller)
        self.response.payload.user = plain(user)


class EnrolTotp(SsoService):
    """Begins a second factor: a secret, shown once, as text, URI and picture."""

    name = "sso.me.totp.enrol"
    output = Text("secret"), Text("otpauth_uri"), Text("qr_svg")

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        self.response.status_code = 201
        self.response.headers["Cache-Control"] = "no-store"
        self.response.payload = self.rooms.factors.enrol(session, caller)._asdict()


class ConfirmTotp(SsoService):
    """Finishes a second factor by a code; gives the recovery codes, once."""

    name = "sso.me.totp.confirm"
    input = (Text("code", max_length=16),)
    output = (List("recovery_codes", Text),)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        self.response.headers["Cache-Control"] = "no-store"
        self.response.payload.recovery_codes = self.rooms.factors.confirm(session, self.request.input.code, caller)


class RemoveTotp(SsoService):
    """Takes the second factor away."""

    name = "sso.me.totp.remove"

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        self.rooms.factors.remove(session.user_id, caller)
        self.response.status_code = 204


class RenewRecoveryCodes(SsoService):
    """Gives ten new recovery codes, once; the old ones are dead."""

    name = "sso.me.recovery-codes.renew"
    output = (List("recovery_codes", Text),)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        self.response.status_code = 201
        self.response.headers["Cache-Control"] = "no-store"
        self.response.payload.recovery_codes = self.rooms.factors.renew_recovery_codes(session, caller)


class CountRecoveryCodes(SsoService):
    """Says how many recovery codes are left."""

    name = "sso.me.recovery-codes.get"
    output = (Int("remaining"),)

    def handle(self) -> None:
        """See the class."""
        session, _ = self.session()
        sso = self.rooms
        self.response.payload.remaining = sso.database.read(
            lambda connection: sso.factors.remaining(connection, session.user_id)
        )


_ATTRIBUTE = (
    Text("name"), Opaque("value", nullable=True), Bool("encrypted"), DateTime("expires_at", nullable=True),
    DateTime("created_at"), DateTime("changed_at"),
)  # fmt: skip


class ListAttributes(SsoService):
    """Lists the attributes of the person or of the session, or their names alone."""

    name = "sso.attributes.list"
    input = _OF, Bool("-names_only", default=False)
    output = (List("items"),)

    def handle(self) -> None:
        """See the class."""
        session, _ = self.session()
        owner = self.own_or_session(session)
        attributes = self.rooms.attributes
        names_only = self.request.input.names_only
        self.response.payload.items = (
            attributes.names(owner) if names_only else [plain(one) for one in attributes.all(owner, session.user_id)]
        )


class GetAttribute(SsoService):
    """Gives one attribute."""

    name = "sso.attributes.get"
    input = _OF, Text("name", max_length=128)
    output = _ATTRIBUTE

    def handle(self) -> None:
        """See the class."""
        session, _ = self.session()
        found = self.rooms.attributes.get(self.own_or_session(session), session.user_id, self.request.input.name)
        self.response.payload = {name: getattr(found, name) for name in found.__slots__}


class SetAttribute(SsoService):
    """Sets one attribute."""

    name = "sso.attributes.set"
    input = (
        _OF, Text("name", max_length=128), Opaque("value", nullable=True), Bool("-encrypted", default=False),
        DateTime("-expires_at"),
    )  # fmt: skip

    def handle(self) -> None:
        """See the class."""
        session, caller = self.session()
        given = self.request.input
        if given.expires_at is not None and given.expires_at.tzinfo is None:
            raise invalid("expires_at", "invalid", "a moment needs its time zone")
        one = Given(given.value, given.encrypted, given.expires_at)
        self.rooms.attributes.set(self.own_or_session(session), session.user_id, {given.name: one}, caller)
        self.response.status_code = 204


class DeleteAttribute(SsoService):
    """Takes one attribute away."""

    name = "sso.attributes.delete"
    input = _OF, Text("name", max_length=128)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.session()
        self.rooms.attributes.delete(self.own_or_session(session), session.user_id, self.request.input.name, caller)
        self.response.status_code = 204


#: Where each service is meant to be, below ``/sso/v1``: method, path, service.
PATHS = (
    ("GET", "/sessions", ListSessions.name), ("DELETE", "/sessions", EndSession.name),
    ("DELETE", "/sessions/{id}", EndSession.name), ("GET", "/me", GetMe.name), ("PATCH", "/me", ChangeMe.name),
    ("DELETE", "/me", DeleteMe.name), ("GET", "/me/export", ExportMe.name),
    ("POST", "/me/password", ChangePassword.name), ("POST", "/me/email", ChangeEmail.name),
    ("POST", "/me/email/confirm", ConfirmEmail.name), ("POST", "/me/totp", EnrolTotp.name),
    ("POST", "/me/totp/confirm", ConfirmTotp.name), ("DELETE", "/me/totp", RemoveTotp.name),
    ("POST", "/me/recovery-codes", RenewRecoveryCodes.name), ("GET", "/me/recovery-codes", CountRecoveryCodes.name),
    ("GET", "/me/attributes", ListAttributes.name), ("GET", "/me/attributes/{name}", GetAttribute.name),
    ("PUT", "/me/attributes/{name}", SetAttribute.name), ("DELETE", "/me/attributes/{name}", DeleteAttribute.name),
)  # fmt: skip
