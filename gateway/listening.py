"""Listening sockets and the connections that come in by them: `bind`, `Acceptor`.

The sockets are the standard library's, non-blocking and never wrapped, so that the master can hold them without an event
loop; a process that serves gives each to an `Acceptor` on its own hub.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
from gevent import monkey

from gateway.certificates import Certificates
from gateway.options import Endpoint
from gateway.transport import Socket
from gateway.wire import Wire
from specs.problems import ConfigurationError

log = logging.getLogger("gatewright.wire")
#: Bytes of an answer that the kernel takes ahead of what is on its way. SECURITY: A35. It would take 4 MB for each caller who
#: does not read: 1 ms of copying for which all others wait, and memory that no bound of ours can see.
MOST_UNSENT = 128 * 1024
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def bind(
    endpoint: Endpoint, option: str, *, backlog: int = 2048, mode: int | None = None, shared: bool = False
) -> socket.socket:
    """A socket that listens at *endpoint*. A Unix socket gets the permissions *mode*, and replaces one that is dead.

    Beside a *shared* one each process can make a socket of its own at the same place, by `own_listener`.
    Raises ConfigurationError, naming *option*, where that place cannot be had.
    """
    try:
        if endpoint.path:
            return _bind_path(endpoint.path, backlog, mode)
        # WHY: gevent's own getaddrinfo would make an event loop and a thread, and the master has neither.
        lookup = monkey.get_original("socket", "getaddrinfo")
        found = lookup(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        sock = _bind_address(family, kind, protocol, address)
        try:
            if shared:
                # WHY: taken alone first: two gateways that both share their port would share it with each other.
                address = sock.getsockname()
                sock.close()
                sock = _bind_address(family, kind, protocol, address, shared=True)
            sock.listen(backlog)
        except OSError:
            sock.close()
            raise
        return sock
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(option, f"cannot listen at {endpoint}", (reason or "").lower()) from None


def _bind_address(family: int, kind: int, protocol: int, address: Any, *, shared: bool = False) -> socket.socket:
    sock = Socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setblocking(False)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def own_listener(held: socket.socket, backlog: int = 2048) -> socket.socket:
    """A listening socket of this process alone beside *held*, which is shared: the kernel deals connections out (SO_REUSEPORT).

    WHY beside it: what *held* gets waits while a process is replaced, and nobody is refused when all are at once.
    """
    sock = _bind_address(held.family, held.type, held.proto, held.getsockname(), shared=True)
    sock.listen(backlog)
    return sock


@contextmanager
def short_name(path: str) -> Iterator[str]:
    """A name of the socket file *path* that fits into the 107 bytes which the kernel has for one."""
    if len(os.fsencode(path)) < 100:
        yield path
        return
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{Path(path).name}"
    finally:
        os.close(folder)


def _bind_path(path: str, backlog: int, mode: int | None) -> socket.socket:
    sock = Socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if Path(path).is_socket():
            with Socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, short_name(path) as name:
                probe.settimeout(1.0)
                if probe.connect_ex(name) == 0:
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            Path(path).unlink()
        sock.setblocking(False)
        # SECURITY: made under a umask, so that there is no moment at which others can connect.
        before = os.umask(0o777 & ~mode if mode is not None else 0o117)
        try:
            with short_name(path) as name:
                sock.bind(name)
        finally:
            os.umask(before)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def place_of(sock: socket.socket) -> Endpoint:
    """Where *sock* really listens: the port that 0 became."""
    name = sock.getsockname()
    return Endpoint("", 0, name) if isinstance(name, str) else Endpoint(name[0], name[1])


class Acceptor:
    """Takes connections from one listening socket and serves each in a greenlet, until it is stopped.

    While the wire is full nothing is accepted: callers wait in the kernel's queue, or go to another worker. Where nothing has
    changed after *patience* seconds, they are answered 503 instead of being left to wait.
    """

    def __init__(
        self,
        listener: socket.socket,
        wire: Wire,
        certificates: Certificates | None = None,
        *,
        patience: float = 1.0,
    ) -> None:
        self._family = listener.family
        self._patience = patience
        self._shedding: Any = None
        # WHY: a descriptor of its own: closing it leaves the socket to whoever handed it in.
        self._listener = Socket(fileno=os.dup(listener.fileno()))
        self._listener.setblocking(False)
        if self._family != socket.AF_UNIX:
            # Connections have it from their listener.
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MOST_UNSENT)
        self._accept: Callable[[], tuple[int, Any]] = self._listener._accept  # type: ignore[attr-defined]
        self._wire = wire
        self._certificates = certificates
        self._watcher: Any = None
        self._paused = False

    def start(self) -> None:
        """Begin to accept."""
        self._watcher = gevent.get_hub().loop.io(self._listener.fileno(), 1)
        self._watcher.start(self._accept_some)
        previous = self._wire.on_close

        def resume() -> None:
            previous()
            if self._paused and self._watcher is not None:
                self._paused = False
                self._watcher.start(self._accept_some)

        self._wire.on_close = resume

    def stop(self) -> None:
        """Accept what has come already, then no more."""
        if self._watcher is None:
            return
        self._watcher.stop()
        # A connection that the kernel has accepted would be reset with the socket: it is served, and told to close.
        while self._accept_one():
            pass
        self._watcher.close()
        self._watcher = None
        self._listener.close()

    def _accept_some(self) -> None:
        """Accept a few, so that one worker does not take all. Runs in the hub."""
        if self._wire.full:
            # Somebody waits, or we would not have been called: room is made only then.
            self._wire.make_room()
            self._paused = True
            self._watcher.stop()
            if self._shedding is None:
                self._shedding = gevent.spawn_later(self._patience, self._shed)
            return
        for _ in range(8):
            if not self._accept_one() or self._wire.full:
                return

    def _shed(self) -> None:
        """Turn away whoever waits, for as long as there is no room."""
        try:
            while self._paused and self._watcher is not None and self._wire.full:
                for _ in range(32):
                    if not self._accept_one(self._turn_away):
                        break
                gevent.sleep(0.05)
        finally:
            self._shedding = None

    def _turn_away(self, sock: socket.socket, peer: str, context: ssl.SSLContext | None) -> None:
        self._wire.turn_away(sock, peer, secure=context is not None)

    def _begin(self, sock: socket.socket, peer: str, context: ssl.SSLContext | None) -> None:
        self._wire.expected += 1
        gevent.spawn(self._serve, sock, peer, context)

    def _accept_one(self, take: Callable[[socket.socket, str, ssl.SSLContext | None], None] | None = None) -> bool:
        """Accept a connection for *take*; whether there may be more."""
        try:
            descriptor, address = self._accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                log.error("a connection could not be accepted: %s", error.strerror)
                self._pause(0.1)
                return False
            return True
        sock = Socket(self._family, socket.SOCK_STREAM, 0, fileno=descriptor)
        if self._family == socket.AF_UNIX:
            peer = "127.0.0.1"  # WHY: who reaches the socket file is on this machine.
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = address[0]
        context = self._certificates.context() if self._certificates else None
        (take or self._begin)(sock, peer, context)
        return True

    def _serve(self, sock: socket.socket, peer: str, context: ssl.SSLContext | None) -> None:
        self._wire.expected -= 1
        self._wire.serve(sock, peer, context)

    def _pause(self, seconds: float) -> None:
        self._paused = True
        self._watcher.stop()
        gevent.spawn_later(seconds, lambda: self._wire.on_close())
