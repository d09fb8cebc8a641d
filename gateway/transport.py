"""Bytes in and out of one socket, each wait with an end: `Transport`, and `TlsTransport` over it.

A receive or send is tried at once on the raw non-blocking socket and waits on gevent's hub only where it would block.
Deadlines cost nothing while nothing is late: a wait notes its deadline, and one timer of the `Sweeper` looks at all of them.
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from math import inf
from typing import Any

import gevent
from gevent import getcurrent, monkey

from gateway.bounds import Held

#: The socket class of the standard library, patched or not: gevent's own would wait for itself.
Socket: type[socket.socket] = monkey.get_original("socket", "socket")
LARGEST_READ = 65536
_READY, _LATE, _CLOSED = object(), object(), object()


class Late(Exception):
    """A wait reached its deadline."""


class Gone(Exception):
    """The other side is not there any more, or this side is closing."""


class Sweeper:
    """The one timer behind all deadlines of a process; each is noticed at most *interval* seconds late."""

    def __init__(self, interval: float = 0.5, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval = interval
        self.clock = clock
        self.transports: set[Transport] = set()
        self._timer: Any = None

    def start(self) -> None:
        """Begin to look; belongs after the fork."""
        if self._timer is None:
            self._timer = gevent.get_hub().loop.timer(self.interval, self.interval, ref=False)
            self._timer.start(self.sweep)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def sweep(self) -> None:
        """Wake whoever has waited too long. Runs in the hub."""
        now = self.clock()
        for transport in [late for late in self.transports if late.deadline < now]:
            if transport.deadline < now:  # one that was woken before may wait for something else by now
                transport.wake(_LATE)


class Transport:
    """One connected, non-blocking socket. Belongs to one greenlet; `wake` and `interrupt` alone are for others."""

    secure = False

    def __init__(self, sock: socket.socket, sweeper: Sweeper) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.sweeper = sweeper
        self.clock = sweeper.clock
        self.hub = gevent.get_hub()
        self.deadline = inf
        self.ends = inf  #: when waiting is over, whatever deadline a wait has of its own
        self.unsent = Held()  #: what waits for slow readers, of all transports that share it
        self.counted = 0  #: how much of `unsent` is this transport's already, by whoever sends
        self._resume: Any = None
        self._recv = sock.recv
        self._send = sock.send
        self._readable = self.hub.loop.io(sock.fileno(), 1)
        self._writable: Any = None
        sweeper.transports.add(self)

    def handshake(self, deadline: float) -> None:
        """What comes before the first byte; nothing, without TLS."""

    def receive(self, deadline: float, size: int = 16384, *, later: bool = False) -> bytes:
        """The next bytes, at most *size*; none at the end, which a broken connection is too. Raises Late.

        *later* says that they are hardly there yet.
        """
        # PERF: after an answer the next request is not there yet, and asking for it would be a system call in vain: a tenth of
        # what a request costs where many callers wait for their turn.
        if later:
            self._wait(self._readable, deadline)
        while True:
            try:
                return self._recv(size)
            except BlockingIOError:
                pass
            except OSError:
                return b""
            self._wait(self._readable, deadline)

    def receive_raw(self, deadline: float) -> bytes:
        """The next bytes as they came, deciphered by nobody."""
        return Transport.receive(self, deadline)

    def give_back(self, octets: bytes) -> bytes:
        """Take *octets*, which came raw, for what comes next; what is in clear already."""
        return octets

    def send(self, octets: bytes | memoryview, seconds: float, rate: float) -> None:
        """Send everything. Raises Late where it waits for more than *seconds*, of which *rate* bytes sent earn one; Gone."""
        try:
            sent = self._send(octets)
            if sent == len(octets):
                return
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise Gone from error
        if self._writable is None:
            self._writable = self.hub.loop.io(self.sock.fileno(), 2)
        view = memoryview(octets)[sent:]
        rest = max(0, len(view) - self.counted)
        if not self.unsent.take(rest):
            # SECURITY: A35. A thousand readers who do not read have what a few may have.
            self._forget_unsent()
            raise Gone
        try:
            self._send_rest(view, seconds, rate)
        finally:
            self.unsent.octets -= rest

    def _send_rest(self, view: memoryview, seconds: float, rate: float) -> None:
        patience = seconds
        while view:
            began = self.clock()
            try:
                self._wait(self._writable, began + patience)
            except Late:
                self._forget_unsent()
                raise
            try:
                sent = self._send(view)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise Gone from error
            view = view[sent:]
            # SECURITY: A35. Whoever reads slowly is given as long as `rate` allows, and no pause longer than `seconds`.
            patience = min(seconds, patience + sent / rate - (self.clock() - began))

    def _forget_unsent(self) -> None:
        """End with a reset. SECURITY: A35. The kernel would keep megabytes for a reader that does not read, long after us."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass

    def _wait(self, watcher: Any, deadline: float) -> None:
        # PERF: 1.1 us there and back; gevent's Waiter, an entry in a set and a timer for each wait took 3.
        if deadline > self.ends:
            deadline = self.ends
        if deadline <= self.clock():
            raise Late
        self.deadline = deadline
        resume = self._resume = getcurrent().switch
        watcher.start(resume, _READY)
        try:
            outcome = self.hub.switch()
        finally:
            watcher.stop()
            self._resume = None
            self.deadline = inf
        if outcome is not _READY:
            raise Late if outcome is _LATE else Gone

    def wake(self, outcome: Any) -> None:
        """End the wait that is on, if one is. Runs in the hub."""
        resume, self._resume = self._resume, None
        if resume is not None:
            resume(outcome)

    def interrupt(self) -> None:
        """End the wait that is on, if one is, with Gone."""
        self.hub.loop.run_callback(self.wake, _CLOSED)

    def end(self) -> None:
        """Say that nothing more is sent; the other side may still talk."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        """Let go of the socket."""
        self.sweeper.transports.discard(self)
        self._readable.stop()
        self._readable.close()
        if self._writable is not None:
            self._writable.stop()
            self._writable.close()
        self.sock.close()


class TlsTransport(Transport):
    """TLS over a transport, by memory buffers: every wait is still the transport's, with its deadline."""

    secure = True

    def __init__(self, sock: socket.socket, sweeper: Sweeper, context: ssl.SSLContext) -> None:
        super().__init__(sock, sweeper)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def handshake(self, deadline: float) -> None:
        """Agree on keys by *deadline*. Raises Late, and Gone where there is no agreement."""
        while True:
            try:
                self._tls.do_handshake()
                self._flush(deadline - self.clock())
                return
            except ssl.SSLWantReadError:
                self._flush(deadline - self.clock())
                self._feed(deadline)
            except (ssl.SSLError, OSError) as error:
                try:
                    self._flush(1.0)
                except Late:
                    pass
                raise Gone from error

    def give_back(self, octets: bytes) -> bytes:
        """As of a transport; nothing is in clear before it is deciphered."""
        self._incoming.write(octets)
        return b""

    def receive(self, deadline: float, size: int = 16384, *, later: bool = False) -> bytes:
        """As of a transport, in clear."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._flush(deadline - self.clock())
                self._feed(deadline, later)
            except (ssl.SSLError, OSError):
                return b""

    def send(self, octets: bytes | memoryview, seconds: float, rate: float) -> None:
        """As of a transport, enciphered."""
        view = memoryview(octets)
        while view:
            try:
                # Slices, so that an answer of 100 MB is not held enciphered as well.
                view = view[self._tls.write(view[: 16 * LARGEST_READ]) :]
            except (ssl.SSLError, OSError) as error:
                raise Gone from error
            self._flush(seconds, rate)

    def end(self) -> None:
        """Say goodbye in TLS, then as a transport does."""
        try:
            self._tls.unwrap()
        except (ssl.SSLError, OSError, ValueError):
            pass
        try:
            self._flush(1.0)
        except (Late, Gone):
            pass
        super().end()

    def _feed(self, deadline: float, later: bool = False) -> None:
        octets = super().receive(deadline, LARGEST_READ, later=later)
        if octets:
            self._incoming.write(octets)
        else:
            self._incoming.write_eof()

    def _flush(self, seconds: float, rate: float = 1000.0) -> None:
        if self._outgoing.pending:
            super().send(self._outgoing.read(), seconds, rate)
