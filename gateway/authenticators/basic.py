"""HTTP Basic (RFC 7617): a username and a password with each request."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

from gateway import authenticators
from gateway.authenticators import Credential, Rejected, Tools
from gateway.configuration.parts import Groups
from specs.exchange import Identity
from specs.problems import ConfigurationError
from specs.settings import Password, setting

if TYPE_CHECKING:
    from specs.exchange import Exchange

#: Longer credentials are refused before anything is decoded or hashed (A32).
LONGEST = 4096


class Authenticator(authenticators.Authenticator):
    """Callers name a user and a password: one pair of the definition's own, or those of consumers."""

    word = "basic"

    class Settings(authenticators.Authenticator.Settings):
        """Settings of a definition of type basic."""

        username: str | None = setting("who may come in", default=None)
        password: Password | None = setting("how they prove it; kept as a hash alone", default=None)
        groups: Groups | None = setting(
            'instead of a username: consumers in any of these groups may come in; "*" for every consumer', default=None
        )
        realm: str = setting("what browsers show when they ask for the password", default="Gatewright")

        def check(self, path: str) -> None:
            """Raises ConfigurationError."""
            if self.groups:
                if self.username is not None or self.password is not None:
                    raise ConfigurationError(
                        path, "groups and a username cannot both be given", "leave one of them out"
                    )
            elif not self.username or self.password is None:
                raise ConfigurationError(path, "nobody could come in", "give username and password, or groups")
            if self.username and ":" in self.username:
                raise ConfigurationError(
                    f"{path}.username", "a username cannot hold a colon (RFC 7617)", "leave it out"
                )
            if any(character in self.realm for character in '"\\\r\n') or not self.realm.isprintable():
                raise ConfigurationError(f"{path}.realm", "a realm holds no quotes, backslashes or control characters")

    def __init__(self, name: str, settings: Any, tools: Tools) -> None:
        super().__init__(name, settings, tools)
        self._groups = frozenset(settings.groups or ()) - {"*"}
        self._own: Credential | None = None
        if settings.username is not None:
            identity = Identity(settings.username, "credential", definition=name)
            self._own = Credential(settings.password.reveal(), identity)

    @property
    def challenge(self) -> str:
        return f'Basic realm="{self.settings.realm}", charset="UTF-8"'

    def identify(self, exchange: Exchange) -> Identity | None:
        # PERF: 0.3 us for who called by the same connection before, and is still right; else 2.5.
        known: tuple[Identity, bytes] | None = exchange.kept.get(self)
        if known is not None and self.tools.verifier.holds(known[1]):
            return known[0]
        header = exchange.headers.get("authorization")
        if header is None or header[:6].lower() != "basic ":
            return None
        username, password = _decode(header)
        credential = self._find(username)
        if credential is None:
            raise Rejected(spent=False)
        proof = self.tools.verifier.verify(self.name, username, password, credential.stored)
        if not proof:
            raise Rejected(spent=True)
        identity = credential.identity if self._own is not None else self.proven(credential.identity)
        exchange.kept[self] = (identity, proof)
        return identity

    def spend(self, exchange: Exchange) -> None:
        username, password = _decode(exchange.headers["authorization"])
        self.tools.verifier.verify(self.name, username, password, None)

    def _find(self, username: str) -> Credential | None:
        if self._own is not None:
            return self._own if username == self._own.identity.name else None
        return self.tools.directory.by_username(username, self._groups)


def _decode(header: str) -> tuple[str, str]:
    """The username and the password of an Authorization header. Raises Rejected where it has none."""
    text = header[6:].strip()
    if len(text) > LONGEST:
        raise Rejected(spent=True)
    try:
        # PERF: what base64.b64decode(validate=True) comes to, without its two Python calls: 0.3 us less.
        username, colon, password = binascii.a2b_base64(text, strict_mode=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise Rejected(spent=True) from None
    if not colon or "\x00" in password:
        raise Rejected(spent=True)
    return username, password
