"""The scheduler: puts the runs of jobs that are due into the background queue. Who runs them is the queue's business.

Every process may have one; the holder of a fenced lease works, and each transaction checks that it still is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, update

from backends.background import unfinished
from backends.clock import FOR_EVER, LONG_AGO
from backends.jobs import GRACE, Jobs, jobs_table, state_of
from backends.leases import Lease, LeaseLost
from backends.schedules import TICK, Schedule
from specs.problems import ConfigurationError

log = logging.getLogger(__name__)

#: The most runs that `run-all` makes up for.
MOST_MISSED = 100
#: The most jobs that one tick begins before it looks at the lease again.
MOST_JOBS = 200

_jobs = jobs_table.c


class Scheduler:
    """Puts due runs into the queue. Every process may have one; whoever holds *lease* works.

    *chores* are done each minute by the same process: sweeps of what is over.
    """

    POLL = 0.5
    CHORES_EVERY = timedelta(seconds=60)

    def __init__(
        self,
        jobs: Jobs,
        lease: Lease,
        *,
        chores: Sequence[Callable[[], object]] = (),
    ) -> None:
        self.jobs = jobs
        self.lease = lease
        self.chores = chores
        self._chores_at = jobs.clock()
        self._renew_at = jobs.clock()
        #: The database as it was when nothing was due, and until when nothing is if it stays so.
        self._mark: int | None = None
        self._quiet_until = LONG_AGO

    def run(self, stop: threading.Event) -> None:
        """Tick until *stop* is set, then let others have the lease."""
        while not stop.is_set():
            try:
                if self._holds():
                    self.tick()
                    self._do_chores()
            except LeaseLost:
                log.warning("another process has become the scheduler")
                self.lease.token = None
            except Exception:
                # WHY: a scheduler that dies silently is found out weeks later.
                log.exception("the scheduler is interrupted")
            stop.wait(self.POLL)
        self.lease.release()

    def tick(self) -> int:
        """Begin every run that is due; how many. Raises LeaseLost where another process is the scheduler by now."""
        now = self.jobs.clock()
        database = self.jobs.database
        mark = database.mark()
        if mark is not None and mark == self._mark and now < self._quiet_until:
            return 0
        due = select(_jobs.name).where(_jobs.next_run <= now).order_by(_jobs.next_run).limit(MOST_JOBS)
        later = select(func.min(_jobs.next_run)).where(_jobs.next_run > now)
        names, upcoming = database.read(
            lambda connection: (list(connection.execute(due).scalars()), connection.execute(later).scalar())
        )
        if not names:
            self._mark, self._quiet_until = mark, upcoming or FOR_EVER
        # WHY: a transaction for each job: what is wrong with one does not keep the others.
        begun = sum(self._begin_one(name, now) for name in names)
        if begun:
            self.jobs.queue.wake.set()
        return begun

    def _begin_one(self, name: str, now: datetime) -> int:
        write = self.jobs.database.write
        try:
            return write(lambda connection: self._begin(connection, name, now))
        except ConfigurationError as error:
            # Once it was right: this machine does not know its time zone, say.
            log.error("the job '%s' is switched off: %s", name, error)
            off = update(jobs_table).where(_jobs.name == name).values(next_run=None)
            write(lambda connection: connection.execute(off).rowcount)
            return 0

    def _begin(self, connection: Connection, name: str, now: datetime) -> int:
        self.lease.guard(connection)
        row = connection.execute(select(jobs_table).where(_jobs.name == name)).one_or_none()
        if row is None or row.next_run is None or row.next_run > now:
            return 0
        state = state_of(row)
        job, schedule = state.job, state.job.schedule(state.made_at)
        runs = due_runs(schedule, row.next_run, now, job.missed)
        if job.repeats is not None:
            runs = runs[: max(0, job.repeats - state.runs_done)]
        changed: dict[str, Any] = {"next_run": schedule.next_run(now)}
        skipped = 0
        # Several are what `run-all` makes up for: they run one after the other.
        if len(runs) == 1 and job.overlap == "skip" and unfinished(connection, state.running_call):
            skipped, runs = 1, []
        for _ in runs:
            changed["running_call"] = self.jobs.begin(connection, job, now)
        if runs:
            changed["last_run"] = now
        done = state.runs_done + len(runs)
        if job.repeats is not None and done >= job.repeats:
            changed["next_run"] = None
        changed |= {"runs_done": done, "runs_skipped": state.runs_skipped + skipped}
        connection.execute(update(jobs_table).where(_jobs.name == name).values(changed))
        return len(runs)

    def _holds(self) -> bool:
        """Whether we are the scheduler; the lease is renewed at a third of its life."""
        now = self.jobs.clock()
        if self.lease.held and now < self._renew_at:
            return True
        self._renew_at = now + self.lease.ttl / 3
        return self.lease.hold()

    def _do_chores(self) -> None:
        now = self.jobs.clock()
        if now < self._chores_at:
            return
        self._chores_at = now + self.CHORES_EVERY
        for chore in self.chores:
            try:
                chore()
            except Exception:
                log.exception("a chore failed; it is done again in a minute")


def due_runs(schedule: Schedule, first: datetime, now: datetime, missed: str) -> list[datetime]:
    """The runs to begin at *now*, of those that were due from *first* on, by the policy for missed ones.

    >>> from datetime import UTC
    >>> from backends.schedules import Every
    >>> hourly, noon = Every(3600, datetime(2026, 1, 1, tzinfo=UTC)), datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)
    >>> first = noon.replace(hour=9, second=0)
    >>> [len(due_runs(hourly, first, noon, word)) for word in ("skip", "run-once", "run-all")]
    [1, 1, 4]
    >>> [len(due_runs(hourly, first, noon.replace(minute=30), word)) for word in ("skip", "run-once", "run-all")]
    [0, 1, 4]
    """
    if missed != "run-all":
        recent = schedule.next_run(max(first, now - GRACE) - TICK)
        if recent is not None and recent <= now:
            return [recent]
        return [] if missed == "skip" else [first]
    runs = []
    run: datetime | None = first
    while run is not None and run <= now:
        runs.append(run)
        if len(runs) > MOST_MISSED:
            return runs[:MOST_MISSED]
        run = schedule.next_run(run)
    return runs
