"""What values take of memory is reckoned by their text, before there are any: at least as much as they take (A36)."""

import tracemalloc

import pytest

from specs import xml_text
from specs.formats import form, json_, plain, xml

LENGTH = 100_000
#: What any value takes, in bytes.
LITTLE = 1000


def repeated(unit, between=b",", around=(b"[", b"]")):
    return around[0] + between.join([unit] * (LENGTH // (len(unit) + len(between)))) + around[1]


def taken(parse, body):
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = parse(body)
        return tracemalloc.get_traced_memory()[0] - before, kept
    finally:
        tracemalloc.stop()


JSON = [
    *(repeated(unit) for unit in (
        b"[]", b"{}", b"0", b"1.5", b"123456789", b'""', b'"a"', b'"ab"', b"true", b'{"a":1}', b'{"a":[]}', b'{"a":{"b":{"c":0}}}',
        b'"' + b"x" * 200 + b'"', '"€"'.encode(),
    )),
    b"{" + b",".join(b'"%x":0' % number for number in range(10_000)) + b"}",
    b'["' + b"a" * LENGTH + "\N{GRINNING FACE}".encode() + b'"]',
]  # fmt: skip
XML = [
    *(repeated(unit, b"", (b"<r>", b"</r>")) for unit in (
        b"<a/>", b"<a>1</a>", b'<a b="1"/>', b'<a b="1" c="2" d="3"/>', b"<a><b><c>1</c></b></a>", b"text", "<a>€</a>".encode(),
    )),
    b"<r>" + b"".join(b"<a%x/>" % number for number in range(10_000)) + b"</r>",
]  # fmt: skip


@pytest.mark.parametrize("body", JSON, ids=lambda body: body[:20].decode())
def test_A36_json_weighs_at_least_what_it_takes(body):
    format_ = json_.Format()
    took, _ = taken(lambda octets: format_.parse(octets, None), body)
    assert took - LITTLE <= format_.weight(body) <= 100 * len(body)


@pytest.mark.parametrize("body", XML, ids=lambda body: body[:20].decode())
def test_A36_xml_weighs_at_least_what_it_takes(body):
    format_ = xml.Format()
    took, _ = taken(lambda octets: format_.parse(octets, None), body)
    assert took - LITTLE <= format_.weight(body) <= 100 * len(body)
    took, _ = taken(xml_text.parse, body)
    assert took - LITTLE <= xml_text.weight(body)


def test_A36_texts_and_forms_weigh_at_least_what_they_take():
    for format_, body, content_type in (
        (plain.Format(), b"x" * LENGTH, "text/plain"),
        (form.Format(), b"a=" + b"x" * LENGTH, "application/x-www-form-urlencoded"),
    ):
        took, _ = taken(lambda octets, one=format_, kind=content_type: one.parse(octets, None, content_type=kind), body)
        assert took - LITTLE <= format_.weight(body)
