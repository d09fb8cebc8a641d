"""The core journeys on PostgreSQL: one service many ways, changes while it runs, jobs, promises, another machine, kill -9."""

import pytest
from lxml import etree
from running import eventually, gateway

SERVICES = {
    "work.py": '''
        """Services that leave a trace: a line in the file that MARKS names."""
        import os
        from gatewright import Int, Service

        def mark(line):
            with open(os.environ["MARKS"], "ab", buffering=0) as file:
                file.write(f"{line}\\n".encode())

        class Customer(Service):
            name = "customer.get"
            input = Int("cust_id"), "-segment"
            output = Int("cust_id"), "segment"

            def handle(self):
                self.response.payload = {"cust_id": self.request.input.cust_id, "segment": self.request.input.segment or "none"}

        class Promise(Service):
            name = "promise"

            def handle(self):
                self.invoke_async("keep", {"number": self.request.payload["number"]})
                self.response.payload = {"promised": self.request.payload["number"]}

        class Keep(Service):
            name = "keep"

            def handle(self):
                mark(f"kept {self.request.payload['number']}")

        class Tick(Service):
            name = "tick"

            def handle(self):
                mark("tick")

        class Remember(Service):
            name = "remember"

            def handle(self):
                if self.request.payload:
                    self.kvdb.conn.set("word", self.request.payload["word"])
                self.response.payload = {"word": self.kvdb.conn.get("word")}
    ''',
    "which.py": """
        from gatewright import Service

        class Which(Service):
            name = "which"

            def handle(self):
                self.response.payload = {"version": 1}
    """,
}


def document(description="first"):
    return f"""
format: 1
security:
  keys: {{type: apikey, key: "a-key-0123456789abcdef"}}
limits:
  year: {{rules: [{{from: "*", rate: 3/year}}], algorithm: fixed-window, durable: true}}
channels:
  json:     {{type: rest, path: "/customers/{{cust_id}}", service: customer.get, description: "{description}"}}
  xml:      {{type: xml, path: "/customers.xml", service: customer.get}}
  closed:   {{type: rest, path: /closed, service: which, security: [keys]}}
  promise:  {{type: rest, path: /promise, service: promise}}
  remember: {{type: rest, path: /remember, service: remember}}
  which:    {{type: rest, path: /which, service: which}}
  year:     {{type: rest, path: /year, service: which, limit: year}}
jobs:
  tick: {{service: tick, every: 1s}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, postgresql_server):
    """A folder and what every process of the installation has in its environment."""
    folder = tmp_path_factory.mktemp("postgresql")
    url, marks = postgresql_server.new_database(), folder / "marks"
    marks.touch()
    return folder, {"GATEWRIGHT_DATABASE_URL": url, "MARKS": str(marks)}


@pytest.fixture(scope="module")
def served(place):
    folder, environment = place
    with gateway(folder, document(), SERVICES, workers=2, environment=environment) as running:
        running.folder, running.marks = folder, folder / "marks"
        yield running


def revision_everywhere(served, revision):
    return eventually(lambda: {worker.get("revision") for worker in served.status()["workers"]} == {revision})


def test_one_service_answers_in_both_formats_and_a_key_is_asked_for(served):
    assert served.get("/customers/7?segment=gold").json() == {"cust_id": 7, "segment": "gold"}
    root = etree.fromstring(served.get("/customers.xml?cust_id=7").content)
    assert (root.findtext("{*}cust_id"), root.findtext("{*}segment")) == ("7", "none")
    assert [fault["pointer"] for fault in served.get("/customers/seven").json()["errors"]] == ["/cust_id"]
    assert served.get("/closed").status_code == 401
    assert served.get("/closed", headers={"X-API-Key": "a-key-0123456789abcdef"}).status_code == 200
    assert not (served.data / "gatewright.db").exists()


def test_what_one_worker_remembers_every_other_knows(served):
    assert served.post("/remember", json={"word": "Ännchen"}).json() == {"word": "Ännchen"}
    assert [served.get("/remember").json()["word"] for _ in range(6)] == ["Ännchen"] * 6


def test_a_durable_quota_holds_over_workers(served):
    assert sorted(served.get("/year").status_code for _ in range(6)) == [200] * 3 + [429] * 3


def test_changes_are_taken_up_and_bad_or_stale_ones_refused(served):
    before = served.status()["revision"]
    changed = served.folder / "changed.yaml"
    changed.write_text(document("second"))
    served.command("config", "apply", str(changed))
    assert revision_everywhere(served, before + 1)
    changed.write_text(document("third").replace("service: promise", "servise: promise"))
    done = served.command("config", "apply", str(changed), expected=1)
    assert done == ""
    served.command("config", "rollback", str(before))
    assert revision_everywhere(served, before + 2)
    assert "description: first" in served.command("config", "dump")
    assert served.get("/customers/7").status_code == 200


def test_a_new_version_is_taken_up_by_every_worker_and_a_broken_one_is_not(served):
    path = served.folder / "services" / "which.py"
    text = path.read_text()
    path.write_text(text.replace('"version": 1', '"version": 2'))
    assert eventually(lambda: [served.get("/which").json()["version"] for _ in range(6)] == [2] * 6, 60), served.log()
    path.write_text(text.replace("def handle", "def handle def"))
    assert eventually(lambda: "which.py" in served.log() and "not deployed" in served.log(), 60)
    assert [served.get("/which").json()["version"] for _ in range(6)] == [2] * 6
    path.write_text(text.replace('"version": 1', '"version": 3'))
    assert eventually(lambda: [served.get("/which").json()["version"] for _ in range(6)] == [3] * 6, 60), served.log()


def test_a_job_runs_and_promises_are_kept(served):
    for number in range(5):
        assert served.post("/promise", json={"number": number}).json() == {"promised": number}
    wanted = {f"kept {number}" for number in range(5)}
    assert eventually(lambda: wanted <= set(served.marks.read_text().split("\n")), 30)
    assert eventually(lambda: served.marks.read_text().count("tick\n") >= 2, 30)


def test_another_machine_serves_the_same_installation(served, place, tmp_path):
    environment = place[1]
    keys = served.data / "keyring"
    options = ["--keys", str(keys if keys.exists() else next(served.data.glob("key*")))]
    with gateway(tmp_path, document(), SERVICES, environment=environment, options=options) as other:
        assert other.status()["revision"] >= served.status()["revision"]
        assert other.get("/remember").json() == {"word": "Ännchen"}
        assert other.get("/closed", headers={"X-API-Key": "a-key-0123456789abcdef"}).status_code == 200
        assert other.get("/year").status_code == 429
        changed = tmp_path / "changed.yaml"
        changed.write_text(document("from elsewhere"))
        other.command("config", "apply", str(changed), *options)
        assert revision_everywhere(served, other.status()["revision"])


def test_everything_killed_at_once_loses_nothing_that_was_accepted(place, served):
    folder, environment = place
    changed = folder / "accepted.yaml"
    changed.write_text(document("accepted"))
    served.command("config", "apply", str(changed))
    for number in range(100, 110):
        assert served.post("/promise", json={"number": number}).status_code == 200
    revision, version = served.status()["revision"], served.get("/which").json()
    assert 429 in [served.get("/year").status_code for _ in range(4)]
    served.kill()
    with gateway(folder, document("accepted"), environment=environment, workers=2) as again:
        assert again.status()["revision"] >= revision
        assert "description: accepted" in again.command("config", "dump")
        assert again.get("/which").json() == version
        assert again.get("/year").status_code == 429
        wanted = {f"kept {number}" for number in range(100, 110)}
        # What a killed worker had begun is done again when its lease has ended.
        assert eventually(lambda: wanted <= set((folder / "marks").read_text().split("\n")), 120)
