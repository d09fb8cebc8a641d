"""SOAP messages: taken apart, and faults that carry a problem."""

import pytest
from lxml import etree

from specs import soap
from specs.problems import Fault, Problem
from specs.soap import SOAP11, SOAP12, Message, Version


def message(inside: str, version: Version = SOAP11, content_type: str = "text/xml", encoding: str = "utf-8") -> Message:
    text = f'<e:Envelope xmlns:e="{version.namespace}">{inside}</e:Envelope>'
    return Message(*soap.open_envelope(text.encode(encoding), content_type))


def refused(inside: str, version: Version = SOAP11) -> str:
    with pytest.raises(Problem) as caught:
        message(inside, version)
    return caught.value.code


@pytest.mark.parametrize("version", [SOAP11, SOAP12])
def test_an_envelope_holds_a_header_at_most_and_a_body_of_one_element(version: Version) -> None:
    opened = message("<e:Header><x/><y/></e:Header><e:Body><Ping/></e:Body>", version)
    assert (opened.version, [h.name for h in opened.headers], opened.body.name) == (version, ["x", "y"], "Ping")
    for wrong in (
        "",
        "<e:Header/>",
        "<e:Body/>",
        "<e:Body><a/><b/></e:Body>",
        "<e:Body><a/></e:Body><e:Header/>",
        "<e:Body><a/></e:Body><trailer/>",
        "<e:Body><a/></e:Body><e:Body><b/></e:Body>",
        "<Body><a/></Body>",
    ):
        assert refused(wrong, version) == "malformed-body"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<a/>", "malformed-body"),
        (b"<Envelope/>", "soap-version-mismatch"),
        (b'<e:Envelope xmlns:e="http://www.w3.org/2001/12/soap-envelope"/>', "soap-version-mismatch"),
        (b'<!DOCTYPE a><e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"/>', "malformed-body"),
    ],
)
def test_what_is_no_envelope_of_a_known_version_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(Problem) as caught:
        soap.open_envelope(body, "text/xml")
    assert caught.value.code == code


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_messages_come_in_utf_8_and_utf_16(encoding: str) -> None:
    content_type = f"text/xml; charset={encoding.replace('16-le', '16le')}"
    assert message("<e:Body><Zażółć/></e:Body>", SOAP12, content_type, encoding).body.name == "Zażółć"
    if encoding == "utf-16":  # a byte order mark is enough
        assert message("<e:Body><Ping/></e:Body>", SOAP12, "text/xml", encoding).body.name == "Ping"


@pytest.mark.parametrize(
    ("headers", "content_type", "expected"),
    [
        ({}, "text/xml", []),
        ({"soapaction": ""}, "text/xml", []),
        ({"soapaction": '""'}, "text/xml", []),
        ({"soapaction": '"urn:x"'}, "text/xml", ["urn:x"]),
        ({"soapaction": "urn:x"}, 'text/xml; charset="UTF-8"', ["urn:x"]),
        ({}, 'application/soap+xml; charset=utf-8;action="urn:x"', ["urn:x"]),
        ({"soapaction": '"urn:y"'}, 'application/soap+xml; action="urn:x"', ["urn:y", "urn:x"]),
    ],
)
def test_the_action_is_quoted_or_not_or_empty_or_absent(headers: dict, content_type: str, expected: list[str]) -> None:
    assert soap.actions_of(headers, content_type) == expected


@pytest.mark.parametrize(
    ("version", "attributes", "must"),
    [
        (SOAP11, 'e:mustUnderstand="1"', True),
        (SOAP11, 'e:mustUnderstand="0"', False),
        (SOAP11, 'mustUnderstand="1"', False),
        (SOAP11, 'e:mustUnderstand="1" e:actor="http://schemas.xmlsoap.org/soap/actor/next"', True),
        (SOAP11, 'e:mustUnderstand="1" e:actor="urn:somebody"', False),
        (SOAP12, 'e:mustUnderstand="true"', True),
        (SOAP12, 'e:mustUnderstand="1" e:role="http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver"', True),
        (SOAP12, 'e:mustUnderstand="1" e:role="http://www.w3.org/2003/05/soap-envelope/role/none"', False),
    ],
)
def test_a_header_that_has_to_be_understood_is(version: Version, attributes: str, must: bool) -> None:
    opened = message(f'<e:Header><h:a xmlns:h="urn:h" {attributes}/></e:Header><e:Body><Ping/></e:Body>', version)
    opened.check_understood({("urn:h", "a")})
    if must:
        with pytest.raises(Problem, match="soap-must-understand"):
            opened.check_understood(())
    else:
        opened.check_understood(())


FAULTS = Problem.of(
    "invalid-input", "1 < 2 & \x00", errors=[Fault("/a", "missing", "is missing")], members={"more": [1, "x"]}
)


@pytest.mark.parametrize("version", [SOAP11, SOAP12])
def test_a_fault_carries_the_whole_problem(version: Version) -> None:
    root = etree.fromstring(soap.fault(version, FAULTS, "c1", "urn:t"))
    detail = root.find(".//{urn:t}GatewayFault")
    assert [(child.tag, child.text) for child in detail[:6]] == [
        ("{urn:t}type", "urn:gatewright:problem:invalid-input"),
        ("{urn:t}title", "Invalid input"),
        ("{urn:t}status", "400"),
        ("{urn:t}detail", "1 < 2 & \ufffd"),
        ("{urn:t}code", "invalid-input"),
        ("{urn:t}cid", "c1"),
    ]
    assert [child.text for child in detail.find("{urn:t}errors")[0]] == ["/a", "missing", "is missing"]
    assert [item.text for item in detail.find("{urn:t}members")[0]] == ["1", "x"]


def test_faults_have_the_codes_of_their_version() -> None:
    for problem, one, two in (
        (Problem.of("no-such-operation"), "soap:Client", "soap:Sender"),
        (Problem.of("backend-timeout"), "soap:Server", "soap:Receiver"),
        (Problem.of("soap-version-mismatch"), "soap:VersionMismatch", "soap:VersionMismatch"),
        (Problem.of("soap-must-understand"), "soap:MustUnderstand", "soap:MustUnderstand"),
    ):
        old = etree.fromstring(soap.fault(SOAP11, problem, "c", "urn:t"))[0][0]
        assert [child.tag for child in old] == ["faultcode", "faultstring", "detail"]  # R1000, R1001
        assert old[0].text == one
        new = etree.fromstring(soap.fault(SOAP12, problem, "c", "urn:t"))
        assert new.find(".//{*}Fault/{*}Code/{*}Value").text == two


def test_soap_1_2_says_what_it_did_not_understand() -> None:
    problem = Problem.of("soap-must-understand", members={"header": "{urn:h}a"})
    text = soap.fault(SOAP12, problem, "c", "urn:t").decode()
    assert '<soap:NotUnderstood qname="h:a" xmlns:h="urn:h"/>' in text
    offered = soap.fault(SOAP12, Problem.of("soap-version-mismatch"), "c", "urn:t").decode()
    assert offered.count("SupportedEnvelope") == 2
