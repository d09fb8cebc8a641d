"""HTTP Basic (RFC 7617): a username and a password with each request."""

from __future__ import annotations

from gateway import authenticators
from gateway.configuration.parts import Groups
from specs.problems import ConfigurationError
from specs.settings import Password, setting


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
