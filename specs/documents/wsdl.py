"""WSDL 1.1 of a SOAP endpoint, document/literal wrapped: the one shape of it that toolkits in many languages accept.

What looks arbitrary here was found out with 14 of them: prefixes are declared on the schema itself (lxml), the fault's message
is not called as its element and its type has a name (Axis), messages stay one element and one class (the JAX-WS binding), lists
are repeated elements with no array around them, integers are ``xsd:long`` (Java). `specs.soap_values` reads and writes
what this describes. The same contracts give the same bytes.

>>> from specs.contract import Contract, Field
>>> get = Contract("customer.get", namespace="crm", class_name="GetCustomer", input=(Field("id", "int"),), output=())
>>> endpoint = Endpoint.of("customer", [get])
>>> endpoint.name, endpoint.namespace, list(endpoint.operations)
('Customer', 'urn:gatewright:crm', ['GetCustomer'])
>>> document = write_wsdl(endpoint, "https://api.example.com/soap/customer")
>>> document.startswith(b'<?xml version="1.0" encoding="UTF-8"?>'), b'name="CustomerSoap12"' in document
(True, True)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as declared
from typing import Final
from urllib.parse import quote

from specs.contract import Contract, Field
from specs.problems import ConfigurationError
from specs.soap import FAULT_ELEMENT, escape_attribute
from specs.soap_values import XSD_TYPES, element_name, fields_in, fields_out, item_of
from specs.xml_text import escape, is_name, without_illegal

VERSIONS: Final = ("1.1", "1.2")
FAULT_TYPE: Final = "GatewayFaultType"
FAULT_MESSAGE: Final = "GatewayFaultMessage"
_TRANSPORT: Final = "http://schemas.xmlsoap.org/soap/http"
#: The prefix of each version's binding elements, its namespace, and the word in the names of binding and port.
_BINDINGS: Final = {
    "1.1": ("soap", "http://schemas.xmlsoap.org/wsdl/soap/", "Soap11"),
    "1.2": ("soap12", "http://schemas.xmlsoap.org/wsdl/soap12/", "Soap12"),
}
_WORD = re.compile(r"[^\W_]+")


def pascal(text: str) -> str:
    """*text* as a name in Pascal case: its words joined, each with a capital.

    >>> pascal("get-customer.v2"), pascal("GetCustomer"), pascal("1st")
    ('GetCustomerV2', 'GetCustomer', 'X1st')
    """
    joined = "".join(word[0].upper() + word[1:] for word in _WORD.findall(text)) or "X"
    return joined if is_name(joined) else element_name(joined if is_name(joined[0]) else f"X{joined}")


@dataclass(frozen=True)
class Endpoint:
    """Several services as the operations of one port type. *operations* are their contracts by operation."""

    name: str
    namespace: str
    operations: Mapping[str, Contract]
    documentation: str = ""
    endings: Mapping[str, str] = declared(default_factory=dict)  #: which operations are going away, in words

    @classmethod
    def of(cls, channel: str, contracts: Sequence[Contract], namespace: str = "", documentation: str = "") -> Endpoint:
        """The endpoint of a channel; the namespace is made of that of the services where none is given.

        An operation is called as its service's class, or as the service, in Pascal case, where two classes have one name.
        Raises ConfigurationError where that does not tell them apart.
        """
        named = [contract.class_name or pascal(contract.service.rpartition(".")[2]) for contract in contracts]
        operations: dict[str, Contract] = {}
        elements = {FAULT_ELEMENT}
        for contract, short in zip(contracts, named, strict=True):
            name = short if named.count(short) == 1 and is_name(short) else pascal(contract.service)
            if name in operations:
                raise ConfigurationError(
                    "services", f"'{contract.service}' and '{operations[name].service}' would both be '{name}'"
                )
            if not elements.isdisjoint((name, f"{name}Response")):
                name = f"{name}2"  # one's call would be another one's answer
            elements.update((name, f"{name}Response"))
            operations[name] = contract
        if not namespace:
            shared = {contract.namespace for contract in contracts} - {""}
            namespace = "urn:gatewright:" + quote(shared.pop() if len(shared) == 1 else channel, safe="-._~:/+!*")
        return cls(pascal(channel), namespace, operations, documentation)

    def action(self, operation: str) -> str:
        """The SOAPAction of an operation."""
        return f"{self.namespace}:{operation}"


def write_wsdl(endpoint: Endpoint, address: str, versions: Sequence[str] = VERSIONS) -> bytes:
    """The description of *endpoint*, found at *address*, with a port for each of *versions*."""
    name = endpoint.name
    namespaces = {
        "wsdl": "http://schemas.xmlsoap.org/wsdl/",
        **{_BINDINGS[version][0]: _BINDINGS[version][1] for version in versions},
        "xsd": "http://www.w3.org/2001/XMLSchema",
        "tns": endpoint.namespace,
    }
    declared = "".join(f' xmlns:{prefix}="{escape_attribute(uri)}"' for prefix, uri in namespaces.items())
    target = escape_attribute(endpoint.namespace)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<wsdl:definitions name="{name}Service"{declared} targetNamespace="{target}">',
        *_documentation(endpoint.documentation, "  "),
        "  <wsdl:types>",
        f'    <xsd:schema xmlns:xsd="{namespaces["xsd"]}" xmlns:tns="{target}" targetNamespace="{target}"'
        ' elementFormDefault="qualified" attributeFormDefault="unqualified">',
        *_Schema(endpoint).lines,
        "    </xsd:schema>",
        "  </wsdl:types>",
    ]
    for operation in endpoint.operations:
        lines += _message(f"{operation}Input", operation) + _message(f"{operation}Output", f"{operation}Response")
    lines += _message(FAULT_MESSAGE, FAULT_ELEMENT, "fault")
    lines += [
        f'  <wsdl:portType name="{name}PortType">',
        # Without this JAX-WS makes a parameter of every member, and of an answer with several a list of holders.
        '    <jaxws:bindings xmlns:jaxws="http://java.sun.com/xml/ns/jaxws">',
        "      <jaxws:enableWrapperStyle>false</jaxws:enableWrapperStyle>",
        "    </jaxws:bindings>",
    ]
    for operation, contract in endpoint.operations.items():
        lines += [
            f'    <wsdl:operation name="{operation}">',
            *_documentation(_told(contract, endpoint.endings.get(operation, "")), "      "),
            f'      <wsdl:input message="tns:{operation}Input"/>',
            f'      <wsdl:output message="tns:{operation}Output"/>',
            f'      <wsdl:fault name="{FAULT_ELEMENT}" message="tns:{FAULT_MESSAGE}"/>',
            "    </wsdl:operation>",
        ]
    lines.append("  </wsdl:portType>")
    for version in versions:
        lines += _binding(endpoint, version)
    lines.append(f'  <wsdl:service name="{name}Service">')
    for version in versions:
        prefix, _, word = _BINDINGS[version]
        lines += [
            f'    <wsdl:port name="{name}{word}" binding="tns:{name}{word}Binding">',
            f'      <{prefix}:address location="{escape_attribute(address)}"/>',
            "    </wsdl:port>",
        ]
    lines += ["  </wsdl:service>", "</wsdl:definitions>", ""]
    return "\n".join(lines).encode()


def _told(contract: Contract, ending: str) -> str:
    return f"{ending}\n\n{contract.documentation}".strip()


def _documentation(text: str, indent: str, tag: str = "wsdl:documentation") -> list[str]:
    return [f"{indent}<{tag}>{escape(without_illegal(text))}</{tag}>"] if text else []


def _message(name: str, element: str, part: str = "parameters") -> list[str]:
    return [
        f'  <wsdl:message name="{name}">',
        f'    <wsdl:part name="{part}" element="tns:{element}"/>',
        "  </wsdl:message>",
    ]


def _binding(endpoint: Endpoint, version: str) -> list[str]:
    prefix, _, word = _BINDINGS[version]
    name = endpoint.name
    lines = [
        f'  <wsdl:binding name="{name}{word}Binding" type="tns:{name}PortType">',
        f'    <{prefix}:binding style="document" transport="{_TRANSPORT}"/>',
    ]
    for operation in endpoint.operations:
        body = f'<{prefix}:body use="literal"/>'
        lines += [
            f'    <wsdl:operation name="{operation}">',
            f'      <{prefix}:operation soapAction="{escape_attribute(endpoint.action(operation))}" style="document"/>',
            f"      <wsdl:input>{body}</wsdl:input>",
            f"      <wsdl:output>{body}</wsdl:output>",
            f'      <wsdl:fault name="{FAULT_ELEMENT}"><{prefix}:fault name="{FAULT_ELEMENT}" use="literal"/></wsdl:fault>',
            "    </wsdl:operation>",
        ]
    lines.append("  </wsdl:binding>")
    return lines


class _Schema:
    """The schema of an endpoint's elements, as *lines*. Types are named after the way to them, so names stay when others come."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.lines: list[str] = []
        self._types: list[str] = []
        # Some toolkits make a file of each type: names are to differ by more than case.
        wrappers = [name for operation in endpoint.operations for name in (operation, f"{operation}Response")]
        ours = (FAULT_ELEMENT, FAULT_TYPE, f"{FAULT_TYPE}Errors", f"{FAULT_TYPE}Error")
        self._taken = {name.lower() for name in (*wrappers, *ours)}
        for operation, contract in endpoint.operations.items():
            self._wrapper(operation, fields_in(contract))
            self._wrapper(f"{operation}Response", fields_out(contract))
        self.lines += [*self._types, _FAULT]

    def _wrapper(self, name: str, fields: Sequence[Field] | None) -> None:
        self.lines += [
            f'      <xsd:element name="{name}">',
            "        <xsd:complexType>",
            *self._sequence(name, fields, "          "),
            "        </xsd:complexType>",
            "      </xsd:element>",
        ]

    def _sequence(self, owner: str, fields: Sequence[Field] | None, indent: str) -> list[str]:
        if fields is None:
            inside = '<xsd:any minOccurs="0" maxOccurs="unbounded" namespace="##any" processContents="lax"/>'
            return [f"{indent}<xsd:sequence>", f"{indent}  {inside}", f"{indent}</xsd:sequence>"]
        if not fields:
            return [f"{indent}<xsd:sequence/>"]
        lines = [f"{indent}<xsd:sequence>"]
        for field in fields:
            lines += self._element(owner, field, f"{indent}  ")
        return [*lines, f"{indent}</xsd:sequence>"]

    def _element(self, owner: str, field: Field, indent: str) -> list[str]:
        listed = field.type in ("list", "dictlist")
        one = item_of(field) if listed else field
        kind = self._type(f"{owner}{pascal(field.name)}", one)
        occurs = ' minOccurs="0" maxOccurs="unbounded"' if listed else "" if field.required else ' minOccurs="0"'
        nillable = ' nillable="true"' if one.nullable or field.nullable else ""
        start = f'{indent}<xsd:element name="{element_name(field.name)}" type="{kind}"{occurs}{nillable}'
        if not field.description:
            return [f"{start}/>"]
        return [f"{start}>", *_annotation(field.description, f"{indent}  "), f"{indent}</xsd:element>"]

    def _type(self, name: str, field: Field) -> str:
        """The type of one value of *field*; one of its own is called *name*."""
        kind = field.type
        if kind in ("opaque", "asis") or (kind in ("dict", "nested") and field.fields is None):
            return "xsd:anyType"
        if kind in ("date", "datetime", "utc") and field.format:
            return "xsd:string"
        if kind not in ("enum", "dict", "nested", "list", "dictlist"):
            return f"xsd:{XSD_TYPES[kind]}"
        name = self._unique(name)
        place = len(self._types)
        if kind == "enum":
            values = dict.fromkeys(without_illegal(str(value)) for value in field.values)
            self._types += [
                f'      <xsd:simpleType name="{name}">',
                '        <xsd:restriction base="xsd:string">',
                *(f'          <xsd:enumeration value="{escape_attribute(value)}"/>' for value in values),
                "        </xsd:restriction>",
                "      </xsd:simpleType>",
            ]
            return f"tns:{name}"
        members = field.fields
        if kind in ("list", "dictlist"):  # a list within a list
            members = (Field("item", "list", items=item_of(field)),)
        body = self._sequence(name, members, "        ")
        self._types[place:place] = [f'      <xsd:complexType name="{name}">', *body, "      </xsd:complexType>"]
        return f"tns:{name}"

    def _unique(self, name: str) -> str:
        found, number = name, 2
        while found.lower() in self._taken:
            found, number = f"{name}{number}", number + 1
        self._taken.add(found.lower())
        return found


#: The type of the fault's detail: the members of a problem. What has no element of its own is in ``members``.
_FAULT: Final = f"""\
      <xsd:element name="{FAULT_ELEMENT}" type="tns:{FAULT_TYPE}"/>
      <xsd:complexType name="{FAULT_TYPE}">
        <xsd:sequence>
          <xsd:element name="type" type="xsd:string"/>
          <xsd:element name="title" type="xsd:string"/>
          <xsd:element name="status" type="xsd:int"/>
          <xsd:element name="detail" type="xsd:string"/>
          <xsd:element name="code" type="xsd:string"/>
          <xsd:element name="cid" type="xsd:string"/>
          <xsd:element name="errors" type="tns:{FAULT_TYPE}Errors" minOccurs="0"/>
          <xsd:element name="members" type="xsd:anyType" minOccurs="0"/>
        </xsd:sequence>
      </xsd:complexType>
      <xsd:complexType name="{FAULT_TYPE}Errors">
        <xsd:sequence>
          <xsd:element name="error" type="tns:{FAULT_TYPE}Error" minOccurs="0" maxOccurs="unbounded"/>
        </xsd:sequence>
      </xsd:complexType>
      <xsd:complexType name="{FAULT_TYPE}Error">
        <xsd:sequence>
          <xsd:element name="pointer" type="xsd:string"/>
          <xsd:element name="code" type="xsd:string"/>
          <xsd:element name="detail" type="xsd:string"/>
        </xsd:sequence>
      </xsd:complexType>"""


def _annotation(text: str, indent: str) -> list[str]:
    inside = _documentation(text, f"{indent}  ", "xsd:documentation")
    return [f"{indent}<xsd:annotation>", *inside, f"{indent}</xsd:annotation>"]
