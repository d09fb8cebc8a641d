"""The description of a SOAP endpoint is the same bytes, with the same tag, whoever gives it and whenever."""

from running import eventually, gateway

SERVICES = {
    "orders.py": '''
        from gatewright import Date, Decimal, Dict, DictList, Enum, Int, List, Service

        namespace = "acme.orders"

        class PlaceOrder(Service):
            """Places an order & says so: <ok>."""
            name = "orders.place"
            input = Int("number"), Enum("segment", "gold", "silver"), Date("-day"), List("tags"), Dict("address", "street", "-zip")
            output = DictList("lines", Int("number"), Decimal("price")), "-note"

            def handle(self):
                self.response.payload = {"lines": []}

        class FindOrder(Service):
            name = "orders.find"
            input = "order_id", "-is_urgent"
            output = "name", "total_count"

            def handle(self):
                self.response.payload = {"name": "a", "total_count": 1}
        ''',
}
OTHERS = """
from gatewright import Service

class Other(Service):
    name = "other.thing"
    output = "text"

    def handle(self):
        self.response.payload.text = "x"
"""
CONFIGURATION = """
format: 1
gateway: {public_url: "https://api.example.com/v1"}
channels:
  orders: {type: soap, path: /soap/orders, services: [orders.place, orders.find]}
"""
MORE = """\
  a-first: {type: soap, path: /soap/first, services: [orders.find, other.thing]}
  other: {type: rest, path: /other, service: other.thing}
  orders-too: {type: soap, path: /soap/too, services: [orders.find, orders.place], namespace: "urn:too"}
"""
VIEWS = ("?wsdl", "?wsdl&soap=1.1", "?wsdl&soap=1.2")


def described(served, times=4):
    """The bytes and tag of each view. A new connection each: any worker may answer."""
    found = {view: set() for view in VIEWS}
    for number in range(times):
        for view in VIEWS:
            headers = {"Connection": "close", **({"Host": f"host-{number}.example"} if number % 2 else {})}
            answer = served.get("/soap/orders" + view, headers=headers)
            assert answer.status_code == 200
            found[view].add((answer.content, answer.headers["ETag"]))
    assert [len(answers) for answers in found.values()] == [1, 1, 1]
    return {view: answers.pop() for view, answers in found.items()}


def revisions(served):
    return [worker["revision"] for worker in served.status()["workers"]]


def test_over_workers_restarts_installations_and_changes_elsewhere(tmp_path):
    folder, again = tmp_path / "first", tmp_path / "again"
    folder.mkdir()
    again.mkdir()
    with gateway(folder, CONFIGURATION, SERVICES, workers=2, environment={"PYTHONHASHSEED": "1"}) as served:
        first = described(served)
        assert len({tag for _, tag in first.values()}) == 3
        for content, _ in first.values():
            assert b'location="https://api.example.com/v1/soap/orders"' in content
            assert b"host-1" not in content
        # Other channels and services, in the same endpoint's namespace and before it in the alphabet.
        (folder / "services" / "another.py").write_text(OTHERS)
        (folder / "more.yaml").write_text(CONFIGURATION + MORE)
        served.command("config", "apply", str(folder / "more.yaml"))
        # Services are checked by a process of their own, which takes long where much else runs.
        assert eventually(lambda: b'"Other"' in served.get("/soap/first?wsdl").content, 120)
        assert eventually(lambda: len(set(revisions(served))) == 1, 60)
        assert described(served) == first
    with gateway(folder, CONFIGURATION + MORE, workers=2, environment={"PYTHONHASHSEED": "2"}) as served:
        assert described(served) == first
        known = served.get("/soap/orders?wsdl", headers={"If-None-Match": first["?wsdl"][1]})
        assert (known.status_code, known.content) == (304, b"")
    # Another installation, with keys and a database of its own.
    before, _, own = CONFIGURATION.partition("  orders:")
    with gateway(again, f"{before}{MORE}  orders:{own}", {**SERVICES, "another.py": OTHERS}) as served:
        assert described(served, 2) == first
