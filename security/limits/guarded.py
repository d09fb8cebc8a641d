"""A store that may be lost, and found again without a stampede: `GuardedStore`, around a store that another process serves.

The first failure marks the store as lost; from then on debits fail at once, without waiting for a timeout each. One caller at a
time tries the store again, after ever longer pauses of random length, and its success ends the loss for all of the process.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from security.limits import Charge, Decision, Store, StoreUnavailable

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


class GuardedStore(Store):
    """*store*, whose loss is noticed. *lost_since* is a moment of *clock*, None while it is there; *failures* are counted."""

    def __init__(
        self, store: Store, *, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self.lost_since: float | None = None
        self.reason = ""
        self.failures = 0
        self._store = store
        self._clock = clock
        self._chance = chance
        self._pause = FIRST_PAUSE
        self._next = 0.0
        self._trying = False

    def debit(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """As the store does. Raises StoreUnavailable, at once while the store is lost."""
        if self.lost_since is None:
            # PERF: nothing but this comparison and one call while all is well.
            try:
                return self._store.debit(charges, now_ns)
            except StoreUnavailable as error:
                self._lose(error)
                raise
        return self._call(lambda: self._store.debit(charges, now_ns))

    def peek(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """Likewise."""
        return self._call(lambda: self._store.peek(charges, now_ns))

    def add(self, charges: Sequence[Charge], now_ns: int) -> None:
        """Likewise."""
        self._call(lambda: self._store.add(charges, now_ns))

    def release(self, charges: Sequence[Charge], now_ns: int) -> None:
        """Likewise."""
        self._call(lambda: self._store.release(charges, now_ns))

    def reset(self, charges: Sequence[Charge]) -> None:
        """Likewise."""
        self._call(lambda: self._store.reset(charges))

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _call(self, work: Callable[[], T]) -> T:
        if self.lost_since is not None:
            if self._trying or self._clock() < self._next:
                raise StoreUnavailable(f"the store of limits is lost: {self.reason}")
            self._trying = True
        try:
            found = work()
        except StoreUnavailable as error:
            self._lose(error)
            raise
        finally:
            self._trying = False
        self.lost_since = None
        self._pause = FIRST_PAUSE
        return found

    def _lose(self, error: StoreUnavailable) -> None:
        now = self._clock()
        self.failures += 1
        self.reason = str(error)
        if self.lost_since is None:
            self.lost_since = now
        elif now < self._next:
            return  # one of many that were on their way when the first one failed
        self._next = now + self._pause * (0.5 + self._chance())
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
