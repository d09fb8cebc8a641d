"""One request and its answer, on any channel: the record that the ten steps of the request path fill in.

`accept` makes an `Exchange` from the wire; each later step reads what the earlier ones wrote and fills its own part. No
step after accept sees a socket, a WSGI environ or a raw header line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from specs.problems import Problem


@dataclass(frozen=True, slots=True)
class Identity:
    """Who was proven: a consumer, a plain credential or an SSO user. Falsy for an anonymous caller."""

    name: str = ""
    kind: str = "anonymous"
    definition: str = ""
    groups: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    user: str = ""

    def __bool__(self) -> bool:
        return self.kind != "anonymous"


ANONYMOUS = Identity()
#: A map with nothing in it, which nobody can put anything into.
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True)
class Call:
    """One call of a service, by any way: a channel, another service, a job, a command, a test.

    *input* holds the checked, typed values of the contract; *payload* the parsed body as it came; *raw* its bytes.
    *deadline* is the moment, on `time.monotonic`'s clock, by which the answer is due. *method*, *path*, *params*, *query*,
    *headers* and *form* describe the HTTP request, where there was one.
    """

    service: str
    input: Mapping[str, Any] = field(default_factory=dict)
    payload: Any = None
    raw: bytes = b""
    cid: str = ""
    identity: Identity = ANONYMOUS
    deadline: float = 0.0
    channel: str = ""
    channel_type: str = "invoke"
    data_format: str = ""
    method: str = ""
    path: str = ""
    address: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    form: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: tuple[UploadedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a multipart form."""

    name: str
    filename: str
    content_type: str
    content: bytes


@dataclass(slots=True)
class Outcome:
    """What a service answered: a *payload* of plain Python values that fit the contract's output.

    *stream* replaces it where the service gave an iterable of bytes. An empty *content_type* means the channel's format.
    """

    payload: Any = None
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    content_type: str = ""
    stream: Iterable[bytes] | None = None


class ReadBody(Protocol):
    """Reads the whole body."""

    def __call__(self, most: int, coding: str = "", weigh: Callable[[bytes], int] | None = None) -> bytes:
        """At most *most* bytes, with the content *coding* undone. Raises Problem 413, 408, 400, 415 and 503.

        *weigh* reckons how many bytes of memory is taken by what will be made of it, which counts as held.
        """


def _no_body(most: int, coding: str = "", weigh: Callable[[bytes], int] | None = None) -> bytes:
    return b""


def _no_pieces(most: int) -> Iterator[bytes]:
    return iter(())


class Exchange:
    """A request, what each step found out about it, and the answer. Built by accept; one per request."""

    __slots__ = (
        "address", "arrived", "body", "body_length", "body_pieces", "channel", "cid", "content_type", "files", "form", "format",
        "hand_over", "headers", "host", "identity", "input", "kept", "limit_headers", "method", "notes", "opened", "outcome",
        "params", "path", "payload", "peer", "problem", "query", "query_string", "read_body", "response_body", "response_headers",
        "response_status", "response_stream", "scheme", "snapshot", "started_ns", "target", "version",
    )  # fmt: skip

    # accept: what came over the wire, in one canonical form
    cid: str
    method: str  #: upper case
    target: str  #: the request target as sent, for the log alone
    scheme: str
    host: str  #: lower case, without the port
    path: str  #: decoded once, begins with "/"; never holds empty or dot segments
    query_string: str  #: as sent, without "?"
    headers: dict[str, str]  #: by lower-case name; list headers joined by ", "
    peer: str  #: address of the TCP peer
    address: str  #: address of the caller, after trusted proxies
    version: str  #: "1.0" or "1.1"
    body_length: int  #: Content-Length; 0 none; -1 chunked
    read_body: ReadBody
    body_pieces: Callable[
        [int], Iterator[bytes]
    ]  #: the body as it comes, once, in place of `read_body`; raises as that does
    arrived: Callable[[], int] | None  #: where there is a body: how many bytes of it have come
    started_ns: int  #: time.monotonic_ns() when the head was read
    kept: dict[Any, Any]
    """What steps found out from the head alone, by who did. The next request of the connection finds it if its head is the same,
    byte for byte, and leads to the same snapshot."""

    # route
    snapshot: Any  #: the compiled revision that this exchange reads from beginning to end
    channel: Any  #: the gateway.channels.Channel, or None where the path led nowhere
    params: Mapping[str, str]
    # open
    opened: Any  #: what a channel found in the body before anybody was identified: the operation, and credentials
    # identify
    identity: Identity
    # limit
    limit_headers: Sequence[tuple[str, str]]  #: RateLimit and RateLimit-Policy
    # validate
    body: bytes
    content_type: str
    format: Any  #: the specs.formats entry that reads and writes this exchange
    payload: Any
    query: Mapping[str, Any]
    form: Mapping[str, Any]
    files: tuple[UploadedFile, ...]
    input: Mapping[str, Any]
    # execute
    outcome: Outcome | None
    # serialise
    response_status: int
    response_headers: list[tuple[str, str]]
    response_body: bytes
    response_stream: Iterable[bytes] | None
    hand_over: Callable[[Any, bytes], None] | None
    """With status 101: who takes the connection over (`gateway.transport.Transport`) and what has come on it already."""
    # any step
    problem: Problem | None
    notes: dict[str, Any] | None
    """Further facts for the access line (``definition``, ``upstream``...)."""

    def __init__(
        self,
        cid: str,
        method: str,
        path: str,
        query_string: str,
        headers: dict[str, str],
        started_ns: int,
        host: str = "",
        scheme: str = "http",
        peer: str = "",
        address: str = "",
        version: str = "1.1",
        target: str = "",
        body_length: int = 0,
        read_body: ReadBody = _no_body,
        body_pieces: Callable[[int], Iterator[bytes]] = _no_pieces,
        kept: dict[Any, Any] | None = None,
    ) -> None:
        # PERF: 0.4 us with everything by position, 0.9 by keyword; what a step fills later begins with one shared nothing.
        self.cid = cid
        self.method = method
        self.path = path
        self.query_string = query_string
        self.headers = headers
        self.started_ns = started_ns
        self.host = host
        self.scheme = scheme
        self.peer = peer
        self.address = address or peer
        self.version = version
        self.target = target or path
        self.body_length = body_length
        self.read_body = read_body
        self.body_pieces = body_pieces
        self.kept = {} if kept is None else kept
        self.identity = ANONYMOUS
        self.params = self.query = self.form = self.input = NOTHING
        self.limit_headers = self.files = ()
        self.response_headers = []
        self.body = self.response_body = b""
        self.content_type = ""
        self.response_status = 0
        self.snapshot = self.channel = self.opened = self.format = self.payload = self.outcome = None
        self.response_stream = self.hand_over = self.problem = self.notes = self.arrived = None
