"""Samples and examples: what is kept and for how long, and what a rehearsal finds."""

import datetime

import pytest

from backends.examples import KEPT_FOR, LARGEST, Examples, Taken, sweep_samples
from backends.rehearsal import changes, misfits, rehearse
from gateway.migrations import migrate
from security.database import open_database
from specs.contract import Contract, Field
from specs.exchange import Outcome
from specs.problems import ConfigurationError, Problem

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now

    def pass_by(self, **time):
        self.now += datetime.timedelta(**time)


@pytest.fixture
def database(database_url):
    database = open_database(database_url)
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def examples(database, clock):
    return Examples(database, clock)


def taken(year=2026, service="rate.get", method="GET", channel="rates", output=None):
    return Taken(service, channel, method, 200, {"year": year}, output or {"rate": "1.22"}, ("input/token",))


def test_equal_calls_are_one_and_the_newest_are_kept(examples):
    assert examples.keep([taken(2026), taken(2026), taken(2025)]) == 2
    assert examples.keep([taken(2025)]) == 0
    assert examples.keep([taken(year) for year in range(2000, 2010)], most=3) == 10
    examples.keep([taken(1, channel="other")], most=3)
    assert [one.input["year"] for one in examples.all()] == [1, 2009, 2008, 2007]
    assert next(one.redacted for one in examples.all("rate.get")) == ("input/token",)
    assert examples.all("another") == []


def test_what_is_large_is_not_kept(examples):
    assert examples.keep([taken(output={"rate": "x" * LARGEST})]) == 0


def test_an_example_outlives_samples_and_is_shown_until_it_is_dropped(examples, database, clock):
    examples.keep([taken(2024), taken(2025)])
    nothing = examples.state()
    first = examples.all()[-1]
    clock.pass_by(hours=1)
    made = examples.promote(first.id, title="A year", author="ann", ignored=["at"])
    assert (made.title, made.author, made.runs, made.ignored, made.promoted_at) == (
        "A year", "ann", True, ("at",), clock.now,
    )  # fmt: skip
    some = examples.state()
    assert some != nothing
    examples.keep([taken(year) for year in range(10)], most=1)
    clock.now = NOW + KEPT_FOR + datetime.timedelta(hours=2)
    assert sweep_samples(database, clock.now) == 1
    assert examples.all() == [made]
    assert examples.promoted() == {"rate.get": [made]}
    examples.promote(first.id, title="Another title")
    assert examples.find(first.id).author == "ann"
    examples.drop(first.id)
    assert (examples.promoted(), examples.state()) == ({}, nothing)
    with pytest.raises(ConfigurationError, match="there is no sample"):
        examples.find(first.id)


def test_what_may_change_something_is_never_run(examples):
    examples.keep([taken(method="POST"), taken(method="SOAP")])
    for one in examples.all():
        with pytest.raises(ConfigurationError, match="may change something"):
            examples.promote(one.id, runs=True)
        assert examples.promote(one.id).runs is False


RATE = Contract("rate.get", module="rates", input=(Field("year", "int"),), output=(Field("rate"), Field("at", "int")))


def rehearsed(examples, contract, run=None):
    return [sentence for _, sentence in rehearse([contract], examples.promoted(), run)]


def test_a_rehearsal_compares_with_the_contract_and_runs_what_is_safe(examples):
    examples.keep([taken(output={"rate": "1.22", "at": 7})])
    examples.promote(1, title="A year")
    assert rehearsed(examples, RATE) == []
    assert rehearsed(examples, RATE, lambda one: Outcome({"rate": "1.22", "at": 7})) == []
    start = "rate.get: example 1 'A year': "
    assert rehearsed(examples, RATE, lambda one: Outcome({"rate": "1.3", "at": 8}, 203)) == [
        start + "its status was 200 and is 203",
        start + 'output /rate was "1.22" and is "1.3"',
        start + "output /at was 7 and is 8",
    ]

    def refuse(one):
        raise Problem(404, "no-such-year")

    assert rehearsed(examples, RATE, refuse) == [start + "it is refused: 404 no-such-year"]
    examples.promote(1, ignored=["at"])
    assert rehearsed(examples, RATE, lambda one: Outcome({"rate": "1.22", "at": 8})) == []
    examples.promote(1, runs=False)
    assert rehearsed(examples, RATE, refuse) == []
    assert rehearsed(examples, Contract("another")) == []


def test_what_was_taken_out_of_an_answer_is_not_compared(examples):
    examples.keep([Taken("a", "c", "GET", 200, {}, {"token": "redacted"}, ("output/token",))])
    examples.promote(1)
    assert rehearsed(examples, Contract("a"), lambda one: Outcome({"token": "secret"})) == []


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        (Contract("s"), []),
        (Contract("s", input=(Field("a", "int"),), output=(Field("b"), Field("c", required=False))), []),
        (
            Contract("s", input=(Field("a", "int"), Field("z"))),
            ["input /z: this member is required"],
        ),
        (
            Contract("s", input=(), output=(Field("b", "int"),)),
            ["input /a is not taken any more", "output /b: this is a whole number, not 'x'"],
        ),
        (Contract("s", output=(Field("b"),), repeated=True), ["output is a list now"]),
    ],
)
def test_how_a_call_does_not_fit_a_contract(contract, expected):
    assert list(misfits(contract, {"a": 1}, {"b": "x"})) == expected


def test_lists_are_compared_by_item_and_long_values_are_cut():
    assert list(changes([1, [2, {"a": True}]], [1, [2, {"a": 1}]])) == ["output /1/1/a was true and is 1"]
    assert list(changes([1], [1, 2])) == ["output / had 1 items and has 2"]
    assert list(changes({"a": 1}, {"b": 1})) == ["output /a is gone", "output /b is new"]
    assert len(next(changes("x" * 99, "y"))) < 80
