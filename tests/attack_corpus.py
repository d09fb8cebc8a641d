"""Requests that have two readings, or none, by the ids of the attack catalogue: for a bare wire and for a gateway that runs."""


def request(line=b"GET / HTTP/1.1", *headers, body=b"", host=b"Host: a.example"):
    return b"\r\n".join([line, *([host] if host else []), *headers, b"", b""]) + body


CODINGS = [
    [b"Transfer-Encoding: xchunked"],
    [b"Transfer-Encoding: chunked, identity"],
    [b"Transfer-Encoding: identity, chunked"],
    [b"Transfer-Encoding: gzip, chunked"],
    [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
    [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
    [b"Transfer-Encoding: identity"],
    [b"Transfer-Encoding:"],
    [b'Transfer-Encoding: "chunked"'],
    [b"Transfer-Encoding : chunked"],
    [b"Transfer-Encoding: chunked;x=1"],
    [b"Transfer-Encoding:\x0bchunked"],
]
LENGTHS = [
    [b"Content-Length: 5", b"Content-Length: 5"],
    [b"Content-Length: 5", b"Content-Length: 6"],
    [b"Content-Length: 5, 5"],
    [b"Content-Length: +5"],
    [b"Content-Length: -5"],
    [b"Content-Length: 1_0"],
    [b"Content-Length: 0x5"],
    [b"Content-Length: 5 5"],
    [b"Content-Length:"],
    [b"Content-Length: 18446744073709551621"],
    [b"Content-Length: 1000000000000000"],
    [b"Content-Length: \xb2"],
]
LINES = [
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n",
    b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x1bc\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
]
CHUNKS = [
    b"5;x=\nhello\r\n0\r\n\r\n",
    b"5;x=1\r\nhello\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"+3\r\nabc\r\n0\r\n\r\n",
    b" 3\r\nabc\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"3\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nabcX\r\n0\r\n\r\n",
    b"\r\nabc\r\n0\r\n\r\n",
    b"g\r\nabc\r\n0\r\n\r\n",
    b"000000003\r\nabc\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0\r\nno colon\r\n\r\n",
    b"3\r\nabc\r\n0\r\nX: a\nY: b\r\n\r\n",
    b"3\r\nabc\r\n0\r\n" + b"X: a\r\n" * 30 + b"\r\n",
]
FOLDED = [
    b"//admin",
    b"/a//b",
    b"/./admin",
    b"/a/.",
    b"/a/./b",
    b"/pub/../admin",
    b"/..",
    b"/a/..",
    b"/a//",
    b"/a\\b",
    b"/a;x=1/b",
    b"/..;/a",
]
ESCAPED = [
    b"/%2e%2e/a",
    b"/%2E/a",
    b"/a/.%2e/b",
    b"/a%2Fb",
    b"/a%2fb",
    b"/a%5Cb",
    b"/a%00b",
    b"/a%25b",
    b"/a%252Fb",
    b"/a%3bb",
    b"/a%3Fb",
    b"/a%23b",
    b"/a%zz",
    b"/a%4",
    b"/a%",
    b"/a%ff",
    b"/a%c0%af",
    b"/a%0ab",
    b"/a%1bb",
    b"/a%c2%9bb",
]
HOSTS = [
    None,
    b"Host:",
    b"Host: a\r\nHost: a",
    b"Host: a\r\nHost: b",
    b"Host: user@a",
    b"Host: a:x",
    b"Host: a:70000",
    b"Host: a:80:80",
    b"Host: a/b",
    b"Host: a b",
    b"Host: a,b",
    b"Host: .a",
    b"Host: a..b",
    b"Host: [::1",
    b"Host: a\xe9",
    b"Host: [::1]x",
]
METHODS = [b"get", b"Get", b"FOO", b"CONNECT", b"PRI", b"DESCRIBE"]
VERSIONS = [b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/2"]
PROTOCOLS = [b"RTSP/1.0", b"http/1.1", b"HTTP/1.10", b"HTTP/11", b"ICE/1.0"]
SINGLE = [b"Authorization", b"Content-Type", b"Cookie", b"X-API-Key", b"Origin", b"X-Request-Id"]


def corpus(path=b"/read"):
    """Each attack as an id, its octets and the statuses of which one is the answer; *path* is one that reads bodies."""

    def post(*headers, body=b""):
        return request(b"POST " + path + b" HTTP/1.1", *headers, body=body)

    def get(target=path, *headers, **more):
        return request(b"GET " + target + b" HTTP/1.1", *headers, **more)

    length, chunked = b"Content-Length: 5", b"Transfer-Encoding: chunked"
    yield "A1", post(length, chunked, body=b"0\r\n\r\n"), (400,)
    yield "A1", post(chunked, length, body=b"0\r\n\r\n"), (400,)
    for headers in CODINGS:
        yield "A2", post(*headers, body=b"0\r\n\r\n"), (400, 501)
    for headers in LENGTHS:
        yield "A3", post(*headers, body=b"hello"), (400,)
    for octets in LINES:
        yield "A4", octets, (400,)
    for body in CHUNKS:
        yield "A5", post(chunked, b"Content-Type: application/json", body=body + get()), (400, 431)
    yield "A5", request(b"POST " + path + b" HTTP/1.0", chunked, body=b"0\r\n\r\n"), (400,)
    yield "A6", request(b"CONNECT a.example:80 HTTP/1.1"), (501,)
    for folded in FOLDED:
        yield "A9", get(folded), (400,)
    for escaped in ESCAPED:
        yield "A10", get(escaped), (400,)
    yield "A12", get(path + b"#x"), (400,)
    yield "A12", get(path + b"?x#y"), (400,)
    for host in HOSTS:
        yield "A14", get(host=host), (400,)
    for target in (
        b"http://evil.example/x",
        b"http://a.example:81/x",
        b"http://u@a.example/x",
        b"ftp://a.example/x",
        b"*",
    ):
        yield "A14", get(target), (400,)
    for method in METHODS:
        yield "A15", request(method + b" " + path + b" HTTP/1.1"), (501,)
    for version in VERSIONS:
        yield "A15", request(b"GET " + path + b" " + version), (505,)
    for version in PROTOCOLS:
        yield "A15", request(b"GET " + path + b" " + version), (400,)
    for header in (b"SCRIPT_NAME: /pub", b"PATH_INFO: /admin"):
        yield "A16", get(path, header), (400,)
    yield "A18", get(path, b"X_Auth_User: root"), (400,)
    for name in SINGLE:
        yield "A23", get(path, name + b": a", name.lower() + b": b"), (400,)
    yield "A44", get(b"/" + b"a" * 9000), (414,)
    yield "A44", get(path, *[b"X-%d: y" % number for number in range(200)]), (431,)
    yield "A44", get(path, b"X: " + b"y" * 9000), (431,)
