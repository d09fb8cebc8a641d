"""What the gateway itself answers, in OpenAPI's words: statuses, problems, headers. Components, shared by all operations.

*kind* in a name says what its problems are written in: nothing for JSON, ``Xml``, or ``Any`` for either.

>>> answer(401, "")["headers"]["WWW-Authenticate"]
{'$ref': '#/components/headers/WwwAuthenticate'}
>>> problem_example("no-such-path")["status"]
404
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from specs.formats import xml
from specs.problems import CODES, Problem

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
#: By the component's name: what a header says, and an example of it.
HEADERS: Final = {
    "RequestId": ("The id of this call: the log has its details under it.", "7f3a1c52e0b94d6c"),
    "RateLimit": ("What is left of each quota, and when there is more.", '"standard";r=99;t=1'),
    "RateLimitPolicy": ("The quotas that this call counts against: their sizes and windows in seconds.", '"standard";q=100;w=60'),
    "RetryAfter": ("Seconds after which the same request may be sent again.", "1"),
    "Deprecation": ("Since when, or from when on, this is deprecated (RFC 9745).", "@1796083200"),
    "Sunset": ("When this ends (RFC 8594).", "Wed, 30 Jun 2027 22:00:00 GMT"),
    "WwwAuthenticate": ("How to prove who is calling, once for each way there is.", 'Basic realm="Partners"'),
}  # fmt: skip
#: Those of the published problems that callers of channels meet.
_SHOWN = (
    "malformed-body", "invalid-input", "bad-request", "unauthenticated", "address-not-allowed", "forbidden", "no-such-path",
    "not-acceptable", "request-timeout", "body-too-large", "unsupported-media-type", "quota-exceeded", "internal-error",
    "invalid-response", "backend-failed", "service-not-deployed", "overloaded", "backend-unavailable", "deadline-exceeded",
    "backend-timeout",
)  # fmt: skip
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


def answer(status: int, kind: str) -> dict[str, Any]:
    """The answer with one of the statuses of `ANSWERS`."""
    headers = {"X-Request-Id": header("RequestId")}
    if status in (429, 503):
        headers["Retry-After"] = header("RetryAfter")
    if status == 429:
        headers |= {"RateLimit": header("RateLimit"), "RateLimit-Policy": header("RateLimitPolicy")}
    if status == 401:
        headers["WWW-Authenticate"] = header("WwwAuthenticate")
    codes = [code for code in _SHOWN if CODES[code][0] == status]
    return {"description": ANSWERS[status][1], "headers": headers, "content": problem_content(kind, codes)}


def own_answer(
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


def problem_content(kind: str, codes: Sequence[str]) -> dict[str, Any]:
    """The problem of a refusal, with an example for each of *codes*."""
    schema = {"$ref": "#/components/schemas/Problem"}
    found: dict[str, Any] = {}
    if kind != "Xml":
        examples = {code: {"value": problem_example(code)} for code in codes}
        found["application/problem+json"] = {"schema": schema, **({"examples": examples} if examples else {})}
    if kind:
        texts = {code: {"value": problem_example(code)} for code in codes}
        found["application/problem+xml"] = {"schema": schema, **({"examples": texts} if texts else {})}
    return found


def header(name: str) -> dict[str, str]:
    """A reference to one of `HEADERS`."""
    return {"$ref": f"#/components/headers/{name}"}


def problem_example(code: str) -> dict[str, Any]:
    """One of the published problems as its caller gets it."""
    status, title = CODES[code]
    found = _example(status, code, _DETAILS.get(code, title.lower()))
    if code == "invalid-input":
        found["errors"] = [{"pointer": "/cust_id", "code": "missing", "detail": "this member is required"}]
    return found


def _example(status: int, code: str, detail: str) -> dict[str, Any]:
    return Problem(status, code, detail).as_dict("7f3a1c52e0b94d6c")
