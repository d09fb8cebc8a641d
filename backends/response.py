"""``self.response``: what a service answers.

>>> headers = Headers()
>>> headers["Location"] = "/customers/7"
>>> headers["location"], headers.pairs()
('/customers/7', [('Location', '/customers/7')])
>>> headers["X-Note"] = "a" + chr(13) + chr(10) + "Set-Cookie: b"
Traceback (most recent call last):
ValueError: the value of header 'X-Note' holds a line break, a control character or no Latin-1
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from specs.contract import UNSET

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Line breaks and control characters, and letters that no header can carry (RFC 9110, 5.5).
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")


class Headers(MutableMapping[str, str]):
    """Headers of an answer: a dict whose names match in any case, plus `add` for a header that is sent more than once."""

    __slots__ = ("_pairs",)

    def __init__(self) -> None:
        self._pairs: list[tuple[str, str]] = []

    def add(self, name: str, value: object) -> None:
        """One more header of that name. Raises ValueError for what cannot stand in a header."""
        text = str(value)
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"not the name of a header: {name!r}")
        # SECURITY: A8. A line break in a value would begin a header, or an answer, of the caller's making.
        if _UNSAFE.search(text):
            raise ValueError(f"the value of header {name!r} holds a line break, a control character or no Latin-1")
        self._pairs.append((name, text))

    def __setitem__(self, name: str, value: object) -> None:
        kept = [pair for pair in self._pairs if pair[0].lower() != name.lower()]
        before, self._pairs = self._pairs, kept
        try:
            self.add(name, value)
        except ValueError:
            self._pairs = before
            raise

    def __getitem__(self, name: str) -> str:
        for known, value in self._pairs:
            if known.lower() == name.lower():
                return value
        raise KeyError(name)

    def __delitem__(self, name: str) -> None:
        self[name]
        self._pairs = [pair for pair in self._pairs if pair[0].lower() != name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._pairs))

    def __len__(self) -> int:
        return len(dict.fromkeys(name.lower() for name, _ in self._pairs))

    def pairs(self) -> list[tuple[str, str]]:
        """All of them as they go over the wire."""
        return list(self._pairs)


def checked_type(content_type: str) -> str:
    """A media type that can be sent. Raises ValueError."""
    if _UNSAFE.search(content_type):
        raise ValueError(f"no content type can be {content_type!r}")
    return content_type


class Response:
    """What a service answers: a payload, and for HTTP a status, headers and a content type.

    Where an output is declared *payload* is a record to fill (``payload.name = "Ann"``, ``payload[:] = rows`` for a
    repeated one) or to replace by a dict, a row or an object. Where none is, it is anything: a dict, a list, text, bytes, or
    an iterator of bytes, which is streamed.
    """

    __slots__ = ("_headers", "_new_payload", "_payload", "_status", "content_type")

    def __init__(self, new_payload: Callable[[], Any]) -> None:
        self._new_payload = new_payload
        self._payload: Any = UNSET
        self._headers: Headers | None = None
        self._status = 200
        self.content_type = ""

    @property
    def payload(self) -> Any:
        """The payload: an empty record where an output is declared and nothing was assigned, else None."""
        if self._payload is UNSET:
            self._payload = self._new_payload()
        return self._payload

    @payload.setter
    def payload(self, value: Any) -> None:
        self._payload = value

    @property
    def headers(self) -> Headers:
        """Headers of the answer; a line break in one is a ValueError."""
        if self._headers is None:
            self._headers = Headers()
        return self._headers

    @headers.setter
    def headers(self, values: Any) -> None:
        headers = Headers()
        for name, value in dict(values).items():
            headers.add(name, value)
        self._headers = headers

    @property
    def status_code(self) -> int:
        """The HTTP status: 200 unless set."""
        return self._status

    @status_code.setter
    def status_code(self, value: int) -> None:
        status = int(value)
        if not 200 <= status <= 599:
            raise ValueError(f"a status is a number from 200 to 599, not {value!r}")
        self._status = status

    def header_pairs(self) -> list[tuple[str, str]]:
        """The headers as they go over the wire, without making a dict where there are none."""
        return self._headers.pairs() if self._headers is not None else []
