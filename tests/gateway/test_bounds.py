"""What strangers can have at a time: connections, requests in flight, seconds; and that the wire follows the document."""

import gzip
import socket
import threading
import time

import gevent
import pytest
from running import eventually, gateway
from wires import Echo, read_all, read_answer, serving

from gateway.configuration.document import Document
from gateway.configuration.kinds import read_object
from specs.problems import ConfigurationError, Problem

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Slow(Echo):
    """Answers /slow when told to, and everything else at once."""

    def __init__(self):
        super().__init__()
        self.waiting = 0
        self.go_on = False

    def handle(self, exchange):
        if exchange.path == "/slow":
            self.waiting += 1
            while not self.go_on:
                gevent.sleep(0.005)
        super().handle(exchange)


def busy(wire, count, source="127.0.0.1"):
    """So many connections whose requests are being answered."""
    socks = [wire.connect(source=source) for _ in range(count)]
    for sock in socks:
        sock.sendall(GET.replace(b"/ ", b"/slow "))
    assert eventually(lambda: wire.handler.waiting >= count, pause=0.01)
    return socks


def test_requests_beyond_the_bound_are_told_to_come_again():
    with serving(Slow(), requests=3) as wire:
        socks = busy(wire, 3)
        refused = wire.ask(GET)
        assert (refused.status, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        wire.handler.go_on = True
        assert [read_answer(sock).status for sock in socks] == [200, 200, 200]
        assert wire.ask(GET).status == 200
        for sock in socks:
            sock.close()


def test_one_address_cannot_have_all_the_requests_in_flight():
    with serving(Slow(), requests=10, requests_per_address=2) as wire:
        socks = busy(wire, 2)
        assert wire.ask(GET).status == 503
        assert wire.ask(GET, source="127.0.0.2").status == 200
        wire.handler.go_on = True
        for sock in socks:
            assert read_answer(sock).status == 200
            sock.close()


def test_one_address_cannot_have_all_the_connections():
    with serving(connections_per_address=2) as wire:
        first, second = wire.connect(), wire.connect()
        for sock in (first, second):
            sock.sendall(GET)
            assert read_answer(sock).status == 200
        with wire.connect() as third:
            answer = read_all(third)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert b"\r\nConnection: close\r\n" in answer
        assert wire.ask(GET, source="127.0.0.2").status == 200
        first.close()
        assert eventually(lambda: len(wire.wire.connections) == 1, pause=0.01)
        assert wire.ask(GET).status == 200
        second.close()
        assert eventually(lambda: not wire.wire.peers, pause=0.01)


def test_callers_beyond_the_connections_are_told_to_come_again_where_nobody_makes_room():
    with serving(Slow(), connections=2) as wire:
        socks = busy(wire, 2)
        for _ in range(3):
            with wire.connect() as sock:
                sock.sendall(GET)
                refused = read_answer(sock)
                assert (refused.status, refused.headers["retry-after"]) == (503, "1")
                assert (refused.headers["connection"], sock.recv(10)) == ("close", b"")
        wire.handler.go_on = True
        for sock in socks:
            assert read_answer(sock).status == 200
            sock.close()
        assert eventually(lambda: wire.ask(GET).status == 200, pause=0.01)


def test_a_trusted_proxy_has_as_many_connections_as_it_needs():
    with serving(connections_per_address=1, trusted=lambda peer: True) as wire:
        socks = [wire.connect() for _ in range(5)]
        for sock in socks:
            sock.sendall(GET)
            assert read_answer(sock).status == 200
            sock.close()


def test_A35_a_body_that_keeps_coming_is_over_when_its_time_is():
    with serving(body_seconds=0.5, rate=1.0, total_seconds=0.4) as wire, wire.connect() as sock:
        sock.sendall(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        answer = drip(sock, b"xx", 0.05)
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_A35_haste_at_the_start_does_not_buy_a_pause_later():
    with serving(body_seconds=0.3, rate=1000.0) as wire, wire.connect() as sock:
        sock.sendall(b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + b"x" * 400_000)
        began = time.monotonic()
        assert read_answer(sock).status == 408
        assert time.monotonic() - began < 2


class Keeping(Echo):
    """Keeps the body that it read until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.kept = 0
        self.go_on = False

    def handle(self, exchange):
        try:
            self.read(exchange)
        except Problem as problem:
            exchange.problem = problem
            self.refuse(exchange)
            return
        self.kept += 1
        while not self.go_on:
            gevent.sleep(0.005)
        super().handle(exchange)

    def read(self, exchange):
        exchange.read_body(1 << 20, exchange.headers.get("content-encoding", ""))


def test_A36_bodies_are_bounded_all_together():
    head = b"POST / HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n"
    long = head % (b"", 60_000) + b"x" * 60_000
    packed = gzip.compress(b"x" * 60_000)
    with serving(Keeping(), bodies=150_000) as wire:
        socks = [wire.connect() for _ in range(2)]
        for sock in socks:
            sock.sendall(long)
        assert eventually(lambda: wire.handler.kept == 2, pause=0.01)
        for octets in (long, head % (b"Content-Encoding: gzip\r\n", len(packed)) + packed):
            refused = wire.ask(octets)
            assert (refused.status, refused.json()["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
        wire.handler.go_on = True
        assert [read_answer(sock).status for sock in socks] == [200, 200]
        assert wire.ask(long).status == 200
        assert wire.ask(head % (b"Content-Encoding: gzip\r\n", len(packed)) + packed).status == 200
        for sock in socks:
            sock.close()
        assert eventually(lambda: not wire.wire.connections, pause=0.01)
        assert wire.wire.held.octets == 0


class Making(Keeping):
    """Makes ten bytes of each that it reads."""

    def read(self, exchange):
        exchange.read_body(1 << 20, "", lambda body: 10 * len(body))


def test_A36_what_is_made_of_bodies_is_bounded_with_them():
    def post(length):
        return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length + b"x" * length

    with serving(Making(), bodies=100_000) as wire:
        held = wire.wire.held
        alone = wire.connect()
        alone.sendall(post(15_000))  # of which more is made than there may be, by one who is alone
        assert eventually(lambda: wire.handler.kept == 1, pause=0.01)
        assert held.made == 150_000
        for length, status in ((15_000, 503), (4_097, 503), (4_096, 200)):
            with wire.connect() as sock:
                sock.sendall(post(length))
                if status == 200:  # short ones are not counted
                    assert eventually(lambda: wire.handler.kept == 2, pause=0.01)
                else:
                    assert (read_answer(sock).status, wire.handler.kept) == (status, 1)
        wire.handler.go_on = True
        assert read_answer(alone).status == 200
        assert eventually(lambda: held.octets == held.made == 0, pause=0.01)
        for _ in range(3):
            alone.sendall(post(9_000))
            assert read_answer(alone).status == 200
        assert held.made <= 90_000
        alone.close()
        assert eventually(lambda: held.octets == held.made == 0, pause=0.01)


def test_A36_who_goes_in_the_middle_of_a_body_leaves_nothing_behind():
    with serving(Keeping()) as wire:
        with wire.connect() as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + b"x" * 200_000)
            assert eventually(lambda: wire.wire.held.octets >= 200_000, pause=0.01)
        assert eventually(lambda: wire.wire.held.octets == 0, pause=0.01)
        assert not wire.handler.kept


class Long(Echo):
    """Answers /long with so many bytes, and everything else with 60 KB."""

    long = 8 << 20

    def handle(self, exchange):
        exchange.response_status = 200
        exchange.response_body = b"x" * (self.long if exchange.path == "/long" else 60_000)


def not_reading(wire, octets):
    """A connection that sends *octets* and takes no answer."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(wire.address)
    sock.settimeout(5)
    sock.sendall(octets)
    return sock


def test_A35_answers_that_nobody_takes_are_bounded_all_together():
    ask = GET.replace(b"/ ", b"/long ")
    with serving(Long(), answers=2 * Long.long) as wire:
        unsent = wire.wire.unsent
        slow = [not_reading(wire, ask) for _ in range(2)]
        assert eventually(lambda: unsent.octets == 2 * Long.long, pause=0.01)
        with wire.connect() as sock:
            for _ in range(2):
                sock.sendall(ask)
                refused = read_answer(sock)
                assert (refused.status, refused.json()["code"], refused.headers["retry-after"]) == (
                    503,
                    "overloaded",
                    "1",
                )
            sock.sendall(GET)  # short ones, to whoever takes them, are no burden
            assert len(read_answer(sock).body) == 60_000
        many = not_reading(wire, GET * 400)
        # Whoever does not take them is reset when the kernel takes no more.
        assert eventually(lambda: len(wire.wire.connections) == 2, pause=0.01)
        with pytest.raises(ConnectionResetError):
            read_all(many)
        many.close()
        for sock in slow:
            sock.close()
        assert eventually(lambda: unsent.octets == 0, pause=0.01)
        assert len(wire.ask(ask).body) == Long.long
        assert eventually(lambda: unsent.octets == 0, pause=0.01)


def test_A35_an_answer_longer_than_all_may_be_is_sent_where_nothing_else_waits():
    with serving(Long(), answers=1000) as wire:
        assert len(wire.ask(GET.replace(b"/ ", b"/long ")).body) == Long.long
        slow = not_reading(wire, GET * 400)
        assert eventually(lambda: 0 < wire.wire.unsent.octets <= 60_200, pause=0.01)
        assert wire.ask(GET.replace(b"/ ", b"/long ")).status == 503
        wire.wire.bound(wire.bounded(answers=1 << 30))
        assert len(wire.ask(GET.replace(b"/ ", b"/long ")).body) == Long.long
        slow.close()


def test_bounds_can_be_changed_while_connections_are_open():
    with serving() as wire, wire.connect() as sock:
        sock.sendall(GET)
        assert read_answer(sock).status == 200
        wire.wire.bound(wire.bounded(headers=0))
        sock.sendall(GET)
        assert read_answer(sock).status == 431


def drip(sock, octets, pause, seconds=10):
    """Send *octets* again and again; what came back when something did."""
    sock.settimeout(pause)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            sock.sendall(octets)
            return sock.recv(4096)
        except TimeoutError:
            continue
    return b""


SLEEPER = {
    "sleeper.py": """
    import os
    import time
    from gatewright import Service

    class Sleeper(Service):
        name = "sleeper"
        input = "-seconds"

        def handle(self):
            time.sleep(float(self.request.input.seconds or 0))

    class Waiter(Service):
        name = "waiter"
        input = "until"

        def handle(self):
            while not os.path.exists(self.request.input.until):
                time.sleep(0.01)
    """
}
#: Bodies of which much is made: a path, what is repeated, and what is around it.
HEAVY = {
    "json": ("/deep", b"[],", b'{"x": [%b0]}'),
    "xml": ("/xml", b"<a/>", b"<request><x>%b</x></request>"),
    "soap": (
        "/soap",
        b"==",
        b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><s:Sleeper xmlns:s="urn:x"/></e:Body>'
        b"<!--%b--></e:Envelope>",
    ),
}
DOCUMENT = """
format: 1
gateway:
  timeouts: {{head: {head}, body: 1s}}
  bounds: {{requests: {requests}, bodies: 100KiB}}
  max_body: 10KiB
  json_depth: 5
channels:
  sleep: {{type: rest, path: /sleep, service: sleeper, methods: [GET, POST]}}
  deep: {{type: rest, path: /deep, service: sleeper, methods: [POST], json_depth: 250, max_body: 1MiB}}
  xml: {{type: xml, path: /xml, service: sleeper, methods: [POST], max_body: 1MiB}}
  soap: {{type: soap, path: /soap, services: [sleeper], namespace: "urn:x", max_body: 1MiB}}
  held: {{type: rest, path: /held, service: waiter, methods: [POST], max_body: 1MiB}}
  flat: {{type: rest, path: /flat, service: sleeper, methods: [POST], json_depth: 1}}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bounds")
    with gateway(folder, DOCUMENT.format(head="400ms", requests=3), SLEEPER) as running:
        running.document = folder / "gateway.yaml"
        yield running


def test_the_wire_follows_the_document(served):
    def cut_off_after():
        began = time.monotonic()
        with served.connect() as sock:
            sock.sendall(b"GET /sleep HTTP/1.1\r\n")
            assert read_answer(sock).status == 408
        return time.monotonic() - began

    assert 0.3 < cut_off_after() < 3
    served.document.write_text(DOCUMENT.format(head="3500ms", requests=3))
    served.command("config", "apply", str(served.document))
    assert eventually(lambda: cut_off_after() > 3, seconds=20)


def test_a_gateway_that_has_enough_to_do_says_so_at_once(served, tmp_path):
    go_on, statuses = tmp_path / "go-on", []

    def hold():
        # One of those below may be answered at the moment that this one comes.
        while (held := served.post("/held", json={"until": str(go_on)})).status_code == 503:
            pass
        statuses.append(held.status_code)

    threads = [threading.Thread(target=hold) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert eventually(lambda: served.get("/sleep").status_code == 503, seconds=30)
        refused = served.get("/sleep")
        assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
        assert statuses == []  # nobody who came before has been answered yet
    finally:
        go_on.touch()
        for thread in threads:
            thread.join()
    assert statuses == [204, 204, 204] or statuses == [200, 200, 200]
    assert served.get("/sleep").ok


def test_A36_the_largest_body_is_the_gateways_unless_the_channel_says_otherwise(served):
    octets = b"POST /sleep HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 10241\r\n\r\n"
    with served.connect() as sock:
        sock.sendall(octets)
        assert read_answer(sock).status == 413


def test_A41_how_deep_a_body_may_be_is_the_gateways_unless_the_channel_says_otherwise(served):
    def nested(path, levels):
        body = '{"x":' * (levels - 1) + "{}" + "}" * (levels - 1)
        answer = served.post(path, data=body, headers={"Content-Type": "application/json"})
        return answer.ok or answer.json()["detail"]

    for path, most in (("/sleep", 5), ("/deep", 250), ("/flat", 1)):
        assert nested(path, most) is True
        assert nested(path, most + 1) == f"the body is nested more than {most} levels deep"


def test_A36_bodies_held_are_bounded_by_the_document(served):
    octets = b"POST /deep HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 120000\r\n\r\n"
    with served.connect() as sock:
        sock.sendall(octets + b" " * 119_998 + b"{}")
        answer = read_answer(sock)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


def test_A36_values_made_of_bodies_are_held_while_a_service_runs(served, tmp_path):
    def call(kind, count=3000):
        path, unit, around = HEAVY[kind]
        content_type = "application/json" if kind == "json" else "text/xml"
        return served.post(path, data=around % (unit * count), headers={"Content-Type": content_type})

    go_on, statuses = tmp_path / "go-on", []

    def hold():
        # One of those below may be held at the moment that this one comes.
        while not statuses or statuses[-1] == 503:
            held = served.post("/held", json={"until": str(go_on), "x": [[]] * 3000})
            statuses.append(held.status_code)

    slow = threading.Thread(target=hold)
    slow.start()
    try:
        assert eventually(lambda: call("json").status_code == 503, seconds=30)
        for kind in HEAVY:
            refused = call(kind)
            assert (kind, refused.status_code, refused.headers["retry-after"]) == (kind, 503, "1")
            assert (kind, call(kind, 3).status_code) in ((kind, 200), (kind, 204))
    finally:
        go_on.touch()
        slow.join()
    assert statuses[-1] in (200, 204)
    assert {call(kind).status_code for kind in HEAVY} <= {200, 204}


@pytest.mark.parametrize(
    ("settings", "kind", "path"),
    [
        ("gateway: {json_depth: 0}", "gateway", "gateway.json_depth"),
        ("gateway: {json_depth: 251}", "gateway", "gateway.json_depth"),
        ("gateway: {bounds: {bodies: 0}}", "gateway", "gateway.bounds.bodies"),
        ("channels: {a: {type: rest, path: /a, service: b, json_depth: deep}}", "channels", "channels.json_depth"),
    ],
)
def test_bounds_that_cannot_be_are_refused_with_their_place(settings, kind, path):
    (body,) = Document.parse(f"format: 1\n{settings}\n").objects.values()
    with pytest.raises(ConfigurationError) as refused:
        read_object(kind, body, kind)
    assert refused.value.path == path


def test_new_bounds_hold_for_a_caller_who_never_waits():
    class Tightening(Echo):
        def handle(self, exchange):
            super().handle(exchange)
            wire.wire.bound(wire.bounded(headers=2))

    one = b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n"
    with serving(Tightening()) as wire, wire.connect() as sock:
        sock.sendall(one * 3)
        answers = [read_answer(sock)]
        answers.append(read_answer(sock, answers[0].after))
        assert [answer.status for answer in answers] == [200, 431]
