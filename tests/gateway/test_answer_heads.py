"""The head of an answer in C is the one in Python, or is left to it. A8: no header ends its line."""

import gc
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import answer

pytestmark = pytest.mark.skipif(
    answer._answer is None, reason="server missing: a C compiler and Python.h, and `make install` after that"
)
OURS = "Date: now\r\nX-Request-Id: 1\r\n"

names = st.sampled_from(
    ["Content-Type", "ETag", "Set-Cookie", "content-length", "Date", "X-Request-ID", "", "a b", "ü", "a\n", "a:"]
)
values = st.text(st.characters(max_codepoint=300) | st.sampled_from("\r\n\0 ab"), max_size=6)
headers = st.lists(st.tuples(names | values, values), max_size=4)


def in_python(*given):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer, "_in_c", lambda *given: None)
        return outcome(*given)


def outcome(*given):
    try:
        return answer.head_of(*given)
    except (ValueError, TypeError) as error:
        return type(error)


@given(
    st.sampled_from([200, 204, 404, 599, 799]),
    headers,
    st.sampled_from([OURS, "", "\r\n", "X: y", "X: \0\r\n", "X: \ry\r\n", "X: ü\r\n"]),
)
def test_both_write_the_same_and_refuse_the_same(status, pairs, ours):
    theirs = in_python(status, pairs, ours)
    assert outcome(status, pairs, ours) == theirs
    if isinstance(theirs, bytes):
        direct = answer._in_c(answer._STATUS_LINES.get(status, f"HTTP/1.1 {status} \r\n"), pairs, ours, answer._names)
        assert direct in (theirs, None)


def test_the_usual_head_is_written_in_c():
    pairs = [("Content-Type", 'text/plain; name="ü"'), ("Server", "mine"), ("Set-Cookie", "a=b"), ("Set-Cookie", "")]
    head = (
        b'HTTP/1.1 200 OK\r\nContent-Type: text/plain; name="\xfc"\r\nSet-Cookie: a=b\r\nSet-Cookie: \r\n'
        + OURS.encode()
        + b"\r\n"
    )
    answer.head_of(200, pairs, OURS)
    assert answer._in_c("HTTP/1.1 200 OK\r\n", pairs, OURS, answer._names) == head


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\0b", "a\r\nSet-Cookie: b"])
def test_a8_a_value_that_would_end_its_line_is_refused(value):
    with pytest.raises(ValueError, match="line end"):
        answer.head_of(200, [("ETag", value)], OURS)
    assert answer._in_c("HTTP/1.1 200 OK\r\n", [("ETag", value)], OURS, {"ETag": True}) is None


@pytest.mark.parametrize(
    "given",
    [
        (), ("a",), (b"HTTP/1.1 200 OK\r\n", [], "", {}), ("HTTP/1.1 200 OK\r\n", (), "", {}),
        ("HTTP/1.1 200 OK\r\n", [()], "", {}), ("HTTP/1.1 200 OK\r\n", [], "", []),
        ("HTTP/1.1 200 OK\r\n", [("a", 1)], "", {"a": True}), ("HTTP/1.1 200 OK\r\n", [("a", "b")], "", {}),
        ("HTTP/1.1 200 OK\r\n", [("a", "b")], "", {"a": 1}), ("HTTP/1.1 200 OK\r\n", [("a", "€")], "", {"a": True}),
        ("HTTP/1.1 200 OK\r\n", [["a", "b"]], "", {"a": True}), ("HTTP/1.1 200 OK\r\n", [], "€\r\n", {}),
    ],
)  # fmt: skip
def test_what_is_not_plainly_right_is_left_to_python(given):
    assert answer._in_c(*given) is None


def test_nothing_is_left_of_heads():
    pairs = [("Content-Type", "a" * 500), ("ETag", "b")]
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(3000):
        answer.head_of(200, pairs, OURS)
        answer._in_c("HTTP/1.1 200 OK\r\n", [*pairs, ("a", "\n")], OURS, answer._names)
    # One that stayed of each round would be more; other threads of this process have theirs.
    assert sys.getallocatedblocks() - before < 2500
