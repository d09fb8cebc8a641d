"""Services under a real hub: what each of the scenarios below came to, one JSON object a line. Run by test_deadlines.py."""

# ruff: noqa: E402 - gevent patches first

import gevent.monkey

gevent.monkey.patch_all()

import json
import sys
import time

import gevent

from backends import Problem, Service
from backends.catalogue import Catalogue, deploy, describe
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.platform import Platform
from specs.exchange import Call


class Wait(Service):
    name = "wait"
    deadline = 0.3

    def handle(self):
        time.sleep(30)


class WaitStubborn(Service):
    name = "wait-stubborn"
    deadline = 0.3

    def handle(self):
        try:
            time.sleep(30)
        except Exception:
            self.response.payload = "swallowed"


class Loop(Service):
    name = "loop"
    deadline = 0.6

    def handle(self):
        while True:
            pass


class LoopStubborn(Service):
    name = "loop-stubborn"
    deadline = 0.6

    def handle(self):
        while True:
            try:
                while True:
                    pass
            except Exception:
                pass


class Hog(Service):
    name = "hog"
    deadline = 30

    def handle(self):
        while True:
            pass


class Spawned(Service):
    name = "spawned"
    deadline = 0.6

    def handle(self):
        gevent.spawn(self.spin).join()

    def spin(self):
        while True:
            pass


class Blocking(Service):
    name = "blocking"
    deadline = 0.4
    blocking = True

    def handle(self):
        gevent.monkey.get_original("time", "sleep")(self.request.payload)
        self.response.payload = "slept"


class Impatient(Service):
    name = "impatient"
    deadline = 30

    def handle(self):
        try:
            self.invoke("wait")
        except Problem as problem:
            time.sleep(0.1)
            self.response.payload = f"went on after {problem.code}"


class OwnTimeout(Service):
    name = "own-timeout"

    def handle(self):
        with gevent.Timeout(0.1):
            time.sleep(5)


class Fine(Service):
    name = "fine"

    def handle(self):
        time.sleep(0.01)
        self.response.payload = "fine"


class Quick(Service):
    name = "quick"

    def handle(self):
        self.response.payload = "quick"


CLASSES = [Quick, Wait, WaitStubborn, Loop, LoopStubborn, Hog, Spawned, Blocking, Impatient, OwnTimeout, Fine]


def executor_with(**limits):
    deployed = [deploy(one, describe(one, module="m")) for one in CLASSES]
    guard = Guard(**limits)
    return LocalExecutor(Catalogue(deployed), Platform(), guard), guard


def outcome(executor, name, payload=None):
    started = time.monotonic()
    try:
        answer = executor.perform(Call(name, payload=payload, cid="c1")).payload
    except Problem as problem:
        answer = f"{problem.status} {problem.code}"
    return answer, time.monotonic() - started


def scenario(name):
    executor, guard = executor_with(stall=0.5 if name == "hog" else 5.0)
    ticks = []

    def tick():
        while True:
            ticks.append(time.monotonic())
            time.sleep(0.02)

    ticker = gevent.spawn(tick)
    time.sleep(0.1)
    before = len(ticks)
    answer, seconds = outcome(executor, name)
    time.sleep(0.1)
    after, _ = outcome(executor, "fine")
    ticker.kill()
    found = {"answer": answer, "seconds": seconds, "ticks": len(ticks) - before, "after": after}
    found["watched"] = len(guard.deadlines._calls)
    guard.close()
    return found


def put_aside():
    executor, guard = executor_with(stall=0.3)
    answers = [outcome(executor, "hog")[0] for _ in range(4)]
    names = guard.suspensions.names()
    after, _ = outcome(executor, "fine")
    guard.close()
    return {"answers": answers, "names": names, "after": after}


def blocking():
    executor, guard = executor_with(blocking_slots=2)
    first = [gevent.spawn(outcome, executor, "blocking", 1.2) for _ in range(2)]
    time.sleep(0.1)
    third, _ = outcome(executor, "blocking", 0)
    gevent.joinall(first)
    held = [guard.slots.busy, guard.slots.abandoned, guard.slots.exhausted]
    while guard.slots.busy:
        time.sleep(0.05)
    free = [guard.slots.busy, guard.slots.abandoned, guard.slots.exhausted]
    quick, _ = outcome(executor, "blocking", 0.05)
    guard.close()
    answers = [greenlet.value[0] for greenlet in first]
    return {"answers": answers, "third": third, "held": held, "free": free, "quick": quick}


def many_waiting():
    executor, guard = executor_with()
    started = time.monotonic()
    greenlets = [gevent.spawn(outcome, executor, "wait") for _ in range(300)]
    gevent.joinall(greenlets)
    answers = sorted({greenlet.value[0] for greenlet in greenlets})
    guard.close()
    return {"answers": answers, "seconds": time.monotonic() - started, "watched": len(guard.deadlines._calls)}


def quick_calls():
    executor, guard = executor_with(stall=0.2)
    until = time.monotonic() + 1.5
    answers = set()
    while time.monotonic() < until:
        # Never gives way: the hub stands still all the while, and no single call is to blame.
        answers.add(outcome(executor, "quick")[0])
    guard.close()
    return {"answers": sorted(answers), "names": guard.suspensions.names()}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        special = {
            "put-aside": put_aside,
            "blocking-pool": blocking,
            "many-waiting": many_waiting,
            "quick-calls": quick_calls,
        }
        print(json.dumps({name: special[name]() if name in special else scenario(name)}), flush=True)
