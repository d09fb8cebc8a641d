"""One canonical request out of the bytes of a head: `read_head`.

Everything behind the wire (router, authenticators, limits, log, forwarder) reads what stands here and nothing else, so
whatever two readers could understand in two ways is refused with 400 here. llhttp (httptools) checks the grammar; this
file checks what llhttp lets through and what a grammar cannot know:

==============================  ==========================================================================
refused                         because
==============================  ==========================================================================
``//``, ``/./``, ``/../``       A9: the next server may fold them away after we have decided who may pass
``%2F %5C %00 %25 %3B %3F %23`` A10: whoever decodes once more, or not at all, sees another path
``;`` and ``\\`` in a path       A10: some servers cut ``;x`` off a segment, some read ``\\`` as ``/``
control characters, bad UTF-8   A10, A48
``#``, a second Host, Host with A12, A14
a user or a bad port, a target
that disagrees with Host
``X_Y`` as a header's name      A18: it becomes the same variable as ``X-Y`` in CGI's descendants
a second Authorization, ...     A23: one reader takes the first, another the last
==============================  ==========================================================================

A name with ``%41`` for a letter is decoded once; letters keep their case (A13). One empty segment at the end, the trailing
slash, is an ordinary path. Sources: RFC 9110, 9112, 3986; the ids are those of the attack catalogue.

>>> head = read_head(b"GET /caf%C3%A9?q=1 HTTP/1.1\\r\\nHost: EXAMPLE.com.:80\\r\\nAccept: a\\r\\naccept: b\\r\\n\\r\\n")
>>> head.path, head.query, head.host, head.headers["accept"]
('/café', 'q=1', 'example.com', 'a, b')
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import httptools

from specs.problems import Problem

#: Methods that reach the router, which answers 405 to what no channel takes (TRACE); others, and CONNECT, are 501.
METHODS = {
    name.encode(): name
    for name in (
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "LINK", "UNLINK", "PROPFIND", "PROPPATCH",
        "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "TRACE",
    )
}  # fmt: skip

#: SECURITY: A23. Headers that mean one thing; two of them are refused, not joined. Others are lists, or unknown, and are joined.
SINGLE = frozenset((
    "host", "content-length", "content-type", "content-encoding", "content-range", "content-location",
    "transfer-encoding", "authorization", "proxy-authorization", "cookie", "origin", "referer", "user-agent",
    "expect", "range", "date", "from", "max-forwards", "if-modified-since", "if-range", "if-unmodified-since",
    "upgrade-insecure-requests", "x-api-key", "x-gateway-app", "x-request-id", "x-real-ip", "x-forwarded-host",
    "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix", "soapaction", "idempotency-key",
))  # fmt: skip

#: What a proxy says of a request that it hands on.
FORWARDED = frozenset(("x-forwarded-for", "forwarded", "x-request-id", "x-forwarded-proto"))

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_HOST = re.compile(
    r"(?P<host>(?!\.)[a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{0,5}))?\Z",
    re.IGNORECASE,
)
_AMBIGUOUS_ESCAPE = re.compile(r"%(?:2f|5c|00|25|3b|3f|23)", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NO_CALLBACKS = object()
_names: dict[str, str] = {}
#: Header lines that came before, whole, with their names and values; none that could hold a secret.
_lines: dict[str, tuple[str, str]] = {}
_MOST_LINES = 2000
_LONGEST_LINE = 200
_REPEATED = frozenset((
    "accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-length", "content-type", "host",
    "origin", "user-agent", "x-gateway-app",
))  # fmt: skip


class Head(NamedTuple):
    """The canonical request, as far as its head tells. *length* is 0 for no body and -1 for a chunked one."""

    method: str
    target: str
    path: str
    query: str
    version: str
    headers: dict[str, str]
    host: str
    length: int
    keep_alive: bool
    expects: bool
    forwarded: bool  #: whether a header says for whom, or under which id, a proxy has sent it


def read_head(head: bytes, most_headers: int = 100, longest_line: int = 8190) -> Head:
    """The request in *head*, which ends with its empty line.

    Raises Problem 400 (``bad-request`` where the bytes are no HTTP, ``ambiguous-request`` where they could be read in two
    ways), 414, 431, 501 or 505.
    """
    line_end = head.find(b"\r\n")
    method, target, version = _request_line(head[:line_end], longest_line)
    try:
        # PERF: llhttp without callbacks checks a head in 0.6 us; splitting the checked text afterwards takes 2.5 us for six
        # headers, a Python callback for each of them 3.5.
        httptools.HttpRequestParser(_NO_CALLBACKS).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # WHY: a server may ignore Upgrade (RFC 9110 7.8), and this one answers in HTTP/1.1.
    except httptools.HttpParserError as error:
        raise _refusal(str(error)) from None
    headers = _headers(head[line_end + 2 : -4], most_headers, longest_line)
    host = headers.get("host")
    authority = ""
    if host is None:
        if version == "1.1":
            raise Problem.of("bad-request", "a request of HTTP/1.1 names its host in a Host header")
    else:
        host, authority = canonical_host(host)
    if target[:1] != "/":
        target, host = _other_form(method, target, host, authority)
    path, _, query = target.partition("?")
    if "#" in target:
        raise Problem.of("ambiguous-request", "a request target has no fragment")
    length, keep_alive, expects = _framing(method, headers, version)
    # PERF: a NamedTuple's own constructor is a Python function, and takes 0.4 us more.
    return tuple.__new__(
        Head,
        (method, target, canonical_path(path), query, version, headers, host or "", length, keep_alive, expects,
         not FORWARDED.isdisjoint(headers)),
    )  # fmt: skip


def _request_line(line: bytes, longest: int) -> tuple[str, str, str]:
    if len(line) > longest:
        raise Problem.of("uri-too-long", f"the request line is longer than {longest} bytes")
    parts = line.split(b" ")
    if len(parts) != 3:
        raise Problem.of("bad-request", "the request line is not 'METHOD target HTTP/1.1'")
    method = METHODS.get(parts[0])
    if parts[2] == b"HTTP/1.1":
        version = "1.1"
    elif parts[2] == b"HTTP/1.0":
        version = "1.0"
    elif re.fullmatch(rb"HTTP/[0-9](\.[0-9])?", parts[2]):
        raise Problem.of("http-version-not-supported", "HTTP/1.0 and HTTP/1.1 are spoken here")
    else:
        raise Problem.of("bad-request", "the request line does not end with HTTP/1.1")
    if method is None:
        if _TOKEN.match(parts[0]):
            raise Problem.of("not-implemented", "this method does not exist here; methods are written in capitals")
        raise Problem.of("bad-request", "the method is not a token")
    try:
        return method, parts[1].decode("ascii"), version
    except UnicodeDecodeError:
        raise Problem.of("ambiguous-request", "a target is ASCII: write other letters as %-escapes of UTF-8") from None


def _refusal(reason: str) -> Problem:
    """llhttp's *reason* in words of ours: whether the framing has two readings, or the bytes none."""
    if "Transfer-Encoding" in reason and "Content-Length" in reason:
        return Problem.of("ambiguous-request", "Content-Length and Transfer-Encoding exclude each other")
    if "Content-Length" in reason:
        return Problem.of("ambiguous-request", "Content-Length is one number of digits")
    if "Transfer-Encoding" in reason:
        return Problem.of("not-implemented", "the only transfer coding here is 'chunked', once")
    return Problem.of("bad-request", "the head is not HTTP/1.1 as RFC 9112 has it")


def _headers(text: bytes, most: int, longest: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    if not text:
        return headers
    # PERF: most lines of most requests were seen before, byte for byte: 0.1 us each instead of 0.5.
    lines = text.decode("latin-1").split("\r\n")
    long = len(text) > longest
    if len(lines) > most:
        raise Problem.of("headers-too-large", f"there are more than {most} headers")
    for line in lines:
        if long and len(line) > longest:
            raise Problem.of("headers-too-large", f"a header is longer than {longest} bytes")
        known = _lines.get(line)
        if known is not None:
            name, value = known
        else:
            sent, _, value = line.partition(":")
            name = _names.get(sent) or _canonical_name(sent)
            value = value.strip(" \t")
            if name in _REPEATED and len(line) <= _LONGEST_LINE:
                if len(_lines) >= _MOST_LINES:  # SECURITY: A43. The memo is bounded, and begins anew.
                    _lines.clear()
                _lines[line] = (name, value)
        if name in headers:
            if name in SINGLE:
                raise Problem.of("ambiguous-request", f"the header {name} stands twice in the request")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _canonical_name(sent: str) -> str:
    # SECURITY: A18, A16. X_Auth_User is X-Auth-User to whoever makes variables of headers.
    if "_" in sent:
        raise Problem.of("ambiguous-request", "a header's name has no underscore")
    name = sent.lower()
    if len(_names) < 1000:  # SECURITY: A43. The memo is bounded.
        _names[sent] = name
    return name


def _framing(method: str, headers: dict[str, str], version: str) -> tuple[int, bool, bool]:
    """How long the body is, whether the connection may go on, and whether the caller waits for 100."""
    length = 0
    coding = headers.get("transfer-encoding")
    if coding is not None:
        # SECURITY: A2, A5. llhttp lets `gzip, chunked` through, and HTTP/1.0 knows no chunks.
        if version == "1.0" or "content-length" in headers:
            raise Problem.of("ambiguous-request", "HTTP/1.0 has no transfer codings")
        if coding.lower() != "chunked":
            raise Problem.of("not-implemented", "the only transfer coding here is 'chunked'")
        length = -1
    else:
        declared = headers.get("content-length")
        if declared is not None:
            # SECURITY: A3. Signs, underscores and 2^64 + 5 are lengths to some readers.
            if not (declared.isascii() and declared.isdigit() and len(declared) <= 15):
                raise Problem.of("ambiguous-request", "Content-Length is one number of at most 15 digits")
            length = int(declared)
    expects = False
    expect = headers.get("expect")
    if expect is not None:
        if expect.lower() != "100-continue":
            raise Problem.of("bad-request", "the only expectation here is 100-continue")
        expects = version == "1.1" and length != 0
    connection = headers.get("connection")
    if connection is None:
        return length, version == "1.1", expects
    tokens = [token.strip().lower() for token in connection.split(",")]
    keep_alive = "close" not in tokens and (version == "1.1" or "keep-alive" in tokens)
    return length, keep_alive, expects


@lru_cache(maxsize=1024)
def canonical_host(sent: str) -> tuple[str, str]:
    """The host in lower case without port and final dot, and ``host:port`` to compare with. Raises Problem 400 (A14).

    >>> canonical_host("API.Example.com.:8000")
    ('api.example.com', 'api.example.com:8000')
    """
    found = _HOST.match(sent)
    if found is None or int(found["port"] or 0) > 65535:
        raise Problem.of("ambiguous-request", "Host is a name or an address, with a port or without")
    host = found["host"].lower()
    if host.endswith("."):
        host = host[:-1]
    if ".." in host:
        raise Problem.of("ambiguous-request", "Host is a name or an address, with a port or without")
    return host, f"{host}:{found['port'] or ''}"


def _other_form(method: str, target: str, host: str | None, authority: str) -> tuple[str, str | None]:
    """The origin-form of a target that does not begin with a slash."""
    if target == "*":
        if method == "OPTIONS":
            return "/", host
        raise Problem.of("bad-request", "'*' is a target of OPTIONS alone")
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise Problem.of("bad-request", "a request target begins with '/'")
    end = min((at for at in (rest.find("/"), rest.find("?"), rest.find("#")) if at >= 0), default=len(rest))
    named, meant = canonical_host(rest[:end])
    # SECURITY: A14. RFC 9112 lets the target win over Host; a proxy in front may have decided by Host.
    default = ":443" if scheme.lower() == "https" else ":80"
    if host is not None and _with_port(meant, default) != _with_port(authority, default):
        raise Problem.of("ambiguous-request", "the target names another host than the Host header")
    path = rest[end:]
    return (path if path[:1] == "/" else f"/{path}"), named


def _with_port(authority: str, default: str) -> str:
    return authority[:-1] + default if authority.endswith(":") else authority


def canonical_path(path: str) -> str:
    """*path* decoded once. Raises Problem 400 for a path that could be read in two ways (A9, A10).

    >>> canonical_path("/a%20b/%C3%BC/")
    '/a b/ü/'
    """
    if "%" in path:
        if _BAD_ESCAPE.search(path):
            raise Problem.of("ambiguous-request", "a '%' in a path is followed by two hexadecimal digits")
        if _AMBIGUOUS_ESCAPE.search(path):
            raise Problem.of("ambiguous-request", "a path has no escaped '/', '\\', '%', ';', '?', '#' or NUL")
        try:
            path = unquote_to_bytes(path).decode("utf-8")
        except UnicodeDecodeError:
            raise Problem.of("ambiguous-request", "the escapes of a path are UTF-8") from None
        if _CONTROL.search(path):
            raise Problem.of("ambiguous-request", "a path has no control characters")
    if "//" in path or ";" in path or "\\" in path:
        raise Problem.of("ambiguous-request", "a path has no empty segments, ';' or '\\'")
    if "/." in path and any(segment in (".", "..") for segment in path.split("/")):
        raise Problem.of("ambiguous-request", "a path has no '.' and '..' segments")
    return path
