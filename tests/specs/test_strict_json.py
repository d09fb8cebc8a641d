"""A41: JSON that loses something or hides something is refused with its place; everything else is read as it stands."""

import datetime
import json
import uuid
from decimal import Decimal
from typing import Any

import pytest
import strategies
from hypothesis import example, given, settings
from hypothesis import strategies as st

from specs.problems import Problem
from specs.strict_json import dumps, parse


def faults(body: bytes, **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as caught:
        parse(body, **options)
    assert (caught.value.status, caught.value.code) == (400, "malformed-body")
    return [(fault.pointer, fault.code) for fault in caught.value.errors]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"", [("", "empty")]),
        (b" ", [("", "not-json")]),
        (b'{"a": 1,}', [("", "not-json")]),
        (b'{"a": 1} x', [("", "not-json")]),
        (b'{"a": NaN}', [("", "not-json")]),
        (b'{"a": -Infinity}', [("", "not-json")]),
        (b'{"a": 1e999}', [("", "not-json")]),
        (b'"\\ud800"', [("", "not-json")]),
        (b'"\xff"', [("", "not-utf-8")]),
        (b'\xef\xbb\xbf{"a": 1}', [("", "byte-order-mark")]),
        ('{"a": 1}'.encode("utf-16"), [("", "not-utf-8")]),
        (b"[" * 100_000, [("", "too-deep")]),
        (b"[" * 65 + b"]" * 65, [("", "too-deep")]),
        (b'{"a":' * 70 + b"1" + b"}" * 70, [("", "too-deep")]),
        (b'{"a": 1, "a": 2}', [("/a", "duplicate")]),
        (b'{"a": 1, "a": 1}', [("/a", "duplicate")]),
        (b'{"a": 1, "\\u0061": 2}', [("/a", "duplicate")]),
        (b'{"x": [{"a:b": "c:d", "a:b": "c:d", "e": "\\u003a"}]}', [("/x/0/a:b", "duplicate")]),
        (b'{"a/b": {"~": 1, "~": 2}, "c": {"": 1, "": 2}}', [("/a~1b/~0", "duplicate"), ("/c/", "duplicate")]),
        (b'{"a": 18446744073709551616}', [("/a", "out-of-range")]),
        (b'{"a": [0, -9223372036854775809]}', [("/a/1", "out-of-range")]),
        (b"9" * 300, [("", "out-of-range")]),
        (b"9" * 5_000_000, [("", "not-json")]),
    ],
)
def test_A41_hostile_json_is_a_400(body: bytes, wanted: list[tuple[str, str]]) -> None:
    assert faults(body) == wanted


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b' [1, -0.0, 1e5, true, ""] ',
        b'{"a": ":::", "b": {"a": "\\""}}',
        b'{"account": "PL61109010140000071219812874"}',
        b'{"a": 9223372036854775807, "b": -9223372036854775808, "c": 18446744073709551615}',
        b'{"a": 0.12345678901234567890123}',
        b'{"a": "\\u0061\\ud83d\\ude00"}',
        b"[" * 64 + b"]" * 64,
        b"[" + b"[]," * 500 + b"[]]",
    ],
)
def test_honest_json_is_read_as_the_standard_library_reads_it(body: bytes) -> None:
    assert parse(body) == json.loads(body)


def test_an_error_tells_the_place_and_nothing_of_the_content() -> None:
    with pytest.raises(Problem) as caught:
        parse(b'{"password": "hunter2",\n "b": hunter2}')
    told = str(caught.value.as_dict("cid"))
    assert "line 2, column 7" in told
    assert "hunter2" not in told


def test_the_depth_that_is_allowed_is_a_parameter() -> None:
    assert parse(b"[[1]]", max_depth=2) == [[1]]
    assert faults(b"[[[]]]", max_depth=2) == [("", "too-deep")]
    assert parse(b'["[[[["]', max_depth=1) == ["[[[["]


def test_decimals_keep_their_digits_where_they_are_asked_for() -> None:
    body = b'{"a": 0.10, "b": 12345678901234567890.123456789, "c": 1e2, "d": 5}'
    got = parse(body, exact_decimals=True)
    assert [str(value) for value in got.values()] == ["0.10", "12345678901234567890.123456789", "1E+2", "5"]
    assert type(got["d"]) is int
    assert faults(b'{"a": 0.' + b"1" * 2000 + b"}", exact_decimals=True) == [("/a", "out-of-range")]


def test_values_without_a_form_in_json_are_written_by_the_published_rules() -> None:
    value = {
        "decimal": Decimal("1.50"),
        "day": datetime.date(2026, 1, 31),
        "at": datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC),
        "uuid": uuid.UUID(int=1),
        "bytes": b"hello",
        "set": {1},
    }
    wanted = {
        "decimal": "1.50",
        "day": "2026-01-31",
        "at": "2026-01-31T12:00:00+00:00",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "bytes": "aGVsbG8=",
        "set": [1],
    }
    assert json.loads(dumps(value)) == wanted
    # The slow way, that integers beyond 64 bits take, writes the same.
    assert json.loads(dumps({**value, "large": 2**70})) == {**wanted, "large": 2**70}


@pytest.mark.parametrize("value", ["\ud800", {"a": object()}, {"large": 2**70, "nan": float("nan")}])
def test_what_json_cannot_carry_is_a_named_problem(value: Any) -> None:
    with pytest.raises(Problem) as caught:
        dumps(value)
    assert caught.value.code == "not-representable"


@settings(max_examples=200, deadline=None)
@given(strategies.json_values(), st.booleans())
def test_any_json_value_is_read_as_it_was_written(value: Any, escaped: bool) -> None:
    body = json.dumps(value, ensure_ascii=True).encode() if escaped else dumps(value)
    assert parse(body) == value


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.text('ab:\\"u{', max_size=2), strategies.json_values(st.sampled_from(':"\\a'))), max_size=4)
)
def test_a_repeated_member_never_passes(pairs: list[tuple[str, Any]]) -> None:
    body = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}"
    names = [name for name, _ in pairs]
    if len(set(names)) == len(names):
        assert parse(body.encode()) == dict(pairs)
    else:
        assert {code for _, code in faults(body.encode())} == {"duplicate"}


@given(st.binary(max_size=40))
def test_any_bytes_are_values_or_a_400(body: bytes) -> None:
    try:
        parse(body)
    except Problem as problem:
        assert problem.code == "malformed-body"  # noqa: PT017


class Refused(Exception):
    """The plain reader found something that must not pass."""


def plain(body: bytes, most: int) -> Any:
    """What strict JSON is, in the plainest words there are: the standard library with a question at each step."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise Refused
        return dict(pairs)

    def integer(text: str) -> int:
        if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
            raise Refused
        return int(text)

    def number(text: str) -> float:
        if float(text) in (float("inf"), float("-inf")):
            raise Refused
        return float(text)

    def nothing(text: str) -> None:
        raise Refused

    def deep(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return isinstance(value, dict | list) + max(map(deep, inner), default=0)

    try:
        text = body.decode()
        value = json.loads(
            text, object_pairs_hook=members, parse_int=integer, parse_float=number, parse_constant=nothing
        )
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair has no form in UTF-8
    except (ValueError, RecursionError):
        raise Refused from None
    if text.startswith("\ufeff") or deep(value) > most:
        raise Refused
    return value


EDGES = [2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**18, 10**19, 10**30]
NUMBERS = [
    "1e5",
    "1E5",
    "1.0e30",
    "0.0000001",
    "1e-7",
    "-0",
    "-0.0",
    "1e999",
    "NaN",
    "-Infinity",
    "123456789012345678901.5",
]
NAMES = [
    '"a"',
    '"b"',
    '"\\u0061"',
    '"a "',
    '" a"',
    '"a:"',
    '":"',
    '"\\\\u0061"',
    '"\\/"',
    '"/"',
    '"é"',
    '"\\ud83d\\ude00"',
]
names = st.sampled_from(NAMES)
values = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(EDGES).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        [*NUMBERS, '"\\u003a"', '"\\ud800"', '"0000000000000000000000"', '"a\tb"', "true", "false", "null", "nul", ""]
    ),
    names,
    st.text('ab:,{}[]"\\eE0 /\t', max_size=8).map(json.dumps),
)
blanks = st.sampled_from(["", "", " ", "\n", "\t ", "\r\n"])


def joined(opening: str, parts: list[str], closing: str, space: str) -> str:
    return f"{opening}{space}{f'{space},{space}'.join(parts)}{space}{closing}"


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.builds(lambda name, value, space: f"{name}{space}:{space}{value}", names, inner, blanks)
    return st.one_of(
        st.builds(joined, st.just("["), st.lists(inner, max_size=4), st.just("]"), blanks),
        st.builds(joined, st.just("{"), st.lists(members, max_size=4), st.just("}"), blanks),
    )


documents = st.recursive(values, containers, max_leaves=12)


@settings(max_examples=400, deadline=None)
@example('{"a":1,"a":"\\u003a"}', b"", 5)
@given(documents, st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b"\xff", b" "]), st.integers(1, 5))
def test_A41_what_passes_and_what_does_not_is_what_a_plain_reader_says(text: str, before: bytes, most: int) -> None:
    body = before + text.encode("utf-8", "surrogatepass")
    try:
        wanted = plain(body, most)
    except Refused:
        with pytest.raises(Problem) as caught:
            parse(body, max_depth=most)
        assert caught.value.code == "malformed-body"
    else:
        found = parse(body, max_depth=most)
        assert repr(found) == repr(wanted)
