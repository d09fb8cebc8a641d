"""API keys: one long random text in a header."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Any

from gateway import authenticators
from gateway.authenticators import Rejected, Tools
from gateway.configuration.parts import ApiKey, Groups
from specs.exchange import Identity
from specs.problems import ConfigurationError
from specs.settings import setting

if TYPE_CHECKING:
    from specs.exchange import Exchange

#: Longer keys are refused before they are hashed.
LONGEST = 1024


class Authenticator(authenticators.Authenticator):
    """Callers send a key: the definition's own, or those of consumers.

    # SECURITY: A28, Z36. What is stored is the digest of a key, and what is compared is the digest of what was sent: neither
    # a right first character nor an empty key gets a caller anywhere.
    """

    word = "apikey"

    class Settings(authenticators.Authenticator.Settings):
        """Settings of a definition of type apikey."""

        key: ApiKey | None = setting("the key that lets callers in; only its digest is kept", default=None)
        groups: Groups | None = setting(
            'instead of a key: consumers in any of these groups may come in; "*" for every consumer', default=None
        )
        header: str = setting("the header that the key is sent in", default="X-API-Key")

        def check(self, path: str) -> None:
            """Raises ConfigurationError."""
            if bool(self.groups) == (self.key is not None):
                raise ConfigurationError(path, "give a key or groups of consumers, and not both", "groups: [gold]")
            if not re.fullmatch(r"[A-Za-z0-9-]+", self.header):
                raise ConfigurationError(
                    f"{path}.header", f"not the name of a header: '{self.header}'", "write X-API-Key"
                )

    def __init__(self, name: str, settings: Any, tools: Tools) -> None:
        super().__init__(name, settings, tools)
        self._header = settings.header.lower()
        self._groups = frozenset(settings.groups or ()) - {"*"}
        self._own = settings.key.reveal() if settings.key is not None else None
        self._identity = Identity(name, "credential", definition=name)

    @property
    def challenge(self) -> str:
        return f'ApiKey realm="{self.name}", header="{self.settings.header}"'

    def identify(self, exchange: Exchange) -> Identity | None:
        key = exchange.headers.get(self._header)
        if key is None:
            return None
        if not key or len(key) > LONGEST:
            raise Rejected(spent=True)
        digest = self.tools.digest(key)
        if self._own is not None:
            if not hmac.compare_digest(digest, self._own):
                raise Rejected(spent=True)
            return self._identity
        identity = self.tools.directory.by_key(digest, self._groups)
        if identity is None:
            raise Rejected(spent=True)
        return self.proven(identity)
