"""JSON: strict in, compact out, wrapped where the contract says so."""

from __future__ import annotations

import datetime
import decimal
import json

import pytest

from specs.contract import Contract, Field
from specs.formats.json_ import Format
from specs.problems import Fault, Problem

ID = Contract("s", input=(Field("id", "int"),), output=(Field("id", "int"),))


def refusal(body: bytes, contract: Contract | None = None, content_type: str = "") -> Problem:
    with pytest.raises(Problem) as caught:
        Format().parse(body, contract, content_type=content_type)
    return caught.value


def test_a_body_is_its_values() -> None:
    parsed = Format().parse(b'{"id": 1, "more": [null, ""]}', ID)
    assert parsed == ({"id": 1, "more": [None, ""]}, False, (), "")


def test_an_empty_body_has_no_payload() -> None:
    assert Format().parse(b"", ID).payload is None


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b" ",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "\\u0061": 2}',
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b"1" * 5_000_000,
        b"{} {}",
    ],
)
def test_A41_what_is_not_strict_json_is_400(body: bytes) -> None:
    assert (refusal(body).status, refusal(body).code) == (400, "malformed-body")


def test_decimals_keep_their_digits_where_the_contract_has_any() -> None:
    contract = Contract("s", input=(Field("prices", "list", items=Field("item", "decimal")),))
    assert Format().parse(b'{"prices": [0.10]}', contract).payload == {"prices": [decimal.Decimal("0.10")]}
    assert str(Format().parse(b'{"prices": [0.10]}', contract).payload["prices"][0]) == "0.10"


def test_the_input_is_taken_out_of_its_wrapper() -> None:
    contract = Contract("s", input=ID.input, request_elem="request")
    parsed = Format().parse(b'{"request": {"id": 1}}', contract)
    assert (parsed.payload, parsed.pointer) == ({"id": 1}, "/request")
    problem = refusal(b'{"id": 1}', contract)
    assert problem.errors == (Fault("/request", "missing", "the input is to be in a member 'request'"),)


def test_an_answer_is_wrapped_where_the_contract_has_a_response_elem() -> None:
    wrapped = Contract("s", output=(Field("rate"),), response_elem="response")
    assert Format().render({"rate": "1.22"}, wrapped) == b'{"response":{"rate":"1.22"}}'
    assert Format().render({"rate": "1.22"}, Contract("s", output=(Field("rate"),))) == b'{"rate":"1.22"}'


def test_a_repeated_answer_is_a_list() -> None:
    contract = Contract("s", output=ID.output, repeated=True, response_elem="response")
    assert Format().render([{"id": 1}], contract) == b'{"response":[{"id":1}]}'


def test_an_undeclared_answer_is_sent_as_given() -> None:
    contract = Contract("s", response_elem="response")
    assert Format().render("text", contract) == b"text"
    assert Format().render(b"\xff", contract) == b"\xff"
    assert Format().render(None, contract) == b""
    assert Format().render({"a": [1]}, contract) == b'{"a":[1]}'


def test_values_of_python_have_their_json_forms() -> None:
    value = {"d": decimal.Decimal("1.50"), "t": datetime.date(2026, 1, 31), "b": b"\x00"}
    assert json.loads(Format().render(value, None)) == {"d": "1.50", "t": "2026-01-31", "b": "AA=="}


@pytest.mark.parametrize("value", [{"a": object()}, {"a": "\ud800"}, "\ud800"])
def test_what_json_cannot_carry_is_not_representable(value: object) -> None:
    with pytest.raises(Problem) as caught:
        Format().render(value, None)
    assert (caught.value.status, caught.value.code) == (500, "not-representable")


@pytest.mark.parametrize(
    ("media_type", "accepted"),
    [("application/json", True), ("application/geo+json", True), ("text/json", True), ("application/xml", False)],
)
def test_json_and_what_is_written_in_it(media_type: str, accepted: bool) -> None:
    assert Format().accepts(media_type) == accepted


def test_another_charset_is_415() -> None:
    assert refusal(b"{}", None, "application/json; charset=utf-16").status == 415
    assert Format().parse(b"{}", None, content_type='application/json; charset="UTF-8"').payload == {}


def test_a_problem_is_problem_json() -> None:
    problem = Problem.of("invalid-input", "no", errors=[Fault("/id", "missing", "required")], members={"limit": ["a"]})
    body, content_type = Format().render_problem(problem, "7f3a")
    assert content_type == "application/problem+json"
    assert json.loads(body) == problem.as_dict("7f3a")


def test_a_problem_always_gets_through() -> None:
    body, _ = Format().render_problem(Problem.of("bad-request", "\ud800", members={"x": object()}), "1")
    assert json.loads(body)["code"] == "bad-request"
