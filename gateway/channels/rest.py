"""REST: a path and its methods lead to a service; JSON unless the channel lists other formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from gateway import channels
from gateway.channels import Route
from gateway.configuration.parts import Formats, Levels
from gateway.configuration.sampling import Sampling
from gateway.documentation.operations import rest_operations
from gateway.long_bodies import LONG, beside, growing, is_long
from specs import negotiation
from specs.compiled import CompiledContract, without_details
from specs.compression import encode_content, encode_stream, tells_secrets
from specs.exchange import Call, Outcome
from specs.formats import Parsed
from specs.lifetime import UNENDING, Lifetime
from specs.long_json import take_apart
from specs.names import ServiceName
from specs.problems import Fault, Problem
from specs.query import parse_query
from specs.settings import Size, setting

if TYPE_CHECKING:
    from specs.contract import Contract
    from specs.documents.interface import Operation
    from specs.exchange import Exchange
    from specs.formats import Format

#: What a request without a body holds.
NO_BODY = Parsed(None)
#: What a service without handlers for particular verbs is called by.
DEFAULT_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Runtime(NamedTuple):
    """What a channel knows of its service. *contract* is None while the service is not deployed.

    *kept* is what the channel's `keep` made.
    """

    contract: CompiledContract | None
    formats: Sequence[Format]
    max_body: int
    deadline: float
    validate: bool = True
    error_details: str = "full"
    kept: Any = None
    lifetime: Lifetime = UNENDING


class Reading(NamedTuple):
    """What the head of a request says of how to read it: the same for every request with that head."""

    answer: Format
    query: dict[str, Any]
    above: Mapping[str, Any]
    below: Mapping[str, Any] | None
    body: Format | None
    encoding: str


class Channel(channels.Channel):
    """A service behind a path, in the formats that the channel lists; the caller's ``Accept`` chooses among several."""

    word = "rest"

    class Settings(channels.Channel.Settings):
        """Settings of a REST channel."""

        service: ServiceName = setting("name of the service that answers")
        format: Formats = setting("format or list of formats, the preferred one first", default=["json"])
        params_priority: Literal["query", "body"] = setting(
            "which wins where the query and the body both give a value; the path wins over both", default="query"
        )
        compress: Size | None = setting(
            "answers of at least this size are compressed for callers that ask", default=None
        )
        samples: Sampling | None = setting(
            "real calls that are kept to make examples of; what the service says if left out", default=None
        )

        json_depth: Levels | None = setting(
            "most levels that a JSON body is nested; the gateway's if left out", default=None
        )

    def __init__(self, name: str, settings: Any, runtime: Runtime) -> None:
        super().__init__(name, settings)
        self._runtime = runtime
        self._contract = runtime.contract
        self._formats = tuple(runtime.formats)
        self._only = self._formats[0] if len(self._formats) == 1 else None
        formats = self._formats
        self._weigh = self._only.weight if self._only else lambda body: max(one.weight(body) for one in formats)
        self._growing = growing(runtime.contract.contract if runtime.contract is not None else None)
        self._body_wins = settings.params_priority == "body"
        self._service, self._data_format = settings.service, settings.format[0]
        self._deadline = runtime.deadline
        self._cors = Cors(settings.cors, self._methods()) if settings.cors is not None else None

    @classmethod
    def build(cls, name: str, settings: Any, runtimes: Mapping[str, Runtime], public_url: str) -> Self:
        return cls(name, settings, runtimes[settings.service])

    def routes(self) -> Iterator[Route]:
        yield Route(self.settings.path, self._methods(), tuple(self.settings.host))

    def _methods(self) -> tuple[str, ...]:
        if self.settings.methods:
            return tuple(self.settings.methods)
        return (self._contract.contract.verbs if self._contract is not None else ()) or DEFAULT_METHODS

    def operations(self) -> Iterator[Operation]:
        if self._contract is not None:
            contract = self._contract.contract
            lifetime = self._runtime.lifetime
            yield from rest_operations(self.name, self.word, self.settings, self._methods(), contract, lifetime)

    def called(self, exchange: Exchange) -> Contract | None:
        return self._contract.contract if self._contract is not None else None

    # validate

    def read(self, exchange: Exchange) -> None:
        contract = self._contract
        if contract is None:
            raise not_deployed(self.settings.service)
        reading: Reading = exchange.kept.get(self) or self._look_at(exchange)
        exchange.format, query, above, below, body_format, encoding = reading
        if query:
            exchange.query = query.copy()  # a service may do with it as it likes
        parsed = NO_BODY
        if exchange.body_length:
            body = exchange.body = exchange.read_body(self._runtime.max_body, encoding, self._weigh)
            if len(body) > LONG:
                self._read_long(exchange, contract, body_format, above, below)
                return
            if body:
                format_ = self._format_of(exchange, body_format)
                parsed = format_.parse(body, contract.contract, content_type=exchange.content_type)
                exchange.payload = parsed.payload
                if parsed.files:
                    exchange.files = parsed.files
                if format_.word == "form":
                    exchange.form = parsed.payload
        try:
            exchange.input = self._input(contract, parsed, above, below)
        except Problem as problem:
            raise told(problem, self._runtime.error_details) from None

    def _input(
        self,
        contract: CompiledContract,
        parsed: Parsed,
        above: Mapping[str, Any],
        below: Mapping[str, Any] | None,
    ) -> Any:
        return contract.read(
            parsed.payload,
            above,
            fallback=below,
            textual=parsed.textual,
            validate=self._runtime.validate,
            pointer=parsed.pointer,
        )

    def _read_long(
        self,
        exchange: Exchange,
        contract: CompiledContract,
        format_: Format | None,
        above: Mapping[str, Any],
        below: Mapping[str, Any] | None,
    ) -> None:
        """Parse and check a long body, while others are served."""
        body, details = exchange.body, self._runtime.error_details
        found = self._format_of(exchange, format_)
        content_type = exchange.content_type

        def work() -> tuple[Parsed, Any]:
            parsed = found.parse(body, contract.contract, content_type=content_type)
            try:
                return parsed, self._input(contract, parsed, above, below)
            except Problem as problem:
                # WHY: frames would refer to what was read until the loop lets go of all at once.
                problem.__traceback__ = None
                read, parsed = [parsed.payload], NO_BODY
                take_apart(read)
                raise told(problem, details) from None

        parsed, exchange.input = beside(work, len(body), self._until(exchange))
        exchange.payload = parsed.payload
        exchange.files = parsed.files
        if found.word == "form":
            exchange.form = parsed.payload

    def _until(self, exchange: Exchange) -> float:
        return exchange.started_ns / 1e9 + self._deadline if self._deadline else inf

    def _look_at(self, exchange: Exchange) -> Reading:
        """What the head alone says of how to read the request, and to answer it."""
        headers = exchange.headers
        query = parse_query(exchange.query_string) if exchange.query_string else {}
        # The path wins over both; of the query and the body the one that the channel prefers.
        above, below = ({**exchange.params}, query) if self._body_wins else ({**query, **exchange.params}, None)
        encoding = headers.get("content-encoding", "")
        content_type = headers.get("content-type", "")
        reading = Reading(
            self._only or self._choose(exchange),
            query,
            above,
            below,
            negotiation.format_by_type(content_type, self._formats),
            encoding if encoding.lower() != "identity" else "",
        )
        # WHY: what is kept is for the next request, and a list is its service's to change.
        if not any(type(value) is list for value in query.values()):
            exchange.kept[self] = reading
        return reading

    def _choose(self, exchange: Exchange) -> Format:
        accept = exchange.headers.get("accept", "")
        chosen = negotiation.choose(accept, self._formats)
        if chosen is None:
            offered = ", ".join(format_.content_type for format_ in self._formats)
            raise Problem.of("not-acceptable", f"this channel answers in {offered}")
        return chosen

    def _format_of(self, exchange: Exchange, format_: Format | None) -> Format:
        """*format_*, or the one that the body itself tells. Fills the content type."""
        content_type = exchange.content_type = exchange.headers.get("content-type", "")
        if format_ is None:
            known_by_cookie = "cookie" in exchange.headers
            format_ = negotiation.format_of_body(
                content_type, self._formats, body=exchange.body, known_by_cookie=known_by_cookie
            )
        return format_

    # execute

    def run(self, exchange: Exchange) -> None:
        most = self._deadline
        # PERF: by position, in the order of Call's members: 0.5 us less than by keyword.
        exchange.outcome = exchange.snapshot.executor.run(
            Call(
                self._service, exchange.input, exchange.payload, exchange.body, exchange.cid, exchange.identity,
                exchange.started_ns / 1e9 + most if most else 0.0, self.name, self.word, self._data_format, exchange.method,
                exchange.path, exchange.address, exchange.params, exchange.query, exchange.form, exchange.headers,
                exchange.files,
            )
        )  # fmt: skip

    # serialise

    def write(self, exchange: Exchange) -> None:
        outcome = exchange.outcome or Outcome()
        format_ = exchange.format
        exchange.response_status = outcome.status
        headers = exchange.response_headers = [*outcome.headers, *exchange.limit_headers]
        if outcome.stream is not None:
            headers.append(("Content-Type", outcome.content_type or "application/octet-stream"))
            exchange.response_stream = self._compress_stream(exchange, outcome.stream)
        elif outcome.status in (204, 304):
            exchange.response_body = b""
        else:
            contract = self._contract.contract if self._contract is not None else None
            payload = outcome.payload
            # WHY: a map is printed as JSON in one call that lets nobody else compute, in whatever thread. PERF: 0.05 us.
            slowly = type(payload) is list or format_.word == "xml"
            if slowly and is_long(exchange.body, payload, self._growing):
                body, content_type = beside(lambda: render(outcome, format_, contract), len(exchange.body))
            else:
                body, content_type = render(outcome, format_, contract)
            headers.append(("Content-Type", content_type))
            if self.settings.compress is not None:
                body = self._compress(exchange, body)
            exchange.response_body = body
        if self._only is None:
            headers.append(("Vary", "Accept"))
        if self._cors is not None:
            headers.extend(self._cors.answer(exchange.headers.get("origin")))

    def _compress(self, exchange: Exchange, body: bytes) -> bytes:
        exchange.response_headers.append(("Vary", "Accept-Encoding"))
        if tells_secrets(exchange.headers, exchange.response_headers):
            return body
        accepted, least = exchange.headers.get("accept-encoding", ""), self.settings.compress
        if len(body) > LONG:
            plain = body
            body, encoding = beside(lambda: encode_content(plain, accepted, least), len(body))
        else:
            body, encoding = encode_content(body, accepted, least)
        if encoding:
            exchange.response_headers.append(("Content-Encoding", encoding))
        return body

    def _compress_stream(self, exchange: Exchange, stream: Iterable[bytes]) -> Iterable[bytes]:
        if self.settings.compress is None:
            return stream
        exchange.response_headers.append(("Vary", "Accept-Encoding"))
        if tells_secrets(exchange.headers, exchange.response_headers):
            return stream
        stream, encoding = encode_stream(stream, exchange.headers.get("accept-encoding", ""))
        if encoding:
            exchange.response_headers.append(("Content-Encoding", encoding))
        return stream

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        format_ = exchange.format or self._only
        if format_ is None:
            format_ = negotiation.choose(exchange.headers.get("accept", ""), self._formats) or self._formats[0]
        body, content_type = format_.render_problem(problem, exchange.cid)
        exchange.response_status = problem.status
        headers = [("Content-Type", content_type), *problem.headers, *exchange.limit_headers]
        if self._cors is not None:
            headers.extend(self._cors.answer(exchange.headers.get("origin")))
        exchange.response_headers = headers
        exchange.response_body = body

    def preflight(self, exchange: Exchange) -> list[tuple[str, str]]:
        return self._cors.preflight(exchange.headers) if self._cors is not None else []


def told(problem: Problem, details: str) -> Problem:
    """*problem* with as much detail as a service's ``error_details`` allow."""
    if details == "full":
        return problem
    if details == "none":
        return without_details(problem)
    faults = [Fault(fault.pointer, fault.code, "") for fault in problem.errors]
    return Problem(problem.status, problem.code, title=problem.title, errors=faults, headers=problem.headers)


def not_deployed(service: str) -> Problem:
    """What callers of a service that is not there are told."""
    return Problem.of(
        "service-not-deployed", f"the service '{service}' is not deployed", headers=[("Retry-After", "5")]
    )


def render(outcome: Outcome, format_: Format, contract: Contract | None) -> tuple[bytes, str]:
    """The body of an answer and its media type. What a service wrote itself, with a media type, is sent as it is."""
    content_type = outcome.content_type
    body = format_.as_given(outcome.payload) if content_type or isinstance(outcome.payload, bytes) else None
    if body is not None:
        return body, content_type or "application/octet-stream"
    return format_.render(outcome.payload, contract), content_type or format_.content_type


class Cors:
    """Which pages may call (the Fetch standard's CORS protocol), computed once.

    # SECURITY: A52. Origins are compared whole: no suffixes, no patterns, and ``null`` is an origin like any other.
    """

    def __init__(self, settings: Any, methods: Sequence[str]) -> None:
        self._any = "*" in settings.origins
        self._origins = frozenset(settings.origins)
        self._always: list[tuple[str, str]] = []
        if settings.credentials:
            self._always.append(("Access-Control-Allow-Credentials", "true"))
        self._expose = [("Access-Control-Expose-Headers", ", ".join(settings.expose))] if settings.expose else []
        self._preflight = [
            ("Access-Control-Allow-Methods", ", ".join(settings.methods or methods)),
            ("Access-Control-Allow-Headers", ", ".join(settings.headers)),
            ("Access-Control-Max-Age", str(int(settings.max_age))),
        ]

    def answer(self, origin: str | None) -> list[tuple[str, str]]:
        """The headers of an answer to a page of *origin*."""
        granted = self._grant(origin)
        return [*granted, *self._expose] if len(granted) > 1 or self._any else granted

    def preflight(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The headers of an answer to a preflight; without a grant the browser refuses the call."""
        granted = self._grant(headers.get("origin"))
        if "access-control-request-method" not in headers or (len(granted) < 2 and not self._any):
            return granted
        return [*granted, *self._preflight]

    def _grant(self, origin: str | None) -> list[tuple[str, str]]:
        if self._any:
            return [("Access-Control-Allow-Origin", "*")]
        if origin is None or origin not in self._origins:
            return [("Vary", "Origin")]
        return [("Access-Control-Allow-Origin", origin), ("Vary", "Origin"), *self._always]
