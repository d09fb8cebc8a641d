"""Stamps: numbers in a small file that every process of a machine maps. One changes when what it stands for has changed.

Whoever keeps a copy of something keeps its stamp too, and asks for nothing as long as the stamp is the same. Names share places, so
a stamp may change for another's sake: a copy is then read again for nothing. There is no list of names and nothing to sweep.

>>> stamps = Stamps()
>>> place = stamps.place("ann")
>>> before = stamps[place]
>>> stamps.change("ann")
>>> stamps[place] == before
False
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

#: PERF: 512 KiB. A look at a place takes 0.05 us.
PLACES: Final = 65_536
_WORD: Final = 8
#: Where an installation keeps them, in its data folder.
FILE_NAME: Final = "stamps"
#: The place that stands for everything.
ALL: Final = 0


class Standing(NamedTuple):
    """The stamps that something was read under: those of its own place, and of everything."""

    place: int
    stamp: int
    everything: int


class Stamps:
    """The stamps in the file *path*, made where it is missing; of this process alone without one.

    A stamp is the moment of the last change, in nanoseconds of *clock*, which is one for the machine: `since` tells whether
    something changed while it was being read. Opened after the fork. Raises OSError.
    """

    def __init__(self, path: Path | None = None, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.clock = clock
        self._file = -1
        if path is None:
            self._memory = mmap.mmap(-1, PLACES * _WORD)
        else:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # A file that is there already keeps what is in it.
            os.ftruncate(self._file, PLACES * _WORD)
            self._memory = mmap.mmap(self._file, PLACES * _WORD)
        # One store to an aligned word cannot be seen half done.
        self._words = memoryview(self._memory).cast("Q")
        if path is not None:
            with self._lock():
                self._forget_before_start()

    def __getitem__(self, place: int) -> int:
        return self._words[place]

    def place(self, name: str) -> int:
        """Where the stamp of *name* is: the same in each process."""
        return 1 + crc32(name.encode()) % (PLACES - 1)

    def change(self, *names: str) -> None:
        """What *names* stand for has changed, and is there for everybody to read already."""
        self._stamp(map(self.place, names))

    def change_all(self) -> None:
        """Everything has changed."""
        self._stamp((ALL,))

    def unchanged(self, place: int, since: int) -> Standing | None:
        """What to compare with later, where neither *place* nor everything changed from the moment *since* on; else None."""
        stamp, everything = self._words[place], self._words[ALL]
        return Standing(place, stamp, everything) if stamp < since and everything < since else None

    def stands(self, standing: Standing) -> bool:
        """Whether nothing has changed since `unchanged` gave that."""
        # PERF: 0.2 us; it is asked with each request of a person.
        place, stamp, everything = standing
        words = self._words
        return words[place] == stamp and words[ALL] == everything

    def close(self) -> None:
        """Give the file back; others go on with it."""
        self._words.release()
        self._memory.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _stamp(self, places: Iterable[int]) -> None:
        # SECURITY: S24. One writer at a time, so that a slower one never puts an older moment over a newer one.
        with self._lock():
            now = self.clock()
            for place in places:
                self._words[place] = now

    def _forget_before_start(self) -> None:
        # WHY: the clock begins anew with the machine. A moment to come is of before that, and nothing of then is remembered.
        now = self.clock()
        if max(self._words) > now:
            for place, stamp in enumerate(self._words):
                if stamp > now:
                    self._words[place] = 0

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # The kernel frees the lock of a process that dies.
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if self._file >= 0:
                fcntl.flock(self._file, fcntl.LOCK_UN)
