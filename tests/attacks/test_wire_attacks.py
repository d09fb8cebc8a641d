"""What the wire refuses, case by case of the catalogue, on raw sockets."""

import re
import time

import pytest
from attack_corpus import (
    CHUNKS,
    CODINGS,
    ESCAPED,
    FOLDED,
    HOSTS,
    LENGTHS,
    LINES,
    METHODS,
    PROTOCOLS,
    SINGLE,
    VERSIONS,
    request,
)  # fmt: skip
from wires import read_all, serving


@pytest.fixture(scope="module")
def wire():
    with serving(head_seconds=2.0, body_seconds=2.0) as served:
        yield served


@pytest.fixture(autouse=True)
def _forget(wire):
    wire.handler.seen.clear()


def refused(wire, octets, *statuses, code=None):
    """The request is refused with one of *statuses*, no handler saw it, and the connection ended."""
    answer = wire.send(octets)
    assert answer.startswith(b"HTTP/1.1 ")
    assert int(answer.split()[1]) in statuses, answer
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    assert b"\r\nConnection: close\r\n" in answer
    assert b"\r\nX-Request-Id: " in answer
    seen = wire.handler.seen[-1]
    assert seen.problem is not None
    if code:
        assert seen.problem.code == code
    assert len(wire.handler.seen) == 1


# framing


def test_A1_a_length_and_a_coding_together_are_refused(wire):
    for pair in (
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    ):
        wire.handler.seen.clear()
        refused(wire, request(b"POST /read HTTP/1.1", *pair, body=b"0\r\n\r\n"), 400, code="ambiguous-request")


@pytest.mark.parametrize(
    "headers",
    CODINGS,
)
def test_A2_a_coding_other_than_chunked_is_refused(wire, headers):
    refused(wire, request(b"POST /read HTTP/1.1", *headers, body=b"0\r\n\r\n"), 400, 501)


@pytest.mark.parametrize(
    "headers",
    LENGTHS,
)
def test_A3_a_length_that_is_not_one_number_is_refused(wire, headers):
    refused(wire, request(b"POST /read HTTP/1.1", *headers, body=b"hello"), 400)


@pytest.mark.parametrize(
    "octets",
    LINES,
)
def test_A4_lines_that_have_two_readings_are_refused(wire, octets):
    refused(wire, octets, 400)


@pytest.mark.parametrize(
    "body",
    CHUNKS,
)
def test_A5_a_fault_in_the_chunks_is_400_and_the_end(wire, body):
    answer = wire.send(
        request(b"POST /read HTTP/1.1", b"Transfer-Encoding: chunked", body=body + request(b"GET /smuggled HTTP/1.1"))
    )
    assert int(answer.split()[1]) in (400, 431)
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    assert b"Connection: close" in answer
    assert [exchange.path for exchange in wire.handler.seen] == ["/read"]


def test_A5_chunks_in_http_1_0_are_refused(wire):
    refused(wire, request(b"POST /read HTTP/1.0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400)


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: evil=1", "a\nb", "a\rb", "a\0b", "a\u2028b"])
def test_A8_a_header_that_would_split_the_answer_is_a_500(value):
    class Splitting:
        def handle(self, exchange):
            exchange.response_status = 200
            exchange.response_headers = [("X-Back", value)]

        refuse = handle

    with serving(Splitting()) as wire:
        answer = wire.ask(request())
        assert answer.status == 500
        assert answer.json()["code"] == "internal-error"
        assert "set-cookie" not in answer.headers
        assert "x-back" not in answer.headers


# paths and hosts


@pytest.mark.parametrize(
    "path",
    FOLDED,
)  # fmt: skip
def test_A9_a_path_that_others_fold_is_refused(wire, path):
    refused(wire, request(b"GET " + path + b" HTTP/1.1"), 400)


@pytest.mark.parametrize(
    "path",
    ESCAPED,
)  # fmt: skip
def test_A10_an_escape_that_others_read_differently_is_refused(wire, path):
    refused(wire, request(b"GET " + path + b" HTTP/1.1"), 400, code="ambiguous-request")


def test_A10_ordinary_escapes_are_decoded_once(wire):
    assert wire.ask(request(b"GET /caf%C3%A9/a%20b/%41/?q=%2F HTTP/1.1")).json()["path"] == "/café/a b/A/"
    assert wire.handler.seen[0].query_string == "q=%2F"


def test_A12_a_fragment_is_refused(wire):
    refused(wire, request(b"GET /a#b HTTP/1.1"), 400)
    wire.handler.seen.clear()
    refused(wire, request(b"GET /a?b#c HTTP/1.1"), 400)


def test_A13_letters_of_a_path_keep_their_case_and_hosts_lose_it(wire):
    answer = wire.ask(request(b"GET /%41dmin/B HTTP/1.1", host=b"Host: EXAMPLE.com.:8000")).json()
    assert (answer["path"], answer["host"]) == ("/Admin/B", "example.com")


@pytest.mark.parametrize(
    "host",
    HOSTS,
)  # fmt: skip
def test_A14_a_request_has_one_good_host(wire, host):
    refused(wire, request(host=host), 400)


def test_A14_http_1_0_needs_no_host(wire):
    assert wire.ask(request(b"GET / HTTP/1.0", host=None)).status == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://a.example/x", 200), (b"http://A.example./x", 200), (b"http://a.example:80/x", 200),
        (b"http://evil.example/x", 400), (b"http://a.example:81/x", 400), (b"http://u@a.example/x", 400),
        (b"ftp://a.example/x", 400), (b"a.example:80", 400), (b"*", 400), (b"x", 400), (b"http:///x", 400),
        (b"http://a.example//x", 400),
    ],
)  # fmt: skip
def test_A14_an_absolute_target_agrees_with_host(wire, target, status):
    octets = request(b"GET " + target + b" HTTP/1.1")
    if status == 400:
        refused(wire, octets, 400)
    else:
        answer = wire.ask(octets).json()
        assert (answer["path"], answer["host"]) == ("/x", "a.example")


@pytest.mark.parametrize("method", METHODS)
def test_A15_methods_that_do_not_exist_are_501(wire, method):
    refused(wire, request(method + b" / HTTP/1.1"), 501)


def test_A15_a_method_is_a_token_and_is_never_overridden(wire):
    refused(wire, request(b"G(T / HTTP/1.1"), 400)
    answer = wire.ask(request(b"GET / HTTP/1.1", b"X-HTTP-Method-Override: DELETE")).json()
    assert answer["method"] == "GET"


@pytest.mark.parametrize("version", VERSIONS)
def test_A15_other_versions_are_505(wire, version):
    refused(wire, request(b"GET / " + version), 505)


@pytest.mark.parametrize("version", PROTOCOLS)
def test_A15_other_protocols_are_400(wire, version):
    refused(wire, request(b"GET / " + version), 400)


def test_A16_headers_cannot_move_the_path(wire):
    for header in (b"SCRIPT_NAME: /pub", b"PATH_INFO: /admin"):
        wire.handler.seen.clear()
        refused(wire, request(b"GET /pub/admin HTTP/1.1", header), 400)
    answer = wire.ask(
        request(b"GET /pub/admin HTTP/1.1", b"Script-Name: /pub", b"X-Original-URL: /admin", b"X-Rewrite-URL: /b")
    )
    assert answer.json()["path"] == "/pub/admin"


def test_A18_a_twin_with_an_underscore_is_refused(wire):
    refused(wire, request(b"GET / HTTP/1.1", b"X_Auth_User: root"), 400, code="ambiguous-request")


def test_A19_naming_a_header_in_connection_takes_nothing_away(wire):
    answer = wire.ask(
        request(b"GET / HTTP/1.1", b"Connection: close, x-consumer-id, authorization, Host", b"Authorization: Basic x")
    )
    assert answer.headers["connection"] == "close"
    assert answer.json()["headers"]["authorization"] == "Basic x"


def test_A20_A21_a_stranger_is_not_heard_on_who_calls(wire):
    spoofed = (
        b"X-Forwarded-For: 10.0.0.1", b"Forwarded: for=10.0.0.2;proto=https", b"X-Forwarded-Proto: https", b"X-Real-IP: 10.0.0.3",
        b"X-Forwarded-Host: evil.example", b"X-Request-Id: mine",
    )  # fmt: skip
    answer = wire.ask(request(b"GET / HTTP/1.1", *spoofed))
    told = answer.json()
    assert (told["address"], told["scheme"], told["host"]) == ("127.0.0.1", "http", "a.example")
    assert answer.headers["x-request-id"] != "mine"


@pytest.mark.parametrize("name", SINGLE)
def test_A23_two_headers_of_one_meaning_are_refused(wire, name):
    refused(wire, request(b"GET / HTTP/1.1", name + b": a", name.lower() + b": b"), 400, code="ambiguous-request")


def test_A23_headers_that_are_lists_are_joined(wire):
    answer = wire.ask(request(b"GET / HTTP/1.1", b"Accept: a", b"accept: b")).json()
    assert answer["headers"]["accept"] == "a, b"


# exhaustion


def test_A35_a_head_in_drips_is_cut_off():
    with serving(head_seconds=0.2) as wire, wire.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        answer = b""
        sock.settimeout(0.05)
        for _ in range(100):
            try:
                sock.sendall(b"X: y\r\n")
                answer = sock.recv(4096)
                break
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert wire.handler.seen[0].problem.code == "request-timeout"


def test_A35_a_body_in_drips_is_cut_off():
    with serving(body_seconds=0.2) as wire, wire.connect() as sock:
        sock.sendall(request(b"POST /read HTTP/1.1", b"Content-Length: 1000"))
        answer = b""
        sock.settimeout(0.05)
        for _ in range(100):
            try:
                sock.sendall(b"x")
                answer = sock.recv(4096)
                break
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_A35_a_reader_that_does_not_read_is_left():
    class Big:
        def handle(self, exchange):
            exchange.response_status = 200
            exchange.response_body = b"x" * (16 << 20)

        refuse = handle

    with serving(Big(), write_seconds=0.2, rate=1e9) as wire, wire.connect() as sock:
        sock.sendall(request())
        sock.recv(100)
        for _ in range(200):
            if not wire.wire.connections:
                break
            time.sleep(0.02)
        assert not wire.wire.connections
        with pytest.raises(ConnectionResetError):
            read_all(sock)  # not what the kernel had taken: it keeps nothing for who does not read


def test_A36_a_body_that_is_too_long_is_413_before_it_is_read(wire):
    wire.handler.most = 100
    try:
        octets = request(b"POST /read HTTP/1.1", b"Content-Length: 1000000000")
        assert wire.ask(octets).status == 413
        chunked = request(b"POST /read HTTP/1.1", b"Transfer-Encoding: chunked", body=b"ffff\r\n")
        assert wire.ask(chunked).status == 413
    finally:
        wire.handler.most = 1 << 20


def test_A44_heads_are_bounded(wire):
    refused(wire, request(b"GET /" + b"a" * 9000 + b" HTTP/1.1"), 414)
    wire.handler.seen.clear()
    refused(wire, b"GET /" + b"a" * 9000, 414)
    wire.handler.seen.clear()
    refused(wire, request(b"GET / HTTP/1.1", *[b"X-%d: y" % n for n in range(200)]), 431)
    wire.handler.seen.clear()
    refused(wire, request(b"GET / HTTP/1.1", b"X: " + b"y" * 9000), 431)
    wire.handler.seen.clear()
    refused(wire, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20000, 431)
