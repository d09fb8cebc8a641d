"""Writing an output: what a service may answer, what the caller gets, and what is an invalid response."""

import dataclasses
import datetime
import enum
import uuid
from collections import namedtuple
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specs.compiled import CompiledContract
from specs.contract import Contract
from specs.elements import (
    CSV,
    UTC,
    UUID,
    Bool,
    Bytes,
    Date,
    DateTime,
    Dict,
    DictList,
    Enum,
    Float,
    Int,
    List,
    Opaque,
    Secret,
    Text,
)
from specs.elements import Decimal as DecimalElement
from specs.problems import Problem
from specs.records import OutputRecord
from specs.schema import Schema, schema_of_contract
from specs.simpleio import contract_of
from specs.strict_json import dumps, parse
from specs.writing import Writer


def writer(*elements: Any, **options: Any) -> Writer:
    return CompiledContract(contract_of({"output": elements, **options}, service="test")).writer


def faults(written_by: Writer, payload: Any) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as caught:
        written_by.write(payload)
    assert (caught.value.status, caught.value.code) == (500, "invalid-response")
    return [(fault.pointer, fault.code) for fault in caught.value.errors]


NOON = datetime.datetime(2026, 1, 31, 12)


@pytest.mark.parametrize(
    ("element", "given", "wanted"),
    [
        ("status_code", 0, 0),
        ("rate", 1.22, 1.22),
        ("rate", True, True),
        ("stdout", b"\xc5\xbc", "ż"),
        ("last_seen", NOON, "2026-01-31T12:00:00"),
        ("rate", Decimal("1.20"), "1.20"),
        ("is_active", 1, True),
        ("is_active", "no", False),
        ("cust_id", "7", 7),
        ("item_count", 1.5, 1.5),
        (Text("x"), 12, "12"),
        (Text("x"), True, "true"),
        (Secret("x"), b"s3cret", "s3cret"),
        (Int("x"), "12", 12),
        (Bool("x"), 0, False),
        (Float("x"), 1, 1.0),
        (DecimalElement("x"), "1.50", Decimal("1.50")),
        (Date("x"), NOON, NOON.date()),
        (Date("x", format="%d.%m.%Y"), NOON, "31.01.2026"),
        (DateTime("x"), "2026-01-31T12:00:00", NOON),
        (UTC("x"), NOON, NOON.replace(tzinfo=datetime.UTC)),
        (UUID("x"), "7f1b4b5e-1c1b-4f57-9c39-3a7f0d2c8f11", uuid.UUID("7f1b4b5e-1c1b-4f57-9c39-3a7f0d2c8f11")),
        (Bytes("x"), "ż", b"\xc5\xbc"),
        (CSV("x"), ["a", "b,c"], 'a,"b,c"'),
        (List("x"), (1, {"a": Decimal("1.0")}, b"raw"), [1, {"a": "1.0"}, "raw"]),
        (List("x", Int), iter(["1", 2]), [1, 2]),
        (Dict("x"), {"a": {1}, 2: NOON}, {"a": [1], "2": "2026-01-31T12:00:00"}),
        (Dict("x", "a", "-b"), {"a": "1", "more": 2}, {"a": "1"}),
        (DictList("x", Int("a")), [{"a": "1"}], [{"a": 1}]),
        (Opaque("x"), {"a": [None, 1.5]}, {"a": [None, 1.5]}),
        (Int("x", nullable=True), None, None),
    ],
)
def test_a_value_is_written_as_its_type_or_kept_where_the_type_was_a_guess(
    element: Any, given: Any, wanted: Any
) -> None:
    name = element if isinstance(element, str) else "x"
    got = writer(element).write({name: given})[name]
    assert got == wanted
    assert type(got) is type(wanted)


@pytest.mark.parametrize(
    ("element", "given", "code"),
    [
        ("x", None, "null"),
        ("x", ["a"], "wrong-type"),
        ("x", {"a": 1}, "wrong-type"),
        ("x", b"\xff", "invalid-format"),
        ("x", float("nan"), "out-of-range"),
        ("x", 2**63, "out-of-range"),
        (Int("x"), "abc", "wrong-type"),
        (Int("x"), 1.5, "wrong-type"),
        (Int("x"), True, "wrong-type"),
        (Float("x"), float("inf"), "out-of-range"),
        (Enum("x", "a"), "b", "not-allowed"),
        (List("x"), "abc", "wrong-type"),
        (List("x"), [float("nan")], "out-of-range"),
        (Dict("x"), ["a"], "wrong-type"),
        (Opaque("x"), {"a": [object()]}, "wrong-type"),
        (Opaque("x"), 10**30, "out-of-range"),
        (Text("x", max_length=2), "abc", "too-long"),
    ],
)
def test_an_answer_that_does_not_fit_is_an_invalid_response(element: Any, given: Any, code: str) -> None:
    assert [found for _, found in faults(writer(element), {"x": given})] == [code]


def test_a_required_output_that_is_missing_is_an_invalid_response_and_an_optional_one_is_left_out() -> None:
    assert faults(writer("name", "-segment", Dict("-address", "street")), {"address": {}}) == [
        ("/name", "missing"), ("/address/street", "missing"),
    ]  # fmt: skip
    assert writer("name", "-segment", Int("-age", default=18)).write({"name": "", "segment": None}) == {
        "name": "",
        "age": 18,
    }


def test_the_caller_learns_no_value_of_an_invalid_response() -> None:
    with pytest.raises(Problem) as caught:
        writer(Secret("token", max_length=3)).write({"token": "hunter2"})
    assert "hunter2" not in str(caught.value.as_dict("cid"))


@dataclasses.dataclass
class Row:
    name: str
    is_active: bool


def test_members_come_from_maps_objects_and_rows() -> None:
    wanted = {"name": "Anna", "is_active": True}
    one = writer("name", "is_active", "-segment")
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        row = connection.execute(sqlalchemy.text("select 'Anna' as name, 1 as is_active")).one()
        assert one.write(row) == wanted
        assert one.write(row._mapping) == wanted
        repeated = writer("name", "is_active", output_repeated=True)
        assert repeated.write(connection.execute(sqlalchemy.text("select 'Anna' as name, 1 as is_active"))) == [wanted]
        assert writer(List("rows"), Opaque("one")).write({"rows": [row], "one": row}) == {
            "rows": [{"name": "Anna", "is_active": 1}],
            "one": {"name": "Anna", "is_active": 1},
        }
    engine.dispose()
    assert one.write(Row("Anna", True)) == wanted
    assert one.write(namedtuple("Named", "name is_active")("Anna", True)) == wanted
    assert one.write({"more": 1, **wanted}) == wanted


@pytest.mark.parametrize("payload", ["text", 5, ["a"], b"x"])
def test_a_declared_output_is_a_record(payload: Any) -> None:
    assert faults(writer("name"), payload) == [("", "wrong-type")]


def test_members_are_written_in_the_order_of_their_declaration() -> None:
    assert list(writer("b", "a", "-c").write({"c": "3", "a": "1", "b": "2"})) == ["b", "a", "c"]


def test_empty_keys_are_skipped_but_zero_false_forced_and_required_ones_are_not() -> None:
    options = {"skip_empty_keys": True, "force_empty_keys": ("forced", "absent", "tags")}
    one = writer("needed", "-empty", "-zero", "-is_ok", "-forced", "-absent", List("-none"), List("-tags"), **options)
    payload = {"needed": "", "empty": "", "zero": 0, "is_ok": False, "forced": "", "none": []}
    assert one.write(payload) == {"needed": "", "zero": 0, "is_ok": False, "forced": "", "absent": "", "tags": []}


def test_an_undeclared_output_is_sent_as_it_is() -> None:
    one = CompiledContract(Contract("test")).writer
    for payload in (None, "text", b"\xff", {"a": [1, "b"]}, [1], 5):
        assert one.write(payload) == payload
    assert one.write([Row("Anna", True)]) == [{"name": "Anna", "is_active": True}]
    assert one.new() is None
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    assert [code for _, code in faults(one, deep)] == ["too-deep"]


def test_a_payload_is_filled_by_attributes_and_items() -> None:
    one = writer("name", "-items")
    payload = one.new()
    assert isinstance(payload, OutputRecord)
    payload.name = "Anna"
    payload["items"] = "x"
    assert (payload.name, payload.items) == ("Anna", "x")
    payload.items = "y"
    assert one.write(payload) == {"name": "Anna", "items": "y"}
    with pytest.raises(AttributeError, match="no output called 'nam': did you mean 'name'"):
        payload.nam = "x"
    with pytest.raises(KeyError, match="no output called 'nam'"):
        payload["nam"] = "x"
    with pytest.raises(TypeError, match="declare output_repeated = True"):
        payload[:] = [{"name": "Anna"}]


def test_a_repeated_payload_takes_all_its_rows_at_once_or_one_by_one() -> None:
    one = writer("name", output_repeated=True)
    payload = one.new()
    assert payload is not None
    assert one.write(payload) == []
    payload[:] = ({"name": name} for name in "ab")
    payload.append({"name": "c"})
    payload.extend([Row("d", True)])
    assert one.write(payload) == [{"name": name} for name in "abcd"]
    assert one.write({"name": "alone"}) == [{"name": "alone"}]
    assert faults(one, [{"name": "a"}, {}, "text"]) == [("/1/name", "missing"), ("/2", "wrong-type")]


def test_enums_are_written_as_their_values() -> None:
    class Segment(enum.Enum):
        GOLD = "gold"

    one = writer(Enum("segment", Segment), "name", Opaque("any"))
    assert one.write({"segment": Segment.GOLD, "name": Segment.GOLD, "any": [Segment.GOLD]}) == {
        "segment": "gold", "name": "gold", "any": ["gold"],
    }  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_any_answer_that_fits_its_contract_also_fits_the_published_schema(data: st.DataObject) -> None:
    contract = data.draw(strategies.contracts())
    value = data.draw(strategies.values_of(contract, "output"))
    body = parse(dumps(CompiledContract(contract).writer.write(value)))
    found = Schema(schema_of_contract(contract, "output")).faults(body)
    # A time without an offset is ISO 8601 but not RFC 3339: what a service gives is kept.
    assert [fault for fault in found if fault.code != "invalid-format"] == []
