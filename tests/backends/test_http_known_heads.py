"""Heads of answers that came before: what is understood without the parser is what the parser would have understood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import ok, scripted

from backends import http
from backends.http import Client, origin_of
from backends.http_stream import Streamed, Whole
from backends.http_wire import Connection, Heads
from specs.problems import BackendError


class Said:
    """A link over which each request is answered by the next of *answers*, in one piece or in two."""

    def __init__(self, answers):
        self.answers = answers
        self.coming = []

    def send(self, octets, seconds):
        if self.answers:
            self.coming += [piece for piece in self.answers.pop(0) if piece]

    def receive(self, size, seconds, *, at_once):
        return self.coming.pop(0) if self.coming else b""

    def silent(self):
        return not self.coming

    def close(self):
        self.coming = []


def client_of(monkeypatch, answers, forgetful):
    """A client whose connections say *answers*, and how many were opened."""
    opened = []

    def connect(origin, tls, timeout):
        made = Connection.__new__(Connection)
        made.origin, made.used, made.reusable, made.answering, made.idle_since = origin, False, True, False, 0.0
        made._link = Said(answers)
        opened.append(made)
        return made

    monkeypatch.setattr(http, "Connection", connect)
    client = Client(origin_of("http://a.example"))
    if forgetful:
        monkeypatch.setattr(Heads, "keep", lambda self, octets, reading: None)
    return client, opened


def asked(client, method):
    """All that comes of one call."""
    try:
        streamed = client.stream(method, client.head(method, "/", [], 0) + b"\r\n", timeout=1, silence=1)
        body = streamed.whole()
        return streamed.status, list(streamed.fields), b"".join(streamed) if body is None else body
    except BackendError as error:
        return type(error)


HEADS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 500 No\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 204 Nothing\r\n\r\n",
    b"HTTP/1.1 304 Same\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 7\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"nonsense\r\n\r\n",
]
BODIES = [
    b"",
    b"abc",
    b"xyz",
    b"ab",
    b"abcd",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"abc\r\n\r\n",
    b"a\r\n\r\nabc",
    b"abcHTTP/1.1 200 OK\r\n\r\n",
]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["GET", "POST", "HEAD"]),
            st.sampled_from(HEADS),
            st.sampled_from(BODIES),
            st.integers(0, 90),
        ),
        max_size=8,
    )
)
def test_A6_what_is_remembered_of_heads_changes_nothing(calls):
    found = []
    for forgetful in (False, True):
        with pytest.MonkeyPatch.context() as monkeypatch:
            # Cut where it says, 0 is in one piece.
            answers = [((head + body)[:at], (head + body)[at:]) for _, head, body, at in calls]
            client, opened = client_of(monkeypatch, answers, forgetful)
            answered = [asked(client, method) for method, *_ in calls]
            found.append((answered, len(opened), client.usage()))
    assert found[0] == found[1]


def test_the_same_head_gives_each_call_its_own_body_over_the_same_connection():
    with scripted(*(ok(body, "X-A: 1") for body in (b"one", b"two", b"six"))) as server:
        client = Client(origin_of(server.url))
        kinds, bodies = [], []
        for _ in range(3):
            streamed = client.stream("GET", client.head("GET", "/", [], 0) + b"\r\n", timeout=5, silence=5)
            kinds.append(type(streamed))
            bodies.append(streamed.whole())
            assert streamed.headers["x-a"] == "1"
            assert b"".join(streamed) in (b"", bodies[-1])
        assert bodies == [b"one", b"two", b"six"]
        assert kinds == [Streamed, Whole, Whole]
        assert server.connections == 1
        client.close()


def test_A7_more_than_a_known_head_promises_reaches_nobody():
    with scripted(ok(b"one"), ok(b"two") + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", ok(b"six")) as server:
        client = Client(origin_of(server.url))
        found = [asked(client, "GET")[2] for _ in range(3)]
        assert (found, server.connections) == ([b"one", b"two", b"six"], 2)
        client.close()


def test_an_answer_to_head_is_never_read_as_one_to_get():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    with scripted(head + b"one", head, head + b"two") as server:
        client = Client(origin_of(server.url))
        assert [asked(client, method)[2] for method in ("GET", "HEAD", "GET")] == [b"one", b"", b"two"]
        assert server.connections == 1
        client.close()


def test_heads_that_are_kept_are_few_short_and_without_cookies():
    heads = Heads()
    with scripted() as server:
        client = Client(origin_of(server.url))
        client._heads = heads
        for number in range(Heads.MOST + 3):
            server.answers.append(ok(b"x", f"X-Number: {number}"))
            asked(client, "GET")
        assert len(heads._known) == 3
        for extra in ("Set-Cookie: a=b", "X-Long: " + "x" * Heads.LONGEST):
            server.answers.append(ok(b"x", extra))
            asked(client, "GET")
        assert len(heads._known) == 3
        client.close()
