"""Each algorithm against an oracle that looks back over everything that was ever admitted, on each store of this process."""

import itertools
import os
import signal
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limit_tables import TWINS, QuickTable

from security.limits import CONCURRENT, FIXED_WINDOW, NANOSECONDS, SLIDING_LOG, Charge, Rate, bucket_key
from security.limits.counts import LONGEST_HOLD
from security.limits.memory import MemoryStore
from security.limits.shm import SharedMemoryStore
from security.limits.table import GROUP
from security.limits.times import Calendar, TimeRange
from specs.problems import ConfigurationError

SECOND = NANOSECONDS
NOW = 1_000_000 * SECOND
#: Examples of Hypothesis share a table: each begins when what the one before left there has run out.
EPOCHS = itertools.count()
loosely = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Wall:
    """The time of day, as the test sets it."""

    def __init__(self):
        self.ns = 1_767_225_600 * SECOND  # 2026-01-01 00:00 UTC

    def __call__(self):
        return self.ns


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture(params=[*TWINS, "memory"])
def store(request, tmp_path, wall):
    if request.param == "memory":
        yield MemoryStore(wall=wall)
        return
    opened = QuickTable(tmp_path / "limits.table", twin=request.param, slots=16_384, wall=wall)
    yield opened
    opened.close()


def bucket(name, rate, **more):
    return Charge.of("test", bucket_key(name), name, rate, **more)


def log(count, period):
    return Rate(count, period, count, SLIDING_LOG)


def window(count, unit="hour", multiples=1, zone="UTC"):
    seconds = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "month": 2_592_000, "year": 31_536_000}[unit]
    return Rate(count, seconds * multiples * SECOND, count, FIXED_WINDOW, calendar=Calendar(unit, multiples, zone))


def at_once(count):
    return Rate(count, SECOND, count, CONCURRENT, "concurrent-requests")


# Sliding log


@loosely
@given(
    count=st.integers(1, 40), period=st.integers(1, 40), number=st.integers(0, 2**62),
    steps=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4)), min_size=1, max_size=90),
)  # fmt: skip
def test_a_sliding_log_never_admits_more_than_n_and_refuses_nothing_within(store, count, period, steps, number):
    charge = bucket(str(number), log(count, period))
    store.reset([charge])
    now, admitted = NOW + next(EPOCHS) * SECOND, []
    for step, cost in steps:
        now += step
        cost = min(cost, count)
        inside = sum(hits for moment, hits in admitted if now - period < moment <= now)
        decision = store.debit([charge.costing(cost)], now)
        assert decision.allowed == (inside + cost <= count)
        if decision.allowed:
            admitted.append((now, cost))
        else:
            # The first moment at which it would be let in, to the nanosecond.
            freed = now + decision.retry_after_ns
            assert sum(h for m, h in admitted if freed - period < m <= freed) + cost <= count
            assert sum(h for m, h in admitted if freed - 1 - period < m <= freed - 1) + cost > count
    for end, _ in admitted:
        assert sum(h for m, h in admitted if end - period < m <= end) <= count == charge.rate.most_in(period)


def test_a_sliding_log_says_what_remains(store):
    charge = bucket("a", log(3, 60 * SECOND))
    got = [store.debit([charge], NOW + i * SECOND).states[0][4:6] for i in range(4)]
    assert got == [(2, 60), (1, 60), (0, 60), (0, 57)]


def test_a_sliding_log_of_another_count_keeps_its_hits(store):
    assert all(store.debit([bucket("a", log(5, 60 * SECOND))], NOW + i).allowed for i in range(5))
    assert not store.debit([bucket("a", log(3, 60 * SECOND))], NOW + 9).allowed
    assert store.debit([bucket("a", log(6, 60 * SECOND))], NOW + 9).allowed


def test_hits_whose_clocks_were_read_in_the_wrong_order_stay_within_n(store):
    charge = bucket("a", log(2, 10))
    assert [store.debit([charge], NOW + at).allowed for at in (5, 3, 4, 14, 15)] == [True, True, False, False, True]


def test_A43_a_log_that_finds_no_room_is_refused_and_takes_nothing(tmp_path):
    small = SharedMemoryStore(tmp_path / "t", slots=2 * GROUP)
    charges = [bucket(str(i), log(20, SECOND)) for i in range(3)]
    decisions = [small.debit([charge], NOW) for _ in range(20) for charge in charges]
    assert any(d.full for d in decisions)
    assert sum(d.allowed for d in decisions) + 3 == small.used(NOW)
    assert all(small.debit([charge], NOW + SECOND).allowed for charge in charges)
    small.close()


def test_a_log_leaves_no_slot_behind(tmp_path):
    small = SharedMemoryStore(tmp_path / "t", slots=8 * GROUP)
    charge = bucket("a", log(30, SECOND))
    for n in range(40_000):  # more than once round the ring
        assert small.debit([charge], NOW + n * SECOND // 30 + n).allowed
    assert small.used(NOW + 40_000 * SECOND) == 0
    small.close()


# Fixed windows


@loosely
@given(
    count=st.integers(1, 6), number=st.integers(0, 2**62), unit=st.sampled_from(["minute", "hour", "day", "month"]),
    zone=st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata"]),
    steps=st.lists(st.tuples(st.sampled_from([0, 1, 7, 59, 3599, 40_000, 86_399, 2_600_000]), st.integers(1, 2)), max_size=60),
)  # fmt: skip
def test_a_fixed_window_admits_n_in_each_window_of_the_calendar(store, wall, count, number, unit, zone, steps):
    charge = bucket(str(number), window(count, unit, zone=zone))
    store.reset([charge])
    start = wall.ns = 1_767_225_600 * SECOND
    admitted = {}

    def name_of(ns):
        local = datetime.fromtimestamp(ns / 1e9, ZoneInfo(zone))
        fields = {"minute": 5, "hour": 4, "day": 3, "month": 2}[unit]
        return (*local.timetuple()[:fields], local.utcoffset() if unit in ("minute", "hour") else None)

    for step, cost in steps:
        cost = min(cost, count)
        wall.ns += step * SECOND
        here = name_of(wall.ns)
        fits = admitted.get(here, 0) + cost <= count
        assert store.debit([charge.costing(cost)], NOW + wall.ns - start).allowed == fits
        if fits:
            admitted[here] = admitted.get(here, 0) + cost


def test_twice_n_is_the_most_that_any_window_of_the_length_can_admit(store, wall):
    charge = bucket("a", window(5, "minute"))
    begin = wall.ns
    got = 0
    for second in (59, 60):
        wall.ns = begin + second * SECOND
        got += sum(store.debit([charge], NOW + second * SECOND).allowed for _ in range(9))
    assert got == 10 == charge.rate.most_in(60 * SECOND)


def test_a_clock_that_is_set_gives_no_second_quota(store, wall):
    charge = bucket("a", window(5, "hour"))
    wall.ns += 1800 * SECOND
    assert sum(store.debit([charge], NOW).allowed for _ in range(9)) == 5
    for jump in (3600, -3600, 86_400, -86_400, 900, -900):
        wall.ns += jump * SECOND
        assert not store.debit([charge], NOW + 60 * SECOND).allowed
    wall.ns += 1800 * SECOND
    assert store.debit([charge], NOW + 1800 * SECOND).allowed  # half an hour later, as if nothing had been set


def test_a_clock_set_back_as_a_window_ends_does_not_begin_it_again(store, wall):
    charge = bucket("a", window(2, "hour"))
    wall.ns += 3599 * SECOND
    assert [store.debit([charge], NOW).allowed for _ in range(3)] == [True, True, False]
    # One second later by the monotonic clock, and ten seconds before the hour by the one that was set.
    wall.ns -= 9 * SECOND
    assert [store.debit([charge], NOW + SECOND).allowed for _ in range(3)] == [True, True, False]
    wall.ns += 60 * SECOND
    assert not store.debit([charge], NOW + 61 * SECOND).allowed


def test_windows_of_the_calendar_follow_the_zone_and_its_summer_time():
    paris = ZoneInfo("Europe/Paris")

    def left(calendar, *local):
        return calendar.remaining_ns(int(datetime(*local, tzinfo=paris).timestamp()) * SECOND) // SECOND

    day, month = Calendar("day", 1, "Europe/Paris"), Calendar("month", 1, "Europe/Paris")
    assert left(day, 2026, 3, 29, 0, 0) == 23 * 3600
    assert left(day, 2026, 10, 25, 0, 0) == 25 * 3600
    assert left(month, 2026, 2, 1) == 28 * 86_400
    assert left(month, 2026, 12, 31, 23, 59) == 60
    assert left(Calendar("year", 1, "Europe/Paris"), 2026, 12, 31) == 86_400
    assert left(Calendar("month", 3, "Europe/Paris"), 2026, 3, 31) == 86_400
    for calendar in (day, month):
        start, end, following = calendar.bounds(int(datetime(2026, 3, 15, tzinfo=UTC).timestamp()) * SECOND)
        assert calendar.shortest_ns <= end - start <= calendar.longest_ns
        assert calendar.shortest_ns <= following - end <= calendar.longest_ns


def test_a_fixed_window_of_another_count_keeps_its_hits(store):
    assert all(store.debit([bucket("a", window(5))], NOW).allowed for _ in range(5))
    assert not store.debit([bucket("a", window(4))], NOW).allowed
    assert [store.debit([bucket("a", window(7))], NOW).allowed for _ in range(3)] == [True, True, False]


# Requests that run


def test_never_more_run_at_once_than_may(store):
    charge = bucket("a", at_once(2))
    assert [store.debit([charge], NOW).allowed for _ in range(3)] == [True, True, False]
    store.release([charge], NOW)
    assert [store.debit([charge], NOW).allowed for _ in range(2)] == [True, False]
    assert store.peek([charge], NOW).states[0].remaining == 0
    store.reset([charge])
    assert store.peek([charge], NOW).states[0].remaining == 2


def test_what_a_killed_worker_ran_is_over(tmp_path):
    path, charge = tmp_path / "t", bucket("a", at_once(2))
    ours = SharedMemoryStore(path, slots=64)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        theirs = SharedMemoryStore(path, slots=64)
        assert theirs.debit([charge], NOW).allowed
        assert theirs.debit([charge], NOW).allowed
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1)
    assert not ours.debit([charge], NOW).allowed
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert [ours.debit([charge], NOW).allowed for _ in range(3)] == [True, True, False]
    # Another that gets the dead one's number begins with nothing.
    other = SharedMemoryStore(path, slots=64)
    ours.release([charge], NOW)
    assert [other.debit([charge], NOW).allowed for _ in range(2)] == [True, False]
    assert not ours.debit([charge], NOW + LONGEST_HOLD - 1).allowed
    other.close()
    ours.close()
    os.close(read)
    os.close(write)


# All of them


rates = st.one_of(
    st.builds(lambda n, p, b: Rate(n, p * 100, b), st.integers(1, 5), st.integers(1, 30), st.integers(1, 6)),
    st.builds(lambda n, p: log(n, p * 100), st.integers(1, 6), st.integers(1, 30)),
    st.builds(window, st.integers(1, 6), st.just("second")),
    st.builds(at_once, st.integers(1, 6)),
)


@pytest.mark.parametrize("twin", TWINS)
@loosely
@given(
    limits=st.lists(rates, min_size=4, max_size=4), number=st.integers(0, 2**62),
    calls=st.lists(
        st.tuples(st.integers(0, 900), st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True), st.booleans()),
        max_size=40,
    ),
)  # fmt: skip
def test_shared_memory_says_what_memory_says_for_every_chain(tmp_path_factory, twin, limits, calls, number):
    wall = Wall()
    shared = QuickTable(tmp_path_factory.getbasetemp() / "same.table", twin=twin, slots=4096, wall=wall)
    memory = MemoryStore(wall=wall)
    charges = [bucket(f"{number} {i}", rate, shadow=i == 3) for i, rate in enumerate(limits)]
    shared.reset(charges)
    now = NOW
    for step, chain, ends in calls:
        now += step
        wall.ns += step
        ours = [charges[i] for i in chain]
        first, second = shared.debit(ours, now), memory.debit(ours, now)
        assert (first.violated, first.shadowed, first.retry_after_ns) == (
            second.violated,
            second.shadowed,
            second.retry_after_ns,
        )
        assert first.states == second.states
        assert [s.remaining for s in shared.peek(charges, now).states] == [
            s.remaining for s in memory.peek(charges, now).states
        ]
        if ends and first.allowed:
            held = [c for c in ours if c.algorithm == CONCURRENT and c.policy not in first.shadowed]
            shared.release(held, now)
            memory.release(held, now)
    shared.close()


def test_what_is_charged_afterwards_is_never_refused_and_bounded(store):
    for charge in (bucket("g", Rate(100, 100 * SECOND, 100, unit="content-bytes")), bucket("w", window(100))):
        store.add([charge.costing(80)], NOW)
        assert store.peek([charge], NOW).states[0].remaining == 20
        for _ in range(9):
            store.add([charge.costing(100)], NOW)
        assert not store.debit([charge], NOW).allowed
    assert not store.debit([bucket("g", Rate(100, 100 * SECOND, 100))], NOW + 100 * SECOND).allowed
    assert store.debit([bucket("g", Rate(100, 100 * SECOND, 100))], NOW + 101 * SECOND).allowed


def test_A43_a_full_memory_refuses_the_new_and_forgets_nobody():
    small = MemoryStore(most=10)
    charges = [bucket(str(n), Rate(1, SECOND, 1)) for n in range(30)]
    assert sum(small.debit([charge], NOW).allowed for charge in charges) == 10
    assert not any(small.debit([charge], NOW).allowed for charge in charges[:10])
    assert small.debit([charges[20]], NOW + SECOND).allowed


# Times of the week


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("08:00-18:00", ["2026-03-01 08:00", "2026-03-01 17:59"], ["2026-03-01 18:00", "2026-03-01 07:59"]),
        ("mon-fri 08:00-18:00", ["2026-03-02 12:00"], ["2026-03-01 12:00", "2026-03-02 19:00"]),
        ("sat,sun", ["2026-03-01 00:00"], ["2026-03-02 00:00"]),
        ("fri 22:00-06:00", ["2026-03-06 23:00", "2026-03-07 05:59"], ["2026-03-06 05:00", "2026-03-07 22:00"]),
        ("Friday-Monday", ["2026-03-02 10:00", "2026-03-06 10:00"], ["2026-03-03 10:00"]),
    ],
)
def test_a_time_range_holds_moments_of_the_week(text, inside, outside):
    found = TimeRange.parse(text)
    assert [found.holds(datetime.fromisoformat(moment)) for moment in inside] == [True] * len(inside)
    assert [found.holds(datetime.fromisoformat(moment)) for moment in outside] == [False] * len(outside)


@pytest.mark.parametrize("text", ["", "noon", "8-18", "25:00-26:00", "24:00-06:00", "08:00-08:00", "mon-xyz", "a b c"])
def test_what_is_no_time_range_is_refused(text):
    with pytest.raises(ConfigurationError, match="not a time range"):
        TimeRange.parse(text)


@pytest.mark.parametrize("twin", TWINS)
def test_Z24_a_dead_slot_that_an_earlier_bucket_of_the_chain_takes_is_not_used_twice(tmp_path, twin):
    # Two buckets whose slots are free again, asked for in other orders: each must find one of its own.
    small = QuickTable(tmp_path / "t", twin=twin, slots=2 * GROUP)
    charges = [bucket(str(n), Rate(5, SECOND, 5)) for n in range(6)]
    for turn in range(50):
        chain = charges[turn % 6 :] + charges[: turn % 6]
        now = NOW + turn * 10 * SECOND
        assert small.debit(chain[:3], now).allowed
        assert small.debit(chain, now).allowed
        assert [s.remaining for s in small.peek(chain, now).states] == [3, 3, 3, 4, 4, 4]
    small.close()
