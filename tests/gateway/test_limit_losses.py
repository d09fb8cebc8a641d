"""What becomes of requests while a store of limits is lost, and of chains over two stores."""

import pytest

from gateway.limit_stores import Stores
from security.limits import CONCURRENT, NANOSECONDS, Charge, Rate, StoreUnavailable, bucket_key
from security.limits.memory import MemoryStore
from specs.problems import Problem


class Loseable(MemoryStore):
    lost = False

    def debit(self, charges, now_ns):
        if self.lost:
            raise StoreUnavailable("gone")
        return super().debit(charges, now_ns)


def bucket(name, count, **more):
    return Charge.of("channel", bucket_key(name), name, Rate(count, 3600 * NANOSECONDS, count), **more)


@pytest.fixture
def shared():
    return Loseable()


@pytest.fixture
def stores(shared):
    durable = MemoryStore()
    made = Stores(MemoryStore(), durable=lambda: durable, open_shared=lambda url: shared, share=4, clock=lambda: 10**12)
    yield made
    made.close()


def test_deny_is_a_503_that_says_when_to_come_back(stores, shared):
    debit = stores.debit("redis://x", "deny")
    assert debit((bucket("a", 8),)).allowed
    shared.lost = True
    with pytest.raises(Problem) as caught:
        debit((bucket("a", 8),))
    assert (caught.value.status, caught.value.code, caught.value.headers) == (
        503,
        "overloaded",
        (("Retry-After", "1"),),
    )
    assert (stores.facts()["state"], stores.facts()["on_store_failure"], stores.lost()) == ("lost", "deny", 1.0)


def test_allow_counts_what_was_not_counted(stores, shared):
    debit = stores.debit("redis://x", "allow")
    shared.lost = True
    assert [debit((bucket("a", 1),)) for _ in range(3)] == [None] * 3
    assert stores.uncounted == 3


def test_local_is_a_workers_share_and_one_at_least(stores, shared):
    debit = stores.debit("redis://x", "local")
    shared.lost = True
    assert [debit((bucket("a", 8),)).allowed for _ in range(3)] == [True, True, False]
    assert [debit((bucket("b", 2),)).allowed for _ in range(2)] == [True, False]
    assert stores.decided_locally == 5
    assert stores.failures() == 1


def test_requests_at_once_that_began_while_the_store_was_lost_end(stores, shared):
    debit = stores.debit("redis://x", "local")
    shared.lost = True
    charge = Charge.of("channel", b"k", "k", Rate(4, NANOSECONDS, 4, CONCURRENT, "concurrent-requests"))
    assert debit((charge,)).allowed
    assert not debit((charge,)).allowed
    stores._own.release([charge], 10**12)
    assert debit((charge,)).allowed


def test_Z49_a_chain_over_two_stores_is_taken_whole_or_not_at_all(stores):
    debit = stores.debit("shm", "deny", durable=True)
    long, short = bucket("long", 5, durable=True), bucket("short", 3)
    assert [debit((short, long)).allowed for _ in range(4)] == [True, True, True, False]
    assert stores.durable.peek([long], 10**12).states[0].remaining == 2
    # The quick store refuses only after the look into it: the durable one gets its hit back.
    stores.local.peek = lambda charges, now: MemoryStore().peek(charges, now)
    assert debit((short, long)).violated == ("short",)
    assert stores.durable.peek([long], 10**12).states[0].remaining == 2
    assert debit((bucket("other", 9), long)).allowed
    assert debit((bucket("other", 9), long)).allowed
    assert debit((bucket("other", 9), long)).violated == ("long",)
    assert stores.local.debit([bucket("other", 9)], 10**12).states[0].remaining == 6


def test_A43_who_is_refused_is_counted_within_a_bound_and_the_busiest_stay(stores):
    charge = bucket("a", 1)
    stores.local.debit([charge], 10**12)
    refused = stores.local.debit([charge], 10**12)
    for number in range(5000):
        stores.tally([charge], refused, f"caller {number}", "192.0.2.1")
        stores.tally([charge], refused, "the busiest", "192.0.2.2")
    assert len(stores.callers) == 200
    assert max(stores.callers, key=stores.callers.get)[0] == "the busiest"
    assert stores.refused == {("channel", "a", "refused"): 10_000}
