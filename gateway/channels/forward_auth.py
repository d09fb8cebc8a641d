"""Forward-auth: another proxy asks whether a request may pass, and is told by whom it was sent.

nginx (``auth_request``), Traefik, Caddy, HAProxy and Envoy each put such a question before they hand a request on:
``gateway/forward-auth.md`` has a recipe for each. 200 lets it pass, and says who calls in headers that the proxy puts in
place of the caller's; 401, 403 and 429 do not. People with a browser who have to log in are sent to the log-in page.

The channel decides by credentials, groups, addresses and limits, as any channel does, and never by the path or the method that
the proxy tells of: which of two readings of a path the system behind it has cannot matter then (S48). Who asks has to be one
of ``gateway.trusted_proxies``, or else anybody could ask in the name of any address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self
from urllib.parse import quote, urlsplit

from gateway import channels
from gateway.channels import Route
from gateway.configuration.parts import METHODS
from gateway.request_head import canonical_host
from specs import negotiation
from specs.formats.json_ import Format
from specs.names import Many
from specs.problems import ConfigurationError, Problem
from specs.settings import setting

if TYPE_CHECKING:
    from specs.exchange import Exchange, Identity

#: Sent with each 200, empty where there is nothing to say: what the caller wrote into them is replaced in any case (S48).
IDENTITY_HEADERS = (
    "Remote-User", "Remote-Groups", "Remote-Email", "X-Gateway-User-Id", "X-Gateway-Session-Id", "X-Gateway-Kind",
)  # fmt: skip
#: What proxies may ask about: methods of WebDAV are asked about, too.
ASKED_METHODS = (
    *METHODS, "QUERY", "LINK", "UNLINK", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH",
)  # fmt: skip
#: No answer holds for another request, nor for another moment.
_UNCACHED = (("Cache-Control", "no-store"), ("Vary", "Cookie, Authorization"))
_LONGEST_TARGET = 2048
_TARGET = re.compile(r"/(?![/\\])[!-\[\]-~]*", re.ASCII)
_SAFE = " !#$&'()*+-./:;=?@[]^_`{|}~"


class Origins(Many):
    """Origins of web sites, such as https://app.example.org."""

    __slots__ = ()

    @classmethod
    def read_item(cls, value: Any, path: str) -> Any:
        """One origin. Raises ConfigurationError."""
        found = origin_of(super().read_item(value, path))
        if found is None:
            raise ConfigurationError(path, f"not an origin: '{value}'", "write https://app.example.org")
        return found


class Question(NamedTuple):
    """The request that a proxy asks about, as the proxy tells it; *origin* is empty where it is none."""

    method: str
    origin: str
    target: str


class Channel(channels.Channel):
    """Answers a proxy that asks whether the request before it may pass."""

    word = "forward_auth"
    #: SECURITY: S48. Who asks is looked at before any credential is.
    opens = True

    class Settings(channels.Channel.Settings):
        """Settings of a channel that other proxies ask."""

        login: str = setting("path of the log-in page, at each of the origins", default="/sso/login")
        unauthenticated: Literal["redirect", "location", "plain"] = setting(
            "what a browser that has to log in gets: redirect, a 302 to the log-in page; location, a 401 that names it, "
            "as nginx needs it; plain, a 401",
            default="redirect",
        )
        origins: Origins = setting(
            "origins at which people log in and go on, beside that of gateway.public_url", default=[]
        )
        below: bool = setting(
            "whether the proxy writes the path that it asks about behind the channel's, as Envoy does", default=False
        )

        def check(self, path: str) -> None:
            """Raises ConfigurationError."""
            if not self.security:
                raise ConfigurationError(f"{path}.security", "everybody would pass", "name who may: [staff]")
            if not _TARGET.fullmatch(self.login) or "?" in self.login or "#" in self.login:
                raise ConfigurationError(f"{path}.login", f"not a path: '{self.login}'", "write /sso/login")
            if "{" in self.path:
                raise ConfigurationError(f"{path}.path", "a path that proxies ask at has no variables")

    def __init__(self, name: str, settings: Any, public_url: str) -> None:
        super().__init__(name, settings)
        self._format = Format()
        own = origin_of("://".join(urlsplit(public_url)[:2]))
        self._origins = frozenset((*settings.origins, *([own] if own else ())))
        #: What belongs to logging in is never redirected to logging in.
        self._mount = settings.login.rpartition("/")[0] + "/" if settings.login.count("/") > 1 else settings.login
        self._prefix = settings.path.rstrip("/")

    @classmethod
    def build(cls, name: str, settings: Any, runtimes: Mapping[str, Any], public_url: str) -> Self:
        return cls(name, settings, public_url)

    def routes(self) -> Iterator[Route]:
        methods = tuple(self.settings.methods or ASKED_METHODS)
        # SECURITY: an answer of the gateway's own to OPTIONS would be a 204, by which a proxy lets anybody pass.
        methods = tuple(dict.fromkeys((*methods, "OPTIONS")))
        yield Route(self.settings.path, methods, tuple(self.settings.host), prefix=self.settings.below)

    def open(self, exchange: Exchange) -> None:
        if exchange.peer not in exchange.snapshot.trusted:
            detail = "proxies may ask here that gateway.trusted_proxies lists"
            raise Problem.of("proxy-not-trusted", detail)
        exchange.opened = self._question(exchange)

    def _question(self, exchange: Exchange) -> Question:
        headers = exchange.headers
        if self.settings.below:
            method, host = exchange.method, headers.get("host", "")
            target = exchange.target[len(self._prefix) :] if exchange.target.startswith(self._prefix) else ""
        else:
            method = headers.get("x-forwarded-method", exchange.method)
            host = headers.get("x-forwarded-host", "")
            target = headers.get("x-forwarded-uri", "")
        return Question(method.upper(), origin_of(f"{exchange.scheme}://{host}") or "", target)

    def read(self, exchange: Exchange) -> None:
        """Nothing: a body, where there is one, is none of ours."""

    def run(self, exchange: Exchange) -> None:
        """Nothing: the steps before this one have decided."""

    def write(self, exchange: Exchange) -> None:
        exchange.response_status = 200
        exchange.response_headers = [*identity_headers(exchange.identity), *_UNCACHED]

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        body, content_type = self._format.render_problem(problem, exchange.cid)
        status = problem.status
        headers = [("Content-Type", content_type), *problem.headers, *_UNCACHED, *exchange.limit_headers]
        if status == 401 and (page := self._login_page(exchange)):
            headers.append(("Location", page))
            if self.settings.unauthenticated == "redirect":
                status = 302
        exchange.response_status = status
        exchange.response_headers = headers
        exchange.response_body = body

    def _login_page(self, exchange: Exchange) -> str:
        """Where a person logs in and comes back from; empty for a program, and for a page that is not of ours."""
        question: Question | None = exchange.opened
        if question is None or self.settings.unauthenticated == "plain" or not _by_browser(question, exchange.headers):
            return ""
        # SECURITY: S20. The host that the proxy tells of is the caller's word: only a registered origin is gone back to.
        if question.origin not in self._origins:
            return ""
        target = question.target
        if not _TARGET.fullmatch(target) or len(target) > _LONGEST_TARGET:
            target = "/"
        if target.startswith(self._mount):
            return ""  # S48: it would end there again
        return f"{question.origin}{self.settings.login}?next={quote(target, safe='')}"


def identity_headers(identity: Identity) -> list[tuple[str, str]]:
    """Who calls, as headers; what is not plain ASCII in %-escapes of UTF-8, groups between commas.

    >>> from specs.exchange import Identity
    >>> identity_headers(Identity("zoë", "consumer", groups=frozenset({"a,b"})))[:2]
    [('Remote-User', 'zo%C3%AB'), ('Remote-Groups', 'a%2Cb')]
    """
    attributes = identity.attributes
    values = (
        quote(identity.name, safe=_SAFE),
        ",".join(quote(group, safe=_SAFE) for group in sorted(identity.groups)),
        quote(str(attributes.get("email", "")), safe=_SAFE),
        identity.user,
        quote(str(attributes.get("session", "")), safe=_SAFE),
        identity.kind,
    )
    return list(zip(IDENTITY_HEADERS, values, strict=True))


def origin_of(url: str) -> str | None:
    """*url* as browsers write an origin, without the scheme's own port; None where it is no origin.

    >>> origin_of("https://App.example.org:443"), origin_of("https://a@b"), origin_of("https://a/b")
    ('https://app.example.org', None, None)
    """
    scheme, _, authority = url.partition("://")
    scheme = scheme.lower()
    if scheme not in ("http", "https") or not authority:
        return None
    try:
        host, with_port = canonical_host(authority)
    except Problem:
        return None
    port = with_port.rpartition(":")[2]
    return f"{scheme}://{host}" + ("" if port in ("", {"http": "80", "https": "443"}[scheme]) else f":{port}")


def _by_browser(question: Question, headers: Mapping[str, str]) -> bool:
    """Whether a person waits for a page, and not a program for an answer."""
    if question.method not in ("GET", "HEAD") or headers.get("sec-fetch-mode", "navigate") != "navigate":
        return False
    if headers.get("x-requested-with", "").lower() == "xmlhttprequest":
        return False
    accept = headers.get("accept", "")
    return bool(accept) and dict(negotiation.parse_accept(accept)).get("text/html", 0) > 0
