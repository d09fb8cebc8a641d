"""Built-in services, called by the names that users of Zato know."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from backends import builtins
from backends.background import Queue
from backends.catalogue import Catalogue, deploy, deployed_from, describe
from backends.consumer import Consumer
from backends.executors.local import LocalExecutor
from backends.familiar import SCHEDULER
from backends.guard import Guard
from backends.jobs import Job, Jobs
from backends.leases import Lease
from backends.platform import Platform
from backends.scheduler import Scheduler
from backends.service import Service
from security.database import metadata, open_database
from specs.problems import Problem

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class JobManager(Service):
    """The service of the article on the scheduler, with what the page lost put back."""

    name = "job-manager"

    def handle(self):
        self.invoke(
            "zato.scheduler.job.create",
            {
                "cluster_id": self.server.cluster_id,
                "is_active": True,
                "name": "My Sample",
                "service": "zato.helpers.input-logger",
                "job_type": SCHEDULER.JOB_TYPE.INTERVAL_BASED,
                "seconds": 2,
            },
        )


class Installation:
    """One process with everything that background work needs, and a clock of its own."""

    def __init__(self, directory):
        self.now = NOON
        self.database = open_database(directory)
        self.database.write(lambda connection: metadata.create_all(connection))
        self.queue = Queue(self.database, clock=lambda: self.now)
        self.jobs = Jobs(self.database, self.queue, clock=lambda: self.now)
        deployed = [*deployed_from(builtins), deploy(JobManager, describe(JobManager, module="tests"))]
        platform = Platform(jobs=self.jobs, enqueue=self.queue.enqueue)
        self.executor = LocalExecutor(Catalogue(deployed), platform, Guard())
        self.consumer = Consumer(self.queue, self.executor.perform, holder="p1")
        self.scheduler = Scheduler(self.jobs, Lease(self.database, "s", "p1", ttl=15, clock=lambda: self.now))

    def invoke(self, name, payload=None):
        return self.executor.invoke(name, payload)

    def seconds_pass(self, seconds):
        for _ in range(seconds):
            assert self.scheduler.lease.hold()
            self.scheduler.tick()
            self.consumer.run_once()
            self.now += timedelta(seconds=1)


@pytest.fixture
def installation(tmp_path):
    installation = Installation(tmp_path)
    yield installation
    installation.database.close()


def test_Z48_the_job_of_the_article_runs_though_it_has_no_start_date(installation, caplog):
    caplog.set_level(logging.INFO, "gatewright.service")
    installation.invoke("job-manager")
    installation.seconds_pass(5)
    assert sum("input of 'My Sample' by job" in message for message in caplog.messages) == 3


def create(installation, **given):
    given = {"name": "a", "is_active": True, "service": "zato.ping", **given}
    return installation.invoke("zato.scheduler.job.create", given)


def test_jobs_are_managed_by_their_services(installation):
    made = create(
        installation,
        job_type="interval_based",
        days=1,
        hours=2,
        repeats=5,
        extra='{"a": 1}',
        start_date="2026-06-01T08:00:00",
    )
    assert (made.name, made.id) == ("a", "a")
    got = installation.invoke("zato.scheduler.job.get-by-name", {"name": "a"})
    assert {key: got[key] for key in ("days", "hours", "seconds", "repeats", "extra", "is_active", "job_type", "next_run")} == {
        "days": 1, "hours": 2, "seconds": 0, "repeats": 5, "extra": {"a": 1}, "is_active": True,
        "job_type": "interval_based", "next_run": "2026-06-01T08:00:00+00:00",
    }  # fmt: skip
    installation.invoke("zato.scheduler.job.set-active-status", {"id": "a", "is_active": False})
    assert [job["is_active"] for job in installation.invoke("zato.scheduler.job.get-list", {"cluster_id": 1})] == [
        False
    ]
    cron = {"job_type": "cron_style", "cron_definition": "00 3-6 * * 1-5"}
    edited = {"id": "a", "name": "b", "is_active": True, "service": "zato.ping", **cron}
    installation.invoke("zato.scheduler.job.edit", edited)
    [job] = installation.invoke("gatewright.scheduler.job.get-list")
    assert (job["name"], job["cron_definition"], job["next_run"]) == (
        "b",
        "00 3-6 * * 1-5",
        "2026-05-04T03:00:00+00:00",
    )
    installation.invoke("zato.scheduler.job.execute", {"name": "b"})
    assert installation.consumer.run_once() == 1
    installation.invoke("zato.scheduler.job.delete", {"name": "b"})
    assert installation.invoke("zato.scheduler.job.get-list") == []


def test_a_one_time_job_without_a_start_date_runs_now_and_is_inactive_after(installation):
    create(installation, job_type="one_time")
    installation.seconds_pass(3)
    got = installation.invoke("zato.scheduler.job.get-by-name", {"name": "a"})
    assert (got.is_active, got.runs_done, got.last_run) == (False, 1, NOON.isoformat())


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [({"job_type": "weekly"}, "invalid-input", "a job's type is one of one_time, interval_based, cron_style"),
     ({"job_type": "interval_based"}, "invalid-input", "an interval has weeks, days"),
     ({"job_type": "cron_style"}, "invalid-input", "needs it"),
     ({"job_type": "cron_style", "cron_definition": "x"}, "invalid-input", "not a cron expression: 'x'"),
     ({"job_type": "one_time", "start_date": "tomorrow"}, "invalid-input", "not a date and time"),
     ({"job_type": "one_time", "name": ""}, "invalid-input", "")],
)  # fmt: skip
def test_a_job_that_cannot_be_is_a_problem_of_the_caller(installation, wrong, code, words):
    with pytest.raises(Problem) as refused:
        create(installation, **wrong)
    assert refused.value.code == code
    assert words in refused.value.detail
    assert installation.jobs.all() == []


def test_a_job_that_does_not_exist_is_not_found(installation):
    installation.jobs.create(Job("mine", "s", every=60))
    with pytest.raises(Problem, match="404 not-found: no job called 'mime': did you mean 'mine'"):
        installation.invoke("zato.scheduler.job.delete", {"name": "mime"})
    with pytest.raises(Problem, match="say which job is meant"):
        installation.invoke("zato.scheduler.job.execute")


def test_the_small_ones_answer(installation):
    assert installation.invoke("zato.ping") == {"pong": "zato"}
    assert installation.invoke("gatewright.ping") == {"pong": "gatewright"}
    assert installation.invoke("zato.helpers.echo", {"a": [1]}) == {"a": [1]}


def test_a_call_made_in_the_background_runs_and_is_logged(installation, caplog):
    caplog.set_level(logging.INFO, "gatewright.service")
    cid = installation.executor.invoke_async("gatewright.helpers.input-logger", {"a": 1})
    assert installation.consumer.run_once() == 1
    assert f"cid={cid} input of '' by async: {{'a': 1}}" in caplog.messages


def test_each_service_is_there_under_both_names():
    names = set(Catalogue(deployed_from(builtins)).names())
    assert {name.partition(".")[2] for name in names if name.startswith("zato.")} == {
        name.partition(".")[2] for name in names if name.startswith("gatewright.")
    }
    assert len(names) == 20
