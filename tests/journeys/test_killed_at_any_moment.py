"""kill -9, of one worker and of everything at once: what was accepted, counted or promised is there afterwards."""

import http.client
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing

import pytest
import requests
from running import ROOT, eventually, gateway, kill_group

SERVICES = {
    "work.py": '''
        """Services that leave a trace: a line in the file that MARKS names."""
        import os
        import time
        from gatewright import Service

        def mark(line):
            with open(os.environ["MARKS"], "ab", buffering=0) as file:
                file.write(f"{line}\\n".encode())

        class Quick(Service):
            name = "quick"
            def handle(self):
                self.response.payload = {"pid": os.getpid()}

        class Promise(Service):
            """Answers when the work is promised, not when it is done."""
            name = "promise"
            def handle(self):
                self.invoke_async("keep", {"number": self.request.payload["number"]})
                self.response.payload = {"promised": self.request.payload["number"]}

        class Keep(Service):
            name = "keep"
            def handle(self):
                time.sleep(0.1)
                mark(f"kept {self.request.payload['number']}")

        class Tick(Service):
            name = "tick"
            def handle(self):
                mark(f"tick {time.time():.3f} {os.getpid()}")
    ''',
    "which.py": """
        from gatewright import Service
        from number import NUMBER

        class Which(Service):
            name = "which"
            def handle(self):
                self.response.payload = {
                    "code": 0, "helper": NUMBER, "first": self.identity.attributes["number"], "kind": self.identity.kind,
                }
    """,
    "number.py": "NUMBER = 0\n",
}
KEY = {"X-API-Key": "survivor-key-0123456789"}


def configuration(number=0, jobs="{}"):
    """Revision *number*: a consumer and a limit say it, and an answer shows both."""
    return f"""
        format: 1
        security:
          callers: {{type: apikey, groups: ["*"]}}
        limits:
          numbered: {{rules: [{{from: "*", rate: "{1_000_000 + number}/second"}}]}}
          daily: {{rules: [{{from: "*", rate: 5000/day}}]}}
        consumers:
          caller: {{apikey: {{key: "survivor-key-0123456789"}}, attributes: {{number: {number}}}}}
        channels:
          quick: {{type: rest, path: /quick, service: quick, methods: [GET], limit: daily}}
          promise: {{type: rest, path: /promise, service: promise, methods: [POST]}}
          which: {{type: rest, path: /which, service: which, methods: [GET], security: [callers], limit: numbered}}
        jobs: {jobs}
    """


def remaining(answer):
    return int(answer.headers["ratelimit"].partition("r=")[2].partition(";")[0])


class Caller(threading.Thread):
    """Calls /quick at a steady pace over one kept connection, and opens another where that breaks."""

    def __init__(self, url, stop):
        super().__init__(daemon=True)
        host, _, port = url.removeprefix("http://").partition(":")
        self.address, self.stopping = (host, int(port)), stop
        self.sent, self.statuses, self.broken = 0, [], []

    def run(self):
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        while not self.stopping.is_set():
            self.sent += 1
            try:
                connection.request("GET", "/quick")
                answer = connection.getresponse()
                answer.read()
                self.statuses.append(answer.status)
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(error)
                connection.close()
            time.sleep(0.02)
        connection.close()


def test_a_worker_that_is_killed_under_load_costs_nothing_but_what_it_held(tmp_path):
    with gateway(tmp_path, configuration(), SERVICES, workers=2, environment={"MARKS": str(tmp_path / "m")}) as running:
        before = remaining(running.get("/quick"))
        stop = threading.Event()
        callers = [Caller(running.url, stop) for _ in range(6)]
        for caller in callers:
            caller.start()
        counted = 0.0
        for _ in range(2):
            time.sleep(0.5)
            workers = running.workers()
            victim = random.choice(sorted(workers))
            os.kill(victim, signal.SIGKILL)
            assert eventually(lambda gone=victim: gone not in running.workers() and len(running.workers()) == 2)
            now = requests_counted(running)
            assert now >= counted
            counted = now
        # The new ones do serve, and the old one goes on.
        served = eventually(lambda: {running.get("/quick").json()["pid"] for _ in range(20)} == running.workers())
        stop.set()
        for caller in callers:
            caller.join(30)
        after = remaining(running.get("/quick"))
        assert running.status()["revision"] == 1
        assert served
        assert Counter(status for caller in callers for status in caller.statuses).keys() == {200}
        assert all(type(error).__name__ != "TimeoutError" for caller in callers for error in caller.broken)
        # Each connection broke at most once a kill: one request, the one that was under way or came just then.
        assert all(len(caller.broken) <= 2 for caller in callers)
        answered = sum(len(caller.statuses) for caller in callers)
        assert answered > 100
        assert before - after >= answered  # what was answered is counted: the table outlives its writers
        assert running.stop() == 0


def requests_counted(running):
    text = requests.get(running.admin_url + "/metrics", timeout=10).text
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("gatewright_requests_total{"))


CHANGER = """
import sys
from pathlib import Path

import requests

from gateway.commands import open_installation
from gateway.configuration.document import Document
from gateway.preparation import deployments_of
from security.references import References

data, url, first, template = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
with open_installation(data) as installation:
    store, deployments = installation.store(), deployments_of(installation.database, installation.keyring)
    which = deployments.files(deployments.active().id)["which.py"].decode()
    for number in range(first, first + 100_000):
        text = template.replace("1000000", str(1_000_000 + number)).replace("number: 0", f"number: {number}")
        store.apply(Document.parse(text), references=References(data))
        print("applied", number, flush=True)
        code = which.partition('"code": ')[2].partition(",")[0]
        files = {"which.py": which.replace(f'"code": {code}', f'"code": {number}').encode()}
        deployments.deploy({**files, "number.py": f"NUMBER = {number}\\n".encode()})
        print("deployed", number, flush=True)
        requests.post(f"{url}/promise", json={"number": number}, timeout=20).raise_for_status()
        print("promised", number, flush=True)
"""


def ticks(marks):
    return [float(moment) for moment in re.findall(r"^tick (\S+)", marks.read_text(), re.MULTILINE)]


def holder_of_the_lease(data):
    with closing(sqlite3.connect(data / "gatewright.db")) as database:
        (holder,) = database.execute("select holder from leases where name = 'scheduler'").fetchone()
    return int(holder.split(":")[1])


def let_the_lease_end(data):
    """Put the clock forward in the database: fifteen seconds that a test does not wait."""
    with closing(sqlite3.connect(data / "gatewright.db")) as database, database:
        database.execute("update leases set expires_at = '2000-01-01 00:00:00.000000' where name = 'scheduler'")
        database.execute("update background_calls set claimed_until = '2000-01-01 00:00:00.000000'")


def killed_and_started_again(folder, rounds, pause, *, wait_for_claims=False):
    """Rounds of: change everything as fast as it goes, kill all of it at some moment, start, look.

    A claim of a killed worker ends after a minute; unless that is waited for, the clock is put forward in the database.
    """
    marks = folder / "marks"
    marks.touch()
    text = configuration(jobs="{tick: {service: tick, every: 1s, overlap: allow}}")
    template = text.replace("\n        ", "\n")
    promised, last = [], {"applied": 0, "deployed": 0}
    for number in range(rounds + 1):
        count, began = len(ticks(marks)), time.time()
        with gateway(folder, text, SERVICES, workers=2, environment={"MARKS": str(marks)}) as running:
            found = running.get("/which", headers=KEY)
            seen = found.json()
            limit = int(found.headers["ratelimit-policy"].partition("q=")[2].partition(";")[0]) - 1_000_000
            assert (seen["code"], limit) == (seen["helper"], seen["first"])  # nothing half done
            assert limit >= last["applied"], "accepted configuration is lost"
            assert seen["code"] >= last["deployed"], "a deployed version is lost"
            if number == rounds:
                done = eventually(lambda: not missing(marks, promised), 90 if wait_for_claims else 20)
                assert done, f"promised and never done: {sorted(missing(marks, promised))[:20]}"
                assert eventually(lambda before=count: len(ticks(marks)) >= before + 2, 30), (
                    "the job does not run any more"
                )
                # Runs missed while everything was down are left out, as `missed: skip` says.
                assert len(ticks(marks)) - count <= time.time() - began + 2
                break
            words = [str(running.data), running.url, str(max(limit, seen["code"]) + 1), template]
            changer = subprocess.Popen(
                [sys.executable, "-c", CHANGER, *words],
                cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            said = []
            while sum(line.startswith("promised") for line in said) < 2 and (line := changer.stdout.readline()):
                said.append(line)
            time.sleep(pause())
            running.kill()
            kill_group(changer)
            told = changer.stdout.read()
            changer.stdout.close()
            for line in "".join([*said, told]).splitlines():
                what, _, which = line.partition(" ")
                if what == "promised":
                    promised.append(int(which))
                elif what in last:
                    last[what] = int(which)
            assert said, "nothing could be changed"
        if not wait_for_claims:
            let_the_lease_end(running.data)
    assert len(promised) > rounds
    return promised, last


def missing(marks, promised):
    return {str(number) for number in promised} - set(re.findall(r"kept (\d+)", marks.read_text()))


def test_everything_killed_while_it_changes_loses_nothing_that_was_accepted(tmp_path):
    killed_and_started_again(tmp_path, 1, lambda: random.uniform(0.0, 1.0))


@pytest.mark.soak
def test_everything_killed_at_fifteen_moments_loses_nothing_that_was_accepted(tmp_path):
    promised, last = killed_and_started_again(tmp_path, 15, lambda: random.uniform(0.0, 4.0), wait_for_claims=True)
    print(f"{len(promised)} calls promised and done, {last['applied']} revisions, {last['deployed']} versions")


def test_a_job_runs_in_one_worker_of_several_and_survives_its_scheduler(tmp_path):
    marks = tmp_path / "marks"
    marks.touch()
    text = configuration(jobs="{tick: {service: tick, every: 1s, overlap: allow}}")
    environment = {"MARKS": str(marks)}
    with gateway(tmp_path, text, SERVICES, workers=3, environment=environment) as running:
        assert eventually(lambda: len(ticks(marks)) >= 4)
        seen = ticks(marks)
        # Three schedulers would have made three of each; a run may be late by the second that another worker looks.
        assert len(seen) <= seen[-1] - seen[0] + 3
        victim = holder_of_the_lease(running.data)
        assert victim in running.workers()
        os.kill(victim, signal.SIGKILL)
        let_the_lease_end(running.data)
        count = len(ticks(marks))
        assert eventually(lambda: len(ticks(marks)) >= count + 2)
        assert holder_of_the_lease(running.data) != victim
        assert running.stop() == 0


@pytest.mark.soak
def test_another_worker_schedules_when_the_lease_of_a_killed_one_has_ended(tmp_path):
    marks = tmp_path / "marks"
    marks.touch()
    text = configuration(jobs="{tick: {service: tick, every: 1s}}")
    with gateway(tmp_path, text, SERVICES, workers=3, environment={"MARKS": str(marks)}) as running:
        assert eventually(lambda: len(ticks(marks)) >= 3)
        os.kill(holder_of_the_lease(running.data), signal.SIGKILL)
        count = len(ticks(marks))
        assert eventually(lambda: len(ticks(marks)) >= count + 3, 30)
        gap = max(later - earlier for earlier, later in zip(ticks(marks), ticks(marks)[1:], strict=False))
        print(f"the longest pause was {gap:.1f} s")
        assert gap < 25
