"""Reading an input: `compile_input` gives a `Reader`, which turns what was sent into the `Record` that a service gets.

Where a value comes from: *sources* (path, then query parameters) win over the body, and the body over *fallback*; members
of the body that are not declared are ignored here and stay visible in ``self.request.payload``. An absent optional member
stays absent, or has its default. Null is a value of its own, taken only by a nullable element.

>>> from specs.contract import Contract
>>> reader = compile_input(Contract("s", input=(Field("cust_id", "int"), Field("segment", required=False))))
>>> reader.read({"cust_id": "7", "more": True})
Record({'cust_id': 7})
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from specs.bounds import limits_of
from specs.contract import UNSET, Contract, Field
from specs.conversions import Convert, converter, kept_type
from specs.mismatch import Mismatch, mismatch, shown
from specs.plans import Apply, Kind, plan, word_of
from specs.problems import ConfigurationError, Fault, Problem
from specs.records import Record, escape, shape
from specs.turns import IN_TURN, in_turns

#: The most faults that one problem names: a body of a million wrong numbers is not answered with a million sentences.
MOST_FAULTS = 100

_EMPTY: Mapping[str, Any] = {}


class Reader:
    """Reads the input of one contract. Built once, by `compile_input`."""

    def __init__(self, contract: Contract) -> None:
        self._declared = contract.input is not None
        self._fill, self._apply = _filler(contract.input or ())

    def read(
        self,
        payload: Any,
        sources: Mapping[str, Any] | None = None,
        *,
        fallback: Mapping[str, Any] | None = None,
        textual: bool = False,
        pointer: str = "",
    ) -> Record:
        """The checked, typed input. Raises Problem 400 ``invalid-input``, which names every fault.

        *payload* is the parsed body: a map, or ``None`` where there is none; *textual* says that its format has no types
        (form, XML), where one text stands for a list of one. *sources* and *fallback* are always textual: texts, or lists
        of texts where a name was given more than once. *pointer* is where the payload lies in what was sent.
        """
        # PERF: nearly every body of JSON is what the contract says: 0.7 us for six members and a list of two, else 2.5.
        if self._declared and not (sources or fallback or textual):
            record = self._apply(payload)
            if record is not None:
                return record  # type: ignore[no-any-return]
        if not self._declared:
            return Record({**(fallback or {}), **(sources or {})})
        if payload is None or payload == "" or payload == b"":
            payload = _EMPTY
        texts: Mapping[str, Any] = _EMPTY
        try:
            if sources or fallback:
                if not isinstance(payload, Mapping):
                    raise mismatch("wrong-type", f"this is a map of members, not {shown(payload)}")
                texts = sources or _EMPTY
                if fallback:
                    texts = {**{k: v for k, v in fallback.items() if k not in payload}, **texts}
                payload = {**payload, **texts} if payload else texts
            return self._fill(payload, textual, texts)
        except Mismatch as error:
            raise invalid_input([Fault(pointer + f.pointer, f.code, f.detail) for f in error.faults]) from None


def compile_input(contract: Contract) -> Reader:
    """The reader of *contract*. Raises ConfigurationError where a default does not fit its element."""
    return Reader(contract)


def invalid_input(faults: Sequence[Fault]) -> Problem:
    """The problem that names *faults*."""
    first = f"{faults[0].pointer}: {faults[0].detail}" if faults[0].pointer else faults[0].detail
    detail = first if len(faults) == 1 else f"{len(faults)} faults, the first: {first}"
    return Problem.of("invalid-input", detail, errors=faults[:MOST_FAULTS])


class _Member(NamedTuple):
    """One member, and how a value that is not of its own type yet becomes one."""

    name: str
    typed: Convert
    from_text: Convert
    required: bool
    nullable: bool
    default: Callable[[], Any] | None

    def take(self, record: Record, given: Any, textual: bool) -> list[Fault]:
        """Put what was *given* into *record*; the faults where it cannot be."""
        if given is UNSET:
            if self.default is not None:
                record[self.name] = self.default()
            elif self.required:
                return [Fault(f"/{escape(self.name)}", "missing", "this member is required")]
        elif given is None:
            if not self.nullable:
                return [Fault(f"/{escape(self.name)}", "null", "this member cannot be null")]
            record[self.name] = None
        else:
            try:
                record[self.name] = self.from_text(given) if textual else self.typed(given)
            except Mismatch as error:
                return [Fault(f"/{escape(self.name)}{f.pointer}", f.code, f.detail) for f in error.faults]
        return []


def _filler(fields: Sequence[Field]) -> tuple[Callable[[Any, bool, Mapping[str, Any]], Record], Apply]:
    """What makes the record of a map: ``fill(map, textual, texts)``, where the members in *texts* are textual anyway.

    And its plan, for maps that need nothing made of them.
    """
    make = shape(fields)
    members = []
    planned = []
    for field in fields:
        typed, from_text, kind = _readers(field)
        default = _default(field)
        member = _Member(field.name, typed, from_text, field.required, field.nullable, default)
        members.append((field.name, *kept_type(field), member))
        planned.append((field.name, kind, field.required or default is not None, field.nullable))

    def fill(value: Any, textual: bool, texts: Mapping[str, Any]) -> Record:
        # PERF: built once, with no look-up of types; a member that came as what it is costs a look-up and a comparison: 0.8 us
        # for five members, 2 us for ten with a list.
        if type(value) is not dict and not isinstance(value, Mapping):
            raise mismatch("wrong-type", f"this is a map of members, not {shown(value)}")
        record = make()
        faults: list[Fault] = []
        get = value.get
        for name, kept, least, most, member in members:
            given = get(name, UNSET)
            if type(given) is kept and (least is None or least <= given <= most):
                record[name] = given
            elif wrong := member.take(record, given, textual or name in texts):
                faults += wrong
                if len(faults) > MOST_FAULTS:
                    break
        if faults:
            raise Mismatch(faults)
        return record

    return fill, plan(make, Record, planned)


def value_reader(field: Field, *, textual: bool) -> Convert:
    """A function that gives the Python value of *field*, of any type, or raises `Mismatch`."""
    readers = _readers(field)
    return readers.from_text if textual else readers.typed


class _Readers(NamedTuple):
    """How a value is read where values have types, where all are texts, and what a plan makes of it."""

    typed: Convert
    from_text: Convert
    kind: Kind


def _readers(field: Field) -> _Readers:
    if field.type in ("opaque", "asis"):
        return _Readers(_unchanged, _unchanged, _unchanged)
    if field.type in ("list", "dictlist"):
        item = field.items if field.type == "list" else Field("item", "dict", fields=field.fields)
        readers = _readers(item) if item is not None else None
        nullable = item is None or item.nullable
        typed = _list_reader(field, readers and readers.typed, nullable, textual=False)
        from_text = _list_reader(field, readers and readers.from_text, nullable, textual=True)
        planned = readers is not None and limits_of(field) is None
        return _Readers(typed, from_text, (readers.kind, nullable) if planned and readers is not None else typed)
    if field.type in ("dict", "nested"):
        if field.fields is None:
            return _Readers(_any_map, _any_map, _any_map)
        fill, apply = _filler(field.fields)
        return _Readers(lambda value: fill(value, False, _EMPTY), lambda value: fill(value, True, _EMPTY), apply)
    convert = converter(field)
    return _Readers(convert, convert, word_of(field) or convert)


def _unchanged(value: Any) -> Any:
    return value


def _any_map(value: Any) -> Any:
    if type(value) is dict:
        return value
    if isinstance(value, Mapping):
        return dict(value)
    raise mismatch("wrong-type", f"this is a map, not {shown(value)}")


def _list_reader(field: Field, read_item: Convert | None, nullable: bool, *, textual: bool) -> Convert:
    check = limits_of(field)

    def read(value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            if not textual or not isinstance(value, (str, Mapping)):
                raise mismatch("wrong-type", f"this is a list, not {shown(value)}")
            value = [value]
        found = list(value) if read_item is None else each(read_item, nullable, value)
        if check is not None:
            check(found)
        return found

    return read


def each(convert: Convert, nullable: bool, values: Sequence[Any]) -> list[Any]:
    """Every one of *values*, converted. Raises Mismatch with the faults of all of them."""
    found: list[Any] = []
    faults: list[Fault] = []
    for index, value in enumerate(values if len(values) < IN_TURN else in_turns(values)):
        if value is None:
            if nullable:
                found.append(None)
            else:
                faults.append(Fault(f"/{index}", "null", "an item here cannot be null"))
            continue
        try:
            found.append(convert(value))
        except Mismatch as error:
            faults.extend(Fault(f"/{index}{f.pointer}", f.code, f.detail) for f in error.faults)
            if len(faults) > MOST_FAULTS:
                break
    if faults:
        raise Mismatch(faults)
    return found


def _default(field: Field) -> Callable[[], Any] | None:
    if field.default is UNSET:
        return None
    value = default_value(field)
    if isinstance(value, (list, dict)):
        return lambda: copy.deepcopy(value)
    return lambda: value


def default_value(field: Field) -> Any:
    """The default of *field* as the Python value of its type. Raises ConfigurationError where it does not fit."""
    if field.default is None:
        return None
    try:
        return value_reader(field, textual=False)(field.default)
    except Mismatch as error:
        raise ConfigurationError(field.name, "the default does not fit the element", error.faults[0].detail) from None
