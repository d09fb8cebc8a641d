"""Services that every installation has: the scheduler's, and a few that answer without doing anything.

They bear the names that users of Zato know; each is found under ``gatewright`` too. None is reachable from outside unless a
channel is configured for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson

from backends.familiar import SCHEDULER
from backends.jobs import Job, Jobs, JobState
from backends.schedules import read_moment
from backends.service import Service
from specs.elements import Bool, Int, Opaque, Text
from specs.problems import ConfigurationError, Fault, Problem

UNITS = {"weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
_TYPES = SCHEDULER.JOB_TYPE

_DEFINITION = (
    Text("name"), Bool("is_active"), Text("service"), Text("job_type"), Int("-cluster_id"), Int("-weeks"), Int("-days"),
    Int("-hours"), Int("-minutes"), Int("-seconds"), Int("-repeats"), Text("-start_date"), Text("-cron_definition"),
    Opaque("-extra"),
)  # fmt: skip
_STATE = (
    Text("id"), Text("name"), Bool("is_active"), Text("service"), Text("job_type"), Text("start_date"), Int("-weeks"),
    Int("-days"), Int("-hours"), Int("-minutes"), Int("-seconds"), Int("-repeats"), Text("-cron_definition"),
    Opaque("-extra"), Text("-next_run"), Text("-last_run"), Int("runs_done"),
)  # fmt: skip
_WHICH = (Text("-id"), Text("-name"), Int("-cluster_id"))


class CreateJob(Service):
    """Makes a job. Its type is ``one_time``, ``interval_based`` or ``cron_style``; without a start date it starts now."""

    name = "zato.scheduler.job.create"
    input = _DEFINITION
    output = Text("id"), Text("name"), Text("-cron_definition")

    def handle(self) -> None:
        """See the class."""
        with _refusals():
            job = _job_of(self.request.input, _jobs(self))
            _jobs(self).create(job)
        self.response.payload = {"id": job.name, "name": job.name, "cron_definition": job.cron or ""}


class EditJob(Service):
    """Changes a job; *id* is the name it has, *name* the one it gets."""

    name = "zato.scheduler.job.edit"
    input = (*_DEFINITION, Text("-id"))
    output = Text("id"), Text("name"), Text("-cron_definition")

    def handle(self) -> None:
        """See the class."""
        with _refusals():
            job = _job_of(self.request.input, _jobs(self))
            _jobs(self).edit(self.request.input.id or job.name, job)
        self.response.payload = {"id": job.name, "name": job.name, "cron_definition": job.cron or ""}


class DeleteJob(Service):
    """Forgets a job."""

    name = "zato.scheduler.job.delete"
    input = _WHICH

    def handle(self) -> None:
        """See the class."""
        _jobs(self).delete(_which(self))


class GetJobs(Service):
    """Gives every job and when it runs next."""

    name = "zato.scheduler.job.get-list"

    class SimpleIO:
        """The list, unwrapped."""

        input_optional = (Int("cluster_id"),)
        output_required = _STATE
        output_repeated = True
        response_elem = None

    def handle(self) -> None:
        """See the class."""
        self.response.payload = [_record(state) for state in _jobs(self).all()]


class GetJob(Service):
    """Gives one job and when it runs next."""

    name = "zato.scheduler.job.get-by-name"
    input = _WHICH
    output = _STATE

    def handle(self) -> None:
        """See the class."""
        self.response.payload = _record(_jobs(self).get(_which(self)))


class ExecuteJob(Service):
    """Runs a job now, whatever its times."""

    name = "zato.scheduler.job.execute"
    input = _WHICH

    def handle(self) -> None:
        """See the class."""
        _jobs(self).execute(_which(self))


class SetJobActive(Service):
    """Switches a job on or off."""

    name = "zato.scheduler.job.set-active-status"
    input = (*_WHICH, Bool("is_active"))

    def handle(self) -> None:
        """See the class."""
        _jobs(self).set_active(_which(self), self.request.input.is_active)


class InputLogger(Service):
    """Writes its input to the log."""

    name = "zato.helpers.input-logger"

    def handle(self) -> None:
        """See the class."""
        self.logger.info("input of '%s' by %s: %r", self.channel.name, self.channel.type, self.request.payload)


class Echo(Service):
    """Answers its input."""

    name = "zato.helpers.echo"

    def handle(self) -> None:
        """See the class."""
        self.response.payload = self.request.payload


class Ping(Service):
    """Answers, and so tells that services are run."""

    name = "zato.ping"
    output = Text("pong")

    def handle(self) -> None:
        """See the class."""
        self.response.payload.pong = self.name.partition(".")[0]


# The same under our own name; what they do is inherited.


class GatewrightCreateJob(CreateJob):
    """Makes a job."""

    name = "gatewright.scheduler.job.create"


class GatewrightEditJob(EditJob):
    """Changes a job."""

    name = "gatewright.scheduler.job.edit"


class GatewrightDeleteJob(DeleteJob):
    """Forgets a job."""

    name = "gatewright.scheduler.job.delete"


class GatewrightGetJobs(GetJobs):
    """Gives every job."""

    name = "gatewright.scheduler.job.get-list"


class GatewrightGetJob(GetJob):
    """Gives one job."""

    name = "gatewright.scheduler.job.get-by-name"


class GatewrightExecuteJob(ExecuteJob):
    """Runs a job now."""

    name = "gatewright.scheduler.job.execute"


class GatewrightSetJobActive(SetJobActive):
    """Switches a job on or off."""

    name = "gatewright.scheduler.job.set-active-status"


class GatewrightInputLogger(InputLogger):
    """Writes its input to the log."""

    name = "gatewright.helpers.input-logger"


class GatewrightEcho(Echo):
    """Answers its input."""

    name = "gatewright.helpers.echo"


class GatewrightPing(Ping):
    """Answers."""

    name = "gatewright.ping"


def _jobs(service: Service) -> Jobs:
    jobs: Jobs = service.platform.jobs
    return jobs


def _which(service: Service) -> str:
    which = service.request.input.name or service.request.input.id
    if not which:
        raise _invalid("/name", "say which job is meant by its name")
    return str(which)


def _job_of(given: Any, jobs: Jobs) -> Job:
    """The job that the input of `CreateJob` describes."""
    job = Job(given.name, given.service, payload=_extra(given.extra), enabled=given.is_active)
    repeats = given.repeats or None
    # Z48: the start date is optional, as the documented example has it.
    start = given.start_date or ""
    if given.job_type == _TYPES.INTERVAL_BASED:
        every = sum((given.get(unit) or 0) * seconds for unit, seconds in UNITS.items())
        if every <= 0:
            raise _invalid("/seconds", "an interval has weeks, days, hours, minutes or seconds")
        return replace(job, every=float(every), start=start or None, repeats=repeats)
    if given.job_type == _TYPES.CRON_STYLE:
        if not given.cron_definition:
            raise _invalid("/cron_definition", "a job of type cron_style needs it")
        return replace(job, cron=given.cron_definition, start=start or None, repeats=repeats)
    if given.job_type == _TYPES.ONE_TIME:
        return replace(job, at=start or jobs.clock().isoformat())
    words = ", ".join((_TYPES.ONE_TIME, _TYPES.INTERVAL_BASED, _TYPES.CRON_STYLE))
    raise _invalid("/job_type", f"a job's type is one of {words}")


def _extra(extra: Any) -> Any:
    """What the service will get: JSON where the text is an object or a list, else the text as it is."""
    if isinstance(extra, str) and extra.lstrip()[:1] in ("{", "["):
        try:
            return orjson.loads(extra)
        except orjson.JSONDecodeError:
            return extra
    return extra


def _record(state: JobState) -> dict[str, Any]:
    job = state.job
    started = read_moment(job.at or job.start or state.made_at.isoformat(), "start", job.timezone)
    record: dict[str, Any] = {
        "id": job.name, "name": job.name, "is_active": state.active, "service": job.service,
        "start_date": started.isoformat(), "repeats": job.repeats or 0, "extra": job.payload,
        "cron_definition": job.cron or "", "runs_done": state.runs_done,
        "next_run": state.next_run.isoformat() if state.next_run else "",
        "last_run": state.last_run.isoformat() if state.last_run else "",
    }  # fmt: skip
    left = int(job.every or 0)
    for unit, seconds in UNITS.items():
        record[unit], left = divmod(left, seconds)
    record["job_type"] = (
        _TYPES.INTERVAL_BASED if job.every is not None else _TYPES.CRON_STYLE if job.cron else _TYPES.ONE_TIME
    )
    return record


@contextmanager
def _refusals() -> Iterator[None]:
    """What a job cannot be, as the caller is told it."""
    try:
        yield
    except ConfigurationError as error:
        raise _invalid("", f"{error.message}: {error.remedy}" if error.remedy else error.message) from error


def _invalid(pointer: str, detail: str) -> Problem:
    return Problem.of("invalid-input", detail, errors=[Fault(pointer, "invalid", detail)])
