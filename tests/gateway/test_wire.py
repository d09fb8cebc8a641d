"""The wire as well-behaved callers meet it: keep-alive, pipelines, bodies, streams, ends."""

import re
import socket
import ssl
import threading
import time

import pytest
from wires import Echo, read_all, read_answer, serving

from gateway.certificates import Certificates
from gateway.wire import CorrelationIds
from specs.problems import ConfigurationError


@pytest.fixture(scope="module")
def wire():
    with serving() as served:
        yield served


def get(path=b"/", *headers, version=b"1.1", method=b"GET", body=b""):
    return b"\r\n".join([method + b" " + path + b" HTTP/" + version, b"Host: a", *headers, b"", b""]) + body


def eventually(condition, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def answering(**members):
    class Handler:
        def handle(self, exchange):
            exchange.response_status = 200
            for name, value in members.items():
                setattr(exchange, name, value() if callable(value) else value)

        refuse = handle

    return Handler()


def test_an_answer_has_what_every_answer_has(wire):
    answer = wire.ask(get(b"/a?b=c"))
    assert answer.status == 200
    assert re.fullmatch(r"[0-9a-f]{24,}", answer.headers["x-request-id"])
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert answer.headers["date"].endswith("GMT")
    assert "server" not in answer.headers
    assert "connection" not in answer.headers
    assert answer.json()["path"] == "/a"


def test_a_connection_serves_one_request_after_another(wire):
    with wire.connect() as sock:
        ids = set()
        for number in range(3):
            sock.sendall(get(b"/%d" % number))
            answer = read_answer(sock)
            assert answer.json()["path"] == f"/{number}"
            ids.add(answer.headers["x-request-id"])
        assert len(ids) == 3


def test_pipelined_requests_are_answered_in_order_bodies_between_them(wire):
    chunked = get(
        b"/read/1", b"Transfer-Encoding: chunked", method=b"POST", body=b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: y\r\n\r\n"
    )
    plain = get(b"/read/2", b"Content-Length: 5", method=b"POST", body=b"hello")
    unread = get(b"/3", b"Content-Length: 5", method=b"POST", body=b"never")
    with wire.connect() as sock:
        sock.sendall(get(b"/0") + chunked + plain + unread + get(b"/4", b"Connection: close"))
        answers, after = [], b""
        for _ in range(5):
            answer = read_answer(sock, after)
            after = answer.after
            answers.append((answer.json()["path"], answer.json()["body"]))
        assert answers == [("/0", ""), ("/read/1", "abcde"), ("/read/2", "hello"), ("/3", ""), ("/4", "")]
        assert sock.recv(10) == b""


def test_a_request_may_come_byte_by_byte(wire):
    with wire.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in get(b"/read", b"Transfer-Encoding: chunked", method=b"POST", body=b"3\r\nabc\r\n0\r\n\r\n"):
            sock.sendall(bytes([octet]))
        assert read_answer(sock).json()["body"] == "abc"


def test_a_large_body_arrives_whole(wire):
    body = b"x" * 900_000
    assert len(wire.ask(get(b"/read", b"Content-Length: 900000", method=b"POST", body=body)).json()["body"]) == 900_000


def test_expect_continue_is_answered_when_the_body_is_asked_for(wire):
    with wire.connect() as sock:
        sock.sendall(get(b"/read", b"Content-Length: 5", b"Expect: 100-continue", method=b"POST"))
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert read_answer(sock).json()["body"] == "hello"


def test_a_body_that_is_not_asked_for_is_not_invited_and_the_connection_ends(wire):
    with wire.connect() as sock:
        sock.sendall(get(b"/", b"Content-Length: 5", b"Expect: 100-continue", method=b"POST"))
        answer = read_answer(sock)
        assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_a_long_body_that_nobody_reads_ends_the_connection_after_the_answer(wire):
    with wire.connect() as sock:
        sock.sendall(get(b"/", b"Content-Length: 10000000", method=b"POST", body=b"x" * 100_000))
        answer = read_answer(sock)
        assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_a_body_that_ends_early_is_400(wire):
    with wire.connect() as sock:
        sock.sendall(get(b"/read", b"Content-Length: 10", method=b"POST", body=b"hello"))
        sock.shutdown(socket.SHUT_WR)
        answer = read_answer(sock)
        assert (answer.status, answer.json()["code"]) == (400, "malformed-body")


def test_http_1_0_closes_unless_asked_to_stay(wire):
    with wire.connect() as sock:
        sock.sendall(get(version=b"1.0"))
        assert read_answer(sock).headers["connection"] == "close"
        assert sock.recv(1) == b""
    with wire.connect() as sock:
        sock.sendall(get(b"/1", b"Connection: Keep-Alive", version=b"1.0"))
        assert read_answer(sock).headers["connection"] == "keep-alive"
        sock.sendall(get(b"/2"))
        assert read_answer(sock).json()["path"] == "/2"


def test_connection_close_is_heard_in_a_list(wire):
    with wire.connect() as sock:
        sock.sendall(get(b"/", b"Connection: x, CLOSE"))
        assert read_answer(sock).headers["connection"] == "close"
        assert sock.recv(1) == b""


def test_an_upgrade_is_not_taken_up(wire):
    assert wire.ask(get(b"/", b"Upgrade: websocket", b"Connection: Upgrade")).status == 200


def test_head_is_answered_without_a_body_and_with_its_length(wire):
    with wire.connect() as sock:
        sock.sendall(get(method=b"HEAD") + get(b"/next"))
        head = read_answer(sock, method="HEAD")
        assert int(head.headers["content-length"]) > 0
        assert read_answer(sock, head.after).json()["path"] == "/next"


def test_options_of_the_whole_server(wire):
    assert wire.ask(get(b"*", method=b"OPTIONS")).json()["path"] == "/"


@pytest.mark.parametrize(("status", "length"), [(204, None), (304, None), (200, "0")])
def test_answers_without_a_body_have_no_length_where_there_can_be_none(status, length):
    with serving(answering(response_status=status)) as wire, wire.connect() as sock:
        sock.sendall(get() + get())
        first = read_answer(sock)
        assert (first.status, first.headers.get("content-length")) == (status, length)
        assert read_answer(sock, first.after).status == status


@pytest.mark.parametrize("status", [204, 304])
def test_a_stream_of_an_answer_without_a_body_is_closed_and_announced_by_nothing(status):
    closed = []

    class Pieces:
        def __iter__(self):
            return iter([b"abc"])

        def close(self):
            closed.append(True)

    with serving(answering(response_status=status, response_stream=Pieces)) as wire, wire.connect() as sock:
        sock.sendall(get() + get())
        first = read_answer(sock)
        assert not {"transfer-encoding", "content-length"} & set(first.headers)
        assert read_answer(sock, first.after).status == status
        assert closed == [True, True]


def test_a_stream_is_chunked_or_ended_by_the_close():
    closed = []

    class Pieces:
        def __iter__(self):
            return iter([b"abc", b"", b"d" * 100_000])

        def close(self):
            closed.append(True)

    with serving(answering(response_stream=Pieces)) as wire:
        with wire.connect() as sock:
            for _ in range(2):
                sock.sendall(get())
                answer = read_answer(sock)
                assert answer.headers["transfer-encoding"] == "chunked"
                assert answer.body == b"abc" + b"d" * 100_000
        with wire.connect() as sock:
            sock.sendall(get(version=b"1.0"))
            head, _, body = read_all(sock).partition(b"\r\n\r\n")
            assert b"chunked" not in head
            assert body == b"abc" + b"d" * 100_000
        assert wire.ask(get(method=b"HEAD", version=b"1.0"), "HEAD").body == b""
    assert len(closed) == 4


def test_a_stream_with_a_length_is_sent_as_it_is():
    handler = answering(response_stream=lambda: [b"abc"], response_headers=lambda: [("Content-Length", "3")])
    with serving(handler) as wire:
        answer = wire.ask(get())
        assert (answer.headers["content-length"], answer.body) == ("3", b"abc")


@pytest.mark.parametrize("promised", ["2", "4"])
def test_a_stream_that_breaks_its_promise_never_looks_complete(promised):
    handler = answering(response_stream=lambda: [b"ab", b"c"], response_headers=lambda: [("Content-Length", promised)])
    with serving(handler) as wire, wire.connect() as sock:
        sock.sendall(get())
        octets = read_all(sock)
        assert len(octets.partition(b"\r\n\r\n")[2]) in (2, 3)


def test_a_stream_that_fails_ends_the_connection_unfinished():
    def failing():
        yield b"abc"
        raise RuntimeError("no more")

    with serving(answering(response_stream=failing)) as wire, wire.connect() as sock:
        sock.sendall(get())
        octets = read_all(sock)
        assert b"3\r\nabc\r\n" in octets
        assert not octets.endswith(b"0\r\n\r\n")


def test_a_handler_that_fails_is_a_500_that_tells_nothing():
    class Failing:
        def handle(self, exchange):
            raise RuntimeError("secret")

        refuse = handle

    with serving(Failing()) as wire, wire.connect() as sock:
        for octets in (get(), get(b"//")):
            sock.sendall(octets)
            answer = read_answer(sock)
            assert answer.status == 500
            assert answer.json()["cid"] == answer.headers["x-request-id"]
            assert b"secret" not in answer.body


def test_headers_that_are_the_wires_own_are_not_taken_from_a_service():
    headers = [
        ("Content-Length", "7"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "x"),
        ("X-Request-Id", "y"),
        ("ETag", "z"),
    ]
    with serving(answering(response_headers=headers, response_body=b"abc")) as wire:
        answer = wire.ask(get())
        assert answer.body == b"abc"
        assert (answer.headers["content-length"], answer.headers["etag"]) == ("3", "z")
        assert "transfer-encoding" not in answer.headers
        assert answer.headers["x-request-id"] != "y"


def test_a_trusted_proxy_is_heard():
    bounds = {
        "trusted": lambda peer: peer == "127.0.0.1",
        "client_address": lambda peer, headers: headers["x-forwarded-for"].split(",")[-1].strip(),
    }
    with serving(**bounds) as wire:
        headers = (b"X-Forwarded-For: 1.1.1.1, 2.2.2.2", b"X-Forwarded-Proto: HTTPS", b"X-Request-Id: mine-1.2_3")
        answer = wire.ask(get(b"/", *headers))
        assert (answer.json()["address"], answer.json()["scheme"]) == ("2.2.2.2", "https")
        assert answer.headers["x-request-id"] == "mine-1.2_3"
        for bad in (b"a b", b"a" * 65, b"a\xe9", b""):
            assert wire.ask(get(b"/", b"X-Request-Id: " + bad)).headers["x-request-id"] != bad.decode("latin-1")


def test_an_idle_connection_ends_silently():
    with serving(idle_seconds=0.1) as wire, wire.connect() as sock:
        sock.sendall(get())
        read_answer(sock)
        assert sock.recv(10) == b""


def test_the_handler_is_told_how_much_was_sent():
    told = []

    class Counting(Echo):
        def sent(self, exchange, count):
            told.append((exchange.path, count))

    with serving(Counting()) as wire, wire.connect() as sock:
        sock.sendall(get(b"/x", b"Connection: close"))
        octets = read_all(sock)
        assert eventually(lambda: told == [("/x", len(octets))])


def test_connections_are_bounded_and_the_idle_one_makes_room():
    with serving(connections=2) as wire:
        idle = wire.connect()
        idle.sendall(get())
        read_answer(idle)
        others = [wire.connect() for _ in range(2)]
        for sock in others:
            sock.sendall(get())
            assert read_answer(sock).status == 200
        assert idle.recv(10) == b""
        assert len(wire.wire.connections) <= 2
        for sock in (idle, *others):
            sock.close()


def test_draining_answers_what_is_under_way_and_ends_what_is_idle():
    entered, go_on = threading.Event(), []

    class Slow(Echo):
        def handle(self, exchange):
            if exchange.path == "/slow":
                import gevent

                entered.set()
                while not go_on:
                    gevent.sleep(0.01)
            super().handle(exchange)

    with serving(Slow()) as wire, wire.connect() as idle, wire.connect() as busy, wire.connect() as asking:
        idle.sendall(get())
        read_answer(idle)
        asking.sendall(get())
        read_answer(asking)
        busy.sendall(get(b"/slow"))
        assert entered.wait(5)
        wire.drain()
        eventually(lambda: wire.wire.draining)
        # Busy a moment ago: one more request is answered, and told to close.
        asking.sendall(get())
        assert read_answer(asking).headers["connection"] == "close"
        assert idle.recv(10) == b""
        go_on.append(True)
        answer = read_answer(busy)
        assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_a_caller_who_pipelines_does_not_starve_the_others():
    both_have_asked = threading.Event()

    class Holding(Echo):
        def handle(self, exchange):
            super().handle(exchange)
            if exchange.path == "/hold":
                both_have_asked.wait(10)

    with (
        serving(Holding(), requests_in_turn=4) as wire,
        wire.connect() as holding,
        wire.connect() as greedy,
        wire.connect() as modest,
    ):
        holding.sendall(get(b"/hold"))
        assert eventually(lambda: wire.handler.seen)
        greedy.sendall(get() * 500)
        modest.sendall(get(b"/modest"))
        both_have_asked.set()
        assert read_answer(modest).json()["path"] == "/modest"
        order = [exchange.path for exchange in wire.handler.seen]
        assert order.index("/modest") < 20
        greedy.settimeout(5)


def test_ids_are_long_and_never_the_same():
    one, other = CorrelationIds(), CorrelationIds()
    made = [source.make() for source in (one, other) for _ in range(1000)]
    assert len(set(made)) == 2000
    assert {len(cid) for cid in made} == {26}


# TLS


@pytest.fixture
def certificate(tmp_path):
    def make(name):
        from datetime import UTC, datetime, timedelta

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder(
                subject, subject, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
            )
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        (tmp_path / "tls.crt").write_bytes(built.public_bytes(pem))
        (tmp_path / "tls.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return built.public_bytes(serialization.Encoding.DER)

    make.crt, make.key = tmp_path / "tls.crt", tmp_path / "tls.key"
    return make


def trusting_anybody():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_tls_carries_the_same_and_takes_up_a_new_certificate(certificate):
    first = certificate("first.example")
    with serving(certificates=Certificates(certificate.crt, certificate.key, interval=0.0)) as wire:

        def ask():
            with trusting_anybody().wrap_socket(wire.connect(), server_hostname="a") as sock:
                sock.sendall(get(b"/read", b"Content-Length: 300000", method=b"POST", body=b"x" * 300_000))
                answer = read_answer(sock)
                sock.sendall(get(b"/again"))
                assert read_answer(sock).json()["path"] == "/again"
                return sock.getpeercert(True), answer.json()

        shown, answer = ask()
        assert shown == first
        assert (answer["scheme"], len(answer["body"])) == ("https", 300_000)
        second = certificate("second.example")
        assert ask()[0] == second
        certificate.key.write_text("half a renewal")
        assert ask()[0] == second


def test_the_proxy_protocol_comes_before_tls(certificate):
    certificate("a.example")
    certificates = Certificates(certificate.crt, certificate.key)
    named = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
    trusting = {"proxy_protocol": True, "trusted": lambda peer: peer == "127.0.0.9"}
    with serving(certificates=certificates, handshake_seconds=1.0, **trusting) as wire:

        def ask(header, source="127.0.0.9"):
            plain = wire.connect(source=source)
            plain.sendall(header)
            with trusting_anybody().wrap_socket(plain, server_hostname="a") as sock:
                sock.sendall(get())
                return read_answer(sock).json()

        answer = ask(named)
        assert (answer["address"], answer["scheme"]) == ("192.0.2.7", "https")
        assert ask(b"", "127.0.0.1")["address"] == "127.0.0.1"
        for header, source in ((b"", "127.0.0.9"), (named, "127.0.0.1")):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                ask(header, source)
        with wire.connect(source="127.0.0.9") as plain:
            plain.sendall(named + get())  # and then no TLS
            assert not plain.recv(100).startswith(b"HTTP")


def test_tls_ends_what_is_no_tls_too_old_or_too_slow(certificate):
    certificate("a.example")
    with serving(certificates=Certificates(certificate.crt, certificate.key), handshake_seconds=0.2) as wire:
        with wire.connect() as sock:
            sock.sendall(get())
            assert not sock.recv(100).startswith(b"HTTP")
        with wire.connect() as sock:
            assert sock.recv(100) == b""
        old = trusting_anybody()
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            old.wrap_socket(wire.connect(), server_hostname="a")
        assert wire.handler.seen == []


def test_a_certificate_that_cannot_be_used_is_refused_at_the_start(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Certificates(tmp_path / "a", tmp_path / "b")
