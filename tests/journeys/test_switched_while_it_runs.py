"""What an operator switches per service and per consumer while callers go on, and locks that hold between workers."""

import threading
from pathlib import Path

import pytest
import requests
from running import eventually, gateway

SERVICES = {
    "checked.py": """
        import time
        from gatewright import Service

        class Check(Service):
            name = "schema.check"
            schema = "myschema.json"

            def handle(self):
                self.response.payload = {"taken": self.request.payload}

        class Count(Service):
            name = "count"

            def handle(self):
                with self.lock("counter", ttl=20, block=20):
                    number = int(self.kvdb.conn.get("counter") or 0)
                    time.sleep(0.005)
                    self.kvdb.conn.set("counter", number + 1)
                self.response.payload = {"done": True}

        class WhoAmI(Service):
            name = "who-am-i"
            output = "name"

            def handle(self):
                self.response.payload.name = self.identity.name
    """,
    "myschema.json": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
}
CONFIGURATION = """
format: 1
security:
  consumers: {type: basic, groups: ["*"]}
  keys: {type: apikey, groups: ["*"]}
consumers:
  acme:
    basic: [{username: one, password: password-number-1}, {username: two, password: password-number-2}]
    apikey: [{key: key-number-1-0123456789}, {key: key-number-2-0123456789}]
channels:
  check: {type: rest, path: /check, service: schema.check, methods: [POST]}
  count: {type: rest, path: /count, service: count, methods: [POST]}
  who: {type: rest, path: /who, service: who-am-i, security: [consumers, keys]}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("switched")
    with gateway(folder, CONFIGURATION, SERVICES, workers=2) as running:
        running.folder = folder
        yield running


def apply(running, text):
    document = Path(running.folder) / "changed.yaml"
    document.write_text(text)
    running.command("config", "apply", str(document))


def test_the_check_and_what_callers_are_told_of_it_are_switched_per_service(served):
    wrong = {"user_id": 123}
    told = served.post("/check", json=wrong).json()
    assert [error["pointer"] for error in told["errors"]] == ["/name"]
    apply(served, CONFIGURATION + "services:\n  schema.check: {error_details: none}\n")
    assert eventually(lambda: "errors" not in served.post("/check", json=wrong).json())
    assert served.post("/check", json=wrong).json()["code"] == "invalid-input"
    apply(served, CONFIGURATION + "services:\n  schema.check: {error_details: pointer}\n")
    assert eventually(lambda: [e["detail"] for e in served.post("/check", json=wrong).json().get("errors", [])] == [""])
    apply(served, CONFIGURATION + "services:\n  schema.check: {validate: false}\n")
    assert eventually(lambda: served.post("/check", json=wrong).status_code == 200)
    apply(served, CONFIGURATION)
    assert eventually(lambda: served.post("/check", json=wrong).status_code == 400)


@pytest.mark.parametrize("number", [1, 2])
def test_a_consumer_has_several_credentials(served, number):
    username = {1: "one", 2: "two"}[number]
    assert served.get("/who", auth=(username, f"password-number-{number}")).json() == {"name": "acme"}
    assert served.get("/who", auth=(username, f"password-number-{3 - number}")).status_code == 401
    key = {"X-API-Key": f"key-number-{number}-0123456789"}
    assert served.get("/who", headers=key).json() == {"name": "acme"}


def test_a_lock_holds_between_the_workers(served):
    def call():
        for _ in range(5):
            assert served.post("/count", json={}, timeout=60).status_code == 200

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    counter = """
        from gatewright import Service

        class Counter(Service):
            name = "counter"

            def handle(self):
                self.response.payload = self.kvdb.conn.get("counter")
    """
    (served.folder / "counter.py").write_text(counter.replace("\n        ", "\n"))
    served.command("service", "deploy", str(served.folder / "counter.py"))
    assert served.command("service", "invoke", "counter").strip() == "30"


def test_an_administrators_password_is_replaced_while_it_runs(served):
    before = served.administrator()
    url = served.admin_url + "/config/history"
    assert requests.get(url, auth=before, timeout=10).status_code == 200
    served.command("admin", "password", "--password-stdin", stdin="a new and long password\n")
    assert requests.get(url, auth=before, timeout=10).status_code == 401
    assert requests.get(url, auth=("admin", "a new and long password"), timeout=10).status_code == 200
