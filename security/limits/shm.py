"""Buckets in one file that every process of the machine maps: exact limits with no other server.

gcra's are here, one slot each: paid until, interval. Those that count are in `counts`; slots, the lock and the journal are the
`table`'s; and what nearly every debit is, `chains` does in one go. **A full table refuses new keys** and says so
(`Decision.full`); it never resets a key that owes something (A43).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from security.limits import CONCURRENT, GCRA, NANOSECONDS, Chain, Charge, Decision, Standing, Store
from security.limits.chains import COMPILED, LARGEST, Bucket, maker
from security.limits.counts import NO_ROOM, Counts
from security.limits.gcra import owed as gcra_owed
from security.limits.table import DEFAULT_SLOTS, MAX_CHAIN, Table, Writes, taken


class SharedMemoryStore(Store):
    """The buckets of this machine. Opened by each worker after the fork; only one thread of a process, the hub's, uses it.

    *path* lies on a local filesystem. *slots* is the size of a new table; one that others use keeps its own until all have closed
    it. *compiled* runs chains in C. Raises ConfigurationError where the file cannot be made or the filesystem has no room for it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        slots: int = DEFAULT_SLOTS,
        boot_id: str | None = None,
        wall: Callable[[], int] = time.time_ns,
        compiled: bool = COMPILED,
    ) -> None:
        boot = (boot_id or Path("/proc/sys/kernel/random/boot_id").read_text().strip()).encode()
        self.table = Table(Path(path), slots, boot)
        self.path = self.table.path
        self.slots = self.table.slots
        self._counts = Counts(self.table, wall)
        self._make_chain = maker(self.table, compiled)

    def chain(self, charges: Sequence[Charge]) -> Chain | None:
        """*charges* made ready to be debited again and again; None where only `debit` can."""
        buckets = []
        for one in charges:
            if one.algorithm != GCRA or not 0 < one.cost_ns <= one.capacity_ns <= LARGEST:
                return None
            place = self.table.place(one.key)
            buckets.append(
                Bucket(
                    place.digest, place.first, place.second, one.interval_ns, one.capacity_ns, one.cost_ns, one.shown
                )
            )
        # The same bucket twice is charged twice, and no bucket not at all: neither is what nearly always happens.
        if not 0 < len(buckets) <= MAX_CHAIN or len({one.digest for one in buckets}) < len(buckets):
            return None
        return self._make_chain(buckets) if self.table.usable else None

    def debit(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """Take from every bucket of *charges*, or from none. Raises StoreUnavailable where the store is closed.

        *now_ns* is `time.monotonic_ns()`, read just now: a stale one gives hits away.
        """
        self.table.lock()
        try:
            decision, writes = self._decide(charges, now_ns)
            if writes:
                self.table.write(list(writes.values()))
            return decision
        finally:
            self.table.give_back()

    def peek(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """What `debit` would say; nothing is taken, and what is owed is shown as it is."""
        self.table.lock()
        try:
            decision, _ = self._decide(charges, now_ns)
            return decision.before()
        finally:
            self.table.give_back()

    def add(self, charges: Sequence[Charge], now_ns: int) -> None:
        """Charge afterwards what is due; nothing is refused, and no bucket owes more than twice what it holds."""
        table = self.table
        table.lock()
        try:
            writes: Writes = {}
            for one in charges:
                if one.algorithm != GCRA:
                    self._counts.add(one, now_ns, writes)
                    continue
                place = table.place(one.key)
                until, interval = table.state(place, now_ns, writes)
                owed = gcra_owed(until, interval, now_ns, one.interval_ns, one.capacity_ns)
                due = min(owed + one.cost_ns, 2 * one.capacity_ns)
                table.put(place, now_ns + due, one.interval_ns, now_ns, writes)
            table.write(list(writes.values()))
        finally:
            table.give_back()

    def release(self, charges: Sequence[Charge], now_ns: int) -> None:
        """These concurrent charges, which this process took, are over."""
        self.table.lock()
        try:
            for one in charges:
                if one.algorithm == CONCURRENT:
                    self._counts.release(one, now_ns)
        finally:
            self.table.give_back()

    def reset(self, charges: Sequence[Charge]) -> None:
        """Empty these buckets."""
        table = self.table
        table.lock()
        try:
            for one in charges:
                for seat in self._counts.seats(one):
                    if table.find(seat):
                        table.words[seat.slot // 8 + 2] = 0
        finally:
            table.give_back()

    def used(self, now_ns: int) -> int:
        """How many slots hold a bucket that owes something. Reads the whole table: for operators, not for requests."""
        return self.table.used(now_ns)

    def close(self) -> None:
        """Unmap the file; the buckets stay, for the other processes and the next start. Again is no harm."""
        self.table.close()

    def _decide(self, charges: Sequence[Charge], now: int) -> tuple[Decision, Writes]:
        table = self.table
        words = table.words
        before: list[Standing] = []
        after: list[Standing] = []
        writes: Writes = {}
        settled: Writes = {}
        violated: list[str] = []
        shadowed: list[str] = []
        wait = 0
        full = False
        for one in charges:
            place = table.place(one.key)
            if one.algorithm != GCRA:
                standing, late, missing = self._counts.take(one, now, writes)
                before.append(standing)
                after.append(late)
                if missing == NO_ROOM:
                    full, missing = True, NANOSECONDS
            else:
                owed = 0
                slot = place.slot if table.find(place) else 0
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
                    elif writes and taken(slot, writes):
                        slot = 0
                if place.digest in writes:  # the same bucket twice in one chain is charged twice
                    slot, _, paid_until, _ = writes[place.digest]
                    owed = paid_until - now
                before.append(owed)
                missing = owed + one.cost_ns - one.capacity_ns
                if missing <= 0:
                    slot = slot or table.free(place, now, writes)
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
