"""Passkeys on the pages: what a browser is handed, in a form that a small script of ours fills, and what it hands back.

A form without the script does nothing, so it is hidden until the script shows it; every other way stays open beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from specs.problems import Problem

if TYPE_CHECKING:
    from gateway.accounts.visit import Visit

_LONGEST: Final = 20_000


def options_of(visit: Visit, make: Callable[[], Mapping[str, Any]], *, known: bool = False) -> str:
    """What *make* says that the browser is handed, as JSON; empty where there are no passkeys to be used.

    *known*: only where there is one that the browser may use.
    """
    if not visit.sso.webauthn.offered:
        return ""
    try:
        options = make()
    except Problem:
        return ""
    return "" if known and not options["allowCredentials"] else orjson.dumps(options).decode()


def signed(visit: Visit) -> dict[str, Any]:
    """What the browser handed back; empty where that was nothing."""
    try:
        found = orjson.loads(visit.field("credential", _LONGEST) or "{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
