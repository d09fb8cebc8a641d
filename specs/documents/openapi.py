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
from urllib.parse import urlencode

import orjson
import yaml
from apispec import APISpec

from specs.contract import Contract, Field
from specs.documents.interface import Interface, Operation, Policy, Scheme, unique
from specs.documents.samples import input_sample, json_values, output_sample, sample_value
from specs.formats import Format, form, json_, plain, xml
from specs.problems import CODES, Problem
from specs.schema import schema_of, schema_of_contract, schema_of_field

FORMATS: Final[Mapping[str, Format]] = {
    "json": json_.Format(), "xml": xml.Format(), "form": form.Format(), "plain": plain.Format(),
}  # fmt: skip
#: Answers of the gateway itself, by status: the component's name and what it means to a caller.
ANSWERS: Final = {
    400: ("BadRequest", "The request cannot be understood: `errors` says where and why."),
    401: ("Unauthenticated", "The credentials are missing or wrong."),
    403: ("Forbidden", "This caller, or calls from this address, are not allowed here."),
    404: ("NotFound", "Nothing is found here."),
    406: ("NotAcceptable", "None of the media types in `Accept` is offered."),
    408: ("RequestTimeout", "The body took too long to arrive."),
    413: ("BodyTooLarge", "The body is larger than is taken here."),
    415: ("UnsupportedMediaType", "The body's media type is none of those that are read here."),
    429: ("QuotaExceeded", "Too many calls: `Retry-After` says when the next one is let in."),
    500: ("InternalError", "Something failed in the service or in the gateway: quote the `cid` when you report it."),
    502: ("BackendFailed", "A system behind the service did not answer as it should."),
    503: ("Unavailable", "The service cannot be reached at the moment."),
    504: ("DeadlineExceeded", "The answer was not there in time."),
}
_HEADERS: Final = {
    "RequestId": ("The id of this call: the log has its details under it.", "7f3a1c52e0b94d6c"),
    "RateLimit": ("What is left of each quota, and when there is more.", '"standard";r=99;t=1'),
    "RateLimitPolicy": ("The quotas that this call counts against: their sizes and windows in seconds.", '"standard";q=100;w=60'),
    "RetryAfter": ("Seconds after which the same request may be sent again.", "1"),
    "Deprecation": ("Since when, or from when on, this is deprecated (RFC 9745).", "@1796083200"),
    "Sunset": ("When this ends (RFC 8594).", "Wed, 30 Jun 2027 22:00:00 GMT"),
    "WwwAuthenticate": ("How to prove who is calling, once for each way there is.", 'Basic realm="Partners"'),
}  # fmt: skip
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def document(interface: Interface) -> dict[str, Any]:
    """The interface as an OpenAPI document."""
    return _Document(interface).build()


def to_json(found: Mapping[str, Any]) -> bytes:
    """A document as JSON text."""
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def to_yaml(found: Mapping[str, Any]) -> bytes:
    """A document as YAML text, in its own order and without anchors."""
    plain = orjson.loads(orjson.dumps(found))  # names in it may be subclasses of str, which YAML would tag
    text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text.encode()


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


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
            spec.path(operation.path, operations={operation.method.lower(): self._operation(operation)})
        for scheme in self._used:
            spec.components.security_scheme(self._schemes[scheme.name], _scheme(scheme))
        if self._operations:
            spec.components.schema("Problem", PROBLEM)
            endings = [operation.lifetime for operation in self._operations if operation.lifetime]
            unused = {
                "Deprecation": not any(lifetime.deprecated for lifetime in endings),
                "Sunset": not any(lifetime.sunset for lifetime in endings),
            }
            for name, (description, example) in _HEADERS.items():
                if not unused.get(name):
                    spec.components.header(
                        name, {"description": description, "schema": {"type": "string"}, "example": example}
                    )
        for name, schema in self._schemas.items():
            spec.components.schema(name, schema)
        for name, answer in self._answers.items():
            spec.components.response(name, answer)
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
        headers = {"X-Request-Id": _header("RequestId")}
        if operation.limits:
            headers |= {"RateLimit": _header("RateLimit"), "RateLimit-Policy": _header("RateLimitPolicy")}
        if operation.lifetime.deprecated:
            headers["Deprecation"] = _header("Deprecation")
        if operation.lifetime.sunset:
            headers["Sunset"] = _header("Sunset")
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
                found[str(status)] = _own_answer(status, kind, own[status], by_status.get(status, []), headers)
                continue
            name = f"{ANSWERS[status][0]}{kind}"
            if name not in self._answers:
                self._answers[name] = _answer(status, kind)
            found[str(status)] = {"$ref": f"#/components/responses/{name}"}
        name = f"Refused{kind}"
        if name not in self._answers:
            self._answers[name] = {
                "description": "Any other refusal: a problem (RFC 9457) of the service's own.",
                "headers": {"X-Request-Id": _header("RequestId")},
                "content": _problem_content(kind, []),
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


def request_example(operation: Operation, word: str, position: int = 0) -> Any:
    """The sample of a body as a JSON value; the schema says what it is called in other formats."""
    fields = operation.body_fields
    if position < len(operation.examples):
        sent = operation.examples[position].input
        value = sent
        if isinstance(sent, Mapping):
            kept = {field.name for field in fields} if fields is not None else set(sent) - set(operation.variables)
            value = {name: held for name, held in sent.items() if name in kept}
    else:
        value = json_values(input_sample(operation, fields or ()))
    return {operation.contract.request_elem: value} if word == "json" and operation.contract.request_elem else value


def answer_example(operation: Operation, word: str, position: int = 0) -> Any:
    """The sample of an answer as a JSON value, likewise."""
    contract = operation.contract
    value = (
        operation.examples[position].output
        if position < len(operation.examples)
        else json_values(output_sample(operation, position))
    )
    return {contract.response_elem: value} if word != "xml" and contract.response_elem else value


def request_text(operation: Operation, word: str, position: int = 0) -> str:
    """The body of the sample request, as it is sent."""
    fields, contract = operation.body_fields or (), operation.contract
    if word == "xml":
        shaped = Contract(contract.service, output=fields, response_elem=contract.request_elem or "request")
        return FORMATS["xml"].render(input_sample(operation, fields, position=position), shaped).decode()
    if word == "form":
        values = json_values(input_sample(operation, fields, position=position))
        return urlencode({name: _form_text(value) for name, value in values.items()}, doseq=True)
    return pretty(request_example(operation, "json", position))


def answer_text(operation: Operation, word: str, position: int = 0) -> str:
    """The body of the sample answer, as it comes."""
    contract = operation.contract
    if contract.output is None and position >= len(operation.examples):
        return ""
    if word == "xml":
        value = (
            output_sample(operation, position) if contract.output is not None else operation.examples[position].output
        )
        return FORMATS["xml"].render(value, contract).decode()
    return pretty(answer_example(operation, "json", position))


def _form_text(value: Any) -> Any:
    """A JSON value as a field of a form: a list is a field that comes again."""
    if isinstance(value, list):
        return [_form_text(one) for one in value]
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def pretty(value: Any) -> str:
    """A JSON value for people."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def problem_example(code: str) -> dict[str, Any]:
    """One of the published problems as its caller gets it."""
    status, title = CODES[code]
    found = _example(status, code, _DETAILS.get(code, title.lower()))
    if code == "invalid-input":
        found["errors"] = [{"pointer": "/cust_id", "code": "missing", "detail": "this member is required"}]
    return found


def _example(status: int, code: str, detail: str) -> dict[str, Any]:
    return Problem(status, code, detail).as_dict("7f3a1c52e0b94d6c")


_DETAILS = {
    "invalid-input": "one member cannot be used", "unauthenticated": "send the credentials that WWW-Authenticate asks for",
    "quota-exceeded": "try again in 1 s",
    "internal-error": "the request could not be completed; quote the cid when you report this",
    "address-not-allowed": "this address may not call here", "forbidden": "this caller is in none of the groups that may call here",
}  # fmt: skip

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "What went wrong (RFC 9457). `code` is a stable word; `cid` is what to quote when you report it.",
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": "A URI that names the kind of problem."},
        "title": {"type": "string", "description": "The kind of problem in words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What is wrong with this very request."},
        "code": {"type": "string", "description": "A word that never changes: what programs go by."},
        "cid": {"type": "string", "description": "The id of the call, the same as in `X-Request-Id`."},
        "errors": {
            "type": "array",
            "description": "Each thing that is wrong with the input.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "Where, as a JSON pointer (RFC 6901)."},
                    "code": {"type": "string", "description": "What, as a word."},
                    "detail": {"type": "string", "description": "What, as a sentence."},
                },
                "required": ["pointer", "code", "detail"],
                "xml": {"name": "error"},
            },
            "xml": {"wrapped": True},
        },
    },
    "required": ["type", "title", "status", "code", "cid"],
    "xml": {"name": "problem", "namespace": xml.PROBLEM_NAMESPACE},
}


def _answer(status: int, kind: str) -> dict[str, Any]:
    headers = {"X-Request-Id": _header("RequestId")}
    if status in (429, 503):
        headers["Retry-After"] = _header("RetryAfter")
    if status == 429:
        headers |= {"RateLimit": _header("RateLimit"), "RateLimit-Policy": _header("RateLimitPolicy")}
    if status == 401:
        headers["WWW-Authenticate"] = _header("WwwAuthenticate")
    codes = [code for code in _SHOWN if CODES[code][0] == status]
    return {"description": ANSWERS[status][1], "headers": headers, "content": _problem_content(kind, codes)}


def _own_answer(
    status: int, kind: str, own: Sequence[tuple[int, str, str]], codes: Sequence[str], headers: Mapping[str, Any]
) -> dict[str, Any]:
    """An answer with problems of the service's own, beside those of the gateway with the same status."""
    examples = {code: {"value": _example(status, code, detail)} for _, code, detail in own}
    examples |= {code: {"value": problem_example(code)} for code in codes if code not in examples}
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    types = {"": ("json",), "Xml": ("xml",), "Any": ("json", "xml")}[kind]
    said = "; ".join(f"`{code}`: {detail}" if detail else f"`{code}`" for _, code, detail in own)
    return {
        "description": said,
        "headers": headers,
        "content": {f"application/problem+{word}": content for word in types},
    }


#: Those of the published problems that callers of channels meet.
_SHOWN = (
    "malformed-body", "invalid-input", "bad-request", "unauthenticated", "address-not-allowed", "forbidden", "no-such-path",
    "not-acceptable", "request-timeout", "body-too-large", "unsupported-media-type", "quota-exceeded", "internal-error",
    "invalid-response", "backend-failed", "service-not-deployed", "overloaded", "backend-unavailable", "deadline-exceeded",
    "backend-timeout",
)  # fmt: skip


def _problem_content(kind: str, codes: Sequence[str]) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    found: dict[str, Any] = {}
    if kind != "Xml":
        examples = {code: {"value": problem_example(code)} for code in codes}
        found["application/problem+json"] = {"schema": schema, **({"examples": examples} if examples else {})}
    if kind:
        texts = {code: {"value": problem_example(code)} for code in codes}
        found["application/problem+xml"] = {"schema": schema, **({"examples": texts} if texts else {})}
    return found


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


def _header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}


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
