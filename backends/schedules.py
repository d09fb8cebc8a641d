"""When a job runs: the arithmetic of ``every``, ``cron`` and ``at``. Pure; knows no clock and no database.

A schedule answers one question: which is the first run after this moment? Everything else (what was missed, how often
it has run) follows from it.

>>> hourly = Every(3600, start=datetime(2026, 1, 1, 0, 30, tzinfo=UTC))
>>> hourly.next_run(datetime(2026, 1, 1, 8, 30, tzinfo=UTC)).isoformat()
'2026-01-01T09:30:00+00:00'
>>> Cron("0 9 * * mon-fri", "Europe/Paris").next_run(datetime(2026, 1, 2, 8, tzinfo=UTC)).isoformat()
'2026-01-05T08:00:00+00:00'
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterBadDateError, CroniterError, croniter

from specs.problems import ConfigurationError

#: The longest time that a zone's clock has been put forward or back by: whole days, where a country crossed the date line.
LONGEST_CHANGE = timedelta(hours=26)
TICK = timedelta(microseconds=1)
SHORTEST_INTERVAL = 0.1


@dataclass(frozen=True)
class Every:
    """A run at *start* and each *seconds* after it, whatever the clocks on the wall do."""

    seconds: float
    start: datetime

    def __post_init__(self) -> None:
        if self.seconds < SHORTEST_INTERVAL:
            raise ConfigurationError("every", f"a job cannot run each {self.seconds:g} seconds", "write 1s or more")

    def next_run(self, after: datetime) -> datetime | None:
        """The first run later than *after*; None where time ends."""
        if after < self.start:
            return self.start
        # WHY: whole microseconds; with floats the hundred-thousandth run would have wandered off.
        interval = timedelta(microseconds=round(self.seconds * 1e6))
        try:
            return self.start + ((after - self.start) // interval + 1) * interval
        except OverflowError:
            return None


@dataclass(frozen=True)
class At:
    """One run at *moment*."""

    moment: datetime

    def next_run(self, after: datetime) -> datetime | None:
        """The run, where it is later than *after*."""
        return self.moment if self.moment > after else None


@dataclass(frozen=True)
class Cron:
    """Runs at the times on the wall that a cron expression of five fields (or ``@hourly``, ``@daily`` ...) names.

    When the clocks change, as in Vixie's cron: an expression that names hours runs once for each time it names, a time that is
    left out being run as much later as the clocks went forward, and a time that comes twice at its first coming. An
    expression for every hour follows the time that really passes. No run comes before *start*.
    """

    expression: str
    time_zone: str = "UTC"
    start: datetime | None = None

    def __post_init__(self) -> None:
        fields = self.expression.split()
        aliased = len(fields) == 1 and fields[0].startswith("@")
        # WHY: H and R of croniter are random: the next run would be another each time it is asked for.
        if (
            not (aliased or len(fields) == 5)
            or any(field[0] in "RrHh" for field in fields)
            or len(self.expression) > 200
        ):
            raise ConfigurationError("cron", f"not a cron expression: {self.expression!r}", _FORM)
        try:
            if self._next_on_wall(datetime(2000, 1, 1)) is None:
                raise ConfigurationError("cron", f"this day never comes: {self.expression!r}", _FORM)
        except CroniterError as error:
            raise ConfigurationError("cron", f"not a cron expression: {self.expression!r}", _FORM) from error
        zone_of(self.time_zone)

    def next_run(self, after: datetime) -> datetime | None:
        """The first run later than *after*; None where time ends."""
        if self.start is not None and after < self.start:
            after = self.start - TICK
        try:
            return self._next_passing(after) if self._every_hour else self._next_named(after)
        except OverflowError:
            return None

    @cached_property
    def _every_hour(self) -> bool:
        return bool(croniter.expand(self.expression)[0][1] == ["*"])

    def _next_passing(self, after: datetime) -> datetime | None:
        """The next run of an expression for every hour: each moment at which the wall shows a time that fits."""
        zone = zone_of(self.time_zone)
        offset = _offset(zone, after)
        begin = _naive(after) + offset
        while (wall := self._next_on_wall(begin)) is not None:
            found = (wall - offset).replace(tzinfo=UTC)
            change = _first_change(zone, after, found)
            if change is None:
                return found
            after, offset = change, _offset(zone, change)
            begin = _naive(change) + offset - TICK  # the moment of the change may be a run itself
        return None

    def _next_named(self, after: datetime) -> datetime | None:
        """The next run of an expression that names hours: each time on the wall counts once."""
        zone = zone_of(self.time_zone)
        # A time left out just before *after* may be due only now, so the search begins by the clock before the change.
        begin = _naive(after) + min(_offset(zone, after), _offset(zone, after - LONGEST_CHANGE))
        best: datetime | None = None
        while (wall := self._next_on_wall(begin)) is not None:
            begin = wall
            # A time that is left out gets the offset from before the change (PEP 495), so it lands as much later.
            moment = wall.replace(tzinfo=zone).astimezone(UTC)
            if moment > after:
                best = moment if best is None else min(best, moment)
                if _naive(moment.astimezone(zone)) == wall:
                    break
        return best

    def _next_on_wall(self, wall: datetime) -> datetime | None:
        try:
            return croniter(self.expression, wall, ret_type=datetime).get_next()  # type: ignore[no-any-return]
        except CroniterBadDateError:
            return None


Schedule = Every | Cron | At

_FORM = "write minute, hour, day of the month, month, day of the week, as in '30 3 * * mon-fri'"


def zone_of(name: str) -> tzinfo:
    """The time zone of that name (``Europe/Paris``). Raises ConfigurationError."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError("time_zone", f"no time zone called '{name}'", "write one like Europe/Paris") from error


def read_moment(text: str, path: str, time_zone: str = "UTC") -> datetime:
    """A moment as people write it, ISO 8601, in UTC; *time_zone* counts where it has none. Raises ConfigurationError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigurationError(path, f"not a date and time: {text!r}", "write 2026-01-31T08:30:00") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone_of(time_zone))).astimezone(UTC)


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _first_change(zone: tzinfo, low: datetime, high: datetime) -> datetime | None:
    """The first moment after *low* and not after *high* whose offset is another than that of *low*."""
    if zone is UTC:
        return None
    offset = _offset(zone, low)
    step = timedelta(days=7)
    while low < high:
        probe = min(low + step, high)
        if _offset(zone, probe) != offset:
            while probe - low > TICK:
                middle = low + (probe - low) / 2
                low, probe = (middle, probe) if _offset(zone, middle) == offset else (low, middle)
            return probe
        low = probe
    return None
