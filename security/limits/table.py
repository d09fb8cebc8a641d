"""One file that every process of the machine maps: a header, and a table of slots of 32 bytes. Its layout, lock and journal.

A slot holds a key's digest (16 bytes), the moment until which it counts (8) and a value (8). A key may live in either of two
groups of 16 slots. A slot whose moment is past is free, so the table forgets by itself and holds only who was here within the
last burst. 262,144 slots are 8 MiB. What buckets mean is said elsewhere (`shm`, `counts`); this page moves slots.

**What kill -9 leaves**, at any instruction: a chain of writes wholly done or not done at all. It is first written to a journal
in the header, then armed by one word that holds its checksum; whoever takes the lock next finishes an armed journal. The
lock of a dead process is no lock any more (`security.limits.mutex`). After a reboot the table starts empty, as the clock does.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
from collections.abc import Callable
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from weakref import WeakSet
from zlib import crc32

from security.limits import StoreUnavailable, mutex
from security.limits.mutex import Mutex
from specs.problems import ConfigurationError

DEFAULT_SLOTS = 262_144
HEADER_BYTES = 16_384
SLOT_BYTES = 32
GROUP = 16
GROUP_BYTES = GROUP * SLOT_BYTES
MAX_CHAIN = 256
#: Places kept by key, so that a bucket's name is hashed once and not with each hit. A full cache starts anew (A43).
PLACES = 65_536
#: Processes that hold concurrent charges, at most.
MAX_WORKERS = 64

MAGIC = b"GWLIMIT3"
_HEADER = struct.Struct("<8sQ40s32s")  # magic, slots, boot id, key of the digests
MUTEX = 128
ARMED, _WORKERS, _GENERATIONS, JOURNAL = 256, 264, 512, 1024  # the journal: the number of writes, and the writes
RECORDS = [struct.Struct("<Q" + "Q16sqq" * count) for count in range(MAX_CHAIN + 1)]
_WRITE = struct.Struct("<Q16sqq")  # slot offset, digest, moment, value
_COUNT = struct.Struct("<Q")
_SLOT = struct.Struct("<16sqq")

Write = tuple[int, bytes, int, int]  # slot offset, digest, moment, value
Writes = dict[bytes, Write]  # by digest: what a chain will have written when it is let in


def _lock_request(kind: int, start: int) -> bytes:
    # struct flock of 64-bit Linux: type, whence, start, length, pid
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, 1, 0)


# WHY: locks of the open file (OFD) and not `lockf`: those of a process are lost as soon as anything in it closes any descriptor
# of the file, a backup for instance. Byte 1 guards the opening, bytes from 16 on say which workers live.
_LOCK_OPENING, _UNLOCK_OPENING = (_lock_request(kind, 1) for kind in (fcntl.F_WRLCK, fcntl.F_UNLCK))

_tables: WeakSet[Table] = WeakSet()


def _disown() -> None:
    # WHY: parent and child would share one lock, which keeps neither out.
    for table in _tables:
        table.part()


os.register_at_fork(after_in_child=_disown)


class Place:
    """Where a bucket may be: its digest, its two groups, and the slot it was last found in (0: none)."""

    __slots__ = ("digest", "first", "second", "slot")

    def __init__(self, digest: bytes, first: int, second: int) -> None:
        self.digest = digest
        self.first = first
        self.second = second
        self.slot = 0


class Table:
    """The table in the file at *path*, mapped. Everything but `close` and `worker_lives` needs its lock.

    *slots* is the size of a new one; one that others use keeps its own until all have closed it. *boot* names this start of the
    machine. Raises ConfigurationError where the file cannot be made or the filesystem has no room for it.
    """

    def __init__(self, path: Path, slots: int, boot: bytes) -> None:
        self.path = path
        #: Open, and opened by this very process.
        self.usable = False
        self.worker = -1
        #: Run when the memory must not be touched any more: others have views of it.
        self.at_end: list[Callable[[], None]] = []
        if slots < 2 * GROUP:
            raise ConfigurationError("limit_storage", f"{slots} slots are too few", f"give {2 * GROUP} or more")
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError("limit_storage", f"cannot open {path}", error.strerror or "") from error
        try:
            self.slots = self._prepare(-(-slots // GROUP) * GROUP, boot)
            self.memory = mmap.mmap(self._file, size_of(self.slots))
            self.mutex = Mutex(self.memory, MUTEX)
        except BaseException:
            os.close(self._file)
            raise
        # SECURITY: one store to an aligned word cannot be torn by a kill; every word that counts is written through this view.
        self.words = memoryview(self.memory).cast("q")
        self._digest_key: bytes = _HEADER.unpack_from(self.memory)[3]
        self.places: dict[bytes, Place] = {}
        self.usable = True
        _tables.add(self)

    def lock(self) -> None:
        """Take the lock, and finish what its last holder did not. Raises StoreUnavailable."""
        if not self.usable:
            if self._file < 0:
                raise StoreUnavailable(f"the limit table {self.path} is closed")
            raise RuntimeError("this limit table was opened before the fork: open it in the process that uses it")
        try:
            self.mutex.take()
        except OSError as error:
            raise StoreUnavailable(f"the limit table {self.path} cannot be locked: {error}") from error
        if self.words[ARMED // 8]:
            self._recover()

    def give_back(self) -> None:
        """Let go of the lock."""
        self.mutex.give_back()

    def part(self) -> None:
        """Have the memory touched no more by this process."""
        self.usable = False
        while self.at_end:
            self.at_end.pop()()

    def close(self) -> None:
        """Unmap the file; the buckets stay, for the other processes and the next start. Again is no harm."""
        if self._file >= 0:
            self.part()
            self.words.release()
            self.memory.close()
            os.close(self._file)
            self._file = -1

    # where buckets are

    def place(self, key: bytes) -> Place:
        """Where the bucket *key* may be."""
        found = self.places.get(key)
        if found is not None:
            return found
        if len(self.places) >= PLACES:
            self.places.clear()
        digest = blake2b(key, key=self._digest_key, digest_size=32).digest()
        groups = self.slots // GROUP
        first, second = int.from_bytes(digest[16:24]) % groups, int.from_bytes(digest[24:]) % groups
        if first == second:
            second = (second + 1) % groups
        offsets = [HEADER_BYTES + group * GROUP_BYTES for group in (first, second)]
        place = self.places[key] = Place(digest[:16], offsets[0], offsets[1])
        return place

    def seat(self, place: Place, number: int) -> Place:
        """Where slot *number* of a bucket that has several may be."""
        groups = self.slots // GROUP
        digest = (int.from_bytes(place.digest) ^ number + 1).to_bytes(16)
        first = (place.first - HEADER_BYTES) // GROUP_BYTES + number
        second = (place.second - HEADER_BYTES) // GROUP_BYTES + number * 7919 + 1
        first, second = first % groups, second % groups
        if first == second:
            second = (second + 1) % groups
        return Place(digest, HEADER_BYTES + first * GROUP_BYTES, HEADER_BYTES + second * GROUP_BYTES)

    def find(self, place: Place) -> bool:
        """Whether the bucket has a slot; `place.slot` is then where."""
        memory = self.memory
        if (slot := place.slot) and memory[slot : slot + 16] == place.digest:
            return True
        for group in (place.first, place.second):
            found = memory.find(place.digest, group, group + GROUP_BYTES)
            if found >= 0 and found % SLOT_BYTES == 0:
                place.slot = found
                return True
        place.slot = 0
        return False

    def free(self, place: Place, now: int, writes: Writes) -> int:
        """A slot that owes nothing, in the emptier of the two groups; 0 where both are full."""
        taken = {write[0] for write in writes.values()}
        choices = []
        for group in (place.first, place.second):
            slots = range(group, group + GROUP_BYTES, SLOT_BYTES)
            choices.append([slot for slot in slots if self.words[slot // 8 + 2] <= now and slot not in taken])
        best = max(choices, key=len)
        return best[0] if best else 0

    def state(self, place: Place, now: int, writes: Writes) -> tuple[int, int]:
        """The two words of a bucket's slot, 0 and 0 where it owes nothing."""
        if place.digest in writes:
            return writes[place.digest][2:]
        if self.find(place):
            word = place.slot // 8
            if (until := self.words[word + 2]) > now:
                return until, self.words[word + 3]
        return 0, 0

    def put(self, place: Place, until: int, value: int, now: int, writes: Writes) -> bool:
        """Write a bucket's words with the others of the chain. False where there is no room for it."""
        slot = place.slot if self.find(place) else 0
        if slot and writes and self.words[slot // 8 + 2] <= now and taken(slot, writes):
            slot = 0
        slot = slot or (writes[place.digest][0] if place.digest in writes else self.free(place, now, writes))
        if slot:
            writes[place.digest] = (slot, place.digest, until, value)
        return bool(slot)

    def used(self, now: int) -> int:
        """How many slots hold a bucket that owes something. Reads the whole table: for operators, not for requests."""
        return sum(until > now for _, until, _ in _SLOT.iter_unpack(self.memory[HEADER_BYTES:]))

    # the journal

    def write(self, writes: list[Write]) -> None:
        """Write all of them, or, where this process is killed meanwhile, all or none. Raises StoreUnavailable for too many."""
        words = self.words
        if len(writes) > MAX_CHAIN:
            raise StoreUnavailable(f"a chain has at most {MAX_CHAIN} buckets")
        if len(writes) == 1:
            slot, digest, until, value = writes[0]
            word = slot // 8
            if self.memory[slot : slot + 16] == digest and words[word + 3] == value:
                words[word + 2] = until
                return
        record = RECORDS[len(writes)].pack(len(writes), *chain.from_iterable(writes))
        self.memory[JOURNAL : JOURNAL + len(record)] = record
        # The word is never 0 and speaks for exactly this record: a kill before it leaves nothing done, one after it all.
        words[ARMED // 8] = crc32(record) + 1
        self._apply(writes)
        words[ARMED // 8] = 0

    def _apply(self, writes: list[Write]) -> None:
        words = self.words
        for slot, digest, until, value in writes:
            self.memory[slot : slot + 16] = digest
            word = slot // 8
            words[word + 3] = value
            words[word + 2] = until

    def _recover(self) -> None:
        """Finish what a process was writing when it was killed."""
        (count,) = _COUNT.unpack_from(self.memory, JOURNAL)
        if count <= MAX_CHAIN:
            record = self.memory[JOURNAL : JOURNAL + RECORDS[count].size]
            if crc32(record) + 1 == self.words[ARMED // 8]:
                self._apply(list(_WRITE.iter_unpack(record[_COUNT.size :])))
        self.words[ARMED // 8] = 0

    # workers

    def worker_number(self) -> int:
        """The number of this process among those that hold concurrent charges; its lock says that it lives."""
        if self.worker < 0:
            for number in range(MAX_WORKERS):
                try:
                    fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _lock_request(fcntl.F_WRLCK, 16 + number))
                except BlockingIOError:
                    continue
                self.worker = number
                self.count_out(number)  # what an earlier holder of the number held is over
                self.words[_WORKERS // 8] = max(self.words[_WORKERS // 8], number + 1)
                break
            else:
                raise StoreUnavailable(f"more than {MAX_WORKERS} processes count concurrent requests in {self.path}")
        return self.worker

    def workers(self) -> int:
        """All workers have had smaller numbers than this."""
        return self.words[_WORKERS // 8]

    def worker_lives(self, number: int) -> bool:
        """Whether another process has that number."""
        found = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, _lock_request(fcntl.F_WRLCK, 16 + number))
        return bool(struct.unpack_from("h", found)[0] != fcntl.F_UNLCK)

    def count_out(self, number: int) -> None:
        """Whoever had that number has it no more."""
        self.words[_GENERATIONS // 8 + number] += 1

    def generation(self, number: int) -> int:
        """How many processes have had that number."""
        return self.words[_GENERATIONS // 8 + number] & 0x7FFFFFFF

    # the file

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
        right = magic == MAGIC and found_boot == boot.ljust(40, b"\0") and slots >= 2 * GROUP and slots % GROUP == 0
        return int(slots) if right and os.fstat(self._file).st_size == size_of(slots) else 0

    def _lay_out(self, slots: int, boot: bytes) -> None:
        try:
            os.ftruncate(self._file, 0)
            # WHY: a sparse file would fail at a page fault later, with SIGBUS, in the middle of a request.
            os.posix_fallocate(self._file, 0, size_of(slots))
        except OSError as error:
            os.ftruncate(self._file, 0)
            raise ConfigurationError(
                "limit_storage", f"no room for a limit table of {size_of(slots):,} bytes at {self.path} ({error.strerror})",
                "free some space or give fewer slots",
            ) from error  # fmt: skip
        os.pwrite(self._file, _HEADER.pack(MAGIC, slots, boot, secrets.token_bytes(32)), 0)

    def _lay_out_mutex(self) -> None:
        # WHY: with every new first user, since the file may have been copied while the mutex was held.
        with mmap.mmap(self._file, HEADER_BYTES) as header:
            try:
                mutex.lay_out(header, MUTEX)
            except OSError as error:
                raise ConfigurationError(
                    "limit_storage", f"this system cannot lock a table in memory ({error.strerror})",
                    "use redis:// for limits here",
                ) from error  # fmt: skip


def taken(slot: int, writes: Writes) -> bool:
    """Whether another bucket of the chain gets *slot*: one that owes nothing is free, though its name still stands there."""
    return slot in [write[0] for write in writes.values()]  # PERF: 0.3 us, a generator takes 0.9


def size_of(slots: int) -> int:
    """Bytes of a file with so many slots."""
    return HEADER_BYTES + slots * SLOT_BYTES
