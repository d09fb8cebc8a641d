"""`Guard`: what keeps services from taking the process down with them.

Deadlines end calls; a bounded number of real threads takes the services that block; a service that holds the hub again and
again is put aside until it is deployed anew.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from backends.deadlines import STALL, Deadline, Deadlines
from security.threads import native_ident, native_lock, patched
from specs.problems import Problem

T = TypeVar("T")

#: So many stalls within so many seconds put a service aside.
STALLS = 3
STALL_WINDOW = 60.0


class Slots:
    """The real threads of services that block; *total* of them, started when first needed.

    A thread cannot be ended: one whose caller has been answered 504 keeps its slot, as *abandoned*, until it ends by
    itself. Where gevent has not patched, work runs in place.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.busy = 0
        self.abandoned = 0
        self._lock = native_lock()
        self._home = native_ident()
        self._pool: Any = None

    @property
    def exhausted(self) -> bool:
        """Whether every slot is held by work that nobody waits for: the worker should be replaced."""
        return self.abandoned >= self.total

    def run(self, work: Callable[[], T], seconds: float) -> T:
        """What *work* returns. Raises what it raises, Deadline after *seconds*, Problem 503 where every slot is taken."""
        if not patched() or native_ident() != self._home:
            return work()
        if self.busy >= self.total:
            raise Problem.of("overloaded", "too many blocking services are running", headers=[("Retry-After", "1")])
        if self._pool is None:
            from gevent.threadpool import ThreadPool

            self._pool = ThreadPool(self.total)
        slot = _Slot(self, work)
        with self._lock:
            self.busy += 1
        try:
            result = self._pool.spawn(slot)
            result.wait(max(seconds, 0))
            if not result.ready():
                raise Deadline(stalled=False)
            value, error = result.get()
        except BaseException:
            slot.abandon()
            raise
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]


class _Slot:
    """One piece of work in a thread."""

    def __init__(self, slots: Slots, work: Callable[[], Any]) -> None:
        self.slots = slots
        self.work = work
        self.ended = False
        self.left = False

    def __call__(self) -> tuple[Any, BaseException | None]:
        # WHY: what leaves a pool thread as an exception is printed by gevent, the expected ones too.
        try:
            return self.work(), None
        except BaseException as error:
            return None, error
        finally:
            with self.slots._lock:
                self.ended = True
                self.slots.busy -= 1
                self.slots.abandoned -= self.left

    def abandon(self) -> None:
        """Nobody waits for this any more."""
        with self.slots._lock:
            if not self.ended and not self.left:
                self.left = True
                self.slots.abandoned += 1


class Suspensions:
    """Services that are put aside because they held the hub too often. A new version of one begins with a clean slate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stalls: dict[tuple[str, int], deque[float]] = {}
        self._suspended: set[tuple[str, int]] = set()

    def check(self, service: str, version: int) -> None:
        """Raise Problem 503 where the service is put aside."""
        if self._suspended and (service, version) in self._suspended:
            raise Problem.of("service-suspended", "this service was put aside until it is deployed again")

    def stalled(self, service: str, version: int) -> bool:
        """Note a stall; whether it was the one too many."""
        now = self._clock()
        stalls = self._stalls.setdefault((service, version), deque(maxlen=STALLS))
        stalls.append(now)
        if len(stalls) == STALLS and now - stalls[0] <= STALL_WINDOW:
            self._suspended.add((service, version))
            return True
        return False

    def names(self) -> list[str]:
        """The services put aside, for the status."""
        return sorted(service for service, _ in self._suspended)


class Guard:
    """One for each process; executors of all snapshots share it.

    *deadline* is that of services which nobody gave another, in seconds; *enforce* is False where nothing is to be watched.
    """

    def __init__(
        self,
        *,
        deadline: float = 30.0,
        stall: float = STALL,
        blocking_slots: int = 16,
        enforce: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.deadline = deadline
        self.deadlines = Deadlines(stall=stall, enforce=enforce)
        self.slots = Slots(blocking_slots)
        self.suspensions = Suspensions(clock)

    def close(self) -> None:
        """End the watching."""
        self.deadlines.close()
