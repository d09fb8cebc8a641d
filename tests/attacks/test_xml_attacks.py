"""A40: XML that is meant to cost more than it weighs, or to reach what it should not. Each is refused.

What refusing each of them takes is measured by ``make bench``, not here: 50 ms are the most that any may take.
"""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from lxml import etree
from soap_endpoint import NAMESPACE

from specs import xml_text
from specs.problems import Problem
from specs.soap import Message, open_envelope

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"


def envelope(inside, *, doctype="", attributes=""):
    return (
        f'{doctype}<e:Envelope xmlns:e="{SOAP}"><e:Body><FindOrder xmlns="{NAMESPACE}" {attributes}>{inside}</FindOrder></e:Body>'
        "</e:Envelope>"
    )


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
ATTACKS = {
    "billion laughs": envelope("&a9;", doctype=f'<!DOCTYPE x [<!ENTITY a0 "ha">{LAUGHS}]>'),
    "quadratic blow-up": envelope("&a;" * 50_000, doctype=f'<!DOCTYPE x [<!ENTITY a "{"x" * 50_000}">]>'),
    "a file as entity": envelope(
        "<number>&f;</number>", doctype='<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    ),
    "a URL as entity": envelope("<number>&f;</number>", doctype='<!DOCTYPE x [<!ENTITY f SYSTEM "URL">]>'),
    "a DTD elsewhere": envelope("<number>1</number>", doctype='<!DOCTYPE x SYSTEM "URL">'),
    "a public DTD": envelope("<number>1</number>", doctype='<!DOCTYPE x PUBLIC "-//X//Y" "URL">'),
    "a parameter entity": envelope("", doctype='<!DOCTYPE x [<!ENTITY % p SYSTEM "URL"> %p;]>'),
    "default attributes": envelope("", doctype='<!DOCTYPE x [<!ATTLIST x a CDATA "y">]>'),
    "an undeclared entity": envelope("&nothing;"),
    "depth": envelope("<a>" * 100_000),
    "depth, closed": envelope("<a>" * 20_000 + "</a>" * 20_000),
    "many elements": envelope("<a/>" * 1_900_000),
    "many pairs": envelope("<a></a>" * 1_100_000),
    "many comments": envelope("<!---->" * 1_000_000),
    "many attributes": envelope("", attributes=" ".join(f'a{n}="1"' for n in range(100_000))),
    "many attributes with brackets": envelope("", attributes=" ".join(f'a{n}=">"' for n in range(100_000))),
    "a hundred attributes": envelope("", attributes=" ".join(f'a{n}="1"' for n in range(100))),
    "many namespaces": envelope("", attributes=" ".join(f'xmlns:a{n}="urn:{n}"' for n in range(100_000))),
    "a hundred namespaces": envelope("", attributes=" ".join(f'xmlns:a{n}="urn:{n}"' for n in range(100))),
    "a long namespace": envelope("<b/>" * 90_000, attributes=f'xmlns:a="{"u" * 60_000}"'),
    "a long name": envelope(f"<{'n' * 4_000_000}/>"),
    "a long attribute": envelope("", attributes=f'a="{"v" * 7_000_000}"'),
    "a long comment": envelope(f"<!--{'c' * 7_000_000}-->"),
    "an attribute twice": envelope("", attributes='a="1" a="2"'),
    "a document that does not end": envelope("<number>1")[:-40],
    "two documents": envelope("") + envelope(""),
    "UTF-7": '<?xml version="1.0" encoding="UTF-7"?>' + envelope(""),
    "XML 1.1": '<?xml version="1.1"?>' + envelope(""),
    "a character that is none": envelope("<number>&#0;</number>"),
}
UTF_16 = {
    "a doctype in UTF-16": ATTACKS["billion laughs"].encode("utf-16"),
    "depth in UTF-16": ATTACKS["depth"].encode("utf-16"),
}
BODIES = {**{name: text.encode() for name, text in ATTACKS.items()}, **UTF_16}


@pytest.mark.parametrize("name", BODIES)
def test_A40_is_refused_before_it_costs(name):
    with pytest.raises(Problem) as caught:
        Message(*open_envelope(BODIES[name], "text/xml"))
    assert caught.value.code in ("malformed-body", "unsupported-media-type")
    assert "root:" not in caught.value.detail


@pytest.mark.parametrize(
    "body",
    [
        b"<a>" + b"x<b/>" * 20_000 + b"</a>",
        b"<a>" + b"\n      <b/>" * 20_000 + b"</a>",
        b"<a>" + (b"x" * 30 + b"&amp;<!---->") * 100_000 + b"</a>",
        b"<a>" + b"x" * 8_000_000 + b"</a>",
    ],
    ids=["mixed content", "line ends", "pieces of text", "one text"],
)
def test_A40_text_costs_what_it_weighs(body):
    started = time.thread_time()
    xml_text.parse(body)
    # It takes 0.2 s at most; what grows with the square of the length takes minutes. The time of this thread, not the clock's.
    assert time.thread_time() - started < 30


@pytest.fixture(scope="module")
def elsewhere():
    """A server that nobody may ask for anything."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/x", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def served(soap_gateway):
    return soap_gateway


def test_A40_a_running_gateway_refuses_each_and_asks_nobody(served, elsewhere):
    url, asked = elsewhere
    for name, body in BODIES.items():
        answer = served.post(
            "/soap/orders", data=body.replace(b"URL", url.encode()), headers={"Content-Type": "text/xml"}
        )
        assert answer.status_code in (500, 415, 413), name
        detail = etree.fromstring(answer.content).find(".//{*}GatewayFault")
        assert detail.findtext("{*}code") in ("malformed-body", "unsupported-media-type", "body-too-large"), name
    assert served.get("/soap/orders?wsdl").status_code == 200
    assert asked == []


@pytest.mark.parametrize(
    "inside",
    [
        '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>',
        '<number xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:schemaLocation="urn:x URL">x</number>',
        '<?xml-stylesheet href="URL"?><number>x</number>',
    ],
    ids=["XInclude", "schema location", "stylesheet"],
)
def test_A40_references_to_elsewhere_are_only_text(served, elsewhere, inside):
    url, asked = elsewhere
    body = envelope(inside.replace("URL", url))
    answer = served.post("/soap/orders", data=body, headers={"Content-Type": "text/xml"})
    assert (answer.status_code, b"root:" in answer.content, asked) == (500, False, [])
    assert b"invalid-input" in answer.content
