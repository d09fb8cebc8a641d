"""The debit as it nearly always is, of a chain made ready once: every bucket is gcra's, has its slot and its rate, and pays.

It gives only what callers are told; whatever is otherwise (a bucket that is new or refuses, a lock that others hold, a journal to
finish, a table that was closed) it leaves alone and untouched, and `shm` decides. There are two, this one and `_chains.c`, which is
the same in C and used where it could be built: they share file, lock and journal, and either finishes what the
other was killed at.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

from security.limits import NANOSECONDS
from security.limits import Chain as Chain
from security.limits.table import (
    ARMED,
    GROUP,
    HEADER_BYTES,
    JOURNAL,
    MAGIC,
    MAX_CHAIN,
    MUTEX,
    RECORDS,
    SLOT_BYTES,
    Place,
    Table,
)

try:
    from security.limits import _chains
except ImportError:  # there was no compiler, or no header of Python's
    _chains = None  # type: ignore[assignment]

_LAYOUT = (MAGIC, SLOT_BYTES, GROUP, HEADER_BYTES, MUTEX, ARMED, JOURNAL, MAX_CHAIN)
#: Whether debits run in C. WHY: one that was built for another layout would write where nothing belongs.
COMPILED = _chains is not None and _chains.LAYOUT == _LAYOUT
#: What the numbers of a bucket may be at most, so that sums of two are numbers of 64 bits.
LARGEST = 1 << 61


class Bucket(NamedTuple):
    """A bucket of a chain: where it is, and what of its `Charge` counts here."""

    digest: bytes
    first: int
    second: int
    interval: int
    capacity: int
    cost: int
    shown: bool


def maker(table: Table, compiled: bool) -> Callable[[Sequence[Bucket]], Chain]:
    """What makes chains of *table*'s buckets, no two of a chain the same. *compiled*: their debits run in C."""
    if not compiled:
        return partial(PythonChain, table)
    native = _chains.Table(table.memory)
    table.at_end.append(native.close)
    return native.chain


class PythonChain:
    """What `_chains.c` does, and how fast Python can be without it."""

    # PERF: a chain of five takes 5 us, lock and journal included; in C 0.4.

    __slots__ = ("_buckets", "_shown", "_table")

    def __init__(self, table: Table, buckets: Sequence[Bucket]) -> None:
        self._table = table
        self._buckets = [
            (Place(one.digest, one.first, one.second), one.digest, one.interval, one.capacity, one.cost)
            for one in buckets
        ]
        self._shown = [(index, one.capacity, one.interval) for index, one in enumerate(buckets) if one.shown]

    def debit(self, now: int, /) -> tuple[int, ...] | None:
        """Take from each bucket: hits left and seconds until there are more, of each that is shown. None: nothing was taken."""
        table = self._table
        if not table.usable or not 0 <= now <= LARGEST:
            return None
        mutex = table.mutex
        if done := mutex.attempt(mutex.place):
            if done == errno.EOWNERDEAD:  # what its holder left is finished by whoever takes it next
                mutex.settle(done)
                mutex.give_back()
            return None
        try:
            debts = self._take(table, now)
        finally:
            mutex.give_back()
        if debts is None:
            return None
        left: list[int] = []
        for index, capacity, interval in self._shown:
            owed = debts[index]
            remaining = (capacity - owed) // interval
            wait = owed if remaining else owed + interval - capacity
            left += (remaining, -(-wait // NANOSECONDS))
        return tuple(left)

    def _take(self, table: Table, now: int) -> list[int] | None:
        words, memory = table.words, table.memory
        if words[ARMED // 8]:
            return None
        flat: list[Any] = [len(self._buckets)]
        debts = []
        places = []
        for place, digest, interval, capacity, cost in self._buckets:
            slot = place.slot
            if not slot or memory[slot : slot + 16] != digest:
                if not table.find(place):
                    return None
                slot = place.slot
            word = slot >> 3
            if words[word + 3] != interval:
                return None
            owed = words[word + 2] - now
            owed = owed + cost if owed > 0 else cost
            if owed > capacity:
                return None
            debts.append(owed)
            places.append(word + 2)
            flat += (slot, digest, now + owed, interval)
        if len(debts) == 1:
            words[word + 2] = now + owed
            return debts
        record = RECORDS[len(debts)].pack(*flat)
        memory[JOURNAL : JOURNAL + len(record)] = record
        words[ARMED // 8] = crc32(record) + 1
        for word, owed in zip(places, debts, strict=True):
            words[word] = now + owed
        words[ARMED // 8] = 0
        return debts
