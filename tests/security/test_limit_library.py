"""The `limits` library over our table: its own strategies, ours, and its keys that cannot be confused."""

import os

import limits
import pytest
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

from security.limits.library import GcraRateLimiter, SharedMemoryStorage


@pytest.fixture
def storage(tmp_path):
    opened = limits.storage.storage_from_string(f"shm://{tmp_path}/t?slots=4096")
    assert isinstance(opened, SharedMemoryStorage)
    yield opened
    opened.store.close()


@pytest.mark.parametrize("strategy", [GcraRateLimiter, FixedWindowRateLimiter, MovingWindowRateLimiter])
def test_n_are_let_in_by_every_strategy(storage, strategy):
    limiter, item = strategy(storage), limits.parse("3/day")
    assert limiter.test(item, "a")
    assert [limiter.hit(item, "a") for _ in range(4)] == [True, True, True, False]
    assert not limiter.test(item, "a")
    assert limiter.get_window_stats(item, "a").remaining == 0
    assert limiter.hit(item, "b")
    limiter.clear(item, "a")
    assert limiter.hit(item, "a")


def test_a_chain_is_taken_whole_or_not_at_all(storage):
    limiter = GcraRateLimiter(storage)
    wide, narrow = limits.parse("100/hour"), limits.parse("2/hour")
    got = [limiter.hit_all([(wide, ("w",)), (narrow, ("n",))]) for _ in range(5)]
    assert got == [True, True, False, False, False]
    assert limiter.get_window_stats(wide, "w").remaining == 98


def test_A54_keys_with_slashes_are_not_confused(storage):
    limiter, item = GcraRateLimiter(storage), limits.parse("1/hour")
    assert limiter.hit(item, "a/b", "c")
    assert limiter.hit(item, "a", "b/c")
    assert not limiter.hit(item, "a/b", "c")


def test_costs_and_what_could_never_be_paid(storage):
    limiter, item = GcraRateLimiter(storage), limits.parse("5/hour")
    assert [limiter.hit(item, "a", cost=2) for _ in range(3)] == [True, True, False]
    assert not limiter.hit(item, "b", cost=6)
    assert not limiter.test(item, "b", cost=6)


def test_it_is_one_limit_for_all_processes(storage):
    item = limits.parse("1/hour")
    child = os.fork()
    if child == 0:
        other = limits.storage.storage_from_string(f"shm://{storage.store.path}?slots=4096")
        os._exit(0 if GcraRateLimiter(other).hit(item, "a") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not GcraRateLimiter(storage).hit(item, "a")


def test_a_shared_table_is_not_emptied_whole(storage):
    assert storage.check()
    with pytest.raises(NotImplementedError):
        storage.reset()
