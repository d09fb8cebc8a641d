"""The law of the formats: JSON and XML give a service the same input and a caller the same output.

It holds for any contract, any values of it, and every text that XML 1.0 can carry; what it cannot is a named
problem (`test_format_xml`).
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree

from specs import xml_text
from specs.compiled import has_type
from specs.contract import Contract, Field
from specs.conversions import csv_line
from specs.formats import form, json_, xml
from specs.problems import Problem
from specs.query import parse_query
from specs.values import compile_input, compile_output
from specs.xml_values import ANY, read, shape_of, write

JSON, XML, FORM = json_.Format(), xml.Format(), form.Format()

LAW = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

# Every text that XML 1.0 can carry, with the ones that are easily lost more often.
legal = st.characters(codec="utf-8", exclude_characters="".join(map(chr, {*range(32)} - {9, 10, 13})) + "\ufffe\uffff")
texts = st.text(legal, max_size=8) | st.sampled_from(
    ["", " ", "\n", "\r\n", "\t", "]]>", "<a/>", "&amp;", "null", "true", "1", "\ufeff"]
)
names = st.sampled_from(
    [
        "a",
        "b",
        "name",
        "id",
        "item",
        "entry",
        "type",
        "nil",
        "with space",
        "1st",
        "",
        "a:b",
        "xml",
        "é",
        "日本",
        "~/",
        "-",
        "龦",
    ]
)
integers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**12), max_value=10**12)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | texts, inner, max_size=3),
    max_leaves=6,
)
maps = st.dictionaries(names | texts, anything, max_size=3)

TIMES = st.datetimes(
    timezones=st.sampled_from([None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=5, minutes=30))])
)
#: By type: the values of an input as JSON has them, and those of an output as services give them.
SCALARS: dict[str, tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {
    "text": (texts, texts | integers.map(str)),
    "secret": (texts, texts),
    "int": (integers | integers.map(str), integers),
    "float": (floats | st.integers(-(2**53), 2**53), floats),
    "decimal": (decimals.map(str) | floats.filter(lambda number: abs(number) < 1e300) | integers, decimals),
    "bool": (st.booleans(), st.booleans()),
    "date": (st.dates().map(datetime.date.isoformat), st.dates()),
    "datetime": (TIMES.map(datetime.datetime.isoformat), TIMES),
    "utc": (
        st.datetimes(min_value=datetime.datetime(2, 1, 1)).map(lambda moment: moment.isoformat() + "Z"),
        st.datetimes(timezones=st.just(datetime.UTC)),
    ),
    "uuid": (st.uuids().map(str), st.uuids()),
    "bytes": (st.binary(max_size=9).map(lambda raw: json.loads(JSON.render([raw], None))[0]), st.binary(max_size=9)),
    "csv": (
        st.lists(st.text("ab, \"'", max_size=3), min_size=1, max_size=3).map(csv_line),
        st.lists(st.text("ab, \"'", max_size=3), min_size=1, max_size=3),
    ),
}  # fmt: skip

choices = st.lists(texts | st.integers(0, 9), min_size=1, max_size=3, unique=True).map(tuple)
scalar_fields = st.builds(
    Field,
    name=names,
    type=st.sampled_from(sorted(SCALARS)),
    required=st.booleans(),
    nullable=st.booleans(),
) | st.builds(
    Field, name=names, type=st.just("enum"), values=choices,
    required=st.booleans(),
)  # fmt: skip


def unique(fields: list[Field]) -> tuple[Field, ...]:
    return tuple({field.name: field for field in fields}.values())


def deeper(inner: st.SearchStrategy[Field]) -> st.SearchStrategy[Field]:
    members = st.none() | st.lists(inner, max_size=3).map(unique)
    return st.builds(
        Field,
        name=names,
        type=st.sampled_from(["dict", "nested", "dictlist"]),
        fields=members,
        required=st.booleans(),
        nullable=st.booleans(),
    ) | st.builds(
        Field, name=names, type=st.just("list"), items=st.none() | inner, required=st.booleans(), nullable=st.booleans()
    )


loose_fields = st.builds(
    Field, name=names, type=st.sampled_from(["opaque", "asis"]), required=st.booleans(), nullable=st.booleans()
)
fields_of = st.lists(st.recursive(scalar_fields | loose_fields, deeper, max_leaves=5), max_size=5).map(unique)


def value_of(field: Field, *, sent: bool) -> st.SearchStrategy[Any]:
    """Values of a field: as they are *sent* in JSON, or as a service answers them."""
    if field.type in SCALARS:
        values = SCALARS[field.type][0 if sent else 1]
    elif field.type == "enum":
        values = st.sampled_from(field.values)
    elif field.type in ("opaque", "asis"):
        values = anything.filter(lambda value: value is not None)
    elif field.type in ("dict", "nested"):
        values = maps if field.fields is None else record_of(field.fields, sent=sent)
    elif field.type == "dictlist":
        values = st.lists(maps if field.fields is None else record_of(field.fields, sent=sent), max_size=3)
    else:
        values = st.lists(anything if field.items is None else value_of(field.items, sent=sent), max_size=3)
    return st.none() | values if field.nullable else values


def record_of(fields: tuple[Field, ...], *, sent: bool) -> st.SearchStrategy[dict[str, Any]]:
    required = {field.name: value_of(field, sent=sent) for field in fields if field.required}
    optional = {field.name: value_of(field, sent=sent) for field in fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional)


def same(left: Any, right: Any) -> bool:
    """Equal, with equal types: 1 is not True, nor 1.0."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return type(left) is type(right) and bool(left == right)


def as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def as_xml(value: Any, contract: Contract) -> bytes:
    return write(contract.request_elem or "request", value, shape_of(contract.input)).encode()


@LAW
@given(st.data())
def test_json_and_xml_give_a_service_the_same_input(data: st.DataObject) -> None:
    contract = Contract(
        "s", input=data.draw(fields_of), request_elem=data.draw(st.sampled_from(["", "request", "get_customer"]))
    )
    assert contract.input is not None
    value = data.draw(record_of(contract.input, sent=True))
    reader = compile_input(contract)
    body = {contract.request_elem: value} if contract.request_elem else value
    from_json = JSON.parse(as_json(body), contract, content_type="application/json")
    from_xml = XML.parse(as_xml(value, contract), contract, content_type="application/xml")
    left = reader.read(from_json.payload, textual=from_json.textual)
    right = reader.read(from_xml.payload, textual=from_xml.textual)
    assert same(left, right), (left, right)


@LAW
@given(st.data())
def test_json_and_xml_give_a_caller_the_same_output(data: st.DataObject) -> None:
    fields = data.draw(fields_of)
    repeated = data.draw(st.booleans())
    element = data.draw(st.sampled_from(["", "response", "customer"]))
    contract = Contract("s", output=fields, repeated=repeated, response_elem=element)
    one = record_of(fields, sent=False)
    answer = data.draw(st.lists(one, max_size=3) if repeated else one)
    value = compile_output(contract).write(answer)

    # A caller reads the answer as the contract says: here with the reader of the same fields.
    caller = Contract("s", input=(Field("rows", "dictlist", fields=fields),) if repeated else fields)
    reader = compile_input(caller)
    from_json = json.loads(
        JSON.render(value, contract), parse_float=decimal.Decimal if has_type(fields, "decimal") else None
    )
    if element:
        assert list(from_json) == [element]
        from_json = from_json[element]
    document = XML.render(value, contract)
    assert etree.fromstring(document).tag == (element or "response")
    rows = shape_of(fields, repeated=repeated)
    from_xml = read(xml_text.parse(document), rows)
    if repeated:
        from_json, from_xml = {"rows": from_json}, {"rows": from_xml}
    assert same(reader.read(from_json), reader.read(from_xml, textual=True)), (from_json, from_xml)


def test_numbers_beside_a_decimal_keep_their_digits_in_both() -> None:
    contract = Contract("s", input=(Field("price", "decimal"), Field("more", "opaque")))
    value = {"price": 0.1, "more": [0.1, 1, {"a": 1e3}]}
    left = JSON.parse(as_json(value), contract).payload
    right = XML.parse(as_xml(value, contract), contract).payload
    assert left["more"] == [decimal.Decimal("0.1"), 1, {"a": decimal.Decimal("1000.0")}]
    assert same(left["more"], right["more"])


@LAW
@given(anything.filter(lambda value: value is not None))
@example({})
@example([])
@example("")
@example({"a": None})
@example([{"item": []}, {"entry": {"": "\r"}}])
def test_values_without_a_contract_are_the_same_in_json_and_xml(value: Any) -> None:
    document = write("response", value, shape_of(None))
    assert same(XML.parse(document.encode(), None).payload, value), document
    loose = write("x", value, ANY)
    assert same(read(xml_text.parse(loose.encode()), ANY), value), loose
    assert same(JSON.parse(as_json(value), None).payload, value)


@LAW
@given(maps)
def test_what_an_undeclared_service_answers_is_the_same_in_json_and_xml(value: dict[str, Any]) -> None:
    contract = Contract("s")
    answer = compile_output(contract).write(value)
    left = JSON.parse(JSON.render(answer, contract), None).payload
    right = XML.parse(XML.render(answer, contract), None).payload
    assert same(left, right)


FLAT = Contract(
    "s",
    input=(
        Field("id", "int"),
        Field("name"),
        Field("rate", "float"),
        Field("price", "decimal"),
        Field("ok", "bool"),
        Field("day", "date"),
        Field("key", "uuid"),
        Field("raw", "bytes"),
        Field("kind", "enum", values=("gold", 1)),
        Field("tags", "list", items=Field("item", "int")),
        Field("more", "list", items=Field("item"), required=False),
    ),
)
TYPED = {
    "id": 7,
    "name": "Zoë & <co>",
    "rate": 1.5,
    "price": decimal.Decimal("1.50"),
    "ok": True,
    "day": datetime.date(2026, 1, 31),
    "key": uuid.UUID(int=1),
    "raw": b"\x00\xff",
    "kind": 1,
    "tags": [1],
    "more": ["", "a"],
}


def test_json_xml_forms_and_queries_give_the_same_input() -> None:
    sent = {
        "id": 7, "name": "Zoë & <co>", "rate": 1.5, "price": "1.50", "ok": True, "day": "2026-01-31",
        "key": "00000000-0000-0000-0000-000000000001", "raw": "AP8=", "kind": 1, "tags": [1], "more": ["", "a"],
    }  # fmt: skip
    document = """<anything><more/><id> 7 </id><name>Zoë &amp; &lt;co&gt;</name><rate>1.5</rate><price>1.50</price><ok>1</ok>
        <day>2026-01-31</day><key>00000000-0000-0000-0000-000000000001</key><raw>AP8=
        </raw><kind>1</kind><tags>1</tags><more>a</more></anything>"""
    encoded = (
        "id=7&name=Zo%C3%AB+%26+%3Cco%3E&rate=1.5&price=1.50&ok=true&day=2026-01-31&raw=AP8%3D&kind=1&tags=1&more=&more=a"
        "&key=00000000-0000-0000-0000-000000000001"
    )
    reader = compile_input(FLAT)
    for parsed in (
        JSON.parse(as_json(sent), FLAT),
        XML.parse(document.encode(), FLAT),
        FORM.parse(encoded.encode(), FLAT, content_type="application/x-www-form-urlencoded"),
    ):
        assert same(reader.read(parsed.payload, textual=parsed.textual), TYPED)
    assert same(reader.read(None, parse_query(encoded)), TYPED)


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b"{}", b"<r/>"),
        (b'{"id": "x"}', b"<r><id>x</id></r>"),
        (b'{"id": ""}', b"<r><id/></r>"),
        (b'{"id": null}', b'<r xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><id i:nil="true"/></r>'),
        (b'{"id": {"a": "1"}}', b"<r><id><a>1</a></id></r>"),
        (b'{"id": true}', b'<r><id type="boolean">true</id></r>'),
        (b'{"id": [1]}', b'<r><id type="list"><item type="integer">1</item></id></r>'),
        (b'{"tags": ["x"]}', b"<r><tags>x</tags></r>"),
        (
            b'{"tags": [1, null]}',
            b'<r xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><tags>1</tags><tags i:nil="1"/></r>',
        ),
        (b'"text"', b"<r>text</r>"),
        (b"[]", b'<r type="list"/>'),
    ],
)
def test_json_and_xml_are_refused_at_the_same_places(body: bytes, document: bytes) -> None:
    reader = compile_input(FLAT)
    faults = []
    for parsed in (JSON.parse(body, FLAT), XML.parse(document, FLAT)):
        with pytest.raises(Problem) as caught:
            reader.read(parsed.payload, textual=parsed.textual)
        faults.append([(fault.pointer, fault.code) for fault in caught.value.errors])
    assert faults[0] == faults[1]
