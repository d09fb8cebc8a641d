"""The limits that a field may declare, by the words of JSON Schema: compiled checks, and whether a limit makes sense."""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import jsonschema_rs

from specs.contract import Field
from specs.mismatch import Mismatch
from specs.problems import Fault

Check = Callable[[Any], Fault | None]


def limits_of(field: Field) -> Callable[[Any], None] | None:
    """A function that raises `Mismatch` where a value breaks the limits of *field*; ``None`` where it has none."""
    checks = [_LIMITS[word](limit) for word, limit in field.limits.items()]
    checks = [check for check in checks if check is not None]
    if not checks:
        return None

    def check_all(value: Any) -> None:
        faults = [fault for check in checks if (fault := check(value)) is not None]
        if faults:
            raise Mismatch(faults)

    return check_all


def _bound(fits: Callable[[Any, Any], bool], words: str) -> Callable[[Any], Check]:
    def compile_limit(limit: Any) -> Check:
        exact = decimal.Decimal(str(limit)) if isinstance(limit, float) else limit

        def check(value: Any) -> Fault | None:
            against = exact if isinstance(value, decimal.Decimal) else limit
            return None if fits(value, against) else Fault("", "out-of-range", f"{words} {limit}")

        return check

    return compile_limit


def _size(fits: Callable[[int, int], bool], code: str, words: str) -> Callable[[Any], Check]:
    def compile_limit(limit: Any) -> Check:
        fault = Fault("", code, words.format(limit))

        def check(value: Any) -> Fault | None:
            return None if fits(len(value), limit) else fault

        return check

    return compile_limit


def _multiple(limit: Any) -> Check:
    step = Fraction(str(limit))

    def check(value: Any) -> Fault | None:
        fits = (Fraction(value if isinstance(value, int) else str(value)) / step).denominator == 1
        return None if fits else Fault("", "not-a-multiple", f"this is a multiple of {limit}")

    return check


def _pattern(limit: Any) -> Check:
    # SECURITY: A42. Python's `re` backtracks without end on ^(a+)+$; this engine stops (0.1 ms on 41 characters). It also
    # reads the pattern as the published JSON Schema means it (ECMA 262).
    fits = jsonschema_rs.Draft202012Validator({"pattern": limit}, offline=True).is_valid

    def check(value: Any) -> Fault | None:
        return None if fits(value) else Fault("", "pattern-mismatch", f"this does not match {limit[:200]}")

    return check


def _unique(limit: Any) -> Check:
    def check(value: Any) -> Fault | None:
        if not limit:
            return None
        seen = {_identity(item) for item in value}
        return None if len(seen) == len(value) else Fault("", "not-unique", "each item may stand here once")

    return check


def _identity(value: Any) -> Any:
    """A hashable thing that is equal where JSON values are: true is not 1, and 1 is 1.0."""
    if isinstance(value, Mapping):
        return frozenset((key, _identity(value[key])) for key in value)
    if isinstance(value, (list, tuple)):
        return tuple(_identity(inner) for inner in value)
    return ("bool", value) if isinstance(value, bool) else value


_LIMITS: dict[str, Callable[[Any], Check]] = {
    "minimum": _bound(lambda value, limit: value >= limit, "this is at least"),
    "maximum": _bound(lambda value, limit: value <= limit, "this is at most"),
    "exclusiveMinimum": _bound(lambda value, limit: value > limit, "this is more than"),
    "exclusiveMaximum": _bound(lambda value, limit: value < limit, "this is less than"),
    "multipleOf": _multiple,
    "minLength": _size(lambda size, limit: size >= limit, "too-short", "this has at least {} characters"),
    "maxLength": _size(lambda size, limit: size <= limit, "too-long", "this has at most {} characters"),
    "pattern": _pattern,
    "minItems": _size(lambda size, limit: size >= limit, "too-few", "this has at least {} items"),
    "maxItems": _size(lambda size, limit: size <= limit, "too-many", "this has at most {} items"),
    "uniqueItems": _unique,
}


@functools.lru_cache(maxsize=256)
def limit_faults(word: str, value: Any) -> str:
    """What is wrong with *value* as the limit *word*, or an empty text."""
    if word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return "this limit is a number"
        return "this limit is more than 0" if word == "multipleOf" and value <= 0 else ""
    if word == "uniqueItems":
        return "" if isinstance(value, bool) else "this limit is True or False"
    if word == "pattern":
        try:
            jsonschema_rs.Draft202012Validator({"pattern": value}, offline=True)
        except ValueError:
            return "this is not a regular expression (ECMA 262)"
        return ""
    return "" if type(value) is int and value >= 0 else "this limit is a whole number, 0 or more"
