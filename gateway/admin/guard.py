"""Who may use the admin API, and from where: `Guard`, in front of the application.

SECURITY: A46. A page in the administrator's browser can send requests to 127.0.0.1, under a name of its own that resolves there
(DNS rebinding) or across origins (CSRF). So the Host is an address or a name that was configured, a change comes from the
same origin or from no page at all, and its body has a type that a form cannot have. There is no default password, and no
cookie that a browser would send by itself.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable, Collection
from typing import Any

from specs.exchange import Exchange
from specs.problems import Problem

#: What anybody on this machine may ask without credentials.
HEALTH_PATHS = frozenset(("/status", "/ready", "/metrics"))
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_BODY_TYPES = ("application/json", "application/yaml")
_CHALLENGE = [("WWW-Authenticate", 'Basic realm="Gatewright administration", charset="UTF-8"')]


class Guard:
    """Lets administrators through. *verify* tells whether a name and a password belong together.

    *address* is where the listener is bound, *names* the further names that it may be called by. *session* gives the name of
    the super-user whose session a bearer token is of, or raises a Problem; without it there are none.
    """

    def __init__(
        self,
        verify: Callable[[str, str], bool],
        address: str,
        names: Collection[str] = (),
        session: Callable[[str, Exchange], str] | None = None,
    ) -> None:
        self._verify = verify
        self._session = session
        self._address = address
        self._names = frozenset(name.lower() for name in names) | {"localhost"}

    def check(self, exchange: Exchange) -> None:
        """Note who calls, or raise a Problem: 403 from the wrong place, 401 without the right password, 415."""
        if not self._is_ours(exchange.host):
            raise Problem.of("forbidden", "this host is not one of the admin listener's: see --admin-host")
        if exchange.method not in _SAFE:
            _check_origin(exchange)
            check_type(exchange)
        elif exchange.path in HEALTH_PATHS and is_loopback(exchange.peer):
            return
        exchange.notes = {"administrator": self._identify(exchange, exchange.headers.get("authorization", ""))}

    def _is_ours(self, host: str) -> bool:
        if host in self._names:
            return True
        try:
            named = ipaddress.ip_address(host.strip("[]"))
            bound = ipaddress.ip_address(self._address)
        except ValueError:
            return False
        # An address in Host is no rebinding, which needs a name; it must still be one that leads here.
        return named.is_loopback or named == bound or bound.is_unspecified

    def _identify(self, exchange: Exchange, authorization: str) -> str:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() == "bearer" and self._session is not None:
            return self._session(encoded.strip(), exchange)
        if scheme.lower() == "basic":
            try:
                name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                colon = name = password = ""
            if colon and self._verify(name, password):
                return name
        raise Problem.of("unauthenticated", "administrators use HTTP Basic", headers=_CHALLENGE)


def _check_origin(exchange: Exchange) -> None:
    headers = exchange.headers
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if site not in (None, "same-origin", "none") or (
        origin is not None and origin.lower() != f"{exchange.scheme}://{headers.get('host', '').lower()}"
    ):
        raise Problem.of("cross-origin-refused", "changes come from the same origin, or from no page at all")


def check_type(exchange: Exchange) -> None:
    """Refuse a body of a type that a page of another origin can send without asking. Raises Problem 415."""
    sent = exchange.headers.get("content-type")
    if sent is None and exchange.body_length == 0:
        return
    if (sent or "").partition(";")[0].strip().lower() not in _BODY_TYPES:
        raise Problem.of("unsupported-media-type", f"the body is {' or '.join(_BODY_TYPES)}")


def is_loopback(address: str) -> bool:
    """Whether *address* is of this machine alone."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return parsed.is_loopback or bool(mapped and mapped.is_loopback)


def administrator(request: Any) -> str:
    """The name of the administrator who calls; empty on the control socket of this machine."""
    notes = request.env["gatewright.exchange"].notes or {}
    return str(notes.get("administrator", ""))
