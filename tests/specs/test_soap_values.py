"""The law of SOAP: one value gives the service the same input through JSON, XML and both versions of SOAP."""

import decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree
from strategies import XML_CHARACTERS, contracts, mirrored, representable, values_of

from specs import soap
from specs.compiled import CompiledContract
from specs.contract import Contract, Field
from specs.documents import wsdl
from specs.formats import json_, xml
from specs.problems import Problem
from specs.soap import SOAP11, SOAP12, Message, Version
from specs.soap_values import Members, element_name, fields_in, fields_out, wrap_answer
from specs.values import compile_output

JSON, XML = json_.Format(), xml.Format()
URN = "urn:test"
LAW = settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))


def as_message(version: Version, contract: Contract, value: Any) -> bytes:
    """*value*, which a writer made, as the body of a call."""
    return soap.answer(version, "Call", URN, Members(fields_in(contract)).write(value))


def read_message(body: bytes, contract: Contract) -> Any:
    version, envelope = soap.open_envelope(body, "text/xml")
    return Members(fields_in(contract)).read(Message(version, envelope).body, URN)


def alike(left: Any, right: Any) -> bool:
    """Equal, and of the same types."""
    if isinstance(left, dict):
        return isinstance(right, dict) and list(left) == list(right) and all(alike(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(alike, left, right))
    return type(left) is type(right) and (left == right) and str(left) == str(right)


@LAW
@given(st.data())
def test_one_value_gives_the_same_input_through_json_xml_and_both_versions_of_soap(data: st.DataObject) -> None:
    contract = data.draw(contracts(XML_CHARACTERS))
    native = data.draw(values_of(contract, "input", XML_CHARACTERS).filter(lambda v: representable(v, contract.input)))
    compiled = CompiledContract(contract)
    mirror = mirrored(contract)
    value = compile_output(mirror).write(native)
    if not representable(value, contract.input):  # a default may be an empty list
        return

    def through(parsed: Any) -> Any:
        return compiled.read(parsed.payload, textual=parsed.textual, pointer=parsed.pointer)

    from_json = through(JSON.parse(JSON.render(value, mirror), contract))
    from_xml = through(XML.parse(XML.render(value, mirror), contract))
    assert alike(from_xml, from_json)
    for version in (SOAP11, SOAP12):
        message = as_message(version, contract, value)
        found = compiled.read(read_message(message, contract), textual=True)
        assert alike(dict(found), dict(from_json)), message.decode()


@LAW
@given(st.data())
def test_the_schema_of_a_wsdl_compiles_and_answers_and_calls_fit_it(data: st.DataObject) -> None:
    contract = data.draw(contracts(XML_CHARACTERS))
    contract = Contract(
        "s", class_name="Call", input=contract.input, output=contract.output, repeated=contract.repeated
    )
    document = etree.fromstring(wsdl.write_wsdl(wsdl.Endpoint.of("c", [contract], URN), "http://h/"))
    schema = etree.XMLSchema(document.find(".//{http://www.w3.org/2001/XMLSchema}schema"))
    answer = compile_output(contract).write(data.draw(values_of(contract, "output", XML_CHARACTERS)))
    members = Members(fields_out(contract)).write(wrap_answer(contract, answer))
    check_against(schema, soap.answer(SOAP11, "CallResponse", URN, members))
    sent = compile_output(mirrored(contract)).write(data.draw(values_of(contract, "input", XML_CHARACTERS)))
    check_against(schema, as_message(SOAP12, contract, sent))


def check_against(schema: Any, message: bytes) -> None:
    (element,) = etree.fromstring(message)[0]
    assert schema.validate(element), f"{schema.error_log}\n{message.decode()}"


@given(st.text(max_size=8), st.text(max_size=8))
@example("a b", "a_x0020_b")
@example("", "_x_")
@example("_x_", "_x005F_x_")
@example("1", "_x0031_")
def test_element_names_are_xml_names_and_no_two_members_share_one(left: str, right: str) -> None:
    for name in (left, right):
        etree.QName(element_name(name))
    assert (element_name(left) == element_name(right)) == (left == right)


TAGS = Contract("s", input=(Field("tags", "list", items=Field("item", "int")), Field("more", "list", required=False)))
XSI = 'xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'


def read(inside: str, contract: Contract) -> Any:
    from specs.xml_text import parse

    return Members(contract.input).read(parse(f'<Call xmlns="{URN}" {XSI}>{inside}</Call>'.encode()), URN)


def test_a_required_list_is_empty_where_it_has_no_element_and_an_optional_one_is_absent() -> None:
    assert read("", TAGS) == {"tags": []}
    assert read("<tags>1</tags><more/>", TAGS) == {"tags": ["1"], "more": [""]}


@pytest.mark.parametrize(
    ("field", "sent", "expected"),
    [
        (Field("a"), '<a i:nil="true"/>', {"a": None}),
        (Field("a", required=False), '<a i:nil="true"/>', {}),
        (Field("a", required=False, nullable=True), '<a i:nil="1"/>', {"a": None}),
        (Field("a", required=False, nullable=True), "", {}),
        (Field("a", "list", required=False, items=Field("item")), '<a i:nil="true"/>', {}),
        (Field("a", "list", nullable=True, items=Field("item")), '<a i:nil="true"/>', {"a": None}),
        (Field("a", "list"), '<a i:nil="true"/>', {"a": [None]}),
        (Field("a", "date"), "<a>2026-01-31Z</a>", {"a": "2026-01-31"}),
        (Field("a", "date"), "<a> 2026-01-31+05:30 </a>", {"a": "2026-01-31"}),
        (Field("a", "opaque"), '<a i:type="xsd:int">7</a>', {"a": 7}),
        (Field("a", "opaque"), '<a i:type="xsd:boolean">1</a>', {"a": True}),
        (Field("a", "opaque"), '<a i:type="xsd:string">7</a>', {"a": "7"}),
        (Field("a", "opaque"), '<a><b i:type="xsd:double">7.5</b></a>', {"a": {"b": 7.5}}),
        (Field("a", "opaque"), '<a xmlns="urn:other"/>', "belongs in the namespace 'urn:test', not in 'urn:other'"),
        (Field("a"), '<a xmlns="">x</a>', "belongs in the namespace 'urn:test', not in no namespace"),
        (Field("a"), "<a>x</a><a>y</a>", "given more than once"),
        (Field("a"), "<a><b/></a>", "holds a value and no elements"),
        (Field("a"), "text<a/>", "text between elements"),
        (Field("a"), '<a i:nil="true">x</a>', "must be empty"),
    ],
)
def test_what_clients_send_is_read(field: Field, sent: str, expected: Any) -> None:
    contract = Contract("s", input=(field,))
    if isinstance(expected, str):
        with pytest.raises(Problem, match=expected):
            read(sent, contract)
    else:
        assert read(sent, contract) == expected


def test_members_that_are_not_declared_stay_in_the_payload() -> None:
    assert read("<tags>1</tags><x>a</x><x>b</x><y>c</y>", TAGS) == {"tags": ["1"], "x": ["a", "b"], "y": "c"}


def test_numbers_are_written_as_xml_schema_has_them() -> None:
    fields = (Field("a", "decimal"), Field("b", "float"), Field("c", "bool"), Field("d", "int"), Field("e"))
    value = {"a": decimal.Decimal("1E+3"), "b": 1e22, "c": True, "d": True, "e": 0}
    assert Members(fields).write(value) == "<a>1000</a><b>1e+22</b><c>true</c><d>1</d><e>0</e>"


def test_what_xml_cannot_carry_is_named_with_its_place() -> None:
    fields = (Field("rows", "dictlist", fields=(Field("name"),)),)
    with pytest.raises(Problem) as caught:
        Members(fields).write({"rows": [{"name": "a"}, {"name": "\x00"}]})
    assert (caught.value.code, caught.value.errors[0].pointer) == ("not-representable", "/rows/1/name")
