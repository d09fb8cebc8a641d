"""Leases: never two holders at once, whatever clocks and processes do."""

import tempfile
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backends.leases import Lease, LeaseLost, leases, sweep_leases
from security.database import Database, open_database

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class ManualClock:
    def __init__(self, skew=0.0):
        self.now = NOON + timedelta(seconds=skew)

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    database.write(leases.create)
    yield database
    database.close()


@pytest.fixture
def clock():
    return ManualClock()


def lease(database, holder, clock, **options):
    return Lease(database, "scheduler", holder, ttl=15, clock=clock, **options)


def test_a_lease_has_one_holder_until_it_ends(database, clock):
    first, second = lease(database, "a", clock), lease(database, "b", clock)
    assert [first.hold(), second.hold(), first.held, second.held] == [True, False, True, False]
    clock.advance(10)
    assert first.hold()
    clock.advance(10)
    assert not second.hold()
    clock.advance(5)
    assert [first.held, second.hold(), first.hold()] == [False, True, False]


def test_the_token_grows_with_each_change_of_holder_and_stays_with_renewals(database, clock):
    first, second = lease(database, "a", clock), lease(database, "b", clock)
    tokens = [first.acquire(), first.acquire()]
    assert first.renew()
    tokens.append(first.token)
    first.release()
    tokens.append(second.acquire())
    clock.advance(-60)  # clocks are set back at times
    second.release()
    tokens.append(first.acquire())
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 3


def test_only_the_holder_renews_and_releases(database, clock):
    first, second = lease(database, "a", clock), lease(database, "b", clock)
    first.acquire()
    assert [second.renew(), second.release(), first.renew()] == [False, False, True]
    clock.advance(16)
    second.acquire()
    assert [first.renew(), first.release(), second.renew()] == [False, False, True]


def test_an_ended_lease_is_not_renewed_but_taken_anew(database, clock):
    first = lease(database, "a", clock)
    token = first.acquire()
    clock.advance(16)
    assert not first.renew()
    assert first.acquire() > token


def test_a_holder_that_overslept_cannot_write(database, clock):
    first, second = lease(database, "a", clock), lease(database, "b", clock)
    first.acquire()
    database.write(first.guard)
    clock.advance(16)
    second.acquire()
    with pytest.raises(LeaseLost, match="the lease 'scheduler' is no longer held by 'a'"):
        database.write(first.guard)
    database.write(second.guard)


def test_a_process_started_again_under_its_name_takes_over_at_once(database, clock):
    before, after = lease(database, "a", clock), lease(database, "a", clock)
    token = before.acquire()
    assert after.acquire() > token
    assert not before.renew()


def test_sweeping_leaves_what_lives_and_tokens_go_on_growing(database, clock):
    first = lease(database, "a", clock)
    token = first.acquire()
    assert sweep_leases(database, clock()) == 0
    clock.advance(2 * 86400)
    assert sweep_leases(database, clock()) == 1
    assert first.acquire() > token
    first.release()
    clock.advance(2 * 86400)
    assert sweep_leases(database, clock()) == 1


def test_a_margin_as_long_as_the_lease_is_refused(database, clock):
    with pytest.raises(ValueError, match="longer than clocks differ"):
        lease(database, "a", clock, margin=15)


class Holders(RuleBasedStateMachine):
    """Four processes whose clocks differ by up to the margin, and a time that jumps as it likes."""

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.database = open_database(self.directory.name)
        self.database.write(leases.create)
        self.clocks = [ManualClock(skew) for skew in (0, 1, 2, 0.5)]
        self.leases = [lease(self.database, f"p{n}", clock, margin=2.001) for n, clock in enumerate(self.clocks)]
        self.tokens = []

    @rule(who=st.integers(0, 3))
    def holds(self, who):
        before = self.tokens[-1][1] if self.tokens else 0
        if self.leases[who].hold():
            token = self.leases[who].token
            assert token >= before
            if token == before:
                assert self.tokens[-1][0] == who
            self.tokens.append((who, token))

    @rule(who=st.integers(0, 3))
    def releases(self, who):
        self.leases[who].release()

    @rule(seconds=st.one_of(st.floats(0, 3), st.floats(0, 40)))
    def time_passes(self, seconds):
        for clock in self.clocks:
            clock.advance(seconds)

    @invariant()
    def at_most_one_believes_to_hold_it(self):
        believers = [held for held in self.leases if held.held]
        assert len(believers) <= 1
        for held in believers:
            self.database.write(held.guard)

    @invariant()
    def at_most_one_passes_the_guard(self):
        passed = 0
        for held in self.leases:
            try:
                self.database.write(held.guard)
                passed += 1
            except LeaseLost:
                pass
        assert passed <= 1

    def teardown(self):
        self.database.close()
        self.directory.cleanup()


TestHolders = Holders.TestCase
TestHolders.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
