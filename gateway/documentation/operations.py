"""The operations of a REST channel, as documents tell of them.

>>> openapi_path("/orders/{number:int}/{file:path}")
('/orders/{number}/{file}', ('number', 'file'), True)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.routes import Variables, parse_template
from specs.contract import Contract
from specs.documents.interface import BODILESS, Operation, operation_ids


def rest_operations(
    name: str, kind: str, settings: Any, methods: Sequence[str], contract: Contract
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
            refusals=tuple(_refusals(settings, method, contract, converted)),
            description=settings.description,
            deprecated=settings.deprecated,
            hosts=tuple(settings.host),
        )


def openapi_path(template: str) -> tuple[str, tuple[str, ...], bool]:
    """A template as OpenAPI has it, its variables, and whether some of them take only texts of a kind."""
    names: list[str] = []
    converted = False
    for segment in parse_template(template):
        if isinstance(segment, Variables):
            names += segment.names
            converted = converted or segment.converter in ("int", "float", "uuid")
    for converter in ("int", "float", "uuid", "path"):
        template = template.replace(f":{converter}}}", "}")
    return template, tuple(names), converted


def _refusals(settings: Any, method: str, contract: Contract, converted: bool) -> Iterator[str]:
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
    if len(settings.format) > 1:
        yield "not-acceptable"
    yield from ("internal-error", "backend-failed", "service-not-deployed", "overloaded", "deadline-exceeded")
