"""Reading an input: every type, every fault, the order of sources, and the law that what was written reads back."""

import datetime
import enum
import uuid
from decimal import Decimal
from typing import Any

import pytest
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specs.compiled import CompiledContract, without_details
from specs.contract import Contract, Field
from specs.elements import (
    CSV,
    UTC,
    UUID,
    AsIs,
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
    Nested,
    Opaque,
    Secret,
    Text,
)  # fmt: skip
from specs.elements import Decimal as DecimalElement
from specs.problems import Fault, Problem
from specs.records import Record
from specs.simpleio import contract_of
from specs.strict_json import dumps, parse


def compiled(*elements: Any, **options: Any) -> CompiledContract:
    return CompiledContract(contract_of({"input": elements, **options}, service="test"))


def read(element: Any, value: Any, *, textual: bool = False) -> Any:
    record = compiled(element).read({"x": value}, textual=textual)
    return record["x"]


def faults(contract: CompiledContract, payload: Any, *args: Any, **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as caught:
        contract.read(payload, *args, **options)
    assert (caught.value.status, caught.value.code) == (400, "invalid-input")
    return [(fault.pointer, fault.code) for fault in caught.value.errors]


UTC_NOON = datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("element", "given", "wanted"),
    [
        (Text("x"), "", ""),
        (Text("x"), " a ", " a "),
        (Int("x"), 2**63 - 1, 2**63 - 1),
        (Int("x"), -(2**63), -(2**63)),
        (Int("x"), "12", 12),
        (Int("x"), " -007 ", -7),
        (Int("x"), 1.0, 1),
        (Int("x"), Decimal("1E+2"), 100),
        (Float("x"), 1, 1.0),
        (Float("x"), "1.5e3", 1500.0),
        (Float("x"), Decimal("0.1"), 0.1),
        (DecimalElement("x"), "1.50", Decimal("1.50")),
        (DecimalElement("x"), 0.1, Decimal("0.1")),
        (DecimalElement("x"), 3, Decimal(3)),
        (Bool("x"), True, True),
        (Bool("x"), "Yes", True),
        (Bool("x"), "0", False),
        (Bool("x"), 0, False),
        (Date("x"), "2026-01-31", datetime.date(2026, 1, 31)),
        (Date("x", format="%d.%m.%Y"), "31.01.2026", datetime.date(2026, 1, 31)),
        (DateTime("x"), "2026-01-31T12:00:00", datetime.datetime(2026, 1, 31, 12)),
        (DateTime("x"), "2026-01-31 12:00:00z", UTC_NOON),
        (UTC("x"), "2026-01-31T13:00:00+01:00", UTC_NOON),
        (UTC("x"), "2026-01-31T12:00:00", UTC_NOON),
        (UUID("x"), "7f1b4b5e-1c1b-4f57-9c39-3a7f0d2c8f11", uuid.UUID("7f1b4b5e-1c1b-4f57-9c39-3a7f0d2c8f11")),
        (Enum("x", "gold", "silver"), "gold", "gold"),
        (Enum("x", 1, 2), "2", 2),
        (Bytes("x"), "aGVsbG8=", b"hello"),
        (CSV("x"), 'a,"b,c"', ["a", "b,c"]),
        (CSV("x"), ["a", "b"], ["a", "b"]),
        (CSV("x"), "", []),
        (CSV("x"), 'a,"b\nc"', ["a", "b\nc"]),
        (List("x"), [1, "a", None], [1, "a", None]),
        (List("x", Int), ["1", 2], [1, 2]),
        (Dict("x"), {"a": [1]}, {"a": [1]}),
        (Dict("x", "a", "-b"), {"a": "1", "more": 2}, {"a": "1"}),
        (Nested("x", Int("a")), {"a": "1"}, {"a": 1}),
        (DictList("x", Int("a")), [{"a": "1"}, {"a": 2}], [{"a": 1}, {"a": 2}]),
        (Opaque("x"), {"a": ["1"]}, {"a": ["1"]}),
        (AsIs("x"), "1", "1"),
        (Secret("x"), "s3cret", "s3cret"),
        (Int("x", nullable=True), None, None),
    ],
)
def test_a_value_that_fits_becomes_the_python_value_of_its_type(element: Any, given: Any, wanted: Any) -> None:
    got = read(element, given)
    assert got == wanted
    assert type(got) is type(wanted) or isinstance(got, (Record, list))


@pytest.mark.parametrize(
    ("element", "given", "code"),
    [
        (Text("x"), 12, "wrong-type"),
        (Text("x"), True, "wrong-type"),
        (Text("x"), None, "null"),
        (Int("x"), True, "wrong-type"),
        (Int("x"), 1.5, "wrong-type"),
        (Int("x"), 2**63, "out-of-range"),
        (Int("x"), -(2**63) - 1, "out-of-range"),
        (Int("x"), 1e20, "out-of-range"),
        (Int("x"), "9" * 5000, "out-of-range"),
        (Int("x"), "1_000", "wrong-type"),
        (Int("x"), "१२", "wrong-type"),
        (Int("x"), "", "wrong-type"),
        (Int("x"), "abc", "wrong-type"),
        (Int("x"), Decimal("NaN"), "wrong-type"),
        (Int("x"), Decimal("1E+999999"), "wrong-type"),
        (Float("x"), "NaN", "wrong-type"),
        (Float("x"), float("inf"), "out-of-range"),
        (Float("x"), "1e999", "out-of-range"),
        (Float("x"), 10**400, "out-of-range"),
        (Float("x"), True, "wrong-type"),
        (DecimalElement("x"), "1e999999", "out-of-range"),
        (DecimalElement("x"), "1" * 5000, "wrong-type"),
        (DecimalElement("x"), "Infinity", "wrong-type"),
        (DecimalElement("x"), "1,5", "wrong-type"),
        (Bool("x"), "maybe", "wrong-type"),
        (Bool("x"), 2, "wrong-type"),
        (Date("x"), "20260131", "invalid-format"),
        (Date("x"), "2026-02-30", "invalid-format"),
        (Date("x"), 20260131, "wrong-type"),
        (DateTime("x"), "2026-01-31", "invalid-format"),
        (UTC("x"), "0001-01-01T00:00:00+23:59", "out-of-range"),
        (UUID("x"), "7f1b4b5e", "invalid-format"),
        (Enum("x", "gold"), "lead", "not-allowed"),
        (Enum("x", 1), True, "not-allowed"),
        (Enum("x", "gold"), ["gold"], "not-allowed"),
        (Bytes("x"), "a", "invalid-format"),
        (Bytes("x"), "żółw", "invalid-format"),
        (CSV("x"), "a\nb", "invalid-format"),
        (List("x"), "a", "wrong-type"),
        (Dict("x"), [], "wrong-type"),
        (Secret("x"), 1234, "wrong-type"),
        (Text("x", min_length=2), "a", "too-short"),
        (Text("x", max_length=2), "abc", "too-long"),
        (Text("x", pattern="^[a-z]+$"), "A", "pattern-mismatch"),
        (Int("x", minimum=1), 0, "out-of-range"),
        (Int("x", exclusive_maximum=1), 1, "out-of-range"),
        (Int("x", multiple_of=3), 4, "not-a-multiple"),
        (DecimalElement("x", maximum=0.1), "0.11", "out-of-range"),
        (List("x", max_items=1), [1, 2], "too-many"),
        (List("x", min_items=1), [], "too-few"),
        (List("x", unique_items=True), [{"a": 1}, {"a": 1}], "not-unique"),
    ],
)
def test_Z28_Z31_a_value_that_does_not_fit_is_a_400_with_its_pointer(element: Any, given: Any, code: str) -> None:
    assert faults(compiled(element), {"x": given}) == [("/x", code)]


def test_true_and_1_are_different_items_of_a_list_without_repeats() -> None:
    assert read(List("x", unique_items=True), [1, True, "1"]) == [1, True, "1"]


def test_a_multiple_of_a_decimal_step_is_exact() -> None:
    assert read(DecimalElement("x", multiple_of=0.01), "19.99") == Decimal("19.99")


def test_every_fault_is_named_with_its_pointer_into_what_was_sent() -> None:
    contract = compiled(
        "cust_id",
        Int("age"),
        DictList("addresses", "street", Int("zip/code"), Dict("~geo", Float("lat"))),
        List("tags", Text),
    )
    payload = {
        "age": "old",
        "addresses": [{"street": "a", "zip/code": "x", "~geo": {"lat": "north"}}, 7, {"zip/code": 1, "~geo": None}],
        "tags": ["a", None, 5],
    }
    assert faults(contract, payload) == [
        ("/cust_id", "missing"),
        ("/age", "wrong-type"),
        ("/addresses/0/zip~1code", "wrong-type"),
        ("/addresses/0/~0geo/lat", "wrong-type"),
        ("/addresses/1", "wrong-type"),
        ("/addresses/2/street", "missing"),
        ("/addresses/2/~0geo", "null"),
        ("/tags/1", "null"),
        ("/tags/2", "wrong-type"),
    ]


def test_a_million_faults_are_answered_with_a_hundred() -> None:
    assert len(faults(compiled(List("x", Int)), {"x": ["a"] * 100_000})) == 100


@pytest.mark.parametrize("payload", [[], "text", 7, [{}], b"x"])
def test_a_payload_that_is_no_map_is_one_fault(payload: Any) -> None:
    contract = compiled("name")
    assert faults(contract, payload)[-1] in [("", "wrong-type"), ("/name", "missing")]


def test_Z25_an_explicit_element_is_never_converted_by_its_name() -> None:
    assert compiled(AsIs("is_x"), Text("cust_id")).read({"is_x": "y", "cust_id": "C-1"}) == {
        "is_x": "y",
        "cust_id": "C-1",
    }


def test_Z27_absent_is_not_empty() -> None:
    contract = compiled("-segment", "-flag", Int("-age", default=18), List("-tags", default=[]))
    got = contract.read({"segment": ""})
    assert got == {"segment": "", "age": 18, "tags": []}
    assert "flag" not in got
    assert got.flag is None
    got.tags.append("changed")
    assert contract.read({}).tags == []


def test_Z29_a_secret_arrives_readable_and_is_masked_where_it_is_printed() -> None:
    contract = compiled("password", Dict("login", "token"), DictList("-keys", Secret("key")))
    got = contract.read({"password": "hunter2", "login": {"token": "hunter2"}, "keys": [{"key": "hunter2"}]})
    assert (got.password, got.login.token, got["keys"][0].key) == ("hunter2", "hunter2", "hunter2")
    assert "hunter2" not in repr(got)
    assert "hunter2" not in f"{got} {got.login}"


def test_a_fault_never_shows_a_secret_and_shows_little_of_the_rest() -> None:
    contract = compiled(Secret("pin", max_length=3), Int("age"))
    with pytest.raises(Problem) as caught:
        contract.read({"pin": "hunter2", "age": "x" * 5000})
    told = str([fault.as_dict() for fault in caught.value.errors]) + caught.value.detail
    assert "hunter2" not in told
    assert len(told) < 600


def test_names_without_elements_follow_the_table_and_take_numbers_as_texts() -> None:
    contract = compiled("cust_id", "is_active", "year", "-rate")
    got = contract.read({"cust_id": "7", "is_active": "on", "year": 2013, "rate": 1.22})
    assert got == {"cust_id": 7, "is_active": True, "year": "2013", "rate": "1.22"}


def test_path_and_query_win_over_the_body_and_the_body_over_the_fallback() -> None:
    contract = compiled("cust_id", "-segment", "-note", "-other")
    got = contract.read(
        {"cust_id": 1, "segment": "body", "note": "body"},
        {"cust_id": "7", "segment": "query"},
        fallback={"note": "fallback", "other": "fallback"},
    )
    assert got == {"cust_id": 7, "segment": "query", "note": "body", "other": "fallback"}


def test_names_given_more_than_once_are_a_list_or_a_fault() -> None:
    contract = compiled(List("-tags", Int), "-segment")
    assert contract.read(None, {"tags": ["1", "2"]}) == {"tags": [1, 2]}
    assert contract.read(None, {"tags": "1"}) == {"tags": [1]}
    assert faults(contract, None, {"segment": ["a", "b"]}) == [("/segment", "wrong-type")]


def test_one_text_is_a_list_of_one_where_the_format_has_no_types_only() -> None:
    contract = compiled(List("tags"))
    assert contract.read({"tags": "a"}, textual=True) == {"tags": ["a"]}
    assert faults(contract, {"tags": "a"}) == [("/tags", "wrong-type")]


def test_an_undeclared_input_is_what_the_path_and_query_gave() -> None:
    got = CompiledContract(Contract("test")).read({"body": 1}, {"cust_id": "7"})
    assert got == {"cust_id": "7"}
    assert got.cust_id == "7"


def test_members_that_are_not_declared_are_ignored() -> None:
    assert compiled("name").read({"name": "a", "more": {"deep": 1}}) == {"name": "a"}


def test_a_pointer_begins_where_the_payload_lies() -> None:
    assert faults(compiled(Int("age")), {}, pointer="/customer") == [("/customer/age", "missing")]


def test_native_values_are_taken_as_they_are() -> None:
    class Segment(enum.Enum):
        GOLD = "gold"

    contract = compiled(Enum("segment", Segment), UTC("at"), Date("day"), DecimalElement("sum"), Bytes("raw"))
    got = contract.read(
        {"segment": Segment.GOLD, "at": UTC_NOON, "day": UTC_NOON, "sum": Decimal("1.0"), "raw": bytearray(b"a")}
    )
    assert got == {"segment": "gold", "at": UTC_NOON, "day": UTC_NOON.date(), "sum": Decimal("1.0"), "raw": b"a"}


def test_a_record_names_the_nearest_of_its_elements() -> None:
    got = compiled("customer_name", "-segment").read({"customer_name": "Anna"})
    with pytest.raises(AttributeError, match="no element called 'custmer_name': did you mean 'customer_name'"):
        _ = got.custmer_name


def test_elements_named_like_the_words_of_a_dictionary_are_attributes() -> None:
    names = ("items", "keys", "values", "names", "secrets", "copy", "pop")
    got = compiled(*names).read(dict.fromkeys(names, "x"))
    assert [getattr(got, name) for name in names] == ["x"] * len(names)
    assert dict(got) == dict.fromkeys(names, "x")


def test_a_record_can_be_copied_and_asked_for_any_of_its_elements() -> None:
    got = compiled("-a", "-b", Dict("-c", "d")).read({"a": "1", "c": {"d": "2"}})
    copy = got.deepcopy()
    copy["c"]["d"] = "changed"
    assert (got.c.d, got.get("b", "x")) == ("2", "x")
    got.require_any("a", "b")
    with pytest.raises(Problem) as caught:
        got.require_any("b", "e")
    assert [fault.pointer for fault in caught.value.errors] == ["/b", "/e"]


def test_the_json_schema_and_the_contract_are_one_problem() -> None:
    schema = {"required": ["name"], "properties": {"name": {"maxLength": 3}}, "additionalProperties": False}
    contract = compiled("name", Int("-age"), schema=schema)
    found = faults(contract, {"name": "Anna", "age": "x"})
    assert sorted(found) == [("/age", "unknown-member"), ("/name", "too-long")]
    assert contract.read({"name": "Anna", "age": 5}, validate=False) == {"name": "Anna", "age": 5}


def test_a_json_schema_sees_the_typed_input_of_a_format_without_types() -> None:
    contract = compiled(Int("age"), schema={"properties": {"age": {"type": "integer", "minimum": 18}}})
    assert contract.read({"age": "18"}, textual=True) == {"age": 18}
    assert faults(contract, {"age": "17"}, textual=True) == [("/age", "out-of-range")]


def test_details_can_be_kept_from_the_caller() -> None:
    with pytest.raises(Problem) as caught:
        compiled("name").read({})
    told = without_details(caught.value)
    assert (told.status, told.code, told.detail, told.errors) == (400, "invalid-input", "Invalid request", ())
    other = Problem.of("forbidden", "why")
    assert without_details(other) is other


def test_a_contract_with_decimals_asks_for_their_digits() -> None:
    contract = compiled(DictList("lines", DecimalElement("sum")))
    assert contract.exact_decimals
    payload = parse(b'{"lines": [{"sum": 0.10}]}', exact_decimals=True)
    assert str(contract.read(payload)["lines"][0].sum) == "0.10"
    assert not compiled("name").exact_decimals


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_what_is_written_as_json_reads_back_for_any_contract_and_value(data: st.DataObject) -> None:
    contract = data.draw(strategies.contracts())
    value = data.draw(strategies.values_of(contract, "input"))
    both = CompiledContract(strategies.mirrored(contract))
    record = both.read(value)
    body = dumps(both.writer.write(record))
    assert both.read(parse(body, exact_decimals=both.exact_decimals)) == record
    assert {name: record[name] for name in value} == {name: record[name] for name in record if name in value}
    assert Contract.from_record(parse(dumps(contract.as_record()))) == contract


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(strategies.contracts(), strategies.json_values())
def test_faults_point_at_places_that_exist_or_members_that_are_missing(contract: Contract, payload: Any) -> None:
    for fault in problem_of(contract, payload):
        parts = [part.replace("~1", "/").replace("~0", "~") for part in fault.pointer.split("/")[1:]]
        place = payload
        for part in parts[:-1]:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if fault.code == "missing":
            assert parts[-1] not in (place or {})
        elif parts:
            assert int(parts[-1]) < len(place) if isinstance(place, list) else parts[-1] in place


def problem_of(contract: Contract, payload: Any) -> tuple[Fault, ...]:
    try:
        CompiledContract(contract).read(payload)
    except Problem as problem:
        return problem.errors
    return ()


@settings(max_examples=100, deadline=None)
@given(strategies.fields(), strategies.json_values())
def test_any_json_value_for_any_field_is_a_value_or_a_problem_and_never_another_error(field: Field, value: Any) -> None:
    problem_of(Contract("test", input=(field,)), {field.name: value})
