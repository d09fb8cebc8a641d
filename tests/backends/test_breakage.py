"""What counts as breaking a contract, and what does not."""

import pytest

from backends import Dict, Int, List, Text
from backends.breakage import breakage
from specs.simpleio import contract_of


def change(old, new):
    before, after = (contract_of({"input": one[0], "output": one[1]}, service="s") for one in (old, new))
    return [sentence.removeprefix("s: ") for sentence in breakage([before], [after])]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (("a", "x"), (("a", "-b"), ("x", "y")), []),
        ((("a", "b"), "x"), (("-a", "b"), "x"), []),
        (("a", "x"), (("a", "b"), "x"), ["input b is required now"]),
        (("-a", "x"), ("a", "x"), ["input a is required now"]),
        ((("a", "-b"), "x"), ("a", "x"), ["input b is gone"]),
        ((Int("a"), "x"), (Text("a"), "x"), ["input a was int and is text"]),
        (("a", ("x", "y")), ("a", "x"), ["output y is gone"]),
        (("a", "x"), ("a", "-x"), ["output x may be absent now"]),
        (("a", "-x"), ("a", "x"), []),
        (("a", List("x", Int)), ("a", List("x", Text)), ["output x was a list of int and is one of text"]),
        (("a", Dict("x", "y", "z")), ("a", Dict("x", "y")), ["output x.z is gone"]),
        ((Dict("a", "b"), "x"), (Dict("a", "b", "c"), "x"), ["input a.c is required now"]),
        (("a", "x"), ("a", None), ["the output is not declared any more"]),
        ((None, "x"), (("a", "-b"), "x"), ["input a is required now"]),
        (("a", "x"), (None, "x"), []),
    ],
)
def test_what_callers_would_find_broken_is_said(old, new, said):
    assert change(old, new) == said


def test_a_service_that_is_gone_is_said():
    assert breakage([contract_of({}, service="s")], []) == ["s: the service is gone"]
