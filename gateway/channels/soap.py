"""SOAP: several services as the operations of one endpoint, in SOAP 1.1 and 1.2, which describes itself with ``?wsdl``.

The body's element says which operation is called; a SOAPAction that says otherwise is refused. Problems are faults whose
detail holds what the JSON form holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self
from urllib.parse import quote

from gateway import channels
from gateway.channels import Route
from gateway.channels.rest import Cors, Runtime, not_deployed, told
from gateway.configuration.sampling import Sampling
from gateway.documentation.operations import soap_operations
from gateway.long_bodies import LONG, beside, growing, is_long
from specs import soap
from specs.documents import wsdl
from specs.exchange import Call
from specs.formats import json_
from specs.names import LimitName, Many, ServiceName
from specs.negotiation import parse_content_type
from specs.problems import ConfigurationError, Problem
from specs.query import parse_query
from specs.settings import setting
from specs.soap import Message, Version
from specs.soap_values import Members, fields_in, fields_out, wrap_answer
from specs.xml_text import weight

if TYPE_CHECKING:
    from specs.compiled import CompiledContract
    from specs.contract import Contract
    from specs.documents.interface import Operation as Documented
    from specs.exchange import Exchange
    from specs.xml_text import Element

MEDIA_TYPES: Final = ("text/xml", "application/soap+xml", "application/xml")
#: Refusals whose status HTTP itself, its proxies and its clients act upon. Others have those that SOAP has for faults.
KEPT: Final = frozenset((401, 403, 405, 408, 413, 415, 429, 431, 503))
#: The body of a call to an endpoint's only service, as clients of older platforms write it.
ANY_OPERATION: Final = "request"


class Services(Many):
    """Services by name."""

    __slots__ = ()
    item = ServiceName


class Operation:
    """One service as an operation: its names, and how its messages are read and written."""

    __slots__ = ("actions", "answer", "contract", "gives", "growing", "name", "runtime", "service", "takes")

    def __init__(self, name: str, action: str, service: str, runtime: Runtime, contract: Contract) -> None:
        self.name = name
        self.answer = f"{name}Response"
        self.actions = frozenset((action, name, service, contract.service))
        self.service = service
        self.runtime = runtime
        self.contract = contract
        self.takes = Members(fields_in(contract))
        self.gives = Members(fields_out(contract))
        self.growing = growing(contract)


class Opened:
    """What a message is about: its version, and once it was taken apart the rest. *runs* once its service does.

    Where *operation* is None, *problem* says why; it is told when the caller has been identified.
    """

    __slots__ = ("message", "operation", "problem", "runs", "version")

    message: Message

    def __init__(self, version: Version) -> None:
        self.version = version
        self.operation: Operation | None = None
        self.problem: Problem | None = None
        self.runs = False


class Channel(channels.Channel):
    """Services behind one SOAP endpoint."""

    word = "soap"
    opens = True

    class Settings(channels.Channel.Settings):
        """Settings of a SOAP channel."""

        opens = True
        services: Services = setting("names of the services that are its operations")
        namespace: str | None = setting(
            "target namespace of the description; urn:gatewright: and the namespace of the services if left out",
            default=None,
        )
        operation_limits: dict[str, LimitName] = setting("limit definitions of operations, by their names", default={})
        samples: Sampling | None = setting(
            "real calls that are kept to make examples of; what each service says if left out", default=None
        )
        wsdl: Literal["secured", "public", "off"] = setting(
            "who gets the description at ?wsdl (a WS-Security token cannot be sent there): those who may call, everybody, nobody",
            default="secured",
        )

        def check(self, path: str) -> None:
            """Raises ConfigurationError."""
            if not self.services:
                raise ConfigurationError(f"{path}.services", "an endpoint has one operation at least", "name a service")
            if len(set(self.services)) < len(self.services):
                raise ConfigurationError(f"{path}.services", "a service is named twice", "name it once")
            if self.methods is not None and tuple(self.methods) != ("POST",):
                raise ConfigurationError(f"{path}.methods", "SOAP is called with POST", "leave it out")
            if self.namespace is not None and (not self.namespace or any(c.isspace() for c in self.namespace)):
                raise ConfigurationError(f"{path}.namespace", "not a URI", "write urn:example:customers")

    def __init__(self, name: str, settings: Any, runtimes: Mapping[str, Runtime], public_url: str) -> None:
        """Raises ConfigurationError where two services would be one operation."""
        super().__init__(name, settings)
        deployed = {
            service: runtime.contract.contract for service, runtime in runtimes.items() if runtime.contract is not None
        }
        try:
            self.endpoint = wsdl.Endpoint.of(
                name, list(deployed.values()), settings.namespace or "", settings.description
            )
        except ConfigurationError as error:
            raise error.under(f"channels.{name}") from None
        services = {id(contract): service for service, contract in deployed.items()}
        self._operations = {
            operation: Operation(
                operation,
                self.endpoint.action(operation),
                services[id(contract)],
                runtimes[services[id(contract)]],
                contract,
            )
            for operation, contract in self.endpoint.operations.items()
        }
        endings = {name: operation.runtime.lifetime.sentence for name, operation in self._operations.items()}
        self.endpoint = replace(self.endpoint, endings={name: text for name, text in endings.items() if text})
        self._missing = [service for service in runtimes if service not in deployed]
        self._max_body = max(runtime.max_body for runtime in runtimes.values())
        self._deadline = max(runtime.deadline for runtime in runtimes.values())
        self._cors = Cors(settings.cors, ["POST"]) if settings.cors is not None else None
        self._description = Description(name, settings, self.endpoint, public_url)
        self._url = public_url + settings.path

    @classmethod
    def build(cls, name: str, settings: Any, runtimes: Mapping[str, Runtime], public_url: str) -> Self:
        return cls(name, settings, runtimes, public_url)

    def routes(self) -> Iterator[Route]:
        hosts = tuple(self.settings.host)
        yield Route(self.settings.path, ("POST",), hosts)
        if self.settings.wsdl != "off":
            yield Route(
                self.settings.path, ("GET",), hosts, answers=self._description, secured=self.settings.wsdl == "secured"
            )

    def operations(self) -> Iterator[Documented]:
        contracts = {name: operation.contract for name, operation in self._operations.items()}
        lifetimes = {name: operation.runtime.lifetime for name, operation in self._operations.items()}
        yield from soap_operations(self.name, self.settings, self.endpoint.namespace, contracts, lifetimes, self._url)

    def called(self, exchange: Exchange) -> Contract | None:
        opened: Opened | None = exchange.opened
        return opened.operation.contract if opened is not None and opened.operation is not None else None

    # open

    def open(self, exchange: Exchange) -> None:
        content_type = exchange.content_type = exchange.headers.get("content-type", "")
        body = exchange.read_body(self._max_body, exchange.headers.get("content-encoding", ""), weight)
        exchange.body = body
        if not body:
            raise Problem.of("malformed-body", "send a SOAP message")
        _check_media_type(content_type, body, "cookie" in exchange.headers)
        if len(body) > LONG:
            version, envelope = beside(lambda: soap.open_envelope(body, content_type), len(body), self._until(exchange))
        else:
            version, envelope = soap.open_envelope(body, content_type)
        opened = Opened(version)
        exchange.opened = opened
        opened.message = Message(version, envelope)
        opened.message.check_understood(self._understood)
        try:
            opened.operation = self._dispatch(opened.message.body, soap.actions_of(exchange.headers, content_type))
        except Problem as problem:
            # SECURITY: which operations there are is for those who may call them.
            opened.problem = problem

    @cached_property
    def _understood(self) -> Collection[tuple[str, str]]:
        security = getattr(self, "security", None)
        definitions = security.definitions if security is not None else ()
        return frozenset(header for definition in definitions for header in definition.soap_headers)

    def _dispatch(self, element: Element, actions: Sequence[str]) -> Operation:
        """The operation that the body's element names. Raises Problem."""
        operation = self._operations.get(element.name)
        if operation is None or element.namespace != self.endpoint.namespace:
            if element.name == ANY_OPERATION and len(self._operations) == 1 and not self._missing:
                # Such a body names no operation, so no action contradicts it.
                return next(iter(self._operations.values()))
            if self._missing and operation is None:
                raise not_deployed(self._missing[0])
            where = f"of the namespace '{element.namespace}'" if element.namespace else "without a namespace"
            known = ", ".join(sorted(self._operations))
            raise Problem.of(
                "no-such-operation",
                f"there is no operation '{element.name}' {where}; in '{self.endpoint.namespace}' there are {known}",
            )
        # SECURITY: A40. What a firewall or a limit before us decided by the action must not be got around by the body.
        for action in actions:
            if action not in operation.actions:
                raise Problem.of(
                    "soap-action-mismatch",
                    f"the action is '{action[:100]}' and the body calls '{operation.name}'",
                )
        return operation

    # validate

    def read(self, exchange: Exchange) -> None:
        opened: Opened = exchange.opened
        operation = opened.operation
        if operation is None:
            raise opened.problem or Problem.of("no-such-operation")
        runtime = operation.runtime
        assert runtime.contract is not None  # or it were no operation
        element = opened.message.body
        exchange.query = parse_query(exchange.query_string) if exchange.query_string else {}
        if len(exchange.body) > LONG:
            work = partial(_values, operation, runtime.contract, element, exchange.params)
            exchange.payload, exchange.input = beside(work, len(exchange.body), self._until(exchange))
        else:
            exchange.payload, exchange.input = _values(operation, runtime.contract, element, exchange.params)

    def _until(self, exchange: Exchange) -> float:
        return exchange.started_ns / 1e9 + self._deadline if self._deadline else inf

    # execute

    def run(self, exchange: Exchange) -> None:
        opened = exchange.opened
        operation = opened.operation
        most = operation.runtime.deadline
        opened.runs = True
        exchange.outcome = exchange.snapshot.executor.run(
            Call(
                service=operation.service,
                input=exchange.input,
                payload=exchange.payload,
                raw=exchange.body,
                cid=exchange.cid,
                identity=exchange.identity,
                deadline=exchange.started_ns / 1e9 + most if most else 0.0,
                channel=self.name,
                channel_type=self.word,
                data_format=self.word,
                method=exchange.method,
                path=exchange.path,
                address=exchange.address,
                params=exchange.params,
                query=exchange.query,
                headers=exchange.headers,
            )
        )

    # serialise

    def write(self, exchange: Exchange) -> None:
        outcome = exchange.outcome
        assert outcome is not None
        opened = exchange.opened
        version, operation = opened.version, opened.operation
        if outcome.status >= 400:
            raise _refusal(outcome.status)
        headers = [*outcome.headers, *exchange.limit_headers]
        if outcome.stream is not None:
            raise Problem.of("not-representable", "a stream is no SOAP message")
        if outcome.content_type and isinstance(outcome.payload, (str, bytes)) and _is_xml(outcome.content_type):
            # The service wrote the whole message itself.
            payload = outcome.payload
            exchange.response_body = payload.encode() if isinstance(payload, str) else payload
            headers.append(("Content-Type", outcome.content_type))
        else:
            work = partial(self._answer, version, operation, outcome.payload)
            long = is_long(exchange.body, outcome.payload, operation.growing)
            exchange.response_body = beside(work, len(exchange.body)) if long else work()
            headers.append(("Content-Type", version.content_type))
        exchange.response_status = 200
        exchange.response_headers = headers
        if self._cors is not None:
            headers.extend(self._cors.answer(exchange.headers.get("origin")))

    def _answer(self, version: Version, operation: Operation, payload: Any) -> bytes:
        members = operation.gives.write(wrap_answer(operation.contract, payload))
        return soap.answer(version, operation.answer, self.endpoint.namespace, members)

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        opened = exchange.opened
        version = opened.version if opened is not None else soap.version_asked(exchange.headers.get("content-type", ""))
        runs = opened is not None and opened.runs
        if problem.status in KEPT and not runs:
            exchange.response_status = problem.status
        elif version is soap.SOAP12 and problem.status < 500:
            exchange.response_status = 400
        else:
            exchange.response_status = 500
        exchange.response_body = soap.fault(version, problem, exchange.cid, self.endpoint.namespace)
        headers = [("Content-Type", version.content_type), *problem.headers, *exchange.limit_headers]
        if self._cors is not None:
            headers.extend(self._cors.answer(exchange.headers.get("origin")))
        exchange.response_headers = headers

    def preflight(self, exchange: Exchange) -> list[tuple[str, str]]:
        return self._cors.preflight(exchange.headers) if self._cors is not None else []


def _values(operation: Operation, contract: CompiledContract, element: Element, params: Mapping[str, str]) -> Any:
    """The payload in *element*, and what the contract makes of it. Raises Problem."""
    runtime = operation.runtime
    try:
        payload = operation.takes.read(element, element.namespace)
        return payload, contract.read(payload, params or None, textual=True, validate=runtime.validate)
    except Problem as problem:
        raise told(problem, runtime.error_details) from None


def _check_media_type(content_type: str, body: bytes, known_by_cookie: bool) -> None:
    media_type = parse_content_type(content_type)[0]
    if not media_type or media_type in MEDIA_TYPES:
        return
    # What curl -d sends. SECURITY: not for a caller known by a cookie, since a page elsewhere could send it too.
    if media_type == "application/x-www-form-urlencoded" and not known_by_cookie and body.lstrip()[:1] == b"<":
        return
    known = ", ".join(MEDIA_TYPES)
    raise Problem.of("unsupported-media-type", f"send one of {known}", headers=[("Accept", known)])


def _is_xml(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() in MEDIA_TYPES


def _refusal(status: int) -> Problem:
    """The problem of an answer that its service gave a status of failure."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "error"
    return Problem(status, phrase.lower().replace(" ", "-").replace("'", ""), "the service refused the call")


class View(NamedTuple):
    """One form of a description, ready to be sent."""

    body: bytes
    tag: str


class Description(channels.Channel):
    """What ``GET`` of a SOAP channel's path gives: its WSDL, with both ports or with the one asked for by ``soap=1.1``."""

    word = "wsdl"
    VIEWS: Final[Mapping[str, Sequence[str]]] = {"": wsdl.VERSIONS, "1.1": ("1.1",), "1.2": ("1.2",)}

    def __init__(self, name: str, settings: Any, endpoint: wsdl.Endpoint, public_url: str) -> None:
        super().__init__(name, settings)
        self._endpoint = endpoint
        self._public_url = public_url
        self._problems = json_.Format()
        self._views: dict[str, View] = {}
        self._cache = "no-cache" if settings.wsdl == "public" or not settings.security else "private, no-cache"

    def read(self, exchange: Exchange) -> None:
        query = {key.lower(): value for key, value in parse_query(exchange.query_string).items()}
        if "wsdl" not in query:
            raise Problem.of(
                "method-not-allowed", "this is a SOAP endpoint: POST to it, or add ?wsdl", headers=[("Allow", "POST")]
            )
        asked = query.get("soap", "")
        if asked not in self.VIEWS:
            raise Problem.of("invalid-input", "soap is 1.1 or 1.2")
        exchange.payload = asked

    def run(self, exchange: Exchange) -> None:
        exchange.payload = self._view(exchange.payload, exchange.path)

    def write(self, exchange: Exchange) -> None:
        view: View = exchange.payload
        known = exchange.headers.get("if-none-match", "")
        fresh = known.strip() == "*" or view.tag in [tag.strip().removeprefix("W/") for tag in known.split(",")]
        exchange.response_status = 304 if fresh else 200
        exchange.response_body = b"" if fresh else view.body
        exchange.response_headers = [
            ("ETag", view.tag),
            ("Cache-Control", self._cache),
            ("X-Content-Type-Options", "nosniff"),
            *exchange.limit_headers,
        ]
        if not fresh:
            exchange.response_headers.append(("Content-Type", "text/xml; charset=utf-8"))

    def _view(self, versions: str, path: str) -> View:
        # SECURITY: the address is configured, never the caller's Host header: what one caller sends must not end up in what
        # caches give to others.
        found = self._views.get(versions)
        if found is None or "{" in self.settings.path:
            address = self._public_url + quote(path, safe="/-._~!$&'()*+,;=:@")
            body = wsdl.write_wsdl(self._endpoint, address, self.VIEWS[versions])
            found = View(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
            if "{" not in self.settings.path:
                self._views[versions] = found
        return found

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        body, content_type = self._problems.render_problem(problem, exchange.cid)
        exchange.response_status = problem.status
        exchange.response_headers = [("Content-Type", content_type), *problem.headers, *exchange.limit_headers]
        exchange.response_body = body
