"""Calendars: the windows of quotas by hour, day or month, and the times of the week at which a rule counts.

>>> day = Calendar("day", 1, "Europe/Paris")
>>> noon = 1_772_535_600 * NANOSECONDS                        # 2026-03-03 12:00 in Paris
>>> day.remaining_ns(noon) // NANOSECONDS                     # until midnight there
43200
>>> TimeRange.parse("mon-fri 08:00-18:00").holds(datetime(2026, 3, 3, 12))
True
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from specs.problems import ConfigurationError

NANOSECONDS = 1_000_000_000
#: The shortest that a window of each unit can be: a day has 23 hours when clocks go forward.
_SHORTEST = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 23 * 3600,
    "month": 28 * 86_400 - 3600,
    "year": 365 * 86_400 - 3600,
}
_LONGEST = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 25 * 3600,
    "month": 31 * 86_400 + 3600,
    "year": 366 * 86_400 + 3600,
}
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)\Z")


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The time zone *name*. Raises ConfigurationError without a path."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigurationError("timezone", f"no time zone called '{name}'", "write UTC or Europe/Paris") from None


@dataclass(frozen=True, slots=True)
class Calendar:
    """Windows of *multiples* *units*, one after the other as the calendar of *zone* has them."""

    unit: str
    multiples: int = 1
    zone: str = "UTC"

    @property
    def shortest_ns(self) -> int:
        """No window is shorter."""
        return _SHORTEST[self.unit] * self.multiples * NANOSECONDS

    @property
    def longest_ns(self) -> int:
        """No window is longer."""
        return _LONGEST[self.unit] * self.multiples * NANOSECONDS

    def bounds(self, wall_ns: int) -> tuple[int, int, int]:
        """Where the window that holds *wall_ns* (of `time.time_ns`) begins and ends, and where the next one ends."""
        start = self._start(wall_ns)
        end = self._next(start)
        return start, end, self._next(end)

    def remaining_ns(self, wall_ns: int, since_last_ns: int | None = None) -> int:
        """How long the window that begins now lasts. *since_last_ns* is how long ago the bucket's last window ended.

        A window that ended for the bucket a moment ago and has hardly begun, or is about to end, by the calendar is the sign of
        a clock that was set: the window then lasts until the end of the next one. So no jump gives a second quota away.
        """
        _, end, following = self.bounds(wall_ns)
        if since_last_ns is not None and since_last_ns + end - wall_ns < self.shortest_ns * 9 // 10:
            end = following
        return end - wall_ns

    def _start(self, wall_ns: int) -> int:
        zone = zone_of(self.zone)
        if self.unit in ("second", "minute", "hour"):
            # WHY: hours begin on the hour in every zone but those half an hour off; there they begin as their clocks show.
            moment = datetime.fromtimestamp(wall_ns // NANOSECONDS, zone)
            shift = int((moment.utcoffset() or timedelta()).total_seconds()) * NANOSECONDS
            length = self.shortest_ns
            return (wall_ns + shift) // length * length - shift
        local = datetime.fromtimestamp(wall_ns // NANOSECONDS, zone)
        if self.unit == "day":
            number = local.date().toordinal() // self.multiples * self.multiples
            first = datetime.fromordinal(max(1, number))
        elif self.unit == "month":
            months = (local.year * 12 + local.month - 1) // self.multiples * self.multiples
            first = datetime(months // 12, months % 12 + 1, 1)
        else:
            first = datetime(local.year // self.multiples * self.multiples, 1, 1)
        return _moment(first, zone)

    def _next(self, start: int) -> int:
        if self.unit in ("second", "minute", "hour"):
            return start + self.shortest_ns
        zone = zone_of(self.zone)
        local = datetime.fromtimestamp(start // NANOSECONDS, zone).replace(tzinfo=None)
        # Midnight is missing on the day that some zones change their clocks: what counts is the date.
        first = local.replace(hour=0, minute=0, second=0)
        if self.unit == "day":
            return _moment(first + timedelta(days=self.multiples), zone)
        months = first.year * 12 + first.month - 1 + self.multiples * (12 if self.unit == "year" else 1)
        return _moment(datetime(months // 12, months % 12 + 1, 1), zone)


def _moment(local: datetime, zone: ZoneInfo) -> int:
    return int(local.replace(tzinfo=zone).astimezone(UTC).timestamp()) * NANOSECONDS


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Times of the week: *days* (0 is Monday), from minute *begin* of the day up to, and without, minute *end*.

    Where the end is not after the beginning the range goes on after midnight, and belongs to the day on which it began.
    """

    days: frozenset[int]
    begin: int
    end: int

    @classmethod
    def parse(cls, text: str) -> TimeRange:
        """``08:00-18:00``, ``mon-fri``, ``sat,sun 22:00-06:00``. Raises ConfigurationError without a path."""
        days = frozenset(range(7))
        begin, end = 0, 24 * 60
        words = text.lower().split()
        try:
            if not 1 <= len(words) <= 2:
                raise ValueError
            if words[0][0].isalpha():
                days = _days(words.pop(0))
            if words:
                found = _MINUTES.match(words[0])
                if found is None:
                    raise ValueError
                numbers = [int(number) for number in found.groups()]
                begin, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
                if begin >= 24 * 60 or end > 24 * 60 or begin == end:
                    raise ValueError
        except (ValueError, IndexError):
            raise ConfigurationError(
                "", f"not a time range: '{text[:80]}'", "write mon-fri 08:00-18:00, 22:00-06:00 or sat,sun"
            ) from None
        return cls(days, begin, end)

    def holds(self, local: datetime) -> bool:
        """Whether *local*, a moment in the rule's time zone, lies in the range."""
        minute = local.hour * 60 + local.minute
        day = local.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (minute >= self.begin and day in self.days) or (minute < self.end and (day - 1) % 7 in self.days)


def _days(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin = _DAYS.index(first[:3] if first[:3] in _DAYS and first in _FULL_DAYS else first)
        if not dash:
            found.add(begin)
            continue
        end = _DAYS.index(last[:3] if last in _FULL_DAYS else last)
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(found)


_FULL_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", *_DAYS)
