"""The demo's services do what they show, through the test kit; the running demo is a journey of its own."""

import importlib.util
import sqlite3
import sys
from datetime import date

import pytest
import yaml

from backends import demo
from backends.connections import Connections, Outgoing
from backends.demo.upstream import Upstream
from backends.testkit import MemoryCache, invoke
from specs.problems import Problem


@pytest.fixture
def prepared(tmp_path):
    return demo.prepare(tmp_path / "demo")


@pytest.fixture
def upstream():
    served = Upstream(today=lambda: date(2026, 10, 14))
    yield served
    served.close()


@pytest.fixture
def out(prepared, upstream):
    connections = Connections()
    registry = connections._registry
    document = yaml.safe_load(prepared.configuration.read_text())["connections"]
    leases = []
    for name, body in document.items():
        kind = body.pop("type")
        body["url"] = body["url"].replace("${env:DEMO_DIRECTORY}", prepared.environment["DEMO_DIRECTORY"])
        if name == "treasury":
            body["url"] = upstream.url
        leases.append(connections.lease(kind, name, registry.get(kind).Settings.read(body, name)))
    yield Outgoing(leases)
    for lease in leases:
        lease.release()


@pytest.fixture
def service(prepared):
    """A class of one of the demo's modules."""
    loaded = set()

    def find(module, name):
        spec = importlib.util.spec_from_file_location(f"demo_{module}", prepared.services / f"{module}.py")
        if spec.name not in loaded:
            loaded.add(spec.name)
            sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[spec.name])
        return getattr(sys.modules[spec.name], name)

    yield find
    for name in loaded:
        sys.modules.pop(name, None)


def test_hello_greets(service):
    assert invoke(service("hello", "Hello"), name="world").text == "Hello, world!"


def test_a_customer_is_found_and_changed(service, out):
    get, update = service("customers", "GetCustomer"), service("customers", "UpdateCustomer")
    ann = invoke(get, cust_id=1, out=out)
    assert (ann.name, ann.is_active, ann.region, str(ann.last_seen)) == ("Ann Archer", True, "north", "2026-09-30")
    changed = invoke(update, cust_id=1, name="Ann Smith", is_active=False, region="west", out=out)
    assert changed == {"result": "updated", "name": "Ann Smith", "is_active": False, "region": "west"}
    assert invoke(get, cust_id=1, out=out).is_active is False
    with pytest.raises(Problem) as refused:
        invoke(get, cust_id=1, segment="silver", out=out)
    assert (refused.value.status, refused.value.code) == (404, "no-such-customer")


def test_a_case_is_found(service, out):
    case = invoke(service("customer_cases", "GetCustomerCase"), case_id=3, out=out)
    assert (case.cust_id, case.is_open, case.status, case.get("supervisor_id")) == (2, True, "new", None)


def test_rates_of_a_month_are_fetched_cached_and_answered(service, out):
    cache = MemoryCache()
    update, get = service("linuxjournal", "UpdateCache"), service("linuxjournal", "GetRate")
    invoke(update, {"year": "2013", "month": "9"}, out=out, cache=cache)
    assert len(cache.keys("linuxjournal:rates:2013:09:*")) == 21
    assert invoke(get, {"year": 2013, "month": 9, "day": 3}, cache=cache).rate == "1.22"


def test_a_book_has_to_fit_its_schema(service):
    add = service("books", "AddBook")
    book = {"name": "The Garden of Cyrus", "pub_year": 1658}
    assert invoke(add, book) == {"added": book}
    with pytest.raises(Problem) as refused:
        invoke(add, {"user_id": 123})
    assert [fault.pointer for fault in refused.value.errors] == ["/name", "/pub_year"]


def test_preparing_again_keeps_what_the_user_changed(prepared):
    (prepared.services / "hello.py").write_text("# mine\n")
    again = demo.prepare(prepared.services.parent)
    assert again == prepared
    assert (prepared.services / "hello.py").read_text() == "# mine\n"


def test_a_port_that_is_taken_is_replaced_in_the_document(prepared):
    busy = Upstream()
    try:
        text = prepared.configuration.read_text().replace(str(prepared.upstream_port), str(busy.port))
        prepared.configuration.write_text(text)
        again = demo.prepare(prepared.services.parent)
    finally:
        busy.close()
    assert again.upstream_port != busy.port
    assert f"http://127.0.0.1:{again.upstream_port}/feed" in again.configuration.read_text()


def test_the_database_has_what_the_commands_ask_for(prepared):
    connection = sqlite3.connect(f"{prepared.environment['DEMO_DIRECTORY']}/customers.db")
    assert connection.execute("select count(*) from customers").fetchone() == (3,)
    connection.close()


@pytest.mark.parametrize("command", demo.things_to_try("http://127.0.0.1:8000"))
def test_the_commands_are_whole(command):
    import shlex

    words = shlex.split(command)
    assert words[0] == "curl"
    assert any(word.startswith("http://127.0.0.1:8000/") for word in words)
