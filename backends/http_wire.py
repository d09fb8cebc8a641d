"""One HTTP/1.1 connection to a system out there: a request's bytes, and a response read strictly.

`http` pools these. Nothing here retries, waits for a slot or knows of a breaker. Every rule that keeps one caller's answer
from another's is here: a connection is `reusable` only after a response that ended exactly where it said it would.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import httptools
import orjson

from backends.sockets import link_over
from specs.problems import BackendError, BackendTimeout, BackendUnavailable

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(r"(?:/|\*\Z)[!\"$-~]*")
#: Methods that need no look.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
#: What cannot stand in a value: control characters other than the tab.
_CONTROLS = bytes((*range(9), *range(10, 32), 127))
#: "Name: " of names that were found to be such, in whatever case; no more than so many.
_KNOWN: dict[str, str] = {}
_MOST_KNOWN = 1000
#: What we say of the message ourselves: a caller's word for it could disagree with the bytes (request smuggling).
FRAMING = frozenset(
    ("connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
#: The largest head of a response, and of all interim ones before it, in bytes; and how many lines it may have.
MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
MAX_INTERIM = 8
_READ = 64 * 1024


class Headers(Mapping[str, str]):
    """The header fields of a response, by name in any case; a repeated one is joined by ``, ``, or see `all`.

    >>> Headers([("Set-Cookie", "a"), ("set-cookie", "b")]).all("SET-COOKIE")
    ['a', 'b']
    """

    __slots__ = ("_by_name", "fields")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.fields = tuple(fields)
        self._by_name: dict[str, list[str]] | None = None

    def _index(self) -> dict[str, list[str]]:
        if self._by_name is None:
            self._by_name = {}
            for name, value in self.fields:
                self._by_name.setdefault(name.lower(), []).append(value)
        return self._by_name

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._index()[name.lower()])

    def all(self, name: str) -> list[str]:
        """Every value of that name, in the order they came."""
        return list(self._index().get(name.lower(), ()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._index())

    def __len__(self) -> int:
        return len(self._index())

    def __repr__(self) -> str:
        return f"Headers({list(self._index())})"  # values may be cookies and tokens


class Response:
    """What the system answered, read to its end. Its content codings are not undone: none was asked for."""

    __slots__ = ("body", "headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: Headers, body: bytes) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body

    @property
    def text(self) -> str:
        """The body as text, by the charset that the response names, else UTF-8; what does not decode is replaced."""
        return decode(self.body, self.headers.get("content-type", ""))

    def json(self) -> Any:
        """The body as JSON. Raises BackendError where it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise BackendError(f"an answer that is not JSON: {error}") from None

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


def decode(body: bytes, content_type: str) -> str:
    """*body* as text, by the charset of *content_type*, else UTF-8."""
    match = re.search(r'charset\s*=\s*"?([\w.:-]+)', content_type, re.IGNORECASE)
    try:
        return body.decode(match[1] if match else "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


class Origin(NamedTuple):
    """Where to connect to: a host and port, or a Unix socket (*path*)."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in (0, {"http": 80, "https": 443}[self.scheme]) else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.scheme}://{self.authority}"


def encode_headers(headers: Iterable[tuple[str, str]]) -> bytes:
    """Header lines, CR LF included. Raises ValueError: no such name or value can be sent.

    SECURITY: A8. A line break in a name or value would begin a header, or a request, of the caller's making.
    """
    # PERF: looked at all together, and names once: 1.6 us for nine headers, where a look at each takes 7.
    known = _KNOWN
    lines = [f"{known.get(name) or _begin(name)}{value}\r\n" for name, value in headers]
    try:
        octets = "".join(lines).encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("a header value that is not Latin-1") from None
    if len(octets) - len(octets.translate(None, _CONTROLS)) != 2 * len(lines):
        raise ValueError("a control character in the value of a header")
    return octets


def _begin(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"not a header name: {name!r}")
    if name.lower() in FRAMING:
        raise ValueError(f"the header {name} is written by the client itself")
    begin = f"{name}: "
    if len(_KNOWN) < _MOST_KNOWN:
        _KNOWN[name] = begin
    return begin


def encode_request(method: str, target: str, common: bytes, headers: bytes, body: bytes) -> bytes:
    """The request as it goes over the wire. Raises ValueError for a method or target that cannot be sent (A8)."""
    return encode_stream_head(method, target, common + headers, len(body)) + body


def encode_stream_head(method: str, target: str, headers: bytes, length: int | None) -> bytes:
    """The head of a request whose body is *length* bytes, or comes in chunks. Raises ValueError as `encode_request`."""
    if method not in _METHODS and (not _TOKEN.fullmatch(method) or method == "CONNECT"):
        raise ValueError(f"not a method that can be sent: {method!r}")
    if not _TARGET.fullmatch(target):
        raise ValueError(f"not a request target: {target!r}")
    framing = b""
    if length is None:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif length or method in ("POST", "PUT", "PATCH"):
        framing = b"Content-Length: %d\r\n" % length
    return b"".join((f"{method} {target} HTTP/1.1\r\n".encode("ascii"), headers, framing, b"\r\n"))


class Known:
    """What an answer's head said that was read before: *status*, *fields*, *length* of the body, and of the connection.

    *onward* is for whoever hands answers on: what it made of the fields.
    """

    __slots__ = ("connection", "fields", "keep_alive", "length", "onward", "status")

    def __init__(self, reading: Reading) -> None:
        self.status = reading.status
        self.fields = tuple(reading.fields)
        self.connection = reading.connection
        self.length = reading.size
        self.keep_alive = reading.keep_alive
        self.onward: Any = None


class Heads:
    """Heads of answers that were read strictly, by their bytes: the same bytes say the same again.

    PERF: 0.3 us to find one, 6 to read it. SECURITY: those that set a cookie are not kept, and no more than `MOST`.
    """

    MOST = 256
    LONGEST = 2048

    __slots__ = ("_known", "get")

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}
        self.get = self._known.get

    def keep(self, octets: bytes, reading: Reading) -> None:
        """Remember what the head *octets* said, after an answer that was read to its end and is as long as its head told."""
        if (
            len(octets) > self.LONGEST
            or reading.interim
            or reading.bodyless
            or reading.chunked
            or reading.length != reading.size
            or any(name.lower() == "set-cookie" for name, _ in reading.fields)
        ):
            return
        if len(self._known) >= self.MOST:
            self._known.clear()
        self._known[octets] = Known(reading)


class Reading:
    """The parser's callbacks: they keep what came and note what is wrong; they never raise."""

    __slots__ = (
        "body", "bodyless", "chunked", "complete", "connection", "fault", "field_size", "fields", "head_done", "head_size",
        "interim",
        "keep_alive", "length", "most", "parser", "reason", "size", "status", "surplus",
    )  # fmt: skip

    def __init__(self, bodyless: bool, most: int) -> None:
        self.bodyless = bodyless
        self.most = most
        self.interim = 0
        self.head_size = 0
        self.field_size = 0
        self.fault = ""
        self.surplus = False
        self.keep_alive = False
        self._clear()
        self.parser = httptools.HttpResponseParser(self)

    def _clear(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.body: list[bytes] = []
        self.size = 0
        self.status = 0
        self.reason = ""
        self.length: int | None = None
        self.chunked = False
        self.connection = ""
        self.head_done = False
        self.complete = False

    @property
    def headers(self) -> Headers:
        return Headers(self.fields)

    def on_message_begin(self) -> None:
        if self.complete:
            self.surplus = True

    def on_status(self, reason: bytes) -> None:
        if not self.complete:
            self.reason = reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done:  # trailers are not handed on, nor is anything after the end
            return
        if len(self.fields) >= MAX_HEADERS:
            self.fault = "too many header fields"
            return
        self.field_size += len(name) + len(value)
        if self.field_size > MAX_HEAD:
            self.fault = f"header fields of more than {MAX_HEAD} bytes"
            return
        key = name.lower()
        text = value.decode("latin-1")
        if key == b"content-length":
            self.length = int(text) if text.isdecimal() and len(text) < 16 else -1
        elif key == b"connection":
            self.connection = f"{self.connection}, {text}" if self.connection else text
        elif key == b"transfer-encoding":
            self.chunked = True
            if text.strip().lower() != "chunked":
                self.fault = f"an answer in the transfer coding {text[:40]!r}, which was not asked for"
        self.fields.append((name.decode("latin-1"), text))

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        self.head_done = True
        self.status = self.parser.get_status_code()
        if self.status == 101:
            self.fault = "a change of protocol that was not asked for"  # SECURITY: A6
        elif self.length == -1 or ((self.length or 0) > self.most and not self.bodyless):
            self.fault = f"an answer of more than {self.most} bytes"

    def on_body(self, body: bytes) -> None:
        if self.complete or self.bodyless:
            self.surplus = True
            return
        self.size += len(body)
        if self.size > self.most:
            # SECURITY: A38. What a system sends is bounded like what a caller sends.
            self.fault = f"an answer of more than {self.most} bytes"
            self.body.clear()
        else:
            self.body.append(body)

    def on_message_complete(self) -> None:
        if self.complete:
            return
        if self.status < 200:
            self.interim += 1
            if self.interim > MAX_INTERIM:
                self.fault = "too many interim answers"
            self._clear()
            return
        self.complete = True
        self.keep_alive = self.parser.should_keep_alive()


class Connection:
    """One connected socket. Use it for one exchange at a time; close it unless it is `reusable` afterwards."""

    __slots__ = ("_link", "answering", "idle_since", "origin", "reusable", "used")

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None, timeout: float) -> None:
        self.origin = origin
        self.used = False
        self.reusable = True
        self.answering = False
        self.idle_since = 0.0
        self._link = link_over(_connect(origin, tls, timeout))

    def usable(self) -> bool:
        """Whether a pooled connection can carry another request: still open, and nothing unread on it.

        SECURITY: A6, A7. Bytes that nobody asked for would be taken for the answer to the next caller's request.
        """
        return self._link.silent()

    def exchange(self, request: bytes, head_only: bool, most: int, remaining: Callable[[], float]) -> Response:
        """Send *request* and read the response. *remaining* gives the seconds left, or raises BackendTimeout.

        Raises OSError as the socket does, BackendTimeout, and BackendError for what is not HTTP or too much of it.
        `answering` tells afterwards whether any byte of a response came. Until the whole response is here the connection is
        not `reusable`, so whatever ends this call early (a deadline, a kill) costs the connection and never mixes answers.
        """
        self.begin()
        refused: OSError | None = None
        try:
            self.send(request, remaining)
        except (BrokenPipeError, ConnectionResetError) as error:
            refused = error  # it may have answered before it had read everything: the answer counts
        reading = Reading(head_only, most)
        try:
            head = b""
            while not reading.complete:
                head = self.read_some(reading, remaining, head_only, head)
        except OSError:
            if refused is not None and not self.answering:
                raise refused from None
            raise
        self.used = True
        self.reusable = reading.keep_alive and not reading.surplus and refused is None
        return Response(reading.status, reading.reason, reading.headers, b"".join(reading.body))

    def begin(self) -> None:
        """A request begins: until its whole response is here the connection is good for nothing else."""
        self.reusable = False
        self.answering = False

    def send(self, octets: bytes, remaining: Callable[[], float]) -> None:
        """Send *octets*. Raises OSError and BackendTimeout."""
        self._link.send(octets, remaining())

    def say(self, octets: bytes, seconds: float) -> None:
        """Send *octets* within so many seconds. Raises OSError."""
        self._link.send(octets, seconds)

    def talks(self) -> bool:
        """Whether the peer has something to say already, or is gone: then there is no use in sending more."""
        return self._link.talks()

    def read_some(
        self, reading: Reading, remaining: Callable[[], float], head_only: bool = False, head: bytes = b""
    ) -> bytes:
        """Read once, and take what came into *reading*; what to hand in as *head* next time.

        Raises OSError, BackendTimeout, and BackendError for what is not HTTP or too much of it.
        """
        received = self._link.receive(_READ, remaining(), at_once=self.answering)
        if not received:
            self._end(reading)
            return b""
        self.answering = True
        return self.take_in(reading, received, head_only, head)

    def hear(self, seconds: float) -> bytes:
        """The first bytes of an answer, which are due within so many seconds. Raises OSError."""
        received = self._link.receive(_READ, seconds, at_once=False)
        if not received:
            raise ConnectionResetError("closed before any answer")
        self.answering = True
        return received

    def take_in(self, reading: Reading, received: bytes, head_only: bool = False, head: bytes = b"") -> bytes:
        """Take what was *received* into *reading*; returns and raises as `read_some`."""
        if not reading.head_done:
            reading.head_size += len(received)
        if head_only:
            # The parser cannot know that no body follows: it is fed one head at a time.
            head = self._feed_heads(reading, head + received)
        else:
            _feed(reading, received)
        if reading.fault:
            raise BackendError(f"{self.origin}: {reading.fault}")
        if not reading.head_done and reading.head_size > MAX_HEAD:
            raise BackendError(f"{self.origin}: an answer whose head is larger than {MAX_HEAD} bytes")
        return head

    def _feed_heads(self, reading: Reading, received: bytes) -> bytes:
        while not reading.complete and not reading.fault:
            head, end, received = received.partition(b"\r\n\r\n")
            if not end:
                return head
            _feed(reading, head + end)
            if reading.head_done and not reading.complete:
                version = reading.parser.get_http_version()
                reading.complete = True
                reading.keep_alive = version == "1.1" and "close" not in reading.headers.get("connection", "").lower()
        reading.surplus = reading.surplus or bool(received)
        return b""

    def _end(self, reading: Reading) -> None:
        """The peer closed the connection: the end of an answer that has no other, else a fault."""
        if not self.answering:
            raise ConnectionResetError("closed before any answer")
        if not reading.head_done or reading.length is not None or reading.chunked:
            raise BackendError(f"{self.origin}: closed in the middle of an answer")
        reading.complete = True

    def close(self) -> None:
        """Close the socket; more than once does no harm."""
        self.reusable = False
        self._link.close()


def _feed(reading: Reading, received: bytes) -> None:
    try:
        reading.parser.feed_data(received)
    except httptools.HttpParserUpgrade:
        reading.fault = reading.fault or "a change of protocol that was not asked for"
    except httptools.HttpParserError as error:
        if reading.complete:
            reading.surplus = True  # the answer is whole; what follows it is not ours to read
        else:
            raise BackendError(f"not an HTTP answer: {error}") from None


def _connect(origin: Origin, tls: ssl.SSLContext | None, timeout: float) -> socket.socket:
    try:
        if origin.path:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(timeout)
                connection.connect(origin.path)
            except BaseException:
                connection.close()
                raise
        else:
            connection = socket.create_connection((origin.host, origin.port), timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except TimeoutError:
        raise BackendTimeout(f"{origin}: not connected within {timeout:.3g} s") from None
    except OSError as error:
        raise BackendUnavailable(f"{origin}: {error}") from error
    if tls is None:
        return connection
    try:
        return tls.wrap_socket(connection, server_hostname=origin.host)
    except TimeoutError:
        connection.close()
        raise BackendTimeout(f"{origin}: no TLS handshake within {timeout:.3g} s") from None
    except OSError as error:  # ssl.SSLError and certificate faults are OSErrors
        connection.close()
        raise BackendUnavailable(f"{origin}: {error}") from error
    except BaseException:
        connection.close()
        raise
