"""A store that may be lost, and found again without a stampede: `GuardedStore`, around a store that another process serves.

The first failure marks the store as lost; from then on debits fail at once, without waiting for a timeout each. One caller at a
time tries the store again, after pauses of random length, and its success ends the loss for all of the process.

**How far processes may disagree.** Each finds the loss, and the return, by itself. A store that answers again is found by every
process that is asked something within `LONGEST_ABSENCE` seconds; until then some count in it and others their own shares.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from security.limits import Charge, Decision, Store, StoreUnavailable

T = TypeVar("T")
#: Seconds between two tries, at random from half to one and a half of this. WHY so short: while one process counts its share and
#: another has found the store again, more is let in than either alone would; two tries a second and process are no stampede.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5
#: Seconds that a try may take: the patience of the store's client.
PATIENCE = 1.0
#: Seconds after which every process that is asked something has found a store that answers again.
LONGEST_ABSENCE = 1.5 * LONGEST_PAUSE + PATIENCE


class GuardedStore(Store):
    """*store*, whose loss is noticed. *lost_since* is a moment of *clock*, None while it is there.

    *failures* are calls that failed, *losses* the times that it was lost, *returns* the times that it was found again.
    """

    def __init__(
        self, store: Store, *, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self.lost_since: float | None = None
        self.reason = ""
        self.failures = self.losses = self.returns = 0
        self._absent = 0.0
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
            returns = self.returns
            try:
                return self._store.debit(charges, now_ns)
            except StoreUnavailable as error:
                self._lose(error, returns)
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

    @property
    def absent_s(self) -> float:
        """Seconds that the store was lost for, all losses together."""
        return self._absent + (0.0 if self.lost_since is None else self._clock() - self.lost_since)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _call(self, work: Callable[[], T]) -> T:
        if self.lost_since is not None:
            if self._trying or self._clock() < self._next:
                raise StoreUnavailable(f"the store of limits is lost: {self.reason}")
            self._trying = True
        returns = self.returns
        try:
            found = work()
        except StoreUnavailable as error:
            self._lose(error, returns)
            raise
        finally:
            self._trying = False
        if self.lost_since is not None:
            self._absent = self.absent_s
            self.lost_since = None
            self.returns += 1
        self._pause = FIRST_PAUSE
        return found

    def _lose(self, error: StoreUnavailable, returns: int) -> None:
        now = self._clock()
        self.failures += 1
        self.reason = str(error)
        if returns != self.returns:
            return  # it began before the store was found again: no sign of another loss
        if self.lost_since is None:
            self.lost_since = now
            self.losses += 1
        elif now < self._next:
            return  # one of many that were on their way when the first one failed
        self._next = now + self._pause * (0.5 + self._chance())
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
