"""Proxy: what comes to a path is handed on to another system, and its answer back, both as they come.

The caller passes the same steps as on any other channel: addresses, credentials, limits, the log. What the upstream then gets
is ours from the first byte to the last: the canonical path, written anew (A9 to A11); the headers that the channel lists and
no other (A17, A18, A23); who calls, as we found out (A19, A20). See `backends.upstreams` for which upstream is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlsplit

from backends.http import Streamed, Whole, tls_context
from backends.upstreams import Balance, Letter, Probe, Upstreams
from gateway import channels
from gateway.channels import Route
from gateway.channels.rest import Cors, Runtime
from gateway.routes import Variables, parse_template
from specs.exchange import Outcome
from specs.formats.json_ import Format
from specs.names import Many
from specs.problems import ConfigurationError, Problem
from specs.settings import Seconds, Settings, setting

if TYPE_CHECKING:
    from specs.exchange import Exchange

#: A body up to this size is read before it is handed on, so that the call can be repeated.
WHOLE = 64 * 1024
#: HEAD comes with GET, and OPTIONS is answered here, unless a channel lists them.
DEFAULT_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: RFC 9110, 7.6.1: what concerns one connection alone.
HOP_BY_HOP = frozenset((
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
))  # fmt: skip
#: What the gateway says itself, whatever the caller or a document may want.
OURS = frozenset((
    "host", "content-length", "expect", "forwarded", "x-request-id", "x-real-ip", "remote-user", "x-remote-user", "x-auth-user",
))  # fmt: skip
OUR_PREFIXES = ("x-forwarded-", "x-consumer-")
_PATH_SAFE = "/:@!$&'()*+,=-._~"
_HEADER_SAFE = " !#$&'()*+,-./:;=?@[]^_`{|}~"
_NAME = re.compile(r"[!#$&'*+.^`|~0-9A-Za-z-]+")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
#: A segment that whoever reads the path next may fold away.
_FOLDED = re.compile(r"/\.{1,2}(/|$)")


class HeaderNames(Many):
    """Names of request headers that are handed on."""

    __slots__ = ()

    @classmethod
    def read_item(cls, value: Any, path: str) -> Any:
        """One name, in lower case. Raises ConfigurationError."""
        name = super().read_item(value, path).lower()
        if not _NAME.fullmatch(name):
            raise ConfigurationError(path, f"no header can be called '{value}'", "write accept, x-tenant ...")
        if name in HOP_BY_HOP or name in OURS or name.startswith(OUR_PREFIXES):
            # SECURITY: A17, A19. A caller's word for who calls must never stand beside ours.
            raise ConfigurationError(path, f"the gateway itself says what '{name}' is", "leave it out")
        return name


class Urls(Many):
    """Addresses of HTTP systems."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        urls = super().read(value, path)
        if not urls:
            raise ConfigurationError(path, "there is nobody to hand on to", 'write "http://127.0.0.1:9000"')
        return urls

    @classmethod
    def read_item(cls, value: Any, path: str) -> Any:
        """One address. Raises ConfigurationError."""
        url = super().read_item(value, path)
        if "${" in url:
            return url  # resolved, and then read again, by whoever applies the document
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known and not url.startswith("http+unix:///"):
            raise ConfigurationError(path, f"not an address: '{url}'", "write http://host:port or https://...")
        if "{" in url or re.search(r"[\s?#;\\]|//.*//|/\.{1,2}(/|$)", url):
            # SECURITY: A50. What a caller sends never chooses the machine, nor what lies beside the address.
            raise ConfigurationError(path, f"an address has no placeholder, query or dots: '{url}'", "use rewrite")
        if parts.username is not None or parts.password is not None:
            raise ConfigurationError(path, "credentials do not belong into an address")
        return url


class Health(Settings):
    """Probes that find out whether an upstream is well."""

    path: str = setting("path that is asked for by GET; a status below 400 is well")
    every: Seconds = setting("how often each upstream is asked", default="5s")
    timeout: Seconds = setting("how long the answer may take", default="2s")
    fall: int = setting("so many failures in a row, and the upstream gets no calls", default=2)
    rise: int = setting("so many successes in a row, and it gets calls again", default=1)

    def check(self, path: str) -> None:
        """Raises ConfigurationError."""
        if not re.fullmatch(r"/[!\"$-~]*", self.path):
            raise ConfigurationError(f"{path}.path", f"not a path: '{self.path}'", "write /health")
        for name in ("every", "timeout", "fall", "rise"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{path}.{name}", "more than 0 is needed")


class Channel(channels.Channel):
    """Another system behind a path: its upstreams get what callers send, and callers what they answer."""

    word = "proxy"

    class Settings(channels.Channel.Settings):
        """Settings of a proxy channel. Its deadline is for the head of an upstream's answer."""

        upstreams: Urls = setting("address or addresses of the system, such as http://127.0.0.1:9000")
        rewrite: str = setting(
            "what takes the place of the channel's path at the upstream; may hold the {names} of that path", default="/"
        )
        forward_headers: HeaderNames = setting(
            "request headers that are handed on, and no others",
            default=[
                "accept", "accept-encoding", "accept-language", "cache-control", "content-encoding", "content-language",
                "content-type", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since",
                "idempotency-key", "range", "user-agent",
            ],
        )  # fmt: skip
        preserve_host: bool = setting(
            "whether the upstream gets the caller's Host header, and not its own", default=False
        )
        balance: Balance = setting("which of several upstreams is next", default="round-robin")
        connect_timeout: Seconds = setting("the longest that connecting may take", default="5s")
        silence: Seconds = setting("the longest pause of an upstream in the middle of an answer", default="30s")
        retries: int = setting("how often a call that got no answer is repeated, where that is safe", default=1)
        retry_percent: int = setting("how many calls of a hundred may be repeated at most", default=20)
        pool_size: int = setting("connections that a process may have to each upstream", default=100)
        health: Health | None = setting("probes of the upstreams; none if left out", default=None)
        breaker_failures: int = setting("failures in a row after which an upstream is left alone; 0: never", default=5)
        breaker_pause: Seconds = setting("how long it is left alone", default="10s")
        verify: bool = setting("whether certificates of https upstreams are checked", default=True)
        ca: str | None = setting("file of the authorities to trust instead of the machine's", default=None)
        cert: str | None = setting("file of our own certificate, where upstreams ask for one", default=None)
        key: str | None = setting("file of that certificate's key", default=None)

        def check(self, path: str) -> None:
            """Raises ConfigurationError."""
            names = [n for part in parse_template(self.path) if isinstance(part, Variables) for n in part.names]
            if not re.fullmatch(r"/[A-Za-z0-9:@!$&'()*+,=._~{}/-]*", self.rewrite) or re.search(
                r"//|/\.{1,2}(/|$)", self.rewrite
            ):
                raise ConfigurationError(f"{path}.rewrite", f"not a path: '{self.rewrite}'", "write /v2/")
            for name in _PLACEHOLDER.findall(self.rewrite):
                if name not in names:
                    raise ConfigurationError(f"{path}.rewrite", f"the channel's path has no '{name}'")
            for number in ("pool_size", "retries", "breaker_failures", "retry_percent"):
                if getattr(self, number) < (1 if number == "pool_size" else 0):
                    raise ConfigurationError(f"{path}.{number}", f"too small: {getattr(self, number)}")
            if self.cert is None and self.key is not None:
                raise ConfigurationError(f"{path}.key", "a key without its certificate", "write cert as well")

    @classmethod
    def keep(cls, name: str, settings: Any) -> Upstreams:
        """The pools, breakers and probes, which a change elsewhere leaves as they are. Raises ConfigurationError."""
        health = settings.health
        try:
            tls = None
            if any(url.startswith("https:") for url in settings.upstreams):
                tls = tls_context(verify=settings.verify, ca=settings.ca, cert=settings.cert, key=settings.key)
            return Upstreams(
                name,
                settings.upstreams,
                balance=settings.balance,
                connect_timeout=settings.connect_timeout,
                silence=settings.silence,
                pool_size=settings.pool_size,
                retries=settings.retries,
                retry_share=settings.retry_percent / 100,
                failures=settings.breaker_failures,
                pause=settings.breaker_pause,
                probe=Probe(health.path, health.every, health.timeout, health.fall, health.rise) if health else None,
                tls=tls,
                preserve_host=settings.preserve_host,
            )
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"channels.{name}", f"the upstreams cannot be called: {error}") from error

    @classmethod
    def build(cls, name: str, settings: Any, runtimes: Mapping[str, Runtime], public_url: str) -> Self:
        return cls(name, settings, runtimes[""])

    def __init__(self, name: str, settings: Any, runtime: Runtime) -> None:
        super().__init__(name, settings)
        self._runtime = runtime
        self._upstreams: Upstreams = runtime.kept
        self._format = Format()
        self._forwarded = tuple(settings.forward_headers)
        #: How many segments of a path are the channel's own.
        self._depth = len([part for part in parse_template(settings.path) if part != ""])
        self._rewrite = settings.rewrite.rstrip("/")
        self._cors = Cors(settings.cors, self._methods()) if settings.cors is not None else None

    def routes(self) -> Iterator[Route]:
        yield Route(self.settings.path, self._methods(), tuple(self.settings.host), prefix=True)

    def _methods(self) -> tuple[str, ...]:
        return tuple(self.settings.methods or DEFAULT_METHODS)

    def read(self, exchange: Exchange) -> None:
        length = exchange.body_length
        known = exchange.kept.get(self)
        if known is None or known[:3] != (exchange.identity, exchange.address, exchange.scheme):
            self._write_letter(exchange)
        if 0 < length <= WHOLE:
            exchange.body = exchange.read_body(self._runtime.max_body)

    def _write_letter(self, exchange: Exchange) -> None:
        """What the upstream gets for this head from this caller: all but the id of the request."""
        # SECURITY: A6. What follows a change of protocol could not be checked, and the connection could never be used again.
        if exchange.headers.get("upgrade", "").lower().startswith("websocket"):
            raise Problem.of("not-implemented", "WebSockets are not handed on")
        most, length = self._runtime.max_body, exchange.body_length
        if length > most:
            raise Problem.of("body-too-large", f"the body may have {most} bytes at most")
        letter = Letter(
            exchange.method, self._target(exchange), self._headers(exchange), length if length >= 0 else None
        )
        # PERF: 5 us less for the next request with the same head. SECURITY: A17, A20. And of the same caller, as far as a head
        # does not tell that: sessions and lists of trusted proxies change.
        exchange.kept[self] = (exchange.identity, exchange.address, exchange.scheme, letter)

    def run(self, exchange: Exchange) -> None:
        letter: Letter = exchange.kept[self][3]
        length = exchange.body_length
        streamed = length < 0 or length > WHOLE
        try:
            answer, upstream = self._upstreams.call(
                letter,
                # SECURITY: A8. The wire lets nothing into an id that could end a line.
                b"X-Request-Id: %b\r\n" % exchange.cid.encode("ascii"),
                exchange.body_pieces(self._runtime.max_body) if streamed else exchange.body,
                timeout=self._runtime.deadline,
            )
        except ValueError as error:
            raise Problem.of("bad-request", "this request cannot be handed on") from error
        if exchange.notes is None:
            exchange.notes = {"upstream": upstream.url}
        else:
            exchange.notes["upstream"] = upstream.url
        exchange.outcome = self._outcome(answer)

    def _target(self, exchange: Exchange) -> str:
        """The canonical path, with the channel's own part replaced, and the query as sent.

        SECURITY: A9 to A11. What was decided on and what the upstream reads are one path: it is encoded from the decoded one,
        which holds no segment that anybody could fold, and a value cannot reach beyond its segment.
        """
        params = exchange.params
        prefix = _PLACEHOLDER.sub(lambda found: quote(params.get(found[1], ""), safe=""), self._rewrite)
        if "/." in prefix and _FOLDED.search(prefix):
            # WHY: `{a}-{b}` takes `..-x` apart, and a part that is no segment of the caller's can become one here.
            raise Problem.of("ambiguous-request", "this path would be another one where it is handed on")
        rest = exchange.path.split("/", self._depth + 1)[self._depth + 1 :]
        path = prefix + ("/" + quote(rest[0], safe=_PATH_SAFE) if rest else "") or "/"
        return f"{path}?{exchange.query_string}" if exchange.query_string else path

    def _headers(self, exchange: Exchange) -> list[tuple[str, str]]:
        sent = exchange.headers
        headers = [(name, sent[name]) for name in self._forwarded if name in sent]
        if "connection" in sent:
            # SECURITY: A19. Naming a header in Connection takes the caller's own away, never ours.
            unwanted = _tokens(sent["connection"])
            headers = [field for field in headers if field[0] not in unwanted]
        if self.settings.preserve_host:
            headers.append(("Host", sent.get("host", exchange.host)))
        headers += [
            ("X-Forwarded-For", exchange.address),
            ("X-Forwarded-Proto", exchange.scheme),
            ("X-Forwarded-Host", exchange.host),
        ]
        identity = exchange.identity
        if identity:
            headers += _told(identity.name, identity.kind, identity.groups)
        return headers

    def _outcome(self, answer: Streamed | Whole) -> Outcome:
        known = answer.known
        if known is not None and known.onward is not None:
            headers: list[tuple[str, str]] = known.onward
        else:
            headers = self._onward(answer)
            if known is not None:
                # The pools, and with them what heads were read, are of these settings: see `keep`.
                known.onward = headers
        whole = answer.whole()
        if whole is None:
            return Outcome(None, answer.status, headers, "", answer)
        return Outcome(whole, answer.status, headers)

    def _onward(self, answer: Streamed | Whole) -> list[tuple[str, str]]:
        """The headers of an answer that are for the caller."""
        unwanted = HOP_BY_HOP | _tokens(answer.connection) if answer.connection else HOP_BY_HOP
        if self._cors is not None:
            unwanted |= {name.lower() for name, _ in answer.fields if name.lower().startswith("access-control-")}
        return [(name, value) for name, value in answer.fields if name.lower() not in unwanted]

    def write(self, exchange: Exchange) -> None:
        outcome = exchange.outcome or Outcome(b"")
        exchange.response_status = outcome.status
        exchange.response_headers = [*outcome.headers, *exchange.limit_headers]
        if outcome.stream is not None:
            exchange.response_stream = outcome.stream
        else:
            exchange.response_body = outcome.payload
        if self._cors is not None:
            exchange.response_headers.extend(self._cors.answer(exchange.headers.get("origin")))

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        body, content_type = self._format.render_problem(problem, exchange.cid)
        exchange.response_status = problem.status
        headers = [("Content-Type", content_type), *problem.headers, *exchange.limit_headers]
        if self._cors is not None:
            headers.extend(self._cors.answer(exchange.headers.get("origin")))
        exchange.response_headers = headers
        exchange.response_body = body

    def preflight(self, exchange: Exchange) -> list[tuple[str, str]]:
        return self._cors.preflight(exchange.headers) if self._cors is not None else []


@lru_cache(maxsize=4096)
def _told(name: str, kind: str, groups: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """What the upstream is told of an identity. PERF: 0.3 us for one that is known, 8 for another."""
    return (
        ("X-Consumer-Name", quote(name, safe=_HEADER_SAFE)),
        ("X-Consumer-Kind", kind),
        ("X-Consumer-Groups", ",".join(quote(group, safe=".-_~ ") for group in sorted(groups))),
    )


def _tokens(value: str) -> frozenset[str]:
    return frozenset(token.strip().lower() for token in value.split(",")) if value else frozenset()
