"""Jobs and the scheduler: who runs when, with everything that can go wrong around it."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.background import Queue, background_calls
from backends.jobs import Job, Jobs, jobs_table
from backends.leases import Lease, LeaseLost, leases
from backends.scheduler import MOST_MISSED, Scheduler, due_runs
from backends.schedules import Every
from security.database import Database, metadata
from specs.problems import ConfigurationError, Problem

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class ManualClock:
    def __init__(self):
        self.now = NOON

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
    database.write(lambda connection: metadata.create_all(connection, [background_calls, jobs_table, leases]))
    yield database
    database.close()


@pytest.fixture
def queue(database, clock):
    return Queue(database, clock=clock)


@pytest.fixture
def jobs(database, queue, clock):
    return Jobs(database, queue, clock=clock, new_cid=lambda: "c1")


def new_scheduler(jobs, holder="p1", **options):
    return Scheduler(jobs, Lease(jobs.database, "scheduler", holder, ttl=15, clock=jobs.clock), **options)


@pytest.fixture
def scheduler(jobs):
    scheduler = new_scheduler(jobs)
    scheduler.lease.acquire()
    return scheduler


def finish(queue):
    """Run everything that is in the queue; the services that ran."""
    ran = []
    while claims := queue.claim("w", 100, 60):
        for claim in claims:
            ran.append(claim.call.service)
            queue.complete(claim)
    return ran


def ticks(scheduler, clock, seconds, step=0.5):
    """When runs begin in the next *seconds*, counted from now; each ends at once."""
    begin, found = clock(), []
    for _ in range(int(seconds / step)):
        found += [(clock() - begin).total_seconds()] * scheduler.tick()
        finish(scheduler.jobs.queue)
        clock.advance(step)
    return found


def test_a_job_runs_at_once_and_then_at_its_interval(scheduler, jobs, clock):
    jobs.create(Job("refresh", "rates.update", every=2))
    assert ticks(scheduler, clock, 7) == [0, 2, 4, 6]
    state = jobs.get("refresh")
    assert (state.runs_done, state.last_run, state.next_run) == (
        4,
        NOON + timedelta(seconds=6),
        NOON + timedelta(seconds=8),
    )


def test_a_job_that_another_process_made_is_begun_and_again_when_it_is_due(scheduler, clock, database_url):
    database = Database(database_url)
    others = Jobs(database, Queue(database, clock=clock), clock=clock)
    assert (scheduler.tick(), scheduler.tick()) == (0, 0)
    others.create(Job("refresh", "rates.update", every=2, start="2026-05-01T12:00:03Z"))
    assert (scheduler.tick(), scheduler.tick()) == (0, 0)
    clock.advance(3)
    assert (scheduler.tick(), scheduler.tick()) == (1, 0)
    finish(scheduler.jobs.queue)
    clock.advance(2)
    assert scheduler.tick() == 1
    database.close()


def test_a_job_with_a_start_waits_for_it(scheduler, jobs, clock):
    jobs.create(Job("refresh", "rates.update", every=2, start="2026-05-01T12:00:05Z"))
    assert ticks(scheduler, clock, 8) == [5, 7]


def test_a_job_is_over_after_its_repeats_and_stays(scheduler, jobs, clock):
    jobs.create(Job("three", "s", every=1, repeats=3))
    assert ticks(scheduler, clock, 10) == [0, 1, 2]
    assert [jobs.get("three").active, jobs.get("three").runs_done] == [False, 3]
    jobs.set_active("three", True)
    assert ticks(scheduler, clock, 10) == [0, 1, 2]


def test_a_one_time_job_runs_once(scheduler, jobs, clock):
    jobs.create(Job("once", "s", at="2026-05-01T14:00:03", timezone="Europe/Paris"))
    assert ticks(scheduler, clock, 10) == [3]
    assert not jobs.get("once").active


def test_a_cron_job_runs_by_the_clock_of_its_zone(scheduler, jobs):
    jobs.create(Job("nightly", "s", cron="30 3 * * *", timezone="Europe/Paris"))
    assert jobs.get("nightly").next_run == datetime(2026, 5, 2, 1, 30, tzinfo=UTC)


def test_the_call_says_which_job_it_is_of(scheduler, jobs, queue):
    jobs.create(Job("refresh", "rates.update", every=60, payload={"year": 2026}))
    scheduler.tick()
    [claim] = queue.claim("w", 10, 60)
    call = claim.call
    assert (call.service, call.payload, call.channel, call.channel_type, call.cid) == (
        "rates.update", {"year": 2026}, "refresh", "job", "c1",
    )  # fmt: skip


@pytest.mark.parametrize(("missed", "begun"), [("skip", 0), ("run-once", 1), ("run-all", 9)])
def test_runs_missed_while_everything_was_down(scheduler, jobs, queue, clock, missed, begun):
    jobs.create(Job("hourly", "s", every=3600, missed=missed, start="2026-05-01T13:00Z"))
    clock.advance(9 * 3600 + 600)
    scheduler.lease.acquire()
    assert scheduler.tick() == begun
    assert jobs.get("hourly").next_run == NOON + timedelta(hours=10)
    assert finish(queue) == ["s"] * begun


def test_a_run_that_is_a_little_late_is_not_missed(scheduler, jobs, clock):
    jobs.create(Job("hourly", "s", every=3600, start="2026-05-01T13:00Z"))
    clock.advance(3600 + 45)
    scheduler.lease.acquire()
    assert scheduler.tick() == 1


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10_000), st.integers(0, 10**6), st.sampled_from(["skip", "run-once", "run-all"]))
def test_runs_made_up_for_were_due_and_are_in_order_and_bounded(interval, late, missed):
    schedule = Every(interval, NOON)
    now = NOON + timedelta(seconds=late)
    runs = due_runs(schedule, NOON, now, missed)
    assert runs == sorted(set(runs))
    assert len(runs) <= (MOST_MISSED if missed == "run-all" else 1)
    assert all(NOON <= run <= now for run in runs)
    if missed != "skip":
        assert runs
    if missed == "run-all":
        assert len(runs) == min(MOST_MISSED, late // interval + 1)


def test_overlap_skip_leaves_a_run_out_while_the_one_before_goes_on(scheduler, jobs, queue, clock):
    jobs.create(Job("slow", "s", every=10))
    assert scheduler.tick() == 1
    [running] = queue.claim("w", 1, 60)
    for _ in range(2):
        clock.advance(10)
        scheduler.lease.acquire()
        assert scheduler.tick() == 0
    queue.complete(running)
    clock.advance(10)
    scheduler.lease.acquire()
    assert [scheduler.tick(), jobs.get("slow").runs_skipped, jobs.get("slow").runs_done] == [1, 2, 2]


def test_overlap_queue_runs_one_after_the_other(scheduler, jobs, queue, clock):
    jobs.create(Job("slow", "s", every=10, overlap="queue"))
    for _ in range(3):
        assert scheduler.tick() == 1
        clock.advance(10)
        scheduler.lease.acquire()
    [first] = queue.claim("w", 10, 60)
    assert queue.claim("w", 10, 60) == []
    queue.complete(first)
    assert len(queue.claim("w", 10, 60)) == 1


def test_overlap_allow_runs_them_side_by_side(scheduler, jobs, queue, clock):
    jobs.create(Job("slow", "s", every=10, overlap="allow"))
    for _ in range(3):
        scheduler.tick()
        clock.advance(10)
        scheduler.lease.acquire()
    assert len(queue.claim("w", 10, 60)) == 3


def test_a_failed_run_does_not_keep_the_next_from_running(scheduler, jobs, queue, clock):
    jobs.create(Job("fails", "s", every=10))
    scheduler.tick()
    queue.fail(queue.claim("w", 1, 60)[0], "internal-error")
    assert queue.counts()["dead"] == 1
    clock.advance(10)
    scheduler.lease.acquire()
    assert scheduler.tick() == 1


def test_only_the_holder_of_the_lease_begins_runs(jobs, clock, queue):
    first, second = new_scheduler(jobs, "p1"), new_scheduler(jobs, "p2")
    jobs.create(Job("j", "s", every=3600))
    first.lease.acquire()
    with pytest.raises(LeaseLost):
        second.tick()
    clock.advance(20)  # the first was paused and does not know yet
    assert second.lease.acquire()
    with pytest.raises(LeaseLost):
        first.tick()
    assert second.tick() == 1
    assert len(queue.calls()) == 1


def test_schedulers_that_die_in_turn_lose_and_double_nothing(jobs, queue, clock):
    jobs.create(Job("j", "s", every=10, overlap="allow", missed="run-all"))
    begun, schedulers = 0, [new_scheduler(jobs, "p1"), new_scheduler(jobs, "p2")]
    for second in range(120):
        alive = schedulers[second // 50 % 2]  # each dies for a while, without a word
        if alive.lease.hold():
            begun += alive.tick()
        clock.advance(1)
    assert begun == jobs.get("j").runs_done == 12
    assert len(queue.calls(most=1000)) == 12


def test_a_job_whose_zone_is_gone_is_switched_off_and_the_others_go_on(scheduler, jobs, database, caplog):
    jobs.create(Job("good", "s", every=10))
    jobs.create(Job("bad", "s", every=10))
    definition = {**vars(jobs.get("bad").job), "missed": "never"}
    database.write(
        lambda connection: connection.execute(
            jobs_table.update().where(jobs_table.c.name == "bad").values(definition=definition)
        )
    )
    assert scheduler.tick() == 1
    assert "the job 'bad' is switched off" in caplog.text
    assert not jobs.get("bad").active


def test_configured_jobs_are_made_so(jobs, clock):
    jobs.create(Job("mine", "s", every=60))
    assert jobs.synchronise({"a": Job("a", "s", every=60), "b": Job("b", "s", cron="@daily")}) == []
    first = jobs.get("a")
    clock.advance(30)
    assert jobs.synchronise({"a": Job("a", "s", every=60), "b": Job("b", "s", cron="@daily")}) == []
    assert jobs.get("a") == first
    # Another service at the same times: the next run stays. Other times: it begins anew.
    jobs.synchronise({"a": Job("a", "other", every=60)})
    assert (jobs.get("a").next_run, jobs.get("a").job.service) == (first.next_run, "other")
    jobs.synchronise({"a": Job("a", "other", every=90)})
    assert jobs.get("a").next_run == clock()
    assert [state.job.name for state in jobs.all()] == ["a", "mine"]
    jobs.synchronise({})
    assert [state.job.name for state in jobs.all()] == ["mine"]


def test_a_service_made_job_is_not_taken_over_by_the_configuration(jobs):
    jobs.create(Job("mine", "s", every=60))
    assert jobs.synchronise({"mine": Job("mine", "other", every=5)}) == ["mine"]
    assert jobs.get("mine").job.service == "s"


def test_a_configured_job_is_changed_in_the_configuration_alone(jobs):
    jobs.synchronise({"a": Job("a", "s", every=60)})
    for change in (
        lambda: jobs.delete("a"),
        lambda: jobs.set_active("a", False),
        lambda: jobs.edit("a", Job("a", "x", every=1)),
    ):
        with pytest.raises(Problem, match="comes from the configuration: change it there"):
            change()


def test_a_job_that_cannot_be_is_refused_whole(jobs):
    with pytest.raises(ConfigurationError, match=r"jobs\.b\.cron: not a cron expression"):
        jobs.synchronise({"a": Job("a", "s", every=60), "b": Job("b", "s", cron="x")})
    assert jobs.all() == []
    for wrong in (Job("x", "s"), Job("x", "s", every=1, at="2026-01-01"), Job("x", "s", every=1, missed="twice"),
                  Job("x", "s", every=0), Job("", "s", every=1), Job("x", "s", at="soon")):  # fmt: skip
        with pytest.raises(ConfigurationError):
            jobs.create(wrong)


def test_the_settings_of_the_configuration_are_understood(jobs):
    from gateway.configuration import kinds

    declared = kinds.Job.read({"service": "rates.update", "every": "1h", "missed": "run-all", "payload": {"a": 1}})
    jobs.synchronise({"refresh": declared})
    job = jobs.get("refresh").job
    assert (job.service, job.every, job.missed, job.payload) == ("rates.update", 3600.0, "run-all", {"a": 1})
    before = jobs.get("refresh")
    jobs.synchronise({"refresh": declared})
    assert jobs.get("refresh") == before


def test_jobs_are_edited_renamed_and_forgotten(jobs):
    jobs.create(Job("a", "s", every=60))
    jobs.create(Job("b", "s", every=60))
    with pytest.raises(Problem, match="there is a job called 'b' already"):
        jobs.edit("a", Job("b", "s", every=60))
    with pytest.raises(Problem, match="there is a job called 'b' already"):
        jobs.create(Job("b", "s", every=60))
    jobs.edit("a", Job("c", "s", every=90))
    jobs.delete("b")
    assert [state.job.name for state in jobs.all()] == ["c"]
    with pytest.raises(Problem, match="no job called 'd': use one of c"):
        jobs.get("d")


def test_a_job_can_be_run_by_hand_and_does_not_overlap_itself(scheduler, jobs, queue):
    jobs.create(Job("a", "s", every=60, enabled=False))
    assert jobs.get("a").next_run is None
    jobs.execute("a")
    jobs.execute("a")
    assert len(queue.claim("w", 10, 60)) == 1
    with pytest.raises(Problem, match="no job called 'b'"):
        jobs.execute("b")


def test_the_loop_survives_errors_does_chores_and_gives_the_lease_back(jobs, caplog):
    stop = threading.Event()
    done = []

    def chore():
        done.append("bad")
        raise KeyError("broken chore")

    def stopping():
        stop.set()

    jobs.create(Job("a", "s", every=60))
    scheduler = new_scheduler(jobs, chores=[chore, stopping])
    failing = [RuntimeError("database away")]

    class Flaky(Scheduler):
        POLL = 0.001

        def tick(self):
            if failing:
                raise failing.pop()
            return super().tick()

    flaky = Flaky(jobs, scheduler.lease, chores=scheduler.chores)
    flaky.run(stop)
    assert done == ["bad"]
    assert "the scheduler is interrupted" in caplog.text
    assert "a chore failed" in caplog.text
    assert jobs.get("a").runs_done == 1
    assert new_scheduler(jobs, "p2").lease.acquire()
