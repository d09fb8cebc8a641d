"""Rates as people write them: ``10/second``, ``100/m``, ``10 per hour``, ``10MiB/minute``, ``20 at once``, ``unlimited``, ``deny``.

Every notation of the `limits` library is read, and its short units besides. A unit of bytes makes a byte quota.
"""

from __future__ import annotations

import re
from enum import Enum

import limits as limits_library

from security.limits import AT_ONCE, BYTES, CONCURRENT, FIXED_WINDOW, GCRA, NANOSECONDS, REQUESTS, SLIDING_LOG, Rate
from security.limits.times import Calendar
from specs.problems import ConfigurationError
from specs.settings import Size

MAX_COUNT = 1_000_000_000
#: Nanoseconds that a bucket may owe, at most: stores keep moments in 64 bits, and charge twice as much afterwards.
MOST_OWED = 1 << 61
#: Requests that a sliding log remembers, at most: each has a place of its own in the store.
MAX_LOG = 10_000
_SHORT_UNITS = {"s": "second", "sec": "second", "secs": "second", "m": "minute", "min": "minute", "mins": "minute",
                "h": "hour", "hr": "hour", "hrs": "hour", "d": "day"}  # fmt: skip
_REMEDY = "write 10/second, 100/m, 10 per hour, 10MiB/minute, 20 at once, unlimited or deny"
_AT_ONCE = re.compile(r"([0-9]{1,9}) ?(?:at once|concurrent)\Z")
_BYTES = re.compile(r"([0-9]+ ?(?:[kmgt]i?)?b)(?= ?(?:/| per))", re.IGNORECASE)


class Verdict(Enum):
    """What a rule says instead of rates."""

    UNLIMITED = "unlimited"
    DENY = "deny"


UNLIMITED = Verdict.UNLIMITED
DENY = Verdict.DENY
Rates = tuple[Rate, ...] | Verdict


def parse_rate(text: str, *, burst: int | None = None, algorithm: str = GCRA, zone: str = "UTC") -> Rates:
    """The rates in *text*, or the verdict ``unlimited`` (``*``) or ``deny``. Raises ConfigurationError without a path.

    >>> parse_rate("100/m")[0].count, parse_rate("2KiB/s")[0].unit, parse_rate("3 at once")[0].algorithm
    (100, 'content-bytes', 'concurrent')
    """
    word = text.strip().lower()
    if word in ("*", "unlimited"):
        return UNLIMITED
    if word == "deny":
        return DENY
    if burst is not None and not 1 <= burst <= MAX_COUNT:
        raise ConfigurationError("burst", f"a burst lets at least one request in, not {burst}", "write 1 or more")
    found = _AT_ONCE.match(word)
    if found is not None:
        count = int(found[1])
        if not count:
            raise ConfigurationError("", f"a rate lets at least one request in, not '{text[:80]}'", "write deny")
        return (Rate(count, NANOSECONDS, count, CONCURRENT, AT_ONCE),)
    unit = REQUESTS
    octets = _BYTES.match(word)
    if octets is not None:
        unit = BYTES
        word = f"{Size.read(octets[1].replace(' ', '').upper().replace('I', 'i'), '')}{word[octets.end() :]}"
    try:
        items = limits_library.parse_many(_spelled_out(word))
    except ValueError:
        raise ConfigurationError("", f"not a rate: '{text[:80]}'", _REMEDY) from None
    return tuple(_rate(item, text, burst, algorithm, zone, unit) for item in items)


def _rate(
    item: limits_library.RateLimitItem, text: str, burst: int | None, algorithm: str, zone: str, unit: str
) -> Rate:
    seconds = item.get_expiry()
    period_ns = seconds * NANOSECONDS
    if item.amount < 1:
        raise ConfigurationError("", f"a rate lets at least one request in, not '{text[:80]}'", "write deny")
    if (item.amount > MAX_COUNT and unit == REQUESTS) or item.amount > period_ns:
        raise ConfigurationError("", f"'{text[:80]}' is more than can be counted", "write unlimited")
    if seconds > 366 * 86_400 or seconds < 1:
        raise ConfigurationError("", f"'{text[:80]}' is not a period from a second to a year", _REMEDY)
    if algorithm == SLIDING_LOG and (item.amount > MAX_LOG or unit == BYTES):
        raise ConfigurationError(
            "", f"a sliding log remembers {MAX_LOG:,} requests at most, not '{text[:80]}'", "use gcra or fixed-window"
        )
    calendar = None
    if algorithm == FIXED_WINDOW:
        calendar = Calendar(item.GRANULARITY.name, item.multiples or 1, zone)
    rate = Rate(item.amount, period_ns, item.amount if burst is None else burst, algorithm, unit, calendar)
    if algorithm == GCRA and rate.capacity_ns > MOST_OWED:
        most = MOST_OWED // rate.interval_ns
        raise ConfigurationError(
            "burst",
            f"a burst of {burst} takes more than 73 years to come back at '{text[:80]}'",
            f"write {most:,} or less",
        )
    return rate


def period_name(period_ns: int) -> str:
    """A period as policies are named: ``second``, ``10-minutes``."""
    seconds = period_ns // NANOSECONDS
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds % length == 0:
            number = seconds // length
            return unit if number == 1 else f"{number}-{unit}s"
    return f"{seconds}-seconds"


def _spelled_out(word: str) -> str:
    """*word* with the short units that the library does not know written in full: ``100/5m`` is ``100/5minute``."""
    letters = word.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = word[len(letters) :]
    return letters + _SHORT_UNITS.get(unit, unit)
