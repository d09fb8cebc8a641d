"""Locks between all processes of an installation: ``with self.lock("billing", ttl=20, block=10): ...``.

A lock is a lease under a name of its own, so it ends with its *ttl* where its holder died, and only its holder can release it.

>>> import tempfile
>>> from security.database import metadata, open_database
>>> database = open_database(tempfile.mkdtemp())
>>> database.write(lambda connection: metadata.create_all(connection))
>>> lock = Locks(database)
>>> with lock("billing"):
...     with lock("billing", block=False):
...         pass
Traceback (most recent call last):
backends.locks.LockNotAcquired: the lock 'billing' is held by somebody else
>>> database.close()
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from backends.clock import Clock, utc_now
from backends.leases import Lease
from security.database import Database
from specs.problems import BackendUnavailable

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.25


class LockNotAcquired(BackendUnavailable):
    """Somebody else held the lock for as long as we were ready to wait."""


class Locks:
    """``self.lock``. *sleep* lets others run meanwhile; with gevent's patches `time.sleep` does."""

    def __init__(
        self, database: Database, *, clock: Clock = utc_now, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.database = database
        self.clock = clock
        self.sleep = sleep

    @contextmanager
    def __call__(self, name: str, ttl: float = 20, block: float | bool = 10) -> Iterator[Lease]:
        """Hold the lock *name* for the body, for at most *ttl* seconds; wait for it for *block* seconds (False: not at all).

        Gives the lease: its `token` grows with each holder, `renew` gives the body more time. Raises LockNotAcquired.
        """
        lease = Lease(self.database, f"lock:{name}", secrets.token_hex(12), ttl=ttl, clock=self.clock)
        # WHY: True is what older code passes for "wait"; nothing here waits for ever.
        self._wait_for(lease, name, 10.0 if block is True else float(block))
        try:
            yield lease
        finally:
            if not lease.release():
                log.warning(
                    "the lock '%s' was lost before its holder was done: give it a longer ttl than %gs", name, ttl
                )

    def _wait_for(self, lease: Lease, name: str, patience: float) -> None:
        end = self.clock() + timedelta(seconds=patience)
        pause = FIRST_PAUSE
        while lease.acquire() is None:
            left = (end - self.clock()).total_seconds()
            if left <= 0:
                raise LockNotAcquired(f"the lock '{name}' is held by somebody else")
            self.sleep(min(pause, left))
            pause = min(pause * 2, LONGEST_PAUSE)
