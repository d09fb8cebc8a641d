"""The buckets of a table that count: windows of the calendar, logs of hits, requests that run. (gcra's one number is `shm`'s.)

    fixed-window    one slot: end of the window, hits in it
    sliding-log     one slot for the count, and one for each hit of the last period, which frees itself when it is old enough
    concurrent      one slot for each worker that holds any; those of a worker that died are dropped when somebody needs them

Whoever calls holds the table's lock.
"""

from __future__ import annotations

from collections.abc import Callable

from security.limits import CONCURRENT, FIXED_WINDOW, NANOSECONDS, SLIDING_LOG, Charge
from security.limits.table import MAX_WORKERS, Place, Table, Writes

#: Cells of a sliding log are numbered round this ring; a log has fewer hits (`rules.MAX_LOG`).
RING = 16_384
#: A request that has not ended after so long is no longer counted as one that runs.
LONGEST_HOLD = 3600 * NANOSECONDS
#: What is missing where the table is full.
NO_ROOM = -1

_COUNT_MASK = (1 << 32) - 1

Standing = tuple[int, int]
#: How a bucket stands, how it will stand, and the nanoseconds that are missing (0: it pays; or `NO_ROOM`).
Taken = tuple[Standing, Standing, int]


class Counts:
    """Those buckets of *table*. *wall* tells the time of day in nanoseconds."""

    def __init__(self, table: Table, wall: Callable[[], int]) -> None:
        self._table = table
        self._wall = wall

    def take(self, one: Charge, now: int, writes: Writes) -> Taken:
        """How the bucket stands and will stand, and what is missing; what fits is put into *writes*."""
        place = self._table.place(one.key)
        if one.algorithm == SLIDING_LOG:
            return self._log(one, place, now, writes)
        if one.algorithm == CONCURRENT:
            return self._hold(one, place, now, writes)
        used, until = self._window(one, place, now, writes)
        standing = (used, until - now)
        if used + one.cost > one.rate.count:
            return standing, standing, until - now
        done = self._table.put(place, until, used + one.cost, now, writes)
        return standing, (used + one.cost, until - now), 0 if done else NO_ROOM

    def add(self, one: Charge, now: int, writes: Writes) -> None:
        """Count afterwards what is due, where that can be: in windows."""
        if one.algorithm == FIXED_WINDOW:
            place = self._table.place(one.key)
            used, until = self._window(one, place, now, writes)
            self._table.put(place, until, max(0, min(used + one.cost, 2 * one.rate.count)), now, writes)

    def release(self, one: Charge, now: int) -> None:
        """A request that this process let in is over."""
        table = self._table
        seat = table.seat(table.place(one.key), RING + table.worker)
        if table.worker >= 0 and table.find(seat):
            word = seat.slot // 8
            held = max(0, (table.words[word + 3] & _COUNT_MASK) - one.cost)
            table.words[word + 3] = table.generation(table.worker) << 32 | held
            table.words[word + 2] = now + LONGEST_HOLD if held else 0

    def seats(self, one: Charge) -> list[Place]:
        """Every place that belongs to the bucket, its own among them."""
        table = self._table
        place = table.place(one.key)
        if one.algorithm == CONCURRENT:
            return [table.seat(place, RING + number) for number in range(MAX_WORKERS)]
        if one.algorithm == SLIDING_LOG:
            _, packed = table.state(place, 0, {})
            cells = range(1, (packed & 0xFFFFF) % RING + 1)
            return [place, *(table.seat(place, ((packed >> 20) - number) % RING) for number in cells)]
        return [place]

    def _window(self, one: Charge, place: Place, now: int, writes: Writes) -> tuple[int, int]:
        """The hits in the present window of the calendar, and when it ends, by the clock of *now*."""
        calendar = one.rate.calendar
        assert calendar is not None
        until = used = 0
        if place.digest in writes:
            _, _, until, used = writes[place.digest]
        elif self._table.find(place):
            word = place.slot // 8
            until, used = self._table.words[word + 2], self._table.words[word + 3]
        if now < until <= now + 2 * calendar.longest_ns:
            return used, until
        return 0, now + calendar.remaining_ns(self._wall(), now - until if 0 < until <= now else None)

    def _log(self, one: Charge, place: Place, now: int, writes: Writes) -> Taken:
        """The hits of the last period: a ring of cells, each a slot of its own that is free as soon as its hits are old enough.

        The bucket's own slot knows the number of the next cell and the hits that are counted. A cell stands at the number of
        its first hit; the numbers of further hits (of a higher cost) have none.
        """
        table = self._table
        latest, packed = table.state(place, now, writes)
        head, used = packed >> 20, packed & 0xFFFFF
        count, looked, until = one.rate.count, 0, 0
        # PERF: what is old is dropped a few at a time; what is left is counted until the next hit, which only asks for more.
        while used and (used + one.cost > count or looked < 32):
            until, _ = table.state(table.seat(place, (head - used) % RING), now, writes)
            if until:
                break
            used, looked = used - 1, looked + 1
        standing = (used, (until or latest) - now if used else 0)
        if used + one.cost > count:
            free, number = count - used, used
            while free < one.cost and number > 0:
                until, hits = table.state(table.seat(place, (head - number) % RING), now, writes)
                hits = max(1, hits)
                free, number = free + hits, number - hits
            return standing, standing, max(1, until - now)
        # Clocks read by two processes may come in the wrong order; the log never does.
        until = max(now + one.rate.period_ns, latest)
        value = (head + one.cost) % RING << 20 | used + one.cost
        done = table.put(table.seat(place, head), until, one.cost, now, writes)
        done = done and table.put(place, until, value, now, writes)
        return standing, (used + one.cost, until - now), 0 if done else NO_ROOM

    def _hold(self, one: Charge, place: Place, now: int, writes: Writes) -> Taken:
        """Requests that run: a slot for each worker, since what a worker held ends with it."""
        table = self._table
        mine = table.worker_number()
        held = [0] * table.workers()
        for number in range(len(held)):
            until, value = table.state(table.seat(place, RING + number), now, writes)
            if until and value >> 32 == table.generation(number):
                held[number] = value & _COUNT_MASK
        if sum(held) + one.cost > one.rate.count:
            # Only now is it asked who has died: nobody was refused on account of the dead so far.
            for number, count in enumerate(held):
                if count and number != mine and not table.worker_lives(number):
                    table.count_out(number)
                    held[number] = 0
        standing = (sum(held), 0)
        if standing[0] + one.cost > one.rate.count:
            return standing, standing, NANOSECONDS
        value = table.generation(mine) << 32 | held[mine] + one.cost
        done = table.put(table.seat(place, RING + mine), now + LONGEST_HOLD, value, now, writes)
        return standing, (standing[0] + one.cost, 0), 0 if done else NO_ROOM
