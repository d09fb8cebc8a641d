"""Limits on the request path: which buckets a request falls into, and what its caller is told.

Two debits. *Admission*, before anybody is identified: by address, and once more for a failed authentication; local to the machine
and never given back. *Quota*, after it: the whole chain (`security.limits.LEVELS`) at once, all or nothing. Bytes of answers are
charged, and requests that run counted out, when the request is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gateway.built_in import sso_of
from gateway.limit_headers import Fields, headers_of
from gateway.limit_stores import Stores
from security.addresses import parse_address
from security.limits import AT_ONCE, BYTES, REQUESTS, Chain, Charge, Decision, State
from security.limits.rules import CompiledLimit
from specs.problems import Problem

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration, Definition
    from gateway.pipeline import Step
    from specs.exchange import Exchange, Identity

#: Calls kept by channel. A full cache starts anew: it holds nothing that cannot be computed again (A43).
CALLS = 20_000

Entry = tuple[str, str | bytes, CompiledLimit]


class Called:
    """What is charged for one kind of call, and what was made of it once: *quick* debits it, *fields* tell what is left.

    *address* and *identity* it was found for, where it is kept for the next request with the same head.
    """

    __slots__ = ("address", "charges", "fields", "identity", "quick")

    def __init__(self, address: str, charges: tuple[Charge, ...]) -> None:
        self.address = address
        self.charges = charges
        self.identity: Identity | None = None
        self.fields: Fields | None = None
        self.quick: Chain | None = None

    def by(self, identity: Identity) -> Called:
        """The same, found for *identity*."""
        found = Called(self.address, self.charges)
        found.identity, found.fields, found.quick = identity, self.fields, self.quick
        return found


class Limits:
    """The limits of one process. A limit that did not change is the same compiled object in each snapshot."""

    def __init__(self, stores: Stores, clock: Callable[[], float] = time.time) -> None:
        self.stores = stores
        self._clock = clock
        self._compiled: dict[str, tuple[str, CompiledLimit]] = {}

    def admission(self, configuration: Configuration) -> Callable[[Exchange], None] | None:
        """What takes the admission limit's hit for a request, where there is such a limit."""
        name = configuration.gateway.admission
        if name is None:
            return None
        compiled = self.compile(configuration, name)
        debit_local = self.stores.local_debit(configuration.gateway.on_store_failure)
        clock = self.stores.clock

        def debit(exchange: Exchange) -> None:
            address = exchange.address
            known: Called | None = exchange.kept.get(debit)
            # SECURITY: A20. The same head is of another address as soon as whoever sent it is no proxy of ours any more.
            if known is None or known.address != address:
                known = Called(address, compiled.charges("admission", subject_of(address), address))
                if not compiled.timed:
                    known.quick = self.stores.local.chain(known.charges)
                    exchange.kept[debit] = known
            # PERF: 0.3 us for who was here before and is let in, which is nearly everybody; 5 without all this.
            if known.quick is not None and known.quick.debit(clock()) is not None:
                return
            charges = known.charges
            if charges:
                decision = debit_local(charges)
                if decision is not None and (decision.violated or decision.shadowed):
                    self.stores.tally(charges, decision, address, address)
                    if decision.violated:
                        raise refusal(charges, decision, configuration.gateway.legacy_headers)

        return debit

    def failed_authentication(self, configuration: Configuration) -> Callable[[Exchange], None]:
        """What takes a further hit of the admission limit when credentials were wrong. Never refunded."""
        debit = self.admission(configuration)
        return debit if debit is not None else lambda exchange: None

    def quotas(
        self, configuration: Configuration, channel: str, settings: Any, tuning: Definition | None
    ) -> Quotas | None:
        """The quotas that requests of a channel fall under, or None where there are none."""
        gateway = configuration.gateway
        fixed: list[Entry] = []
        named = [("gateway", "", gateway.limit), ("channel", channel, settings.limit)]
        if tuning is not None:
            named.append(("service", tuning.name, tuning.settings.limit))
        for level, subject, name in named:
            if name is not None:
                fixed.append((level, subject, self.compile(configuration, name)))
        levels: dict[str, Mapping[str, CompiledLimit]] = {
            "service": self._named(configuration, "services") if not hasattr(settings, "service") else {},
            "operation": {
                operation: self.compile(configuration, name)
                for operation, name in (getattr(settings, "operation_limits", None) or {}).items()
            },
        }
        if settings.security:
            for kind, level in (("groups", "group"), ("security", "security"), ("consumers", "consumer")):
                levels[level] = self._named(configuration, kind)
            levels["user"] = self._people(configuration)
        if not fixed and not any(levels.values()):
            return None
        cost = getattr(settings, "cost", 1) * (tuning.settings.cost if tuning is not None else 1)
        costs: dict[str, int] = {}
        if not hasattr(settings, "service"):
            costs = {n: d.settings.cost for n, d in configuration.of("services").items() if d.settings.cost != 1}
        return Quotas(self.stores, gateway, fixed, levels, cost, costs)

    def compile(self, configuration: Configuration, name: str) -> CompiledLimit:
        """The limit definition *name*, compiled once."""
        definition = configuration.objects["limits", name]
        found = self._compiled.get(name)
        if found is None or found[0] != definition.digest:
            found = self._compiled[name] = (definition.digest, definition.settings.compile(name, self._clock))
        return found[1]

    def _people(self, configuration: Configuration) -> Mapping[str, CompiledLimit]:
        people = sso_of(configuration)
        if people is None:
            return {}
        settings = people.settings
        named = {
            name: self.compile(configuration, one.limit)
            for name, one in settings.users.items()
            if one.limit is not None
        }
        everybody = self.compile(configuration, settings.user_limit) if settings.user_limit is not None else None
        return People(named, everybody) if everybody is not None else named

    def _named(self, configuration: Configuration, kind: str) -> dict[str, CompiledLimit]:
        return {
            name: self.compile(configuration, definition.settings.limit)
            for name, definition in configuration.of(kind).items()
            if getattr(definition.settings, "limit", None) is not None
        }


class People(dict[str, CompiledLimit]):
    """The limits of people by user name; *everybody* is that of those who have none of their own, each counted alone."""

    def __init__(self, named: Mapping[str, CompiledLimit], everybody: CompiledLimit) -> None:
        super().__init__({**named, "": everybody})  # nobody is called so
        self._everybody = everybody

    def get(self, name: str, default: Any = None) -> Any:
        """The limit of that person."""
        return super().get(name, self._everybody) if name else default


class Quotas:
    """The quotas of one channel: those that every request falls under, and those that depend on who calls what.

    *levels* are limits by level and name. *cost* is what a call of the channel takes, times *costs* of the service called.
    """

    def __init__(
        self,
        stores: Stores,
        gateway: Any,
        fixed: Iterable[Entry],
        levels: Mapping[str, Mapping[str, CompiledLimit]],
        cost: int = 1,
        costs: Mapping[str, int] | None = None,
    ) -> None:
        self._stores = stores
        self._legacy = gateway.legacy_headers
        self._storage = gateway.limit_storage
        self._fixed = tuple(fixed)
        self._levels = levels
        self._by_operation = bool(levels.get("service") or levels.get("operation") or costs)
        self._cost = cost
        self._costs = costs or {}
        limits = [compiled for _, _, compiled in self._fixed]
        limits += [compiled for named in levels.values() for compiled in named.values()]
        self._timed = any(compiled.timed for compiled in limits)
        self._replacing = any(rule.replaces for compiled in limits for rule in compiled.rules)
        #: Whether something is left to do when a request is over.
        self.has_end = any(unit != REQUESTS for compiled in limits for unit in compiled.units)
        durable = any(compiled.durable for compiled in limits)
        self._quick = not (self._timed or self.has_end or durable)
        self._clock = stores.clock
        self._debit = stores.debit(gateway.limit_storage, gateway.on_store_failure, durable)
        self._calls: dict[Any, Called] = {}

    def debit(self, exchange: Exchange) -> tuple[Charge, ...]:
        """Take one from each, or from none. Raises Problem 429 or 403, and fills the headers that callers read.

        Gives what has to be settled when the request is over.
        """
        # PERF: 1.5 us for a chain of five that lets in who was here before, its fields included, where debits run in C.
        known: Called | None = exchange.kept.get(self)
        # SECURITY: A20. The same head is of another address as soon as whoever sent it is no proxy of ours any more.
        if known is None or known.identity is not exchange.identity or known.address != exchange.address:
            known = self._called(exchange)
        quick = known.quick
        if quick is not None:
            left = quick.debit(self._clock())
            if left is not None:
                exchange.limit_headers = known.fields.of_left(left)  # type: ignore[union-attr]
                return ()
        return self._decide(exchange, known)

    def _called(self, exchange: Exchange) -> Called:
        identity = exchange.identity
        service, operation = _operation(exchange) if self._by_operation else ("", "")
        found = self._call(exchange.address, identity, service, operation)
        if self._timed:
            return found
        if found.fields is None:
            found.fields = Fields(found.charges, legacy=self._legacy)
            if self._quick:
                found.quick = self._stores.store(self._storage).chain(found.charges)
        if not self._by_operation:
            exchange.kept[self] = found.by(identity)
        return found

    def _decide(self, exchange: Exchange, known: Called) -> tuple[Charge, ...]:
        """The debit in full, of whatever there is to be said about it."""
        charges = known.charges
        if not charges:
            return ()
        if self.has_end:
            length = max(exchange.body_length, len(exchange.body))
            charges = tuple(one.costing(length) if one.rate.unit == BYTES else one for one in charges)
        decision = self._debit(charges)
        if decision is None:
            return ()
        if decision.violated or decision.shadowed:
            who = exchange.identity.name or exchange.address
            self._stores.tally(charges, decision, who, exchange.address)
            if decision.violated:
                raise refusal(charges, decision, self._legacy)
        # A worker's own share, and a chain over two stores, are told as they were counted.
        if known.fields is not None and decision.charges is charges:
            exchange.limit_headers = known.fields.of(decision)
        else:
            exchange.limit_headers = headers_of(decision.states, legacy=self._legacy)
        if not self.has_end:
            return ()
        return tuple(
            one for one in charges
            if one.rate.unit == BYTES or (one.rate.unit == AT_ONCE and one.policy not in decision.shadowed)
        )  # fmt: skip

    def left(self, address: str, identity: Identity) -> tuple[State, ...]:
        """What is left of each quota for a caller, from whom nothing is taken. Raises Problem 403."""
        charges = tuple(one for one in self.chain(address, identity) if one.rate.unit == REQUESTS and one.shown)
        return self._stores.peek(self._storage, charges) if charges else ()

    def chain(self, address: str, identity: Identity, service: str = "", operation: str = "") -> tuple[Charge, ...]:
        """The buckets of one request, from the widest level. Raises Problem 403."""
        return self._call(address, identity, service, operation).charges

    def _call(self, address: str, identity: Identity, service: str, operation: str) -> Called:
        # PERF: one look-up (0.4 us) for a caller who was here before, however many levels there are.
        key = (address, identity.name, identity.kind, identity.definition, identity.user, service, operation)
        found = self._calls.get(key)
        if found is not None:
            return found
        entries = self.entries(identity, service, operation)
        if self._replacing:
            rules = [compiled.rule_for(address) for _, _, compiled in entries]
            replaced = frozenset[str]().union(*(rule.replaces for rule in rules if rule is not None))
            entries = [entry for entry in entries if entry[0] not in replaced]
        charges: tuple[Charge, ...] = ()
        cost = self._cost * self._costs.get(service, 1)
        for level, subject, compiled in entries:
            charges += compiled.charges(level, subject, address, cost)
        found = Called(address, charges)
        if not self._timed:
            if len(self._calls) >= CALLS:
                self._calls.clear()
            self._calls[key] = found
        return found

    def entries(self, identity: Identity, service: str = "", operation: str = "") -> list[Entry]:
        """The limits that a request of *identity* falls under: level, subject and definition."""
        entries = list(self._fixed)
        levels = self._levels
        named: list[tuple[str, str]] = [("service", service), ("operation", operation)]
        if identity:
            if identity.kind == "consumer":
                named += [("group", group) for group in sorted(identity.groups)]
            named.append(("security", identity.definition))
            if identity.kind != "user":
                named.append(("consumer", identity.name))
            if identity.user:
                named.append(("user", user_of(identity)))
        for level, name in named:
            compiled = levels.get(level, {}).get(name)
            if compiled is not None:
                entries.append((level, name, compiled))
        return entries

    def until_answered(self, steps: Iterable[Step]) -> Step:
        """The debit and the steps after it, as one step: what is left over is settled however they end."""
        rest = tuple(steps)

        def limit_and_answer(exchange: Exchange) -> None:
            charges = self.debit(exchange)
            try:
                for step in rest:
                    step(exchange)
            except BaseException:
                self._settle(exchange, charges, 0)
                raise
            stream = exchange.response_stream
            if charges and stream is not None:
                exchange.response_stream = _Counted(stream, lambda sent: self._settle(exchange, charges, sent))
            elif charges:
                self._settle(exchange, charges, len(exchange.response_body))

        return limit_and_answer

    def _settle(self, exchange: Exchange, charges: Sequence[Charge], sent: int) -> None:
        # SECURITY: A37. A body whose length nobody announced could not be charged before it came; and what was announced and
        # did not come would be paid for by all who share the quota.
        came = exchange.arrived() if exchange.arrived is not None else None
        if came is not None and exchange.body_length < 0:
            sent, came = sent + came, None
        self._stores.settle(self._storage, charges, sent, came)


class _Counted:
    """A streamed answer that tells how many bytes of it were sent, once, when it is over or given up."""

    def __init__(self, stream: Iterable[bytes], told: Callable[[int], None]) -> None:
        self._stream = stream
        self._told: Callable[[int], None] | None = told
        self._sent = 0

    def __iter__(self) -> Any:
        try:
            for part in self._stream:
                self._sent += len(part)
                yield part
        finally:
            self.close()

    def close(self) -> None:
        """The answer is over."""
        told, self._told = self._told, None
        if told is not None:
            told(self._sent)
            close = getattr(self._stream, "close", None)
            if close is not None:
                close()


def user_of(identity: Identity) -> str:
    """The user name of whom *identity* is, or whom it is linked to."""
    return identity.name if identity.kind == "user" else str(identity.attributes.get("username", identity.user))


def subject_of(address: str) -> bytes:
    """What an address is counted as before anybody is identified."""
    # SECURITY: A33. By address, since nothing else is proven yet; the address is the right-most untrusted one (A20).
    # A22: of IPv6 the /64, since whoever has one address has all of them.
    parsed = parse_address(address)
    return parsed.bucket() if parsed is not None else address.encode()


def refusal(charges: Iterable[Charge], decision: Decision, legacy: bool = False) -> Problem:
    """What a caller is told whom *decision* refuses: 429, or 503 where there is no room for another bucket."""
    retry_after = str(max(1, decision.retry_after))
    if decision.full:
        return Problem.of("overloaded", "too many callers at once", headers=[("Retry-After", retry_after)])
    hidden = {charge.policy for charge in charges if not charge.shown}
    shown = [policy for policy in decision.violated if policy not in hidden]
    return Problem.of(
        "quota-exceeded",
        f"try again in {retry_after} s",
        headers=[("Retry-After", retry_after), *headers_of(decision.states, legacy=legacy)],
        members={"violated-policies": list(dict.fromkeys(shown))} if shown else {},
    )


def _operation(exchange: Exchange) -> tuple[str, str]:
    """The service and the operation that a message calls, where the channel has several."""
    operation = getattr(exchange.opened, "operation", None)
    return (operation.service, operation.name) if operation is not None else ("", "")
