"""Buckets in one file that every process of the machine maps: exact limits with no other server.

The file is a header and a table of slots of 32 bytes: key digest 16, the moment until which the slot counts 8, a value 8. A key
may live in either of two groups of 16 slots. A slot whose moment is past is free, so the table forgets by itself and holds
only who was here within the last burst. **A full table refuses new keys** and says so (`Decision.full`); it never resets a key
that owes something (A43). 262,144 slots are 8 MiB.

    gcra            one slot: paid until, interval
    fixed-window    one slot: end of the window, hits in it
    sliding-log     one slot for the count, and one for each hit of the last period, which frees itself when it is old enough
    concurrent      one slot for each worker that holds any; those of a worker that died are dropped when somebody needs them

**What kill -9 leaves**, at any instruction: a debit wholly done or not done at all. A chain is first written to a
journal in the header, then armed by one word that holds its checksum; whoever takes the lock next finishes an armed journal.
The lock of a dead process is no lock any more (`security.limits.mutex`). After a reboot the table starts empty, as the clock does.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any
from zlib import crc32

from security.limits import (
    CONCURRENT,
    FIXED_WINDOW,
    GCRA,
    NANOSECONDS,
    SLIDING_LOG,
    Charge,
    Decision,
    Standing,
    Store,
    StoreUnavailable,
    mutex,
)
from security.limits.gcra import owed as gcra_owed
from security.limits.mutex import Mutex
from specs.problems import ConfigurationError

DEFAULT_SLOTS = 262_144
HEADER_BYTES = 16_384
SLOT_BYTES = 32
GROUP = 16
_GROUP_BYTES = GROUP * SLOT_BYTES
MAX_CHAIN = 256
#: Places kept by key, so that a bucket's name is hashed once and not with each hit. A full cache starts anew (A43).
PLACES = 65_536

#: Processes that hold concurrent charges, at most.
MAX_WORKERS = 64
#: Cells of a sliding log are numbered round this ring; a log has fewer hits (`rules.MAX_LOG`).
RING = 16_384
#: A request that has not ended after so long is no longer counted as one that runs.
LONGEST_HOLD = 3600 * NANOSECONDS

_MAGIC = b"GWLIMIT3"
_HEADER = struct.Struct("<8sQ40s32s")  # magic, slots, boot id, key of the digests
_MUTEX = 128
_ARMED, _WORKERS, _GENERATIONS, _JOURNAL = 256, 264, 512, 1024  # the journal: the number of writes, and the writes
_RECORDS = [struct.Struct("<Q" + "Q16sqq" * count) for count in range(MAX_CHAIN + 1)]
_WRITE = struct.Struct("<Q16sqq")  # slot offset, digest, paid until, interval
_COUNT = struct.Struct("<Q")
_SLOT = struct.Struct("<16sqq")


def _lock_request(kind: int, start: int) -> bytes:
    # struct flock of 64-bit Linux: type, whence, start, length, pid
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, 1, 0)


# WHY: locks of the open file (OFD) and not `lockf`: those of a process are lost as soon as anything in it closes any descriptor
# of the file, a backup for instance. Byte 1 guards the opening, bytes from 16 on say which workers live.
_LOCK_OPENING, _UNLOCK_OPENING = (_lock_request(kind, 1) for kind in (fcntl.F_WRLCK, fcntl.F_UNLCK))


_COUNT_MASK = (1 << 32) - 1
_NO_ROOM = -1

# PERF: counted in the child of each fork, since asking for the process id with every debit is a system call (0.2 us).
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class SharedMemoryStore(Store):
    """The buckets of this machine. Opened by each worker after the fork; only one thread of a process, the hub's, uses it.

    *path* lies on a local filesystem. *slots* is the size of a new table; one that others use keeps its own until all have closed
    it. Raises ConfigurationError where the file cannot be made or the filesystem has no room for it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        slots: int = DEFAULT_SLOTS,
        boot_id: str | None = None,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = Path(path)
        self._wall = wall
        self._worker = -1
        if slots < 2 * GROUP:
            raise ConfigurationError("limit_storage", f"{slots} slots are too few", f"give {2 * GROUP} or more")
        self._forks = _forks
        boot = (boot_id or Path("/proc/sys/kernel/random/boot_id").read_text().strip()).encode()
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError("limit_storage", f"cannot open {self.path}", error.strerror or "") from error
        try:
            self.slots = self._prepare(-(-slots // GROUP) * GROUP, boot)
            self._memory = mmap.mmap(self._file, _size(self.slots))
            self._mutex = Mutex(self._memory, _MUTEX)
        except BaseException:
            os.close(self._file)
            raise
        # SECURITY: one store to an aligned word cannot be torn by a kill; every word that counts is written through this view.
        self._words = memoryview(self._memory).cast("q")
        self._digest_key: bytes = _HEADER.unpack_from(self._memory)[3]
        self._places: dict[bytes, _Place] = {}

    def debit(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """Take from every bucket of *charges*, or from none. Raises StoreUnavailable where the store is closed.

        *now_ns* is `time.monotonic_ns()`, read just now: a stale one gives hits away.
        """
        # PERF: `_lock`, without its Python calls.
        mutex = self._mutex
        if self._forks != _forks or (done := mutex.attempt(mutex.place)):
            self._lock(done if self._forks == _forks else 0)
        try:
            if self._words[_ARMED // 8]:
                self._recover()
            decision = self._debit_known(charges, now_ns)
            if decision is None:
                decision, writes = self._decide(charges, now_ns)
                if writes:
                    self._write(list(writes.values()))
            return decision
        finally:
            mutex.give_back()

    def peek(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """What `debit` would say; nothing is taken, and what is owed is shown as it is."""
        self._lock()
        try:
            decision, _ = self._decide(charges, now_ns)
            return decision.before()
        finally:
            self._mutex.give_back()

    def add(self, charges: Sequence[Charge], now_ns: int) -> None:
        """Charge afterwards what is due; nothing is refused, and no bucket owes more than twice what it holds."""
        self._lock()
        try:
            writes: dict[bytes, _Write] = {}
            for one in charges:
                place = self._place(one.key)
                if one.algorithm == GCRA:
                    until, interval = self._state(place, now_ns, writes)
                    owed = gcra_owed(until, interval, now_ns, one.interval_ns, one.capacity_ns)
                    due = min(owed + one.cost_ns, 2 * one.capacity_ns)
                    self._put(place, now_ns + due, one.interval_ns, now_ns, writes)
                elif one.algorithm == FIXED_WINDOW:
                    used, until = self._window(one, place, now_ns, writes)
                    self._put(place, until, min(used + one.cost, 2 * one.rate.count), now_ns, writes)
            self._write(list(writes.values()))
        finally:
            self._mutex.give_back()

    def release(self, charges: Sequence[Charge], now_ns: int) -> None:
        """These concurrent charges, which this process took, are over."""
        self._lock()
        try:
            for one in charges:
                seat = self._seat(self._place(one.key), RING + self._worker)
                if self._worker >= 0 and self._find(seat):
                    word = seat.slot // 8
                    held = max(0, (self._words[word + 3] & _COUNT_MASK) - one.cost)
                    self._words[word + 3] = self._generation(self._worker) << 32 | held
                    self._words[word + 2] = now_ns + LONGEST_HOLD if held else 0
        finally:
            self._mutex.give_back()

    def reset(self, charges: Sequence[Charge]) -> None:
        """Empty these buckets."""
        self._lock()
        try:
            for one in charges:
                place = self._place(one.key)
                seats = [place]
                if one.algorithm == CONCURRENT:
                    seats = [self._seat(place, RING + number) for number in range(MAX_WORKERS)]
                elif one.algorithm == SLIDING_LOG:
                    _, packed = self._state(place, 0, {})
                    seats += [
                        self._seat(place, ((packed >> 20) - n) % RING) for n in range(1, (packed & 0xFFFFF) % RING + 1)
                    ]
                for seat in seats:
                    if self._find(seat):
                        self._words[seat.slot // 8 + 2] = 0
        finally:
            self._mutex.give_back()

    def used(self, now_ns: int) -> int:
        """How many slots hold a bucket that owes something. Reads the whole table: for operators, not for requests."""
        return sum(paid_until > now_ns for _, paid_until, _ in _SLOT.iter_unpack(self._memory[HEADER_BYTES:]))

    def close(self) -> None:
        """Unmap the file; the buckets stay, for the other processes and the next start. Again is no harm."""
        if self._file >= 0:
            self._words.release()
            self._memory.close()
            os.close(self._file)
            self._file = self._forks = -1

    def _debit_known(self, charges: Sequence[Charge], now: int) -> Decision | None:
        """The debit as it nearly always is: every bucket is gcra's, has its slot and its rate, and pays. Else None."""
        # PERF: a chain of 3 takes 5 us here, lock and journal included, where `_decide` takes 9.
        words, memory, places = self._words, self._memory, self._places
        slots: list[int] = []
        flat: list[Any] = []
        before: list[int] = []
        after: list[int] = []
        for _, key, _, _, interval, capacity, cost_ns, _, _, algorithm, _, _ in charges:
            place = places.get(key)
            if place is None or algorithm != GCRA:
                return None
            slot, digest = place.slot, place.digest
            word = slot >> 3
            if not slot or memory[slot : slot + 16] != digest or words[word + 3] != interval:
                return None
            owed = words[word + 2] - now
            if owed < 0:
                owed = 0
            due = owed + cost_ns
            if due > capacity:
                return None
            before.append(owed)
            after.append(due)
            slots.append(word)
            flat += (slot, digest, now + due, interval)
        count = len(slots)
        if count > 1:
            if len(set(slots)) < count or count > MAX_CHAIN:  # the same bucket twice is charged twice
                return None
            record = _RECORDS[count].pack(count, *flat)
            memory[_JOURNAL : _JOURNAL + len(record)] = record
            words[_ARMED // 8] = crc32(record) + 1
            for word, due in zip(slots, after, strict=True):
                words[word + 2] = now + due
            words[_ARMED // 8] = 0
        elif slots:
            words[word + 2] = now + due
        return Decision(charges, before, after)

    def _decide(self, charges: Sequence[Charge], now: int) -> tuple[Decision, dict[bytes, _Write]]:
        words = self._words
        before: list[Standing] = []
        after: list[Standing] = []
        writes: dict[bytes, _Write] = {}
        settled: dict[bytes, _Write] = {}
        violated: list[str] = []
        shadowed: list[str] = []
        wait = 0
        full = False
        for one in charges:
            place = self._places.get(one.key) or self._place(one.key)
            if one.algorithm != GCRA:
                standing, late, missing = self._other(one, place, now, writes)
                before.append(standing)
                after.append(late)
                if missing == _NO_ROOM:
                    full, missing = True, NANOSECONDS
            else:
                owed = 0
                slot = place.slot if self._find(place) else 0
                if slot:
                    word = slot // 8
                    if (paid_until := words[word + 2]) > now:
                        interval = words[word + 3]
                        owed = paid_until - now
                        # PERF: nearly always nothing is to be worked out: 0.25 us less for each bucket.
                        if interval != one.interval_ns or owed > one.capacity_ns:
                            owed = gcra_owed(paid_until, interval, now, one.interval_ns, one.capacity_ns)
                        if interval != one.interval_ns or owed != paid_until - now:
                            settled[place.digest] = (slot, place.digest, now + owed, one.interval_ns)
                    elif writes and _taken(slot, writes):
                        slot = 0
                if place.digest in writes:  # the same bucket twice in one chain is charged twice
                    slot, _, paid_until, _ = writes[place.digest]
                    owed = paid_until - now
                before.append(owed)
                missing = owed + one.cost_ns - one.capacity_ns
                if missing <= 0:
                    slot = slot or self._free(place, now, writes)
                    if slot:
                        due = owed + one.cost_ns
                        after.append(due)
                        writes[place.digest] = (slot, place.digest, now + due, one.interval_ns)
                        continue
                    # SECURITY: A43. No room: who is new is refused, and nobody who owes is forgotten for it.
                    full, missing = True, one.interval_ns
                after.append(owed)
            if missing <= 0:
                continue
            if one.shadow:
                shadowed.append(one.policy)
                if place.digest in settled:
                    writes.setdefault(place.digest, settled[place.digest])
            else:
                violated.append(one.policy)
                wait = max(wait, missing)
        if violated:
            # WHY: what a bucket owes under a new rate is kept even now, or it would be worked out from the old one for ever.
            writes, after = settled, before
        return Decision(
            charges, before, after, violated=tuple(violated), shadowed=tuple(shadowed), retry_after_ns=wait, full=full
        ), writes

    def _other(
        self, one: Charge, place: _Place, now: int, writes: dict[bytes, _Write]
    ) -> tuple[tuple[int, int], tuple[int, int], int]:
        """How a bucket that is not gcra's stands and will stand, and what is missing; what fits is put into *writes*."""
        if one.algorithm == SLIDING_LOG:
            return self._log(one, place, now, writes)
        if one.algorithm == CONCURRENT:
            return self._hold(one, place, now, writes)
        used, until = self._window(one, place, now, writes)
        standing = (used, until - now)
        if used + one.cost > one.rate.count:
            return standing, standing, until - now
        done = self._put(place, until, used + one.cost, now, writes)
        return standing, (used + one.cost, until - now), 0 if done else _NO_ROOM

    def _window(self, one: Charge, place: _Place, now: int, writes: dict[bytes, _Write]) -> tuple[int, int]:
        """The hits in the present window of the calendar, and when it ends, by the clock of *now*."""
        calendar = one.rate.calendar
        assert calendar is not None
        until = used = 0
        if place.digest in writes:
            _, _, until, used = writes[place.digest]
        elif self._find(place):
            word = place.slot // 8
            until, used = self._words[word + 2], self._words[word + 3]
        if now < until <= now + 2 * calendar.longest_ns:
            return used, until
        return 0, now + calendar.remaining_ns(self._wall(), now - until if 0 < until <= now else None)

    def _log(
        self, one: Charge, place: _Place, now: int, writes: dict[bytes, _Write]
    ) -> tuple[tuple[int, int], tuple[int, int], int]:
        """The hits of the last period: a ring of cells, each a slot of its own that is free as soon as its hits are old enough.

        The bucket's own slot knows the number of the next cell and the hits that are counted. A cell stands at the number of
        its first hit; the numbers of further hits (of a higher cost) have none.
        """
        latest, packed = self._state(place, now, writes)
        head, used = packed >> 20, packed & 0xFFFFF
        count, looked, until = one.rate.count, 0, 0
        # PERF: what is old is dropped a few at a time; what is left is counted until the next hit, which only asks for more.
        while used and (used + one.cost > count or looked < 32):
            until, _ = self._state(self._seat(place, (head - used) % RING), now, writes)
            if until:
                break
            used, looked = used - 1, looked + 1
        standing = (used, (until or latest) - now if used else 0)
        if used + one.cost > count:
            free, number = count - used, used
            while free < one.cost and number > 0:
                until, hits = self._state(self._seat(place, (head - number) % RING), now, writes)
                hits = max(1, hits)
                free, number = free + hits, number - hits
            return standing, standing, max(1, until - now)
        # Clocks read by two processes may come in the wrong order; the log never does.
        until = max(now + one.rate.period_ns, latest)
        value = (head + one.cost) % RING << 20 | used + one.cost
        done = self._put(self._seat(place, head), until, one.cost, now, writes)
        done = done and self._put(place, until, value, now, writes)
        return standing, (used + one.cost, until - now), 0 if done else _NO_ROOM

    def _hold(
        self, one: Charge, place: _Place, now: int, writes: dict[bytes, _Write]
    ) -> tuple[tuple[int, int], tuple[int, int], int]:
        """Requests that run: a slot for each worker, since what a worker held ends with it."""
        mine = self._number()
        held = [0] * self._words[_WORKERS // 8]
        for number in range(len(held)):
            until, value = self._state(self._seat(place, RING + number), now, writes)
            if until and value >> 32 == self._generation(number):
                held[number] = value & _COUNT_MASK
        if sum(held) + one.cost > one.rate.count:
            # Only now is it asked who has died: nobody was refused on account of the dead so far.
            for number, count in enumerate(held):
                if count and number != mine and not self._lives(number):
                    self._words[_GENERATIONS // 8 + number] += 1
                    held[number] = 0
        standing = (sum(held), 0)
        if standing[0] + one.cost > one.rate.count:
            return standing, standing, NANOSECONDS
        value = self._generation(mine) << 32 | held[mine] + one.cost
        done = self._put(self._seat(place, RING + mine), now + LONGEST_HOLD, value, now, writes)
        return standing, (standing[0] + one.cost, 0), 0 if done else _NO_ROOM

    def _number(self) -> int:
        """The number of this process among those that hold concurrent charges; its lock says that it lives."""
        if self._worker < 0:
            for number in range(MAX_WORKERS):
                try:
                    fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _lock_request(fcntl.F_WRLCK, 16 + number))
                except BlockingIOError:
                    continue
                self._worker = number
                self._words[_GENERATIONS // 8 + number] += 1  # what an earlier holder of the number held is over
                self._words[_WORKERS // 8] = max(self._words[_WORKERS // 8], number + 1)
                break
            else:
                raise StoreUnavailable(f"more than {MAX_WORKERS} processes count concurrent requests in {self.path}")
        return self._worker

    def _lives(self, number: int) -> bool:
        found = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, _lock_request(fcntl.F_WRLCK, 16 + number))
        return bool(struct.unpack_from("h", found)[0] != fcntl.F_UNLCK)

    def _generation(self, number: int) -> int:
        return self._words[_GENERATIONS // 8 + number] & 0x7FFFFFFF

    def _state(self, place: _Place, now: int, writes: dict[bytes, _Write]) -> tuple[int, int]:
        """The two words of a bucket's slot, 0 and 0 where it owes nothing."""
        if place.digest in writes:
            return writes[place.digest][2:]
        if self._find(place):
            word = place.slot // 8
            if (until := self._words[word + 2]) > now:
                return until, self._words[word + 3]
        return 0, 0

    def _put(self, place: _Place, until: int, value: int, now: int, writes: dict[bytes, _Write]) -> bool:
        """Write a bucket's words with the others of the chain. False where there is no room for it."""
        slot = place.slot if self._find(place) else 0
        if slot and writes and self._words[slot // 8 + 2] <= now and _taken(slot, writes):
            slot = 0
        slot = slot or (writes[place.digest][0] if place.digest in writes else self._free(place, now, writes))
        if slot:
            writes[place.digest] = (slot, place.digest, until, value)
        return bool(slot)

    def _seat(self, place: _Place, number: int) -> _Place:
        """Where slot *number* of a bucket that has several may be."""
        groups = self.slots // GROUP
        digest = (int.from_bytes(place.digest) ^ number + 1).to_bytes(16)
        first = (place.first - HEADER_BYTES) // _GROUP_BYTES + number
        second = (place.second - HEADER_BYTES) // _GROUP_BYTES + number * 7919 + 1
        first, second = first % groups, second % groups
        if first == second:
            second = (second + 1) % groups
        return _Place(digest, HEADER_BYTES + first * _GROUP_BYTES, HEADER_BYTES + second * _GROUP_BYTES)

    def _place(self, key: bytes) -> _Place:
        if len(self._places) >= PLACES:
            self._places.clear()
        digest = blake2b(key, key=self._digest_key, digest_size=32).digest()
        groups = self.slots // GROUP
        first, second = int.from_bytes(digest[16:24]) % groups, int.from_bytes(digest[24:]) % groups
        if first == second:
            second = (second + 1) % groups
        offsets = [HEADER_BYTES + group * GROUP * SLOT_BYTES for group in (first, second)]
        place = self._places[key] = _Place(digest[:16], offsets[0], offsets[1])
        return place

    def _find(self, place: _Place) -> bool:
        """Whether the bucket has a slot; `place.slot` is then where."""
        memory = self._memory
        if (slot := place.slot) and memory[slot : slot + 16] == place.digest:
            return True
        for group in (place.first, place.second):
            found = memory.find(place.digest, group, group + GROUP * SLOT_BYTES)
            if found >= 0 and found % SLOT_BYTES == 0:
                place.slot = found
                return True
        place.slot = 0
        return False

    def _free(self, place: _Place, now: int, writes: dict[bytes, _Write]) -> int:
        """A slot that owes nothing, in the emptier of the two groups; 0 where both are full."""
        taken = {write[0] for write in writes.values()}
        choices = []
        for group in (place.first, place.second):
            slots = range(group, group + GROUP * SLOT_BYTES, SLOT_BYTES)
            choices.append([slot for slot in slots if self._words[slot // 8 + 2] <= now and slot not in taken])
        best = max(choices, key=len)
        return best[0] if best else 0

    def _write(self, writes: list[_Write]) -> None:
        words = self._words
        if len(writes) > MAX_CHAIN:
            raise StoreUnavailable(f"a chain has at most {MAX_CHAIN} buckets")
        if len(writes) == 1:
            slot, digest, paid_until, interval = writes[0]
            word = slot // 8
            if self._memory[slot : slot + 16] == digest and words[word + 3] == interval:
                words[word + 2] = paid_until
                return
        record = _RECORDS[len(writes)].pack(len(writes), *chain.from_iterable(writes))
        self._memory[_JOURNAL : _JOURNAL + len(record)] = record
        # The word is never 0 and speaks for exactly this record: a kill before it leaves nothing done, one after it all.
        words[_ARMED // 8] = crc32(record) + 1
        self._apply(writes)
        words[_ARMED // 8] = 0

    def _apply(self, writes: list[_Write]) -> None:
        words = self._words
        for slot, digest, paid_until, interval in writes:
            self._memory[slot : slot + 16] = digest
            word = slot // 8
            words[word + 3] = interval
            words[word + 2] = paid_until

    def _recover(self) -> None:
        """Finish what a process was writing when it was killed."""
        (count,) = _COUNT.unpack_from(self._memory, _JOURNAL)
        if count <= MAX_CHAIN:
            record = self._memory[_JOURNAL : _JOURNAL + _RECORDS[count].size]
            if crc32(record) + 1 == self._words[_ARMED // 8]:
                self._apply(list(_WRITE.iter_unpack(record[_COUNT.size :])))
        self._words[_ARMED // 8] = 0

    def _lock(self, done: int = 0) -> None:
        """Take the table's mutex, at which an attempt gave *done*; finish what its last holder did not. Raises StoreUnavailable."""
        if self._file < 0:
            raise StoreUnavailable(f"the limit table {self.path} is closed")
        if _forks != self._forks:
            # WHY: parent and child would share one lock, which keeps neither out.
            raise RuntimeError("this limit table was opened before the fork: open it in the process that uses it")
        try:
            if done:
                self._mutex.settle(done)
            else:
                self._mutex.take()
        except OSError as error:
            raise StoreUnavailable(f"the limit table {self.path} cannot be locked: {error}") from error
        if self._words[_ARMED // 8]:
            self._recover()

    def _prepare(self, wanted: int, boot: bytes) -> int:
        """The number of slots of the table in the file, laid out if it is new, of another boot, or unused and of another size."""
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLKW, _LOCK_OPENING)
        try:
            found = self._existing(boot)
            try:
                # Everyone who uses the table shares this other lock, so it is ours alone only if nobody does.
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not found:
                    raise ConfigurationError(
                        "limit_storage", f"{self.path} is in use and is not a limit table", "give another --data"
                    ) from None
            else:
                if found != wanted:
                    self._lay_out(wanted, boot)
                    found = wanted
                self._lay_out_mutex()
            fcntl.flock(self._file, fcntl.LOCK_SH)
            return found
        finally:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _UNLOCK_OPENING)

    def _existing(self, boot: bytes) -> int:
        head = os.pread(self._file, _HEADER.size, 0)
        if len(head) < _HEADER.size:
            return 0
        magic, slots, found_boot, _ = _HEADER.unpack(head)
        right = magic == _MAGIC and found_boot == boot.ljust(40, b"\0") and slots >= 2 * GROUP and slots % GROUP == 0
        return int(slots) if right and os.fstat(self._file).st_size == _size(slots) else 0

    def _lay_out(self, slots: int, boot: bytes) -> None:
        try:
            os.ftruncate(self._file, 0)
            # WHY: a sparse file would fail at a page fault later, with SIGBUS, in the middle of a request.
            os.posix_fallocate(self._file, 0, _size(slots))
        except OSError as error:
            os.ftruncate(self._file, 0)
            raise ConfigurationError(
                "limit_storage", f"no room for a limit table of {_size(slots):,} bytes at {self.path} ({error.strerror})",
                "free some space or give fewer slots",
            ) from error  # fmt: skip
        os.pwrite(self._file, _HEADER.pack(_MAGIC, slots, boot, secrets.token_bytes(32)), 0)

    def _lay_out_mutex(self) -> None:
        # WHY: with every new first user, since the file may have been copied while the mutex was held.
        with mmap.mmap(self._file, HEADER_BYTES) as header:
            try:
                mutex.lay_out(header, _MUTEX)
            except OSError as error:
                raise ConfigurationError(
                    "limit_storage", f"this system cannot lock a table in memory ({error.strerror})",
                    "use redis:// for limits here",
                ) from error  # fmt: skip


_Write = tuple[int, bytes, int, int]  # slot offset, digest, paid until, interval


class _Place:
    """Where a bucket may be: its digest, its two groups, and the slot it was last found in (0: none)."""

    __slots__ = ("digest", "first", "second", "slot")

    def __init__(self, digest: bytes, first: int, second: int) -> None:
        self.digest = digest
        self.first = first
        self.second = second
        self.slot = 0


def _taken(slot: int, writes: dict[bytes, _Write]) -> bool:
    """Whether another bucket of the chain gets *slot*: one that owes nothing is free, though its name still stands there."""
    return slot in [write[0] for write in writes.values()]  # PERF: 0.3 us, a generator takes 0.9


def _size(slots: int) -> int:
    return HEADER_BYTES + slots * SLOT_BYTES
