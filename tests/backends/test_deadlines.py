"""Services that wait, loop or block, under a real hub in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends import Service
from backends.catalogue import Catalogue, deploy, describe
from backends.deadlines import Deadlines
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.platform import Platform
from specs.exchange import Call

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SCENARIOS = [
    "wait", "wait-stubborn", "loop", "loop-stubborn", "hog", "spawned", "impatient", "own-timeout", "put-aside",
    "blocking-pool", "many-waiting", "quick-calls",
]  # fmt: skip
#: How late an answer may be on a busy machine, in seconds.
SLACK = 1.5


@pytest.fixture(scope="module")
def found():
    process = subprocess.run(
        [sys.executable, "-W", "error", HERE / "deadlines_process.py", *SCENARIOS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    results = {}
    for line in process.stdout.splitlines():
        results.update(json.loads(line))
    return results


@pytest.mark.parametrize(
    ("scenario", "deadline"), [("wait", 0.3), ("wait-stubborn", 0.3), ("loop", 0.6), ("loop-stubborn", 0.6)]
)
def test_a_service_is_ended_at_its_deadline_and_the_others_go_on(found, scenario, deadline):
    result = found[scenario]
    assert result["answer"] == "504 deadline-exceeded"
    assert deadline <= result["seconds"] < deadline + SLACK
    assert (result["after"], result["watched"]) == ("fine", 0)


def test_others_are_served_while_a_service_waits(found):
    assert found["wait"]["ticks"] > 10


def test_a_loop_is_ended_long_before_its_deadline_when_it_holds_the_hub(found):
    assert found["hog"]["answer"] == "504 deadline-exceeded"
    # 0.5 s of processor time; the deadline is 30 s.
    assert found["hog"]["seconds"] < 10


def test_a_loop_in_a_greenlet_that_the_service_spawned_is_ended_too(found):
    assert found["spawned"]["seconds"] < 0.6 + SLACK
    assert found["spawned"]["after"] == "fine"


def test_the_end_of_an_inner_call_is_not_the_end_of_the_outer_one(found):
    assert found["impatient"]["answer"] == "went on after deadline-exceeded"


def test_gevents_own_timeout_is_named(found):
    assert found["own-timeout"]["answer"] == "504 deadline-exceeded"


def test_a_service_that_holds_the_hub_again_and_again_is_put_aside(found):
    assert found["put-aside"] == {
        "answers": ["504 deadline-exceeded"] * 3 + ["503 service-suspended"],
        "names": ["hog"],
        "after": "fine",
    }


def test_a_blocking_service_keeps_its_slot_until_it_really_ends(found):
    assert found["blocking-pool"] == {
        "answers": ["504 deadline-exceeded"] * 2,
        "third": "503 overloaded",
        "held": [2, 2, True],
        "free": [0, 0, False],
        "quick": "slept",
    }


def test_hundreds_of_waiting_services_are_ended_together(found):
    assert found["many-waiting"]["answers"] == ["504 deadline-exceeded"]
    assert found["many-waiting"]["seconds"] < 0.3 + SLACK
    assert found["many-waiting"]["watched"] == 0


def test_no_call_pays_for_what_others_held_the_hub_for(found):
    assert found["quick-calls"] == {"answers": ["quick"], "names": []}


def test_where_gevent_has_not_patched_nothing_is_enforced_and_blocking_services_run_in_place():
    class Blocks(Service):
        name = "blocks"
        blocking = True

        def handle(self):
            self.response.payload = "done"

    assert Deadlines().enforced is False
    executor = LocalExecutor(Catalogue([deploy(Blocks, describe(Blocks, module="m"))]), Platform(), Guard())
    assert executor.perform(Call("blocks")).payload == "done"
