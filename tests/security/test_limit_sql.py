"""Durable buckets: the same law in the database, over restarts and on both kinds of it."""

import pytest

from security.database import Database, metadata
from security.limits import FIXED_WINDOW, NANOSECONDS, Charge, Rate, StoreUnavailable, bucket_key
from security.limits.sql import BUCKETS, SqlStore
from security.limits.times import Calendar

SECOND = NANOSECONDS


@pytest.fixture
def database(database_url):
    opened = Database(database_url)
    opened.write(lambda connection: metadata.create_all(connection, tables=[BUCKETS]))
    yield opened
    opened.close()


def bucket(name, rate, **more):
    return Charge.of("test", bucket_key(name), name, rate, **more)


MONTH = Rate(3, 30 * 86_400 * SECOND, 3, FIXED_WINDOW, calendar=Calendar("month"))


def test_quotas_outlive_the_process_and_the_boot(database):
    wall = [1_767_225_600 * SECOND]
    charges = [bucket("a", MONTH), bucket("b", Rate(5, 86_400 * SECOND, 5))]
    got = [SqlStore(database, wall=lambda: wall[0]).debit(charges, number) for number in (10**15, 5, 7, 9)]
    assert [d.allowed for d in got] == [True, True, True, False]
    assert got[3].violated == ("a",)
    assert [s.remaining for s in got[3].states] == [0, 2]
    assert got[3].retry_after == 31 * 86_400
    wall[0] += 31 * 86_400 * SECOND
    store = SqlStore(database, wall=lambda: wall[0])
    assert store.peek(charges, 0).states[0].remaining == 3
    assert store.debit(charges, 0).allowed
    store.add([charges[0].costing(3)], 0)
    assert not store.debit(charges, 0).allowed
    store.reset(charges)
    assert store.debit(charges, 0).allowed


def test_what_is_given_back_was_not_taken(database):
    store, charge = SqlStore(database), bucket("a", MONTH)
    store.debit([charge], 0)
    store.add([charge._replace(cost=-1, cost_ns=-charge.cost_ns)], 0)
    assert store.peek([charge], 0).states[0].remaining == 3


def test_old_buckets_are_swept(database):
    wall = [1_767_225_600 * SECOND]
    store = SqlStore(database, wall=lambda: wall[0])
    store.debit([bucket("a", Rate(1, SECOND, 1))], 0)
    wall[0] += 2 * 86_400 * SECOND
    store.debit([bucket("b", Rate(1, SECOND, 1))], 0)
    store.sweep()
    assert database.read(lambda connection: len(connection.execute(BUCKETS.select()).all())) == 1


def test_a_database_that_does_not_answer_is_a_store_that_is_lost(database):
    database.write(lambda connection: BUCKETS.drop(connection))
    with pytest.raises(StoreUnavailable, match="does not count"):
        SqlStore(database).debit([bucket("a", MONTH)], 0)
