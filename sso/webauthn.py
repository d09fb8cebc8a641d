"""Passkeys (WebAuthn, level 3): enrolled, and proven as a second factor, as a login of their own, and once more within a session.

What browsers are handed and hand back is WebAuthn's own JSON (``PublicKeyCredential.parseCreationOptionsFromJSON`` and
``toJSON``). The signatures and structures are checked by the library ``webauthn``, which the extra of that name installs; what it
cannot know (for whom a challenge was made, that it counts once, whose a passkey is, that counters only grow) is checked here.

A passkey beside a password is a second factor. Alone it logs in only where it has verified who holds it, by a PIN or a
fingerprint: that makes two factors, and without it it is one (S38).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson
from sqlalchemy import Connection

from backends.clock import Clock
from specs.problems import Problem
from sso import names
from sso.audit import Audit, Caller
from sso.passkeys import LIFETIME, MOST, Assertion, NewPasskey, Passkey, Passkeys, decoded, encoded
from sso.problems import refusal
from sso.sessions import Session, Sessions
from sso.settings import Sso
from sso.storage import Storage
from sso.tokens import Tokens, digest_of
from sso.totp import SecondFactors
from sso.users import Users

if TYPE_CHECKING:
    from types import ModuleType

#: ES256, EdDSA, RS256 (RFC 9053, RFC 8812), the preferred one first; the library knows them.
ALGORITHMS: Final = (-7, -8, -257)
#: What a passkey that has verified its holder stands for, as the methods of a session.
VERIFIED: Final = ("passkey", "user-verified")
_TRANSPORTS: Final = frozenset({"ble", "cable", "hybrid", "internal", "nfc", "smart-card", "usb"})
#: What the library raises for bytes that are no answer of an authenticator, beside its own.
_MALFORMED: Final = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError, RecursionError, struct.error,
)  # fmt: skip


class Registered(NamedTuple):
    """A new passkey; with recovery codes, to be shown once, where the person had none."""

    passkey: Passkey
    recovery_codes: list[str]


class Proven(NamedTuple):
    """Whose passkey has signed, and what it has signed."""

    row: Any
    assertion: Assertion


class WebAuthn:
    """Enrols passkeys and examines what they sign. *public_url* says which domain they are bound to."""

    def __init__(
        self,
        database: Storage,
        settings: Sso,
        users: Users,
        sessions: Sessions,
        factors: SecondFactors,
        passkeys: Passkeys,
        tokens: Tokens,
        audit: Audit,
        clock: Clock,
        public_url: str,
    ) -> None:
        self.database = database
        self.settings = settings
        self.users = users
        self.sessions = sessions
        self.factors = factors
        self.passkeys = passkeys
        self.tokens = tokens
        self.audit = audit
        self.clock = clock
        parts = urlsplit(public_url)
        rules = settings.passkeys
        self._domain = rules.domain or _domain_of(parts.hostname or "")
        own = [f"{parts.scheme}://{parts.netloc.lower()}"] if parts.netloc else []
        self._origins = [*own, *rules.origins]

    @property
    def offered(self) -> bool:
        """Whether passkeys can be used here."""
        try:
            self._library()
        except Problem:
            return False
        return True

    # Enrolled

    def registration_options(self, session: Session) -> dict[str, Any]:
        """What ``navigator.credentials.create`` is given. Raises Problem 403 where the login was long ago, 409, 501."""
        self._library()
        self.sessions.require_recent(session)
        row, kept = self.database.read(lambda connection: self._of(connection, session.user_id))
        if len(kept) >= MOST:
            raise refusal("too-many-passkeys", f"an account has {MOST} at most: take one away first")
        # WHY: written here and not by the library: it is what the standard says, and nothing else.
        return {
            "rp": {"id": self._domain, "name": self.settings.site_name},
            "user": {"id": encoded(row.id.encode()), "name": row.username, "displayName": self.users.name_of(row) or row.username},
            "challenge": encoded(self.passkeys.challenge("register", session.id)),
            "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in ALGORITHMS],
            "timeout": LIFETIME * 1000,
            "excludeCredentials": [_descriptor(one) for one in kept],
            "authenticatorSelection": {"residentKey": "preferred", "requireResidentKey": False, "userVerification": "preferred"},
            "attestation": "none",
        }  # fmt: skip

    def register(self, session: Session, credential: Mapping[str, Any], name: str, caller: Caller) -> Registered:
        """Enrol what ``create`` gave. Every other session of the person ends, as with any second factor.

        Raises Problem 400 where it proves nothing, 403 where the login was long ago, 409, 422 for its name.
        """
        library = self._library()
        self.sessions.require_recent(session)
        name = names.display_name(name) or "Passkey"
        challenge = _challenge_of(credential, "webauthn.create")
        if challenge is None or not self.passkeys.stands(challenge, "register", session.id):
            raise _nothing()
        try:
            found = library.verify_registration_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=self._domain,
                expected_origin=self._origins,
                supported_pub_key_algs=_algorithms(),
            )
        except _refusals():
            raise _nothing() from None
        response = credential.get("response")
        given = response.get("transports") if isinstance(response, Mapping) else None
        transports = (
            sorted(_TRANSPORTS & {one for one in given if isinstance(one, str)}) if isinstance(given, list) else []
        )
        new = NewPasskey(
            found.credential_id, found.credential_public_key, found.sign_count, transports,
            found.credential_device_type == "multi_device", found.credential_backed_up,
        )  # fmt: skip
        # PERF: ten hashes, 1.3 s of a core: for those alone who get them.
        enrolled = self.database.read(lambda connection: self.factors.enrolled(connection, session.user_id))
        codes, hashes = ([], []) if enrolled else self.factors.fresh_codes(session.user_id)

        def work(connection: Connection) -> Registered:
            row = self.users.row(connection, session.user_id)
            if not self.passkeys.spend(connection, challenge):
                raise _nothing()
            first = bool(hashes) and not self.factors.enrolled(connection, row.id)
            passkey = self.passkeys.keep(connection, row, new, name)
            if first:
                self.factors.keep_codes(connection, row.id, hashes)
            self.sessions.raise_epoch(connection, row.id, keep=session.id)
            self.audit.record(connection, "passkey.add", caller, target=row.id, details={"passkey": passkey.id})
            self.users.write_to(connection, row, "second-factor-added")
            return Registered(passkey, codes if first else [])

        return self.database.write(work)

    def remove(self, session: Session, passkey_id: str, caller: Caller) -> None:
        """Take a passkey away. Raises Problem 403 where the login was long ago, 404, 409 for a factor that has to stay."""
        self.sessions.require_recent(session)

        def work(connection: Connection) -> None:
            row = self.users.row(connection, session.user_id)
            self.passkeys.remove(connection, row.id, passkey_id)
            if not self.factors.enrolled(connection, row.id):
                if self.factors.required_of(row):
                    raise refusal(
                        "second-factor-kept", "this account has to have a second factor: enrol another one first"
                    )
                self.factors.forget_codes(connection, row.id)
            self.audit.record(connection, "passkey.remove", caller, target=row.id, details={"passkey": passkey_id})
            self.users.write_to(connection, row, "second-factor-removed")

        self.database.write(work)

    # Proven

    def login_options(self, caller: Caller) -> dict[str, Any]:
        """What ``navigator.credentials.get`` is given to log in with no name and no password. Raises Problem 501."""
        self.require_login()
        return self._options("login", caller.app, [], "required")

    def require_login(self) -> None:
        """Raise Problem 501 where nobody logs in by a passkey alone."""
        self._library()
        if not self.settings.passkeys.login:
            raise refusal("passkeys-unavailable", "nobody logs in by a passkey alone here")

    def second_stage_options(self, login_token: str, caller: Caller) -> dict[str, Any]:
        """What ``get`` is given for the second stage of a login. Raises Problem 401 for a token that cannot be used, 501."""
        self._library()

        def work(connection: Connection) -> list[Any]:
            found = self.tokens.find(connection, "login", login_token)
            if found is None or found.payload["app"] != caller.app:
                raise refusal("invalid-credentials", "begin again with the password")
            return self.passkeys.rows(connection, found.user_id)

        return self._options("second", digest_of(login_token), self.database.read(work), "preferred")

    def again_options(self, session: Session) -> dict[str, Any]:
        """What ``get`` is given to prove oneself once more within a session. Raises Problem 501."""
        self._library()
        rows = self.database.read(lambda connection: self.passkeys.rows(connection, session.user_id))
        return self._options("again", session.id, rows, "preferred")

    def examine(self, credential: Mapping[str, Any], purpose: str, subject: str, user_id: str = "") -> Proven | None:
        """Whose passkey has signed a challenge of that purpose and subject; None where it proves nothing.

        With *user_id* theirs alone counts. Nothing is used up yet: that is `Passkeys.consume`. Raises Problem 501.
        """
        library = self._library()
        challenge = _challenge_of(credential, "webauthn.get")
        if challenge is None or not self.passkeys.stands(challenge, purpose, subject):
            return None
        try:
            credential_id = decoded(credential["id"])
        except _MALFORMED:
            return None
        kept = self.database.read(lambda connection: self.passkeys.find(connection, credential_id))
        # SECURITY: S38. Somebody else's passkey proves somebody else.
        if kept is None or (user_id and kept.user_id != user_id) or not _is_handle(credential, kept.user_id):
            return None
        try:
            found = library.verify_authentication_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=self._domain,
                expected_origin=self._origins,
                credential_public_key=decoded(kept.public_key),
                # WHY: counters are compared where they are set, in one statement.
                credential_current_sign_count=0,
            )
        except _refusals():
            return None
        try:
            row = self.database.read(lambda connection: self.users.row(connection, kept.user_id))
        except Problem:
            return None
        proof = Assertion(kept.id, challenge, found.new_sign_count, found.credential_backed_up, found.user_verified)
        return Proven(row, proof)

    def _options(self, purpose: str, subject: str, rows: list[Any], verification: str) -> dict[str, Any]:
        return {
            "challenge": encoded(self.passkeys.challenge(purpose, subject)), "timeout": LIFETIME * 1000,
            "rpId": self._domain, "allowCredentials": [_descriptor(one) for one in rows], "userVerification": verification,
        }  # fmt: skip

    def _of(self, connection: Connection, user_id: str) -> tuple[Any, list[Any]]:
        return self.users.row(connection, user_id), self.passkeys.rows(connection, user_id)

    def _library(self) -> ModuleType:
        """The library. Raises Problem 501 where passkeys cannot be used here, and says what is missing."""
        if not self.settings.passkeys.enabled:
            raise refusal("passkeys-unavailable", "passkeys are switched off here")
        if not self._domain or not self._origins:
            raise refusal(
                "passkeys-unavailable",
                "passkeys belong to a domain: gateway.public_url has to be https:// and a host name",
            )
        try:
            import webauthn
        except ModuleNotFoundError:
            raise refusal(
                "passkeys-unavailable", "passkeys need the extra 'webauthn': pip install 'gatewright[webauthn]'"
            ) from None
        return webauthn


def _domain_of(host: str) -> str:
    """The domain that passkeys of a host are bound to; empty for an address, which can have none."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return ""


def _algorithms() -> list[Any]:
    """Ours, as the library has them."""
    from webauthn.helpers.cose import COSEAlgorithmIdentifier

    return [COSEAlgorithmIdentifier(number) for number in ALGORITHMS]


def _refusals() -> tuple[type[Exception], ...]:
    """What the library raises for what proves nothing."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from webauthn.helpers.exceptions import WebAuthnException

    return (*_MALFORMED, WebAuthnException, UnsupportedAlgorithm)


def _challenge_of(credential: Mapping[str, Any], kind: str) -> bytes | None:
    """The challenge that a credential says it answers; the library compares all of it again."""
    try:
        told = orjson.loads(decoded(credential["response"]["clientDataJSON"]))
        return decoded(told["challenge"]) if told["type"] == kind else None
    except _MALFORMED:
        return None


def _is_handle(credential: Mapping[str, Any], user_id: str) -> bool:
    """Whether the user that the authenticator names, if it does, is that one."""
    try:
        given = credential["response"].get("userHandle")
        return not given or decoded(given) == user_id.encode()
    except _MALFORMED:
        return False


def _descriptor(row: Any) -> dict[str, Any]:
    return {"type": "public-key", "id": row.credential_id, "transports": row.transports}


def _nothing() -> Problem:
    return refusal("token-invalid", "this is no answer to a challenge of ours: begin again")
