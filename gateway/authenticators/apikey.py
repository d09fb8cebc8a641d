"""API keys: one long random text in a header."""

from __future__ import annotations

import re

from gateway import authenticators
from gateway.configuration.parts import ApiKey, Groups
from specs.problems import ConfigurationError
from specs.settings import setting


class Authenticator(authenticators.Authenticator):
    """Callers send a key: the definition's own, or those of consumers."""

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
