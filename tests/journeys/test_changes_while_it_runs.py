"""Reconfigured and redeployed under steady load: no request is lost, none sees half a change."""

import http.client
import json
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from running import gateway

from gateway.commands import open_installation
from gateway.configuration.document import Document
from gateway.preparation import deployments_of
from security.references import References

#: Long enough for every worker to look (each 0.25 s) and compile on a busy machine.
PATIENCE = 10.0


def configuration(number):
    """Revision *number*: two objects say it, and an answer shows both."""
    return f"""
format: 1
security:
  callers: {{type: apikey, groups: ["*"]}}
limits:
  counted: {{rules: [{{from: "*", rate: "{1_000_000 + number}/second"}}]}}
consumers:
  load: {{apikey: {{key: "load-key-0123456789"}}, attributes: {{number: {number}}}}}
channels:
  which: {{type: rest, path: /which, service: which, security: [callers], limit: counted, methods: [GET]}}
"""


def services(number):
    """Version *number*: two files say it, and an answer shows both."""
    return {
        "which.py": f"""
from gatewright import Service
from numbers_of import NUMBER

class Which(Service):
    name = "which"
    output = "code", "helper", "attribute"

    def handle(self):
        self.response.payload.code = {number}
        self.response.payload.helper = NUMBER
        self.response.payload.attribute = self.identity.attributes["number"]
""".encode(),
        "numbers_of.py": f"NUMBER = {number}\n".encode(),
    }


class Caller(threading.Thread):
    """Calls at a steady pace over one kept connection, and keeps what it got."""

    def __init__(self, url, per_second, stop):
        super().__init__(daemon=True)
        host, port = url.removeprefix("http://").split(":")
        self.address = host, int(port)
        self.pause = 1 / per_second
        self.stopping = stop
        self.seen = []
        self.failures = []

    def run(self):
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        begun, calls = time.monotonic(), 0
        while not self.stopping.is_set():
            calls += 1
            try:
                connection.request("GET", "/which", headers={"X-API-Key": "load-key-0123456789"})
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    self.failures.append((answer.status, body))
                    continue
                policy = answer.headers["ratelimit-policy"]
                self.seen.append((int(policy.partition("q=")[2].partition(";")[0]) - 1_000_000, json.loads(body)))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
                connection.close()
            time.sleep(max(0.0, begun + calls * self.pause - time.monotonic()))
        connection.close()


@contextmanager
def calling(url, per_second, callers=4):
    stop = threading.Event()
    threads = [Caller(url, per_second / callers, stop) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def wait_until_all_see(threads, wanted, timeout=PATIENCE):
    """Wait until the latest answers that every caller got fulfil *wanted*; the seconds that it took."""
    begun = time.monotonic()
    marks = [len(thread.seen) for thread in threads]
    while time.monotonic() - begun < timeout:
        if all(len(t.seen) > mark and wanted(t.seen[-1]) for t, mark in zip(threads, marks, strict=True)):
            return time.monotonic() - begun
        time.sleep(0.01)
    raise AssertionError(
        f"not seen within {timeout} s: {[t.seen[-1] for t in threads]} {[t.failures for t in threads]}"
    )


def change_and_watch(folder, changes, per_second):
    text = {name: content.decode() for name, content in services(0).items()}
    with gateway(folder, configuration(0), text, workers=2) as running, open_installation(running.data) as installation:
        store = installation.store()
        deployments = deployments_of(installation.database, installation.keyring)
        references = References(Path(folder))
        with calling(running.url, per_second) as threads:
            wait_until_all_see(threads, lambda seen: True)
            for number in range(1, changes + 1):
                store.apply(Document.parse(configuration(number)), references=references)
                deployments.deploy(services(number))
                # Each is taken up before the next comes: what is seen below was served, not only accepted.
                wait_until_all_see(threads, lambda seen, n=number: seen[0] >= n and seen[1]["code"] >= n)
            wait_until_all_see(threads, lambda seen: seen[0] == changes and seen[1]["code"] == changes)
        assert running.stop() == 0
        failures = [failure for thread in threads for failure in thread.failures]
        seen = [one for thread in threads for one in thread.seen]
    assert failures == []
    torn = [s for s in seen if s[0] != s[1]["attribute"] or s[1]["code"] != s[1]["helper"]]
    assert torn == []
    return seen


def test_five_changes_and_five_deployments_under_load_lose_nothing(tmp_path):
    seen = change_and_watch(tmp_path, 5, 200)
    assert len(seen) > 20


@pytest.mark.soak
def test_fifty_changes_and_fifty_deployments_under_load_lose_nothing(tmp_path):
    seen = change_and_watch(tmp_path, 50, 200)
    print(
        f"{len(seen)} answers, {len({s[0] for s in seen})} revisions and {len({s[1]['code'] for s in seen})} versions seen"
    )
    assert len(seen) > 1000


def test_a_change_is_taken_up_within_a_second_by_every_worker(tmp_path):
    text = {name: content.decode() for name, content in services(0).items()}
    with (
        gateway(tmp_path, configuration(0), text, workers=2) as running,
        open_installation(running.data) as installation,
    ):
        store = installation.store()
        with calling(running.url, 80, callers=8) as threads:
            wait_until_all_see(threads, lambda seen: True)
            store.apply(Document.parse(configuration(1)), references=References(tmp_path))
            took = wait_until_all_see(threads, lambda seen: seen[0] == 1)
    # A second by design (a look each 0.25 s); the rest is for a machine that does other things too.
    assert took < 3.0


def test_a_bad_revision_is_refused_whole_with_the_place_and_the_remedy(tmp_path):
    text = {name: content.decode() for name, content in services(0).items()}
    with gateway(tmp_path, configuration(0), text) as running:
        bad = tmp_path / "bad.yaml"
        bad.write_text(configuration(1).replace("limit: counted", "limit: countd"))
        running.command("config", "apply", str(bad), expected=1)
        key = {"X-API-Key": "load-key-0123456789"}
        assert running.get("/which", headers=key).json()["attribute"] == 0
        assert running.status()["revision"] == 1


def test_a_file_put_into_the_services_folder_is_taken_up_and_a_broken_one_is_not(tmp_path):
    text = {name: content.decode() for name, content in services(0).items()}
    key = {"X-API-Key": "load-key-0123456789"}
    with gateway(tmp_path, configuration(0), text) as running:
        folder = tmp_path / "services"
        (folder / "which.py").write_bytes(services(7)["which.py"])
        end = time.monotonic() + PATIENCE * 2
        while running.get("/which", headers=key).json()["code"] != 7 and time.monotonic() < end:
            time.sleep(0.05)
        assert running.get("/which", headers=key).json()["code"] == 7
        (folder / "which.py").write_text("from gatewright import Service\n\ndef broken(:\n")
        while "not deployed" not in running.log() and time.monotonic() < end:
            time.sleep(0.05)
        assert "which.py" in running.log()
        assert "line 3" in running.log() or ":3" in running.log()
        assert running.get("/which", headers=key).json()["code"] == 7
