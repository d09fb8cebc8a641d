"""YAML without surprises: what is text stays text, what is doubtful is refused, and what is written reads back the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.configuration.loader import MOST_ALIASED, load, positions
from gateway.configuration.writer import write
from specs.problems import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", "on"), ("no", "no"), ("Yes", "Yes"), ("12:30", "12:30"), ("017", "017"), ("2026-01-01", "2026-01-01"),
        ("0x1F", "0x1F"), ("1_000", "1_000"), (".5", ".5"), (".inf", ".inf"), ("::1", "::1"), ("10.0.0.0/8", "10.0.0.0/8"),
        ("${env:X}", "${env:X}"), ("'12'", "12"), ('"true"', "true"), ("!!str 12", "12"),
        ("12", 12), ("-3", -3), ("1.5", 1.5), ("1e3", 1000.0), ("true", True), ("False", False), ("null", None), ("~", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_scalar_is_what_it_looks_like(text, expected):
    got = load(f"a: {text}")["a"]
    assert (type(got), got) == (type(expected), expected)


def test_keys_are_texts():
    assert load("1: a\ntrue: b\non: c\nnull: d") == {"1": "a", "true": "b", "on": "c", "null": "d"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: 'a' occurs twice in this map: keep one of them"),
        ("a: {p: ${env:X}}", "f.yaml:1:9: did not find expected ',' or '}': quote it: \"${env:X}\""),
        ("a: [10.0.0.0/8, ::1]", 'f.yaml:1:17: did not find expected node content: quote it: "::1"'),
        ("a: {from: *, rate: 1}", 'quote it: "*"'),
        ("a: @x", "quote a text that begins with one of @"),
        ("a:\n\t- b", "indent with blanks, not with tabs"),
        ("a: b: c", "quote a text that holds ': '"),
        ("a: !!python/object:os.system {}", "f.yaml:1:4: tags have no meaning here"),
        ("a: !env X", "f.yaml:1:4: tags have no meaning here"),
        ("b: {<<: {c: 1}}", "f.yaml:1:5: merge keys (<<) have no meaning here"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: a second document begins here"),
        ("a: 9223372036854775808", "f.yaml:1:4: a whole number beyond 64 bits"),
        ("a: 1e999", "f.yaml:1:4: a number beyond what a float holds"),
        ("a: &x [*x]", "f.yaml:1:8: no value is called '&x' before this"),
        ("? [a]\n: b", "a key is a text"),
        ("[" * 100 + "]" * 100, "nested more than 64 levels deep"),
        ("a: \x07", "leave out U+0007 in line 1"),
        ("a: \ud800", "leave out U+D800 in line 1"),
    ],
)
def test_what_is_doubtful_is_refused_with_its_place_and_the_remedy(text, message):
    with pytest.raises(ConfigurationError) as refused:
        load(text, "f.yaml")
    assert message in str(refused.value)


def test_aliases_stand_for_values_but_not_for_a_billion():
    assert load("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigurationError, match=f"more than {MOST_ALIASED} values"):
        load("\n".join(lines))


def test_every_path_has_a_line_and_a_column():
    got = positions("a:\n  b: [1, {c: 2}]\nd: x\n")
    assert got == {"": (1, 1), "a": (1, 1), "a.b": (2, 3), "a.b[0]": (2, 7), "a.b[1]": (2, 10), "a.b[1].c": (2, 11),
                   "d": (3, 1)}  # fmt: skip


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["on", "017", "1e5", "12:30", "~", "", " ", "a\nb\n", "a\n\nb", " x\ny", "- a", "${env:X}", "::1", "#", "a: b", "=", "<<",
     "2026-01-01", "0o7", "+1", "-0", "1.", "\x85", "\u2028", "\ufeff", "\x00", "\x7f", "x" * 300]
)  # fmt: skip
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    texts | numbers | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_written_reads_back_the_same(value):
    got = load(write(value))
    assert repr(got) == repr(value)
