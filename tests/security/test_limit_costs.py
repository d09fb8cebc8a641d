"""What a bucket costs, in time and in memory, from ten of them to ten million: printed by `make soak`, in a process of its own."""

import random
import time

import pytest
from servers import redis_server

from security.limits import NANOSECONDS, Charge, Rate, bucket_key
from security.limits.redis import RedisStore
from security.limits.shm import SharedMemoryStore
from security.limits.table import SLOT_BYTES

pytestmark = pytest.mark.soak
HOUR = 3600 * NANOSECONDS
RATE = Rate(1000, HOUR, 1000)
KEYS = (10, 1000, 100_000, 1_000_000, 10_000_000)
SAMPLE = 5000


def charge(number):
    return Charge.of(
        "consumer", bucket_key("consumer", "standard", f"caller-{number}", "*", str(HOUR)), "standard", RATE
    )


def cost(store, charges):
    """The least processor time of a debit, in microseconds, of three rounds."""
    best = float("inf")
    for _ in range(3):
        begun = time.thread_time_ns()
        for one in charges:
            store.debit((one,), time.monotonic_ns())
        best = min(best, (time.thread_time_ns() - begun) / len(charges) / 1000)
    return best


def test_a_debit_costs_the_same_from_ten_to_ten_million_keys(tmp_path):
    store = SharedMemoryStore(tmp_path / "limits", slots=12_000_000)
    chance, rows, made = random.Random(3), [], 0
    for keys in KEYS:
        while made < keys:
            block = [charge(number) for number in range(made, min(keys, made + 100))]
            assert not store.debit(block, time.monotonic_ns()).full
            made += len(block)
            store.table.places.clear()  # what is kept of names is bounded, and not what is measured here
        busy = [charge(chance.randrange(keys))] * SAMPLE
        # The names of others are hashed anew, and their slots are in no cache.
        others = [charge(chance.randrange(keys)) for _ in range(SAMPLE)]
        rows.append((keys, cost(store, busy), cost(store, others)))
    full_at = made
    while not store.debit([charge(full_at)], time.monotonic_ns()).full:
        full_at += 1
    print("\n      keys   the same caller   callers in turn")
    for keys, same, turns in rows:
        print(f"{keys:10,}   {same:12.1f} us   {turns:12.1f} us")
    print(
        f"{SLOT_BYTES} bytes a slot; the first caller was turned away when {full_at / store.slots:.1%} of the slots were taken:"
    )
    print(f"{store.path.stat().st_size / full_at:.1f} bytes a key")
    store.close()
    # Loose, since other work on the machine shows: what must not be is a cost that grows with the keys.
    assert rows[-1][1] < 3 * rows[0][1]
    assert rows[-1][2] < 5 * rows[1][2]
    assert full_at > 0.8 * 12_000_000


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
