"""The quick debit in Python and in C: the same on the same bytes, whatever they are, and nothing where it is not for them."""

import itertools
import mmap
import os
import signal
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limit_tables import TWINS, bucket, hits, needs_c, standing

from security.limits import NANOSECONDS, SLIDING_LOG, Rate, StoreUnavailable, chains
from security.limits.shm import SharedMemoryStore
from security.limits.table import ARMED, GROUP, HEADER_BYTES, JOURNAL, MAX_CHAIN, SLOT_BYTES

SECOND = NANOSECONDS
NOW = 1_000_000 * SECOND
NUMBERS = itertools.count()
loosely = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
words = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(NOW - 20, NOW + 20), st.integers(0, 50))

moments = st.one_of(st.integers(NOW - 9, NOW + 30), words)
#: Count, period, burst, cost, and whether it is shown.
limits = st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 8), st.integers(1, 9), st.booleans())


@pytest.fixture(params=TWINS)
def store(request, tmp_path):
    opened = SharedMemoryStore(tmp_path / "t", slots=64, compiled=request.param == "c")
    yield opened
    opened.close()


def test_what_is_left_is_told_of_each_bucket_that_is_shown(store):
    charges = [bucket("a", hits(3, 30)), bucket("b", hits(9), shown=False), bucket("c", hits(2, 3600))]
    assert store.debit(charges, NOW).allowed
    chain = store.chain(charges)
    assert chain.debit(NOW) == (1, 20, 0, 1800)
    assert chain.debit(NOW) is None
    # What did not pay took nothing from the others.
    assert [standing(store, one, NOW) // one.interval_ns for one in charges] == [2, 2, 2]


def test_a_chain_that_callers_are_told_nothing_of_is_debited_all_the_same(store):
    charges = [bucket("a", hits(3), shown=False)]
    store.debit(charges, NOW)
    assert store.chain(charges).debit(NOW) == ()


def test_chains_are_made_of_what_nearly_every_debit_is(store):
    one = bucket("a", hits(3))
    assert store.chain([]) is None
    assert store.chain([one, one]) is None
    assert store.chain([one, bucket("b", Rate(3, SECOND, 3, SLIDING_LOG))]) is None
    assert store.chain([bucket("c", Rate(1, 2**60, 3))]) is None
    assert store.chain([bucket(str(n), hits(3)) for n in range(MAX_CHAIN + 1)]) is None


def test_a_chain_finds_its_slots_when_they_are_there_and_again_when_they_moved(store):
    charges = [bucket(name, hits(9)) for name in "ab"]
    chain = store.chain(charges)
    assert chain.debit(NOW) is None
    store.debit(charges, NOW)
    assert chain.debit(NOW) == (7, 800, 7, 800)
    store.table.memory[HEADER_BYTES:] = bytes(64 * SLOT_BYTES)
    assert chain.debit(NOW) is None
    store.debit(list(reversed(charges)), NOW)
    assert chain.debit(NOW) == (7, 800, 7, 800)


def test_the_longest_chain(store):
    compiled = not isinstance(store.chain([bucket("a", hits(1))]), chains.PythonChain)
    big = SharedMemoryStore(store.path.with_name("big"), slots=4096, compiled=compiled)
    charges = [bucket(str(n), hits(9)) for n in range(MAX_CHAIN)]
    big.debit(charges, NOW)
    assert big.chain(charges).debit(NOW) == (7, 800) * MAX_CHAIN
    big.close()


def test_another_rate_is_left_to_the_store(store):
    store.debit([bucket("a", hits(9))], NOW)
    assert store.chain([bucket("a", hits(8))]).debit(NOW) is None


def test_an_armed_journal_is_left_to_the_store(store):
    charges = [bucket(name, hits(9)) for name in "ab"]
    store.debit(charges, NOW)
    store.table.words[ARMED // 8] = 77
    chain = store.chain(charges)
    assert (chain.debit(NOW), store.table.words[ARMED // 8]) == (None, 77)
    store.peek([], NOW)
    assert chain.debit(NOW) == (7, 800, 7, 800)


def test_nobody_waits_for_a_lock_that_another_has_or_left(store):
    charge = bucket("a", hits(9))
    store.debit([charge], NOW)
    chain = store.chain([charge])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        other = SharedMemoryStore(store.path, slots=64)
        other.table.lock()
        os.write(writer, b".")
        signal.pause()
    os.read(reader, 1)
    assert chain.debit(NOW) is None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    # The first who takes it is told that its holder died, and leaves it in order for whoever is next.
    assert chain.debit(NOW) is None
    assert chain.debit(NOW) == (7, 800)
    assert store.debit([charge], NOW).allowed


def test_a_table_that_was_closed_is_not_touched_any_more(store):
    charge = bucket("a", hits(9))
    store.debit([charge], NOW)
    chain = store.chain([charge])
    with pytest.raises(BufferError):
        store.table.memory.close()
    store.close()
    assert store.table.memory.closed
    assert chain.debit(NOW) is None
    assert store.chain([charge]) is None
    with pytest.raises(StoreUnavailable):
        store.debit([charge], NOW)


def test_the_child_of_a_fork_does_not_debit_by_its_parents_chain(store):
    charge = bucket("a", hits(9))
    store.debit([charge], NOW)
    chain = store.chain([charge])
    child = os.fork()
    if child == 0:
        os._exit(7 if chain.debit(NOW) is None else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert chain.debit(NOW) == (7, 800)


# Both, on the same bytes


@needs_c
@loosely
@given(
    limits=st.lists(limits, min_size=1, max_size=6),
    slots=st.lists(st.tuples(words, st.one_of(st.none(), words)), min_size=6, max_size=6),
    armed=st.sampled_from([0, 0, 0, 0, 5]), moments=st.lists(moments, min_size=1, max_size=4),
)  # fmt: skip
def test_the_two_do_the_same_to_the_same_bytes_whatever_these_are(tmp_path, limits, slots, armed, moments):
    first, second = (
        SharedMemoryStore(tmp_path / f"{next(NUMBERS)}", slots=64, compiled=compiled) for compiled in (False, True)
    )
    charges = [
        bucket(str(n), Rate(count, period, burst), cost=min(cost, burst), shown=shown)
        for n, (count, period, burst, cost, shown) in enumerate(limits)
    ]
    first.debit(charges, NOW)
    for charge, (until, interval) in zip(charges, slots, strict=False):
        place = first.table.place(charge.key)
        assert first.table.find(place)
        first.table.words[place.slot // 8 + 2] = until
        if interval is not None:
            first.table.words[place.slot // 8 + 3] = interval
    first.table.words[ARMED // 8] = armed
    second.table.memory[:64] = bytes(64)  # nobody reads the header while it is open
    second.table.memory[ARMED:] = first.table.memory[ARMED:]
    ours = chains.PythonChain(first.table, (buckets := _buckets(first, charges)))
    theirs = second._make_chain(buckets)
    for now in moments:
        assert theirs.debit(now) == ours.debit(now)
        assert second.table.memory[ARMED:] == first.table.memory[ARMED:]
    first.close()
    second.close()


def _buckets(store, charges):
    found = []
    for one in charges:
        place = store.table.place(one.key)
        found.append(
            chains.Bucket(
                place.digest, place.first, place.second, one.interval_ns, one.capacity_ns, one.cost_ns, one.shown
            )
        )
    return found


@needs_c
@pytest.mark.parametrize("count", [2, 3, 31])
def test_what_one_was_killed_at_the_other_finishes(tmp_path, count):
    """The journal, armed and not carried out, as each of them leaves it."""
    charges = [bucket(str(n), hits(9)) for n in range(count)]
    for compiled in (False, True):
        path = tmp_path / f"{compiled}"
        killed = SharedMemoryStore(path, slots=128, compiled=compiled)
        killed.debit(charges, NOW)
        slots = killed.table.memory[HEADER_BYTES:]
        assert killed.chain(charges).debit(NOW) is not None
        record = killed.table.memory[JOURNAL : JOURNAL + 8 + 40 * count]
        # As it was before the debit, but for the word that says what has to be done.
        killed.table.memory[HEADER_BYTES:] = slots
        killed.table.words[ARMED // 8] = chains.crc32(record) + 1
        found = SharedMemoryStore(path, slots=128, compiled=not compiled)
        assert [standing(found, one, NOW) // one.interval_ns for one in charges] == [2] * count
        found.close()
        killed.close()


# Arguments that are none

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=20), st.text(max_size=5))
anything = st.one_of(scalars, st.lists(scalars, max_size=8), st.lists(st.tuples(scalars, scalars), max_size=2))
groups = st.one_of(
    st.integers(0, 5).map(lambda n: HEADER_BYTES + n * GROUP * SLOT_BYTES), st.integers(-(2**70), 2**70), anything
)
numbers = st.one_of(st.integers(-2, 5), st.integers(2**60, 2**62), anything)
tuples = st.tuples(
    st.one_of(st.binary(min_size=16, max_size=16), anything), groups, groups, numbers, numbers, numbers, anything
)


@needs_c
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_to_table=anything, buckets=st.one_of(anything, st.lists(tuples, max_size=3)), now=anything)
def test_no_argument_brings_it_down(tmp_path, given_to_table, buckets, now):
    compiled = chains._chains
    with pytest.raises((TypeError, ValueError)):
        compiled.Table(given_to_table)
    with pytest.raises(TypeError):
        compiled.Chain()
    opened = SharedMemoryStore(tmp_path / "t", slots=64, compiled=False)
    native = compiled.Table(opened.table.memory)
    chain = opened_chain = None
    try:
        try:
            chain = native.chain(buckets)
        except (TypeError, ValueError, OverflowError):
            pass
        opened_chain = native.chain([(bytes(16), HEADER_BYTES, HEADER_BYTES, 1, 1, 1, True)])
        for one in (chain, opened_chain):
            if one is not None:
                try:
                    assert isinstance(one.debit(now), tuple | None)
                except (TypeError, OverflowError):
                    pass
    finally:
        native.close()
        native.close()
        opened.close()
    assert opened_chain.debit(NOW) is None


@needs_c
def test_what_is_mapped_and_no_table_is_refused(tmp_path):
    compiled = chains._chains
    for content in (
        bytes(4096),
        bytes(HEADER_BYTES),
        bytes(HEADER_BYTES + 512),
        b"GWLIMIT3" + struct.pack("<Q", 32) + bytes(HEADER_BYTES),
    ):
        with mmap.mmap(-1, len(content)) as memory:
            memory[:] = content
            with pytest.raises(ValueError, match="not a limit table"):
                compiled.Table(memory)
    closed = mmap.mmap(-1, 4096)
    closed.close()
    with pytest.raises(ValueError):
        compiled.Table(closed)


@needs_c
def test_one_built_for_another_layout_is_not_used():
    assert chains._chains.LAYOUT == chains._LAYOUT
    assert chains._LAYOUT[0] == b"GWLIMIT3"


class Closing:
    """The moment of a debit, which closes the table while it is being read."""

    def __init__(self, store):
        self.store = store

    def __index__(self):
        self.store.close()
        return NOW


@needs_c
def test_a_table_closed_by_what_is_asked_for_on_the_way_is_not_touched(tmp_path):
    opened = SharedMemoryStore(tmp_path / "t", slots=64, compiled=True)
    charge = bucket("a", hits(9))
    opened.debit([charge], NOW)
    assert opened.chain([charge]).debit(Closing(opened)) is None
