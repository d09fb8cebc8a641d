"""Deadlines: how a service that waits, or loops, is ended when its time is up.

Two things end a call. A timer of the hub throws `Deadline` into a greenlet that *waits* past its deadline. A real thread
watches the hub: where it has not come round, because a service *loops*, the thread signals the main thread, whose handler
raises `Deadline` in the very frame that runs. `Deadline` is no Exception, so that ``except Exception: pass`` in a loop does
not swallow it; a bare ``except:`` in an endless loop, and a loop in C, cannot be stopped (gunicorn's timeout kills that worker).

A service that holds the hub for `STALL` seconds of processor time is ended even before its deadline: nobody else is served
meanwhile. Long computations belong into ``blocking = True``.

All this needs gevent's patches and the main thread. Elsewhere (commands, tests, real threads) `Deadlines` enforces nothing.
"""

from __future__ import annotations

import _thread
import os
import signal
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

from security.threads import native_ident, patched

#: How often a waiting service is looked at, in seconds: a deadline is late by so much at most.
SWEEP = 0.05
#: How often the hub is looked at by the real thread.
WATCH = 0.1
#: A hub that has not come round for so long is standing still.
STILL = 0.25
#: The longest that a service may compute without giving way, in seconds of processor time.
STALL = 1.0

SIGNAL = signal.SIGPROF


class Deadline(BaseException):
    """The time of a call is up. *stalled* tells that the service held the hub."""

    def __init__(self, stalled: bool) -> None:
        super().__init__(stalled)
        self.stalled = stalled


class Watched:
    """A call in progress: until when, and the call around it in the same greenlet.

    Nothing is raised before it is *armed*, which who entered does when it is ready to catch.
    """

    __slots__ = ("armed", "deadline", "outer", "raised_at")

    def __init__(self, deadline: float, outer: Watched | None) -> None:
        self.deadline = deadline
        self.outer = outer
        self.raised_at = 0.0
        self.armed = False


class Deadlines:
    """Ends calls whose time is up. One for each process, made by its main thread; *stall* is in seconds of processor time.

    `enforced` tells whether it does so: where it can, and *enforce* is not False. `close` ends the watching.
    """

    def __init__(self, *, stall: float = STALL, enforce: bool = True) -> None:
        self.stall = stall
        self._calls: dict[Any, Watched] = {}
        self._hub: Any = None
        self._main = native_ident()
        self._closed = False
        self._ticked = time.monotonic()
        self._suspect: Watched | None = None
        self._suspect_since = 0.0
        self.enforced = enforce and patched() and _is_main_thread()
        if self.enforced:
            self._begin()

    def enter(self, deadline: float) -> Watched | None:
        """Watch the running greenlet from now on; *deadline* is on `time.monotonic`'s clock. None where nothing is enforced."""
        # PERF: one dict entry a call and one sweep of them all each 50 ms: 0.6 us to enter and leave, a gevent.Timeout 2.4.
        if self._hub is None or self._ident() != self._main:
            return None
        current = self._current()
        outer = self._calls.get(current)
        watched = self._calls[current] = Watched(deadline, outer)
        return watched

    def leave(self, watched: Watched | None) -> None:
        """Watch no longer: what `enter` gave is over. Again is no harm."""
        if watched is None:
            return
        current = self._current()
        if watched.outer is None:
            self._calls.pop(current, None)
        else:
            self._calls[current] = watched.outer

    def close(self) -> None:
        """End the watching thread and the timer."""
        self._closed = True
        if self._hub is not None:
            self._timer.stop()
            self._timer.close()
            self._hub = None
            signal.signal(SIGNAL, signal.SIG_IGN)

    def _begin(self) -> None:
        import gevent
        from gevent import monkey

        self._hub = gevent.get_hub()
        self._current: Callable[[], Any] = gevent.getcurrent
        self._ident: Callable[[], int] = monkey.get_original("_thread", "get_ident")
        self._processor_clock = time.pthread_getcpuclockid(self._main)
        self._timer = self._hub.loop.timer(SWEEP, SWEEP, ref=False)
        self._timer.start(self._sweep, update=False)
        signal.signal(SIGNAL, self._interrupt)
        # WHY: after patching, `threading` and `time.sleep` are gevent's; the watcher must be a real thread that really sleeps.
        sleep: Callable[[float], None] = monkey.get_original("time", "sleep")
        monkey.get_original("_thread", "start_new_thread")(_watch, (weakref.ref(self), sleep))

    def _sweep(self) -> None:
        """In the hub: it has come round; end those that wait past their deadline."""
        now = self._ticked = time.monotonic()
        self._suspect = None
        if not self._calls:
            return
        for greenlet, watched in list(self._calls.items()):
            if watched.deadline <= now and self._may_raise(watched, now) and self._calls.get(greenlet) is watched:
                watched.raised_at = now
                greenlet.throw(Deadline(stalled=False))

    def look(self) -> bool:
        """In the real thread: signal the main thread where the hub stands still. False when the watching is over."""
        if self._closed:
            return False
        if time.monotonic() - self._ticked > STILL and self._calls:
            # WHY: pthread_kill takes the native identity; threading's is a greenlet's.
            signal.pthread_kill(self._main, SIGNAL)
        return True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, in the frame that holds the hub: raise there, if it is a call that has held it for too long.

        The first signal only notes whose call it is, so that none pays for what others did before it.
        """
        now = time.monotonic()
        if self._hub is None or now - self._ticked <= STILL:
            return
        watched = self._watched_by(self._current())
        if watched is None:
            return
        outermost = watched
        while outermost.outer is not None:
            outermost = outermost.outer
        processor = time.clock_gettime(self._processor_clock)
        if outermost is not self._suspect:
            self._suspect = outermost
            self._suspect_since = processor
        elif (watched.deadline <= now or processor - self._suspect_since > self.stall) and self._may_raise(
            watched, now
        ):
            watched.raised_at = now
            raise Deadline(stalled=True)

    def _watched_by(self, greenlet: Any) -> Watched | None:
        """The call that *greenlet* belongs to: its own, or that of the greenlet which spawned it."""
        for _ in range(8):
            watched = self._calls.get(greenlet)
            if watched is not None or greenlet is None:
                return watched
            spawning = getattr(greenlet, "spawning_greenlet", None)
            greenlet = spawning() if spawning is not None else None
        return None

    def _may_raise(self, watched: Watched, now: float) -> bool:
        # WHY: cleaning up takes a moment; a service that swallowed the first one gets another.
        return watched.armed and now - watched.raised_at > 1.0


def _watch(reference: weakref.ref[Deadlines], sleep: Callable[[float], None]) -> None:
    while True:
        sleep(WATCH)
        deadlines = reference()
        if deadlines is None or not deadlines.look():
            return
        del deadlines


def _is_main_thread() -> bool:
    # On Linux the main thread's number is the process's; threading's own idea of it does not survive a fork.
    return _thread.get_native_id() == os.getpid()
