"""What keeps others from using people's browsers against them: forms are bound to a cookie, and ways onward are ours.

A form carries a token that follows from the form cookie under a key of ours, and it comes from a page of ours as far as the
browser says so. Both are looked at before anything else is: before the password, the session and the counters (S19).

>>> onward("/orders?page=2", ()), onward("//evil.example", ()), onward("https://good.example@evil.example", ())
('/orders?page=2', '', '')
>>> onward("https://app.example/in", ("https://app.example",)), onward("https://app.example.evil/in", ("https://app.example",))
('https://app.example/in', '')
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from sso.privacy import Keys
from sso.problems import refusal

_BYTES: Final = 32
_TOKEN: Final = re.compile(rf"[0-9a-f]{{{4 * _BYTES}}}")
#: What an address may be written in: no blank, no control character, no backslash, which browsers read as a slash.
_PRINTED: Final = re.compile(r"[!-\[\]-~]{1,2000}")


def form_token(keys: Keys, nonce: str) -> str:
    """The token of one form, for the form cookie *nonce*.

    SECURITY: it is under a mask of its own each time, so that the size of compressed answers says nothing of it (BREACH).
    """
    mask = keys.randomness(_BYTES)
    proof = bytes.fromhex(keys.device(f"form {nonce}"))
    return (mask + bytes(one ^ other for one, other in zip(mask, proof, strict=True))).hex()


def is_ours(keys: Keys, nonce: str, token: str) -> bool:
    """Whether *token* came with a form that we gave to the holder of the cookie *nonce*; compared in constant time."""
    if not nonce or not _TOKEN.fullmatch(token):
        return False
    both = bytes.fromhex(token)
    proof = bytes(one ^ other for one, other in zip(both[:_BYTES], both[_BYTES:], strict=True))
    return keys.proves(f"form {nonce}", proof.hex())


def from_elsewhere(headers: Mapping[str, str], origins: Collection[str]) -> bool:
    """Whether the browser says that a page of another site sent this form; *origins* are ours."""
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
    if site in ("cross-site", "same-site"):
        return True
    # WHY: pages that hold a token of a letter tell nobody where they are, so browsers write "null" when they send their form.
    return origin not in ("", "null", *origins) or (origin == "null" and site not in ("", "same-origin"))


def refuse_forgery() -> None:
    """Raise what a form is answered with that is not ours."""
    raise refusal("csrf-failed", "this form did not come from a page that was open here; open the page and try again")


def onward(wanted: str, origins: Collection[str]) -> str:
    """Where people are sent on to: *wanted* where it is a path of ours or of a registered origin, else nothing (S20)."""
    if not _PRINTED.fullmatch(wanted):
        return ""
    if wanted.startswith("/"):
        # SECURITY: two slashes are another host, however they are written.
        plain = unquote(unquote(wanted))
        return wanted if not re.match(r"/[/\\\s]", plain) and "\\" not in plain.partition("?")[0] else ""
    try:
        parts = urlsplit(wanted)
        own = f"{parts.scheme}://{parts.netloc}" in origins
    except ValueError:
        return ""
    return wanted if own and parts.scheme in ("http", "https") and "@" not in parts.netloc else ""
