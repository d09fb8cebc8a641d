"""The one HTTP client: whatever here calls another system over HTTP does it through a `Client`.

A client belongs to one origin and keeps a pool of connections to it. It follows no redirect, keeps no cookie and decodes no
content coding, so nothing that a system answers makes it talk to another one or grow beyond its bounds.

    client = Client(origin_of("https://erp.example"), timeout=10, tls=tls_context())
    client.request("GET", "/stock/7").json()

Calls block the greenlet where gevent has patched sockets, else the thread. `backends.http_wire` is one connection of the
pool, `backends.http_stream` an answer taken piece by piece, `backends.breaker` the decision to leave a failing system alone.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from backends.breaker import Breaker
from backends.http_stream import NothingAnswered, Streamed, Whole, begin_stream
from backends.http_wire import (
    Connection,
    Headers,
    Heads,
    Origin,
    Response,
    encode_headers,
    encode_request,
    encode_stream_head,
)
from backends.permits import Permits
from backends.sockets import owners
from specs.problems import BackendError, BackendTimeout, BackendUnavailable

__all__ = [
    "IDEMPOTENT", "Client", "Headers", "NothingAnswered", "Origin", "PoolExhausted", "Response", "Streamed", "Usage",
    "Whole", "origin_of", "tls_context",
]  # fmt: skip

#: Methods that may be repeated: RFC 9110, 9.2.2.
IDEMPOTENT = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"))
#: The pause before the first repetition, in seconds; each further one is twice as long.
PAUSE = 0.05


class Usage(NamedTuple):
    """How a pool stands: connections that carry a call, that wait for one, and the most there may be."""

    busy: int
    idle: int
    most: int


def origin_of(url: str) -> Origin:
    """The origin in *url*: ``http://host:port``, ``https://host``, or ``http+unix:///path/of.sock``. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme == "http+unix" and parts.path:
        return Origin("http", "localhost", 0, unquote(parts.path))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not the address of an HTTP system: {url!r}")
    return Origin(parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))


def tls_context(
    *, verify: bool = True, ca: str | None = None, cert: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """How TLS is spoken: with whose authorities, and with which certificate of ours. Raises OSError for a bad file."""
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(cert, key)
    return context


class Client:
    """Calls to one origin over a pool of kept-alive connections.

    *timeout* bounds a whole call in seconds, waiting for a connection and repetitions included; *connect_timeout* and
    *read_timeout* (silence between two reads) bound parts of it. *retries* is how often a call is repeated whose
    connection broke before any byte of an answer: of idempotent methods, and of any method that was never sent because
    connecting failed. A timeout is not repeated, and an answer is an answer whatever its status. *headers* go with every
    call that has none of the same name. *max_response* is in bytes. *max_idle* is how long, in seconds, an unused
    connection is kept. Statuses in *failing* count as failures for the breaker where an answer is streamed.
    Without *own_host* each call brings the Host header.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        timeout: float = 30.0,
        connect_timeout: float = 5.0,
        read_timeout: float | None = None,
        retries: int = 2,
        pool_size: int = 20,
        max_idle: float = 30.0,
        max_response: int = 32 * 1024 * 1024,
        headers: Iterable[tuple[str, str]] = (),
        tls: ssl.SSLContext | None = None,
        breaker: Breaker | None = None,
        failing: Iterable[int] = (),
        own_host: bool = True,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.origin = origin
        self.breaker = breaker or Breaker(str(origin), failures=0)
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._retries = retries
        self._pool_size = pool_size
        self._max_idle = max_idle
        self._max_response = max_response
        self._tls = (tls or tls_context()) if origin.scheme == "https" else None
        self._sleep = sleep or time.sleep
        self._failing = frozenset(failing)
        self._common_fields = [*([("Host", origin.authority)] if own_host else []), *headers]
        self._common_names = {name.lower() for name, _ in self._common_fields}
        self._common = encode_headers(self._common_fields)
        self._permits = Permits(pool_size)
        # WHY: a gevent socket belongs to the thread whose hub made it, and `blocking` services run in threads of their
        # own: each thread finds the connections that it made.
        self._owner = owners()
        self._idle: dict[Any, deque[Connection]] = {}
        self._heads = Heads()
        self.busy = 0  #: calls whose answer is not over
        self._closed = False

    def request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> Response:
        """The response to one request, whatever its status. *target* is a path with its query, encoded.

        *timeout* shortens the client's own. Raises ValueError for what cannot be sent, BackendTimeout, BackendUnavailable (no
        connection, none free in the pool, breaker open) and BackendError (an answer that is not HTTP, or too large).
        """
        # PERF: 25 us of CPU a call on loopback, kept alive, and 48 under gevent; http.client takes 58 and 104.
        own = list(headers)
        common = self._common
        if not self._common_names.isdisjoint([name.lower() for name, _ in own]):
            named = {name.lower() for name, _ in own}
            common = encode_headers([field for field in self._common_fields if field[0].lower() not in named])
        request = encode_request(method, target, common, encode_headers(own), body)
        deadline = time.monotonic() + (self._timeout if timeout is None else min(timeout, self._timeout))
        self.breaker.admit()
        try:
            response = self._send(method, request, deadline)
        except PoolExhausted:
            self.breaker.abandoned()
            raise
        except BackendError:
            self.breaker.failed()
            raise
        except BaseException:
            self.breaker.abandoned()
            raise
        self.breaker.succeeded()
        return response

    def head(self, method: str, target: str, headers: Iterable[tuple[str, str]], length: int | None) -> bytes:
        """What a request to `stream` begins with, which ends where further headers and the empty line follow.

        The body is *length* bytes long, or comes in chunks. Raises ValueError for what cannot be sent.
        """
        return encode_stream_head(method, target, self._common + encode_headers(headers), length)[:-2]

    def stream(
        self,
        method: str,
        head: bytes,
        body: bytes | Iterable[bytes] = b"",
        *,
        chunked: bool = False,
        timeout: float,
        silence: float,
        patience: float = 1.0,
    ) -> Streamed | Whole:
        """The response to one request, its body still to be taken. A *body* in pieces is as long as *head* says, or *chunked*.

        *head* is whole, with its empty line. The head of the response is due *timeout* seconds after the request was sent;
        *silence* bounds each pause of the system, *patience* the
        wait for a connection of the pool, in seconds. Nothing is repeated but what a closed, pooled connection lost. Raises
        as `request`, and NothingAnswered where no byte of an answer came; the connection is held until the response is over.
        """
        breaker = self.breaker
        if not breaker.closed:
            breaker.admit()
        if not self._permits.acquire(patience):
            breaker.abandoned()
            raise PoolExhausted(f"{self.origin}: none of {self._pool_size} connections became free in time")
        self.busy += 1
        try:
            streamed = self._stream(method, head, body, chunked, timeout, silence)
        except BackendError:
            self._release()
            breaker.failed()
            raise
        except BaseException:
            self._release()
            breaker.abandoned()
            raise
        if streamed.status in self._failing:
            breaker.failed()
        else:
            breaker.succeeded()
        return streamed

    def _stream(
        self, method: str, head: bytes, body: bytes | Iterable[bytes], chunked: bool, timeout: float, silence: float
    ) -> Streamed | Whole:
        while True:
            connection = self._take()
            pooled = connection is not None
            if connection is None:
                try:
                    connection = Connection(self.origin, self._tls, self._connect_timeout)
                except (BackendUnavailable, BackendTimeout) as error:
                    raise NothingAnswered(str(error), unsent=True) from error
            try:
                return begin_stream(
                    connection,
                    head,
                    body,
                    chunked,
                    method == "HEAD",
                    self._max_response,
                    timeout,
                    silence,
                    self._heads,
                    self._over,
                )
            except TimeoutError:
                connection.close()
                raise BackendTimeout(f"{self.origin}: no answer to {method} in time") from None
            except OSError as error:
                connection.close()
                if connection.answering:
                    raise BackendUnavailable(f"{self.origin}: {error}") from error
                if pooled and isinstance(body, bytes) and method in IDEMPOTENT:
                    continue
                raise NothingAnswered(f"{self.origin}: {error}") from error
            except BaseException:
                # SECURITY: A7. Whatever ends a call early costs the connection, so that no answer reaches the next caller.
                connection.close()
                raise

    def _over(self, connection: Connection, whole: bool) -> None:
        """An answer that was taken piece by piece is over; *whole*: it came to its end."""
        if not whole:
            connection.close()
        self._put_back(connection)
        self._release()

    def _release(self) -> None:
        self.busy -= 1
        self._permits.release()

    def _send(self, method: str, request: bytes, deadline: float) -> Response:
        if not self._permits.acquire(deadline - time.monotonic()):
            raise PoolExhausted(f"{self.origin}: none of {self._pool_size} connections became free in time")
        self.busy += 1
        try:
            failures = 0
            while True:
                try:
                    return self._attempt(method, request, deadline)
                except _NothingAnswered as failed:
                    failures += 0 if failed.stale else 1
                    pause = PAUSE * 2 ** (failures - 1) if failures else 0.0
                    late = time.monotonic() + pause >= deadline
                    if late or failures > self._retries or not (failed.unsent or method in IDEMPOTENT):
                        raise failed.error from failed.error.__cause__
                    if pause:
                        self._sleep(pause)
        finally:
            self._release()

    def _attempt(self, method: str, request: bytes, deadline: float) -> Response:
        """One exchange over one connection, which is back in the pool or closed afterwards."""
        connection = self._take()
        pooled = connection is not None
        if connection is None:
            try:
                connect_timeout = min(self._connect_timeout, max(0.001, deadline - time.monotonic()))
                connection = Connection(self.origin, self._tls, connect_timeout)
            except BackendUnavailable as error:
                raise _NothingAnswered(error, unsent=True) from error
        try:
            return connection.exchange(request, method == "HEAD", self._max_response, lambda: self._remaining(deadline))
        except TimeoutError:
            raise BackendTimeout(f"{self.origin}: no whole answer to {method} in time") from None
        except OSError as error:
            failure = BackendUnavailable(f"{self.origin}: {error}")
            failure.__cause__ = error
            if connection.answering:
                raise failure from error
            raise _NothingAnswered(failure, stale=pooled) from error
        finally:
            # SECURITY: A7. A call that ends early, by a deadline or a kill, leaves `reusable` false.
            self._put_back(connection)

    def _remaining(self, deadline: float) -> float:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise BackendTimeout(f"{self.origin}: no whole answer in time")
        return remaining if self._read_timeout is None else min(remaining, self._read_timeout)

    def _take(self) -> Connection | None:
        idle = self._idle.get(self._owner())
        if not idle:
            return None
        oldest = time.monotonic() - self._max_idle
        while idle and idle[0].idle_since < oldest:
            idle.popleft().close()
        while idle:
            connection = idle.pop()
            if connection.usable():
                return connection
            connection.close()
        return None

    def _put_back(self, connection: Connection) -> None:
        others = len(self._idle) > 1 and sum(map(len, list(self._idle.values()))) + self.busy > self._pool_size
        if not connection.reusable or self._closed or others:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        owner = self._owner()
        idle = self._idle.get(owner)
        if idle is None:
            idle = self._idle[owner] = deque()
        idle.append(connection)

    def usage(self) -> Usage:
        """How the pool stands now."""
        return Usage(self.busy, sum(len(idle) for idle in list(self._idle.values())), self._pool_size)

    def close(self) -> None:
        """Close what is idle, and from now on every connection once its call has ended."""
        self._closed = True
        for idle in list(self._idle.values()):
            while idle:
                idle.pop().close()


class PoolExhausted(BackendUnavailable):
    """Every connection of the pool was busy for as long as the caller could wait."""


class _NothingAnswered(Exception):
    """An attempt broke before any byte of an answer. *stale*: over a pooled connection that the peer may have closed."""

    def __init__(self, error: BackendError, *, unsent: bool = False, stale: bool = False) -> None:
        super().__init__(error)
        self.error = error
        self.unsent = unsent
        self.stale = stale
