"""OpenAPI 3.1 of an `Interface`, assembled by apispec. The same interface gives the same bytes.

>>> from specs.contract import Contract, Field
>>> get = Contract("customer.get", input=(Field("cust_id", "int"),), output=(Field("name"),))
>>> one = Operation("get-customer", "get-customer", "rest", "GET", "/customers/{cust_id}", get, variables=("cust_id",))
>>> found = document(Interface("My API", "1", operations=(one,)))
>>> found["openapi"], list(found["paths"]["/customers/{cust_id}"]["get"]["responses"])
('3.1.0', ['200', 'default'])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import orjson
from apispec import APISpec

from specs import yaml_text
from specs.contract import Contract, Field
from specs.documents.bodies import FORMATS, answer_example, request_example
from specs.documents.interface import Interface, Operation, Policy, Scheme, unique
from specs.documents.refusals import ANSWERS, HEADERS, PROBLEM, answer, header, own_answer, problem_content
from specs.documents.samples import input_sample, json_values, sample_value
from specs.problems import CODES
from specs.schema import schema_of, schema_of_contract, schema_of_field

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def document(interface: Interface) -> dict[str, Any]:
    """The interface as an OpenAPI document."""
    return _Document(interface).build()


def to_json(found: Mapping[str, Any]) -> bytes:
    """A document as JSON text."""
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def to_yaml(found: Mapping[str, Any]) -> bytes:
    """A document as YAML text, in its own order and without anchors."""
    return yaml_text.write(orjson.loads(orjson.dumps(found))).encode()


# PERF: apispec copies deeply what it is given, half of the time that a document takes; ours is made for it alone.
class _Ours(dict[str, Any]):
    def __deepcopy__(self, memo: dict[int, Any]) -> _Ours:
        return self


class _Document:
    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        operations = [operation for operation in interface.operations if operation.kind != "soap"]
        named = {name for operation in operations for choice in operation.security for name in choice}
        self._used = [scheme for scheme in interface.schemes if scheme.name in named]
        self._schemes = {scheme.name: key for scheme, key in zip(self._used, _keys(self._used), strict=True)}
        self._operations = sorted(operations, key=lambda o: (o.path, _METHODS.index(o.method), o.id))
        xml_services = {o.contract.service for o in operations if "xml" in o.formats}
        self._as_xml = frozenset(xml_services)
        self._inputs = unique(f"{channel} input" for channel in dict.fromkeys(o.channel for o in self._operations))
        self._outputs = unique(f"{name} output" for name in dict.fromkeys(o.contract.service for o in self._operations))
        self._schemas: dict[str, dict[str, Any]] = {}
        self._answers: dict[str, dict[str, Any]] = {}

    def build(self) -> dict[str, Any]:
        interface = self._interface
        contact = {"email" if "@" in interface.contact else "url": interface.contact} if interface.contact else {}
        told = interface.description or f"What can be called at {interface.url or 'this address'}."
        about: dict[str, Any] = {"description": told}
        if contact:
            about["contact"] = {"name": interface.title, **contact}
        if interface.license:
            about["license"] = {"name": interface.license, "identifier": interface.license}
        namespaces = dict.fromkeys(operation.contract.namespace for operation in self._operations)
        more: dict[str, Any] = {
            "info": about,
            "servers": [{"url": interface.url or "/"}],
            "tags": [
                {"name": name or "services", "description": interface.about.get(name) or _namespace(name)}
                for name in sorted(namespaces, key=lambda name: (not name, name))
            ],
        }
        spec = APISpec(title=interface.title, version=interface.version, openapi_version="3.1.0", **more)
        for operation in self._operations:
            # The methods of a path come together: apispec puts them into one path item.
            spec.path(operation.path, operations=_Ours({operation.method.lower(): self._operation(operation)}))
        for scheme in self._used:
            spec.components.security_scheme(self._schemes[scheme.name], _scheme(scheme))
        if self._operations:
            spec.components.schema("Problem", PROBLEM)
            endings = [operation.lifetime for operation in self._operations if operation.lifetime]
            names = {name.partition("Any")[0].partition("Xml")[0] for name in self._answers}
            limited = "QuotaExceeded" in names or any(operation.limits for operation in self._operations)
            used = {
                "RateLimit": limited,
                "RateLimitPolicy": limited,
                "RetryAfter": not names.isdisjoint(("QuotaExceeded", "Unavailable")),
                "WwwAuthenticate": "Unauthenticated" in names,
                "Deprecation": any(lifetime.deprecated for lifetime in endings),
                "Sunset": any(lifetime.sunset for lifetime in endings),
            }
            for name, (description, example) in HEADERS.items():
                if used.get(name, True):
                    spec.components.header(
                        name, {"description": description, "schema": {"type": "string"}, "example": example}
                    )
        for name, schema in self._schemas.items():
            spec.components.schema(name, _Ours(schema))
        for name, response in self._answers.items():
            spec.components.response(name, response)
        found: dict[str, Any] = spec.to_dict()
        order = ("openapi", "info", "servers", "tags", "paths", "components")
        return {key: found[key] for key in order if key in found and (found[key] or key == "paths")}

    def _operation(self, operation: Operation) -> dict[str, Any]:
        contract = operation.contract
        described = [contract.documentation or contract.summary, operation.description, _ending(operation)]
        if operation.limits:
            described.append("**Limits:** " + ", ".join(policy.sentence for policy in operation.limits) + ".")
        found: dict[str, Any] = {
            "operationId": operation.id,
            "summary": contract.summary.rstrip(".") or operation.id,
            "description": "\n\n".join(text for text in described if text) or contract.service,
            "tags": [contract.namespace or "services"],
        }
        if operation.lifetime.deprecated:
            found["deprecated"] = True
        if operation.lifetime.sunset:
            found["x-sunset"] = operation.lifetime.sunset.when.date().isoformat()
        if parameters := self._parameters(operation):
            found["parameters"] = parameters
        if operation.has_body and (body := self._body(operation)):
            found["requestBody"] = body
        found["responses"] = self._responses(operation)
        found["security"] = [{self._schemes[name]: [] for name in choice} for choice in operation.security]
        found["x-service"] = contract.service
        if contract.namespace:
            found["x-namespace"] = contract.namespace
        # SECURITY: A51. A service that the reader may not call is not named either.
        if invokes := [name for name in contract.invokes if name in self._interface.contracts]:
            found["x-invokes"] = invokes
        if operation.limits:
            found["x-rate-limits"] = [_policy(policy) for policy in operation.limits]
        return found

    def _parameters(self, operation: Operation) -> list[dict[str, Any]]:
        found = []
        for place, fields in (("path", operation.path_fields), ("query", operation.query_fields)):
            real = json_values(input_sample(operation, fields)) if operation.examples else {}
            found += [_parameter(field, place, real) for field in fields]
        return found

    def _body(self, operation: Operation) -> dict[str, Any]:
        contract, fields = operation.contract, operation.body_fields
        if fields == () and contract.schema is None:
            return {}
        key = self._inputs[f"{operation.channel} input"]
        schema = self._input_schema(contract, fields, key)
        named = bool(schema)
        if named:
            self._schemas[key] = schema
        reference = {"$ref": f"#/components/schemas/{key}"} if named else {}
        wrapped = _wrapped(reference, contract.request_elem)
        content: dict[str, Any] = {}
        for word in operation.formats:
            if word == "plain":
                content["text/plain"] = {"schema": {"type": "string"}}
                continue
            for media_type in FORMATS[word].media_types[:1] if word != "form" else FORMATS[word].media_types:
                content[media_type] = {"schema": wrapped if word == "json" else reference}
                if fields or (fields is None and operation.examples):
                    content[media_type] |= _examples(operation, partial(request_example, operation, word))
        required = any(field.required for field in fields or ())
        return {"content": content, **({"required": True} if required else {})}

    def _input_schema(self, contract: Contract, fields: tuple[Field, ...] | None, key: str) -> dict[str, Any]:
        declared = (
            _with_xml(schema_of(fields), fields, "request")
            if fields is not None and contract.service in self._as_xml
            else (schema_of(fields) if fields is not None else {})
        )
        if contract.schema is None:
            return declared
        own = _placed(dict(contract.schema), key if fields is None else f"{key}/allOf/1")
        return own if fields is None else {"allOf": [declared, own]}

    def _responses(self, operation: Operation) -> dict[str, Any]:
        headers = {"X-Request-Id": header("RequestId")}
        if operation.limits:
            headers |= {"RateLimit": header("RateLimit"), "RateLimit-Policy": header("RateLimitPolicy")}
        if operation.lifetime.deprecated:
            headers["Deprecation"] = header("Deprecation")
        if operation.lifetime.sunset:
            headers["Sunset"] = header("Sunset")
        found: dict[str, Any] = {}
        for status in operation.contract.statuses or (200,):
            content = self._content(operation) if status not in (204, 304) else {}
            found[str(status)] = {"description": "What the service answers.", "headers": headers, **content}
        kind = "Any" if {"json", "xml"} <= set(operation.formats) else "Xml" if operation.formats[0] == "xml" else ""
        by_status: dict[int, list[str]] = {}
        for code in operation.refusals:
            by_status.setdefault(CODES[code][0], []).append(code)
        own: dict[int, list[tuple[int, str, str]]] = {}
        for problem in operation.contract.problems:
            own.setdefault(problem[0], []).append(problem)
        for status in sorted({*by_status, *own}):
            if status in own:
                found[str(status)] = own_answer(status, kind, own[status], by_status.get(status, []), headers)
                continue
            name = f"{ANSWERS[status][0]}{kind}"
            if name not in self._answers:
                self._answers[name] = answer(status, kind)
            found[str(status)] = {"$ref": f"#/components/responses/{name}"}
        name = f"Refused{kind}"
        if name not in self._answers:
            self._answers[name] = {
                "description": "Any other refusal: a problem (RFC 9457) of the service's own.",
                "headers": {"X-Request-Id": header("RequestId")},
                "content": problem_content(kind, []),
            }
        found["default"] = {"$ref": f"#/components/responses/{name}"}
        return found

    def _content(self, operation: Operation) -> dict[str, Any]:
        contract = operation.contract
        content: dict[str, Any] = {}
        for word in operation.formats:
            media_type = FORMATS[word].content_type.partition(";")[0]
            if media_type in content:
                continue
            if word == "plain":
                content[media_type] = {"schema": {"type": "string"}}
            elif contract.output is None:
                shown = _examples(operation, partial(answer_example, operation, word)) if operation.examples else {}
                content[media_type] = {"schema": {}, **shown}
            elif contract.output:
                key = self._outputs[f"{contract.service} output"]
                if key not in self._schemas:
                    schema = schema_of_contract(contract, "output")
                    if contract.service in self._as_xml:
                        schema = _with_xml(schema, contract.output, contract.response_elem or "response")
                    self._schemas[key] = schema
                reference = {"$ref": f"#/components/schemas/{key}"}
                schema = _wrapped(reference, contract.response_elem) if word != "xml" else reference
                shown = _examples(operation, partial(answer_example, operation, word))
                content[media_type] = {"schema": schema, **shown}
        return {"content": content} if content else {}


def _ending(operation: Operation) -> str:
    lifetime = operation.lifetime
    more = f" [What to do instead]({lifetime.page})." if lifetime.page else ""
    return f"**{lifetime.sentence}**{more}" if lifetime else ""


def _namespace(name: str) -> str:
    return f"Services of the namespace {name}." if name else "Services without a namespace."


def _examples(operation: Operation, make: Callable[[int], Any]) -> dict[str, Any]:
    """What stands beside a schema: the real calls by their titles, or one sample that was made up."""
    if not operation.examples:
        return {"example": make(0)}
    names = unique(f"{number} {one.title}" for number, one in enumerate(operation.examples, 1))
    found = zip(names.values(), operation.examples, strict=True)
    return {"examples": {n: {"summary": one.title, "value": make(i)} for i, (n, one) in enumerate(found)}}


def _parameter(field: Field, place: str, real: Mapping[str, Any]) -> dict[str, Any]:
    schema = schema_of_field(field)
    description = schema.pop("description", "")
    if isinstance(schema.get("type"), list):
        schema["type"] = schema["type"][0]
    found: dict[str, Any] = {"name": field.name, "in": place}
    if description:
        found["description"] = description
    if place == "path" or field.required:
        found["required"] = True
    found["schema"] = schema
    if field.name in real:
        found["example"] = real[field.name]
    elif field.required or field.type == "enum":
        found["example"] = json_values(sample_value(field))
    return found


def _scheme(scheme: Scheme) -> dict[str, Any]:
    described = {"description": scheme.description or scheme.realm} if scheme.description or scheme.realm else {}
    if scheme.kind == "key":
        return {"type": "apiKey", "in": "header", "name": scheme.header, **described}
    if scheme.kind == "cookie":
        return {"type": "apiKey", "in": "cookie", "name": scheme.header, **described}
    return {"type": "http", "scheme": scheme.kind, **described}


def _keys(schemes: Iterable[Scheme]) -> list[str]:
    """A component's key for each scheme: its name, where that can be one."""
    found: list[str] = []
    for scheme in schemes:
        key = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in scheme.name)
        while key in found:
            key += "-"
        found.append(key)
    return found


def _policy(policy: Policy) -> dict[str, Any]:
    return {"policy": policy.name, "level": policy.level, "quota": policy.quota, "window": policy.window}


def _wrapped(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name]} if name else schema


def _with_xml(schema: dict[str, Any], fields: Sequence[Field] | None, root: str) -> dict[str, Any]:
    """*schema* with what its XML form is called: the root element, and lists as elements around their items."""
    found = {**schema, "xml": {"name": root}}
    if found.get("type") == "array":
        found["xml"]["wrapped"] = True
        found["items"] = {**_lists(found["items"]), "xml": {"name": "item"}}
        return found
    return _lists(found)


def _lists(schema: dict[str, Any]) -> dict[str, Any]:
    found = dict(schema)
    if "properties" in found:
        found["properties"] = {name: _lists(held) for name, held in found["properties"].items()}
    if "items" in found:
        found["items"] = {**_lists(found["items"]), "xml": {"name": "item"}}
        found.setdefault("xml", {"wrapped": True})
    return found


def _placed(schema: dict[str, Any], key: str) -> dict[str, Any]:
    """A JSON Schema file at its place in the document: what it says of itself by ``#/...`` is found there."""
    schema.pop("$schema", None)

    def walk(value: Any) -> Any:
        if isinstance(value, Mapping):
            if "$id" in value and value is not schema:
                return value
            found = {name: walk(held) for name, held in value.items()}
            target = found.get("$ref")
            if (
                isinstance(target, str)
                and target.startswith("#")
                and (target == "#" or target[1] == "/")
                and "$id" not in schema
            ):
                found["$ref"] = f"#/components/schemas/{key}{target[1:]}"
            return found
        return [walk(held) for held in value] if isinstance(value, list) else value

    return walk(schema)  # type: ignore[no-any-return]
