"""Connections that come by proxies and kernels: the PROXY protocol, a socket for each worker, Unix sockets, other protocols."""

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import eventually, gateway
from wires import Echo, read_answer, serving

from gateway.proxy_protocol import SIGNATURE, parse
from gateway.transport import Gone

GET = b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n"
PROXY = "127.0.0.9"


def binary(source, command=1, family=0x11, more=b"", length=None):
    packed = socket.inet_pton(socket.AF_INET6 if ":" in source else socket.AF_INET, source)
    addresses = packed + packed + b"\x12\x34\x00\x50" + more
    length = len(addresses) if length is None else length
    return SIGNATURE + bytes([0x20 | command, family]) + length.to_bytes(2) + addresses


@pytest.mark.parametrize(
    ("octets", "source"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", ""),
        (b"PROXY UNKNOWN ffff:f::ffff ffff:f::ffff 65535 65535\r\n", ""),
        (binary("192.0.2.7"), "192.0.2.7"),
        (binary("192.0.2.7", more=b"\x04\x00\x01x"), "192.0.2.7"),
        (binary("2001:db8::7", family=0x21), "2001:db8::7"),
        (binary("::ffff:192.0.2.7", family=0x21), "192.0.2.7"),
        (binary("192.0.2.7", command=0), ""),
        (SIGNATURE + b"\x20\x00\x00\x00", ""),
    ],
)
def test_a_header_of_the_proxy_protocol_names_the_source(octets, source):
    assert parse(octets + b"GET /") == (source, len(octets))
    assert [parse(octets[:end]) for end in range(1, len(octets))] == [None] * (len(octets) - 1)


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n", b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n", b"PROXY TCP4 192.0.2.7 1.1.1.1 4711\r\n",
        b"PROXY TCP4 evil 1.1.1.1 1 1\r\n", b"PROXY TCP4 2001:db8::7 ::1 1 1\r\n", b"PROXY TCP6 192.0.2.7 ::1 1 1\r\n",
        b"PROXY TCP4 192.0.2.7 1.1.1.1 70000 1\r\n", b"PROXY  TCP4 192.0.2.7 1.1.1.1 1 1\r\n", b"proxy tcp4 1.1.1.1",
        b"PROXY TCP4 " + b"1" * 200, b"PROXY UDP4 192.0.2.7 1.1.1.1 1 1\r\n",
        binary("192.0.2.7", command=2), binary("192.0.2.7", length=5), binary("192.0.2.7", length=60000),
        b"\r\n\r\nGET /", SIGNATURE + b"\x31\x11\x00\x0c" + b"x" * 12,
    ],
)  # fmt: skip
def test_what_is_no_such_header_ends_the_connection(octets):
    with pytest.raises(Gone):
        parse(octets)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_header_stumble(octets):
    for begin in (b"", b"PROXY ", SIGNATURE):
        try:
            found = parse(begin + octets)
        except Gone:
            continue
        assert found is None or found[1] <= len(begin + octets)


SERVICES = {
    "who.py": """
    import os
    from gatewright import Service

    class Who(Service):
        name = "who"
        def handle(self):
            self.response.payload = {"address": self.request.http.address, "pid": os.getpid()}
    """
}
DOCUMENT = f"""
format: 1
gateway: {{trusted_proxies: [{PROXY}]}}
channels:
  who: {{type: rest, path: /who, service: who, methods: [GET]}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxied")
    options = ("--proxy-protocol", "--reuse-port", "--listen", f"unix:{folder / 'gw.sock'}")
    with gateway(folder, DOCUMENT, SERVICES, workers=2, options=options) as running:
        running.socket = folder / "gw.sock"
        yield running


def ask(served, octets, source=PROXY):
    with served.connect(source=source) as sock:
        sock.sendall(octets)
        return read_answer(sock)


def test_a_trusted_proxy_says_for_whom_it_connects(served):
    for header in (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", binary("192.0.2.7")):
        assert ask(served, header + GET).json()["address"] == "192.0.2.7"
    assert ask(served, b"PROXY UNKNOWN\r\n" + GET).json()["address"] == PROXY


def test_the_header_may_come_in_pieces(served):
    with served.connect(source=PROXY) as sock:
        for octet in binary("2001:db8::7", family=0x21):
            sock.sendall(bytes([octet]))
        sock.sendall(GET + GET)
        first = read_answer(sock)
        assert first.json()["address"] == "2001:db8::7"
        assert read_answer(sock, first.after).json()["address"] == "2001:db8::7"


def test_A20_whom_the_proxy_named_is_a_stranger_itself(served):
    octets = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n" + GET.replace(
        b"\r\n\r\n", b"\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
    )
    assert ask(served, octets).json()["address"] == "192.0.2.7"


def test_a_trusted_proxy_that_says_nothing_is_not_served(served):
    with served.connect(source=PROXY) as sock:
        sock.sendall(GET)
        assert sock.recv(1000) == b""


def test_A20_a_stranger_is_not_heard(served):
    assert ask(served, GET, "127.0.0.1").json()["address"] == "127.0.0.1"
    assert ask(served, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n" + GET, "127.0.0.1").status == 400
    assert ask(served, binary("192.0.2.7") + GET, "127.0.0.1").status == 400


def test_each_worker_has_a_socket_of_its_own_and_all_serve(served):
    pids = set()
    assert eventually(lambda: pids.add(ask(served, GET, "127.0.0.1").json()["pid"]) or len(pids) == 2)
    port = f":{int(served.url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    listening = [line for line in lines if line[1].endswith(port) and line[3] == "0A"]
    assert len(listening) == 3  # one that is shared, for when workers are replaced


def test_a_unix_socket_serves_too(served):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(served.socket))
        sock.sendall(GET)
        assert read_answer(sock).json()["address"] == "127.0.0.1"


# other protocols


class Changing(Echo):
    def __init__(self, status=101, take=True):
        super().__init__()
        self.status = status
        self.take = take

    def handle(self, exchange):
        super().handle(exchange)
        if exchange.path == "/change":
            exchange.response_status = self.status
            exchange.response_headers = [("Sec-WebSocket-Accept", "x")]
            if self.take:
                exchange.hand_over = self.serve

    def serve(self, transport, received):
        while b"." not in received:
            transport.send(received.upper(), 1.0, 1000.0)
            received = transport.receive(transport.clock() + 5.0)


CHANGE = b"GET /change HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n"


def test_a_connection_can_be_handed_over_with_what_has_come_on_it():
    with serving(Changing()) as wire, wire.connect() as sock:
        sock.sendall(CHANGE + b"hello")
        answer = read_answer(sock)
        assert (answer.status, answer.headers["upgrade"], answer.headers["connection"]) == (101, "shout", "Upgrade")
        shouted = answer.after
        while len(shouted) < 5:
            shouted += sock.recv(100)
        sock.sendall(b"you")
        assert (shouted, sock.recv(100)) == (b"HELLO", b"YOU")
        sock.sendall(b".")
        assert sock.recv(100) == b""


def test_A6_a_change_that_nobody_asked_for_or_takes_is_our_fault_and_the_end():
    with serving(Changing()) as wire:
        assert wire.ask(CHANGE.replace(b"Upgrade: shout\r\n", b"")).status == 500
        assert wire.ask(CHANGE.replace(b"HTTP/1.1", b"HTTP/1.0")).status == 500
        assert wire.ask(CHANGE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n")).status == 500
    with serving(Changing(take=False)) as wire:
        assert wire.ask(CHANGE).status == 500


def test_a_wish_for_another_protocol_is_passed_over_where_nobody_grants_it():
    with serving(Changing(status=200, take=False)) as wire, wire.connect() as sock:
        sock.sendall(CHANGE)
        first = read_answer(sock)
        assert first.status == 200
        assert "upgrade" not in first.headers
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer(sock).status == 200
