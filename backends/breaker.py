"""A circuit breaker: after so many failures in a row a system is left alone for a while.

Closed, calls pass. After *failures* in a row it opens: calls are refused at once. After *pause* seconds it is half open:
one call is let through; its success closes the breaker, its failure opens it again.

>>> now = [0.0]
>>> breaker = Breaker("erp", failures=2, pause=10, clock=lambda: now[0])
>>> for _ in range(2):
...     breaker.admit()
...     breaker.failed()
>>> breaker.state
'open'
>>> now[0] = 10.0
>>> breaker.admit()
>>> breaker.succeeded()
>>> breaker.state
'closed'
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from specs.problems import BackendUnavailable


class Breaker:
    """Whether one system is worth a call. Each `admit` is followed by one of `succeeded`, `failed` and `abandoned`."""

    def __init__(
        self, name: str, *, failures: int = 5, pause: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.failures = failures
        self.pause = pause
        self.clock = clock
        #: Whether calls pass without a look.
        self.closed = True
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> Literal["closed", "open", "half-open"]:
        """What would become of a call made now."""
        if self._opened_at is None:
            return "closed"
        return "half-open" if self.clock() - self._opened_at >= self.pause and not self._probing else "open"

    def admit(self) -> None:
        """Let a call through, or raise BackendUnavailable."""
        if self.closed:
            return
        if self.state == "open":
            raise BackendUnavailable(f"{self.name}: not called, it failed {self._in_a_row} times in a row")
        self._probing = True

    def succeeded(self) -> None:
        """The system answered, whatever it said."""
        if self._in_a_row:
            self._in_a_row = 0
            self._opened_at = None
            self.closed = True
            self._probing = False

    def failed(self) -> None:
        """The system could not be reached, did not answer in time, or did not speak the protocol."""
        self._in_a_row += 1
        # A call that was let through before the breaker opened must not push the pause further away.
        if self.failures and self._in_a_row >= self.failures and (self._opened_at is None or self._probing):
            self._opened_at = self.clock()
            self.closed = False
        self._probing = False

    def abandoned(self) -> None:
        """The call was given up for a reason that says nothing of the system."""
        self._probing = False
