"""What people and their applications are refused with: words, statuses, and the older codes of those who come from Zato.

>>> problem = refusal("invalid-credentials")
>>> problem.status, problem.members["sub_codes"]
(401, ['E005001'])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from specs.problems import Fault, Problem

#: word: status, title, the code that users of Zato know.
CODES: Final[dict[str, tuple[int, str, str]]] = {
    "invalid-credentials": (401, "Invalid credentials", "E005001"),
    "mfa-invalid": (401, "Wrong second factor", "E005001"),
    "mfa-required": (403, "A second factor is required", "E005008"),
    "session-invalid": (401, "No such session", "E007001"),
    "session-binding": (401, "The session belongs to somewhere else", "E006001"),
    "reauthentication-required": (403, "Log in again first", "E005001"),
    "csrf-failed": (403, "This did not come from a page of ours", "E005001"),
    "super-user-required": (403, "Forbidden", "E005005"),
    "app-not-allowed": (403, "Application not allowed", "E004002"),
    "address-not-allowed": (403, "Address not allowed", "E006001"),
    "account-locked": (403, "The account is locked", "E005002"),
    "account-unconfirmed": (403, "The account is not confirmed yet", "E005003"),
    "account-unapproved": (403, "The account is not approved yet", "E005004"),
    "password-expired": (403, "The password has expired", "E003004"),
    "password-change-required": (403, "The password has to be changed", "E003007"),
    "token-invalid": (400, "This cannot be used (any more)", "E005006"),
    "validation-failed": (422, "Not acceptable", "E008002"),
    "too-many-attempts": (429, "Too many attempts", "E005001"),
    "too-many-sessions": (409, "Too many sessions", "E005001"),
    "passkeys-unavailable": (501, "Passkeys cannot be used here", "E005008"),
    "passkey-unknown": (401, "The passkey is not known here", "E005001"),
    "passkey-known": (409, "The passkey is enrolled already", "E005008"),
    "too-many-passkeys": (409, "Too many passkeys", "E005008"),
    "no-such-passkey": (404, "Not found", "E005008"),
    "app-unproven": (401, "The application has to prove itself", "E004002"),
    "no-such-app": (404, "Not found", "E004002"),
    "too-many-credentials": (409, "Too many credentials", "E004002"),
    "no-such-user": (404, "Not found", "E001100"),
    "no-such-session": (404, "Not found", "E007001"),
    "no-such-attribute": (404, "Not found", "E009002"),
    "no-such-link": (404, "Not found", "E008001"),
    "second-factor-kept": (409, "The second factor is required", "E008001"),
    "last-super-user": (409, "The last super-user", "E008001"),
    "not-linkable": (403, "Not to be linked by people", "E008001"),
    "already-linked": (409, "Linked already", "E008001"),
}
_FAULT_CODES: Final = {
    "username": "E001001", "email": "E002001", "password": "E003001", "new_password": "E003001",
}  # fmt: skip


def refusal(
    word: str,
    detail: str = "",
    *,
    errors: Iterable[Fault] = (),
    retry_after: float | None = None,
    members: Mapping[str, Any] | None = None,
) -> Problem:
    """The problem of that word; *retry_after* is in seconds."""
    status, title, older = CODES[word]
    errors = tuple(errors)
    older_ones = [_FAULT_CODES.get(fault.pointer.lstrip("/"), older) for fault in errors] or [older]
    headers = [] if retry_after is None else [("Retry-After", str(max(1, int(-(-retry_after // 1)))))]
    described = {"sub_codes": list(dict.fromkeys(older_ones)), **(members or {})}
    return Problem(
        status, word, detail or title.lower(), title=title, errors=errors, headers=headers, members=described
    )


def invalid(member: str, word: str, detail: str) -> Problem:
    """422 for one member of an input."""
    return refusal("validation-failed", detail, errors=[Fault(f"/{member}", word, detail)])


def together(*checks: Callable[[], Any]) -> list[Any]:
    """What each of *checks* gives. Raises one Problem 422 with the faults of all that are invalid."""
    given, refused = [], []
    for check in checks:
        try:
            given.append(check())
        except Problem as problem:
            if problem.code != "validation-failed" or not problem.errors:
                raise
            refused.append(problem)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        faults = [fault for problem in refused for fault in problem.errors]
        raise refusal("validation-failed", "; ".join(fault.detail for fault in faults), errors=faults)
    return given
