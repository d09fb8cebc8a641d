"""WS-Security UsernameToken 1.1: a username and a password in the header of a SOAP message, in clear or as a digest.

Only channels that open their messages (``type: soap``) find anything here.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
from typing import TYPE_CHECKING, Any, Final, Literal

from gateway import authenticators
from gateway.authenticators import Rejected, Tools
from gateway.configuration.parts import Groups
from specs.exchange import Identity
from specs.problems import ConfigurationError
from specs.settings import Seconds, Secret, setting

if TYPE_CHECKING:
    from specs.exchange import Exchange
    from specs.xml_text import Element

_OASIS: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE: Final = f"{_OASIS}wssecurity-secext-1.0.xsd"
WSU: Final = f"{_OASIS}wssecurity-utility-1.0.xsd"
_PROFILE: Final = f"{_OASIS}username-token-profile-1.0#"
_KINDS: Final = {"": "text", f"{_PROFILE}PasswordText": "text", f"{_PROFILE}PasswordDigest": "digest"}
#: Longer names, passwords and nonces are refused before anything is decoded or hashed.
LONGEST: Final = 1024


class Authenticator(authenticators.Authenticator):
    """Callers send a UsernameToken: the definition's own username and password, or those of consumers.

    # SECURITY: a digest proves that its sender knows the password and nothing of when it was made; so it needs a nonce and a
    # time, a time that is not near is refused, and so is a nonce that came before.
    """

    word = "wss"
    soap_headers = ((WSSE, "Security"),)

    class Settings(authenticators.Authenticator.Settings):
        """Settings of a definition of type wss."""

        in_message = True
        username: str | None = setting("who may come in", default=None)
        password: Secret | None = setting(
            "how they prove it; kept encrypted and not as a hash, since a digest is made of it", default=None
        )
        groups: Groups | None = setting(
            "instead of a username: consumers in any of these groups may come in, with their basic password in clear; "
            '"*" for every consumer',
            default=None,
        )
        accept: Literal["text", "digest", "both"] = setting("the forms of the password that are taken", default="both")
        max_age: Seconds = setting("how far the time in a token may be from ours", default="5m")
        realm: str = setting("what the challenge calls what is protected", default="Gatewright")

        def check(self, path: str) -> None:
            """Raises ConfigurationError."""
            if bool(self.groups) == (self.username is not None):
                raise ConfigurationError(
                    path, "give a username and a password, or groups of consumers", "groups: [gold]"
                )
            if self.groups and self.password is not None:
                raise ConfigurationError(f"{path}.password", "consumers have passwords of their own", "leave it out")
            if self.username is not None and (not self.username or self.password is None):
                raise ConfigurationError(path, "nobody could come in", "give username and password, or groups")
            if self.groups and self.accept == "digest":
                raise ConfigurationError(
                    f"{path}.accept",
                    "passwords of consumers are kept as hashes, of which no digest is made",
                    "write text",
                )
            if not 1 <= self.max_age <= 86400:
                raise ConfigurationError(f"{path}.max_age", "a token is good for a second to a day", "write 5m")
            if any(character in self.realm for character in '"\\\r\n') or not self.realm.isprintable():
                raise ConfigurationError(f"{path}.realm", "a realm holds no quotes, backslashes or control characters")

    def __init__(self, name: str, settings: Any, tools: Tools) -> None:
        super().__init__(name, settings, tools)
        self._groups = frozenset(settings.groups or ()) - {"*"}
        self._kinds = {"text", "digest"} if settings.accept == "both" else {settings.accept}
        self._own = settings.password.reveal().encode() if settings.password is not None else None

    @property
    def challenge(self) -> str:
        return f'WSSE realm="{self.settings.realm}", profile="UsernameToken"'

    def identify(self, exchange: Exchange) -> Identity | None:
        token = self._find_token(exchange)
        if token is None:
            return None
        if token.kind not in self._kinds:
            raise Rejected(spent=True)
        identity = self._verify_own(token) if self._own is not None else self._verify_consumer(token)
        # Only whoever has proven to know the password gets a nonce remembered.
        self._check_fresh(token)
        return identity

    def spend(self, exchange: Exchange) -> None:
        token = self._find_token(exchange)
        if token is not None and self._own is None:
            self.tools.verifier.verify(self.name, token.username, token.password, None)

    def _verify_own(self, token: _Token) -> Identity:
        assert self._own is not None
        if token.kind == "digest":
            made = hashlib.sha1(token.nonce + token.created.encode() + self._own, usedforsecurity=False).digest()
            right = hmac.compare_digest(base64.b64encode(made), token.password.encode())
        else:
            right = hmac.compare_digest(self._own, token.password.encode())
        if not right & hmac.compare_digest(token.username.encode(), self.settings.username.encode()):
            raise Rejected(spent=True)
        return Identity(token.username, "credential", definition=self.name)

    def _verify_consumer(self, token: _Token) -> Identity:
        if token.kind == "digest":
            raise Rejected(spent=True)
        credential = self.tools.directory.by_username(token.username, self._groups)
        if credential is None:
            raise Rejected(spent=False)
        if not self.tools.verifier.verify(self.name, token.username, token.password, credential.stored):
            raise Rejected(spent=True)
        return self.proven(credential.identity)

    def _check_fresh(self, token: _Token) -> None:
        age = self.settings.max_age
        if token.kind == "digest" and not (token.nonce and token.created):
            raise Rejected(spent=True)
        now = self.tools.now()
        if token.created and abs(now - _moment(token.created)) > age:
            raise Rejected(spent=True)
        if token.expires and now > _moment(token.expires):
            raise Rejected(spent=True)
        # A time may be `max_age` ahead of ours: that long and as long again, the token is good.
        used = token.username.encode() + b"\0" + token.nonce
        if token.nonce and not self.tools.first_use(self.name, used, 2 * age + 1):
            raise Rejected(spent=True)

    def _find_token(self, exchange: Exchange) -> _Token | None:
        if exchange.opened is None:
            return None
        headers = exchange.opened.message.headers_for_us()
        found = [header for header in headers if header.name == "Security" and header.namespace == WSSE]
        tokens = [child for header in found for child in header.children if _is(child, WSSE, "UsernameToken")]
        if not tokens:
            return None
        stamps = [child for header in found for child in header.children if _is(child, WSU, "Timestamp")]
        if len(tokens) > 1 or len(stamps) > 1:
            raise Rejected(spent=True)
        return _Token(tokens[0], _text(stamps[0], WSU, "Expires") if stamps else "")


class _Token:
    """A UsernameToken, read. Raises Rejected where it is none of those that are understood."""

    __slots__ = ("created", "expires", "kind", "nonce", "password", "username")

    def __init__(self, element: Element, expires: str) -> None:
        self.expires = expires.strip()
        self.username = _text(element, WSSE, "Username")
        self.password = _text(element, WSSE, "Password")
        self.created = _text(element, WSU, "Created").strip()
        passwords = [child for child in element.children if _is(child, WSSE, "Password")]
        if not self.username or not passwords or "\0" in self.username:
            raise Rejected(spent=True)
        self.kind = _KINDS.get(passwords[0].attributes.get("Type", ""), "")
        try:
            self.nonce = base64.b64decode("".join(_text(element, WSSE, "Nonce").split()), validate=True)
        except (binascii.Error, ValueError):
            raise Rejected(spent=True) from None


def _is(element: Element, namespace: str, name: str) -> bool:
    return element.name == name and element.namespace == namespace


def _text(element: Element, namespace: str, name: str) -> str:
    found = [child for child in element.children if _is(child, namespace, name)]
    # SECURITY: of two passwords one could be checked and the other one used.
    if len(found) > 1 or (found and (found[0].children or len(found[0].text) > LONGEST)):
        raise Rejected(spent=True)
    return found[0].text if found else ""


def _moment(text: str) -> float:
    """Seconds since 1970; a time without a zone is in UTC."""
    try:
        moment = datetime.datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, OverflowError):
        raise Rejected(spent=True) from None
