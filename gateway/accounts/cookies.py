"""The cookies of the pages: their names, and how each is set.

SECURITY: over TLS all of them have the prefix ``__Host-``, which a browser takes from this very host alone and over TLS alone:
no neighbour's subdomain and no plain connection can plant one (S18). Without TLS, on a machine of a developer's, the names
are others, so that one is never mistaken for the other.

>>> name_of("session", secure=True), name_of("session", secure=False)
('__Host-gw_session', 'gw_session_dev')
"""

from __future__ import annotations

from typing import Any, Final

#: kind: how long browsers keep it, in seconds; None for as long as the browser is open.
LIFETIMES: Final[dict[str, int | None]] = {
    "session": None,  # the token of the session
    "form": None,  # what forms are bound to
    "pending": 300,  # the password was right, the second factor is still to come
    "device": 31_536_000,  # its owner has logged in from here before
    "language": 31_536_000,
}
LONGEST: Final = 256


def name_of(kind: str, *, secure: bool) -> str:
    """What the cookie of that kind is called."""
    return f"__Host-gw_{kind}" if secure else f"gw_{kind}_dev"


def read(request: Any, kind: str, *, secure: bool) -> str:
    """The value of a cookie; empty where there is none, or where more than one is sent under its name."""
    values = request.get_cookie_values(name_of(kind, secure=secure)) or []
    return values[0] if len(values) == 1 and len(values[0]) <= LONGEST else ""


def write(response: Any, kind: str, value: str, *, secure: bool) -> None:
    """Set a cookie; take it away where *value* is empty."""
    response.set_cookie(
        name_of(kind, secure=secure),
        value,
        max_age=LIFETIMES[kind] if value else 0,
        secure=secure,
        http_only=True,
        same_site="Lax",
        path="/",
    )
