"""Writing an output: `compile_output` gives a `Writer`, which turns what a service answered into plain Python values.

The values are native ones (``int``, ``Decimal``, ``date``, ``bytes``...) in declared order; a format prints them. An element
whose type was inferred from its name keeps a number or boolean as it is, so a status code of 0 stays a number.

>>> from specs.contract import Contract
>>> writer = compile_output(Contract("s", output=(Field("rate", origin="any other name"), Field("is_ok", "bool"))))
>>> writer.write({"is_ok": 1, "rate": b"1.22", "more": 1})
{'rate': '1.22', 'is_ok': True}
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from specs.bounds import limits_of
from specs.contract import UNSET, Contract, Field
from specs.conversions import Convert, converter, csv_line, kept_type
from specs.mismatch import Mismatch, mismatch
from specs.plans import Apply, Kind, plan, word_of
from specs.problems import Fault, Problem
from specs.reading import MOST_FAULTS, default_value, each
from specs.records import OutputRecord, Record, escape, rows_of, shape
from specs.turns import IN_TURN, in_turns

_DEEPEST = 100


class Writer:
    """Writes the output of one contract. Built once, by `compile_output`."""

    def __init__(self, contract: Contract) -> None:
        self.declared = contract.output is not None
        self._repeated = contract.repeated
        self._plan = _plan(contract.output or ())
        self._skip_empty = contract.skip_empty_keys
        self._forced = frozenset(contract.force_empty_keys)
        self._empty = {
            field.name: _EMPTY_FORMS.get(field.type) for field in contract.output or () if field.name in self._forced
        }
        self._picky = bool(self._skip_empty or self._empty)
        self._quick: Apply = _nothing
        if self.declared and not (self._repeated or self._picky):
            # PERF: 0.3 us less where nothing but the plan is asked; where it does not know, it is not asked again.
            self._quick, self._plan = self._plan.apply, self._plan._replace(apply=_nothing)
        self._make = cast("type[OutputRecord]", shape(contract.output or (), OutputRecord, repeated=contract.repeated))

    def new(self) -> OutputRecord | None:
        """What ``self.response.payload`` is before the service has answered; ``None`` where no output is declared."""
        return self._make() if self.declared else None

    def write(self, payload: Any) -> Any:
        """The answer as plain values. Raises Problem 500 ``invalid-response``, which names every fault.

        *payload* is a map, an object or row with the members as attributes, or, of a repeated output, any iterable of
        them. Where no output is declared it is any plain value, text or bytes.
        """
        found = self._quick(payload)
        if found is not None:
            return found
        try:
            if not self.declared:
                return payload if payload is None or isinstance(payload, (str, bytes)) else plain(payload)
            if not self._repeated:
                return self._record(payload)
            return each(self._record, False, _rows(payload))
        except Mismatch as error:
            first = error.faults[0]
            place = f"{first.pointer}: " if first.pointer else ""
            raise Problem.of(
                "invalid-response",
                f"the service's answer does not fit its contract: {place}{first.detail}",
                errors=error.faults[:MOST_FAULTS],
            ) from None

    def _record(self, payload: Any) -> dict[str, Any]:
        found = _write_members(self._plan, payload)
        if not self._picky:
            return found
        if self._skip_empty:
            required = {name for name, *_, needed, _, _ in self._plan.members if needed}
            found = {
                name: value
                for name, value in found.items()
                if name in required or name in self._forced or not is_empty(value)
            }
        if self._empty:
            found = {
                name: found.get(name, self._empty.get(name))
                for name, *_ in self._plan.members
                if name in found or self._empty.get(name) is not None
            }
        return found


def _nothing(payload: Any) -> None:
    return None


def compile_output(contract: Contract) -> Writer:
    """The writer of *contract*. Raises ConfigurationError where a default does not fit its element."""
    return Writer(contract)


def is_empty(value: Any) -> bool:
    """Whether ``skip_empty_keys`` leaves *value* out: null, an empty text, list or map; 0 and false are not empty."""
    return value is None or (isinstance(value, (str, bytes, list, dict)) and not value)


#: What an absent member of ``force_empty_keys`` is written as.
_EMPTY_FORMS: dict[str, Any] = {
    "text": "",
    "secret": "",
    "csv": "",
    "list": [],
    "dictlist": [],
    "dict": {},
    "nested": {},
}

_Member = tuple[str, type | None, Any, Any, Convert, bool, bool, Any]


class _Plan(NamedTuple):
    """How a record is written: member by member, or as it is where each member came as what it is."""

    members: list[_Member]
    apply: Apply


def _plan(fields: Sequence[Field]) -> _Plan:
    members: list[_Member] = []
    planned = []
    for field in fields:
        convert, kind = _writers(field)
        default = UNSET if field.default is UNSET else _written_default(field)
        members.append((field.name, *kept_type(field), convert, field.required, field.nullable, default))
        planned.append((field.name, kind, field.required or default is not UNSET, field.nullable))
    return _Plan(members, plan(dict, Record, planned))


def _written_default(field: Field) -> Any:
    value = default_value(field)
    return None if value is None else value_writer(field)(value)


def _write_members(record: _Plan, value: Any) -> dict[str, Any]:
    # PERF: 0.4 us for seven members that are what they were declared to be, else 1.
    found = record.apply(value)
    if found is not None:
        return found  # type: ignore[no-any-return]
    get = _getter(value)
    found = {}
    faults: list[Fault] | None = None
    for name, kept, least, most, convert, required, nullable, default in record.members:
        given = get(name, UNSET)
        if type(given) is kept and (least is None or least <= given <= most):
            found[name] = given
            continue
        if given is None:
            if nullable:
                found[name] = None
                continue
            if required:
                faults = faults or []
                faults.append(Fault(f"/{escape(name)}", "null", "this member cannot be null"))
                continue
            given = UNSET
        if given is UNSET:
            if default is not UNSET:
                found[name] = default
            elif required:
                faults = faults or []
                faults.append(Fault(f"/{escape(name)}", "missing", "this member is required"))
            continue
        try:
            found[name] = convert(given)
        except Mismatch as error:
            faults = faults or []
            faults.extend(Fault(f"/{escape(name)}{f.pointer}", f.code, f.detail) for f in error.faults)
            if len(faults) > MOST_FAULTS:
                break
    if faults:
        raise Mismatch(faults)
    return found


def _getter(value: Any) -> Callable[[str, Any], Any]:
    if isinstance(value, dict) or value is None:
        members: dict[str, Any] = {} if value is None else value
        return members.get
    mapping = value if isinstance(value, Mapping) else getattr(value, "_mapping", None)
    if isinstance(mapping, Mapping):
        return mapping.get
    if isinstance(value, _NOT_RECORDS) and not hasattr(value, "_fields"):
        raise mismatch("wrong-type", f"this is a record, not {_kind(value)}")
    return lambda name, default: getattr(value, name, default)


_NOT_RECORDS = (
    str, bytes, bytearray, bool, int, float, decimal.Decimal, list, tuple, set, frozenset, datetime.date, uuid.UUID,
)  # fmt: skip


def _rows(payload: Any) -> list[Any]:
    if isinstance(payload, OutputRecord):
        rows = rows_of(payload)
        if rows is not None:
            return rows
        return [payload] if len(payload) else []
    if payload is None:
        return []
    if (
        isinstance(payload, Iterable)
        and not isinstance(payload, (str, bytes, Mapping))
        and not hasattr(payload, "_mapping")
    ):
        return list(payload)
    return [payload]


def value_writer(field: Field) -> Convert:
    """A function that gives the plain value of *field*, of any type, or raises `Mismatch`."""
    return _writers(field)[0]


def _writers(field: Field) -> tuple[Convert, Kind]:
    """What gives the plain value of *field*, and what a plan makes of it."""
    if field.type in ("list", "dictlist"):
        return _list_writers(field)
    if field.type in ("dict", "nested") and field.fields is not None:
        record = _plan(field.fields)
        return lambda value: _write_members(record, value), record.apply
    convert = _value_writer(field)
    return convert, word_of(field) or convert


def _value_writer(field: Field) -> Convert:
    if field.type in ("opaque", "asis"):
        return plain
    if field.type in ("dict", "nested"):
        return _any_map
    convert = _kept_or(field, converter(field)) if field.type in ("int", "bool") else converter(field)
    if field.type in ("text", "secret"):
        return _text_writer(field)
    if field.type == "csv":
        return lambda value: csv_line(convert(value))
    if field.type == "bytes":
        return lambda value: value.encode() if isinstance(value, str) else convert(value)
    if field.format:
        return lambda value: convert(value).strftime(field.format)
    return convert


def _kept_or(field: Field, convert: Convert) -> Convert:
    """*convert*, but that an inferred element keeps what is a number or boolean already."""
    if field.origin == "declared":
        return convert

    def write(value: Any) -> Any:
        if type(value) is bool or (type(value) is float and math.isfinite(value)):
            return value
        if type(value) is int and not (field.type == "bool" and value in (0, 1)):
            return whole(value)
        return convert(value)

    return write


def _text_writer(field: Field) -> Convert:
    inferred = field.origin != "declared"
    check = limits_of(field)

    def write(value: Any) -> Any:
        found = value if type(value) is str else as_text(value, numbers_stay=inferred)
        if check is not None and isinstance(found, str):
            check(found)
        return found

    return write


def as_text(value: Any, *, numbers_stay: bool) -> Any:
    """*value* as a text: bytes decoded as UTF-8, dates in ISO 8601; numbers and booleans as they are where they may stay."""
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            raise mismatch("invalid-format", "these bytes are not UTF-8: declare Bytes") from None
    if isinstance(value, bool):
        return value if numbers_stay else str(value).lower()
    if isinstance(value, int):
        return whole(value) if numbers_stay else str(value)
    if isinstance(value, float):
        return finite(value) if numbers_stay else str(value)
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    raise mismatch("wrong-type", f"this is a text, not {_kind(value)}: declare a List or Dict")


def _any_map(value: Any) -> Any:
    found = plain(value)
    if type(found) is dict:
        return found
    raise mismatch("wrong-type", f"this is a map, not {_kind(value)}")


def _list_writers(field: Field) -> tuple[Convert, Kind]:
    item = field.items if field.type == "list" else Field("item", "dict", fields=field.fields)
    write_item, kind = _writers(item) if item else (plain, plain)
    nullable = item is None or item.nullable
    check = limits_of(field)

    def write(value: Any) -> Any:
        if not isinstance(value, Iterable) or isinstance(value, (str, bytes, Mapping)):
            raise mismatch("wrong-type", f"this is a list, not {_kind(value)}")
        found = each(write_item, nullable, list(value))
        if check is not None:
            check(found)
        return found

    return write, (kind, nullable) if check is None else write


def plain(value: Any, depth: int = 0) -> Any:
    """A value without a declared type as plain values: None, bool, int, float, str, list, dict. Raises Mismatch.

    What has a type of its own becomes its text: decimals, dates, UUIDs, bytes as UTF-8. Rows and dataclasses become maps.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is int:
        return whole(value)
    if kind is float:
        return finite(value)
    if depth > _DEEPEST:
        raise mismatch("too-deep", f"this is nested more than {_DEEPEST} levels deep")
    if isinstance(value, OutputRecord) and (rows := rows_of(value)) is not None:
        value = rows
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    mapping = value if isinstance(value, Mapping) else getattr(value, "_mapping", None)
    if isinstance(mapping, Mapping):
        found = {}
        for key in mapping if len(mapping) < IN_TURN else in_turns(mapping):
            name = key if type(key) is str else as_text(key, numbers_stay=False)
            try:
                found[name] = plain(mapping[key], depth + 1)
            except Mismatch as error:
                raise Mismatch([Fault(f"/{escape(name)}{f.pointer}", f.code, f.detail) for f in error.faults]) from None
        return found
    if isinstance(value, (list, tuple, set, frozenset)):
        return each(lambda item: plain(item, depth + 1), True, list(value))
    return as_text(value, numbers_stay=True)


def whole(value: int) -> int:
    """*value*, which fits 64 bits. Raises Mismatch."""
    if -(2**63) <= value < 2**63:
        return int(value)
    raise mismatch("out-of-range", "a whole number here has at most 64 bits")


def finite(value: float) -> float:
    """*value*, which is a number. Raises Mismatch."""
    if math.isfinite(value):
        return float(value)
    raise mismatch("out-of-range", "a number here is finite")


def to_json_values(value: Any) -> Any:
    """The JSON form of a Python value that JSON has no word for: the ``default`` of an encoder. Raises TypeError."""
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    mapping = value if isinstance(value, Mapping) else getattr(value, "_mapping", None)
    if isinstance(mapping, Mapping):
        return dict(mapping)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
