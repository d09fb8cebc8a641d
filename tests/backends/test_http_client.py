"""The HTTP client against servers that behave, that break and that lie."""

import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import eventually, ok, read_request, scripted

from backends.breaker import Breaker
from backends.http import Client, origin_of, tls_context
from backends.http_wire import Headers, encode_headers, encode_request
from specs.problems import BackendError, BackendTimeout, BackendUnavailable

ROOT = Path(__file__).parents[2]


def client_of(server, **options):
    options.setdefault("timeout", 5)
    options.setdefault("sleep", lambda seconds: None)
    return Client(origin_of(server.url), **options)


# What an answer may look like


def test_a_request_arrives_as_it_was_meant():
    with scripted(ok(b"{}")) as server:
        client = client_of(server, headers=[("Accept", "*/*")])
        client.request("POST", "/a?b=1", [("X-Thing", "7")], b"body")
        assert server.requests == [
            f"POST /a?b=1 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept: */*\r\nX-Thing: 7\r\n"
            "Content-Length: 4\r\n\r\nbody".encode()
        ]


def test_a_header_of_the_call_replaces_the_client_s():
    with scripted(ok(b"")) as server:
        client_of(server, headers=[("Accept", "*/*")]).request("GET", "/", [("accept", "text/xml"), ("Host", "other")])
        assert server.requests == [b"GET / HTTP/1.1\r\naccept: text/xml\r\nHost: other\r\n\r\n"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", (200, b"hi")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n3;x=y\r\n ya\r\n0\r\nT: 1\r\n\r\n",
            (200, b"hi ya"),
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", (304, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok(b"hi"), (200, b"hi")),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", (302, b"")),
        (b"HTTP/1.1 503 Nope\r\nContent-Length: 4\r\n\r\nlate", (503, b"late")),
    ],
)
def test_every_way_to_end_a_body_is_read_to_its_end_and_the_connection_kept(answer, expected):
    with scripted(answer, ok(b"again")) as server:
        client = client_of(server)
        response = client.request("GET", "/")
        assert (response.status, response.body) == expected
        assert client.request("GET", "/").body == b"again"
        assert server.connections == 1


def test_an_answer_in_single_bytes_is_the_same_answer():
    def drip(connection):
        for byte in ok(b"hello", "X-A: b"):
            connection.sendall(bytes([byte]))

    with scripted(drip) as server:
        response = client_of(server).request("GET", "/")
        assert (response.body, response.headers["x-a"]) == (b"hello", "b")


def test_an_answer_that_ends_by_closing_is_read_to_the_end_and_not_pooled():
    def until_close(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nto the ")
        connection.sendall(b"end")
        return "close"

    with scripted(until_close) as server:
        client = client_of(server)
        assert client.request("GET", "/").body == b"to the end"
        assert client.usage().idle == 0


@pytest.mark.parametrize(
    "length", [b"Content-Length: 5\r\n", b"", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_an_answer_to_head_has_no_body_whatever_it_announces(length):
    with scripted(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n", ok(b"next")) as server:
        client = client_of(server)
        assert client.request("HEAD", "/").body == b""
        assert client.request("GET", "/").body == b"next"
        assert server.connections == 1


def test_connection_close_is_obeyed():
    with scripted(ok(b"1", "Connection: close"), ok(b"2")) as server:
        client = client_of(server)
        assert client.request("GET", "/").body == b"1"
        assert client.usage().idle == 0


def test_a_unix_socket_is_an_origin_too(tmp_path):
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection:
                read_request(connection)
                connection.sendall(ok(b"local"))

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client(origin_of(f"http+unix://{path}"), timeout=5)
        assert client.request("GET", "/").body == b"local"
        client.close()
        thread.join()


def test_text_follows_the_charset_and_json_is_read():
    with scripted(
        ok("é".encode("latin-1"), "Content-Type: text/plain; charset=iso-8859-1"), ok(b'{"a": 1}'), ok(b"{")
    ) as server:
        client = client_of(server)
        assert client.request("GET", "/").text == "é"
        assert client.request("GET", "/").json() == {"a": 1}
        with pytest.raises(BackendError, match="not JSON"):
            client.request("GET", "/").json()


def test_headers_are_found_in_any_case_and_repeated_ones_kept():
    headers = Headers([("Set-Cookie", "a=1"), ("X", "y"), ("set-cookie", "b=2")])
    assert (headers["SET-COOKIE"], headers.all("set-cookie"), headers.get("none"), "x" in headers) == (
        "a=1, b=2", ["a=1", "b=2"], None, True,
    )  # fmt: skip
    assert "a=1" not in repr(headers)


# What an answer must not look like


@pytest.mark.parametrize(
    "surplus",
    [ok(b"hi") + ok(b"poison"), ok(b"hi") + b"H", ok(b"hi") + b"junk", b"HTTP/1.1 204 No\r\n\r\n" + ok(b"poison")],
)
def test_A6_a_connection_with_unread_bytes_is_never_used_again(surplus):
    with scripted(surplus, ok(b"clean")) as server:
        client = client_of(server)
        client.request("GET", "/")
        assert client.request("GET", "/").body == b"clean"
        assert server.connections == 2


def test_A6_bytes_that_come_later_are_not_taken_for_the_next_answer():
    sent = threading.Event()

    def answer_then_push(connection):
        connection.sendall(ok(b"hi"))
        time.sleep(0.05)
        connection.sendall(ok(b"poison"))
        sent.set()

    with scripted(answer_then_push, ok(b"clean")) as server:
        client = client_of(server)
        assert client.request("GET", "/").body == b"hi"
        assert sent.wait(5)
        time.sleep(0.02)
        assert client.request("GET", "/").body == b"clean"
        assert server.connections == 2


def test_A6_a_body_after_the_answer_to_head_is_not_the_next_answer():
    with scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + ok(b"poison"), ok(b"clean")) as server:
        client = client_of(server)
        client.request("HEAD", "/")
        assert client.request("GET", "/").body == b"clean"
        assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "protocol"),
        (b"HTTP/1.1 101 Switching\r\n\r\nraw", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "not an HTTP answer|more than"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "transfer coding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "not an HTTP answer"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, "interim"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n", "too many header"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 200_000, "head is larger"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n", "more than"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n", "more than"),
    ],
)  # fmt: skip
def test_A38_an_answer_that_is_not_right_or_not_bounded_is_refused_and_its_connection_closed(answer, reason):
    with scripted(answer, ok(b"clean")) as server:
        client = client_of(server, max_response=50_000, timeout=5)
        with pytest.raises(BackendError, match=reason):
            client.request("GET", "/")
        assert client.request("GET", "/").body == b"clean"
        assert server.connections == 2


def test_A39_a_packed_body_is_not_unpacked():
    packed = b"\x1f\x8b" + b"\0" * 20
    with scripted(ok(packed, "Content-Encoding: gzip")) as server:
        assert client_of(server).request("GET", "/").body == packed


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\nCont"])
def test_an_answer_cut_short_is_a_failure_and_is_not_asked_for_again(part):
    def cut(connection):
        connection.sendall(part)
        return "close"

    with scripted(cut) as server:
        with pytest.raises(BackendError, match="middle of an answer"):
            client_of(server).request("GET", "/")
        assert len(server.requests) == 1


# What a request must not look like

UNSAFE = ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "\x7f", "a\x0bb"]


@pytest.mark.parametrize("value", UNSAFE)
def test_A8_a_line_break_or_nul_is_refused_wherever_it_stands(value):
    with scripted() as server:
        client = client_of(server)
        for call in (
            lambda: client.request("GET" + value, "/"),
            lambda: client.request("GET", "/" + value),
            lambda: client.request("GET", "/", [(value, "x")]),
            lambda: client.request("GET", "/", [("X-A", value)]),
            lambda: Client(client.origin, headers=[("X-A", value)]),
        ):
            with pytest.raises(ValueError):
                call()
        assert server.connections == 0


@pytest.mark.parametrize("target", ["", "x", "/a b", "/é", "http://other/", "//x#y"])
def test_a_target_is_an_encoded_path(target):
    with pytest.raises(ValueError, match="target"):
        encode_request("GET", target, b"", b"", b"")


def test_A6_connect_is_refused():
    with pytest.raises(ValueError, match="method"):
        encode_request("CONNECT", "/", b"", b"", b"")


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Upgrade", "Expect", "TE"])
def test_the_framing_of_a_message_is_never_the_caller_s(name):
    with pytest.raises(ValueError, match="client itself"):
        encode_headers([(name, "5")])


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=12)), max_size=3))
def test_A8_whatever_is_accepted_as_headers_is_as_many_lines(fields):
    try:
        lines = encode_headers(fields)
    except ValueError:
        return
    assert lines.count(b"\r\n") == lines.count(b"\n") == lines.count(b"\r") == len(fields)


# Time


def silent(connection):
    while connection.recv(1):
        pass
    return "close"


def test_a_silent_system_is_a_timeout_and_its_connection_is_closed():
    with scripted(silent) as server:
        client = client_of(server, timeout=0.1)
        with pytest.raises(BackendTimeout):
            client.request("GET", "/")
        assert (client.usage().idle, len(server.requests)) == (0, 1)


def test_A7_an_answer_that_comes_too_late_is_never_another_caller_s():
    def late(connection):
        time.sleep(0.15)
        try:
            connection.sendall(ok(b"of the first"))
        except OSError:
            return "close"

    with scripted(late, ok(b"of the second")) as server:
        client = client_of(server)
        with pytest.raises(BackendTimeout):
            client.request("GET", "/", timeout=0.05)
        time.sleep(0.15)
        assert client.request("GET", "/").body == b"of the second"


def test_a_system_that_drips_is_ended_by_the_time_of_the_whole_call():
    def drip(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        try:
            for _ in range(400):
                connection.sendall(b"x")
                time.sleep(0.01)
        except OSError:
            pass
        return "close"

    with scripted(drip) as server:
        started = time.monotonic()
        with pytest.raises(BackendTimeout):
            client_of(server, timeout=0.2).request("GET", "/")
        assert time.monotonic() - started < 2  # all that drips takes longer


def test_silence_between_two_reads_has_a_bound_of_its_own():
    with scripted(silent) as server:
        started = time.monotonic()
        with pytest.raises(BackendTimeout):
            client_of(server, timeout=30, read_timeout=0.1).request("GET", "/")
        assert time.monotonic() - started < 15


def test_a_port_where_nobody_listens_is_unavailable():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        client = Client(origin_of(f"http://127.0.0.1:{probe.getsockname()[1]}"), sleep=lambda seconds: None)
        with pytest.raises(BackendUnavailable):
            client.request("POST", "/")


# The pool


def test_connections_are_opened_up_to_the_size_of_the_pool_and_then_waited_for():
    release = threading.Event()

    def wait(connection):
        assert release.wait(5)
        connection.sendall(ok(b"done"))

    with scripted(wait, wait, ok(b"third")) as server:
        client = client_of(server, pool_size=2)
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(client.request("GET", "/").body)) for _ in range(2)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(server.requests) == 2)
        assert client.usage() == (2, 0, 2)
        with pytest.raises(BackendUnavailable, match="none of 2 connections"):
            client.request("GET", "/", timeout=0.05)
        release.set()
        for thread in threads:
            thread.join()
        assert client.request("GET", "/").body == b"third"
        assert answers == [b"done", b"done"]


def test_a_pool_that_is_used_up_does_not_open_the_breaker():
    with scripted() as server:
        client = client_of(server, pool_size=1, breaker=Breaker("x", failures=1))
        client._permits.acquire(0.0)
        with pytest.raises(BackendUnavailable):
            client.request("GET", "/", timeout=0.01)
        assert client.breaker.state == "closed"


def test_a_closed_client_answers_but_keeps_nothing():
    with scripted(ok(b"1"), ok(b"2")) as server:
        client = client_of(server)
        client.request("GET", "/")
        assert client.usage().idle == 1
        client.close()
        assert client.usage().idle == 0
        assert client.request("GET", "/").body == b"2"
        assert client.usage().idle == 0


def test_a_connection_that_was_idle_for_too_long_is_not_used():
    with scripted(ok(b"1"), ok(b"2")) as server:
        client = client_of(server, max_idle=0.0)
        client.request("GET", "/")
        time.sleep(0.002)
        client.request("GET", "/")
        assert server.connections == 2


# Once more


def test_a_stale_connection_is_replaced_without_counting_as_a_failure():
    with scripted(ok(b"1"), None, ok(b"2")) as server:
        client = client_of(server, retries=0, breaker=Breaker("x", failures=1))
        client.request("GET", "/")
        assert client.request("GET", "/").body == b"2"
        assert (server.connections, client.breaker.state) == (2, "closed")


def test_a_connection_that_the_system_closed_meanwhile_is_not_even_tried():
    def answer_and_close(connection):
        connection.sendall(ok(b"1"))
        return "close"

    with scripted(answer_and_close, ok(b"2")) as server:
        client = client_of(server)
        client.request("GET", "/")
        time.sleep(0.05)
        assert client.request("POST", "/", body=b"x").body == b"2"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_an_idempotent_call_that_got_no_answer_is_repeated_so_often_and_no_more(method):
    with scripted(None, None, None, None) as server:
        with pytest.raises(BackendUnavailable):
            client_of(server, retries=2).request(method, "/")
        assert len(server.requests) == 3
    with scripted(None, None, ok(b"")) as server:
        assert client_of(server, retries=2).request(method, "/").status == 200


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_call_that_may_have_been_carried_out_is_not_repeated(method):
    with scripted(None, ok(b"")) as server:
        with pytest.raises(BackendUnavailable):
            client_of(server, retries=2).request(method, "/", body=b"x")
        assert len(server.requests) == 1


def test_repeating_takes_longer_pauses_each_time():
    pauses = []
    with scripted(None, None, None, ok(b"")) as server:
        client_of(server, retries=3, sleep=pauses.append).request("GET", "/")
    assert pauses == [0.05, 0.1, 0.2]


def test_an_answer_of_500_is_an_answer():
    with scripted(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n") as server:
        client = client_of(server, breaker=Breaker("x", failures=1))
        assert (client.request("GET", "/").status, client.breaker.state, len(server.requests)) == (500, "closed", 1)


def test_an_answer_given_before_the_whole_request_was_read_counts():
    def refuse_early(connection):
        connection.sendall(b"HTTP/1.1 413 Too large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        return "close"

    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            refuse_early(connection)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    client = Client(origin_of(f"http://127.0.0.1:{listener.getsockname()[1]}"), timeout=5)
    assert client.request("POST", "/", body=b"x" * 8_000_000).status == 413
    thread.join()
    listener.close()


# The breaker


def test_the_breaker_opens_after_so_many_failures_lets_one_call_try_and_closes():
    now = [0.0]
    with scripted(None, None, ok(b"well again")) as server:
        breaker = Breaker("erp", failures=2, pause=10, clock=lambda: now[0])
        client = client_of(server, retries=0, breaker=breaker)
        for _ in range(2):
            with pytest.raises(BackendUnavailable):
                client.request("GET", "/")
        with pytest.raises(BackendUnavailable, match="2 times in a row"):
            client.request("GET", "/")
        assert len(server.requests) == 2
        now[0] = 10.0
        assert client.request("GET", "/").body == b"well again"
        assert breaker.state == "closed"


def test_a_half_open_breaker_lets_one_call_through_at_a_time():
    now = [0.0]
    breaker = Breaker("erp", failures=1, pause=10, clock=lambda: now[0])
    breaker.admit()
    breaker.failed()
    now[0] = 10.0
    breaker.admit()
    with pytest.raises(BackendUnavailable):
        breaker.admit()
    breaker.failed()
    now[0] = 19.9
    with pytest.raises(BackendUnavailable):
        breaker.admit()
    now[0] = 20.0
    breaker.admit()
    breaker.abandoned()
    breaker.admit()
    breaker.succeeded()
    assert breaker.state == "closed"


def test_late_failures_of_calls_from_before_do_not_keep_a_breaker_open():
    now = [0.0]
    breaker = Breaker("erp", failures=1, pause=10, clock=lambda: now[0])
    breaker.admit()
    breaker.admit()
    breaker.failed()
    now[0] = 9.0
    breaker.failed()
    now[0] = 10.0
    breaker.admit()


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem",
         "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(folder / "cert.pem"), str(folder / "key.pem")


class TlsServer:
    def __init__(self, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.context = context
        self.connections = 0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                with self.context.wrap_socket(plain, server_side=True) as connection:
                    while read_request(connection):
                        connection.sendall(ok(b"sealed"))
            except OSError:
                pass
            finally:
                plain.close()


def test_a_certificate_is_checked_unless_told_not_to_and_connections_are_kept(certificate):
    server = TlsServer(certificate)
    try:
        by_name = origin_of(f"https://localhost:{server.port}")
        by_address = origin_of(f"https://127.0.0.1:{server.port}")
        with pytest.raises(BackendUnavailable, match="certificate"):
            Client(by_name, retries=0).request("GET", "/")
        trusting = tls_context(ca=certificate[0])
        with pytest.raises(BackendUnavailable, match="certificate"):
            Client(by_address, tls=trusting, retries=0).request("GET", "/")
        opened = server.connections
        client = Client(by_name, tls=trusting, timeout=5)
        assert [client.request("GET", "/").body for _ in range(3)] == [b"sealed"] * 3
        assert server.connections == opened + 1
        client.close()
        careless = Client(by_address, tls=tls_context(verify=False), timeout=5)
        assert careless.request("GET", "/").body == b"sealed"
        careless.close()
    finally:
        server.listener.close()


# Under gevent


def test_A7_under_gevent_a_killed_call_costs_its_connection_and_its_slot_comes_back():
    """In a process of its own, as gevent patches it."""
    script = """
        import gevent.monkey
        gevent.monkey.patch_all()
        import sys
        sys.path[:0] = [%r, %r]
        import gevent, time
        from backends.http import Client, origin_of
        from scripted import scripted, ok

        def late(connection):
            time.sleep(0.1)
            try:
                connection.sendall(ok(b"of the killed"))
            except OSError:
                return "close"

        with scripted(late, ok(b"clean"), *[late] * 20) as server:
            client = Client(origin_of(server.url), pool_size=20, timeout=5)
            victim = gevent.spawn(client.request, "GET", "/")
            while not server.requests:
                gevent.sleep(0.001)
            victim.kill()
            assert client.usage() == (0, 0, 20), client.usage()
            assert client.request("GET", "/").body == b"clean"
            started = time.monotonic()
            calls = [gevent.spawn(client.request, "GET", "/") for _ in range(20)]
            assert [call.get().body for call in calls] == [b"of the killed"] * 20
            assert time.monotonic() - started < 1.0, "calls waited for each other"
            with gevent.Timeout(0.05, False):
                client.request("GET", "/")
            assert client.usage().busy == 0
            client.close()
        print("done")
    """
    code = textwrap.dedent(script) % (str(ROOT), str(ROOT / "tests"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_under_gevent_threads_and_greenlets_call_over_connections_of_their_own():
    """In a process of its own, as gevent patches it; the threads are real ones, as blocking services have them."""
    script = """
        import gevent.monkey
        gevent.monkey.patch_all()
        import sys
        sys.path[:0] = [%r, %r]
        import gevent, time
        from gevent.threadpool import ThreadPool
        from backends.http import Client, origin_of
        from scripted import scripted, ok
        from specs.problems import BackendTimeout

        with scripted(*[ok(b"x" * 100_000)] * 40) as server:
            client = Client(origin_of(server.url), pool_size=4, timeout=20)
            def call(_=None):
                return len(client.request("POST", "/", body=b"y" * 300_000).body)
            pool = ThreadPool(3)
            for _ in range(4):
                threads = [pool.spawn(call) for _ in range(5)]
                greenlets = [gevent.spawn(call) for _ in range(5)]
                assert [one.get(timeout=20) for one in (*threads, *greenlets)] == [100_000] * 10
            assert client.usage().busy == 0
            assert 1 <= client.usage().idle <= 4, client.usage()
            server.answers.append(lambda connection: time.sleep(1.0))
            try:
                client.request("GET", "/", timeout=0.2)
            except BackendTimeout:
                pass
            else:
                raise AssertionError("it waited for an answer that was late")
            client.close()
            assert client.usage().idle == 0
            pool.kill()
        print("done")
    """
    code = textwrap.dedent(script) % (str(ROOT), str(ROOT / "tests"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("done\n", "")
