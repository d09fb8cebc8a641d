"""Credentials that work once: has this nonce been used before, on any worker of this machine?

Nonces live in the table of limits, as buckets that hold one hit: it is shared by all workers, exact, bounded, and forgets no
bucket that is in use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from security.limits import NANOSECONDS, Charge, Rate, Store, StoreUnavailable, bucket_key
from specs.problems import Problem

log = logging.getLogger("gatewright.replay")

FirstUse = Callable[[str, bytes, float], bool]


class Nonces:
    """The nonces that were seen lately. *clock* is that of the store, in nanoseconds."""

    def __init__(self, store: Store, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._store = store
        self._clock = clock

    def first_use(self, definition: str, nonce: bytes, seconds: float) -> bool:
        """Whether *nonce* is used for the first time in *seconds*; from now on it has been.

        Raises Problem overloaded where that cannot be told: a nonce that cannot be remembered is not taken.
        """
        rate = Rate(1, int(seconds * NANOSECONDS), 1)
        charge = Charge.of("nonce", bucket_key("nonce", definition, nonce), "nonce", rate)
        try:
            decision = self._store.debit((charge,), self._clock())
        except StoreUnavailable as error:
            log.error("nonces cannot be remembered: %s", error)
            raise Problem.of("overloaded", "credentials cannot be checked at the moment", headers=RETRY) from error
        if decision.full:
            raise Problem.of("overloaded", "credentials cannot be checked at the moment", headers=RETRY)
        return decision.allowed


RETRY = (("Retry-After", "1"),)
