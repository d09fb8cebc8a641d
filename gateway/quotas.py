"""Limits on the request path: which buckets a request falls into, and what its caller is told.

Two debits. *Admission*, before anybody is identified: by address, and once more for a failed authentication. *Quota*,
after it: the whole chain (gateway, channel, service, groups, consumer) at once, all or nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from security.addresses import parse_address
from security.limits import Charge, Decision, State, Store, StoreUnavailable
from security.limits.rules import CompiledLimit
from security.limits.shm import SharedMemoryStore
from specs.problems import Problem

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration, Definition
    from specs.exchange import Exchange

log = logging.getLogger("gatewright.limits")

FILE_NAME = "limits.table"


def open_store(data: Path) -> Store:
    """The counters of this machine, shared by its processes. Raises ConfigurationError where they do not fit."""
    return SharedMemoryStore(data / FILE_NAME)


class Limits:
    """The limits of one process. A limit that did not change is the same compiled object in each snapshot."""

    def __init__(self, store: Store, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._store = store
        self._clock = clock
        self._compiled: dict[str, tuple[str, CompiledLimit]] = {}

    def admission(self, configuration: Configuration) -> Callable[[Exchange], None] | None:
        """What takes the admission limit's hit for a request, where there is such a limit."""
        name = configuration.gateway.admission
        if name is None:
            return None
        compiled = self._compile(configuration, name)
        fails_open = configuration.gateway.on_store_failure == "allow"

        def debit(exchange: Exchange) -> None:
            # SECURITY: A33. By address, since nothing else is proven yet; the address is the right-most untrusted one (A20).
            # A22: of IPv6 the /64, since whoever has one address has all of them.
            address = parse_address(exchange.address)
            subject = address.bucket() if address is not None else exchange.address.encode()
            charges = compiled.charges("admission", subject, exchange.address)
            if charges:
                self.debit(charges, fails_open)

        return debit

    def failed_authentication(self, configuration: Configuration) -> Callable[[Exchange], None]:
        """What takes a further hit of the admission limit when credentials were wrong. Never refunded."""
        debit = self.admission(configuration)
        return debit if debit is not None else lambda exchange: None

    def quotas(
        self, configuration: Configuration, channel: str, settings: Any, tuning: Definition | None
    ) -> Quotas | None:
        """The quotas that requests of a channel fall under, or None where there are none."""
        fixed: list[tuple[str, str, CompiledLimit]] = []
        named = (
            ("gateway", "", configuration.gateway.limit),
            ("channel", channel, settings.limit),
            (
                "service",
                tuning.name if tuning is not None else "",
                tuning.settings.limit if tuning is not None else None,
            ),
        )
        for level, subject, name in named:
            if name is not None:
                fixed.append((level, subject, self._compile(configuration, name)))
        groups = {n: self._compile(configuration, d.settings.limit) for n, d in _limited(configuration, "groups")}
        consumers = {n: self._compile(configuration, d.settings.limit) for n, d in _limited(configuration, "consumers")}
        if not fixed and not (settings.security and (groups or consumers)):
            return None
        return Quotas(self, fixed, groups, consumers, configuration.gateway.on_store_failure == "allow")

    def debit(self, charges: tuple[Charge, ...], fails_open: bool) -> Decision | None:
        """Take one from every bucket, or from none. Raises Problem 429; 503 where the counters cannot be reached.

        With *fails_open* requests go on uncounted meanwhile: the answer is None.
        """
        try:
            decision = self._store.debit(charges, self._clock())
        except StoreUnavailable as error:
            log.error("limits cannot be counted: %s", error)
            if fails_open:
                return None
            raise Problem.of("overloaded", "limits cannot be counted at the moment", headers=RETRY_SOON) from error
        if decision.allowed:
            return decision
        retry_after = str(max(1, decision.retry_after))
        if decision.full:
            raise Problem.of("overloaded", "too many callers at once", headers=[("Retry-After", retry_after)])
        raise Problem.of(
            "quota-exceeded",
            f"try again in {retry_after} s",
            headers=[("Retry-After", retry_after), *headers_of(decision.states)],
            members={"violated-policies": list(decision.violated)},
        )

    def _compile(self, configuration: Configuration, name: str) -> CompiledLimit:
        definition = configuration.objects["limits", name]
        found = self._compiled.get(name)
        if found is None or found[0] != definition.digest:
            found = self._compiled[name] = (definition.digest, definition.settings.compile(name))
        return found[1]


RETRY_SOON = (("Retry-After", "1"),)


class Quotas:
    """The quotas of one channel: those that every request falls under, and those of groups and consumers."""

    def __init__(
        self,
        limits: Limits,
        fixed: Iterable[tuple[str, str, CompiledLimit]],
        groups: Mapping[str, CompiledLimit],
        consumers: Mapping[str, CompiledLimit],
        fails_open: bool,
    ) -> None:
        self._limits = limits
        self._fixed = tuple(fixed)
        self._groups = groups
        self._consumers = consumers
        self._fails_open = fails_open

    def debit(self, exchange: Exchange) -> None:
        """Take one from each, or from none. Raises Problem 429 or 403, and fills the headers that callers read."""
        address = exchange.address
        identity = exchange.identity
        charges: tuple[Charge, ...] = ()
        for level, subject, compiled in self._fixed:
            charges += compiled.charges(level, subject, address)
        if identity.kind == "consumer":
            for group in identity.groups:
                limit = self._groups.get(group)
                if limit is not None:
                    charges += limit.charges("group", group, address)
            limit = self._consumers.get(identity.name)
            if limit is not None:
                charges += limit.charges("consumer", identity.name, address)
        if not charges:
            return
        decision = self._limits.debit(charges, self._fails_open)
        if decision is not None:
            exchange.limit_headers = headers_of(decision.states)


def headers_of(states: Iterable[State]) -> list[tuple[str, str]]:
    """``RateLimit`` and ``RateLimit-Policy`` as in draft-ietf-httpapi-ratelimit-headers-11.

    >>> headers_of([State("channel", "standard", 100, 60, 99, 1)])
    [('RateLimit-Policy', '"standard";q=100;w=60'), ('RateLimit', '"standard";r=99;t=1')]
    """
    policies: dict[str, str] = {}
    items: list[str] = []
    for state in states:
        # Two levels may use one definition; a policy's name has to be its own.
        name = state.policy if state.policy not in policies else f"{state.level}-{state.policy}"
        quoted = name.replace("\\", "\\\\").replace('"', '\\"').encode("ascii", "replace").decode()
        policies[name] = f'"{quoted}";q={state.quota};w={state.window_s}'
        items.append(f'"{quoted}";r={state.remaining};t={state.reset_s}')
    return [("RateLimit-Policy", ", ".join(policies.values())), ("RateLimit", ", ".join(items))]


def _limited(configuration: Configuration, kind: str) -> list[tuple[str, Definition]]:
    return [(n, d) for n, d in configuration.of(kind).items() if d.settings.limit is not None]
