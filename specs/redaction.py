"""Redaction: a recorded value with its secrets taken out, by the contract and by what looks like a secret.

What is taken out: members whose type is ``secret``; members whose name tells of a credential, at any depth, declared or not;
texts that hold a credential that came with the same call; and texts that are credentials by their form (a JSON web token, a
private key, a URL with a password, the number of a payment card). A declared member gets a value that fits its contract.

>>> from specs.contract import Field
>>> fields = (Field("user"), Field("password", "secret"), Field("note"))
>>> Redaction().record({"user": "ann", "password": "hunter2", "note": "x", "apiKey": "k"}, fields)
({'user': 'ann', 'password': 'correct horse battery', 'note': 'x', 'apiKey': 'redacted'}, ['/apiKey', '/password'])
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from specs.contract import Field
from specs.documents.samples import json_values, sample_value
from specs.inference import infer
from specs.records import escape

MASK: Final = "redacted"
#: Shorter texts are found everywhere: a password of "1" would leave nothing of an answer.
SHORTEST: Final = 5

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_WORDS: Final = frozenset({
    "password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "authorization", "cookie", "credential",
    "credentials", "pin", "cvv", "cvc", "otp", "totp", "apikey", "jwt",
})  # fmt: skip
_SECRET_PAIRS = frozenset({("api", "key"), ("access", "key"), ("private", "key"), ("session", "id"), ("secret", "key")})
_SECRET_TEXTS = (
    re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    re.compile(r"(?i)\b(?:bearer|basic|apikey) +[\w+/=.~-]{8,}"),
    re.compile(r"\bgw[a-z]?_[\w-]{16,}"),
    re.compile(r"://[^/\s:@]*:[^/\s@]+@"),
)
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")


class Redaction:
    """What is taken out of the values of one call: *names* are further members, *credentials* what was sent to prove who calls."""

    def __init__(self, names: Collection[str] = (), credentials: Collection[str] = ()) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._credentials = tuple(text for text in credentials if len(text) >= SHORTEST)

    def record(self, value: Any, fields: Sequence[Field] | None) -> tuple[Any, list[str]]:
        """*value*, JSON values by *fields*, without its secrets; and the JSON pointers of what was taken out."""
        found: set[str] = set()
        return self._value(value, fields, "", found), sorted(found)

    def _value(self, value: Any, fields: Sequence[Field] | None, place: str, found: set[str]) -> Any:
        if isinstance(value, Mapping):
            declared = {field.name: field for field in fields or ()}
            return {
                name: self._member(name, held, declared.get(name), f"{place}/{escape(name)}", found)
                for name, held in value.items()
            }
        if isinstance(value, list):
            return [self._value(held, fields, f"{place}/{position}", found) for position, held in enumerate(value)]
        if isinstance(value, str) and self._tells(value):
            found.add(place)
            return MASK
        return value

    def _member(self, name: str, value: Any, field: Field | None, place: str, found: set[str]) -> Any:
        if value is None or value == "":
            return value
        secret = (field is not None and field.type == "secret") or name.lower() in self._names or is_secret_name(name)
        if secret or (field is not None and isinstance(value, str) and self._tells(value)):
            found.add(place)
            return json_values(sample_value(field)) if field is not None else MASK
        members = None
        if field is not None:
            members = field.fields
            if field.items is not None:
                inner = field.items
                members = inner.fields if inner.fields is not None else None
                if inner.type == "secret":
                    found.add(place)
                    return json_values(sample_value(field))
        return self._value(value, members, place, found)

    def _tells(self, text: str) -> bool:
        if any(credential in text for credential in self._credentials):
            return True
        return any(pattern.search(text) for pattern in _SECRET_TEXTS) or any(map(_is_card, _CARD.findall(text)))


def is_secret_name(name: str) -> bool:
    """Whether a member of that name holds a credential: as inference has it, or by a word in it.

    >>> [is_secret_name(name) for name in ("userPassword", "X-Api-Key", "token", "keyboard", "tokens_used", "api_keys")]
    [True, True, True, False, False, False]
    """
    if infer(name)[0] == "secret":
        return True
    words = [word.lower() for word in _WORDS.findall(name)]
    return not _SECRET_WORDS.isdisjoint(words) or any(pair in _SECRET_PAIRS for pair in pairwise(words))


def credentials_in(headers: Mapping[str, str]) -> Iterator[str]:
    """Every text in *headers* (by lower-case name) that could prove who calls, whole and in its parts.

    >>> list(credentials_in({"authorization": "Basic YWNtZTpodW50ZXIy", "accept": "*/*"}))
    ['YWNtZTpodW50ZXIy', 'hunter2']
    """
    for name, value in headers.items():
        if name in ("authorization", "proxy-authorization"):
            scheme, _, rest = value.partition(" ")
            yield rest.strip() or scheme
            if scheme.lower() == "basic":
                try:
                    yield base64.b64decode(rest).decode(errors="replace").partition(":")[2]
                except ValueError:
                    pass
        elif name == "cookie":
            yield from (part.partition("=")[2].strip(' "') for part in value.split(";"))
        elif is_secret_name(name):
            yield value


def _is_card(text: str) -> bool:
    """Luhn's check, which the numbers of payment cards pass (ISO/IEC 7812)."""
    digits = [int(c) for c in text if c.isdigit()][::-1]
    return sum(digits[::2]) % 10 == -sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2]) % 10 and any(digits)
