"""Samples: values that look like the real thing, the same ones each time, made from a contract alone.

>>> from specs.contract import Field
>>> sample_of((Field("cust_id", "int"), Field("is_active", "bool"), Field("region")))
{'cust_id': 1, 'is_active': True, 'region': 'north'}
"""

from __future__ import annotations

import datetime
import decimal
import re
import re._parser as _parser  # type: ignore[import-not-found]
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from specs import strict_json
from specs.contract import UNSET, Contract, Field
from specs.problems import Problem
from specs.reading import compile_input
from specs.schema import Schema, schema_of_field
from specs.writing import to_json_values

if TYPE_CHECKING:
    from specs.documents.interface import Operation

#: Texts by the end of a member's name, the first that fits.
_TEXTS = {
    "first_name": "Ann", "last_name": "Smith", "user_name": "ann.smith", "username": "ann.smith", "name": "Ann Smith",
    "email": "ann@example.com", "mail": "ann@example.com", "phone": "+44 20 7946 0000", "city": "London", "country": "GB",
    "street": "12 Long Acre", "zip": "WC2E 9LH", "postcode": "WC2E 9LH", "currency": "EUR", "region": "north",
    "language": "en", "locale": "en-GB", "url": "https://example.com", "uri": "https://example.com/1", "status": "open",
    "state": "open", "segment": "gold", "type": "standard", "title": "The Garden of Cyrus", "author": "Thomas Browne",
    "text": "Hello, Ann!", "message": "Hello, Ann!", "description": "A few words", "comment": "A few words", "tag": "new",
    "result": "done", "rate": "1.22", "price": "9.99", "amount": "120.50", "total": "120.50", "year": "2026", "month": "11",
    "day": "21", "date": "2026-11-21", "time": "09:30:00", "last_seen": "2026-11-21", "code": "A-17", "key": "K-42",
    "path": "reports/2026.csv",
}  # fmt: skip
_DATE = datetime.date(2026, 11, 21)
_MOMENT = datetime.datetime(2026, 11, 21, 9, 30, tzinfo=datetime.UTC)


def sample_of(fields: Sequence[Field], *, optional: bool = True, deep: int = 4) -> dict[str, Any]:
    """A record with these members, as Python values; *optional* says whether those that may be left out are in it."""
    return {field.name: sample_value(field, deep) for field in fields if field.required or optional}


def sample_output(contract: Contract) -> Any:
    """What a service answers, as its writer makes it: a record, or a list of one."""
    record = sample_of(contract.output or ())
    return [record] if contract.repeated else record


def input_sample(
    operation: Operation, fields: Sequence[Field], *, optional: bool = True, position: int = 0
) -> dict[str, Any]:
    """Values for *fields*, members of an operation's input: those of its example at *position*, made up where it has none."""
    if position < len(operation.examples):
        sent = operation.examples[position].input
        if read := _typed(operation.contract.input, sent):
            return {field.name: read[field.name] for field in fields if field.name in sent and field.name in read}
    return sample_of(fields, optional=optional)


def output_sample(operation: Operation, position: int = 0) -> Any:
    """What the service answers, likewise."""
    contract = operation.contract
    if position < len(operation.examples) and contract.output is not None:
        given = operation.examples[position].output
        if not contract.repeated:
            if read := _typed(contract.output, given):
                return read
        elif isinstance(given, list) and all(rows := [_typed(contract.output, row) for row in given]):
            return rows
    return sample_output(contract)


def _typed(fields: Sequence[Field] | None, values: Any) -> dict[str, Any]:
    """JSON values as Python has them; empty where they do not fit *fields*."""
    try:
        return dict(compile_input(Contract("", input=tuple(fields or ()))).read(values))
    except Problem:
        return {}


def json_values(value: Any) -> Any:
    """*value* as JSON has it."""
    return orjson.loads(strict_json.dumps(value))


def sample_value(field: Field, deep: int = 4) -> Any:
    """One value. Where the limits of *field* allow none of those that are known here, the nearest of them."""
    if field.default is not UNSET and field.default is not None:
        return field.default
    kind = field.type
    if kind in ("dict", "nested"):
        return sample_of(field.fields or (), deep=deep - 1) if deep else {}
    if kind == "dictlist":
        return [sample_of(field.fields or (), deep=deep - 1)] if deep else []
    if kind == "list":
        item = field.items or Field(field.name.removesuffix("s"))
        return [sample_value(item, deep - 1)] * max(1, int(field.limits.get("minItems", 1))) if deep else []
    candidates = list(_candidates(field))
    if not field.limits:
        return candidates[0]
    check = Schema(schema_of_field(field))
    return next((value for value in candidates if not check.faults(to_json_values_of(value))), candidates[0])


def to_json_values_of(value: Any) -> Any:
    """*value* as JSON has it."""
    return value if isinstance(value, (str, int, float, bool, type(None))) else to_json_values(value)


def _candidates(field: Field) -> list[Any]:
    kind = field.type
    low = field.limits.get("minimum", field.limits.get("exclusiveMinimum"))
    high = field.limits.get("maximum", field.limits.get("exclusiveMaximum"))
    near = [bound + step for bound in (low, high) if bound is not None for step in (0, 1, -1)]
    if kind == "int":
        named = {"year": 2026, "month": 11, "day": 21, "age": 33, "limit": 20, "port": 443, "number": 7}
        step = field.limits.get("multipleOf", 1)
        return [named.get(field.name.rpartition("_")[2], 1), *map(int, near), step, 10, 100, 1000]
    if kind == "float":
        return [1.5, *map(float, near), field.limits.get("multipleOf", 1.0)]
    if kind == "decimal":
        return [decimal.Decimal("120.50"), *(decimal.Decimal(str(bound)) for bound in near)]
    if kind == "bool":
        return [True]
    if kind == "date":
        return [_DATE.strftime(field.format) if field.format else _DATE]
    if kind in ("datetime", "utc"):
        return [_MOMENT.strftime(field.format) if field.format else _MOMENT]
    if kind == "uuid":
        return [uuid.UUID("5f0c9a3e-8f3d-4b1e-9a55-2c7f3f9d1b60")]
    if kind == "enum":
        return [field.values[0] if field.values else ""]
    if kind == "bytes":
        return [b"Hello"]
    if kind == "csv":
        return ["red,green"]
    if kind == "secret":
        return ["correct horse battery"]
    if kind in ("opaque", "asis"):
        return [{"any": "value"}] if kind == "opaque" else ["anything"]
    return list(_texts(field))


@lru_cache(maxsize=4096)
def _known_text(name: str) -> str:
    return next((text for ending, text in _TEXTS.items() if name.lower().endswith(ending)), "text")


def _texts(field: Field) -> list[str]:
    found = _known_text(field.name)
    low, high = int(field.limits.get("minLength", 0)), int(field.limits.get("maxLength", 1 << 30))
    fitted = (found if len(found) >= low else (found + " " + "x" * low)[:low])[:high]
    pattern = field.limits.get("pattern")
    return [
        fitted,
        *([text_matching(pattern)] if pattern else []),
        "a",
        "A",
        "1",
        "ab",
        "AB",
        "12",
        "abc",
        "ABC",
        "123",
        "ABC-123",
        "2026-11-21",
        "a@example.com",
        "x" * low,
    ]


def text_matching(pattern: str) -> str:
    """A short text that *pattern* matches, where it is made of what patterns mostly are made of; else any text.

    >>> text_matching("^(approve|reject)$"), text_matching("^[A-Z]{2}[0-9]+-x?$")
    ('approve', 'AA0-x')
    """
    try:
        return "".join(_matching(_parser.parse(pattern)))
    except (re.error, OverflowError, RecursionError):
        return ""


def _matching(parts: Iterable[tuple[Any, Any]]) -> Iterator[str]:
    for operation, given in parts:
        match str(operation):
            case "LITERAL":
                yield chr(given)
            case "RANGE":
                yield chr(given[0])
            case "CATEGORY":
                yield {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " "}.get(str(given), "a")
            case "IN":
                yield from islice(_matching(given), 1)
            case "ANY":
                yield "a"
            case "BRANCH":
                yield from _matching(given[1][0])
            case "SUBPATTERN":
                yield from _matching(given[3])
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = given
                yield "".join(_matching(inner)) * min(max(least, 1), most, 1000)
