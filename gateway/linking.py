"""Proof of a credential that somebody wants to link to their account: the very definitions that channels ask compare it.

So it costs what it costs there (an unknown name as much as a wrong password), and what is hashed, cached or looked up is the same.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.authenticators import Authenticator, Rejected
from specs.exchange import Exchange
from sso.audit import Caller

Headers = dict[str, str]


def _basic(settings: Any, credential: Mapping[str, str]) -> Headers:
    pair = f"{credential.get('username', '')}:{credential.get('password', '')}"
    return {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _key(settings: Any, credential: Mapping[str, str]) -> Headers:
    return {settings.header.lower(): credential.get("key", "")}


#: The types whose credentials people can link, and how a caller sends them.
SENT: Final[Mapping[str, Callable[[Any, Mapping[str, str]], Headers]]] = {"basic": _basic, "apikey": _key}


class Proving:
    """Compares credentials by *definitions*: security definitions of a snapshot, by name."""

    def __init__(self, definitions: Mapping[str, Authenticator]) -> None:
        self._definitions = definitions

    def __call__(self, definition: str, credential: Mapping[str, str], caller: Caller) -> str | None:
        """Who *definition* says this is; None where the credential is wrong, or there is no such definition."""
        found = self._definitions.get(definition)
        if found is None:
            return None
        headers = SENT[found.word](found.settings, credential)
        exchange = Exchange(caller.cid, "POST", "/", "", headers, started_ns=time.monotonic_ns(), peer=caller.address)
        try:
            identity = found.identify(exchange)
        except Rejected as rejected:
            # SECURITY: A26.
            if not rejected.spent:
                found.spend(exchange)
            return None
        return identity.name if identity else None
