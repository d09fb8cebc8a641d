"""Hypothesis strategies for contracts and the values that fit them, shared by the tests of every layer.

`contracts()` gives contracts with an input and an output of any types, nested; `values_of(contract, "input")` gives what the
service would hold: native Python values (``Decimal``, ``date``, ``bytes``, a list for a CSV), absent optional members left out.
`mirrored(contract)` has the input as its output too, so that its writer gives the wire form of an input. `representable` tells
what SOAP has a form for.

Both take *alphabet*, the characters that texts and names are made of: `XML_CHARACTERS` is what XML 1.0 can carry.
"""

import datetime
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from specs.compiled import has_type
from specs.contract import UNSET, Contract, Field
from specs.simpleio import json_default

ANY_CHARACTERS = st.characters(exclude_categories=("Cs",))
XML_CHARACTERS = st.one_of(
    st.characters(min_codepoint=0x20, max_codepoint=0xD7FF),
    st.characters(min_codepoint=0xE000, max_codepoint=0xFFFD),
    st.characters(min_codepoint=0x10000, max_codepoint=0x10FFFF),
    st.sampled_from("\t\n\r <>&\"'é,"),
)

SCALARS = (
    "text", "secret", "int", "float", "decimal", "bool", "date", "datetime", "utc", "uuid", "enum", "bytes", "csv",
    "opaque", "asis",
)  # fmt: skip
ODD_NAMES = (
    "items",
    "keys",
    "get",
    "names",
    "item",
    "a b",
    "a/b",
    "~x",
    "1st",
    "żółw",
    "name",
    "cust_id",
    "is_x",
    "",
    "-",
)

_INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_DATETIMES = st.datetimes(min_value=datetime.datetime(1000, 1, 1), max_value=datetime.datetime(9999, 12, 30))


def names(alphabet: st.SearchStrategy[str] = ANY_CHARACTERS) -> st.SearchStrategy[str]:
    """Names of elements: plain ones, names that are words of a dictionary, and names of odd characters."""
    plain = st.from_regex(r"[a-z][a-z_]{0,7}", fullmatch=True)
    odd = st.sampled_from([name for name in ODD_NAMES if name.strip("-")])
    wild = st.text(alphabet, min_size=1, max_size=6).filter(lambda text: text == text.strip() and text[0] != "-")
    return st.one_of(plain, plain, plain, odd, wild)


def contracts(alphabet: st.SearchStrategy[str] = ANY_CHARACTERS, *, depth: int = 2) -> st.SearchStrategy[Contract]:
    """Contracts with an input and an output, each of up to five elements."""
    return st.builds(
        lambda inputs, outputs, repeated: Contract("test.service", input=inputs, output=outputs, repeated=repeated),
        field_lists(alphabet, depth=depth),
        field_lists(alphabet, depth=depth),
        st.booleans(),
    )


def mirrored(contract: Contract) -> Contract:
    """A contract whose output is the input of *contract*."""
    return replace(contract, output=contract.input, repeated=False)


def field_lists(alphabet: st.SearchStrategy[str] = ANY_CHARACTERS, *, depth: int = 2) -> st.SearchStrategy[Any]:
    """Tuples of fields with names of their own."""
    return st.lists(fields(alphabet, depth=depth), max_size=5, unique_by=lambda field: field.name).map(tuple)


@st.composite
def fields(draw: st.DrawFn, alphabet: st.SearchStrategy[str] = ANY_CHARACTERS, *, depth: int = 2) -> Field:
    """One field of any type."""
    kinds = SCALARS if depth <= 0 else (*SCALARS, "list", "list", "dict", "dictlist", "nested")
    kind = draw(st.sampled_from(kinds))
    field = Field(draw(names(alphabet)), kind, nullable=draw(st.booleans()), required=draw(st.booleans()))
    if kind == "enum":
        values = st.one_of(st.text(alphabet, min_size=1, max_size=5), st.integers(-9, 9))
        field = replace(field, values=tuple(draw(st.lists(values, min_size=1, max_size=4, unique_by=str))))
    elif kind in ("date", "datetime") and draw(st.booleans()):
        field = replace(field, format={"date": "%d.%m.%Y", "datetime": "%d.%m.%Y %H:%M:%S.%f"}[kind])
    elif kind == "int" and draw(st.booleans()):
        low, high = sorted((draw(_INT64), draw(_INT64)))
        field = replace(field, limits={"minimum": low, "maximum": high})
    elif kind == "text" and draw(st.booleans()):
        field = replace(field, limits={"maxLength": draw(st.integers(0, 8))})
    elif kind == "text" and draw(st.booleans()):
        field = replace(field, origin="any other name")
    elif kind == "list" and draw(st.booleans()):
        field = replace(field, items=replace(draw(fields(alphabet, depth=depth - 1)), name="item", required=True))
        if field.items is not None and field.items.default is not UNSET:
            field = replace(field, items=replace(field.items, default=UNSET))
    elif kind in ("dict", "dictlist", "nested") and draw(st.integers(0, 3)):
        field = replace(field, fields=draw(field_lists(alphabet, depth=depth - 1)))
    if field.type in SCALARS and not field.required and not draw(st.integers(0, 3)):
        default = draw(values_of_field(field, alphabet).filter(lambda value: value is not None))
        field = replace(field, default=json_default(replace(field, default=default), field.name))
    return field


def values_of(
    contract: Contract, direction: str = "input", alphabet: st.SearchStrategy[str] = ANY_CHARACTERS
) -> st.SearchStrategy[Any]:
    """What the service gets (``input``), or gives (``output``: a list of records where it is repeated)."""
    declared = (contract.input if direction == "input" else contract.output) or ()
    # Where a contract has decimals, numbers with a point are read as such, in untyped values too.
    floats = not has_type((*(contract.input or ()), *(contract.output or ())), "decimal")
    record = members_of(declared, alphabet, floats=floats)
    return st.lists(record, max_size=3) if direction == "output" and contract.repeated else record


def members_of(
    declared: tuple[Field, ...], alphabet: st.SearchStrategy[str] = ANY_CHARACTERS, *, floats: bool = True
) -> st.SearchStrategy[dict[str, Any]]:
    """Records of these fields."""
    return st.fixed_dictionaries(
        {field.name: values_of_field(field, alphabet, floats=floats) for field in declared if field.required},
        optional={
            field.name: values_of_field(field, alphabet, floats=floats) for field in declared if not field.required
        },
    )


def json_values(
    alphabet: st.SearchStrategy[str] = ANY_CHARACTERS, *, floats: bool = True, null: bool = True
) -> st.SearchStrategy[Any]:
    """Any JSON value; without null, at the top, where *null* is false."""
    leaves = [st.booleans(), _INT64, st.text(alphabet, max_size=8), *([_FLOATS] if floats else [])]
    inner = st.recursive(
        st.one_of(st.none(), *leaves),
        lambda values: st.lists(values, max_size=3) | st.dictionaries(names(alphabet), values, max_size=3),
        max_leaves=6,
    )
    return inner if null else inner.filter(lambda value: value is not None)


def values_of_field(
    field: Field, alphabet: st.SearchStrategy[str] = ANY_CHARACTERS, *, floats: bool = True
) -> st.SearchStrategy[Any]:
    """The native values of one field, with null where it may be."""
    values = _values(field, alphabet, floats)
    return st.none() | values if field.nullable else values


def _values(field: Field, alphabet: st.SearchStrategy[str], floats: bool) -> st.SearchStrategy[Any]:
    kind = field.type
    if kind in ("text", "secret"):
        return st.text(alphabet, max_size=field.limits.get("maxLength", 12))
    if kind == "int":
        return st.integers(field.limits.get("minimum", -(2**63)), field.limits.get("maximum", 2**63 - 1))
    if kind == "enum":
        return st.sampled_from(field.values)
    if kind == "csv":
        return st.lists(st.text(alphabet, max_size=5), max_size=4)
    if kind in ("opaque", "asis"):
        return json_values(alphabet, floats=floats, null=False)
    if kind == "list":
        item = (
            json_values(alphabet, floats=floats)
            if field.items is None
            else values_of_field(field.items, alphabet, floats=floats)
        )
        return st.lists(item, max_size=3)
    if kind in ("dict", "nested", "dictlist"):
        if field.fields is None:
            record: st.SearchStrategy[Any] = st.dictionaries(
                names(alphabet), json_values(alphabet, floats=floats), max_size=3
            )
        else:
            record = members_of(field.fields, alphabet, floats=floats)
        return st.lists(record, max_size=3) if kind == "dictlist" else record
    return _SIMPLE[kind]


_ZONES = st.sampled_from(
    [
        None,
        datetime.UTC,
        datetime.timezone(datetime.timedelta(hours=5, minutes=30)),
        datetime.timezone(-datetime.timedelta(hours=8)),
    ]
)
_SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "float": _FLOATS,
    "decimal": st.decimals(allow_nan=False, allow_infinity=False).filter(
        lambda d: abs(d.adjusted()) < 300 and isinstance(d, Decimal)
    ),
    "bool": st.booleans(),
    "date": st.dates(min_value=datetime.date(1000, 1, 1)),
    "datetime": _DATETIMES,
    "utc": st.datetimes(timezones=st.just(datetime.UTC)),
    "uuid": st.uuids().map(lambda value: uuid.UUID(str(value))),
    "bytes": st.binary(max_size=12),
}


def representable(value: Any, fields: tuple[Field, ...] | None) -> bool:
    """Whether SOAP has a form of its own for *value*: it has none for an optional list that is empty, nor for a null beside one."""
    if not isinstance(value, dict) or fields is None:
        return True
    for field in fields:
        held = value.get(field.name)
        if field.type in ("list", "dictlist"):
            if field.name in value and held is None and not field.nullable:
                return False
            if held == [] and not field.required:
                return False
            item = field.items if field.type == "list" else Field("item", "dict", fields=field.fields)
            if held == [None] and field.nullable:
                return False
            if item is not None and not all(representable_item(one, item) for one in held or ()):
                return False
        elif not representable(held, field.fields if field.type in ("dict", "nested") else None):
            return False
    return True


def representable_item(value: Any, field: Field) -> bool:
    if field.type == "list":
        return field.items is None or all(representable_item(one, field.items) for one in value or ())
    if field.type == "dictlist":
        return all(representable(one, field.fields) for one in value or ())
    return representable(value, field.fields)
