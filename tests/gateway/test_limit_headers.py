"""The fields of a chain, made once, say what making them anew says."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.limit_headers import Fields, headers_of
from security.limits import CONCURRENT, FIXED_WINDOW, NANOSECONDS, SLIDING_LOG, Charge, Rate
from security.limits.memory import MemoryStore
from security.limits.times import Calendar

RATES = (
    Rate(5, 60 * NANOSECONDS, 5),
    Rate(7, 3600 * NANOSECONDS, 2),
    Rate(4, 60 * NANOSECONDS, 4, SLIDING_LOG),
    Rate(4, 3600 * NANOSECONDS, 4, FIXED_WINDOW, calendar=Calendar("hour")),
    Rate(4, NANOSECONDS, 4, CONCURRENT, "concurrent-requests"),
)


@given(
    which=st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=6),
    hits=st.integers(0, 6), legacy=st.booleans(),
)  # fmt: skip
def test_fields_made_once_say_the_same(which, hits, legacy):
    charges = tuple(
        Charge.of("channel", b"%d" % n, f'policy "{n % 2}"', RATES[rate], shown=shown)
        for n, (rate, shown) in enumerate(which)
    )
    store, fields = MemoryStore(wall=lambda: 1_767_225_600 * NANOSECONDS), Fields(charges, legacy=legacy)
    for hit in range(hits + 1):
        decision = store.debit(charges, 10**12 + hit * NANOSECONDS)
        assert fields.of(decision) == headers_of(decision.states, legacy=legacy)
