"""Buckets in one file that every process of the machine maps: exact limits with no other server.

The file is a header and a table of slots of 32 bytes (key digest 16, paid-until 8, interval 8). A key may live in either of two
groups of 16 slots. A slot whose bucket owes nothing is free, so the table forgets by itself and holds only who was
here within the last burst. **A full table refuses new keys** and says so (`Decision.full`); it never resets a key that owes
something (A43). 262,144 slots are 8 MiB.

**What kill -9 leaves**, at any instruction: a debit wholly done or not done at all. A chain is first written to a
journal in the header, then armed by one word that holds its checksum; whoever takes the lock next finishes an armed journal.
The kernel frees the lock of a dead process. After a reboot the table starts empty, as the clock does.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from zlib import crc32

from security.limits import Charge, Decision, Store, StoreUnavailable
from security.limits.gcra import owed as gcra_owed
from specs.problems import ConfigurationError

DEFAULT_SLOTS = 262_144
HEADER_BYTES = 4096
SLOT_BYTES = 32
GROUP = 16
MAX_CHAIN = 90
#: Places kept by key, so that a bucket's name is hashed once and not with each hit. A full cache starts anew (A43).
PLACES = 65_536

_MAGIC = b"GWLIMIT1"
_HEADER = struct.Struct("<8sQ40s32s")  # magic, slots, boot id, key of the digests
_ARMED, _JOURNAL = 256, 264  # the arming word; after it the number of writes, and the writes
_RECORDS = [struct.Struct("<Q" + "Q16sqq" * count) for count in range(MAX_CHAIN + 1)]
_WRITE = struct.Struct("<Q16sqq")  # slot offset, digest, paid until, interval
_COUNT = struct.Struct("<Q")
_SLOT = struct.Struct("<16sqq")


def _lock_request(kind: int, start: int) -> bytes:
    # struct flock of 64-bit Linux: type, whence, start, length, pid
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, 1, 0)


# WHY: locks of the open file (OFD) and not `lockf`: those of a process are lost as soon as anything in it closes any descriptor
# of the file, a backup for instance. Byte 0 guards the table, byte 1 the opening.
_LOCK, _UNLOCK = (_lock_request(kind, 0) for kind in (fcntl.F_WRLCK, fcntl.F_UNLCK))
_LOCK_OPENING, _UNLOCK_OPENING = (_lock_request(kind, 1) for kind in (fcntl.F_WRLCK, fcntl.F_UNLCK))


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

    def __init__(self, path: str | Path, *, slots: int = DEFAULT_SLOTS, boot_id: str | None = None) -> None:
        self.path = Path(path)
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
        # PERF: one bucket takes 4.5 us, a chain of 3 takes 7.2, of 5 takes 9.1, lock, look-up and journal included, on a machine
        # where the lock alone takes 1.8.
        self._lock()
        try:
            decision, writes = self._decide(charges, now_ns)
            if writes:
                self._write(writes)
            return decision
        finally:
            self._unlock()

    def peek(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """What `debit` would say; nothing is taken, and what is owed is shown as it is."""
        self._lock()
        try:
            decision, _ = self._decide(charges, now_ns)
            return decision.before()
        finally:
            self._unlock()

    def reset(self, charges: Sequence[Charge]) -> None:
        """Empty these buckets."""
        self._lock()
        try:
            for one in charges:
                place = self._place(one.key)
                if self._find(place):
                    self._words[place.slot // 8 + 2] = 0
        finally:
            self._unlock()

    def used(self, now_ns: int) -> int:
        """How many slots hold a bucket that owes something. Reads the whole table: for operators, not for requests."""
        return sum(paid_until > now_ns for _, paid_until, _ in _SLOT.iter_unpack(self._memory[HEADER_BYTES:]))

    def close(self) -> None:
        """Unmap the file; the buckets stay, for the other processes and the next start. Again is no harm."""
        if self._file >= 0:
            self._words.release()
            self._memory.close()
            os.close(self._file)
            self._file = -1

    def _decide(self, charges: Sequence[Charge], now: int) -> tuple[Decision, list[_Write]]:
        words = self._words
        before: list[int] = []
        after: list[int] = []
        writes: list[_Write] = []
        settled: list[_Write] = []
        violated: list[str] = []
        shadowed: list[str] = []
        wait = 0
        full = False
        for one in charges:
            place = self._places.get(one.key) or self._place(one.key)
            owed = 0
            slot = place.slot if self._find(place) else 0
            if slot:
                word = slot // 8
                if (paid_until := words[word + 2]) > now:
                    interval = words[word + 3]
                    owed = gcra_owed(paid_until, interval, now, one.interval_ns, one.capacity_ns)
                    if interval != one.interval_ns or owed != paid_until - now:
                        settled.append((slot, place.digest, now + owed, one.interval_ns))
            for write in writes:
                if write[1] == place.digest:  # the same bucket twice in one chain is charged twice
                    slot, owed = write[0], write[2] - now
            before.append(owed)
            missing = owed + one.cost_ns - one.capacity_ns
            if missing <= 0:
                slot = slot or self._free(place, now, writes)
                if slot:
                    after.append(owed + one.cost_ns)
                    writes.append((slot, place.digest, now + owed + one.cost_ns, one.interval_ns))
                    continue
                # SECURITY: A43. No room: who is new is refused, and nobody who owes is forgotten for it.
                full, missing = True, one.interval_ns
            after.append(owed)
            if one.shadow:
                shadowed.append(one.policy)
                writes.extend(write for write in settled if write[0] == slot)
            else:
                violated.append(one.policy)
                wait = max(wait, missing)
        if violated:
            # WHY: what a bucket owes under a new rate is kept even now, or it would be worked out from the old one for ever.
            writes, after = settled, before
        return Decision(
            charges, before, after, violated=tuple(violated), shadowed=tuple(shadowed), retry_after_ns=wait, full=full
        ), writes

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

    def _free(self, place: _Place, now: int, writes: list[_Write]) -> int:
        """A slot that owes nothing, in the emptier of the two groups; 0 where both are full."""
        taken = {write[0] for write in writes}
        choices = []
        for group in (place.first, place.second):
            slots = range(group, group + GROUP * SLOT_BYTES, SLOT_BYTES)
            choices.append([slot for slot in slots if self._words[slot // 8 + 2] <= now and slot not in taken])
        best = max(choices, key=len)
        return best[0] if best else 0

    def _write(self, writes: list[_Write]) -> None:
        words = self._words
        if len(writes) == 1:
            slot, digest, paid_until, interval = writes[0]
            word = slot // 8
            if self._memory[slot : slot + 16] == digest and words[word + 3] == interval:
                words[word + 2] = paid_until
                return
        flat = [part for write in writes for part in write]
        record = _RECORDS[len(writes)].pack(len(writes), *flat)
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

    def _lock(self) -> None:
        if self._file < 0:
            raise StoreUnavailable(f"the limit table {self.path} is closed")
        if _forks != self._forks:
            # WHY: parent and child would share one lock, which keeps neither out.
            raise RuntimeError("this limit table was opened before the fork: open it in the process that uses it")
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLKW, _LOCK)
        except OSError as error:
            raise StoreUnavailable(f"the limit table {self.path} cannot be locked: {error.strerror}") from error
        if self._words[_ARMED // 8]:
            self._recover()

    def _unlock(self) -> None:
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _UNLOCK)

    def _prepare(self, wanted: int, boot: bytes) -> int:
        """The number of slots of the table in the file, laid out if it is new, of another boot, or unused and of another size."""
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLKW, _LOCK_OPENING)
        try:
            found = self._existing(boot)
            if found != wanted:
                try:
                    # Everyone who uses the table shares this other lock, so it is ours alone only if nobody does.
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if not found:
                        raise ConfigurationError(
                            "limit_storage", f"{self.path} is in use and is not a limit table", "give another --data"
                        ) from None
                else:
                    self._lay_out(wanted, boot)
                    found = wanted
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


_Write = tuple[int, bytes, int, int]  # slot offset, digest, paid until, interval


class _Place:
    """Where a bucket may be: its digest, its two groups, and the slot it was last found in (0: none)."""

    __slots__ = ("digest", "first", "second", "slot")

    def __init__(self, digest: bytes, first: int, second: int) -> None:
        self.digest = digest
        self.first = first
        self.second = second
        self.slot = 0


def _size(slots: int) -> int:
    return HEADER_BYTES + slots * SLOT_BYTES
