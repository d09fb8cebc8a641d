"""Small things that authors of older services import by name.

>>> SCHEDULER.JOB_TYPE.INTERVAL_BASED
'interval_based'
>>> fs_safe_now(datetime(2026, 1, 31, 12, 30, 5, 250000, tzinfo=UTC))
'2026-01-31T12-30-05-250000'
"""

from __future__ import annotations

from datetime import UTC, datetime


class SCHEDULER:
    """Words of the scheduler's services."""

    class JOB_TYPE:  # noqa: N801 - the name that services know
        """The kinds of jobs."""

        ONE_TIME = "one_time"
        INTERVAL_BASED = "interval_based"
        CRON_STYLE = "cron_style"


def fs_safe_now(now: datetime | None = None) -> str:
    """The moment in UTC as part of a file name: no colons, dots or blanks."""
    moment = (now or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="microseconds").replace(":", "-").replace(".", "-")
