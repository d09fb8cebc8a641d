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


class Machine:
    """A machine whose clock can be set. *up* passes by itself, as time does; *wall* is what its clock shows."""

    def __init__(self, wall=1_767_225_600, up=1000, boot="first"):
        self.wall, self.up, self.boot = wall * SECOND, up * SECOND, boot

    def store(self, database):
        return SqlStore(database, wall=lambda: self.wall, up=lambda: self.up, boot=lambda: self.boot)

    def goes_on(self, seconds):
        self.wall, self.up = self.wall + seconds * SECOND, self.up + seconds * SECOND

    def clock_is_set(self, seconds):
        self.wall += seconds * SECOND


def test_quotas_outlive_the_process_and_the_boot(database):
    charges = [bucket("a", MONTH), bucket("b", Rate(5, 86_400 * SECOND, 5))]
    boots = [Machine(up=up, boot=boot) for up, boot in ((10**6, "1"), (5, "2"), (7, "2"), (9, "3"))]
    got = [machine.store(database).debit(charges, 0) for machine in boots]
    assert [d.allowed for d in got] == [True, True, True, False]
    assert got[3].violated == ("a",)
    assert [s.remaining for s in got[3].states] == [0, 2]
    assert got[3].retry_after == 31 * 86_400
    boots[3].goes_on(31 * 86_400)
    store = boots[3].store(database)
    assert store.peek(charges, 0).states[0].remaining == 3
    assert store.debit(charges, 0).allowed
    store.add([charges[0].costing(3)], 0)
    assert not store.debit(charges, 0).allowed
    store.reset(charges)
    assert store.debit(charges, 0).allowed


@pytest.mark.parametrize("seconds", [3600, -3600, 400 * 86_400, -400 * 86_400])
def test_a_clock_that_is_set_changes_nothing(database, seconds):
    machine = Machine()
    day = bucket("day", Rate(24, 86_400 * SECOND, 24))
    for charge, until_next in ((day, 3600), (bucket("month", MONTH), 31 * 86_400)):
        running = machine.store(database)
        assert [running.debit([charge], 0).allowed for _ in range(25)] == [True] * charge.rate.count + [False] * (
            25 - charge.rate.count
        )
        machine.clock_is_set(seconds)
        # The process that runs, and one that starts after it.
        for store in (running, machine.store(database)):
            refused = store.debit([charge], 0)
            assert (refused.allowed, refused.retry_after) == (False, until_next)
        machine.goes_on(until_next - 1)
        assert not machine.store(database).debit([charge], 0).allowed
        machine.clock_is_set(-seconds)
        machine.goes_on(1)
        assert running.debit([charge], 0).allowed
        machine = Machine()
        database.write(lambda connection: connection.execute(BUCKETS.delete()))


def test_a_machine_that_starts_with_its_clock_far_behind_keeps_nobody_out_for_ever(database):
    charge = bucket("a", Rate(24, 86_400 * SECOND, 24))
    right, behind = Machine(), Machine(wall=0, boot="second")
    store = right.store(database)
    assert [store.debit([charge], 0).allowed for _ in range(24)] == [True] * 24
    assert not behind.store(database).debit([charge], 0).allowed
    behind.goes_on(3600)
    assert behind.store(database).debit([charge], 0).allowed
    assert not behind.store(database).debit([charge], 0).allowed


def test_what_is_given_back_was_not_taken(database):
    store, charge = SqlStore(database), bucket("a", MONTH)
    store.debit([charge], 0)
    store.add([charge._replace(cost=-1, cost_ns=-charge.cost_ns)], 0)
    assert store.peek([charge], 0).states[0].remaining == 3


def test_old_buckets_are_swept(database):
    machine = Machine()
    store = machine.store(database)
    store.debit([bucket("a", Rate(1, SECOND, 1))], 0)
    machine.goes_on(2 * 86_400)
    store.debit([bucket("b", Rate(1, SECOND, 1))], 0)
    store.sweep()
    # One bucket, and what tells of the machine's start.
    assert database.read(lambda connection: len(connection.execute(BUCKETS.select()).all())) == 2


def test_a_database_that_does_not_answer_is_a_store_that_is_lost(database):
    database.write(lambda connection: BUCKETS.drop(connection))
    with pytest.raises(StoreUnavailable, match="does not count"):
        SqlStore(database).debit([bucket("a", MONTH)], 0)
