"""Our algorithms and our table as a strategy and a storage of the `limits` library, for programs that are written to it.

>>> import limits, tempfile
>>> storage = limits.storage.storage_from_string(f"shm://{tempfile.mkdtemp()}/limits.table?slots=64")
>>> limiter = GcraRateLimiter(storage)
>>> [limiter.hit(limits.parse("2/minute"), "somebody") for _ in range(3)]
[True, True, False]
>>> limiter.get_window_stats(limits.parse("2/minute"), "somebody").remaining
0

Importing this module is what makes ``shm://`` known. The strategies of the library work on the storage too: fixed windows, and its
moving window, which is our sliding log. Exact over all processes of a machine; `hit_all` takes several limits or none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from limits import RateLimitItem, WindowStats, strategies
from limits.storage import MovingWindowSupport, Storage

from security.limits import FIXED_WINDOW, GCRA, NANOSECONDS, SLIDING_LOG, Charge, Rate, StoreUnavailable, bucket_key
from security.limits.shm import SharedMemoryStore
from security.limits.table import DEFAULT_SLOTS
from security.limits.times import Calendar

Clock = Callable[[], int]


class SharedMemoryStorage(Storage, MovingWindowSupport):
    """``shm:///path/to/limits.table?slots=262144``: the table that all processes of a machine share."""

    STORAGE_SCHEME = ["shm"]

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **options: Any) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        parts = urlsplit(uri or "")
        slots = int(options.get("slots") or parse_qs(parts.query).get("slots", [str(DEFAULT_SLOTS)])[0])
        self.store = SharedMemoryStore(parts.netloc + parts.path, slots=slots)
        self.clock: Clock = time.monotonic_ns

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """What `wrap_exceptions` wraps."""
        return StoreUnavailable

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count *amount* in the window of *key*; how many are in it now, of which at most a thousand million are counted."""
        charge = _window(key, expiry)
        self.store.add([charge.costing(amount)], self.clock())
        return self.get(key)

    def get(self, key: str) -> int:
        """How many are in the window of *key*."""
        return self._standing(key)[0]

    def get_expiry(self, key: str) -> float:
        """When the window of *key* ends, in seconds since 1970."""
        return time.time() + self._standing(key)[1] / NANOSECONDS

    def check(self) -> bool:
        """Whether the table can be used."""
        try:
            self.store.debit([], self.clock())
        except StoreUnavailable:
            return False
        return True

    def reset(self) -> int | None:
        """Not offered: others count in the same table."""
        raise NotImplementedError("a table that others share is not emptied: clear the keys that are yours")

    def clear(self, key: str) -> None:
        """Forget *key*."""
        self.store.reset([_window(key, 1), Charge.of("limits", bucket_key("limits", "log", key), "", _log(1, 1))])

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take *amount* of *limit* in the last *expiry* seconds."""
        if amount > limit:
            return False
        charge = Charge.of("limits", bucket_key("limits", "log", key), "", _log(limit, expiry), cost=amount)
        return self.store.debit([charge], self.clock()).allowed

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest hit of the last *expiry* seconds was, and how many there are."""
        charge = Charge.of("limits", bucket_key("limits", "log", key), "", _log(limit, expiry))
        state = self.store.peek([charge], self.clock()).states[0]
        return time.time() + state.reset_s - expiry, limit - state.remaining

    def _standing(self, key: str) -> tuple[int, int]:
        # However long the window is: the library asks without saying.
        decision = self.store.peek([_window(key, 366 * 86_400)], self.clock())
        standing = decision.standings[0]
        assert isinstance(standing, tuple)
        return standing


class GcraRateLimiter(strategies.RateLimiter):
    """GCRA over a `SharedMemoryStorage`: at most ``2n - 1`` in any period, exact waiting times, and chains of limits."""

    storage: SharedMemoryStorage

    def hit(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Take *cost* hits; whether there were so many."""
        return self.hit_all([(item, identifiers)], cost=cost)

    def hit_all(self, items: Iterable[tuple[RateLimitItem, tuple[str, ...]]], cost: int = 1) -> bool:
        """Take *cost* hits of every limit, or of none."""
        chain = list(items)
        if any(cost > item.amount for item, _ in chain):
            return False
        charges = [_charge(item, identifiers).costing(cost) for item, identifiers in chain]
        return self.storage.store.debit(charges, self.storage.clock()).allowed

    def test(self, item: RateLimitItem, *identifiers: str, cost: int = 1) -> bool:
        """Whether `hit` would be true."""
        if cost > item.amount:
            return False
        charge = _charge(item, identifiers).costing(cost)
        return self.storage.store.peek([charge], self.storage.clock()).allowed

    def get_window_stats(self, item: RateLimitItem, *identifiers: str) -> WindowStats:
        """When there is more, in seconds since 1970, and what remains."""
        state = self.storage.store.peek([_charge(item, identifiers)], self.storage.clock()).states[0]
        return WindowStats(time.time() + state.reset_s, state.remaining)

    def clear(self, item: RateLimitItem, *identifiers: str) -> None:
        """Forget what was taken."""
        self.storage.store.reset([_charge(item, identifiers)])


def _charge(item: RateLimitItem, identifiers: tuple[str, ...]) -> Charge:
    rate = Rate(item.amount, item.get_expiry() * NANOSECONDS, item.amount, GCRA)
    # A54: the library joins the parts of a key with "/", which names may hold themselves.
    return Charge.of("limits", bucket_key("limits", *identifiers, str(rate.period_ns)), str(item), rate)


def _window(key: str, expiry: int) -> Charge:
    rate = Rate(1_000_000_000, expiry * NANOSECONDS, 1, FIXED_WINDOW, calendar=Calendar("second", max(1, expiry)))
    return Charge.of("limits", bucket_key("limits", "window", key), "", rate)


def _log(count: int, expiry: int) -> Rate:
    return Rate(count, expiry * NANOSECONDS, count, SLIDING_LOG)
