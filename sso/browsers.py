"""Requests of browsers: the cookie that a session comes in, and what keeps other people's pages from using it.

A browser sends cookies along with whatever any page has it send. So a call that changes something says where it comes from
(``Origin``, ``Sec-Fetch-Site``: browsers do, and pages cannot forge them), or holds a token that only a page of ours could read;
and a page of another site may not log people in either (S19). Programs that send their token themselves say nothing and need not.

>>> refuse_forgery("POST", {"origin": "https://evil.example"}, {"https://acme.example"})
Traceback (most recent call last):
specs.problems.Problem: 403 csrf-failed: this call did not come from a page of ours
>>> refuse_forgery("POST", {"origin": "https://acme.example"}, {"https://acme.example"}, by_cookie=True)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from sso.problems import refusal

#: Over TLS. SECURITY: S18. What has this prefix comes from this very host, and was set over TLS.
SESSION_COOKIE: Final = "__Host-gw_session"
#: Without TLS, on a machine of a developer's.
INSECURE_SESSION_COOKIE: Final = "gw_session_dev"
CSRF_HEADER: Final = "x-gateway-csrf"
_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))
_LONGEST: Final = 256


def cookie_name(*, secure: bool) -> str:
    """What the session's cookie is called."""
    return SESSION_COOKIE if secure else INSECURE_SESSION_COOKIE


def session_cookie(header: str, *, secure: bool) -> str:
    """The token in the session's cookie; empty where there is none, or more than one.

    >>> session_cookie("a=b; __Host-gw_session=gws_1", secure=True), session_cookie("gw_session_dev=gws_1", secure=True)
    ('gws_1', '')
    """
    names = (SESSION_COOKIE,) if secure else (SESSION_COOKIE, INSECURE_SESSION_COOKIE)
    found = []
    for pair in header.split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals and name in names:
            found.append(value)
    return found[0] if len(found) == 1 and len(found[0]) <= _LONGEST else ""


def set_cookie(token: str, *, secure: bool) -> str:
    """A ``Set-Cookie`` that has a browser keep *token* until it is closed; that takes it away where *token* is empty."""
    name, more = (SESSION_COOKIE, "; Secure") if secure else (INSECURE_SESSION_COOKIE, "")
    age = "" if token else "; Max-Age=0"
    return f"{name}={token}; Path=/; HttpOnly; SameSite=Lax{more}{age}"


def origin_of(url: str) -> str:
    """The origin of a URL as browsers write it; empty where it has none.

    >>> origin_of("https://Acme.example:443/api"), origin_of("http://127.0.0.1:8000")
    ('https://acme.example', 'http://127.0.0.1:8000')
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, usual) else "")


def refuse_forgery(
    method: str,
    headers: Mapping[str, str],
    origins: Collection[str],
    *,
    by_cookie: bool = False,
    proves: Callable[[str], bool] = lambda token: False,
) -> None:
    """Raise Problem 403 for a call that a page of another site may have sent; *origins* are ours.

    *by_cookie* says that only a cookie tells who calls, so that it has to say where it comes from; *proves* tells whether a
    token in ``X-Gateway-CSRF`` is ours, for browsers that say nothing.
    """
    if method in _SAFE:
        return
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None:
        right = origin in origins
    elif site is not None and site != "none":
        right = site == "same-origin"
    else:
        right = not by_cookie or proves(headers.get(CSRF_HEADER, ""))
    if not right:
        raise refusal("csrf-failed", "this call did not come from a page of ours")
