"""Jobs: services that are run by the clock, kept in SQL.

`Jobs` is the table, filled by configuration and by services. `backends.scheduler` begins what is due.

>>> import tempfile
>>> from security.database import metadata, open_database
>>> database = open_database(tempfile.mkdtemp())
>>> database.write(lambda connection: metadata.create_all(connection))
>>> from datetime import UTC
>>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
>>> jobs = Jobs(database, Queue(database), clock=lambda: noon)
>>> jobs.create(Job("refresh", "rates.update", every=3600, start="2026-01-01T12:30"))
>>> jobs.get("refresh").next_run.isoformat()
'2026-01-01T12:30:00+00:00'
>>> database.close()
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, delete, insert, select, update

from backends.background import Queue
from backends.clock import Clock, utc_now
from backends.schedules import TICK, At, Cron, Every, Schedule, read_moment
from security.database import Database, Json, UtcDateTime, metadata
from specs.exchange import Call
from specs.problems import ConfigurationError, Problem, nearest

MISSED = ("skip", "run-once", "run-all")
OVERLAP = ("skip", "queue", "allow")
#: A run that is late by no more than this is begun all the same (of several, one): another process has to notice first
#: that the scheduler died.
GRACE = timedelta(seconds=60)

jobs_table = Table(
    "jobs",
    metadata,
    Column("name", String(250), primary_key=True),
    Column("source", String(7), nullable=False),
    Column("definition", Json, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("next_run", UtcDateTime, index=True),
    Column("last_run", UtcDateTime),
    Column("runs_done", Integer, nullable=False),
    Column("runs_skipped", Integer, nullable=False),
    Column("running_call", BigInteger),
)
_jobs = jobs_table.c


@dataclass(frozen=True)
class Job:
    """What is to be run and when: one of *every* (seconds), *cron* and *at*.

    *at* and *start* are ISO 8601, in *timezone* where they name none. A job of `every` without *start* runs at once, then
    on. *missed* says what becomes of runs that were due while nobody could begin them: none (``skip``), one now
    (``run-once``), each, at most a hundred (``run-all``). *overlap* says what to do while the run before is not over: leave this
    one out (``skip``), do it after it (``queue``), do it beside it (``allow``). After *repeats* runs the job is inactive. A
    failed run is tried *attempts* times in all.
    """

    name: str
    service: str
    every: float | None = None
    cron: str | None = None
    at: str | None = None
    start: str | None = None
    repeats: int | None = None
    payload: Any = None
    missed: str = "skip"
    overlap: str = "skip"
    timezone: str = "UTC"
    enabled: bool = True
    attempts: int = 1

    @classmethod
    def of(cls, name: str, settings: Any) -> Job:
        """The job that the configuration describes: *settings* has attributes by the names of ours."""
        known = [field.name for field in fields(cls) if field.name != "name" and hasattr(settings, field.name)]
        values = {attribute: getattr(settings, attribute) for attribute in known}
        if values.get("every") is not None:
            values["every"] = float(values["every"])
        return cls(name, **values)

    def schedule(self, made_at: datetime) -> Schedule:
        """When it runs. Raises ConfigurationError for what cannot be."""
        if [self.every, self.cron, self.at].count(None) != 2:
            raise ConfigurationError("", "a job has one of every, cron and at", "write every: 1h")
        for value, words, path in ((self.missed, MISSED, "missed"), (self.overlap, OVERLAP, "overlap")):
            if value not in words:
                raise ConfigurationError(path, f"no such word: '{value}'", nearest(value, words))
        start = read_moment(self.start, "start", self.timezone) if self.start else None
        if self.every is not None:
            return Every(self.every, start or made_at)
        if self.cron is not None:
            return Cron(self.cron, self.timezone, start)
        return At(read_moment(self.at or "", "at", self.timezone))

    def same_times(self, other: Job) -> bool:
        """Whether *other* runs at the same times, whatever it runs."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("every", "cron", "at", "start", "repeats", "timezone", "enabled")
        )


@dataclass(frozen=True)
class JobState:
    """A job, and how far it has come. *next_run* None: it is over, or not enabled. *source*: ``config`` or ``service``."""

    job: Job
    source: str
    made_at: datetime
    next_run: datetime | None
    last_run: datetime | None
    runs_done: int
    runs_skipped: int
    running_call: int | None

    @property
    def active(self) -> bool:
        """Whether it will run again."""
        return self.next_run is not None


class Jobs:
    """The table of jobs. What is wrong is a Problem (``not-found``, ``conflict``) or a ConfigurationError."""

    def __init__(
        self,
        database: Database,
        queue: Queue,
        *,
        clock: Clock = utc_now,
        new_cid: Callable[[], str] = lambda: secrets.token_hex(12),
    ) -> None:
        self.database = database
        self.queue = queue
        self.clock = clock
        self.new_cid = new_cid

    def get(self, name: str) -> JobState:
        """The job of that name. Raises Problem 404."""
        return self.database.read(lambda connection: self._find(connection, name))

    def all(self) -> list[JobState]:
        """Every job, by name."""
        rows = select(jobs_table).order_by(_jobs.name)
        return self.database.read(lambda connection: [state_of(row) for row in connection.execute(rows)])

    def create(self, job: Job, source: str = "service") -> None:
        """Keep a new job. Raises Problem 409 where one has the name."""
        _check_name(job.name)
        row = self._first_row(job, self.clock())

        def work(connection: Connection) -> None:
            if connection.execute(select(_jobs.name).where(_jobs.name == job.name)).first():
                raise Problem.of("conflict", f"there is a job called '{job.name}' already")
            connection.execute(insert(jobs_table).values(name=job.name, source=source, **row))

        self.database.write(work)

    def edit(self, name: str, job: Job) -> None:
        """Make the job *name* into *job*, which may have another name. It begins anew where its times changed."""
        _check_name(job.name)
        now = self.clock()
        job.schedule(now)

        def work(connection: Connection) -> None:
            state = self._own(connection, name)
            if job.name != name and connection.execute(select(_jobs.name).where(_jobs.name == job.name)).first():
                raise Problem.of("conflict", f"there is a job called '{job.name}' already")
            changed: dict[str, Any] = {"definition": asdict(job)}
            if not job.same_times(state.job):
                changed = self._first_row(job, now)
            connection.execute(update(jobs_table).where(_jobs.name == name).values(name=job.name, **changed))

        self.database.write(work)

    def delete(self, name: str) -> None:
        """Forget a job. Runs that are in the queue already go on."""

        def work(connection: Connection) -> None:
            self._own(connection, name)
            connection.execute(delete(jobs_table).where(_jobs.name == name))

        self.database.write(work)

    def set_active(self, name: str, active: bool) -> None:
        """Switch a job off, or on: one that is over begins anew."""
        now = self.clock()

        def work(connection: Connection) -> None:
            state = self._own(connection, name)
            if state.active != active:
                row = self._first_row(replace(state.job, enabled=active), now)
                connection.execute(update(jobs_table).where(_jobs.name == name).values(row))

        self.database.write(work)

    def execute(self, name: str) -> int:
        """Run a job now, whatever its times and state; the number of the call. Raises Problem 404."""
        now = self.clock()

        def work(connection: Connection) -> int:
            state = self._find(connection, name)
            number = self.begin(connection, state.job, now)
            connection.execute(update(jobs_table).where(_jobs.name == name).values(last_run=now, running_call=number))
            return number

        number = self.database.write(work)
        self.queue.wake.set()
        return number

    def begin(self, connection: Connection, job: Job, now: datetime) -> int:
        """Put one run of *job* into the queue, within a transaction; the number of the call."""
        call = Call(job.service, payload=job.payload, cid=self.new_cid(), channel=job.name, channel_type="job")
        lane = None if job.overlap == "allow" else f"job:{job.name}"
        return self.queue.put(connection, call, due_at=now, lane=lane, most_attempts=job.attempts)

    def synchronise(self, configured: Mapping[str, Any]) -> list[str]:
        """Make the jobs of the configuration so; the names of those it could not have, for a service has made them.

        *configured* holds a `Job`, or settings that `Job.of` understands, by name. Again is no harm: what did not change keeps
        its next run. Those that are no longer configured go. Raises ConfigurationError and changes nothing.
        """
        now = self.clock()
        jobs = {
            name: settings if isinstance(settings, Job) else Job.of(name, settings)
            for name, settings in configured.items()
        }
        for name, job in jobs.items():
            try:
                job.schedule(now)
            except ConfigurationError as error:
                raise error.under(f"jobs.{name}") from error
        return self.database.write(lambda connection: self._synchronise(connection, jobs, now))

    def _synchronise(self, connection: Connection, jobs: Mapping[str, Job], now: datetime) -> list[str]:
        found = {row.name: state_of(row) for row in connection.execute(select(jobs_table))}
        for name, state in found.items():
            if state.source == "config" and name not in jobs:
                connection.execute(delete(jobs_table).where(_jobs.name == name))
        taken = []
        for name, job in jobs.items():
            before = found.get(name)
            if before is None:
                connection.execute(insert(jobs_table).values(name=name, source="config", **self._first_row(job, now)))
            elif before.source != "config":
                taken.append(name)
            elif before.job != job:
                times = before.job.same_times(job)
                changed = {"definition": asdict(job)} if times else self._first_row(job, now)
                connection.execute(update(jobs_table).where(_jobs.name == name).values(changed))
        return taken

    def _first_row(self, job: Job, now: datetime) -> dict[str, Any]:
        """The columns of a job that begins now."""
        schedule = job.schedule(now)
        begin = now - (GRACE if job.at else TICK)
        first = schedule.next_run(begin) if job.enabled else None
        return {
            "definition": asdict(job), "made_at": now, "next_run": first, "runs_done": 0, "runs_skipped": 0,
        }  # fmt: skip

    def _find(self, connection: Connection, name: str) -> JobState:
        row = connection.execute(select(jobs_table).where(_jobs.name == name)).one_or_none()
        if row is None:
            known = connection.execute(select(_jobs.name)).scalars().all()
            raise Problem.of("not-found", f"no job called '{name}': {nearest(name, known)}")
        return state_of(row)

    def _own(self, connection: Connection, name: str) -> JobState:
        """The job, unless it belongs to the configuration."""
        state = self._find(connection, name)
        if state.source == "config":
            raise Problem.of("conflict", f"the job '{name}' comes from the configuration: change it there")
        return state


def _check_name(name: str) -> None:
    if not 0 < len(name) <= 240:
        raise ConfigurationError("name", f"the name of a job has 1 to 240 characters, not {len(name)}")


def state_of(row: Any) -> JobState:
    known = {field.name for field in fields(Job)}
    job = Job(**{key: value for key, value in row.definition.items() if key in known})
    return JobState(
        job, row.source, row.made_at, row.next_run, row.last_run, row.runs_done, row.runs_skipped, row.running_call
    )
