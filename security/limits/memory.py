"""Buckets in this process's memory: for a worker's own share while the real store is lost, for `limits replay`, and for tests.

Everything is written as the sentence that defines it; `shm` does the same in shared memory, and the tests hold the two together.
At most *most* buckets are kept: a full store refuses new ones and never forgets one that owes something (A43).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from security.limits import CONCURRENT, FIXED_WINDOW, GCRA, NANOSECONDS, SLIDING_LOG, Charge, Decision, Standing, Store
from security.limits.gcra import TOLERANCE_NS
from security.limits.gcra import owed as gcra_owed

#: How many dead buckets are looked for with each new one.
_SWEEP = 8


class _Bucket:
    """Owes nothing after *until*; *value* is gcra's interval or the hits in it; *log* the moments and their hits."""

    __slots__ = ("log", "until", "value")

    def __init__(self) -> None:
        self.until = 0
        self.value = 0
        self.log: deque[tuple[int, int]] | None = None


class MemoryStore(Store):
    """The buckets of one process. *wall* tells the time of day in nanoseconds, for windows by the calendar."""

    def __init__(self, *, most: int = 100_000, wall: Callable[[], int] = time.time_ns) -> None:
        self._most = most
        self._wall = wall
        self._buckets: dict[bytes, _Bucket] = {}

    def debit(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """Take from every bucket of *charges*, or from none."""
        decision, takers = self._decide(charges, now_ns)
        if decision.allowed:
            for take in takers:
                take()
        return decision

    def peek(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """What `debit` would say."""
        return self._decide(charges, now_ns)[0].before()

    def add(self, charges: Sequence[Charge], now_ns: int) -> None:
        """Charge afterwards."""
        for one in charges:
            bucket = self._bucket(one.key, now_ns)
            if bucket is None:
                continue
            if one.algorithm == GCRA:
                owed = gcra_owed(bucket.until, bucket.value, now_ns, one.interval_ns, one.capacity_ns)
                bucket.until = now_ns + min(owed + one.cost_ns, 2 * one.capacity_ns)
                bucket.value = one.interval_ns
            elif one.algorithm == FIXED_WINDOW:
                used, until = self._window(one, bucket, now_ns)
                bucket.value, bucket.until = max(0, min(used + one.cost, 2 * one.rate.count)), until

    def release(self, charges: Sequence[Charge], now_ns: int) -> None:
        """These concurrent charges are over."""
        for one in charges:
            bucket = self._buckets.get(one.key)
            if one.algorithm == CONCURRENT and bucket is not None and bucket.value:
                bucket.value -= one.cost
                bucket.until = now_ns + TOLERANCE_NS * 360 if bucket.value else 0

    def load(self, key: bytes, until: int, value: int) -> None:
        """Put a bucket of gcra or of fixed windows in, as it was kept elsewhere."""
        bucket = self._buckets[key] = _Bucket()
        bucket.until, bucket.value = until, value

    def dump(self, key: bytes) -> tuple[int, int]:
        """What `load` takes; 0 and 0 for a bucket that was never charged."""
        bucket = self._buckets.get(key)
        return (bucket.until, bucket.value) if bucket is not None else (0, 0)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Empty these buckets."""
        for one in charges:
            self._buckets.pop(one.key, None)

    def _decide(self, charges: Sequence[Charge], now: int) -> tuple[Decision, list[Callable[[], None]]]:
        before: list[Standing] = []
        after: list[Standing] = []
        violated, shadowed = [], []
        takers: list[Callable[[], None]] = []
        wait, full = 0, False
        pending: dict[bytes, int] = {}  # hits of buckets that stand in the chain more than once
        for one in charges:
            bucket = self._bucket(one.key, now)
            if bucket is None:
                full, missing = True, NANOSECONDS
                standing = late = 0 if one.algorithm == GCRA else (0, NANOSECONDS)
            else:
                earlier = pending.get(one.key, 0)
                standing, late, missing, take = self._take(one, bucket, now, earlier)
                if missing <= 0:
                    takers.append(take)
                    pending[one.key] = earlier + one.cost
            before.append(standing)
            after.append(late)
            if missing > 0:
                if one.shadow:
                    shadowed.append(one.policy)
                else:
                    violated.append(one.policy)
                    wait = max(wait, missing)
        return Decision(
            charges, before, before if violated else after, violated=tuple(violated), shadowed=tuple(shadowed),
            retry_after_ns=wait, full=full,
        ), takers  # fmt: skip

    def _take(
        self, one: Charge, bucket: _Bucket, now: int, earlier: int
    ) -> tuple[Standing, Standing, int, Callable[[], None]]:
        """How the bucket stands and would stand, what is missing (0 or less: nothing), and what takes the hits."""
        cost = one.cost + earlier
        if one.algorithm == GCRA:
            owed = gcra_owed(bucket.until, bucket.value, now, one.interval_ns, one.capacity_ns)
            due = owed + cost * one.interval_ns

            def take_time() -> None:
                bucket.until, bucket.value = now + due, one.interval_ns

            missing = due - one.capacity_ns
            return owed, due if missing <= 0 else owed, missing, take_time
        count = one.rate.count
        if one.algorithm == SLIDING_LOG:
            log = bucket.log if bucket.log is not None else deque()
            bucket.log = log
            while log and log[0][0] <= now:
                log.popleft()
            used = sum(hits for _, hits in log)
            # Clocks read by two callers may come in the wrong order; the log never does.
            until = max(now + one.rate.period_ns, log[-1][0] if log else 0)

            def take_entry() -> None:
                log.append((until, one.cost))
                bucket.until = until

            missing, free = 0, count - used
            for moment, hits in log:
                if free >= cost:
                    break
                free, missing = free + hits, moment - now
            return (used, (log[0][0] - now) if log else 0), (used + cost, until - now), missing, take_entry
        if one.algorithm == FIXED_WINDOW:
            used, until = self._window(one, bucket, now)

            def take_count() -> None:
                bucket.value, bucket.until = used + cost, until

            missing = 0 if used + cost <= count else until - now
            return (used, until - now), (used + cost if not missing else used, until - now), missing, take_count
        used = bucket.value if bucket.until > now else 0

        def hold() -> None:
            bucket.value, bucket.until = used + cost, now + 360 * TOLERANCE_NS

        missing = 0 if used + cost <= count else NANOSECONDS
        return (used, 0), (used + cost if not missing else used, 0), missing, hold

    def _window(self, one: Charge, bucket: _Bucket, now: int) -> tuple[int, int]:
        calendar = one.rate.calendar
        assert calendar is not None
        if now < bucket.until <= now + 2 * calendar.longest_ns:
            return bucket.value, bucket.until
        since = now - bucket.until if 0 < bucket.until <= now else None
        return 0, now + calendar.remaining_ns(self._wall(), since)

    def _bucket(self, key: bytes, now: int) -> _Bucket | None:
        found = self._buckets.get(key)
        if found is None:
            if len(self._buckets) >= self._most and not self._sweep(now):
                return None
            found = self._buckets[key] = _Bucket()
        return found

    def _sweep(self, now: int) -> bool:
        """Make room: the oldest buckets that owe nothing go. False where there are none among the few that are looked at."""
        room = False
        for key in [key for key, _ in zip(self._buckets, range(_SWEEP), strict=False)]:
            bucket = self._buckets.pop(key)
            if bucket.until > now:
                self._buckets[key] = bucket
            else:
                room = True
        return room
