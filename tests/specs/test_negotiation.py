"""Which format comes in and which goes out, query strings, and content codings."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.compression import decode_content, encode_content, encode_stream
from specs.formats import Format, form, json_, plain, xml
from specs.negotiation import choose, format_of_body, parse_accept, parse_content_type
from specs.problems import Problem
from specs.query import parse_query
from specs.registry import Registry

JSON, XML, FORM, PLAIN = json_.Format(), xml.Format(), form.Format(), plain.Format()


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/xml", XML),
        ("text/xml", XML),
        ("APPLICATION/XML", XML),
        ("application/xml, application/json", JSON),
        ("application/json;q=0.5, application/xml", XML),
        ("application/json;q=0.5, application/xml;q=0.500", JSON),
        ("application/*;q=0.2, application/xml;q=0.1", JSON),
        ("*/*;q=0.1, application/json;q=0", XML),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", XML),
        ("text/*", None),
        ("text/xml;q=0, */*", JSON),
        ("application/json;charset=utf-8;q=0.3, application/xml;q=0.2", JSON),
        ('application/json;title="a,b;q=0"', JSON),
        ("text/html", None),
        ("application/json;q=0, application/xml;q=0.0", None),
        ("*/*;q=0", None),
        ("application/json;q=2", JSON),
        ("application/json;q=x, application/xml", XML),
        ("nonsense/", JSON),
        (";;;,,,", JSON),
        ('"', JSON),
        ("a/b," * 1000, JSON),
    ],
)
def test_the_caller_gets_what_it_likes_best(accept: str, expected: Format | None) -> None:
    assert choose(accept, [JSON, XML]) is expected


def test_a_channel_of_one_format_knows_whether_it_is_wanted() -> None:
    assert choose("application/json", [XML]) is None
    assert choose("application/json, */*;q=0.1", [XML]) is XML


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_header_breaks_negotiation(accept: str, content_type: str) -> None:
    assert choose(accept, [JSON, XML]) in (JSON, XML, None)
    try:
        parse_content_type(content_type)
    except Problem as problem:
        assert problem.status == 415  # noqa: PT017


@pytest.mark.parametrize("text", ['"' * 1024, "a/b;" * 256, 'a/b;c="' + "\\" * 900, "," * 1024, "a/b" + " ;" * 500])
def test_headers_made_to_be_slow_are_not(text: str) -> None:
    started = time.process_time()
    parse_accept(text)
    try:
        parse_content_type(text)
    except Problem:
        pass
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("", {})),
        ("text/plain", ("text/plain", {})),
        ("Text/XML ; Charset=utf-8", ("text/xml", {"charset": "utf-8"})),
        ('a/b;x="a;b\\"c";y=1;', ("a/b", {"x": 'a;b"c', "y": "1"})),
        (
            'application/soap+xml;charset=utf-8;action="urn:a"',
            ("application/soap+xml", {"charset": "utf-8", "action": "urn:a"}),
        ),
    ],
)
def test_a_content_type_is_a_media_type_with_parameters(text: str, expected: tuple[str, dict[str, str]]) -> None:
    media_type, parameters = parse_content_type(text)
    assert (media_type, dict(parameters)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "json",
        "a/",
        "/b",
        "a/b c",
        "a/b;x",
        "a/b;x=",
        'a/b;x="',
        "a/b;x=1;X=2",
        "a/b, c/d",
        "a/b;x=\x00",
        "a/b;" + "x" * 2000,
    ],
)
def test_what_is_no_media_type_is_415(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_content_type(text)
    assert caught.value.status == 415


def test_the_content_type_chooses_who_reads_the_body() -> None:
    offered = [JSON, XML, FORM]
    assert format_of_body("", offered) is JSON
    assert format_of_body("application/json; charset=utf-8", offered) is JSON
    assert format_of_body("text/xml", offered) is XML
    assert format_of_body("application/atom+xml", offered) is XML
    assert format_of_body("multipart/form-data; boundary=b", offered) is FORM
    assert format_of_body("image/png", [JSON, PLAIN]) is PLAIN


def test_another_type_is_415_and_says_what_would_do() -> None:
    with pytest.raises(Problem) as caught:
        format_of_body("text/csv", [JSON, XML])
    assert caught.value.status == 415
    assert caught.value.headers == (("Accept", "application/json, text/json, application/xml, text/xml"),)


URLENCODED = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("body", [b'{"a": 1}', b"[1]", b' \n{"a": 1}'])
def test_what_curl_sends_is_json_to_a_channel_of_json_alone(body: bytes) -> None:
    assert format_of_body(URLENCODED, [JSON], body=body) is JSON
    assert format_of_body(URLENCODED, [JSON, FORM], body=body) is FORM


@pytest.mark.parametrize(("body", "cookie"), [(b'{"a": 1}', True), (b"a=1", False), (b"", False)])
def test_a_form_is_not_json_where_a_cookie_speaks_for_the_caller(body: bytes, cookie: bool) -> None:
    with pytest.raises(Problem) as caught:
        format_of_body(URLENCODED, [JSON], body=body, known_by_cookie=cookie)
    assert caught.value.status == 415


def test_every_format_is_in_the_registry() -> None:
    registry = Registry("format", "specs.formats", "Format")
    assert registry.words() == ["form", "json", "plain", "xml"]
    for word in registry.words():
        assert isinstance(registry.get(word)(), Format)


# Query strings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("wsdl", {"wsdl": ""}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        ("a=b=c&&", {"a": "b=c"}),
        ("a=%2B+%26%3D%C3%BC&%61=x", {"a": ["+ &=ü", "x"]}),
        ("a;b=1", {"a;b": "1"}),
        ("=x", {"": "x"}),
    ],
)
def test_a_query_is_texts_by_name(text: str, expected: dict[str, object]) -> None:
    assert parse_query(text) == expected


@pytest.mark.parametrize("text", ["a=%", "a=%4", "a=%zz", "a=%ff", "%c3=1", "a=%ed%a0%80", "a=%u0041"])
def test_a_query_that_is_no_utf8_is_400(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_query(text)
    assert (caught.value.status, caught.value.code) == (400, "bad-request")


def test_A44_a_hundred_thousand_parameters_are_400_at_once() -> None:
    text = "&".join(f"p{n}=1" for n in range(100_000))
    started = time.process_time()
    with pytest.raises(Problem) as caught:
        parse_query(text)
    assert caught.value.status == 400
    assert time.process_time() - started < 0.2
    assert len(parse_query("&".join(f"p{n}=1" for n in range(1000)))) == 1000


# Content codings

TEXT = b'{"customer": "Anna"}' * 1000


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (TEXT, ""),
        (TEXT, "identity"),
        (gzip.compress(TEXT, mtime=0), "gzip"),
        (gzip.compress(TEXT, mtime=0), "X-GZip"),
        (zlib.compress(TEXT), "deflate"),
        (raw_deflate(TEXT), " Deflate "),
        (gzip.compress(b"", mtime=0), "gzip"),
    ],
)
def test_a_packed_body_is_unpacked(body: bytes, coding: str) -> None:
    assert decode_content(body, coding, most=len(TEXT)) in (TEXT, b"")


@pytest.mark.parametrize(
    ("body", "coding", "code"),
    [
        (gzip.compress(TEXT, mtime=0), "gzip", "body-too-large"),
        (gzip.compress(b"x", mtime=0)[:-1], "gzip", "malformed-body"),
        (gzip.compress(b"x", mtime=0) + b"x", "gzip", "malformed-body"),
        (gzip.compress(b"x", mtime=0) * 2, "gzip", "malformed-body"),
        (b"", "gzip", "malformed-body"),
        (b"x", "deflate", "malformed-body"),
        (b"{}", "gzip", "malformed-body"),
        (TEXT, "br", "unsupported-media-type"),
        (TEXT, "gzip, gzip", "unsupported-media-type"),
    ],
)
def test_A39_what_cannot_be_unpacked_is_refused(body: bytes, coding: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        decode_content(body, coding, most=100)
    assert caught.value.code == code


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_A39_a_bomb_costs_no_more_than_is_allowed(coding: str) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    zeros = bytes(1_000_000)
    bomb = b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(Problem) as caught:
            decode_content(bomb, coding, most=1_000_000)
        assert caught.value.status == 413
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("accept_encoding", "packed"),
    [
        ("gzip", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("*", True),
        ("x-gzip", True),
        ("", False),
        ("br", False),
        ("gzip;q=0", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity, gzip;q=0.5", False),
    ],
)
def test_an_answer_is_packed_where_the_caller_takes_it(accept_encoding: str, packed: bool) -> None:
    body, coding = encode_content(TEXT, accept_encoding)
    assert coding == ("gzip" if packed else None)
    assert (gzip.decompress(body) if packed else body) == TEXT


def test_small_and_dense_answers_are_left_alone() -> None:
    assert encode_content(b"x" * 1023, "gzip") == (b"x" * 1023, None)
    dense = gzip.compress(TEXT) * 20
    assert encode_content(dense[:2000], "gzip", minimum=0)[0] in (dense[:2000], encode_content(dense[:2000], "gzip")[0])
    assert encode_content(b"xyz", "gzip", minimum=0) == (b"xyz", None)


def test_pieces_of_a_stream_go_out_as_they_come() -> None:
    closed = []

    def pieces() -> Iterator[bytes]:
        try:
            yield b"first"
            yield b""
            yield b"second"
        finally:
            closed.append(True)

    stream, coding = encode_stream(pieces(), "gzip")
    assert coding == "gzip"
    packed = list(stream)
    unpacker = zlib.decompressobj(31)
    assert [unpacker.decompress(piece) for piece in packed] == [b"first", b"second", b""]
    assert (unpacker.eof, closed) == (True, [True])


def test_closing_a_packed_stream_closes_what_it_packs() -> None:
    closed = []

    def pieces() -> Iterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    stream, _ = encode_stream(pieces(), "gzip")
    iterator = iter(stream)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_a_stream_that_is_not_to_be_packed_is_the_same_one() -> None:
    pieces = iter([b"x"])
    assert encode_stream(pieces, "") == (pieces, None)
