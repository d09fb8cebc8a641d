"""REST: call another system over HTTP."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from backends import connectors
from backends.connectors import setting
from specs.problems import ConfigurationError
from specs.settings import Seconds, Secret, Size


class Connector(connectors.Base):
    """A pool of kept-alive HTTP connections to one system."""

    also_found_under = ("plain_http",)

    class Settings(connectors.Settings):
        """Where the system is, who we are to it, and how long it may take."""

        url: str = setting("where the system is; may hold {placeholders} that the parameters of a call fill")
        username: str | None = setting("whom to authenticate as, by HTTP Basic", default=None)
        password: Secret | None = setting("the password of that user", default=None)
        api_key: Secret | None = setting("a key to send with each call", default=None)
        header: str = setting("the header that carries the key", default="X-API-Key")
        security: str | None = setting(
            "not to be used yet: security definitions keep hashes, which cannot be sent", default=None
        )
        headers: dict[str, str] = setting("headers to send with each call", default={})
        data_format: Literal["json", "xml", "form", "plain"] = setting(
            "how bodies are written, and what their Content-Type says", default="json"
        )
        timeout: Seconds = setting("the longest that a whole call may take, retries included", default="30s")
        connect_timeout: Seconds = setting("the longest that connecting may take", default="5s")
        retries: int = setting("how often a call that never got an answer is repeated where that is safe", default=2)
        pool_size: int = setting("how many connections a process may have open", default=20)
        verify: bool = setting("whether the certificate of an https system is checked", default=True)
        ca: str | None = setting("file of the authorities to trust instead of the machine's", default=None)
        cert: str | None = setting("file of our own certificate, where the system asks for one", default=None)
        key: str | None = setting("file of that certificate's key", default=None)
        max_response: Size = setting("the largest answer that is read", default="32MiB")
        breaker_failures: int = setting("failures in a row after which calls are refused at once; 0: never", default=5)
        breaker_pause: Seconds = setting("how long they are refused before one is tried again", default="10s")

        def check(self, path: str) -> None:
            """The address must be one, and credentials must be whole and outside of it."""
            if self.security is not None:
                raise ConfigurationError(
                    f"{path}.security",
                    "a security definition keeps its password as a hash, which cannot be sent",
                    "write username and password, or api_key and header, here",
                )
            if (self.username is None) != (self.password is None):
                raise ConfigurationError(path, "username and password go together", "write both, or neither")
            for number in ("pool_size", "retries", "breaker_failures"):
                if getattr(self, number) < (1 if number == "pool_size" else 0):
                    raise ConfigurationError(f"{path}.{number}", f"too small: {getattr(self, number)}")
            if "${" not in self.url:  # a reference is resolved, and then checked, by whoever applies the document
                _check_url(self.url, f"{path}.url")


def _check_url(url: str, path: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known and not url.startswith("http+unix:///"):
        raise ConfigurationError(path, f"not an address: {url!r}", "write http://host:port/path or https://...")
    if "{" in parts.netloc or "{" in parts.scheme:
        # SECURITY: A50. What a caller sends must never choose the machine that is called.
        raise ConfigurationError(path, "a placeholder cannot stand for the host", "use placeholders in the path only")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(path, "credentials do not belong into an address", "use username and password")
