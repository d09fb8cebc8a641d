"""Clocks that nobody can set: how long this machine has been up, suspended or not, and which start of it this is.

Stores that outlive a boot, or that several machines share, cannot count in this time alone; they take the time of day once, or from
their server, and hold it to this clock from then on.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path


def up_ns() -> int:
    """Nanoseconds since this machine was started. WHY not `time.monotonic_ns`: that stands still while the machine is suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """What tells this start of the machine from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
