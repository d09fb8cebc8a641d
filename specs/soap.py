"""SOAP 1.1 and 1.2 messages: an envelope taken apart, an answer or a fault put into one.

`open_envelope` tells the version, `Message` what is in it. A fault carries a problem twice: as the words of SOAP, and
whole, in a typed detail called ``GatewayFault``.

>>> body = b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><Ping xmlns="urn:x"/></e:Body></e:Envelope>'
>>> version, envelope = open_envelope(body, "text/xml")
>>> version.word, Message(version, envelope).body.name
('1.1', 'Ping')
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from specs import xml_text, xml_values
from specs.negotiation import parse_content_type
from specs.problems import Problem
from specs.xml_text import XSI, Element, escape, without_illegal
from specs.xml_values import ANY

FAULT_ELEMENT: Final = "GatewayFault"
_XSD: Final = "http://www.w3.org/2001/XMLSchema"
_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_TRUE: Final = ("1", "true")


class Version(NamedTuple):
    """One version of SOAP. *caller* and *service* are the codes of faults by whoever is to blame."""

    word: str
    namespace: str
    content_type: str
    role: str  #: the attribute that says whom a header is for
    ours: tuple[str, ...]  #: its values that mean us
    caller: str
    service: str


SOAP11: Final = Version(
    "1.1",
    "http://schemas.xmlsoap.org/soap/envelope/",
    "text/xml; charset=utf-8",
    "actor",
    ("", "http://schemas.xmlsoap.org/soap/actor/next"),
    "Client",
    "Server",
)
SOAP12: Final = Version(
    "1.2",
    "http://www.w3.org/2003/05/soap-envelope",
    "application/soap+xml; charset=utf-8",
    "role",
    (
        "",
        "http://www.w3.org/2003/05/soap-envelope/role/next",
        "http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver",
    ),
    "Sender",
    "Receiver",
)
_BY_NAMESPACE: Final = {version.namespace: version for version in (SOAP11, SOAP12)}
#: Problems that SOAP has a fault code of its own for.
_OWN_CODES: Final = {"soap-version-mismatch": "VersionMismatch", "soap-must-understand": "MustUnderstand"}


def version_asked(content_type: str) -> Version:
    """The version that a request seems to be in, before its envelope has been read."""
    return SOAP12 if content_type.lower().startswith("application/soap+xml") else SOAP11


def open_envelope(body: bytes, content_type: str) -> tuple[Version, Element]:
    """The version and the envelope of a message. Raises Problem: malformed-body, soap-version-mismatch."""
    root = xml_text.parse(body, content_type=content_type)
    if root.name != "Envelope":
        raise Problem.of("malformed-body", "a SOAP message is an Envelope")
    version = _BY_NAMESPACE.get(root.namespace)
    if version is None:
        raise Problem.of("soap-version-mismatch", "an Envelope is in the namespace of SOAP 1.1 or of SOAP 1.2")
    return version, root


class Message:
    """What is in an envelope: *headers*, and the one element of its *body*. Raises Problem malformed-body."""

    __slots__ = ("body", "headers", "version")

    def __init__(self, version: Version, envelope: Element) -> None:
        parts = list(envelope.children)
        self.version = version
        self.headers: list[Element] = []
        if parts and _is(parts[0], version, "Header"):
            self.headers = parts.pop(0).children
        if len(parts) != 1 or not _is(parts[0], version, "Body"):
            raise Problem.of("malformed-body", "an Envelope holds one Header at most, then one Body, and nothing else")
        if len(parts[0].children) != 1:
            raise Problem.of("malformed-body", "the Body holds one element, which names the operation")
        self.body = parts[0].children[0]

    def headers_for_us(self) -> list[Element]:
        """The header blocks that are meant for this endpoint."""
        role = f"{self.version.namespace} {self.version.role}"
        return [header for header in self.headers if header.attributes.get(role, "") in self.version.ours]

    def check_understood(self, understood: Collection[tuple[str, str]]) -> None:
        """Raise Problem soap-must-understand where a header has to be understood and is none of these (namespace, name)."""
        must = f"{self.version.namespace} mustUnderstand"
        for header in self.headers_for_us():
            if header.attributes.get(must, "") in _TRUE and (header.namespace, header.name) not in understood:
                raise Problem.of(
                    "soap-must-understand",
                    f"the header '{header.name}' of the namespace '{header.namespace}' is not understood here",
                    members={"header": f"{{{header.namespace}}}{header.name}"},
                )


def _is(element: Element, version: Version, name: str) -> bool:
    return element.name == name and element.namespace == version.namespace


def actions_of(headers: Mapping[str, str], content_type: str) -> list[str]:
    """What the caller says the action is, in HTTP's ways of saying so; an empty one says nothing."""
    said = [headers.get("soapaction", "").strip()]
    if "action" in content_type:
        said.append(parse_content_type(content_type)[1].get("action", "").strip())
    return [action for action in (text.strip('"').strip() for text in said) if action]


def answer(version: Version, name: str, namespace: str, members: str) -> bytes:
    """The message whose body is an element called *name* with these *members*, which are elements already."""
    return (
        f'{_DECLARATION}<soap:Envelope xmlns:soap="{version.namespace}" xmlns:xsi="{XSI}" xmlns:xsd="{_XSD}">'
        f'<soap:Body><{name} xmlns="{escape_attribute(namespace)}">{members}</{name}></soap:Body></soap:Envelope>'
    ).encode()


def fault(version: Version, problem: Problem, cid: str, namespace: str) -> bytes:
    """The message that refuses, with the problem as detail. Never raises."""
    code = _OWN_CODES.get(problem.code) or (version.caller if problem.status < 500 else version.service)
    sentence = _text(problem.detail or problem.title)
    detail = (
        f'<{FAULT_ELEMENT} xmlns="{escape_attribute(namespace)}">{_members(problem.as_dict(cid))}</{FAULT_ELEMENT}>'
    )
    if version is SOAP11:
        inside = f"<faultcode>soap:{code}</faultcode><faultstring>{sentence}</faultstring><detail>{detail}</detail>"
    else:
        inside = (
            f"<soap:Code><soap:Value>soap:{code}</soap:Value></soap:Code>"
            f'<soap:Reason><soap:Text xml:lang="en">{sentence}</soap:Text></soap:Reason>'
            f"<soap:Detail>{detail}</soap:Detail>"
        )
    header = _fault_header(version, problem)
    return (
        f'{_DECLARATION}<soap:Envelope xmlns:soap="{version.namespace}" xmlns:xsi="{XSI}">{header}<soap:Body>'
        f"<soap:Fault>{inside}</soap:Fault></soap:Body></soap:Envelope>"
    ).encode("utf-8", "replace")


def _fault_header(version: Version, problem: Problem) -> str:
    """What SOAP 1.2 wants said of envelopes and headers that were not understood (part 1, 5.4.7 and 5.4.8)."""
    if problem.code == "soap-version-mismatch":
        offered = "".join(
            f'<soap:SupportedEnvelope qname="v:Envelope" xmlns:v="{one.namespace}"/>' for one in (SOAP12, SOAP11)
        )
        return f"<soap:Header><soap:Upgrade>{offered}</soap:Upgrade></soap:Header>" if version is SOAP12 else ""
    if problem.code == "soap-must-understand" and version is SOAP12:
        namespace, _, name = str(problem.members.get("header", "")).removeprefix("{").rpartition("}")
        named = f'qname="{"h:" if namespace else ""}{name}"' + (
            f' xmlns:h="{escape_attribute(namespace)}"' if namespace else ""
        )
        return f"<soap:Header><soap:NotUnderstood {named}/></soap:Header>"
    return ""


#: The members of a problem that the fault's type has elements for, besides ``errors``.
FAULT_MEMBERS: Final = ("type", "title", "status", "detail", "code", "cid")


def _members(problem: Mapping[str, Any]) -> str:
    parts = [f"<{name}>{_text(problem[name])}</{name}>" for name in FAULT_MEMBERS]
    if "errors" in problem:
        errors = "".join(
            "<error>" + "".join(f"<{key}>{_text(text)}</{key}>" for key, text in error.items()) + "</error>"
            for error in problem["errors"]
        )
        parts.append(f"<errors>{errors}</errors>")
    further = {key: value for key, value in problem.items() if key not in FAULT_MEMBERS and key != "errors"}
    if further:
        try:
            parts.append(xml_values.write("members", further, ANY))
        except Problem:
            pass  # a problem must get through; what it means is in the members above
    return "".join(parts)


def _text(value: object) -> str:
    return escape(without_illegal(str(value)))


def escape_attribute(text: str) -> str:
    """*text* as the value of an attribute, whatever it holds."""
    return xml_text.escape_attribute(without_illegal(text))
