"""The API for people: sign-up, login, session, and what is theirs; each call a service with a contract.

Channels are put in front of these; `PATHS` says which path and method each is meant for, below ``/sso/v1``. None takes a
token in its address. A session comes as ``Authorization: Bearer``, the application as ``X-Gateway-App``.
"""

from __future__ import annotations

from typing import Any

from specs.elements import Bool, DateTime, Dict, DictList, Int, List, Opaque, Text
from sso.attributes import Given
from sso.login import Credentials, LoggedIn
from sso.problems import invalid, refusal
from sso.services import SsoService, plain, session_of
from sso.users import OWN_MEMBERS, NewUser

namespace = "sso"


def _password(name: str) -> Text:
    # SECURITY: S9. Longer than any password that is taken: what is too long is told so by the rules, not cut off before.
    return Text(name, max_length=4096)


_WARNINGS = DictList("warnings", Text("code"), Int("days", nullable=True))
_CODE = Text("-totp_code", max_length=16)
_OF = Text(
    "-of", default="user", pattern="^(user|session)$", description="whose attributes: the user's or the session's"
)


class SignUp(SsoService):
    """Begins a sign-up. The answer is the same whether the name and the address are free or not."""

    name = "sso.signup"
    input = (
        Text("username", max_length=255), Text("email", max_length=320), _password("password"),
        Text("-display_name", max_length=512), Text("-language", max_length=16),
    )  # fmt: skip
    output = (Text("status"),)

    def handle(self) -> None:
        """See the class."""
        given = self.request.input
        new = NewUser(
            given.username, given.email, given.password, display_name=given.display_name or "",
            language=given.language or "en",
        )  # fmt: skip
        self.rooms.signup.sign_up(new, self.caller, self.invoke)
        self.response.status_code = 202
        self.response.payload.status = "accepted"


class ConfirmSignUp(SsoService):
    """Confirms an address by the token of the letter."""

    name = "sso.signup.confirm"
    input = (Text("token", max_length=200),)
    output = (Text("status"),)

    def handle(self) -> None:
        """See the class."""
        state = self.rooms.signup.confirm(self.request.input.token, self.caller)
        self.response.payload.status = "active" if state == "active" else "pending_approval"


class Staged(SsoService):
    """A service that answers with a session, or with what is still to come before there is one."""

    def answer(self, outcome: Any) -> None:
        """A session, or what is still to come."""
        if isinstance(outcome, LoggedIn):
            user = outcome.user
            shown = {name: plain(user)[name] for name in ("id", "username", "display_name", "roles")}
            self.response.payload = {
                "status": "ok", "token": outcome.token, "token_type": "Bearer", "device": outcome.device, "user": shown,
                "session": session_of(outcome.session), "warnings": [one._asdict() for one in outcome.warnings],
            }  # fmt: skip
        else:
            self.response.payload = {
                "status": "mfa_required", "login_token": outcome.login_token, "methods": list(outcome.methods),
                "expires_at": outcome.expires_at,
            }  # fmt: skip
        self.response.headers["Cache-Control"] = "no-store"


STAGE = (
    Text("status"), Text("-token"), Text("-token_type"), Text("-device"), Dict("-user"), Dict("-session"),
    DictList("-warnings", Text("code"), Int("days", nullable=True)), Text("-login_token"), List("-methods", Text),
    DateTime("-expires_at"),
)  # fmt: skip


class LogIn(Staged):
    """Logs in: a session, or ``mfa_required`` with a token for the second stage."""

    name = "sso.login"
    input = (
        Text("username", max_length=320), _password("password"), _CODE, Text("-recovery_code", max_length=40),
        _password("-new_password"), Text("-device", max_length=200),
    )  # fmt: skip
    output = STAGE

    def handle(self) -> None:
        """See the class."""
        given = {name: value for name, value in self.request.input.items() if value}
        credentials = Credentials(**{"username": "", "password": "", **given})
        self.answer(self.rooms.login.log_in(credentials, self.caller))


class LogInSecondStage(Staged):
    """Finishes a login by a code or a passkey."""

    name = "sso.login.mfa"
    input = (
        Text("login_token", max_length=200), _CODE, Text("-recovery_code", max_length=40), _password("-new_password"),
        Dict("-webauthn", description="what navigator.credentials.get gave, as JSON"),
    )  # fmt: skip
    output = STAGE

    def handle(self) -> None:
        """See the class."""
        given = self.request.input
        credentials = Credentials(
            "", "", given.totp_code or "", given.recovery_code or "", given.new_password or "", webauthn=given.webauthn or {}
        )  # fmt: skip
        self.answer(self.rooms.login.second_stage(given.login_token, credentials, self.caller))


class LogOut(SsoService):
    """Ends this session, the others, or all."""

    name = "sso.logout"
    input = (Text("-scope", default="this", pattern="^(this|others|all)$"),)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.session()
        scope = self.request.input.scope
        if scope == "this":
            self.rooms.sessions.end(session.user_id, session.id, caller)
        else:
            self.rooms.sessions.end_all(session.user_id, caller, keep=session.id if scope == "others" else "")
        self.response.status_code = 204


class GetSession(SsoService):
    """Says whose session this is, and until when."""

    name = "sso.session.get"
    output = Dict("session"), Dict("user"), _WARNINGS

    def handle(self) -> None:
        """See the class."""
        session, _ = self.session()
        sso = self.rooms
        row = sso.database.read(lambda connection: sso.users.row(connection, session.user_id))
        warnings = sso.database.read(lambda connection: sso.login.warnings_of(connection, row))
        self.response.payload = {
            "session": session_of(session), "user": plain(sso.users.get(session.user_id)),
            "warnings": [one._asdict() for one in warnings],
        }  # fmt: skip


_OPENED = Text("token"), Dict("session")


class RenewSession(SsoService):
    """Gives a new token for the session; the old one is taken for a moment more."""

    name = "sso.session.renew"
    output = _OPENED

    def handle(self) -> None:
        """See the class."""
        opened = self.rooms.sessions.renew(self.token(), self.caller)
        self.response.payload = {"token": opened.token, "session": session_of(opened.session)}


class ProveAgain(SsoService):
    """Gives a new token after the password, a code or a passkey was proven once more."""

    name = "sso.session.reauthenticate"
    input = _password("-password"), _CODE, Dict("-webauthn", description="what navigator.credentials.get gave, as JSON")
    output = _OPENED

    def handle(self) -> None:
        """See the class."""
        given = self.request.input
        given.require_any("password", "totp_code", "webauthn")
        session, caller = self.session()
        opened = self.rooms.login.prove_again(
            session, given.password or "", given.totp_code or "", caller, webauthn=given.webauthn or None
        )
        self.response.payload = {"token": opened.token, "session": session_of(opened.session)}


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
        _password("current_password"), _password("new_password"), _CODE,
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


class ForgotPassword(SsoService):
    """Has a letter sent to somebody who has forgotten their password; the answer is always the same."""

    name = "sso.password.forgot"
    input = (Text("identifier", max_length=320),)
    output = (Text("status"),)

    def handle(self) -> None:
        """See the class."""
        self.rooms.accounts.forgot(self.request.input.identifier, self.caller)
        self.response.status_code = 202
        self.response.payload.status = "accepted"


class VerifyReset(SsoService):
    """Gives the key that sets a new password, for the token of the letter."""

    name = "sso.password.reset.verify"
    input = (Text("token", max_length=200),)
    output = Text("reset_key"), DateTime("expires_at")

    def handle(self) -> None:
        """See the class."""
        self.response.payload = self.rooms.accounts.verify_reset(self.request.input.token, self.caller)._asdict()


class ResetPassword(SsoService):
    """Sets a new password by the key of a reset; logs nobody in."""

    name = "sso.password.reset"
    input = Text("reset_key", max_length=200), _password("new_password")

    def handle(self) -> None:
        """See the class."""
        given = self.request.input
        self.rooms.accounts.reset(given.reset_key, given.new_password, self.caller)
        self.response.status_code = 204


class GetConfig(SsoService):
    """Says what pages and clients need to know: whether sign-up is open, how long a password is."""

    name = "sso.config"
    output = Text("site_name"), Bool("signup"), Bool("login"), Int("min_length"), Int("max_length"), Bool("passkeys")

    def handle(self) -> None:
        """See the class."""
        settings = self.rooms.settings
        app = settings.app_of(self.caller.app)
        self.response.payload = {
            "site_name": settings.site_name, "signup": app is not None and app.signup,
            "login": app is not None and app.login, "min_length": settings.password.min_length,
            "max_length": settings.password.max_length, "passkeys": self.rooms.webauthn.offered,
        }  # fmt: skip


#: Where each service is meant to be, below ``/sso/v1``: method, path, service.
PATHS = (
    ("POST", "/signup", SignUp.name), ("POST", "/signup/confirm", ConfirmSignUp.name), ("POST", "/login", LogIn.name),
    ("POST", "/login/mfa", LogInSecondStage.name), ("POST", "/logout", LogOut.name), ("GET", "/session", GetSession.name),
    ("POST", "/session/renew", RenewSession.name), ("POST", "/session/reauthenticate", ProveAgain.name),
    ("GET", "/sessions", ListSessions.name), ("DELETE", "/sessions", EndSession.name),
    ("DELETE", "/sessions/{id}", EndSession.name), ("GET", "/me", GetMe.name), ("PATCH", "/me", ChangeMe.name),
    ("DELETE", "/me", DeleteMe.name), ("GET", "/me/export", ExportMe.name), ("POST", "/me/password", ChangePassword.name),
    ("POST", "/me/email", ChangeEmail.name), ("POST", "/me/email/confirm", ConfirmEmail.name),
    ("POST", "/me/totp", EnrolTotp.name), ("POST", "/me/totp/confirm", ConfirmTotp.name),
    ("DELETE", "/me/totp", RemoveTotp.name), ("POST", "/me/recovery-codes", RenewRecoveryCodes.name),
    ("GET", "/me/recovery-codes", CountRecoveryCodes.name), ("GET", "/me/attributes", ListAttributes.name),
    ("GET", "/me/attributes/{name}", GetAttribute.name), ("PUT", "/me/attributes/{name}", SetAttribute.name),
    ("DELETE", "/me/attributes/{name}", DeleteAttribute.name), ("POST", "/password/forgot", ForgotPassword.name),
    ("POST", "/password/reset/verify", VerifyReset.name), ("POST", "/password/reset", ResetPassword.name),
    ("GET", "/config", GetConfig.name),
)  # fmt: skip
