"""Limits: how often, from where. This page holds the records that pass between rules and stores, and the store's base class.

A `Rate` is what a rule allows, counted by an *algorithm* in a *unit*; a `Charge` is one rate applied to one subject, a bucket; a
store debits a whole chain of charges or none of it, and says what it did in a `Decision`.

    gcra            one number a bucket, smooth; at most ``burst + count - 1`` in any period
    sliding-log     the moments of the last hits; never more than ``count`` in any period
    fixed-window    a count that starts anew with each hour, day, month of a calendar; at most twice ``count``
    concurrent      requests that are not answered yet; never more than ``count`` at any moment
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

from security.limits.times import NANOSECONDS, Calendar
from specs.problems import BackendUnavailable

__all__ = [
    "ALGORITHMS", "AT_ONCE", "BYTES", "CONCURRENT", "FIXED_WINDOW", "GCRA", "LEVELS", "NANOSECONDS", "REQUESTS", "SLIDING_LOG",
    "Chain", "Charge", "Decision", "Rate", "Standing", "State", "Store", "StoreUnavailable", "bucket_key",
]  # fmt: skip

GCRA, SLIDING_LOG, FIXED_WINDOW, CONCURRENT = "gcra", "sliding-log", "fixed-window", "concurrent"
ALGORITHMS = (GCRA, SLIDING_LOG, FIXED_WINDOW)
#: What is counted, in the words of draft-ietf-httpapi-ratelimit-headers.
REQUESTS, BYTES, AT_ONCE = "requests", "content-bytes", "concurrent-requests"
#: The levels of the quota chain, from the widest.
LEVELS = ("gateway", "channel", "service", "operation", "group", "security", "consumer", "user")


class StoreUnavailable(BackendUnavailable):
    """The counters cannot be reached; `on_store_failure` says what happens then."""


@dataclass(frozen=True, slots=True)
class Rate:
    """*count* hits in *period_ns* nanoseconds, of which *burst* may come at once (gcra). *calendar* has fixed windows' bounds."""

    count: int
    period_ns: int
    burst: int
    algorithm: str = GCRA
    unit: str = REQUESTS
    calendar: Calendar | None = None

    @property
    def interval_ns(self) -> int:
        """Time that one hit costs. Rounded up: what does not divide is never to the caller's advantage."""
        return -(-self.period_ns // self.count)

    @property
    def capacity_ns(self) -> int:
        """Time that may be owed: `burst` hits."""
        return self.burst * self.interval_ns

    def most_in(self, window_ns: int) -> int:
        """The greatest number that any window of *window_ns* (open at one end) can admit: ``2n - 1`` for gcra."""
        if self.algorithm == SLIDING_LOG:
            return self.count * -(-window_ns // self.period_ns)
        if self.algorithm == FIXED_WINDOW:
            shortest = self.calendar.shortest_ns if self.calendar is not None else self.period_ns
            return self.count * ((window_ns - 2) // shortest + 2)
        return self.burst + (window_ns - 1) // self.interval_ns

    @property
    def most_at_once(self) -> int:
        """What one request may cost at most."""
        return self.burst if self.algorithm == GCRA else self.count


class Charge(NamedTuple):
    """One bucket of a chain. Built when a subject is first seen and kept: the request path only passes it on.

    *level* says what is limited (``channel``), *policy* is the name that callers see, *key* names the bucket (see `bucket_key`),
    *cost* what is taken, in hits. A *shadow* charge is counted and reported and refuses nothing; callers are not told of one
    that is not *shown*.
    """

    level: str
    key: bytes
    policy: str
    rate: Rate
    interval_ns: int
    capacity_ns: int
    cost_ns: int
    shadow: bool = False
    cost: int = 1
    algorithm: str = GCRA
    shown: bool = True
    durable: bool = False

    @classmethod
    def of(
        cls,
        level: str,
        key: bytes,
        policy: str,
        rate: Rate,
        *,
        cost: int = 1,
        shadow: bool = False,
        shown: bool = True,
        durable: bool = False,
    ) -> Charge:
        """The charge of *cost* hits of *rate*. Raises ValueError for a cost that could never be paid."""
        if not 0 < cost <= rate.most_at_once:
            raise ValueError(f"a request that costs {cost} is never let in where {rate.most_at_once} may come at once")
        interval = rate.interval_ns
        return cls(
            level,
            key,
            policy,
            rate,
            interval,
            rate.capacity_ns,
            cost * interval,
            shadow,
            cost,
            rate.algorithm,
            shown,
            durable,
        )

    def costing(self, cost: int) -> Charge:
        """The same bucket, charged *cost* hits; what can never be paid is cut to what the bucket holds."""
        cost = min(max(1, cost), self.rate.most_at_once)
        return self._replace(cost=cost, cost_ns=cost * self.interval_ns)


class State(NamedTuple):
    """One bucket as a caller sees it: *remaining* hits at once, and *reset_s* seconds until there are more.

    With hits remaining, *reset_s* is the time until the bucket is whole again; with none, until the next one.
    """

    level: str
    policy: str
    quota: int
    window_s: int
    remaining: int
    reset_s: int
    unit: str = REQUESTS
    shown: bool = True


#: How a bucket stands: what it owes in nanoseconds (gcra), or the hits in it and the nanoseconds until there is room again.
Standing = int | tuple[int, int]


class Decision:
    """What a debit did: *before* and *after* are the standings of each charge's bucket."""

    __slots__ = ("_after", "_before", "_charges", "full", "retry_after_ns", "shadowed", "violated")

    def __init__(
        self,
        charges: Sequence[Charge],
        before: Sequence[Standing],
        after: Sequence[Standing],
        *,
        violated: tuple[str, ...] = (),
        shadowed: tuple[str, ...] = (),
        retry_after_ns: int = 0,
        full: bool = False,
    ) -> None:
        self.violated = violated  #: policies that refuse; nothing was taken if there is one
        self.shadowed = shadowed  #: policies in shadow mode that would have refused
        self.retry_after_ns = retry_after_ns
        self.full = full  #: the store had no room for a new bucket
        self._charges = charges
        self._before = before
        self._after = after

    @property
    def allowed(self) -> bool:
        """Whether the request may go on."""
        return not self.violated

    @property
    def retry_after(self) -> int:
        """Whole seconds after which the same request would be let in; 0 where it was."""
        return -(-self.retry_after_ns // NANOSECONDS)

    @property
    def states(self) -> tuple[State, ...]:
        """Each bucket after the debit, for the RateLimit fields. Worked out when asked for."""
        return tuple(map(_state, self._charges, self._after))

    @property
    def charges(self) -> Sequence[Charge]:
        """What was charged, in the order of `standings`."""
        return self._charges

    @property
    def standings(self) -> Sequence[Standing]:
        """Each bucket after the debit, in the algorithm's own numbers."""
        return self._after

    def joined(self, other: Decision) -> Decision:
        """This and *other* as one: both let the request in."""
        return Decision(
            (*self._charges, *other._charges), (*self._before, *other._before), (*self._after, *other._after),
            shadowed=self.shadowed + other.shadowed,
        )  # fmt: skip

    def before(self) -> Decision:
        """The same verdict with the buckets as they were."""
        return Decision(
            self._charges, self._before, self._before, violated=self.violated, shadowed=self.shadowed,
            retry_after_ns=self.retry_after_ns, full=self.full,
        )  # fmt: skip


def _state(charge: Charge, standing: Standing) -> State:
    rate = charge.rate
    if type(standing) is int:
        remaining = max(0, (charge.capacity_ns - standing) // charge.interval_ns)
        wait = standing if remaining else standing + charge.interval_ns - charge.capacity_ns
    else:
        used, wait = cast("tuple[int, int]", standing)
        remaining = max(0, rate.count - used)
    window_s = 0 if charge.algorithm == CONCURRENT else max(1, rate.period_ns // NANOSECONDS)
    reset_s = -(-wait // NANOSECONDS)
    # PERF: a NamedTuple's own constructor is a Python function: 0.2 us more for each bucket of each request.
    members = (charge.level, charge.policy, rate.count, window_s, remaining, reset_s, rate.unit, charge.shown)
    return tuple.__new__(State, members)


class Chain(Protocol):
    """A chain of charges that a store has made ready, for the requests that nothing is to be said about."""

    def debit(self, now_ns: int, /) -> tuple[int, ...] | None:
        """Take from each bucket: hits left and seconds until there are more, of each that is shown, one after another.

        None: nothing was taken, and `Store.debit` is to decide.
        """


class Store:
    """Where buckets live. *now_ns* is `time.monotonic_ns()` at the moment of the call."""

    def debit(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """Take from every bucket of *charges*, or from none. Raises StoreUnavailable."""
        raise NotImplementedError

    def chain(self, charges: Sequence[Charge]) -> Chain | None:
        """*charges* made ready to be debited again and again, quicker than by `debit`; None where they cannot be."""
        return None

    def peek(self, charges: Sequence[Charge], now_ns: int) -> Decision:
        """What `debit` would say, with the buckets as they are and nothing taken. Raises StoreUnavailable."""
        raise NotImplementedError

    def add(self, charges: Sequence[Charge], now_ns: int) -> None:
        """Charge what turned out to be due only afterwards (the bytes of an answer): never refused. Raises StoreUnavailable.

        A bucket owes at most twice what it holds.
        """
        raise NotImplementedError

    def release(self, charges: Sequence[Charge], now_ns: int) -> None:
        """These concurrent charges are over. Raises StoreUnavailable."""
        raise NotImplementedError

    def reset(self, charges: Sequence[Charge]) -> None:
        """Empty these buckets: their subjects owe nothing any more. Raises StoreUnavailable."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the store holds in this process; the buckets stay."""


def bucket_key(*parts: str | bytes) -> bytes:
    """The name of a bucket, from the names that make it up.

    >>> bucket_key("a:b", "c") == bucket_key("a", "b:c")
    False
    """
    # SECURITY: A54. Every part goes in with its length; no separator could be told from the same sign inside a name.
    encoded = (part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass") for part in parts)
    return b"".join(b"%d:%b" % (len(part), part) for part in encoded)
