"""Chunked bodies as they come off a connection: the same however they are cut, and never all of a worker's time."""

import re
from dataclasses import replace
from itertools import pairwise

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bounds import Bounds, Held
from gateway.request_body import Body
from specs.problems import Problem

MOST = 1 << 20


class Cut:
    """A transport on which these pieces have come already; nobody ever waits for one."""

    def __init__(self, pieces):
        self.pieces = list(pieces)

    def clock(self):
        return 0.0

    def receive(self, deadline, size=0):
        return self.pieces.pop(0) if self.pieces else b""


def body_of(octets, cuts=(), most=MOST):
    """What a body in these bytes is, and what comes after it; or the code of the problem."""
    places = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    first, *pieces = [octets[begin:end] for begin, end in pairwise(places)]
    transport = Cut(piece for piece in pieces if piece)
    body = Body(transport, Bounds(), -1, first, False, Held())
    try:
        content = body.read(most)
    except Problem as problem:
        return problem.code
    assert body.arrived() == len(content)
    return content, body.rest + b"".join(transport.pieces)


def by_the_letter(octets):
    """The same, as RFC 9112, 7.1 has it, without extensions, in the plainest way."""
    content = b""
    while True:
        begin = re.match(rb"([0-9a-fA-F]{1,8})\r\n", octets)
        if begin is None:
            return "malformed-body"
        size, octets = int(begin[1], 16), octets[begin.end() :]
        if len(content) + size > MOST:
            return "body-too-large"
        if size == 0:
            end = re.match(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*\r\n", octets)
            return (content, octets[end.end() :]) if end is not None else "malformed-body"
        if octets[size : size + 2] != b"\r\n" or len(octets) < size + 2:
            return "malformed-body"
        content, octets = content + octets[:size], octets[size + 2 :]


chunks = st.lists(st.binary(min_size=1, max_size=12), max_size=6).map(
    lambda parts: b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
)
whole = st.tuples(
    chunks, st.sampled_from([b"0\r\n\r\n", b"000\r\nX: y\r\n\r\n", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"])
).map(b"".join)


@st.composite
def spoiled(draw):
    """Chunks in which something was changed."""
    octets = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(octets)))
        octets[place : place + draw(st.integers(0, 2))] = draw(
            st.sampled_from(
                [b"", b"\r", b"\n", b"\r\n", b"0", b"F", b";a=b", b" ", b"-", b"\0", b"00000000", b"FFFFFFFFF"]
            )
        )
    return bytes(octets)


@given(spoiled(), st.lists(st.integers(0, 120), max_size=8))
def test_a_chunked_body_is_what_its_standard_says_wherever_it_was_cut(octets, cuts):
    assert body_of(octets, cuts) == by_the_letter(octets)


@pytest.mark.parametrize("cuts", [(), range(1, 40)])
def test_A35_a_body_in_millions_of_chunks_leaves_others_their_turns(cuts):
    turns = []

    def others():
        while True:
            turns.append(True)
            gevent.sleep(0)

    waiting = gevent.spawn(others)
    try:
        content, rest = gevent.spawn(body_of, b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n", cuts).get()
    finally:
        waiting.kill()
    assert (len(content), rest) == (20_000, b"")
    assert len(turns) >= 15


def test_what_arrived_of_a_body_that_is_too_long_is_counted():
    transport = Cut([b"5\r\nhello\r\n9\r\n"])
    body = Body(transport, replace(Bounds(), bodies=100), -1, b"", False, Held())
    with pytest.raises(Problem, match="body-too-large"):
        body.read(10)
    assert body.arrived() == 5
