"""The stores that one process counts in, and what becomes of requests while one of them is lost.

    local       the shared memory of this machine: admission, and quotas unless the configuration says otherwise
    shared      redis://, for several machines; `on_store_failure` says what happens while it does not answer
    durable     the database, for definitions that are `durable`

A chain that touches the durable store too is looked at in the quick one first, then taken from the durable, then from the quick;
where that last one refuses after all, the durable gets its hits back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from security.limits import AT_ONCE, BYTES, Charge, Decision, Rate, State, Store, StoreUnavailable
from security.limits.guarded import GuardedStore
from security.limits.memory import MemoryStore
from security.limits.shm import SharedMemoryStore
from specs.problems import Problem

if TYPE_CHECKING:
    from security.database import Database

log = logging.getLogger("gatewright.limits")

FILE_NAME = "limits.table"
#: Callers who are refused, by name; the least refused makes room for a new one.
TOP = 200
#: Policies that are counted by name.
POLICIES = 1000
OTHERS = "~others"

Debit = Callable[[tuple[Charge, ...]], Decision | None]


def open_store(data: Path) -> SharedMemoryStore:
    """The counters of this machine, shared by its processes. Raises ConfigurationError where they do not fit."""
    return SharedMemoryStore(data / FILE_NAME)


def open_shared(url: str) -> Store:
    """The counters of several machines. Raises ConfigurationError for a URL that cannot be used."""
    from security.limits.redis import RedisStore

    return RedisStore(url)


def durable_store(database: Database) -> Store:
    """The counters in the database."""
    from security.limits.sql import SqlStore

    return SqlStore(database)


class Stores:
    """The stores of one process, and what they refused. *share* is the part of a limit that is this process's own (1/share).

    *later* runs what need not be waited for.
    """

    def __init__(
        self,
        local: Store,
        *,
        durable: Callable[[], Store] | None = None,
        open_shared: Callable[[str], Store] = open_shared,
        share: int = 1,
        clock: Callable[[], int] = time.monotonic_ns,
        later: Callable[[Callable[[], None]], Any] = lambda work: work(),
    ) -> None:
        self.local = local
        self.decided_locally = 0
        self.uncounted = 0
        self.refused: dict[tuple[str, str, str], int] = {}
        self.callers: dict[tuple[str, str, str], int] = {}
        self._open_shared = open_shared
        self._open_durable = durable
        self._durable: Store | None = None
        self._shared: dict[str, GuardedStore] = {}
        self._share = share
        self.clock = clock
        self._later = later
        self._own = MemoryStore()
        self._shares: dict[bytes, Charge] = {}
        self._holders: dict[int, Store] = {}
        self._policy = "deny"
        self._storage = "shm"

    def store(self, storage: str) -> Store:
        """Where quotas are counted."""
        if storage == "shm":
            return self.local
        if storage not in self._shared:
            self._shared[storage] = GuardedStore(self._open_shared(storage))
        return self._shared[storage]

    def peek(self, storage: str, charges: tuple[Charge, ...]) -> tuple[State, ...]:
        """What is left of each bucket; nothing is taken. Empty while they cannot be read."""
        try:
            return self.store(storage).peek(charges, self.clock()).states
        except StoreUnavailable:
            return ()

    def debit(self, storage: str, policy: str, durable: bool = False) -> Debit:
        """What takes a chain of charges from *storage*; `on_store_failure` is *policy*. Raises Problem 503; None: not counted."""
        self._policy, self._storage = policy, storage
        store = self.store(storage)
        clock, lost = self.clock, self._lost
        if durable and self._open_durable is not None:
            return lambda charges: self._both(store, charges, policy)

        def debit(charges: tuple[Charge, ...]) -> Decision | None:
            try:
                return store.debit(charges, clock())
            except StoreUnavailable as error:
                return lost(charges, policy, error)

        return debit

    def local_debit(self, policy: str) -> Debit:
        """What takes admission's charges, from this machine's store."""

        def debit(charges: tuple[Charge, ...]) -> Decision | None:
            try:
                return self.local.debit(charges, self.clock())
            except StoreUnavailable as error:
                return self._lost(charges, policy, error)

        return debit

    def _both(self, quick: Store, charges: tuple[Charge, ...], policy: str) -> Decision | None:
        long = tuple(one for one in charges if one.durable)
        short = tuple(one for one in charges if not one.durable)
        try:
            now = self.clock()
            if short and not (seen := quick.peek(short, now)).allowed:
                return seen
            if not long:
                return quick.debit(short, now)
            first = self.durable.debit(long, now)
            if not first.allowed or not short:
                return first
            second = quick.debit(short, self.clock())
            if not second.allowed:
                self.durable.add([one._replace(cost=-one.cost, cost_ns=-one.cost_ns) for one in long], now)
                return second
            return first.joined(second)
        except StoreUnavailable as error:
            return self._lost(charges, policy, error)

    @property
    def durable(self) -> Store:
        """The store in the database."""
        if self._durable is None:
            assert self._open_durable is not None
            self._durable = self._open_durable()
        return self._durable

    def _lost(self, charges: tuple[Charge, ...], policy: str, error: StoreUnavailable) -> Decision | None:
        if policy == "allow":
            self.uncounted += 1
            return None
        if policy == "local":
            self.decided_locally += 1
            return self._own.debit([self._part(one) for one in charges], self.clock())
        log.debug("limits cannot be counted: %s", error)
        raise Problem.of(
            "overloaded", "limits cannot be counted at the moment", headers=[("Retry-After", "1")]
        ) from error

    def _part(self, charge: Charge) -> Charge:
        """This process's own share of a charge: one hit at least."""
        found = self._shares.get(charge.key)
        rate = charge.rate
        if found is None or found.rate.period_ns != rate.period_ns:
            count, burst = max(1, rate.count // self._share), max(1, rate.burst // self._share)
            mine = Rate(count, rate.period_ns, burst, rate.algorithm, rate.unit, rate.calendar)
            if len(self._shares) >= 10_000:
                self._shares.clear()
            found = self._shares[charge.key] = Charge.of(
                charge.level, charge.key, charge.policy, mine, shadow=charge.shadow, shown=charge.shown
            )
        return found.costing(charge.cost)

    def settle(self, storage: str, charges: Sequence[Charge], sent: int, came: int | None = None) -> None:
        """A request is over: *sent* bytes are charged, and it no longer runs. Never raises.

        Where its body was charged as it was announced, and only *came* bytes of it came, the others are given back.
        """
        late = [_late(one, sent, came) for one in charges if one.rate.unit == BYTES]
        octets = [one for one in late if one.cost and not one.durable]
        long = [one for one in late if one.cost and one.durable]
        held = [one for one in charges if one.rate.unit == AT_ONCE]
        store = self.store(storage)

        def work() -> None:
            try:
                if octets:
                    store.add(octets, self.clock())
                if held:
                    store.release(held, self.clock())
                if long:
                    self.durable.add(long, self.clock())
            except StoreUnavailable:
                if held:
                    self._own.release(held, self.clock())

        if octets or held or long:
            if store is self.local and not long:
                work()
            else:
                self._later(work)

    def reset(self, storage: str, charges: Sequence[Charge]) -> None:
        """Empty buckets, wherever they are. Raises StoreUnavailable."""
        parts = (
            (self.local, [one for one in charges if one.level == "admission"]),
            (self.store(storage), [one for one in charges if one.level != "admission" and not one.durable]),
            (None, [one for one in charges if one.durable]),
        )
        for store, mine in parts:
            if mine:
                (store or self.durable).reset(mine)

    def sweep(self) -> None:
        """Forget durable buckets that have owed nothing for a day."""
        if self._durable is not None and hasattr(self._durable, "sweep"):
            self._durable.sweep()

    # what operators see

    def tally(self, charges: Sequence[Charge], decision: Decision, who: str, address: str) -> None:
        """Count who was refused, and by what."""
        for policies, verdict in ((decision.violated, "refused"), (decision.shadowed, "shadow")):
            for policy in policies:
                level = next((one.level for one in charges if one.policy == policy), "")
                key = (level, policy, verdict)
                # SECURITY: A43. Policies come from the configuration and callers from everywhere: both are bounded.
                if key not in self.refused and len(self.refused) >= POLICIES:
                    key = (OTHERS, OTHERS, verdict)
                self.refused[key] = self.refused.get(key, 0) + 1
        if decision.violated:
            caller = (who, address, decision.violated[0])
            count = self.callers.get(caller)
            if count is None and len(self.callers) >= TOP:
                # Space-saving (Metwally 2005): who comes often stays, and is over-counted by at most what the least one had.
                least = min(self.callers, key=self.callers.__getitem__)
                count = self.callers.pop(least)
            self.callers[caller] = (count or 0) + 1

    def facts(self) -> dict[str, Any]:
        """How counting goes, for /status."""
        lost = [store for store in self._shared.values() if store.lost_since is not None]
        return {
            "storage": self._storage.partition(":")[0],
            "state": "lost" if lost else "counting",
            "on_store_failure": self._policy,
            "losses": self.losses(),
            "lost_seconds": round(self.lost_seconds(), 3),
            **({"reason": lost[0].reason} if lost else {}),
        }

    def lost(self) -> float:
        """How many stores are lost at the moment."""
        return float(sum(store.lost_since is not None for store in self._shared.values()))

    def losses(self) -> int:
        """How many times a store was lost."""
        return sum(store.losses for store in self._shared.values())

    def lost_seconds(self) -> float:
        """How long stores were lost, all losses together."""
        return sum(store.absent_s for store in self._shared.values())

    def failures(self) -> float:
        """How many calls of a store have failed."""
        return float(sum(store.failures for store in self._shared.values()))

    def publish(self, metrics: Any) -> None:
        """Have *metrics* tell all this."""
        metrics.gauge("limit_stores_lost", self.lost)
        metrics.counter("limit_store_failures", self.failures)
        metrics.counter("limit_store_losses", self.losses)
        metrics.counter("limit_store_lost_seconds", self.lost_seconds)
        metrics.counter("limits_decided_locally", lambda: self.decided_locally)
        metrics.counter("limits_uncounted", lambda: self.uncounted)
        metrics.table("limit_refusals", ("level", "policy", "verdict"), lambda: self.refused)
        metrics.table("limited_callers", (), lambda: self.callers)

    def close(self) -> None:
        """Close every store; the buckets stay."""
        for store in (*self._shared.values(), self.local, *([self._durable] if self._durable is not None else [])):
            store.close()


def _late(charge: Charge, sent: int, came: int | None) -> Charge:
    """What is due for the bytes of a request that is over, below nothing where more was charged than came."""
    due = sent - (max(0, charge.cost - came) if came is not None else 0)
    return charge.costing(due) if due > 0 else charge._replace(cost=due, cost_ns=due * charge.interval_ns)
