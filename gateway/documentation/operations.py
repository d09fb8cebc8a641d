"""The operations of channels, as documents tell of them.

>>> openapi_path("/orders/{number:int}/{file:path}")
('/orders/{number}/{file}', ('number', 'file'), True)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.routes import Variables, parse_template
from specs import soap
from specs.contract import Contract
from specs.documents.interface import BODILESS, Example, Operation, Sample, operation_ids
from specs.documents.samples import input_sample, output_sample
from specs.lifetime import Lifetime
from specs.problems import Problem
from specs.soap_values import Members, fields_in, fields_out, wrap_answer

_CONVERTED = re.compile(r"\{(\w+):[^{}]*\}")


def rest_operations(
    name: str, kind: str, settings: Any, methods: Sequence[str], contract: Contract, lifetime: Lifetime
) -> Iterator[Operation]:
    """One operation for each method of a channel. What depends on its caller is not in it: see `gateway.documentation.audience`."""
    path, variables, converted = openapi_path(settings.path)
    for method, identifier in zip(methods, operation_ids(name, methods), strict=True):
        yield Operation(
            id=identifier,
            channel=name,
            kind=kind,
            method=method,
            path=path,
            contract=contract,
            variables=variables,
            formats=tuple(settings.format),
            security=tuple(tuple(str(one) for one in choice) for choice in settings.security),
            refusals=tuple(_refusals(settings, method, contract, converted, formats=len(settings.format))),
            description=settings.description,
            lifetime=lifetime,
            hosts=tuple(settings.host),
        )


def openapi_path(template: str) -> tuple[str, tuple[str, ...], bool]:
    """A template as OpenAPI has it, its variables, and whether some of them take only texts of a kind."""
    names: list[str] = []
    converted = False
    for segment in parse_template(template):
        if isinstance(segment, Variables):
            names += segment.names
            converted = converted or segment.converter not in ("", "path")
    return _CONVERTED.sub(r"{\1}", template), tuple(names), converted


def _refusals(settings: Any, method: str, contract: Contract, converted: bool, *, formats: int) -> Iterator[str]:
    """The codes that the gateway itself may answer with, whatever the service does."""
    body = method not in BODILESS
    if body:
        yield from ("malformed-body", "request-timeout", "body-too-large")
        if contract.input != ():
            yield "unsupported-media-type"
    yield from ("bad-request", "invalid-input")
    if settings.security:
        yield "unauthenticated"
    if settings.security or settings.groups or settings.allow or settings.deny or settings.limit:
        yield from ("forbidden", "address-not-allowed")
    if converted:
        yield "no-such-path"
    if formats > 1:
        yield "not-acceptable"
    yield from ("internal-error", "backend-failed", "service-not-deployed", "overloaded", "deadline-exceeded")


def soap_operations(
    name: str,
    settings: Any,
    namespace: str,
    contracts: Mapping[str, Contract],
    lifetimes: Mapping[str, Lifetime],
    url: str,
) -> Iterator[Operation]:
    """The operations of a SOAP endpoint, by their names; *url* is where it is called, and described."""
    path, variables, _ = openapi_path(settings.path)
    links = (
        ("WSDL", f"{url}?wsdl"),
        ("WSDL, SOAP 1.1", f"{url}?wsdl&soap=1.1"),
        ("WSDL, SOAP 1.2", f"{url}?wsdl&soap=1.2"),
    )
    for operation, contract in sorted(contracts.items()):
        found = Operation(
            id=f"{operation_ids(name, ['POST'])[0]}-{operation}",
            channel=name,
            kind="soap",
            method="POST",
            path=path,
            contract=contract,
            variables=variables,
            formats=("soap",),
            security=tuple(tuple(str(one) for one in choice) for choice in settings.security),
            refusals=tuple(_refusals(settings, "POST", contract, False, formats=1)),
            description=settings.description,
            lifetime=lifetimes[operation],
            hosts=tuple(settings.host),
            links=links if settings.wsdl != "off" else (),
            action=operation,
            namespace=namespace,
        )
        yield _with_envelopes(found)


def with_examples(operation: Operation, examples: Sequence[Example]) -> Operation:
    """*operation* with real calls in place of samples that were made up."""
    found = replace(operation, examples=tuple(examples))
    return _with_envelopes(found) if operation.kind == "soap" else found


def _with_envelopes(operation: Operation) -> Operation:
    """A SOAP operation with its sample messages."""
    contract, name = operation.contract, operation.action
    takes, gives = Members(fields_in(contract)), Members(fields_out(contract))
    sent = input_sample(operation, contract.input or ())
    came = wrap_answer(contract, output_sample(operation) if contract.output is not None else {})
    return replace(
        operation,
        requests=tuple(_envelopes(name, operation.namespace, takes, sent)),
        answers=tuple(_envelopes(f"{name}Response", operation.namespace, gives, came)),
    )


def _envelopes(element: str, namespace: str, members: Members, value: Mapping[str, Any]) -> Iterator[Sample]:
    try:
        inside = members.write(value)
    except Problem:  # a sample that XML cannot hold
        return
    for label, version in (("SOAP 1.1", soap.SOAP11), ("SOAP 1.2", soap.SOAP12)):
        yield Sample(label, version.content_type, soap.answer(version, element, namespace, inside).decode())
