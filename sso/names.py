r"""User names, addresses and display names: what is taken, and the canonical form that tells two of them apart.

>>> username_key("Joe.Doe"), email_key("Joe@Example.ORG")
('joe.doe', 'joe@example.org')
>>> username_key("adm\u0131n")
Traceback (most recent call last):
specs.problems.Problem: 422 validation-failed: a user name has 2 to 63 letters, digits, dots, dashes and underscores
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from specs.problems import Problem
from sso.problems import invalid

#: Nobody signs up with these: who writes in such a name is believed to speak for the installation.
RESERVED: Final = frozenset({
    "admin", "administrator", "root", "system", "sso", "gatewright", "gateway", "support", "security", "postmaster",
    "hostmaster", "webmaster", "abuse", "noreply", "no-reply", "info", "help", "api", "staff", "moderator", "owner", "null",
    "undefined", "anonymous", "guest",
})  # fmt: skip
LONGEST_EMAIL: Final = 254
LONGEST_NAME: Final = 128
_USERNAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
_LOCAL: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN: Final = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def username_key(text: str) -> str:
    """The canonical form of a user name. Raises Problem 422.

    SECURITY: S2. ASCII alone, so that no homograph, invisible character or other width is a second account.
    """
    key = text.lower() if text.isascii() else ""
    if not _USERNAME.fullmatch(key):
        raise invalid("username", "invalid", "a user name has 2 to 63 letters, digits, dots, dashes and underscores")
    return key


def email_key(text: str) -> str:
    """The canonical form of an address: lower case, its domain in ASCII. Raises Problem 422."""
    local, at, domain = unicodedata.normalize("NFC", text[: LONGEST_EMAIL + 1]).lower().rpartition("@")
    try:
        domain = domain.encode("idna").decode()
    except UnicodeError:
        domain = ""
    whole = f"{local}{at}{domain}"
    fits = len(text) <= LONGEST_EMAIL and len(whole) <= LONGEST_EMAIL and len(local) <= 64 and len(domain) <= 253
    # SECURITY: S8. No line break, quote or blank gets past these, so none gets into the head of a letter.
    if not fits or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise invalid("email", "invalid", "this is not an address of mail")
    return whole


def display_name(text: str) -> str:
    """A name as people show it. Raises Problem 422 for control characters and such (S8)."""
    name = unicodedata.normalize("NFC", text[: LONGEST_NAME + 1]).strip()
    if len(name) > LONGEST_NAME or any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name):
        raise invalid("display_name", "invalid", f"a name has {LONGEST_NAME} printable characters at most")
    return name


def name_key(text: str) -> str:
    """What a display name is searched by."""
    return unicodedata.normalize("NFKC", text).casefold()[:256]


def identifier_key(text: str) -> tuple[str, str]:
    """What somebody logs in with, as ``("email", key)``, ``("username", key)`` or, where it can be neither, ``("none", text)``."""
    try:
        return ("email", email_key(text)) if "@" in text else ("username", username_key(text))
    except Problem:
        return "none", text[:LONGEST_EMAIL]
