"""One value gives a service the same input by JSON, XML, a form, SOAP 1.1 and SOAP 1.2: through the whole request path.

A form is flat. It carries members of one text each, and lists of such by saying a name again; it has no word for null, for an
empty list, for members of members, nor for which of several types a value without one has. SOAP's lists are repeated elements, so
that an optional list that is empty is one that is absent. JSON and XML carry everything.
"""

import time
from dataclasses import replace
from urllib.parse import urlencode

import orjson
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from strategies import SCALARS, XML_CHARACTERS, contracts, mirrored, representable, values_of

from backends.catalogue import Catalogue, deploy
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.platform import Platform
from backends.service import Service
from gateway.configuration.kinds import read_object
from gateway.configuration.objects import Configuration, Definition
from gateway.limit_stores import Stores
from gateway.pipeline import Pipeline
from gateway.quotas import Limits
from gateway.replay import Nonces
from gateway.snapshot import Compiler
from security.limits.memory import MemoryStore
from specs import soap, strict_json
from specs.contract import Contract, Field
from specs.documents.wsdl import Endpoint
from specs.exchange import Exchange
from specs.formats import xml
from specs.soap_values import Members, fields_in
from specs.values import compile_output

FORM = "application/x-www-form-urlencoded"
LAW = settings(
    deadline=None,
    max_examples=25,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
CHANNELS = {
    "every": {"type": "rest", "path": "/every", "methods": ["POST"], "service": "s", "format": ["json", "xml", "form"]},
    "soap": {"type": "soap", "path": "/soap", "services": ["s"]},
}


class Served:
    """A gateway in this process with one service, which keeps what it is given."""

    store = MemoryStore()
    guard = Guard(enforce=False)
    compiler = Compiler(
        None, Limits(Stores(store)), lambda: None, first_use=Nonces(store).first_use, listener="http://127.0.0.1:8000"
    )

    def __init__(self, contract: Contract) -> None:
        self.contract = replace(contract, service="s", class_name="Take", output=None)
        self.given: list[dict] = []
        given = self.given

        class Take(Service):
            def handle(self) -> None:
                given.append(dict(self.request.input))

        catalogue = Catalogue([deploy(Take, self.contract)])
        objects = {
            ("channels", name): Definition(
                "channels", name, body["type"], read_object("channels", body, name), str(id(contract)), 1
            )
            for name, body in CHANNELS.items()
        }
        executor = LocalExecutor(catalogue, Platform(), self.guard)
        snapshot = self.compiler.compile(Configuration(1, objects), catalogue, 1, executor)
        assert snapshot.faults == ()
        self.pipeline = Pipeline(lambda: snapshot, lambda exchange, nanoseconds: None)
        self.endpoint = Endpoint.of("soap", [self.contract])

    def call(self, path: str, content_type: str, body: bytes) -> dict:
        exchange = Exchange(
            "cid", "POST", path, "", {"content-type": content_type}, started_ns=time.monotonic_ns(),
            body_length=len(body), read_body=lambda *most: body, address="127.0.0.1",
        )  # fmt: skip
        self.pipeline.handle(exchange)
        assert exchange.response_status == 200, (content_type, body, exchange.response_body)
        return self.given.pop()

    def by_soap(self, version: soap.Version, value: object) -> dict:
        members = Members(fields_in(self.contract)).write(value)
        message = soap.answer(version, "Take", self.endpoint.namespace, members)
        return self.call("/soap", version.content_type, message)


def every_way(contract: Contract, value: dict) -> dict[str, dict]:
    """What the service is given for *value*, native values by the contract, by each way that can carry it."""
    served = Served(contract)
    wire = compile_output(mirrored(contract)).write(value)
    found = {
        "json": served.call("/every", "application/json", strict_json.dumps(wire)),
        "xml": served.call("/every", "application/xml", xml.Format().render(wire, mirrored(contract))),
    }
    if representable(wire, contract.input):
        found["soap 1.1"], found["soap 1.2"] = (served.by_soap(v, wire) for v in (soap.SOAP11, soap.SOAP12))
    pairs = as_form(contract, orjson.loads(strict_json.dumps(wire)))
    if pairs is not None:
        found["form"] = served.call("/every", FORM, urlencode(pairs).encode())
    return found


def as_form(contract: Contract, wire: dict) -> list[tuple[str, str]] | None:
    """The pairs of a form that say *wire*; None where a form cannot."""
    pairs: list[tuple[str, str]] = []
    fields = {field.name: field for field in contract.input or ()}
    for name, value in wire.items():
        field = fields[name]
        kind = field.items.type if field.type == "list" and field.items is not None else field.type
        if kind not in SCALARS or (field.type == "list" and not isinstance(value, list)):
            return None
        texts = value if field.type == "list" else [value]
        for text in texts:
            if (
                text is None
                or isinstance(text, (list, dict))
                or (kind in ("opaque", "asis") and not isinstance(text, str))
            ):
                return None
            pairs.append((name, text if isinstance(text, str) else orjson.dumps(text).decode()))
        if not texts:
            return None
    return pairs


def same(left: object, right: object) -> bool:
    """Equal, with equal types: 1 is not True, nor 1.0."""
    if isinstance(left, dict) and isinstance(right, dict):
        # A record has its members as attributes, so that one called "keys" hides the method.
        return dict.keys(left) == dict.keys(right) and all(same(left[key], right[key]) for key in list(left))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@LAW
@given(st.data())
def test_any_value_of_any_contract_arrives_the_same(data):
    contract = data.draw(contracts(XML_CHARACTERS))
    found = every_way(contract, data.draw(values_of(contract, alphabet=XML_CHARACTERS)))
    event(", ".join(found))
    assert all(same(found["json"], other) for other in found.values()), found


@pytest.mark.soak
@settings(LAW, max_examples=1500)
@given(st.data())
def test_a_great_many_values_arrive_the_same(data):
    contract = data.draw(contracts(XML_CHARACTERS, depth=3))
    found = every_way(contract, data.draw(values_of(contract, alphabet=XML_CHARACTERS)))
    assert all(same(found["json"], other) for other in found.values()), found


def flat(contract: Contract) -> Contract:
    """What a form can carry of *contract*: its scalars, and its lists of scalars."""
    kept = []
    for field in contract.input or ():
        if field.type == "list":
            item = field.items or Field("item")
            if item.type in SCALARS and item.type not in ("opaque", "asis"):
                kept.append(replace(field, nullable=False, items=replace(item, nullable=False)))
        elif field.type in SCALARS and field.type not in ("opaque", "asis"):
            kept.append(replace(field, nullable=False))
    return replace(contract, input=tuple(kept))


@LAW
@given(st.data())
def test_a_form_carries_every_flat_value_of_a_flat_contract(data):
    contract = flat(data.draw(contracts(XML_CHARACTERS)))
    value = data.draw(values_of(contract, alphabet=XML_CHARACTERS))
    value = {name: held or [held_one(contract, name, data)] if held == [] else held for name, held in value.items()}
    found = every_way(contract, value)
    assert len(found) == 5
    assert all(same(found["json"], other) for other in found.values()), found


def held_one(contract: Contract, name: str, data: st.DataObject) -> object:
    field = next(field for field in contract.input if field.name == name)
    one = Contract("s", input=(replace(field.items or Field("item"), name="x", required=True),))
    return data.draw(values_of(one, alphabet=XML_CHARACTERS))["x"]


@pytest.mark.parametrize("body", [b"a.b=1", b"a[b]=1", b"a[0][b]=1", b'a={"b":1}'])
def test_a_form_has_no_members_of_members(body):
    served = Served(Contract("s", input=(Field("a", "dict", fields=(Field("b", "int"),)),)))
    with pytest.raises(AssertionError, match="invalid-input"):
        served.call("/every", FORM, body)
