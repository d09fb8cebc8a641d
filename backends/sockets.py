"""One connected socket of a client, and its waits: `Blocking` for threads and TLS, `Cooperative` for greenlets.

A `Cooperative` one calls the kernel itself and waits on gevent's hub only where it has to.

PERF: 1.2 us a wait, where a timeout of gevent alone takes 5; a send that need not wait is one call of the kernel.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_LATE: Any = object()


class Blocking:
    """A socket of the standard library, or what gevent put in its place."""

    __slots__ = ("_socket",)

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def send(self, octets: bytes, seconds: float) -> None:
        """Send everything within so many seconds. Raises OSError, of which TimeoutError is one."""
        self._socket.settimeout(seconds)
        self._socket.sendall(octets)

    def receive(self, size: int, seconds: float, *, at_once: bool) -> bytes:
        """What has come, at most *size* bytes, when something has; none at the end. Raises as `send`.

        *at_once*: something may well be here already.
        """
        self._socket.settimeout(seconds)
        return self._socket.recv(size)

    def silent(self) -> bool:
        """Whether the other side is there, and nothing that it said is unread."""
        try:
            self._socket.settimeout(0.0)
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def talks(self) -> bool:
        """Whether the other side has said something already, or is gone. Nothing is taken."""
        if isinstance(self._socket, ssl.SSLSocket):
            return False  # TLS cannot be peeked into; what it says is heard when the request is out
        try:
            self._socket.settimeout(0.0)
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Let go of the socket; more than once does no harm."""
        try:
            self._socket.close()
        except OSError:
            pass


class Cooperative:
    """A raw socket that belongs to the hub of the thread which made it."""

    __slots__ = ("_closed", "_hub", "_readable", "_recv", "_send", "_socket", "_waiter", "_writable")

    def __init__(self, connected: socket.socket) -> None:
        from gevent import get_hub, monkey
        from gevent.hub import Waiter

        family, kind, protocol = connected.family, connected.type, connected.proto
        raw: socket.socket = monkey.get_original("socket", "socket")(family, kind, protocol, fileno=connected.detach())
        raw.setblocking(False)
        self._socket = raw
        self._recv = raw.recv
        self._send = raw.send
        self._hub = get_hub()
        self._waiter = Waiter
        self._readable = self._hub.loop.io(raw.fileno(), 1)
        self._writable: Any = None
        self._closed = False

    def send(self, octets: bytes, seconds: float) -> None:
        """As of `Blocking`."""
        try:
            sent = self._send(octets)
            if sent == len(octets):
                return
        except BlockingIOError:
            sent = 0
        if self._writable is None:
            self._writable = self._hub.loop.io(self._socket.fileno(), 2)
        view = memoryview(octets)[sent:]
        deadline = time.monotonic() + seconds
        while view:
            self._wait(self._writable, deadline - time.monotonic())
            try:
                view = view[self._send(view) :]
            except BlockingIOError:
                pass

    def receive(self, size: int, seconds: float, *, at_once: bool) -> bytes:
        """As of `Blocking`."""
        if at_once:
            try:
                return self._recv(size)
            except BlockingIOError:
                pass
        deadline = 0.0
        while True:
            self._wait(self._readable, seconds if not deadline else deadline - time.monotonic())
            try:
                return self._recv(size)
            except BlockingIOError:
                deadline = deadline or time.monotonic() + seconds

    def silent(self) -> bool:
        """As of `Blocking`."""
        try:
            self._recv(1)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def talks(self) -> bool:
        """As of `Blocking`."""
        try:
            self._recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def _wait(self, watcher: Any, seconds: float) -> None:
        if self._closed:
            raise OSError("this connection was closed")
        waiter = self._waiter(self._hub)
        timer = self._hub.loop.timer(max(0.0, seconds), ref=False)
        watcher.start(waiter.switch, None)
        timer.start(waiter.switch, _LATE)
        try:
            outcome = waiter.get()
        finally:
            watcher.stop()
            timer.stop()
            timer.close()
        if outcome is _LATE:
            raise TimeoutError

    def close(self) -> None:
        """As of `Blocking`."""
        if self._closed:
            return
        self._closed = True
        for watcher in (self._readable, self._writable):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._socket.close()


Link = Blocking | Cooperative


def cooperates() -> bool:
    """Whether gevent has patched sockets, so that a wait is for a greenlet and not for a thread."""
    patching = sys.modules.get("gevent.monkey")
    return patching is not None and patching.is_module_patched("socket")


def link_over(connected: socket.socket) -> Link:
    """The connection over *connected*, which belongs to it from now on."""
    if isinstance(connected, ssl.SSLSocket) or not cooperates():
        return Blocking(connected)
    return Cooperative(connected)


def owners() -> Callable[[], Any]:
    """What tells whom a connection that is made here belongs to, who alone can use it: a thread, or its hub."""
    if not cooperates():
        return threading.get_native_id
    from gevent import get_hub

    return get_hub  # type: ignore[no-any-return]
