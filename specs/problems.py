"""What went wrong, and who is told.

    Exception
    ├── Problem              the caller is told: a status, a stable word (code), a sentence (RFC 9457)
    │   └── InternalError    our fault: the caller gets the cid and nothing else
    ├── BackendError         a connection failed: becomes a 502 or 504, details in the log alone
    │   ├── BackendTimeout
    │   └── BackendUnavailable
    └── ConfigurationError   before anything runs: the place in the document, what is wrong, what to write instead

Every code that Gatewright itself sends stands in `CODES`. Codes are published, and never reused for something else.

>>> refusal = Problem.of("method-not-allowed", "use GET or POST")
>>> refusal.status, refusal.title
(405, 'Method not allowed')
>>> refusal.as_dict(cid="7f3a")["code"]
'method-not-allowed'
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, Self

CODES: dict[str, tuple[int, str]] = {
    # accept: the request as it came over the wire
    "bad-request": (400, "Bad request"),
    "ambiguous-request": (400, "Ambiguous request"),
    "request-timeout": (408, "Request timeout"),
    "uri-too-long": (414, "URI too long"),
    "headers-too-large": (431, "Request header fields too large"),
    "http-version-not-supported": (505, "HTTP version not supported"),
    "not-implemented": (501, "Not implemented"),
    # route
    "no-such-path": (404, "No such path"),
    "method-not-allowed": (405, "Method not allowed"),
    "cross-origin-refused": (403, "Cross-origin request refused"),
    # admit
    "address-not-allowed": (403, "Address not allowed"),
    # identify, authorise
    "unauthenticated": (401, "Authentication required"),
    "proxy-not-trusted": (403, "Not a proxy of this gateway"),
    "forbidden": (403, "Forbidden"),
    # limit
    "quota-exceeded": (429, "Quota exceeded"),
    # validate
    "malformed-body": (400, "Malformed body"),
    "invalid-input": (400, "Invalid input"),
    "body-too-large": (413, "Body too large"),
    "unsupported-media-type": (415, "Unsupported media type"),
    "not-acceptable": (406, "Not acceptable"),
    "soap-version-mismatch": (400, "SOAP version not supported"),
    "soap-must-understand": (400, "SOAP header not understood"),
    "soap-action-mismatch": (400, "SOAP action and body disagree"),
    "no-such-operation": (400, "No such operation"),
    # execute
    "service-not-deployed": (503, "Service not deployed"),
    "service-suspended": (503, "Service suspended"),
    "overloaded": (503, "Overloaded"),
    "deadline-exceeded": (504, "Deadline exceeded"),
    "backend-failed": (502, "Backend failed"),
    "backend-unavailable": (503, "Backend unavailable"),
    "backend-timeout": (504, "Backend timeout"),
    # serialise
    "invalid-response": (500, "Invalid response"),
    "not-representable": (500, "Answer cannot be represented"),
    "internal-error": (500, "Internal error"),
    # administration
    "conflict": (409, "Conflict"),
    "not-found": (404, "Not found"),
    "deploy-disabled": (403, "Deployment by API is off"),
    "configuration-refused": (422, "Configuration refused"),
}

TYPE_PREFIX = "urn:gatewright:problem:"
#: Types that a registry already names; the rest are ours.
TYPES = {"quota-exceeded": "https://iana.org/assignments/http-problem-types#quota-exceeded"}


class Fault(NamedTuple):
    """One thing that is wrong with an input: where (RFC 6901 pointer into what was sent), a word, a sentence."""

    pointer: str
    code: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        """The fault as callers see it."""
        return {"pointer": self.pointer, "code": self.code, "detail": self.detail}


class Problem(Exception):
    """A refusal or failure that the caller is told about, as in RFC 9457.

    *code* is a stable word in kebab case; *detail* a sentence that never holds secrets, paths or exception texts.
    *headers* go with the answer; *members* are further members of the problem document (``violated-policies``).
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str = "",
        *,
        title: str = "",
        errors: Iterable[Fault] = (),
        headers: Iterable[tuple[str, str]] = (),
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, code, detail)
        if not 400 <= status <= 599:
            raise ValueError(f"a problem has a status from 400 to 599, not {status}")
        self.status = status
        self.code = code
        self.detail = detail
        self.title = title or (CODES[code][1] if code in CODES else _reason(status))
        self.errors = tuple(errors)
        self.headers = tuple(headers)
        self.members = dict(members or {})

    @classmethod
    def of(
        cls,
        code: str,
        detail: str = "",
        *,
        errors: Iterable[Fault] = (),
        headers: Iterable[tuple[str, str]] = (),
        members: Mapping[str, Any] | None = None,
    ) -> Problem:
        """One of the published problems, by its word; the status and the title come from `CODES`."""
        status, title = CODES[code]
        return Problem(status, code, detail, title=title, errors=errors, headers=headers, members=members)

    def as_dict(self, cid: str) -> dict[str, Any]:
        """The members of the problem document, the same in every format."""
        document: dict[str, Any] = {
            "type": TYPES.get(self.code, TYPE_PREFIX + self.code),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "cid": cid,
        }
        if self.errors:
            document["errors"] = [fault.as_dict() for fault in self.errors]
        document.update(self.members)
        return document

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}" if self.detail else f"{self.status} {self.code}"


class InternalError(Problem):
    """Something of ours failed. The caller gets the cid; the log has the rest under the same cid."""

    def __init__(self) -> None:
        super().__init__(
            500, "internal-error", "the request could not be completed; quote the cid when you report this"
        )


class BackendError(Exception):
    """A connection to something outside failed. The message is for the log; the caller sees `problem()`."""

    code = "backend-failed"
    detail = "a system behind this service did not answer as it should"

    def problem(self) -> Problem:
        """What the caller is told."""
        return Problem.of(self.code, self.detail)


class BackendTimeout(BackendError):
    """A backend did not answer in time."""

    code = "backend-timeout"
    detail = "a system behind this service did not answer in time"


class BackendUnavailable(BackendError):
    """A backend cannot be reached, its pool is exhausted, or its circuit breaker is open."""

    code = "backend-unavailable"
    detail = "a system behind this service cannot be reached at the moment"


class ConfigurationError(Exception):
    """A document, an option or a declaration that cannot be used.

    *path* is the place (``channels.get-customer.service``), *message* a lower-case phrase that names the thing,
    *remedy* what to write instead.
    """

    def __init__(self, path: str, message: str, remedy: str = "") -> None:
        super().__init__(path, message, remedy)
        self.path = path
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{place}{self.message}" + (f": {self.remedy}" if self.remedy else "")

    def under(self, prefix: str) -> Self:
        """The same error, one level further up the document."""
        return type(self)(f"{prefix}.{self.path}" if self.path else prefix, self.message, self.remedy)


class ConfigurationErrors(ConfigurationError):
    """Everything that is wrong with a document, found in one go."""

    def __init__(self, errors: Iterable[ConfigurationError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(first.path, first.message, first.remedy)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


def nearest(word: str, known: Iterable[str]) -> str:
    """The remedy for a word that does not exist: the nearest one, or all of them where few.

    >>> nearest("sqll", ["sql", "rest", "amqp"])
    "did you mean 'sql'?"
    """
    words = sorted(known)
    found = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if found:
        return f"did you mean '{found[0]}'?"
    return "use one of " + ", ".join(words) if words else "there is none to use"


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
