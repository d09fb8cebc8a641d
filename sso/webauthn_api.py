"""Passkeys as services: what browsers are handed for ``navigator.credentials``, and what they hand back, as WebAuthn's JSON."""

from __future__ import annotations

from specs.elements import DateTime, Dict, DictList, List, Text
from sso.login_api import STAGE, Staged
from sso.services import SsoService, plain

namespace = "sso"

_OPTIONS = (Dict("options", description="what navigator.credentials is given as publicKey, as JSON"),)
_CREDENTIAL = Dict("credential", description="what navigator.credentials gave, as JSON")
_ID = Text("id", max_length=40)
_PASSKEY = Dict("passkey")


class RegistrationOptions(SsoService):
    """Begins to enrol a passkey."""

    name = "sso.me.webauthn.options"
    output = _OPTIONS

    def handle(self) -> None:
        """See the class."""
        session, _ = self.recent()
        self.response.payload.options = self.rooms.webauthn.registration_options(session)


class RegisterPasskey(SsoService):
    """Enrols a passkey; gives recovery codes, once, where it is the first second factor."""

    name = "sso.me.webauthn.add"
    input = _CREDENTIAL, Text("-name", max_length=100)
    output = _PASSKEY, List("recovery_codes", Text)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        given = self.request.input
        done = self.rooms.webauthn.register(session, given.credential, given.name or "", caller)
        self.response.status_code = 201
        self.response.payload = {"passkey": plain(done.passkey), "recovery_codes": done.recovery_codes}


class ListPasskeys(SsoService):
    """Lists the passkeys of the person."""

    name = "sso.me.webauthn.list"
    output = (DictList("items", _ID, Text("name"), DateTime("created_at"), DateTime("used_at", nullable=True)),)

    def handle(self) -> None:
        """See the class."""
        session, _ = self.session()
        sso = self.rooms
        row = sso.database.read(lambda connection: sso.users.row(connection, session.user_id))
        self.response.payload.items = [plain(one) for one in sso.passkeys.all(row)]


class RenamePasskey(SsoService):
    """Gives a passkey another name."""

    name = "sso.me.webauthn.change"
    input = _ID, Text("name", min_length=1, max_length=100)
    output = (_PASSKEY,)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.session()
        sso, given = self.rooms, self.request.input
        row = sso.database.read(lambda connection: sso.users.row(connection, session.user_id))
        self.response.payload.passkey = plain(sso.passkeys.rename(row, given.id, given.name, caller))


class RemovePasskey(SsoService):
    """Takes a passkey away; not the last second factor where one is required."""

    name = "sso.me.webauthn.remove"
    input = (_ID,)

    def handle(self) -> None:
        """See the class."""
        session, caller = self.recent()
        self.rooms.webauthn.remove(session, self.request.input.id, caller)
        self.response.status_code = 204


class LoginOptions(SsoService):
    """Begins a login by a passkey; with the token of a first stage, the second one."""

    name = "sso.login.webauthn.options"
    input = (Text("-login_token", max_length=200),)
    output = _OPTIONS

    def handle(self) -> None:
        """See the class."""
        token, webauthn = self.request.input.login_token, self.rooms.webauthn
        self.response.payload.options = (
            webauthn.second_stage_options(token, self.caller) if token else webauthn.login_options(self.caller)
        )


class LogInByPasskey(Staged):
    """Logs in by a passkey that knew who holds it; no name and no password."""

    name = "sso.login.webauthn"
    input = (_CREDENTIAL,)
    output = STAGE

    def handle(self) -> None:
        """See the class."""
        self.answer(self.rooms.login.by_passkey(self.request.input.credential, self.caller))


class AgainOptions(SsoService):
    """Begins to prove oneself once more by a passkey."""

    name = "sso.session.webauthn.options"
    output = _OPTIONS

    def handle(self) -> None:
        """See the class."""
        session, _ = self.session()
        self.response.payload.options = self.rooms.webauthn.again_options(session)


#: Where each service is meant to be, below ``/sso/v1``: method, path, service.
PATHS = (
    ("POST", "/me/webauthn/options", RegistrationOptions.name), ("POST", "/me/webauthn", RegisterPasskey.name),
    ("GET", "/me/webauthn", ListPasskeys.name), ("PATCH", "/me/webauthn/{id}", RenamePasskey.name),
    ("DELETE", "/me/webauthn/{id}", RemovePasskey.name), ("POST", "/login/webauthn/options", LoginOptions.name),
    ("POST", "/login/webauthn", LogInByPasskey.name), ("POST", "/session/webauthn/options", AgainOptions.name),
)  # fmt: skip
