"""Tables of limits as the request path uses them: the quick debit first, in Python or in C, and the store for what that leaves."""

import pytest

from security.limits import NANOSECONDS, Charge, Decision, Rate, bucket_key
from security.limits.chains import COMPILED
from security.limits.shm import SharedMemoryStore

#: Python's debit alone is what decides where there is no compiler; CI has one.
TWINS = ("python", "c") if COMPILED else ("python",)
needs_c = pytest.mark.skipif(
    not COMPILED, reason="server missing: a C compiler and Python.h, and `make install` after that"
)


def bucket(name, rate, **more):
    return Charge.of("test", bucket_key(name), name, rate, **more)


class QuickTable(SharedMemoryStore):
    """A store whose `debit` is that of its chains where these take it. *quick* counts how often they did."""

    def __init__(self, path, *, twin, **more):
        super().__init__(path, compiled=twin == "c", **more)
        self.quick = 0

    def debit(self, charges, now_ns):
        chain = self.chain(charges)
        left = chain.debit(now_ns) if chain is not None else None
        if left is None:
            return super().debit(charges, now_ns)
        self.quick += 1
        standings = self.peek(charges, now_ns).standings
        decision = Decision(charges, standings, standings)
        # What callers are told by the one way is what they are told by the other.
        assert left == tuple(n for state in decision.states if state.shown for n in (state.remaining, state.reset_s))
        return decision


def standing(store, charge, now):
    """What the bucket owes."""
    found = store.peek([charge], now)
    return found.standings[0]


def hits(count, seconds=3600):
    return Rate(count, seconds * NANOSECONDS, count)
