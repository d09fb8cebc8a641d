"""The wire: all connections of a process, who answers them, and what they may take of it together.

Each is served by one greenlet (`gateway.connection`), with

    handle(exchange)     fills response_status, response_headers, response_body (or response_stream)
    refuse(exchange)     the same, for an exchange whose `problem` the wire has set
    sent(exchange, n)    optional: n bytes of the answer have left
"""

from __future__ import annotations

import itertools
import secrets
import socket
import ssl
from collections.abc import Callable
from math import inf
from typing import Protocol

import gevent

from gateway.answer import Clock
from gateway.bounds import Bounds, Held
from gateway.connection import RETRY_SOON, Connection
from gateway.transport import Gone, Late, Sweeper, TlsTransport, Transport
from security.addresses import parse_address
from specs.exchange import Exchange
from specs.problems import Problem


class Handler(Protocol):
    """Who answers."""

    def handle(self, exchange: Exchange) -> None:
        """Answer *exchange*."""

    def refuse(self, exchange: Exchange) -> None:
        """Answer *exchange*, whose `problem` is set."""


class CorrelationIds:
    """Ids of requests, no two of which are the same, on whatever machine.

    PERF: a random prefix and a counter cost 0.2 us, ``uuid4`` 2.1. A caller can guess its neighbours' ids; an id grants nothing.
    """

    def __init__(self) -> None:
        self.prefix = secrets.token_hex(8)
        self.next = itertools.count(secrets.randbits(24) << 8).__next__

    def make(self) -> str:
        """A new id of 26 hexadecimal digits."""
        return f"{self.prefix}{self.next():010x}"


class Wire:
    """Serves connections until it is told to drain. One for each listening purpose of a process; made after the fork.

    With *proxy_protocol*, trusted proxies say in front of each connection for whom it is (`gateway.proxy_protocol`).
    """

    def __init__(
        self,
        handler: Handler,
        bounds: Bounds | None = None,
        *,
        sweeper: Sweeper | None = None,
        cids: CorrelationIds | None = None,
        proxy_protocol: bool = False,
    ) -> None:
        self.handler = handler
        self.bounds = bounds or Bounds()
        self.sweeper = sweeper or Sweeper()
        self.cids = cids or CorrelationIds()
        self.proxy_protocol = proxy_protocol
        self.dates = Clock()
        self.connections: set[Connection] = set()
        self.expected = 0  #: connections that were accepted and whose greenlet has not begun
        self.requests = 0
        self.in_flight = 0  #: requests that a handler is answering
        self.held = Held()
        self.unsent = Held(self.bounds.answers)
        self.peers: dict[str | bytes, int] = {}  #: how many connections each address has
        self.draining = False
        self.on_close: Callable[[], None] = _nothing
        self.sent: Callable[[Exchange, int], None] | None = getattr(handler, "sent", None)

    @property
    def full(self) -> bool:
        """Whether there are as many connections as there may be."""
        return len(self.connections) + self.expected >= self.bounds.connections

    def bound(self, bounds: Bounds) -> None:
        """Serve within *bounds* from the next request on."""
        self.bounds = bounds
        self.unsent.most = bounds.answers

    def serve(self, sock: socket.socket, peer: str, tls: ssl.SSLContext | None = None) -> None:
        """Serve *sock* to its end, in the running greenlet. *peer* is the address of the other side."""
        self.sweeper.start()
        transport = TlsTransport(sock, self.sweeper, tls) if tls else Transport(sock, self.sweeper)
        transport.unsent = self.unsent
        connection = Connection(self, transport, peer)
        self.connections.add(connection)
        try:
            connection.run()
        finally:
            self.connections.discard(connection)
            self._count_out(connection)
            transport.close()
            self.on_close()

    def count_in(self, connection: Connection) -> bool:
        """Count *connection* for its address; False where the address has as many as it may have."""
        subject = connection.subject = subject_of(connection.peer)
        count = self.peers[subject] = self.peers.get(subject, 0) + 1
        return count <= self.bounds.connections_per_address or self.bounds.trusted(connection.peer)

    def _count_out(self, connection: Connection) -> None:
        subject = connection.subject
        if subject is not None:
            left = self.peers[subject] - 1
            if left:
                self.peers[subject] = left
            else:
                del self.peers[subject]

    def overloaded(self, exchange: Exchange) -> Problem | None:
        """Why *exchange* is not answered now, where there is too much to do for everybody or for its caller."""
        bounds = self.bounds
        if self.in_flight >= bounds.requests:
            return Problem.of("overloaded", "too many requests are being answered", headers=RETRY_SOON)
        # PERF: one address cannot have more than all have: only then its requests are counted, 20 us for a thousand.
        if self.in_flight >= bounds.requests_per_address:
            address = exchange.address
            if sum(one.answering == address for one in self.connections) >= bounds.requests_per_address:
                return Problem.of(
                    "overloaded", "too many requests of this address are being answered", headers=RETRY_SOON
                )
        return None

    def make_room(self) -> None:
        """End the connection that has been idle longest."""
        idle = [connection for connection in self.connections if connection.idle_since != inf]
        if idle:
            min(idle, key=lambda connection: connection.idle_since).transport.interrupt()

    def turn_away(self, sock: socket.socket, peer: str, *, secure: bool) -> None:
        """End *sock*, which is one too many, telling why where that can be told."""
        transport = Transport(sock, self.sweeper)
        try:
            if not secure:
                Connection(self, transport, peer).turn_away("there are too many connections")
        except (Late, Gone):
            pass
        finally:
            transport.close()

    def drain(self, patience: float = 0.3) -> None:
        """Answer what is under way, and end connections with nothing under way.

        WHY: a caller that is busy may be writing its next request at this very moment, and an end would meet it on its way.
        So a connection that was busy a moment ago may ask once more, within *patience* seconds, and is told to close.
        """
        self.draining = True
        recently = self.sweeper.clock() - 2.0
        for connection in list(self.connections):
            if connection.idle_since < recently:
                connection.transport.interrupt()
        gevent.spawn_later(patience, self._end_idle)

    def _end_idle(self) -> None:
        for connection in list(self.connections):
            if connection.idle_since != inf:
                connection.transport.interrupt()


def _nothing() -> None:
    pass


def subject_of(peer: str) -> str | bytes:
    """Whom a connection counts for: its address, and of IPv6 the /64, since who has one address of it has all (A22)."""
    address = parse_address(peer)
    return address.bucket() if address is not None else peer
