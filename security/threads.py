"""Real threads, under gevent and without it: work that must not stop the hub runs here.

Once gevent has patched, `threading` is about greenlets. What blocks in C (a commit that waits for the disk, 220,000 rounds
of a hash) needs a thread of the operating system, and the greenlet that asked waits while the hub goes on. Where
gevent has not patched (commands, tests), and in a thread that is real already (a blocking service), the work
runs at once, in place.

>>> Threads(1).run(lambda: 6 * 7)
42
"""

from __future__ import annotations

import _thread
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class NativeLock(Protocol):
    """A lock of the operating system's threads: greenlets of one thread must never wait for it."""

    def __enter__(self) -> bool: ...
    def __exit__(self, *exc: object) -> None: ...


def patched() -> bool:
    """Whether gevent has replaced `threading` in this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def native_ident() -> int:
    """The identity of the operating system's thread; after patching, `threading.get_ident` names a greenlet."""
    return int(_original("get_ident")())


def native_lock() -> NativeLock:
    """A lock that excludes real threads."""
    return _original("allocate_lock")()  # type: ignore[no-any-return]


def give_way() -> None:
    """Let every socket that is ready be served first: long work on the hub calls it now and then. Elsewhere it does nothing.

    WHY: ``gevent.sleep(0)`` lets other callbacks go first and nobody else: the hub runs these for up to 5 ms, or fifty of them,
    before it looks at its sockets. A wait for what is always ready goes by way of the sockets. PERF: 17 us.
    """
    gevent = sys.modules.get("gevent")
    # A greenlet of a hub's has the hub as its parent; nothing else has a parent with a loop.
    hub: Any = gevent.getcurrent().parent if gevent is not None else None
    if not hasattr(hub, "loop"):
        return
    ready = hub.loop.io(_always_writable(), 2, priority=hub.loop.MINPRI)
    try:
        hub.wait(ready)
    finally:
        ready.close()


@cache
def _always_writable() -> int:
    """A descriptor that is always ready to be written to: a pipe that nobody writes to."""
    _, writing = os.pipe()
    return writing


class Threads:
    """A few real threads, started when first needed, at home in the thread that made them: its hub is never blocked.

    *count* of them work at once and at most *waiting* greenlets wait for their turn; None is no bound.
    """

    def __init__(self, count: int, *, waiting: int | None = None) -> None:
        self.count = count
        self.waiting = waiting
        self._home = native_ident()
        self._pool: Any = None
        self._asked = 0

    @property
    def full(self) -> bool:
        """Whether every thread is busy and nobody may wait any more."""
        return self.waiting is not None and self._asked >= self.count + self.waiting

    def on_hub(self) -> bool:
        """Whether the caller is a greenlet of the home thread, whose hub must go on."""
        return patched() and native_ident() == self._home

    def run(self, work: Callable[[], T]) -> T:
        """What *work* returns; what it raises is raised here, with its traceback. *work* must not touch greenlets.

        A greenlet that is killed while it waits leaves *work* running to its end.
        """
        if not self.on_hub():
            return work()
        if self._pool is None:
            from gevent.threadpool import ThreadPool

            self._pool = ThreadPool(self.count)
        self._asked += 1
        try:
            value, error = self._pool.apply(_captured, (work,))
        finally:
            self._asked -= 1
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the threads; work that has begun is finished first."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.join()
            pool.kill()


def _captured(work: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    # WHY: gevent prints the traceback of every exception that leaves a pool thread, the expected ones too.
    try:
        return work(), None
    except BaseException as error:
        return None, error


def _original(name: str) -> Any:
    monkey = sys.modules.get("gevent.monkey")
    return monkey.get_original("_thread", name) if monkey else getattr(_thread, name)
