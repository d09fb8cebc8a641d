"""GCRA, the generic cell rate algorithm (ITU-T I.371), in whole nanoseconds: one number a bucket, no floats, no drift.

A bucket is the moment until which its past hits are paid for. A hit costs one interval, ``period / count``; it is let in if what
is owed afterwards is at most the capacity, ``burst`` intervals. So a window of one period, wherever it
lies, admits at most ``burst + count - 1`` hits (``2n - 1`` where the burst is the count), which the test proves against an oracle.

>>> interval, capacity = 500, 1000             # 2 hits in 1,000 ns, both at once
>>> owed(0, interval, 0, interval, capacity) + interval <= capacity
True
>>> owed(1000, interval, 0, interval, capacity) + interval <= capacity
False
"""

from __future__ import annotations

#: How far the clocks that two processes have read may lie apart; what is owed beyond it comes from other times.
TOLERANCE_NS = 10_000_000_000


def owed(paid_until: int, stored_interval: int, now: int, interval: int, capacity: int) -> int:
    """The time that a bucket owes at *now*, under the rate of today.

    A changed rate carries the hits that are owed over, up to its capacity. A bucket that owes more than any debit could have left
    in it (twice the capacity, see `Store.add`) comes from another clock, and owes the capacity.
    """
    if paid_until <= now:
        return 0
    time = paid_until - now
    if stored_interval != interval and stored_interval > 0:
        return min(-(-time * interval // stored_interval), capacity)
    return time if time <= 2 * capacity + TOLERANCE_NS else capacity
