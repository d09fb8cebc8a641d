"""Plans in C give what Python gives, and leave to it what they do not know."""

import gc
import math
import sys
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs import plans, reading, records, writing
from specs.contract import UNSET, Contract, Field
from specs.plans import plan
from specs.problems import Problem
from specs.records import OutputRecord, Record, shape

pytestmark = pytest.mark.skipif(
    not plans.COMPILED, reason="server missing: a C compiler and Python.h, and `make install` after that"
)

SCALARS = {
    "text": st.text(max_size=3),
    "secret": st.text(max_size=3),
    "int": st.integers(-(2**63) - 1, 2**63) | st.integers(-9, 9),
    "float": st.floats(),
    "bool": st.booleans(),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    "uuid": st.uuids().map(str),
    "opaque": st.recursive(
        st.none() | st.integers(-9, 9) | st.text(max_size=2), lambda v: st.lists(v, max_size=2), max_leaves=3
    ),
}
LIMITS = {
    "text": [{}, {}, {"minLength": 1}, {"maxLength": 2}],
    "int": [{}, {}, {"minimum": 0}],
    "list": [{}, {}, {"minItems": 1}, {"uniqueItems": True}],
    "dictlist": [{}, {}, {"maxItems": 1}],
}  # fmt: skip
ODD = st.sampled_from(["", "7", "true", 7, 1.5, True, None, [], {}, [None], b"x", 2**70, (1,), {"a": 1}])


@st.composite
def fields(draw, depth=2):
    found = []
    for name in draw(st.lists(st.sampled_from("abcd"), unique=True, max_size=4)):
        kinds = [*SCALARS, *(("list", "dict", "dictlist", "nested") if depth else ())]
        kind = draw(st.sampled_from(kinds))
        items, members = None, None
        if kind == "list":
            items = draw(st.none() | st.sampled_from([*SCALARS]).map(lambda word: Field("item", word)))
            if items is not None and draw(st.booleans()):
                items = Field("item", "dict", fields=draw(fields(depth - 1)), nullable=draw(st.booleans()))
        elif kind in ("dict", "dictlist", "nested"):
            members = draw(st.none() | fields(depth - 1))
        default = UNSET
        if kind in ("text", "int") and draw(st.integers(0, 5)) == 0:
            default = "x" if kind == "text" else 1
        found.append(
            Field(
                name, kind, required=draw(st.booleans()), nullable=draw(st.booleans()), default=default, items=items,
                fields=members, limits=draw(st.sampled_from(LIMITS.get(kind, [{}]))),
                origin=draw(st.sampled_from(["declared", "any other name"])),
            )
        )  # fmt: skip
    return tuple(found)


def fitting(field):
    """Values of *field*, now and then odd ones."""
    if field.type in SCALARS:
        found = SCALARS[field.type]
    elif field.type == "list":
        found = st.lists(fitting(field.items) if field.items else SCALARS["opaque"], max_size=3)
    elif field.type == "dictlist":
        found = st.lists(bodies(field.fields or ()), max_size=3)
    else:
        found = bodies(field.fields or ())
    return st.integers(0, 14).flatmap(lambda luck: found if luck else ODD)


def bodies(members):
    return st.fixed_dictionaries(
        {field.name: fitting(field) for field in members if field.required},
        optional={**{field.name: fitting(field) for field in members if not field.required}, "more": st.just(1)},
    )


def outcome(do, value):
    """What *do* gives or refuses, with types, so that 1, 1.0 and True are not the same."""
    try:
        return described(do(value))
    except Problem as problem:
        return problem.code, problem.detail, problem.errors


def described(value):
    if isinstance(value, dict):
        return value.__class__.__name__, [(name, described(one)) for name, one in value.items()]
    if isinstance(value, list):
        return [described(one) for one in value]
    return type(value).__name__, repr(value)


def in_python(make, contract):
    """What *make* compiles where there is no C."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "NATIVE", None)
        return make(contract)


@settings(max_examples=400)
@given(st.data())
def test_inputs_are_read_alike(data):
    contract = Contract("s", input=data.draw(fields()))
    body = data.draw(bodies(contract.input) | ODD)
    ours, theirs = reading.compile_input(contract), in_python(reading.compile_input, contract)
    assert outcome(ours.read, body) == outcome(theirs.read, body)
    query = dict.fromkeys(data.draw(st.lists(st.sampled_from("abcd"), max_size=1)), "7")
    assert outcome(lambda b: ours.read(b, query), body) == outcome(lambda b: theirs.read(b, query), body)
    assert outcome(lambda b: ours.read(b, textual=True), body) == outcome(lambda b: theirs.read(b, textual=True), body)


@settings(max_examples=400)
@given(st.data())
def test_outputs_are_written_alike(data):
    contract = Contract("s", output=data.draw(fields()), repeated=data.draw(st.booleans()))
    body = data.draw(bodies(contract.output) | ODD)
    ours, theirs = writing.compile_output(contract), in_python(writing.compile_output, contract)
    assert outcome(ours.write, body) == outcome(theirs.write, body)
    if isinstance(body, dict):
        record = ours.new()
        for name in body.keys() & {field.name for field in contract.output}:
            setattr(record, name, body[name])
        assert outcome(ours.write, record) == outcome(theirs.write, record)


def test_most_records_are_planned():
    members = (
        Field("id", "int"),
        Field("lines", "dictlist", fields=(Field("sku"), Field("tags", "list", items=Field("item"), required=False))),
    )
    contract = Contract("s", input=members, output=members)
    body = {"id": 1, "lines": [{"sku": "a", "tags": ["b"]}, {"sku": "c"}], "more": None}
    record = reading.compile_input(contract)._apply(body)
    assert type(record).__name__ == "Record"
    assert record.lines[0].tags == ["b"]
    assert record.lines[1].tags is None
    assert writing.compile_output(contract)._quick(record) == {"id": 1, "lines": body["lines"]}


def test_what_a_service_kept_of_an_input_is_not_the_body():
    contract = Contract(
        "s", input=(Field("tags", "list", items=Field("item")), Field("address", "dict", fields=(Field("zip"),)))
    )
    body = {"tags": ["a"], "address": {"zip": "1"}}
    record = reading.compile_input(contract).read(body)
    record.tags.append("b")
    record.address.zip = "2"
    assert body == {"tags": ["a"], "address": {"zip": "1"}}


def test_what_a_converter_raises_is_raised_by_python_alone():
    class Stop(BaseException):
        pass

    def fails(error):
        def convert(value):
            raise error

        return plan(dict, dict, [("a", convert, True, False)])

    assert fails(ValueError("no"))({"a": 1}) is None
    with pytest.raises(Stop):  # a deadline is no reason to begin again
        fails(Stop())({"a": 1})


def test_a_list_that_changes_while_it_is_read_is_no_harm():
    values = [1, 2, 3, 4]

    def shrinks(value):
        values.clear()
        return value

    def grows(value):
        if len(values) < 50:
            values.extend([value] * 10)
        return value

    assert plan(dict, dict, [("a", (shrinks, False), True, False)])({"a": values}) == {"a": [1]}
    values[:] = [1]
    assert len(plan(dict, dict, [("a", (grows, False), True, False)])({"a": values})["a"]) == len(values)


def test_a_map_that_changes_while_it_is_read_is_no_harm():
    body = {"a": "x" * 50, "b": "y" * 50}

    def clears(value):
        body.clear()
        gc.collect()
        return value

    apply = plan(dict, dict, [("a", clears, True, False), ("b", "text", False, False)])
    assert apply(body) == {"a": "x" * 50}


@pytest.mark.parametrize(
    "members",
    [
        (("a", "no-such-word", True, False),), (("a", 7, True, False),), (("a", ("text",), True, False),), ("a",), ((),),
        ((7, "text", True, False),), (("a", ((("text",), True), True), True, False),),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused(members):
    with pytest.raises((TypeError, ValueError)):
        records.NATIVE.Plan(dict, dict, members)
    with pytest.raises(TypeError):
        records.NATIVE.Plan(list, dict, ())


def test_nothing_is_left_of_plans_and_records():
    def rounds():
        make = shape((Field("a"), Field("b", "list", required=False)), OutputRecord)
        apply = plan(make, Record, [("a", "text", True, False), ("b", (plan(dict, dict, ()), True), False, True)])
        for body in ({"a": "x", "b": [{}, None]}, {"a": 1}, {}, None, {"a": "x", "b": [7]}):
            record = apply(body)
            if record is not None:
                record.a = record.a + "y"
                with pytest.raises(AttributeError):
                    record.c = 1
        return weakref.ref(make)

    classes = [rounds() for _ in range(3)]
    gc.collect()
    assert [one() for one in classes] == [None] * 3
    before = sys.getallocatedblocks()
    for _ in range(1000):
        rounds()
    gc.collect()
    # One that stayed of each round would be more; other threads of this process have theirs.
    assert sys.getallocatedblocks() - before < 900


def test_numbers_at_the_edge():
    apply = plan(dict, dict, [("i", "int", False, False), ("f", "float", False, False)])
    for inside in (-(2**63), 2**63 - 1):
        assert apply({"i": inside}) == {"i": inside}
    for outside in (-(2**63) - 1, 2**63, True, 1.0, "1"):
        assert apply({"i": outside}) is None
    for outside in (math.inf, -math.inf, math.nan, 1, True):
        assert apply({"f": outside}) is None


class TestAttributes:
    """Members of records as attributes."""

    make = shape((Field("id", "int"), Field("items", "list", required=False)), OutputRecord)

    def test_of_the_class_they_are_themselves(self):
        assert type(self.make.id).__name__ in ("Attribute", "property")

    def test_they_cannot_be_deleted(self):
        record = self.make({"id": 1})
        with pytest.raises(AttributeError):
            del record.id

    def test_they_are_of_dictionaries_only(self):
        with pytest.raises(TypeError):
            self.make.id.__get__(7, int)
        with pytest.raises(TypeError):
            self.make.id.__set__(7, 1)

    def test_what_is_no_member_is_refused_by_name(self):
        record = self.make()
        with pytest.raises(AttributeError, match=r"no output called 'ids'.*id"):
            record.ids = 1
