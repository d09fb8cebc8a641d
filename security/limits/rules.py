"""Rules: the limit definitions of a configuration document, compiled into what the request path asks.

Two ways to write the same records. A list, where the longest prefix decides unless ``match: first`` is said::

    rules:
      - {from: 10.0.0.0/8, rate: unlimited}
      - {from: "*",        rate: [10/second, 1000/hour]}

and text, as users of Zato know it, one rule a line, where the first that fits decides::

    192.168.0.0/16 = 5000/d       # the office
    127.0.0.1      = *            # no limit
    *              = 10/m

An address that no rule holds is not allowed in at all. A rule with times (``during``) is as if it were not there at others, so
that the next one decides. Units are s, m, h, d, second, minute, hour, day, month (30 days, or the calendar's where windows are
fixed), year (360 days, likewise), and every notation of the `limits` library: ``10 per hour``, ``5/10 minutes``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from security.addresses import CACHE_SIZE, EVERYWHERE, PrefixMap, parse_network
from security.limits import AT_ONCE, BYTES, CONCURRENT, GCRA, LEVELS, Charge, Rate, bucket_key
from security.limits.notation import DENY, UNLIMITED, Rates, Verdict, parse_rate, period_name
from security.limits.times import TimeRange, zone_of
from specs.problems import ConfigurationError, ConfigurationErrors, Problem, nearest
from specs.settings import Settings, setting

__all__ = ["DENY", "UNLIMITED", "CompiledLimit", "LimitDefinition", "Rule", "RuleSettings", "parse_rate"]
MAX_RATES = 8


@dataclass(frozen=True, slots=True)
class Rule:
    """From where, when, how often. *networks* are CIDRs; *name* is the rule's part in the names of its buckets.

    *cost* is what a request takes, *replaces* the levels whose limits do not count where this rule does.
    """

    name: str
    networks: tuple[str, ...]
    rates: Rates
    during: tuple[TimeRange, ...] = ()
    cost: int = 1
    replaces: frozenset[str] = frozenset()


class RuleSettings(Settings):
    """One rule of a limit definition."""

    source: list[str] | str = setting('addresses, networks or "*": one, or a list', name="from")
    rate: list[str] | str = setting("10/second, 1000/hour, unlimited or deny: one, or a list of which all must hold")
    algorithm: Literal["gcra", "sliding-log", "fixed-window"] | None = setting(
        "how hits are counted, where it is not the definition's way", default=None
    )
    burst: int | None = setting("hits that may come at once, where it is not the definition's number", default=None)
    during: list[str] | str = setting(
        "times of the week at which the rule counts, such as mon-fri 08:00-18:00; always if left out", default=[]
    )
    cost: int = setting("hits that a request takes", default=1)
    replaces: list[str] | str = setting(
        "levels whose limits do not count for a request under this rule: " + ", ".join(LEVELS), default=[]
    )


class LimitDefinition(Settings):
    """How often callers may come, by the address they come from."""

    rules: list[RuleSettings] | str = setting("a list of rules, or text with one `address = rate` per line")
    match: Literal["first", "longest-prefix"] | None = setting(
        "which rule counts where several fit: longest-prefix unless said for a list, first for text", default=None
    )
    algorithm: Literal["gcra", "sliding-log", "fixed-window"] = setting("how hits are counted", default="gcra")
    burst: int | None = setting(
        "hits that may come at once; without it the count of the rate, so at most 2n-1 in any period", default=None
    )
    mode: Literal["enforce", "shadow"] = setting("refuse, or count and report and refuse nothing", default="enforce")
    timezone: str = setting("time zone of `during` and of fixed windows", default="UTC")
    show: bool = setting("whether callers see the limit in RateLimit headers and problems", default=True)
    durable: bool = setting(
        "whether hits are kept in the database: for long quotas that must survive everything; takes a write a request",
        default=False,
    )

    def check(self, path: str) -> None:
        """Raises ConfigurationErrors that name every rule that cannot be used."""
        try:
            CompiledLimit("", self)
        except ConfigurationErrors as errors:
            raise ConfigurationErrors([error.under(path) if path else error for error in errors.errors]) from None
        except ConfigurationError as error:
            raise (error.under(path) if path else error) from None

    def compile(self, name: str, clock: Callable[[], float] = time.time) -> CompiledLimit:
        """The definition as the request path uses it. *clock* tells the time of day. Raises ConfigurationError."""
        return CompiledLimit(name, self, clock)


class CompiledLimit:
    """A limit definition, ready to be asked. *warnings* are sentences on rules that can never count."""

    def __init__(self, name: str, definition: LimitDefinition, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.shadow = definition.mode == "shadow"
        self.shown = definition.show
        self.durable = definition.durable
        self._clock = clock
        self._zone = zone_of(definition.timezone)
        textual = isinstance(definition.rules, str)
        self.match = definition.match or ("first" if textual else "longest-prefix")
        self.rules = tuple(_parse_text(definition) if isinstance(definition.rules, str) else _parse_list(definition))
        if not self.rules:
            raise ConfigurationError(
                "rules", "there is no rule, so nobody could come in", 'write * = 10/m, or {from: "*"}'
            )
        if self.durable and any(rate.algorithm not in ("gcra", "fixed-window") for rate in self._rates()):
            raise ConfigurationError(
                "durable", "a database keeps neither sliding logs nor requests at once", "use gcra or fixed-window"
            )
        # By network the rules for it, in order; all but the last of them count at certain times only.
        networks: dict[tuple[int, int, int], tuple[str, list[int]]] = {}
        for index, rule in enumerate(self.rules):
            for network in rule.networks:
                indexes = networks.setdefault(parse_network(network), (network, []))[1]
                if indexes and not self.rules[indexes[-1]].during and self.match == "longest-prefix":
                    raise ConfigurationError(
                        f"rules[{index}]",
                        f"the network {network} stands in an earlier rule too",
                        "leave one of them out",
                    )
                indexes.append(index)
        self._prefixes: PrefixMap[tuple[tuple[int, ...], int]] = PrefixMap(
            (network, (tuple(indexes), parsed[2])) for parsed, (network, indexes) in networks.items()
        )
        self.warnings = tuple(self._unreachable()) if self.match == "first" else ()
        self._by_address: dict[str, tuple[Rule, ...]] = {}
        self._charges: dict[tuple[str, str | bytes, str, int], tuple[Charge, ...]] = {}
        self._active: dict[tuple[TimeRange, ...], tuple[int, bool]] = {}
        self.timed = any(rule.during for rule in self.rules)
        self.units = frozenset(rate.unit for rate in self._rates())

    def rule_for(self, address: str) -> Rule | None:
        """The rule that counts for *address* now; None where none does."""
        # PERF: 0.1 us an address seen before: no scan of rules, no expression, on the request path.
        try:
            rules = self._by_address[address]
        except KeyError:
            rules = self._rules_for(address)
        if not self.timed:
            return rules[0] if rules else None
        return next((rule for rule in rules if not rule.during or self._counts_now(rule.during)), None)

    def _rules_for(self, address: str) -> tuple[Rule, ...]:
        indexes = [index for found, _ in self._prefixes.matches(address) for index in found]
        if self.match == "first":
            indexes.sort()
        if len(self._by_address) >= CACHE_SIZE:
            self._by_address.clear()
        rules = self._by_address[address] = tuple(self.rules[index] for index in indexes)
        return rules

    def _counts_now(self, during: tuple[TimeRange, ...]) -> bool:
        minute = int(self._clock()) // 60
        known, counts = self._active.get(during, (-1, False))
        if known != minute:
            local = datetime.fromtimestamp(minute * 60, self._zone)
            counts = any(times.holds(local) for times in during)
            self._active[during] = (minute, counts)
        return counts

    def rates_for(self, address: str) -> Rates:
        """The rates for *address*, `UNLIMITED`, or `DENY`, which is also said where no rule holds the address."""
        rule = self.rule_for(address)
        return DENY if rule is None else rule.rates

    def charges(self, level: str, subject: str | bytes, address: str, cost: int = 1) -> tuple[Charge, ...]:
        """The buckets that one request of *subject* (a channel, a consumer, an address) is charged to at *level*.

        *cost* is the operation's own. Empty where it is unlimited. Raises Problem ``address-not-allowed``. In shadow mode nobody
        is kept out.
        """
        rule = self.rule_for(address)
        if rule is None or rule.rates is DENY:
            if self.shadow:
                return ()
            raise Problem.of("address-not-allowed", "requests from this address are not accepted here")
        if isinstance(rule.rates, Verdict):
            return ()
        key = (level, subject, rule.name, cost)
        found = self._charges.get(key)
        if found is None:
            found = tuple(self._charge(level, subject, rule, rate, cost) for rate in rule.rates)
            if len(self._charges) >= CACHE_SIZE:
                self._charges.clear()
            self._charges[key] = found
        return found

    def _charge(self, level: str, subject: str | bytes, rule: Rule, rate: Rate, cost: int) -> Charge:
        assert not isinstance(rule.rates, Verdict)
        parts: list[str | bytes] = [level, self.name, subject, rule.name]
        name = period_name(rate.period_ns)
        if rate.unit == AT_ONCE:
            parts.append(CONCURRENT)
            name = "at-once"
        else:
            # A bucket outlives a change of its rate; another algorithm or unit is another bucket.
            parts += [str(rate.period_ns), *([rate.algorithm] if rate.algorithm != GCRA else [])]
            if rate.unit == BYTES:
                parts.append(BYTES)
                name = f"bytes-{name}"
        charge = Charge.of(
            level,
            bucket_key(*parts),
            self.name if len(rule.rates) == 1 else f"{self.name}-{name}",
            rate,
            shadow=self.shadow,
            shown=self.shown,
            durable=self.durable,
        )
        # WHY: a request at once is one, whatever it costs; bytes are known with the request alone.
        return charge if rate.unit in (AT_ONCE, BYTES) or cost * rule.cost == 1 else charge.costing(cost * rule.cost)

    def _rates(self) -> Iterator[Rate]:
        for rule in self.rules:
            if not isinstance(rule.rates, Verdict):
                yield from rule.rates

    def _unreachable(self) -> Iterator[str]:
        for index, rule in enumerate(self.rules):
            covers = []
            for network in rule.networks:
                length = parse_network(network)[2]
                wider = [
                    earlier
                    for found, other in self._prefixes.matches(network.partition("/")[0])
                    if other <= length
                    for earlier in found
                    if earlier == index or not self.rules[earlier].during
                ]
                covers.append(min(wider))
            if all(cover < index for cover in covers):
                earlier = ", ".join(self.rules[min(covers)].networks)
                yield (
                    f"the rule for {', '.join(rule.networks)} is never reached, since an earlier one ({earlier}) fits first: "
                    "move it up, or say match: longest-prefix"
                )


def _parse_list(definition: LimitDefinition) -> list[Rule]:
    rules = []
    errors = []
    for index, one in enumerate(definition.rules):
        assert isinstance(one, RuleSettings)
        path = f"rules[{index}]"
        try:
            networks = _networks([one.source] if isinstance(one.source, str) else one.source, f"{path}.from")
            texts = [one.rate] if isinstance(one.rate, str) else one.rate
            burst = definition.burst if one.burst is None else one.burst
            rates = _rates(texts, definition, f"{path}.rate", burst, one.algorithm)
            times = [one.during] if isinstance(one.during, str) else one.during
            rules.append(
                Rule(
                    " ".join([*networks, *times]),
                    networks,
                    rates,
                    tuple(_time_range(text, f"{path}.during") for text in times),
                    _cost(one.cost, f"{path}.cost", rates),
                    _levels([one.replaces] if isinstance(one.replaces, str) else one.replaces, f"{path}.replaces"),
                )
            )
        except ConfigurationError as error:
            errors.append(error)
    if errors:
        raise ConfigurationErrors(errors)
    return rules


def _time_range(text: str, path: str) -> TimeRange:
    try:
        return TimeRange.parse(text)
    except ConfigurationError as error:
        raise error.under(path) from None


def _cost(cost: int, path: str, rates: Rates) -> int:
    if cost < 1:
        raise ConfigurationError(path, f"a request takes at least one hit, not {cost}", "write 1 or more")
    if not isinstance(rates, Verdict) and any(
        cost > rate.most_at_once for rate in rates if rate.unit not in (AT_ONCE, BYTES)
    ):
        raise ConfigurationError(path, f"a request that costs {cost} would never be let in", "write a lower cost")
    return cost


def _levels(words: Sequence[str], path: str) -> frozenset[str]:
    for word in words:
        if word not in LEVELS:
            raise ConfigurationError(path, f"no level called '{word[:40]}'", nearest(word, LEVELS))
    return frozenset(words)


def _parse_text(definition: LimitDefinition) -> list[Rule]:
    assert isinstance(definition.rules, str)
    rules = []
    errors = []
    for number, line in enumerate(definition.rules.splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        path = f"rules (line {number})"
        try:
            source, equals, rate = text.partition("=")
            if not equals:
                raise ConfigurationError(path, f"not a rule: '{text[:80]}'", "write 127.0.0.1 = 100/m")
            networks = _networks(source.split(","), path)
            rules.append(
                Rule(" ".join(networks), networks, _rates(rate.split(","), definition, path, definition.burst))
            )
        except ConfigurationError as error:
            errors.append(error)
    if errors:
        raise ConfigurationErrors(errors)
    return rules


def _networks(sources: Sequence[str], path: str) -> tuple[str, ...]:
    networks: list[str] = []
    for source in sources:
        text = source.strip()
        if text == "*":
            networks.extend(EVERYWHERE)
            continue
        try:
            parse_network(text)
        except ConfigurationError as error:
            raise error.under(path) from None
        networks.append(text)
    if not networks:
        raise ConfigurationError(path, "no address is given", 'write 10.0.0.0/8 or "*"')
    return tuple(dict.fromkeys(networks))


def _rates(
    texts: Sequence[str], definition: LimitDefinition, path: str, burst: int | None, algorithm: str | None = None
) -> Rates:
    rates: list[Rate] = []
    for text in texts:
        try:
            parsed = parse_rate(
                text, burst=burst, algorithm=algorithm or definition.algorithm, zone=definition.timezone
            )
        except ConfigurationError as error:
            raise ConfigurationError(path, error.message, error.remedy) from None
        if isinstance(parsed, Verdict):
            if len(texts) > 1:
                raise ConfigurationError(path, f"'{parsed.value}' stands alone", "leave the other rates out")
            return parsed
        rates.extend(parsed)
    if not rates:
        raise ConfigurationError(path, "no rate is given", "write 10/second, 100/m, 20 at once, unlimited or deny")
    if len(rates) > MAX_RATES:
        raise ConfigurationError(path, f"a rule has at most {MAX_RATES} rates", "leave some of them out")
    if len({(rate.unit, rate.period_ns) for rate in rates}) < len(rates):
        raise ConfigurationError(path, "two rates are for the same period", "keep the lower one")
    return tuple(rates)
