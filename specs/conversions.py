"""One value of one type: what is accepted for it, what it becomes, and the limits it must keep.

`converter` compiles a scalar `Field` to a function of one value. It is the same for reading (an input) and writing (an
output): it takes the native Python value, the JSON value and the text form, and gives the native Python value.

| type | JSON | text |
|---|---|---|
| text, secret | a text; a number too, where the type was inferred | any |
| int | a whole number of 64 bits; ``1.0`` below 2**53, as in JSON Schema | ``-12`` |
| float | a finite number | ``1.5e3`` |
| decimal | a number or its text | ``1.50``, digits kept |
| bool | true, false, 1, 0 | true/false, yes/no, on/off, y/n, t/f, 1/0 |
| date, datetime, utc | ISO 8601 text, or as ``format`` says | the same |
| uuid | its text | the same |
| bytes | base64 | the same |
| enum | one of its values | its text |
| csv | one line, or a list of texts | one line |
"""

from __future__ import annotations

import base64
import binascii
import csv
import datetime
import decimal
import enum
import io
import math
import re
import sys
import uuid
from collections.abc import Callable
from typing import Any

from specs.bounds import limits_of
from specs.contract import Field
from specs.mismatch import Mismatch, mismatch, shown
from specs.problems import Fault

Convert = Callable[[Any], Any]

LOWEST, HIGHEST = -(2**63), 2**63 - 1
_EXACT_FLOATS = 2.0**53
_INTEGER = re.compile(r"[+-]?0*([0-9]{1,19})", re.ASCII)
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,6})?", re.ASCII)
_BOOLS = {
    **dict.fromkeys(("true", "yes", "on", "y", "t", "1"), True),
    **dict.fromkeys(("false", "no", "off", "n", "f", "0"), False),
}
_BLANKS = " \t\r\n"

# SECURITY: a decimal of nine bytes (1e999999999) would cost gigabytes where a service turns it into an int. The bounds are
# the exponents of decimal128 (IEEE 754) and a thousand digits.
_LARGEST_EXPONENT = 6144
_MOST_DIGITS = 1000


def converter(field: Field) -> Convert:
    """A function that gives the Python value of *field* or raises `Mismatch`. *field* is of a scalar type."""
    convert = _CONVERTERS[field.type](field)
    check = limits_of(field)
    if check is None:
        return convert

    def convert_and_check(value: Any) -> Any:
        found = convert(value)
        check(found)
        return found

    return convert_and_check


def kept_type(field: Field) -> tuple[type | None, Any, Any]:
    """The type whose values *field* takes, and gives, as they are, and of numbers the least and the most.

    The type is None where each value is converted or checked.
    """
    return _KEPT.get(field.type, _NOTHING_KEPT) if limits_of(field) is None else _NOTHING_KEPT


# PERF: a comparison of types in the caller's loop is 0.03 us, a call that finds nothing to convert 0.1.
_KEPT: dict[str, tuple[type | None, Any, Any]] = {
    "text": (str, None, None),
    "secret": (str, None, None),
    "bool": (bool, None, None),
    "int": (int, -(2**63), 2**63 - 1),
    "float": (float, -sys.float_info.max, sys.float_info.max),  # neither infinity nor NaN
}
_NOTHING_KEPT = (None, None, None)


def _text(field: Field) -> Convert:
    inferred = field.origin != "declared"

    def convert(value: Any) -> Any:
        if type(value) is str:
            return value
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, str):
            return str(value)
        if inferred and isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
            return str(value)
        raise mismatch("wrong-type", f"this is a text, not {shown(value)}")

    return convert


def _secret(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, str):
            return str(value)
        # SECURITY: a secret is never echoed, not even one that is of the wrong type.
        raise mismatch("wrong-type", "this is a text")

    return convert


def _int(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) is int:
            if LOWEST <= value <= HIGHEST:
                return value
            raise mismatch("out-of-range", "a whole number here has at most 64 bits")
        if isinstance(value, str):
            text = value.strip(_BLANKS)
            if _INTEGER.fullmatch(text):
                return convert(int(text))
            if _WHOLE.fullmatch(text):
                raise mismatch("out-of-range", "a whole number here has at most 64 bits")
        elif isinstance(value, float):
            # JSON Schema says that 1.0 is an integer; beyond 2**53 a float no longer says which integer it is.
            if value.is_integer():
                if abs(value) < _EXACT_FLOATS:
                    return int(value)
                raise mismatch("out-of-range", "a whole number here has at most 64 bits, and no exponent beyond 53")
        elif isinstance(value, decimal.Decimal):
            if value.is_finite() and -1 <= value.adjusted() <= 20 and value == value.to_integral_value():
                return convert(int(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            return convert(int(value))
        raise mismatch("wrong-type", f"this is a whole number, not {shown(value)}")

    return convert


def _float(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) is float and math.isfinite(value):
            return value
        if isinstance(value, bool):
            raise mismatch("wrong-type", f"this is a number, not {shown(value)}")
        if isinstance(value, str) and not _NUMBER.fullmatch(value.strip(_BLANKS)):
            raise mismatch("wrong-type", f"this is a number, not {shown(value)}")
        if not isinstance(value, (int, float, str, decimal.Decimal)):
            raise mismatch("wrong-type", f"this is a number, not {shown(value)}")
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        except ValueError:
            found = math.nan
        if math.isfinite(found):
            return found
        raise mismatch("out-of-range", "a number here is finite and fits 64 bits")

    return convert


def _decimal(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, decimal.Decimal):
            found = value
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            if isinstance(value, int) and value.bit_length() > 4096:
                raise mismatch("out-of-range", "this number is too large")
            found = decimal.Decimal(repr(value) if isinstance(value, float) else value)
        elif isinstance(value, str) and len(value) < 2 * _MOST_DIGITS and _NUMBER.fullmatch(value.strip(_BLANKS)):
            found = decimal.Decimal(value.strip(_BLANKS))
        else:
            raise mismatch("wrong-type", f"this is a decimal number, not {shown(value)}")
        _, digits, exponent = found.as_tuple()
        if not isinstance(exponent, int):
            raise mismatch("out-of-range", "a number here is finite")
        if len(digits) > _MOST_DIGITS or abs(exponent) > _LARGEST_EXPONENT or abs(found.adjusted()) > _LARGEST_EXPONENT:
            raise mismatch("out-of-range", "this number has too many digits or too large an exponent")
        return found

    return convert


def _bool(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if value is True or value is False:
            return value
        if isinstance(value, str):
            found = _BOOLS.get(value.strip(_BLANKS).lower())
            if found is not None:
                return found
        elif isinstance(value, int) and value in (0, 1):
            return bool(value)
        raise mismatch("wrong-type", f"this is true or false, not {shown(value)}")

    return convert


def _date(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, datetime.date):
            return value.date() if isinstance(value, datetime.datetime) else value
        if isinstance(value, str):
            text = value.strip(_BLANKS)
            try:
                if field.format:
                    return datetime.datetime.strptime(text, field.format).date()
                if len(text) == 10 and text[4] == "-" == text[7] and text.isascii():
                    return datetime.date.fromisoformat(text)
            except ValueError:
                pass
            wanted = f"a day as {field.format}" if field.format else "a day as 2026-01-31"
            raise mismatch("invalid-format", f"this is {wanted}, not {shown(value)}")
        raise mismatch("wrong-type", f"this is a day, not {shown(value)}")

    return convert


def _datetime(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, datetime.datetime):
            return value
        if isinstance(value, str):
            text = value.strip(_BLANKS)
            try:
                if field.format:
                    return datetime.datetime.strptime(text, field.format)
                if len(text) >= 16 and text[4] == "-" == text[7] and text[10] in "Tt " and text.isascii():
                    return datetime.datetime.fromisoformat(text.upper())
            except ValueError:
                pass
            wanted = f"a time as {field.format}" if field.format else "a time as 2026-01-31T12:00:00Z"
            raise mismatch("invalid-format", f"this is {wanted}, not {shown(value)}")
        raise mismatch("wrong-type", f"this is a time, not {shown(value)}")

    return convert


def _utc(field: Field) -> Convert:
    read = _datetime(field)

    def convert(value: Any) -> Any:
        found = read(value)
        if found.tzinfo is None:
            return found.replace(tzinfo=datetime.UTC)
        try:
            return found.astimezone(datetime.UTC)
        except OverflowError:
            raise mismatch("out-of-range", "this time is outside the years 1 to 9999 in UTC") from None

    return convert


def _uuid(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, uuid.UUID):
            return value
        if isinstance(value, str):
            text = value.strip(_BLANKS)
            if len(text) == 36 and text[8] == text[13] == text[18] == text[23] == "-":
                try:
                    return uuid.UUID(text)
                except ValueError:
                    pass
            raise mismatch("invalid-format", f"this is a UUID, not {shown(value)}")
        raise mismatch("wrong-type", f"this is a UUID, not {shown(value)}")

    return convert


def _bytes(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, bytes):
            return value
        if isinstance(value, (bytearray, memoryview)):
            return bytes(value)
        if isinstance(value, str):
            try:
                return base64.b64decode(value.translate(_NO_BLANKS), validate=True)
            except (binascii.Error, ValueError):
                raise mismatch("invalid-format", "this is bytes as base64") from None
        raise mismatch("wrong-type", f"this is bytes as base64, not {shown(value)}")

    return convert


_NO_BLANKS = dict.fromkeys(map(ord, _BLANKS))


def _enum(field: Field) -> Convert:
    known = {(type(value), value): value for value in field.values}
    texts = {str(value): value for value in reversed(field.values)}

    def convert(value: Any) -> Any:
        if isinstance(value, enum.Enum):
            value = value.value
        found = known.get((type(value), value)) if isinstance(value, (str, int)) else None
        if found is None and isinstance(value, str):
            found = texts.get(value)
        if found is None:
            listed = ", ".join(map(str, field.values[:20])) + (", ..." if len(field.values) > 20 else "")
            raise mismatch("not-allowed", f"this is one of {listed}, not {shown(value)}")
        return found

    return convert


def _csv(field: Field) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, str):
            try:
                rows = list(csv.reader(io.StringIO(value, newline=""), strict=True))
            except csv.Error:
                rows = [[], []]
            if len(rows) > 1:
                raise mismatch("invalid-format", "this is one line of comma-separated values")
            return rows[0] if rows else []
        if isinstance(value, (list, tuple)):
            wrong = [
                Fault(f"/{index}", "wrong-type", f"this is a text, not {shown(item)}")
                for index, item in enumerate(value)
                if not isinstance(item, str)
            ]
            if wrong:
                raise Mismatch(wrong)
            return list(value)
        raise mismatch("wrong-type", f"this is one line of comma-separated values, not {shown(value)}")

    return convert


def csv_line(values: list[str]) -> str:
    """One line of comma-separated values (RFC 4180), which reads back as *values*.

    >>> csv_line(["a", "b, c"])
    'a,"b, c"'
    """
    line = io.StringIO(newline="")
    # WHY: the line end is cut off again; with none the module would not quote the line ends inside values.
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue()[:-2]


_CONVERTERS: dict[str, Callable[[Field], Convert]] = {
    "text": _text,
    "secret": _secret,
    "int": _int,
    "float": _float,
    "decimal": _decimal,
    "bool": _bool,
    "date": _date,
    "datetime": _datetime,
    "utc": _utc,
    "uuid": _uuid,
    "bytes": _bytes,
    "enum": _enum,
    "csv": _csv,
}
