"""The states of an account, as one table: what may happen in each, and what it leads to.

>>> after("unapproved", "approve")
'active'
>>> after("active", "approve")
Traceback (most recent call last):
specs.problems.Problem: 409 conflict: an account that is active cannot be approved
"""

from __future__ import annotations

from typing import Final

from specs.problems import Problem

STATES: Final = ("new", "unconfirmed", "unapproved", "active", "locked", "rejected", "deleted")
EVENTS: Final = {
    "confirm": "confirmed", "approve": "approved", "reject": "rejected", "lock": "locked", "unlock": "unlocked",
    "delete": "deleted",
}  # fmt: skip

#: ``new`` waits for the person to confirm and for a super-user to approve, in either order; a decision is made once.
TRANSITIONS: Final[dict[tuple[str, str], str]] = {
    ("new", "confirm"): "unapproved",
    ("new", "approve"): "unconfirmed",
    ("new", "reject"): "rejected",
    ("unconfirmed", "confirm"): "active",
    ("unapproved", "approve"): "active",
    ("unapproved", "reject"): "rejected",
    ("active", "lock"): "locked",
    ("locked", "unlock"): "active",
    # Twice is no harm where nobody is told a second time.
    ("locked", "lock"): "locked",
    ("active", "unlock"): "active",
    **{(state, "delete"): "deleted" for state in STATES if state != "deleted"},
}

#: Nobody has shown yet to whom the address is.
UNCONFIRMED: Final = ("new", "unconfirmed")


def first(*, approval: bool, confirmation: bool) -> str:
    """The state in which an account begins."""
    if approval:
        return "new" if confirmation else "unapproved"
    return "unconfirmed" if confirmation else "active"


def after(state: str, event: str) -> str:
    """The state that *event* leads to. Raises Problem 409 ``conflict`` where it cannot happen in *state*."""
    found = TRANSITIONS.get((state, event))
    if found is None:
        raise Problem.of("conflict", f"an account that is {state} cannot be {EVENTS[event]}")
    return found
