"""A wire that serves in this process: in a thread with an event loop of its own, on a real socket."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import gevent

from gateway.bounds import Bounds
from gateway.listening import Acceptor, bind
from gateway.options import Endpoint
from gateway.transport import Sweeper
from gateway.wire import Wire


class Echo:
    """Answers what it understood; paths beginning with /read read the body. Remembers every exchange."""

    def __init__(self):
        self.seen = []
        self.most = 1 << 20

    def handle(self, exchange):
        self.seen.append(exchange)
        body = b""
        if exchange.path.startswith("/read"):
            try:
                body = exchange.read_body(self.most)
            except Exception as problem:
                exchange.problem = problem
                self.refuse(exchange, remember=False)
                return
        answer = {
            name: getattr(exchange, name) for name in ("method", "path", "query_string", "host", "scheme", "address")
        }
        exchange.response_status = 200
        exchange.response_headers = [("Content-Type", "application/json")]
        exchange.response_body = json.dumps(
            {**answer, "headers": exchange.headers, "body": body.decode("latin-1")}
        ).encode()

    def refuse(self, exchange, remember=True):
        if remember:
            self.seen.append(exchange)
        exchange.response_status = exchange.problem.status
        exchange.response_headers = [("Content-Type", "application/problem+json"), *exchange.problem.headers]
        exchange.response_body = json.dumps(exchange.problem.as_dict(exchange.cid)).encode()


class Served:
    """A wire that runs: its *address* and its *handler*."""

    def __init__(self, handler, bounds, certificates, proxy_protocol):
        self._proxy_protocol = proxy_protocol
        self.handler = handler
        self.listener = bind(Endpoint("127.0.0.1", 0), "listen")
        self.address = self.listener.getsockname()
        self._bounds = bounds
        self._certificates = certificates
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self):
        self.wire = Wire(self.handler, self._bounds, sweeper=Sweeper(0.02), proxy_protocol=self._proxy_protocol)
        self.acceptor = Acceptor(self.listener, self.wire, self._certificates, patience=0.1)
        self.acceptor.start()
        self._stopping = gevent.get_hub().loop.async_()
        stopped = gevent.event.Event()
        self._stopping.start(stopped.set)
        self._draining = gevent.get_hub().loop.async_()
        self._draining.start(lambda: gevent.spawn(self.wire.drain, 0.3))
        self._ready.set()
        stopped.wait()
        self.acceptor.stop()
        self.wire.drain(0)
        for connection in list(self.wire.connections):
            connection.transport.interrupt()
        deadline = time.monotonic() + 5
        while self.wire.connections and time.monotonic() < deadline:
            gevent.sleep(0.01)
        self.wire.sweeper.stop()
        self._stopping.stop()
        self._stopping.close()
        self._draining.stop()
        self._draining.close()
        gevent.get_hub().destroy(destroy_loop=True)

    def drain(self):
        self._draining.send()

    def stop(self):
        self._stopping.send()
        self._thread.join(10)
        self.listener.close()

    def bounded(self, **bounds):
        return replace(self._bounds, **bounds)

    def connect(self, timeout=5, source="127.0.0.1"):
        return socket.create_connection(self.address, timeout=timeout, source_address=(source, 0))

    def send(self, octets, timeout=5):
        """Everything that comes back for *octets*, until the other side ends; the sending side is left open."""
        with self.connect(timeout) as sock:
            sock.sendall(octets)
            return read_all(sock)

    def ask(self, octets, method="GET", source="127.0.0.1"):
        """The one answer to *octets*."""
        with self.connect(source=source) as sock:
            sock.sendall(octets)
            return read_answer(sock, method=method)


class Answer:
    """An answer as it came: *status*, *headers* by lower-case name, *body*, and what came *after* it."""

    def __init__(self, status, headers, body, after=b""):
        self.status = status
        self.headers = headers
        self.body = body
        self.after = after

    def json(self):
        return json.loads(self.body)


def read_all(sock):
    parts = []
    while octets := sock.recv(65536):
        parts.append(octets)
    return b"".join(parts)


def read_answer(sock, after=b"", method="GET"):
    """One answer off *sock*; *after* is what came behind the one before."""
    buffer = after
    while b"\r\n\r\n" not in buffer:
        octets = sock.recv(65536)
        if not octets:
            raise EOFError(f"no answer, but {buffer!r}")
        buffer += octets
    head, _, rest = buffer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if status < 200 or status in (204, 304) or method == "HEAD":
        return Answer(status, headers, b"", rest)
    if headers.get("transfer-encoding") == "chunked":
        while not rest.endswith(b"0\r\n\r\n"):
            octets = sock.recv(65536)
            if not octets:
                raise EOFError(f"an unfinished answer: {rest!r}")
            rest += octets
        body = b""
        while True:
            size, _, rest = rest.partition(b"\r\n")
            if int(size, 16) == 0:
                return Answer(status, headers, body, rest[2:])
            body += rest[: int(size, 16)]
            rest = rest[int(size, 16) + 2 :]
    length = int(headers["content-length"])
    while len(rest) < length:
        octets = sock.recv(65536)
        if not octets:
            raise EOFError(f"an unfinished answer: {rest!r}")
        rest += octets
    return Answer(status, headers, rest[:length], rest[length:])


@contextmanager
def serving(handler=None, certificates=None, proxy_protocol=False, **bounds):
    served = Served(handler or Echo(), replace(Bounds(linger=0.2), **bounds), certificates, proxy_protocol)
    try:
        yield served
    finally:
        served.stop()
