"""The background queue and its consumers."""

import itertools
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.background import Queue, background_calls, unfinished
from backends.consumer import Consumer
from backends.jobs import Job, Jobs, jobs_table
from backends.leases import leases
from security.database import Database, metadata
from specs.exchange import ANONYMOUS, Call, Identity, Outcome
from specs.problems import BackendTimeout, Problem


class ManualClock:
    def __init__(self):
        self.now = datetime(2026, 5, 1, tzinfo=UTC)

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.write(background_calls.create)
    yield database
    database.close()


@pytest.fixture
def queue(database, clock):
    return Queue(database, clock=clock, jitter=lambda: 1.0)


def call(service="echo", payload=None, cid="c1"):
    return Call(service, payload=payload, cid=cid)


class Executor:
    """Keeps what it was asked to run; answers or raises what it is told to."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.ran = []

    def __call__(self, call):
        self.ran.append(call)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return Outcome(answer)


def consumer(queue, execute, **options):
    return Consumer(queue, execute, holder=options.pop("holder", "w1"), **options)


def states(queue):
    return [(row["service"], row["state"], row["last_error"]) for row in queue.calls()]


def test_a_call_arrives_whole(queue):
    who = Identity("acme", "consumer", "partners", frozenset({"gold", "eu"}), {"plan": "x"}, "u1")
    sent = Call(
        "echo", payload={"a": [1, None, "é"]}, cid="c1", identity=who, channel="nightly", channel_type="schedule"
    )
    queue.enqueue(sent)
    [claim] = queue.claim("w1", 10, 60)
    assert claim.call == sent


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
                                  lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner), max_leaves=5))  # fmt: skip
def test_a_payload_comes_back_as_it_was(queue, payload):
    queue.enqueue(call(payload=payload))
    [claim] = queue.claim("w1", 1, 60)
    queue.complete(claim)
    assert claim.call.payload == payload


def test_a_payload_that_cannot_be_kept_is_refused_at_once(queue):
    with pytest.raises(Problem, match="not-representable"):
        queue.enqueue(call(payload=object()))
    with pytest.raises(ValueError, match="at most 1048576 bytes"):
        queue.enqueue(call(payload="x" * (1 << 20)))
    assert queue.calls() == []


def test_calls_run_when_they_are_due_and_the_earliest_first(queue, clock):
    queue.enqueue(call("late"), after=10)
    queue.enqueue(call("first"))
    execute = Executor()
    worker = consumer(queue, execute)
    assert worker.run_once() == 1
    clock.advance(10)
    assert [worker.run_once(), worker.run_once()] == [1, 0]
    assert [done.service for done in execute.ran] == ["first", "late"]
    assert queue.calls() == []


def test_who_found_nothing_looks_again_for_what_others_put_in_and_when_it_is_due(queue, clock, database_url):
    other = Queue(Database(database_url), clock=clock)
    assert queue.claim("w1", 1, 60) == queue.claim("w1", 1, 60) == []
    other.enqueue(call("now"))
    assert [claim.call.service for claim in queue.claim("w1", 1, 60)] == ["now"]
    other.enqueue(call("later"), after=5)
    assert queue.claim("w1", 1, 60) == queue.claim("w1", 1, 60) == []
    clock.advance(5)
    assert [claim.call.service for claim in queue.claim("w1", 1, 60)] == ["later"]
    assert queue.claim("w1", 9, 60) == queue.claim("w1", 9, 60) == []
    clock.advance(61)  # nobody has changed anything, and the claims of both have ended
    assert [claim.call.service for claim in queue.claim("w1", 9, 60)] == ["now", "later"]
    other.database.close()


def test_no_call_is_claimed_twice(queue):
    for number in range(10):
        queue.enqueue(call(cid=f"c{number}"))
    claimed = [queue.claim(f"w{n}", 3, 60) for n in range(5)]
    assert [len(claims) for claims in claimed] == [3, 3, 3, 1, 0]
    assert len({claim.id for claims in claimed for claim in claims}) == 10


def test_consumers_at_once_run_each_call_once(database_url, database):
    queues = [Queue(database), *(Queue(Database(database_url)) for _ in range(2))]
    for number in range(30):
        queues[0].enqueue(call(cid=f"c{number}"))
    ran = []

    def work(queue, holder):
        worker = consumer(queue, lambda call: ran.append(call.cid) or Outcome(), holder=holder, concurrency=4)
        while any(queue.counts().values()):
            worker.run_once()

    threads = [threading.Thread(target=work, args=(queue, f"w{n}")) for n, queue in enumerate(queues)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for queue in queues[1:]:
        queue.database.close()
    assert sorted(ran) == sorted(f"c{number}" for number in range(30))


def test_the_calls_of_a_killed_worker_come_back(queue, clock):
    queue.enqueue(call())
    [lost] = queue.claim("killed", 1, 60)
    clock.advance(59)
    assert queue.claim("w2", 1, 60) == []
    clock.advance(1)
    [again] = queue.claim("w2", 1, 60)
    assert (again.call, again.attempt) == (lost.call, 2)
    # The first worker was only slow: its word counts no more.
    assert [queue.complete(lost), queue.fail(lost, "x"), queue.extend([lost], 60)] == [False, False, 0]
    assert queue.complete(again)


def test_a_call_that_kills_its_workers_ends(queue, clock):
    queue.enqueue(call("poison"), most_attempts=2)
    attempts = 0
    while queue.claim("w1", 1, 60):
        attempts += 1
        clock.advance(60)
    assert attempts == 5
    assert states(queue) == [("poison", "dead", "worker-lost")]


def test_a_failed_call_is_tried_again_with_growing_pauses_then_kept_as_dead(queue, clock):
    queue.enqueue(call(), most_attempts=4)
    execute = Executor(*[BackendTimeout("x")] * 2, Problem.of("overloaded"), KeyError("bug"))
    worker = consumer(queue, execute)
    pauses = []
    begin = clock()
    for _ in range(30):
        if worker.run_once():
            pauses.append((clock() - begin).total_seconds())
        clock.advance(0.5)
    assert pauses == [0, 1, 3, 7]
    assert states(queue) == [("echo", "dead", "internal-error")]


def test_what_would_fail_again_is_not_tried_again(queue):
    queue.enqueue(call())
    assert consumer(queue, Executor(Problem.of("invalid-input"))).run_once() == 1
    assert states(queue) == [("echo", "dead", "invalid-input")]
    queue.enqueue(call("limited"))
    consumer(queue, Executor(Problem.of("quota-exceeded"))).run_once()
    assert states(queue)[0] == ("limited", "waiting", "quota-exceeded")


def test_a_dead_call_can_be_revived(queue):
    number = queue.enqueue(call(), most_attempts=1)
    consumer(queue, Executor(KeyError())).run_once()
    assert [queue.revive(number), queue.revive(number), queue.counts()["dead"]] == [True, False, 0]
    execute = Executor()
    assert consumer(queue, execute).run_once() == 1
    assert len(execute.ran) == 1


def test_a_call_that_expired_is_not_run(queue, clock):
    queue.enqueue(call("soon"), expiration=15)
    queue.enqueue(call("now"), expiration=15)
    execute = Executor()
    queue.complete(queue.claim("w", 1, 60)[0])
    clock.advance(15)
    assert consumer(queue, execute).run_once() == 0
    assert states(queue) == [("now", "dead", "expired")]


def test_the_callback_gets_the_answer(queue):
    queue.enqueue(call(cid="c7"), callback="told")
    execute = Executor({"sum": Decimal("1.10"), "on": datetime(2026, 1, 1).date()})
    worker = consumer(queue, execute)
    assert [worker.run_once(), worker.run_once(), worker.run_once()] == [1, 1, 0]
    told = execute.ran[1]
    assert (told.service, told.payload, told.cid) == ("told", {"sum": "1.10", "on": "2026-01-01"}, "c7")


def test_a_service_named_after_the_called_one_is_its_callback(queue):
    queue.enqueue(call("rates.get"))
    execute = Executor(5)
    worker = consumer(queue, execute, exists=lambda name: name == "rates.get-async-callback")
    assert [worker.run_once(), worker.run_once(), worker.run_once()] == [1, 1, 0]
    assert [(done.service, done.payload) for done in execute.ran] == [
        ("rates.get", None),
        ("rates.get-async-callback", 5),
    ]


def test_an_answer_that_cannot_be_handed_on_is_kept_as_dead(queue):
    queue.enqueue(call(), callback="told")
    consumer(queue, Executor(object())).run_once()
    assert states(queue) == [("echo", "dead", "not-representable")]


def test_calls_of_one_lane_run_one_at_a_time_in_their_order(queue, clock):
    for name in "abc":
        queue.enqueue(call(name), lane="job:x", most_attempts=2)
    queue.enqueue(call("other"), lane="job:y")
    [first, other] = queue.claim("w1", 10, 60)
    assert (first.call.service, other.call.service) == ("a", "other")
    assert queue.claim("w2", 10, 60) == []
    queue.fail(first, "x")
    assert queue.claim("w2", 10, 60) == []  # a retry keeps its place
    clock.advance(5)
    [first] = queue.claim("w2", 10, 60)
    queue.fail(first, "x")  # dead: the way is free
    assert [claim.call.service for claim in queue.claim("w3", 10, 60)] == ["b"]


class Spawned:
    """Keeps what it is asked to start, to be run when the test says so."""

    def __init__(self):
        self.works = []

    def __call__(self, work):
        self.works.append(work)


def test_no_more_calls_run_at_once_than_allowed(queue):
    for _ in range(5):
        queue.enqueue(call())
    spawned = Spawned()
    worker = consumer(queue, Executor(), concurrency=2, spawn=spawned)
    assert [worker.run_once(), worker.run_once(), len(worker.running)] == [2, 0, 2]
    spawned.works.pop()()
    assert [worker.run_once(), len(worker.running)] == [1, 2]


def test_a_long_call_keeps_its_claim(queue, clock):
    queue.enqueue(call())
    spawned = Spawned()
    worker = consumer(queue, Executor(), claim_for=60, spawn=spawned)
    worker.run_once()
    for _ in range(20):
        clock.advance(15)
        worker.run_once()
        assert queue.claim("w2", 1, 60) == []
    spawned.works.pop()()
    assert queue.calls() == []


def test_a_stopping_worker_gives_back_what_it_did_not_end(queue):
    queue.enqueue(call())
    spawned = Spawned()
    worker = consumer(queue, Executor(), spawn=spawned)
    worker.run_once()
    assert worker.give_back() == 1
    [claim] = queue.claim("w2", 1, 60)
    assert claim.attempt == 1
    spawned.works.pop()()  # it ended after all: the claim is another's by now
    assert queue.complete(claim)


def test_the_loop_wakes_for_a_call_of_its_own_process_and_survives_a_lost_database(database, caplog):
    queue = Queue(database)
    stop, done = threading.Event(), threading.Event()
    broken = [RuntimeError("gone")]

    class Shaky(Consumer):
        POLL = 60.0

        def run_once(self):
            if broken:
                raise broken.pop()
            return super().run_once()

    worker = Shaky(queue, lambda call: done.set() or Outcome(), holder="w1")
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    while broken:
        pass
    queue.enqueue(call())
    assert done.wait(10)
    stop.set()
    queue.wake.set()
    thread.join(10)
    assert not thread.is_alive()
    assert "background work is interrupted" in caplog.text


def test_old_dead_calls_are_swept_and_the_queue_counts(queue, clock, monkeypatch):
    monkeypatch.setattr("backends.background.DEAD_KEPT", 2)
    for name in "abc":
        queue.enqueue(call(name), most_attempts=1)
        queue.fail(queue.claim("w", 1, 60)[0], "x")
    queue.enqueue(call("alive"))
    assert queue.counts() == {"waiting": 1, "running": 0, "dead": 3}
    assert [queue.sweep(clock()), queue.counts()["dead"]] == [1, 2]
    clock.advance(15 * 86400)
    assert [queue.sweep(clock()), [row["service"] for row in queue.calls()]] == [2, ["alive"]]
    assert queue.calls("dead") == []


def test_a_call_counts_as_unfinished_until_it_is_done_or_dead(queue, database):
    number = queue.enqueue(call(), most_attempts=1)
    asked = lambda: database.read(lambda connection: unfinished(connection, number))  # noqa: E731
    assert asked()
    [claim] = queue.claim("w", 1, 60)
    assert asked()
    queue.fail(claim, "x")
    assert not asked()
    assert not database.read(lambda connection: unfinished(connection, None))


def test_an_anonymous_call_stays_anonymous(queue):
    queue.enqueue(call())
    [claim] = queue.claim("w", 1, 60)
    assert claim.call.identity is ANONYMOUS


def process(url, holder, calls):
    """A process as a worker is; see `background_process`."""
    program = Path(__file__).with_name("background_process.py")
    environment = {**os.environ, "PYTHONPATH": str(program.parents[2])}
    arguments = [sys.executable, "-W", "error", str(program), url, holder, str(calls)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)


def test_under_gevent_calls_run_side_by_side_and_a_killed_worker_loses_none(database_url):
    database = Database(database_url)
    database.write(lambda connection: metadata.create_all(connection, [background_calls, jobs_table, leases]))
    queue = Queue(database)
    queue.enqueue(call(cid="killed", payload=30))
    with process(database_url, "p1", 1) as victim:
        assert victim.stdout.readline() == "begin killed\n"
        victim.kill()
    for number in range(5):
        queue.enqueue(call(cid=f"c{number}", payload=0.4))
    database.write(
        lambda connection: connection.execute(
            background_calls.update().where(background_calls.c.cid == "killed").values(payload=b"0.1")
        )
    )
    Jobs(database, queue).create(Job("job", "echo", every=3600))
    with process(database_url, "p2", 7) as heir:
        lines = heir.stdout.read().splitlines()
    assert heir.returncode == 0
    assert sorted(lines) == sorted(
        f"{what} {cid}" for what in ("begin", "end") for cid in ("killed", "job", *(f"c{n}" for n in range(5)))
    )
    assert any(a.startswith("begin") and b.startswith("begin") for a, b in itertools.pairwise(lines))
    assert queue.calls() == []
    database.close()
