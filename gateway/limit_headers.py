"""What callers read of their limits: RateLimit and RateLimit-Policy, and on request the older X-RateLimit fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from security.limits import NANOSECONDS, REQUESTS, Charge, Decision, State


def headers_of(states: Iterable[State], *, legacy: bool = False) -> list[tuple[str, str]]:
    """``RateLimit`` and ``RateLimit-Policy`` as in draft-ietf-httpapi-ratelimit-headers-11, of the limits that are shown.

    With *legacy* the X-RateLimit fields too, of the limit that is nearest to its end.

    >>> headers_of([State("channel", "standard", 100, 60, 99, 1)])
    [('RateLimit-Policy', '"standard";q=100;w=60'), ('RateLimit', '"standard";r=99;t=1')]
    """
    policies: dict[str, str] = {}
    items: list[str] = []
    tightest: State | None = None
    for state in states:
        if not state.shown:
            continue
        # Two levels may use one definition; a policy's name has to be its own.
        name = state.policy if state.policy not in policies else f"{state.level}-{state.policy}"
        quoted, policies[name] = _policy(name, state.quota, state.window_s, state.unit)
        items.append(
            f"{quoted};r={state.remaining};t={state.reset_s}" if state.window_s else f"{quoted};r={state.remaining}"
        )
        if not legacy or tightest is None or state.remaining * tightest.quota < tightest.remaining * state.quota:
            tightest = state
    if tightest is None:
        return []
    headers = [("RateLimit-Policy", ", ".join(policies.values())), ("RateLimit", ", ".join(items))]
    if legacy:
        headers += [
            ("X-RateLimit-Limit", str(tightest.quota)),
            ("X-RateLimit-Remaining", str(tightest.remaining)),
            ("X-RateLimit-Reset", str(tightest.reset_s)),
        ]
    return headers


# PERF: what is the same from request to request is made once: 0.15 us a policy instead of 1.1.
@lru_cache(maxsize=1024)
def _policy(name: str, quota: int, window_s: int, unit: str) -> tuple[str, str]:
    """A policy's name as a string of structured fields (RFC 9651), and its item of RateLimit-Policy."""
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"').encode("ascii", "replace").decode() + '"'
    window = f";w={window_s}" if window_s else ""
    quota_unit = f';qu="{unit}"' if unit != REQUESTS else ""
    return quoted, f"{quoted};q={quota}{quota_unit}{window}"


class Fields:
    """The fields of one chain of charges: what does not change from one request to the next is made once."""

    def __init__(self, charges: Sequence[Charge], *, legacy: bool = False) -> None:
        self._legacy = legacy
        nothing = Decision(charges, [0] * len(charges), [0 if one.algorithm == "gcra" else (0, 0) for one in charges])
        found = headers_of(nothing.states)
        self._policy = found[0] if found else None
        prefixes = iter([item.partition(";")[0] for item in found[1][1].split(", ")] if found else [])
        #: Position in the chain, how the item begins, and gcra's capacity and interval (0 for other algorithms).
        self._items = tuple(
            (index, next(prefixes), one.capacity_ns, one.interval_ns if one.algorithm == "gcra" else 0)
            for index, one in enumerate(charges)
            if one.shown
        )
        self._plain = not legacy and all(interval for _, _, _, interval in self._items)

    def of(self, decision: Decision) -> list[tuple[str, str]]:
        """The same as `headers_of` says."""
        if self._policy is None:
            return []
        if not self._plain:
            return headers_of(decision.states, legacy=self._legacy)
        # PERF: 2.3 us for five buckets, where making states and texts anew takes 5.
        standings = decision.standings
        parts = []
        for index, prefix, capacity, interval in self._items:
            owed: int = standings[index]  # type: ignore[assignment]
            remaining = (capacity - owed) // interval
            wait = owed
            if remaining <= 0:
                remaining, wait = 0, owed + interval - capacity
            parts.append(f"{prefix};r={remaining};t={-(-wait // NANOSECONDS)}")
        return [self._policy, ("RateLimit", ", ".join(parts))]
