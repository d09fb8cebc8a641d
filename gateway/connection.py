"""One connection: bytes become an `Exchange`, the wire's handler fills in the answer, the answer becomes bytes.

Request after request, in order. The canonical request is made by `gateway.request_head`, bodies are read by
`gateway.request_body` when the handler asks, waits and their ends are `gateway.transport`'s. A request that cannot be
understood in exactly one way goes to the handler's `refuse` with its `problem`, and the connection ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any

import orjson

from gateway.answer import close_stream, declared_length, head_of
from gateway.long_bodies import LONG, let_go
from gateway.proxy_protocol import read_source
from gateway.request_body import Body
from gateway.request_head import Head, read_head
from gateway.transport import LARGEST_READ, Gone, Late, Transport
from security.threads import give_way
from specs.exchange import Exchange
from specs.problems import BackendError, InternalError, Problem

if TYPE_CHECKING:
    from gateway.wire import Wire

log = logging.getLogger("gatewright.wire")

#: Longer heads are read anew each time: of every connection one may be kept.
LONGEST_KNOWN = 2048
#: Longer answers leave slice by slice: everybody else waits for a slice.
LARGEST_WRITE = 128 * 1024
RETRY_SOON = (("Retry-After", "1"),)


class Connection:
    """One connection and what has come over it."""

    __slots__ = (
        "answering", "body", "bounds", "buffer", "head", "head_octets", "idle_since", "kept", "peer", "scheme", "subject",
        "transport", "wire",
    )  # fmt: skip

    def __init__(self, wire: Wire, transport: Transport, peer: str) -> None:
        self.wire = wire
        self.bounds = wire.bounds
        self.transport = transport
        self.peer = peer
        self.scheme = "https" if transport.secure else "http"
        self.buffer = b""
        #: The head read last, and its bytes: who asks the same once more is understood at once.
        self.head: Head | None = None
        self.head_octets = b""
        self.kept: dict[Any, Any] = {}
        self.body: Body | None = None
        self.idle_since = inf
        self.subject: str | bytes | None = None
        self.answering = ""  #: the address of the caller whose request a handler is answering

    def run(self) -> None:
        """Serve requests until one side has had enough."""
        try:
            if self.wire.proxy_protocol and self.bounds.trusted(self.peer):
                source, rest = read_source(self.transport, self.transport.clock() + self.bounds.head_seconds)
                self.peer = source or self.peer
                self.buffer = self.transport.give_back(rest)
            if not self.wire.count_in(self):
                self.turn_away()
                return
            self.transport.handshake(self.transport.clock() + self.bounds.handshake_seconds)
            turn = 0
            while self.serve_one():
                turn += 1
                # A caller that pipelines never waits: the others would.
                if self.buffer and turn % self.bounds.requests_in_turn == 0:
                    give_way()
            self.linger()
        except (Late, Gone, ConnectionError):
            pass
        finally:
            self.let_go()

    def serve_one(self) -> bool:
        """Read a request and answer it; whether the connection goes on."""
        started = time.monotonic_ns()
        self.let_go()
        self.transport.ends = inf
        try:
            head_end = self.read_head()
            if head_end < 0:
                return False
            started = time.monotonic_ns()
            exchange, keep_alive = self.accept(head_end, started)
        except Problem as problem:
            self.body = None  # an accepted one has not been read
            self.refuse(problem, started)
            return False
        wire = self.wire
        exchange.problem = wire.overloaded(exchange)
        # SECURITY: A35. However it keeps both sides busy, a request ends.
        self.transport.ends = self.transport.clock() + self.bounds.total_seconds
        self.answering = exchange.address
        wire.in_flight += 1
        try:
            if exchange.problem is None:
                wire.handler.handle(exchange)
            else:
                wire.handler.refuse(exchange)
        except (Late, Gone):
            raise
        except Exception:
            log.exception("cid=%s the handler failed", exchange.cid)
            fail(exchange)
        finally:
            wire.in_flight -= 1
            self.answering = ""
        wire.requests += 1
        try:
            return self.answer(exchange, keep_alive)
        finally:
            if len(exchange.body) > LONG:
                let_go(exchange)

    def let_go(self) -> None:
        """Keep nothing of the request before."""
        if self.body is not None and self.body.holds:
            self.body.release()
        self.body = None

    def read_head(self) -> int:
        """Fill the buffer up to the end of a head; where it ends, or -1 where there will be none. Raises Problem."""
        if self.bounds is not self.wire.bounds:  # for who never waits, too
            self.bounds = self.wire.bounds
            self.head_octets = b""
        end = self.buffer.find(b"\r\n\r\n")
        if end >= 0:
            return end + 4
        transport, bounds = self.transport, self.wire.bounds
        clock = transport.clock
        if not self.buffer:
            self.idle_since = clock()
            try:
                self.buffer = transport.receive(self.idle_since + bounds.idle_seconds, later=True)
            finally:
                self.idle_since = inf
            if not self.buffer:
                return -1
            if self.bounds is not self.wire.bounds:
                bounds = self.bounds = self.wire.bounds
                self.head_octets = b""
            end = self.buffer.find(b"\r\n\r\n")
            if end >= 0:
                return end + 4
        # SECURITY: A35. One deadline for the whole head: a byte now and then does not move it.
        deadline = clock() + bounds.head_seconds
        while True:
            self.check_unfinished()
            try:
                octets = transport.receive(deadline)
            except Late:
                raise Problem.of("request-timeout", "the head came too slowly") from None
            if not octets:
                return -1
            searched = max(0, len(self.buffer) - 3)
            self.buffer += octets
            end = self.buffer.find(b"\r\n\r\n", searched)
            if end >= 0:
                return end + 4

    def check_unfinished(self) -> None:
        """Refuse a head that cannot become one any more. Raises Problem."""
        buffer = self.buffer
        # SECURITY: A4. Bare line feeds: some readers see the end of the head where we would go on waiting for it.
        if buffer.count(b"\n") != buffer.count(b"\r\n"):
            raise Problem.of("bad-request", "lines end with CRLF")
        if len(buffer) > self.bounds.request_line and b"\r\n" not in buffer[: self.bounds.request_line + 2]:
            raise Problem.of("uri-too-long", f"the request line is longer than {self.bounds.request_line} bytes")
        if len(buffer) > self.bounds.head:
            raise Problem.of("headers-too-large", f"the head is longer than {self.bounds.head} bytes")

    def accept(self, head_end: int, started: int) -> tuple[Exchange, bool]:
        """The exchange that begins with so many bytes, and whether the connection may go on after it. Raises Problem."""
        bounds = self.bounds
        buffer = self.buffer
        octets = buffer[:head_end]
        # PERF: a client that calls again mostly sends the very same head. Comparing it takes 0.1 us, reading it 5.
        if octets == self.head_octets:
            head, kept = self.head, self.kept
            assert head is not None
        else:
            if head_end > bounds.head:
                raise Problem.of("headers-too-large", f"the head is longer than {bounds.head} bytes")
            head = read_head(octets, bounds.headers, bounds.request_line)
            kept = {}
            if head_end <= LONGEST_KNOWN:
                self.head, self.head_octets, self.kept = head, octets, kept
        method, target, path, query, version, headers, host, length, keep_alive, expects, forwarded = head
        body = self.body = Body(self.transport, bounds, length, buffer[head_end:], expects, self.wire.held)
        headers = headers.copy()  # what a service does to its headers must not be there the next time
        peer = address = self.peer
        cid = self.wire.cids.make()
        scheme = self.scheme
        # SECURITY: A20, A21. Only a proxy of ours is heard on who calls, by which scheme and under which id.
        if forwarded and bounds.trusted(peer):
            if "x-forwarded-for" in headers or "forwarded" in headers:
                address = bounds.client_address(peer, headers)
            cid = _kept(headers.get("x-request-id", "")) or cid
            said = headers.get("x-forwarded-proto", "").lower()
            scheme = said if said in ("http", "https") else scheme
        exchange = Exchange(
            cid, method, path, query, headers, started, host, scheme, peer, address, version, target, length, body.read,
            body.pieces, kept,
        )  # fmt: skip
        if length:
            exchange.arrived = body.arrived
        return exchange, keep_alive

    def turn_away(self, why: str = "this address has too many connections") -> None:
        """Refuse a connection too many before it is understood. Under TLS that cannot be said, only done."""
        if not self.transport.secure:
            try:
                self.transport.receive(-inf)  # what is unread at the close would reset the answer on its way
            except Late:
                pass
            self.refuse(Problem.of("overloaded", why, headers=RETRY_SOON), time.monotonic_ns(), linger=False)

    def refuse(self, problem: Problem, started: int, *, linger: bool = True) -> None:
        """Answer a request that is none, as far as it can be told what it was."""
        line = self.buffer.partition(b"\r\n")[0][:200].decode("latin-1")
        exchange = Exchange(
            self.wire.cids.make(), "", "", "", {}, started_ns=started, peer=self.peer, target=line,
            scheme=self.scheme,
        )  # fmt: skip
        exchange.problem = problem
        self.buffer = b""
        try:
            self.wire.handler.refuse(exchange)
        except Exception:
            log.exception("cid=%s the handler failed", exchange.cid)
            fail(exchange)
        self.wire.requests += 1
        self.answer(exchange, False)
        if linger:
            self.linger()

    def answer(self, exchange: Exchange, keep_alive: bool) -> bool:
        """Send the answer; whether the connection goes on."""
        if exchange.response_status == 101:
            return self.hand_over(exchange)
        body = self.body
        # An unread body that is not worth reading ends the connection, and the answer has to say so.
        keep_alive = keep_alive and not self.wire.draining and body is not None and body.drainable
        status = exchange.response_status
        stream = exchange.response_stream
        content = exchange.response_body
        chunked = False
        lines = f"{self.wire.dates.line()}X-Request-Id: {exchange.cid}\r\n"
        if stream is not None and status in (204, 304):
            close_stream(stream)  # WHY: RFC 9112, 6.1: such an answer is not even announced to be chunked
            stream = None
        if stream is not None:
            length = declared_length(exchange.response_headers)
            if length is not None:
                lines += f"Content-Length: {length}\r\n"
            elif exchange.version == "1.1":
                chunked = True
                lines += "Transfer-Encoding: chunked\r\n"
            else:
                keep_alive = False
        elif status != 204:
            length = declared_length(exchange.response_headers) if exchange.method == "HEAD" and not content else None
            if status != 304:
                lines += f"Content-Length: {len(content) if length is None else length}\r\n"
        if not keep_alive:
            lines += "Connection: close\r\n"
        elif exchange.version == "1.0":
            lines += "Connection: keep-alive\r\n"
        try:
            head = head_of(status, exchange.response_headers, lines)
        except ValueError as error:
            # SECURITY: A8.
            log.error("cid=%s %s", exchange.cid, error)
            close_stream(stream)
            fail(exchange)
            return self.answer(exchange, keep_alive)
        if exchange.method == "HEAD" or status in (204, 304):
            content = b""
            close_stream(stream)
            stream = None
        bounds = self.bounds
        if stream is None:
            count = len(head) + len(content)
            if len(content) > LARGEST_READ:
                if not self.send_long(head, content):
                    log.warning(
                        "cid=%s the answer is left out: too many wait for callers who do not take them", exchange.cid
                    )
                    fail(exchange, Problem.of("overloaded", "too many answers are on their way", headers=RETRY_SOON))
                    return self.answer(exchange, keep_alive)
            else:
                self.transport.send(head + content, bounds.write_seconds, bounds.rate)
        else:
            count = self.send_stream(exchange, head, stream, chunked)
        if self.wire.sent is not None:
            self.wire.sent(exchange, count)
        if keep_alive and body is not None and body.drain():
            self.buffer = body.rest
            return True
        return False

    def send_long(self, head: bytes, content: bytes) -> bool:
        """Send a long answer, slice by slice; False, and nothing sent, where too much waits for slow readers already."""
        bounds, transport, unsent = self.bounds, self.transport, self.wire.unsent
        if not unsent.take(len(content)):
            return False
        transport.counted = len(content)
        try:
            # SECURITY: A35. Joined, each slow reader of a long answer would have a copy of it.
            transport.send(head, bounds.write_seconds, bounds.rate)
            view = memoryview(content)
            for begin in range(0, len(content), LARGEST_WRITE):
                if begin:
                    give_way()
                transport.send(view[begin : begin + LARGEST_WRITE], bounds.write_seconds, bounds.rate)
        finally:
            transport.counted = 0
            unsent.octets -= len(content)
        return True

    def hand_over(self, exchange: Exchange) -> bool:
        """Change the protocol: say 101, and leave the connection to the exchange's `hand_over` until that returns."""
        body, take = self.body, exchange.hand_over
        asked = exchange.headers.get("upgrade", "").partition(",")[0].strip()
        if take is None or body is None or not body.finished or not asked or exchange.version != "1.1":
            log.error("cid=%s a change of protocol that nobody asked for, or nobody takes over", exchange.cid)
            fail(exchange)
            return self.answer(exchange, False)
        lines = f"{self.wire.dates.line()}X-Request-Id: {exchange.cid}\r\nConnection: Upgrade\r\nUpgrade: {asked}\r\n"
        octets = head_of(101, exchange.response_headers, lines)
        self.transport.send(octets, self.bounds.write_seconds, self.bounds.rate)
        if self.wire.sent is not None:
            self.wire.sent(exchange, len(octets))
        self.transport.ends = inf
        self.buffer = b""
        take(self.transport, body.rest)
        return False

    def send_stream(self, exchange: Exchange, head: bytes, stream: Iterable[bytes], chunked: bool) -> int:
        """Send *stream* piece by piece; how many bytes left. A stream that fails ends the connection, unfinished."""
        send, seconds, rate = self.transport.send, self.bounds.write_seconds, self.bounds.rate
        count = len(head)
        promised = None if chunked else declared_length(exchange.response_headers)
        try:
            send(head, seconds, rate)
            for piece in stream:
                if not piece:
                    continue
                if promised is not None:
                    promised -= len(piece)
                    if promised < 0:
                        raise ValueError("the stream is longer than its Content-Length")
                octets = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
                send(octets, seconds, rate)
                count += len(octets)
            if promised:
                raise ValueError("the stream is shorter than its Content-Length")
        except (Late, Gone):
            raise
        except BackendError as error:
            log.error("cid=%s the answer broke off: %s", exchange.cid, error)
            raise Gone from error
        except Exception as error:
            log.exception("cid=%s the answer's stream failed", exchange.cid)
            raise Gone from error
        finally:
            close_stream(stream)
        if chunked:
            send(b"0\r\n\r\n", seconds, rate)
            count += 5
        return count

    def linger(self) -> None:
        """Let the last answer arrive: bytes that come after a close would reset it on its way."""
        self.transport.end()
        self.idle_since = self.transport.clock()
        deadline = self.idle_since + self.bounds.linger
        left = 16 * self.bounds.drain
        while left > 0:
            octets = self.transport.receive(deadline)
            if not octets:
                return
            left -= len(octets)


def fail(exchange: Exchange, problem: Problem | None = None) -> None:
    """The answer where the handler had none, or none that can be sent: what the log knows under this cid stays there."""
    problem = problem or InternalError()
    exchange.response_status = problem.status
    exchange.response_headers = [("Content-Type", "application/problem+json"), *problem.headers]
    exchange.response_body = orjson.dumps(problem.as_dict(exchange.cid))
    exchange.response_stream = None


def _kept(sent: str) -> str:
    """A proxy's id of the request, where it is one."""
    return sent if 0 < len(sent) <= 64 and sent.isascii() and not sent.strip(_ID_LETTERS) else ""


_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
