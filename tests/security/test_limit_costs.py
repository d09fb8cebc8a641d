"""What a bucket costs, in time and in memory, from ten of them to ten million: printed by `make soak`.

SOAK_KEYS=1000000 does it with fewer, in a tenth of the memory (400 MB) and of the time (two minutes on a quiet machine).
"""

import os
import random
import time

import pytest
from limit_tables import TWINS
from servers import redis_server

from security.limits import NANOSECONDS, Charge, Rate, bucket_key
from security.limits.redis import RedisStore
from security.limits.shm import SharedMemoryStore
from security.limits.table import GROUP, HEADER_BYTES, SLOT_BYTES

pytestmark = pytest.mark.soak
HOUR = 3600 * NANOSECONDS
RATE = Rate(1_000_000, HOUR, 1_000_000)
MOST = int(os.environ.get("SOAK_KEYS", "10000000"))
KEYS = [keys for keys in (10, 1000, 100_000, 1_000_000, 10_000_000) if keys <= MOST]
SAMPLE = 5000


def key(number):
    return bucket_key("consumer", "standard", f"caller-{number}", "*", str(HOUR))


def charge(number):
    return Charge.of("consumer", key(number), "standard", RATE)


class Filling:
    """Buckets put into an empty table where their first debit would have put them, without 10 us of deciding for each.

    A debit takes the first free slot of the emptier one of a bucket's two groups, the first one of two that are alike. Nobody else
    uses the table, so how full a group is is all there is to know. What this makes is then asked by real debits.
    """

    def __init__(self, store):
        self.table = store.table
        self.full = bytearray(store.slots // GROUP)
        self.made = 0

    def fill(self, keys):
        """Go on until so many are there, or one finds no room; whether that was so. Each owes a tenth of what it may."""
        table, full, memory = self.table, self.full, self.table.memory
        until = time.monotonic_ns() + RATE.capacity_ns // 10
        words = until.to_bytes(8, "little") + RATE.interval_ns.to_bytes(8, "little")
        group_bytes = GROUP * SLOT_BYTES
        while self.made < keys:
            place = table.place(key(self.made))
            first, second = (place.first - HEADER_BYTES) // group_bytes, (place.second - HEADER_BYTES) // group_bytes
            group = first if full[first] <= full[second] else second
            if full[group] == GROUP:
                return True
            slot = HEADER_BYTES + group * group_bytes + full[group] * SLOT_BYTES
            memory[slot : slot + SLOT_BYTES] = place.digest + words
            full[group] += 1
            self.made += 1
        return False


def cost(debit, ones, forget=lambda: None):
    """The least processor time of a debit, in microseconds, of five rounds. Everybody is let in."""
    best = float("inf")
    for _ in range(5):
        forget()
        begun = time.thread_time_ns()
        for one in ones:
            debit(one)
        best = min(best, (time.thread_time_ns() - begun) / len(ones) / 1000)
    return best


def test_debits_put_buckets_where_the_filling_puts_them(tmp_path):
    stores = [SharedMemoryStore(tmp_path / name, slots=2048) for name in ("filled", "debited")]
    stores[1].table._digest_key = stores[0].table._digest_key
    filling = Filling(stores[0])
    assert not filling.fill(1800)
    for number in range(1800):
        assert stores[1].debit([charge(number).costing(RATE.burst // 10)], time.monotonic_ns()).allowed
    digests = [
        [store.table.memory[slot : slot + 16] for slot in range(HEADER_BYTES, len(store.table.memory), SLOT_BYTES)]
        for store in stores
    ]
    assert digests[0] == digests[1]
    assert filling.fill(3000)
    assert stores[0].debit([charge(filling.made)], time.monotonic_ns()).full
    for store in stores:
        store.close()


def test_a_debit_costs_the_same_from_ten_to_ten_million_keys(tmp_path):
    stores = [SharedMemoryStore(tmp_path / "t", slots=MOST * 6 // 5, compiled=twin == "c") for twin in TWINS]
    store = stores[0]
    filling, chance = Filling(store), random.Random(3)

    def decide(one):
        assert store.debit((one,), time.monotonic_ns()).allowed

    def debit(chain):
        assert chain.debit(time.monotonic_ns()) is not None

    names = [f"{way}, {twin}" for twin in TWINS for way in ("ready", "ready in turn")] + ["decided", "decided in turn"]
    rows = []
    for keys in KEYS:
        assert not filling.fill(keys)
        same = charge(chance.randrange(keys))
        # The names of others are hashed anew, and their slots are in no cache of the processor's.
        others = [charge(chance.randrange(keys)) for _ in range(SAMPLE)]
        row = []
        for one in stores:
            row.append(cost(debit, [one.chain([same])] * SAMPLE))
            row.append(cost(debit, [one.chain([other]) for other in others]))
        row.append(cost(decide, [same] * SAMPLE))
        row.append(cost(decide, others, store.table.places.clear))
        rows.append(row)
    assert filling.fill(store.slots)
    assert store.debit([charge(filling.made)], time.monotonic_ns()).full
    print(f"\n{'microseconds':>12}" + "".join(f"{name:>23}" for name in names))
    for keys, row in zip(KEYS, rows, strict=True):
        print(f"{keys:12,}" + "".join(f"{microseconds:23.2f}" for microseconds in row))
    share = filling.made / store.slots
    print(f"{SLOT_BYTES} bytes a slot; the first caller was turned away when {share:.1%} of the slots were taken:")
    print(f"{store.path.stat().st_size / filling.made:.1f} bytes a key")
    for one in stores:
        one.close()
    # Loose, since other work on the machine shows: what must not be is a cost that grows with the keys.
    for name, first, last in zip(names, rows[1], rows[-1], strict=True):
        assert last < (5 * first + 1 if "in turn" in name else 3 * first), name
    assert share > 0.8


def test_what_a_key_takes_in_redis():
    with redis_server() as server:
        store = RedisStore(server.url)
        before = store._client.info("memory")["used_memory"]
        for number in range(0, 100_000, 100):
            store.debit([charge(one) for one in range(number, number + 100)], 0)
        taken = (store._client.info("memory")["used_memory"] - before) / 100_000
        print(f"\n{taken:.0f} bytes a key in Redis")
        store.close()
        assert taken < 300
