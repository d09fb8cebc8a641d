"""JSON read strictly (RFC 8259, I-JSON): what would be lost or guessed is refused, as a Problem that names the place.

`orjson` parses; it keeps the last of duplicate members and turns integers beyond 64 bits into floats. Bodies that could
hold either (and only those) are read a second time, slowly.

>>> parse(b'{"a": [1, 2]}')
{'a': [1, 2]}
>>> parse(b'{"a": {"b": 1, "b": 2}}')
Traceback (most recent call last):
specs.problems.Problem: 400 malformed-body: /a/b: this member stands here twice
"""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import islice
from typing import Any

import orjson

from specs.problems import Fault, Problem
from specs.records import escape
from specs.writing import to_json_values

DEPTH = 64
#: The most levels that can be allowed: orjson prints no more than 254.
DEEPEST = 250
_MOST_FAULTS = 100
_LONGEST_NUMBER = 1000
#: Digits become one letter, so that a run of them is found by a search for a text.
_DIGITS = bytes.maketrans(b"0123456789", b"0" * 10)
_LONG_RUN = b"0" * 19
_BLANKS = b" \t\r\n"


def parse(body: bytes, *, max_depth: int = DEPTH, exact_decimals: bool = False) -> Any:
    """The values in a body.

    With *exact_decimals* numbers with a point or exponent are `Decimal`. Raises Problem 400 ``malformed-body``: not JSON,
    not UTF-8, a byte order mark, NaN, a duplicate member, an integer beyond 64 bits, more than *max_depth* levels.
    """
    # PERF: 222 bytes: orjson alone 0.7 us, with these checks 1.6, in the spacing of Python's writer 2.1, json.loads with a hook 5.
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise not_json(body, error) from None
    if body.count(b"{") + body.count(b"[") > max_depth:
        check_depth(value, max_depth)
    if exact_decimals:
        return _parse_slowly(body, exact_decimals)
    # What was read is printed again. SECURITY: A41. Blanks divide tokens and stand inside of texts; without them both are still
    # divided into the same tokens. So where they are the same, no member was lost, which would be missing in one of them, and
    # no integer became another number, whose digits would differ.
    printed = orjson.dumps(value)
    if printed != body and may_lose(body, printed):
        return _parse_slowly(body, exact_decimals)
    return value


def may_lose(body: bytes, printed: bytes) -> bool:
    """Whether a body that orjson prints otherwise may hold more than its value: told by what must be there."""
    return body.translate(None, _BLANKS) != printed.translate(None, _BLANKS) and (
        # PERF: looking for one byte first takes 0.03 us, for two 0.33.
        (b"\\" in body and b"\\u" in body)
        or body.count(b":") != printed.count(b":")
        or _LONG_RUN in body.translate(_DIGITS)
    )


def dumps(value: Any) -> bytes:
    """*value* as JSON: decimals, dates and UUIDs as text, bytes as base64.

    Raises Problem 500 ``not-representable``: half a surrogate pair, or a type that has no JSON form. NaN and infinity are
    null, as a writer refuses them earlier.
    """
    try:
        return orjson.dumps(value, default=to_json_values)
    except TypeError:
        pass
    # What orjson refuses and JSON allows: integers beyond 64 bits, keys that are not texts.
    try:
        text = json.dumps(value, default=to_json_values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        raise Problem.of("not-representable", "the answer holds a value that has no form in JSON") from None


def not_json(body: bytes, error: orjson.JSONDecodeError) -> Problem:
    """The problem of a *body* that orjson refuses."""
    if not body:
        return _malformed([Fault("", "empty", "the body is empty")])
    if body.startswith(b"\xef\xbb\xbf"):
        return _malformed(
            [Fault("", "byte-order-mark", "the body begins with a byte order mark: send UTF-8 without one")]
        )
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return _malformed([Fault("", "not-utf-8", f"the body is not UTF-8 at byte {wrong.start}")])
    if "depth" in error.msg:
        return _malformed([Fault("", "too-deep", "the body is nested too deep")])
    place = f"line {error.lineno}, column {error.colno}"
    return _malformed([Fault("", "not-json", f"the body is not JSON at {place}: {error.msg}")])


def _malformed(faults: list[Fault]) -> Problem:
    first = faults[0]
    detail = f"{first.pointer}: {first.detail}" if first.pointer else first.detail
    return Problem.of("malformed-body", detail, errors=faults[:_MOST_FAULTS])


def check_depth(value: Any, most: int) -> None:
    """Raise Problem where *value* is nested more than *most* levels deep."""
    level = [value] if type(value) is dict or type(value) is list else []
    depth = 0
    while level:
        depth += 1
        if depth > most:
            raise _malformed([Fault("", "too-deep", f"the body is nested more than {most} levels deep")])
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]


class Wrong:
    """Stands in the tree for what is wrong, until its pointer is known."""

    __slots__ = ("code", "detail")

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail


class Doubled(dict[str, Any]):
    """A map some of whose names came more than once; the *last* is the one that came last."""

    __slots__ = ("last",)
    last: str


class Reading:
    """Reads with the standard library, which can be asked about each map and number; *found* is what was wrong with them."""

    def __init__(self, exact_decimals: bool) -> None:
        self.found: list[Wrong] = []
        self._exact = exact_decimals

    def read(self, body: bytes) -> Any:
        """The values, with `Wrong` in the places of `found`."""
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=self._members, parse_int=self._integer, parse_float=self._number
        )

    def wrong(self, code: str, detail: str) -> Wrong:
        """What stands where something is wrong."""
        self.found.append(Wrong(code, detail))
        return self.found[-1]

    def twice(self) -> Wrong:
        """What stands where a name came more than once."""
        return self.wrong("duplicate", "this member stands here twice")

    def _members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            result = Doubled(result)
            result.last = pairs[-1][0]
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    result[name] = self.twice()
                seen.add(name)
        return result

    def _integer(self, text: str) -> Any:
        if len(text) < 19:
            return int(text)
        # SECURITY: A41. Five megabytes of digits are not turned into a number to find out that they are too many.
        value = int(text) if len(text) <= 20 else 2**64
        # 2**63 to 2**64-1 are numbers to orjson too; an Int refuses them.
        return value if -(2**63) <= value < 2**64 else self.wrong("out-of-range", "an integer has at most 64 bits")

    def _number(self, text: str) -> Any:
        if not self._exact:
            return float(text)
        if len(text) > _LONGEST_NUMBER:
            return self.wrong("out-of-range", f"a number has at most {_LONGEST_NUMBER} digits")
        return Decimal(text)


def _parse_slowly(body: bytes, exact_decimals: bool) -> Any:
    reading = Reading(exact_decimals)
    value = reading.read(body)
    if reading.found:
        raise refusal(value)
    return value


def refusal(value: Any) -> Problem:
    """The problem that names the first places in *value* where something is wrong."""
    return _malformed(list(islice(_places(value, ""), _MOST_FAULTS)))


def _places(value: Any, at: str) -> Any:
    if isinstance(value, Wrong):
        yield Fault(at, value.code, value.detail)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _places(inner, f"{at}/{escape(name)}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, f"{at}/{index}")
