"""What a new version of a contract does to those who call it by the old one: by JSON, and by what was made from a WSDL."""

import pytest
from hypothesis import given
from strategies import contracts

from backends import Bool, Date, Decimal, Dict, DictList, Enum, Float, Int, List, Text
from backends.breakage import changes
from backends.narrowing import tightened
from specs.schema import Schema
from specs.simpleio import contract_of

BOTH, NONE, STRICT, JSON, WSDL = (
    ("breaks", "breaks"), ("safe", "safe"), ("safe", "strict"), ("breaks", "safe"), ("safe", "breaks"),
)  # fmt: skip


def told(old, new, **more):
    before, after = (contract_of(one, service="s") for one in (old, new))
    return [(change.sentence, (change.json, change.wsdl)) for change in changes([before], [after])]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (("a", "b"), ("a", "b"), []),
        (("a", "-b"), ("a", "b"), [("input b is required now", BOTH)]),
        ("a", ("a", "b"), [("input b is required now", BOTH)]),
        ("a", ("a", "-b"), [("input b may be given", NONE)]),
        (("a", "b"), ("a", "-b"), [("input b may be left out", NONE)]),
        (("a", "-b"), "a", [("input b is gone", BOTH)]),
        (None, ("a", "-b"), [("input a is required now", BOTH)]),
        ("a", None, []),
        (Int("a"), Text("a"), [("input a was int and is text", JSON)]),
        (Text("a"), Int("a"), [("input a was text and is int", BOTH)]),
        (Int("a"), Decimal("a"), [("input a was int and is decimal", NONE)]),
        (Date("a"), Text("a"), [("input a was date and is text", NONE)]),
        (Text("a", nullable=True), Text("a"), [("input a must not be null any more", BOTH)]),
        (Text("a"), Text("a", max_length=3), [("input a: maxLength is 3 now", BOTH)]),
        (Int("a", maximum=3), Int("a", maximum=5), []),
        (Enum("a", "x", "y"), Enum("a", "x"), [("input a does not take 'y' any more", BOTH)]),
        (Enum("a", "x"), Enum("a", "x", "y"), [("input a takes 'y' too", NONE)]),
        (Dict("a", "b"), Dict("a", "b", "c"), [("input a.c is required now", BOTH)]),
        (List("a", Int), List("a", Text), [("an item of input a was int and is text", JSON)]),
        (List("a"), List("a", Int), [("input a is a list of int now", BOTH)]),
    ],
)
def test_what_is_taken(old, new, said):
    assert told({"input": old}, {"input": new}) == said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("x", ("x", "y"), [("output y is new", STRICT)]),
        (("x", "y"), "x", [("output y is gone", BOTH)]),
        (("x", "y"), ("y", "x"), [("the members of the output come in another order", STRICT)]),
        ("x", "-x", [("output x may be absent now", BOTH)]),
        ("-x", "x", [("output x is always there now", NONE)]),
        (List("x"), List("-x"), [("output x may be absent now", JSON)]),
        (Text("x"), Text("x", nullable=True), [("output x may be null now", BOTH)]),
        (Float("x"), Int("x"), [("output x was float and is int", WSDL[:1] + NONE[1:])]),
        (Int("x"), Float("x"), [("output x was int and is float", BOTH)]),
        (Int("x"), Decimal("x"), [("output x was int and is decimal", BOTH)]),
        (Decimal("x"), Int("x"), [("output x was decimal and is int", JSON)]),
        (Text("x"), Bool("x"), [("output x was text and is bool", JSON)]),
        (Text("x"), Date("x"), [("output x was text and is date", NONE)]),
        (Enum("x", "a"), Enum("x", "a", "b"), [("output x may be 'b' too", BOTH)]),
        (Text("x", max_length=3), Text("x", max_length=5), [("output x: maxLength was 3 and is 5", JSON)]),
        (Text("x", max_length=3), Text("x", max_length=2), []),
        (List("x", Int), List("x", Text), [("an item of output x was int and is text", BOTH)]),
        (Dict("x", "y", "z"), Dict("x", "y"), [("output x.z is gone", BOTH)]),
        (DictList("x", "y"), DictList("x", "y", "z"), [("output x.z is new", STRICT)]),
        ("x", None, [("the output is not declared any more", BOTH)]),
        (None, "x", [("the output is declared now", WSDL)]),
    ],
)
def test_what_is_given(old, new, said):
    assert told({"output": old}, {"output": new}) == said


def test_what_a_message_is_wrapped_in_concerns_json_alone_and_what_an_operation_is_called_wsdl_alone():
    assert told({"response_elem": "a"}, {}) == [("the answer was wrapped in 'a' and is in ''", JSON)]
    assert told({"request_elem": "a"}, {}) == [("the input was wrapped in 'a' and is in ''", JSON)]

    class One:
        output = "x"

        def handle_GET(self): ...

        def handle_POST(self): ...

    class Other:
        output = "x"
        namespace = "crm"

        def handle_GET(self): ...

    assert told(One, Other) == [
        ("POST is not handled any more", JSON),
        ("the SOAP operation was One and is Other", WSDL),
        ("the namespace was '' and is 'crm', that of the WSDL unless its channel has one", WSDL),
    ]


def test_what_is_going_away_is_said_and_breaks_nobody_yet():
    ending = {"deprecated": "2026-12-01", "sunset": "2027-06-30"}
    assert told({}, ending) == [("deprecated since 1 December 2026; it ends on 30 June 2027", NONE)]
    assert told(ending, {}) == [("it is not going away any more", NONE)]


def test_a_schema_file_that_takes_less_is_said():
    old = {"schema": {"properties": {"a": {"type": "number"}}}}
    new = {"schema": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}}
    assert told(old, new) == [
        ("input a: type was number and is integer, by its JSON Schema", BOTH),
        ("input a is required now, by its JSON Schema", BOTH),
    ]
    assert told(new, old) == [("its JSON Schema takes no less", NONE)]


def test_a_service_that_comes_is_safe_and_one_that_goes_breaks_everybody():
    one = contract_of({}, service="s")
    assert [(c.kind, c.breaks, c.sentence) for c in changes([], [one])] == [("added", False, "new service")]
    assert [(c.kind, c.breaks, c.sentence) for c in changes([one], [])] == [("removed", True, "the service is gone")]


@given(contracts())
def test_nothing_changes_between_a_contract_and_itself(contract):
    assert list(changes([contract], [contract])) == []


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ({"enum": [1, 2]}, {"enum": [1]}, 2),
        ({}, {"additionalProperties": False}, {"a": 1}),
        ({"items": {"type": "string"}}, {"items": {"type": "string", "minLength": 2}}, ["a"]),
        ({"$defs": {"n": {}}, "$ref": "#/$defs/n"}, {"$defs": {"n": {"type": "null"}}, "$ref": "#/$defs/n"}, 1),
        ({"anyOf": [{"type": "null"}, {}]}, {"anyOf": [{"type": "null"}]}, 1),
        (True, False, 1),
    ],
)
def test_what_is_tightened_refuses_something(old, new, value):
    assert Schema(old).faults(value) == []
    assert Schema(new).faults(value) != []
    assert list(tightened(old, new)) != []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "integer"}, {"type": ["number", "null"]}),
        ({"minimum": 3, "maximum": 9}, {"minimum": 2}),
        ({"properties": {"a": {"minLength": 3}}}, {"properties": {"a": {"minLength": 2}, "b": {}}, "title": "x"}),
        ({"type": "string"}, True),
        (False, {"type": "string"}),
    ],
)
def test_what_is_loosened_is_not_said(old, new):
    assert list(tightened(old, new)) == []
