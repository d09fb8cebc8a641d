"""The description of a SOAP endpoint: byte for byte, and what names become."""

from pathlib import Path

import pytest
from lxml import etree

from specs.contract import Contract, Field
from specs.documents.wsdl import Endpoint, pascal, write_wsdl
from specs.problems import ConfigurationError

GOLDEN = Path(__file__).parent.parent / "golden" / "customer.wsdl"
ADDRESS = Field("address", "dict", fields=(Field("street"), Field("geo", "dict", fields=(Field("lat", "float"),))))
GET = Contract(
    "customer.get",
    namespace="my.api.customer",
    class_name="GetCustomer",
    documentation="Returns a customer & what belongs to it.",
    input=(
        Field("cust_id", "int", description="Number of the customer"),
        Field("segment", "enum", values=("gold", "silver", 1), required=False),
        Field("since", "date", required=False, nullable=True),
    ),
    output=(
        Field("name"),
        Field("is_active", "bool"),
        Field("tags", "list", items=Field("item")),
        Field("anything", "list", required=False),
        Field("last_seen", "datetime", required=False),
        Field("born", "date", format="%d.%m.%Y"),
        Field("balance", "decimal"),
        Field("photo", "bytes", required=False),
        ADDRESS,
        Field(
            "orders", "dictlist", fields=(Field("number", "int"), Field("lines", "dictlist", fields=(Field("item"),)))
        ),
        Field("matrix", "list", items=Field("item", "list", items=Field("item", "float"))),
        Field("more", "opaque", required=False),
        Field("odd name"),
    ),
)
LIST = Contract(
    "customer.list", "my.api.customer", class_name="ListCustomers", output=(Field("id", "int"),), repeated=True
)
RAW = Contract("customer.raw", "my.api.customer", class_name="Raw", input=())


def test_the_description_is_the_golden_file() -> None:
    endpoint = Endpoint.of("customer", [GET, LIST, RAW], documentation="Customers")
    assert write_wsdl(endpoint, "https://api.example.com/soap/customer?a=1&b=2").decode() == GOLDEN.read_text()


@pytest.mark.parametrize(("versions", "absent"), [(["1.1"], "soap12"), (["1.2"], "wsdl/soap/")])
def test_a_view_has_one_port(versions: list[str], absent: str) -> None:
    document = write_wsdl(Endpoint.of("customer", [GET]), "http://h/", versions).decode()
    assert absent not in document
    ports = [
        port.get("name") for port in etree.fromstring(document.encode()).iter("{http://schemas.xmlsoap.org/wsdl/}port")
    ]
    assert ports == ["CustomerSoap" + versions[0].replace(".", "")]


def names_of(*contracts: Contract) -> list[str]:
    return list(Endpoint.of("c", contracts).operations)


def test_an_operation_is_called_as_the_class_of_its_service() -> None:
    assert names_of(Contract("customer.get", class_name="GetCustomer")) == ["GetCustomer"]
    assert names_of(Contract("get-customer", class_name="GetCustomer")) == ["GetCustomer"]
    assert names_of(Contract("crm.get-customer")) == ["GetCustomer"]


def test_two_classes_of_one_name_are_called_as_their_services() -> None:
    both = Contract("a.my-service", class_name="MyService"), Contract("b.my-service", class_name="MyService")
    assert names_of(*both) == ["AMyService", "BMyService"]
    pair = Contract("get", class_name="Get"), Contract("get.response", class_name="GetResponse")
    assert names_of(*pair) == ["Get", "GetResponse2"]
    with pytest.raises(ConfigurationError, match=r"'a\.b-c' and 'a-b\.c' would both be 'ABC'"):
        names_of(Contract("a-b.c", class_name="X"), Contract("a.b-c", class_name="X"))


def test_the_namespace_is_that_of_the_services_unless_they_differ_or_it_is_given() -> None:
    assert Endpoint.of("c", [GET, LIST]).namespace == "urn:gatewright:my.api.customer"
    assert Endpoint.of("my c", [GET, Contract("x", "other")]).namespace == "urn:gatewright:my%20c"
    assert Endpoint.of("c", [Contract("x")]).namespace == "urn:gatewright:c"
    assert Endpoint.of("c", [GET], "urn:acme").namespace == "urn:acme"


def test_types_of_one_name_are_numbered_and_differ_by_more_than_case() -> None:
    nested = (Field("a_b", "dict", fields=(Field("x"),)), Field("aB", "dict", fields=(Field("y"),)))
    document = write_wsdl(Endpoint.of("c", [Contract("s", class_name="S", input=nested)]), "http://h/").decode()
    assert 'complexType name="SAB"' in document
    assert 'complexType name="SAB2"' in document


def test_names_become_pascal_case() -> None:
    assert [pascal(text) for text in ("client3-get-rate", "My MS SQL Connection", "é.x", "--", "9")] == [
        "Client3GetRate",
        "MyMSSQLConnection",
        "ÉX",
        "X",
        "X9",
    ]
