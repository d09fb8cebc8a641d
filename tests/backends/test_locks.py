"""Locks between processes."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from backends.leases import leases
from backends.locks import LockNotAcquired, Locks
from security.database import Database


class SleepingClock:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = datetime(2026, 5, 1, tzinfo=UTC)
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return SleepingClock()


@pytest.fixture
def lock(database_url, clock):
    database = Database(database_url)
    database.write(leases.create)
    yield Locks(database, clock=clock, sleep=clock.sleep)
    database.close()


def test_a_lock_excludes_others_and_is_free_after(lock):
    with lock("a") as first:
        token = first.token
        with pytest.raises(LockNotAcquired, match="the lock 'a' is held by somebody else"), lock("a", block=False):
            pass
        with lock("b", block=False):
            pass
    with lock("a", block=False) as second:
        assert second.token > token


def test_a_lock_is_released_when_the_body_raises(lock):
    with pytest.raises(KeyError), lock("a"):
        raise KeyError
    with lock("a", block=False):
        pass


def test_waiting_ends_when_the_patience_does(lock, clock):
    with lock("a", ttl=60), pytest.raises(LockNotAcquired), lock("a", block=10):
        pass
    assert 9.9 < sum(clock.slept) < 10.1
    assert max(clock.slept) <= 0.25


def test_the_lock_of_a_dead_holder_ends_by_itself(lock, clock, caplog):
    with lock("a", ttl=5):
        begin = clock()
        with lock("a", ttl=60, block=True):
            assert (clock() - begin).total_seconds() == pytest.approx(5, abs=0.3)
        with lock("a", block=False):
            pass
    # The first holder came back late: it is told, and took nothing away from the next one.
    assert "the lock 'a' was lost before its holder was done" in caplog.text


def test_a_holder_that_is_late_releases_nothing_of_the_next_one(lock, clock):
    late = lock("a", ttl=5)
    late.__enter__()
    clock.sleep(6)
    with lock("a", ttl=60):
        late.__exit__(None, None, None)
        with pytest.raises(LockNotAcquired), lock("a", block=False):
            pass


def test_threads_count_right_under_a_lock(database_url):
    database = Database(database_url)
    database.write(leases.create)
    lock = Locks(database)
    seen = []

    def count():
        for _ in range(5):
            with lock("counter", block=30):
                before = len(seen)
                seen.append(before)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    assert seen == list(range(15))
