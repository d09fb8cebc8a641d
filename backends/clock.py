"""The clock of everything kept in SQL: a callable that gives the moment, aware and in UTC. Tests hand in their own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]

#: Earlier than every moment that counts; the expiry of what nobody holds.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
#: Later than every moment that counts.
FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)


def utc_now() -> datetime:
    """The moment by the machine's clock."""
    return datetime.now(UTC)
