"""The API for people, first part: sign-up, login, the session, a password that was forgotten; each call a service with a contract.

Channels are put in front of these; `PATHS` says which path and method each is meant for, below ``/sso/v1``. None takes a
token in its address. A session comes as ``Authorization: Bearer`` or as a cookie, the application as ``X-Gateway-App``.
"""

from __future__ import annotations

from typing import Any

from specs.elements import Bool, DateTime, Dict, DictList, Int, List, Text
from sso.login import Credentials, LoggedIn
from sso.services import CODE, SsoService, password, plain, session_of
from sso.users import NewUser

namespace = "sso"

_WARNINGS = DictList("warnings", Text("code"), Int("days", nullable=True))


class SignUp(SsoService):
    """Begins a sign-up. The answer is the same whether the name and the address are free or not."""

    name = "sso.signup"
    input = (
        Text("username", max_length=255), Text("email", max_length=320), password("password"),
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
        self.rooms.signup.sign_up(new, self.caller, self.invoke, self.invoke_async)
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
            token = self.hand_out(outcome.token, cookie=bool(self.request.input.get("cookie")))
            self.response.payload = {
                "status": "ok", **token, "device": outcome.device, "user": shown, "session": session_of(outcome.session),
                "warnings": [one._asdict() for one in outcome.warnings],
            }  # fmt: skip
        else:
            self.response.payload = {
                "status": "mfa_required", "login_token": outcome.login_token, "methods": list(outcome.methods),
                "expires_at": outcome.expires_at,
            }  # fmt: skip


STAGE = (
    Text("status"), Text("-token"), Text("-token_type"), Text("-device"), Dict("-user"), Dict("-session"),
    DictList("-warnings", Text("code"), Int("days", nullable=True)), Text("-login_token"), List("-methods", Text),
    DateTime("-expires_at"),
)  # fmt: skip


COOKIE = Bool(
    "-cookie", default=False, description="for pages: the token is set as a cookie and is not in the answer"
)  # fmt: skip


class LogIn(Staged):
    """Logs in: a session, or ``mfa_required`` with a token for the second stage."""

    name = "sso.login"
    input = (
        Text("username", max_length=320), password("password"), CODE, Text("-recovery_code", max_length=40),
        password("-new_password"), Text("-device", max_length=200), COOKIE,
    )  # fmt: skip
    output = STAGE

    def handle(self) -> None:
        """See the class."""
        given = {name: value for name, value in self.request.input.items() if value and name != "cookie"}
        credentials = Credentials(**{"username": "", "password": "", **given})
        self.answer(self.rooms.login.log_in(credentials, self.caller))


class LogInSecondStage(Staged):
    """Finishes a login by a code or a passkey."""

    name = "sso.login.mfa"
    input = (
        Text("login_token", max_length=200), CODE, Text("-recovery_code", max_length=40), password("-new_password"),
        Dict("-webauthn", description="what navigator.credentials.get gave, as JSON"), COOKIE,
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
        if scope != "others":
            self.take_back()
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


_OPENED = Text("-token"), Text("-token_type"), Dict("session")


class RenewSession(SsoService):
    """Gives a new token for the session; the old one is taken for a moment more."""

    name = "sso.session.renew"
    output = _OPENED

    def handle(self) -> None:
        """See the class."""
        opened = self.rooms.sessions.renew(self.token(), self.claimed())
        self.response.payload = {**self.hand_out(opened.token), "session": session_of(opened.session)}


class ProveAgain(SsoService):
    """Gives a new token after the password, a code or a passkey was proven once more."""

    name = "sso.session.reauthenticate"
    input = password("-password"), CODE, Dict("-webauthn", description="what navigator.credentials.get gave, as JSON")
    output = _OPENED

    def handle(self) -> None:
        """See the class."""
        given = self.request.input
        given.require_any("password", "totp_code", "webauthn")
        session, caller = self.session()
        opened = self.rooms.login.prove_again(
            session, given.password or "", given.totp_code or "", caller, webauthn=given.webauthn or None
        )
        self.response.payload = {**self.hand_out(opened.token), "session": session_of(opened.session)}


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
    input = Text("reset_key", max_length=200), password("new_password")

    def handle(self) -> None:
        """See the class."""
        given = self.request.input
        self.rooms.accounts.reset(given.reset_key, given.new_password, self.caller)
        self.response.status_code = 204


class GetConfig(SsoService):
    """Says what pages and clients need to know: whether sign-up is open, how long a password is."""

    name = "sso.config"
    output = (
        Text("site_name"), Bool("signup"), Bool("login"), Int("min_length"), Int("max_length"), Bool("passkeys"),
        Text("-csrf_token"),
    )  # fmt: skip

    def handle(self) -> None:
        """See the class."""
        settings = self.rooms.settings
        app = settings.app_of(self.caller.app)
        self.response.payload = {
            "site_name": settings.site_name, "signup": app is not None and app.signup,
            "login": app is not None and app.login, "min_length": settings.password.min_length,
            "max_length": settings.password.max_length, "passkeys": self.rooms.webauthn.offered,
            **({"csrf_token": proof} if (proof := self.form_proof()) else {}),
        }  # fmt: skip


#: Where each service is meant to be, below ``/sso/v1``: method, path, service.
PATHS = (
    ("POST", "/signup", SignUp.name), ("POST", "/signup/confirm", ConfirmSignUp.name), ("POST", "/login", LogIn.name),
    ("POST", "/login/mfa", LogInSecondStage.name), ("POST", "/logout", LogOut.name),
    ("GET", "/session", GetSession.name), ("POST", "/session/renew", RenewSession.name),
    ("POST", "/session/reauthenticate", ProveAgain.name), ("POST", "/password/forgot", ForgotPassword.name),
    ("POST", "/password/reset/verify", VerifyReset.name), ("POST", "/password/reset", ResetPassword.name),
    ("GET", "/config", GetConfig.name),
)  # fmt: skip
