"""A bound on the time that somebody else's code may take while it is imported and checked: `within`.

>>> import time
>>> with within(0.05):
...     while True:
...         pass
Traceback (most recent call last):
    ...
backends.deadlines.Deadline: True
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from backends.deadlines import Deadline, Deadlines
from security.threads import patched

#: Code that catches everything, and goes on, is told again so often, in seconds.
AGAIN = 0.5


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `Deadline` in whatever runs inside when it has taken *seconds*, waiting or looping.

    A command has a timer of the system for it, a process that gevent has patched its own watching. Neither reaches a loop
    in C, or work outside the main thread: such work is done in a process of its own, which can be killed.
    """
    if patched():
        deadlines = Deadlines(stall=seconds)
        watched = deadlines.enter(time.monotonic() + seconds)
        try:
            if watched is not None:
                watched.armed = True
            yield
        finally:
            deadlines.leave(watched)
            deadlines.close()
    elif threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    else:
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Deadline(stalled=True)
