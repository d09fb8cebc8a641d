"""REST: call another system over HTTP.

    erp = self.out.rest["erp"]
    erp.get("/stock/{sku}", {"sku": 7, "warehouse": "north"}).json()     # GET /stock/7?warehouse=north
    erp.post("/orders", {"sku": 7})                                      # a dict goes as JSON
    erp.post(self.cid, contents)                                         # to the address itself; the cid is sent along
    erp.conn.get(self.cid, {"year": 2013})                               # the older form of the same

The first argument is a path, which begins with ``/``, or else the cid, which is sent as ``X-Request-Id``.
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from backends import connectors, http
from backends.breaker import Breaker
from backends.connectors import setting
from specs.names import SecurityName
from specs.problems import BackendError, BackendUnavailable, ConfigurationError
from specs.settings import Seconds, Secret, Size
from specs.strict_json import dumps

#: What a body is called where the caller does not say.
MEDIA_TYPES = {
    "json": "application/json",
    "xml": "application/xml",
    "form": "application/x-www-form-urlencoded",
    "plain": "text/plain; charset=utf-8",
}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?=[/?]|\Z)", re.IGNORECASE)


class Answer(bytes):
    """What the system answered: the bytes of its body, as parsers of every kind take them, and what came with it.

    >>> Answer(http.Response(200, "OK", http.Headers([("content-type", "text/plain")]), b"hello")).text
    'hello'
    """

    status_code: int
    headers: http.Headers

    def __new__(cls, response: http.Response) -> Answer:
        """The answer whose bytes are the response's body."""
        answer = super().__new__(cls, response.body)
        answer._response = response
        answer.status_code = response.status
        answer.headers = response.headers
        return answer

    _response: http.Response

    @property
    def content(self) -> bytes:
        """The body as plain bytes."""
        return bytes(self)

    @property
    def text(self) -> str:
        """The body as text."""
        return self._response.text

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status_code < 400

    def json(self) -> Any:
        """The body as JSON. Raises BackendError where it is none."""
        return self._response.json()

    def raise_for_status(self) -> None:
        """Raise BackendError where the status is 400 or above."""
        if not self.ok:
            raise BackendError(f"answered {self.status_code} {self._response.reason}")


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
        security: SecurityName | None = setting(
            "security definition whose username and password, or key, are sent with each call", default=None
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
            if self.security is not None and (self.username is not None or self.api_key is not None):
                raise ConfigurationError(
                    f"{path}.security", "credentials come from a definition or stand here", "leave one of them out"
                )
            if (self.username is None) != (self.password is None):
                raise ConfigurationError(path, "username and password go together", "write both, or neither")
            for number in ("pool_size", "retries", "breaker_failures"):
                if getattr(self, number) < (1 if number == "pool_size" else 0):
                    raise ConfigurationError(f"{path}.{number}", f"too small: {getattr(self, number)}")
            if (self.cert is None) and self.key is not None:
                raise ConfigurationError(f"{path}.key", "a key without its certificate", "write cert as well")
            if "${" not in self.url:  # a reference is resolved, and then checked, by whoever applies the document
                _check_url(self.url, f"{path}.url")

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings)
        self.conn = self  # as the seeds write it: self.out.plain_http["ERP"].conn.get(self.cid, params)
        parts = urlsplit(settings.url)
        self._path = "" if parts.scheme == "http+unix" else parts.path
        self._query = parts.query
        self._data_format = settings.data_format
        try:
            origin = http.origin_of(settings.url)
            tls = None
            if origin.scheme == "https":
                tls = http.tls_context(verify=settings.verify, ca=settings.ca, cert=settings.cert, key=settings.key)
            self._client = http.Client(
                origin,
                timeout=settings.timeout,
                connect_timeout=settings.connect_timeout,
                retries=settings.retries,
                pool_size=settings.pool_size,
                max_response=settings.max_response,
                headers=_common_headers(settings),
                tls=tls,
                breaker=Breaker(
                    f"connection '{name}'", failures=settings.breaker_failures, pause=settings.breaker_pause
                ),
            )
        except (OSError, ValueError) as error:  # a file of TLS that is not there, a header that cannot be sent
            raise BackendUnavailable(f"connection '{name}' cannot be set up: {error}") from error

    def get(self, path: str = "", params: Parameters = None, headers: Headers = None, **options: Any) -> Answer:
        """The answer to a GET. *options* are ``json``, ``data`` and ``timeout`` (seconds), here and in the others."""
        return self._call("GET", path, params, headers, **options)

    def head(self, path: str = "", params: Parameters = None, headers: Headers = None, **options: Any) -> Answer:
        """The answer to a HEAD, whose body is empty."""
        return self._call("HEAD", path, params, headers, **options)

    def delete(self, path: str = "", params: Parameters = None, headers: Headers = None, **options: Any) -> Answer:
        """The answer to a DELETE."""
        return self._call("DELETE", path, params, headers, **options)

    def post(
        self, path: str = "", data: Any = None, params: Parameters = None, headers: Headers = None, **options: Any
    ) -> Answer:
        """The answer to a POST of *data*: text or bytes as they are, anything else in the connection's data format."""
        return self._call("POST", path, params, headers, data=data, **options)

    def put(
        self, path: str = "", data: Any = None, params: Parameters = None, headers: Headers = None, **options: Any
    ) -> Answer:
        """The answer to a PUT of *data*."""
        return self._call("PUT", path, params, headers, data=data, **options)

    def patch(
        self, path: str = "", data: Any = None, params: Parameters = None, headers: Headers = None, **options: Any
    ) -> Answer:
        """The answer to a PATCH of *data*."""
        return self._call("PATCH", path, params, headers, data=data, **options)

    def ping(self) -> None:
        """Ask for the address by HEAD, up to its first placeholder; any answer will do. Raises BackendError."""
        self._client.request("HEAD", self._path.partition("{")[0] or "/")

    def usage(self) -> http.Usage:
        """How the pool of connections stands."""
        return self._client.usage()

    def close(self) -> None:
        """Close what is idle now, and the rest as their calls end."""
        self._client.close()

    def _call(
        self,
        method: str,
        path: str,
        params: Parameters,
        headers: Headers,
        *,
        json: Any = None,
        data: Any = None,
        timeout: float | None = None,
    ) -> Answer:
        fields = dict(headers or {})
        named = {name.lower() for name in fields}
        if path and not path.startswith(("/", "?")):
            if "x-request-id" not in named:
                fields["X-Request-Id"] = path
            path = ""
        body, media_type = self._encode(json, data)
        if media_type and "content-type" not in named:
            fields["Content-Type"] = media_type
        target = self._target(path, dict(params or {}))
        return Answer(self._client.request(method, target, fields.items(), body, timeout=timeout))

    def _target(self, path: str, params: dict[str, Any]) -> str:
        """The request target: address and path with their placeholders filled, and a query of what is left over."""
        filled: set[str] = set()

        def fill(match: re.Match[str]) -> str:
            name = match[1]
            if params.get(name) in (None, ""):
                raise ValueError(f"connection '{self.name}': the address needs a parameter called '{name}'")
            filled.add(name)
            return urllib.parse.quote(str(params[name]), safe="")

        path, _, query = path.partition("?")
        prefix = self._path.rstrip("/") if path else self._path
        target = urllib.parse.quote(_PLACEHOLDER.sub(fill, prefix + path), safe="/%:@!$&'()*+,;=-._~")
        # SECURITY: A50. A parameter or path of `..` would reach what lies beside the address that was configured.
        if _DOTS.search(target):
            raise ValueError(f"connection '{self.name}': a path with dot segments cannot be called")
        left = {name: value for name, value in params.items() if name not in filled and value is not None}
        queries = (
            self._query,
            urllib.parse.quote(query, safe="/%:@!$&'()*+,;=-._~?"),
            urllib.parse.urlencode(left, doseq=True),
        )
        joined = "&".join(part for part in queries if part)
        return (target or "/") + (f"?{joined}" if joined else "")

    def _encode(self, json: Any, data: Any) -> tuple[bytes, str]:
        """A body and its media type; both empty where there is none."""
        if json is not None:
            return dumps(json), MEDIA_TYPES["json"]
        if data is None or data == "":
            return b"", ""
        if isinstance(data, (str, bytes, bytearray, memoryview)):
            body = data.encode() if isinstance(data, str) else bytes(data)
            return body, MEDIA_TYPES[self._data_format]
        if self._data_format == "form":
            return urllib.parse.urlencode(data, doseq=True).encode(), MEDIA_TYPES["form"]
        return dumps(data), MEDIA_TYPES["json"]


Parameters = Mapping[str, Any] | None
Headers = Mapping[str, str] | None


def _common_headers(settings: Connector.Settings) -> list[tuple[str, str]]:
    # SECURITY: A39. No content coding is asked for, so nothing has to be unpacked.
    ours = {"User-Agent": "gatewright", "Accept": "*/*", "Accept-Encoding": "identity"}
    named = {name.lower() for name in settings.headers}
    headers = {name: value for name, value in ours.items() if name.lower() not in named} | settings.headers
    if settings.username is not None and settings.password is not None:
        pair = f"{settings.username}:{settings.password.reveal()}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    if settings.api_key is not None:
        headers[settings.header] = settings.api_key.reveal()
    return list(headers.items())


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
