"""Rules: the limit definitions of a configuration document, compiled into what the request path asks.

Two ways to write the same records. A list, where the longest prefix decides unless ``match: first`` is said::

    rules:
      - {from: 10.0.0.0/8, rate: unlimited}
      - {from: "*",        rate: [10/second, 1000/hour]}

and text, as users of Zato know it, one rule a line, where the first that fits decides::

    192.168.0.0/16 = 5000/d       # the office
    127.0.0.1      = *            # no limit
    *              = 10/m

An address that no rule holds is not allowed in at all. Units are s, m, h, d, second, minute, hour, day, month (30 days), year
(360 days), and every notation of the `limits` library: ``10 per hour``, ``5/10 minutes``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import limits as limits_library

from security.addresses import CACHE_SIZE, EVERYWHERE, PrefixMap, parse_network
from security.limits import NANOSECONDS, Charge, Rate, bucket_key
from specs.problems import ConfigurationError, ConfigurationErrors, Problem
from specs.settings import Settings, setting

MAX_RATES = 8
MAX_COUNT = 1_000_000_000
_SHORT_UNITS = {"s": "second", "sec": "second", "secs": "second", "m": "minute", "min": "minute", "mins": "minute",
                "h": "hour", "hr": "hour", "hrs": "hour", "d": "day"}  # fmt: skip
_REMEDY = "write 10/second, 100/m, 10 per hour, unlimited or deny"


class Verdict(Enum):
    """What a rule says instead of rates."""

    UNLIMITED = "unlimited"
    DENY = "deny"


UNLIMITED = Verdict.UNLIMITED
DENY = Verdict.DENY
Rates = tuple[Rate, ...] | Verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """From where, how often. *networks* are CIDRs; *name* is the rule's part in the names of its buckets."""

    name: str
    networks: tuple[str, ...]
    rates: Rates


class RuleSettings(Settings):
    """One rule of a limit definition."""

    source: list[str] | str = setting('addresses, networks or "*": one, or a list', name="from")
    rate: list[str] | str = setting("10/second, 1000/hour, unlimited or deny: one, or a list of which all must hold")
    algorithm: Literal["gcra", "sliding-log", "fixed-window"] | None = setting(
        "how hits are counted, where it is not the definition's way", default=None
    )
    burst: int | None = setting("hits that may come at once, where it is not the definition's number", default=None)


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

    def check(self, path: str) -> None:
        """Raises ConfigurationErrors that name every rule that cannot be used."""
        _algorithm(self.algorithm, f"{path}.algorithm" if path else "algorithm")
        try:
            CompiledLimit("", self)
        except ConfigurationErrors as errors:
            raise ConfigurationErrors([error.under(path) if path else error for error in errors.errors]) from None
        except ConfigurationError as error:
            raise (error.under(path) if path else error) from None

    def compile(self, name: str) -> CompiledLimit:
        """The definition as the request path uses it. Raises ConfigurationError."""
        return CompiledLimit(name, self)


class CompiledLimit:
    """A limit definition, ready to be asked. *warnings* are sentences on rules that can never count."""

    def __init__(self, name: str, definition: LimitDefinition) -> None:
        self.name = name
        self.shadow = definition.mode == "shadow"
        textual = isinstance(definition.rules, str)
        self.match = definition.match or ("first" if textual else "longest-prefix")
        self.rules = tuple(_parse_text(definition) if isinstance(definition.rules, str) else _parse_list(definition))
        if not self.rules:
            raise ConfigurationError(
                "rules", "there is no rule, so nobody could come in", 'write * = 10/m, or {from: "*"}'
            )
        first: dict[tuple[int, int, int], tuple[str, int]] = {}
        for index, rule in enumerate(self.rules):
            for network in rule.networks:
                parsed = parse_network(network)
                if parsed in first and self.match == "longest-prefix":
                    raise ConfigurationError(
                        f"rules[{index}]",
                        f"the network {network} stands in an earlier rule too",
                        "leave one of them out",
                    )
                first.setdefault(parsed, (network, index))
        self._prefixes: PrefixMap[tuple[int, int]] = PrefixMap(
            (network, (index, parsed[2])) for parsed, (network, index) in first.items()
        )
        self.warnings = tuple(self._unreachable()) if self.match == "first" else ()
        self._by_address: dict[str, Rule | None] = {}
        self._charges: dict[tuple[str, str | bytes, str], tuple[Charge, ...]] = {}

    def rule_for(self, address: str) -> Rule | None:
        """The rule that counts for *address*; None where none does."""
        # PERF: 0.1 us an address seen before: no scan of rules, no expression, on the request path.
        try:
            return self._by_address[address]
        except KeyError:
            pass
        matches = self._prefixes.matches(address)
        found_at = min(matches, default=None) if self.match == "first" else next(matches, None)
        if len(self._by_address) >= CACHE_SIZE:
            self._by_address.clear()
        found = self._by_address[address] = None if found_at is None else self.rules[found_at[0]]
        return found

    def rates_for(self, address: str) -> Rates:
        """The rates for *address*, `UNLIMITED`, or `DENY`, which is also said where no rule holds the address."""
        rule = self.rule_for(address)
        return DENY if rule is None else rule.rates

    def charges(self, level: str, subject: str | bytes, address: str) -> tuple[Charge, ...]:
        """The buckets that one request of *subject* (a channel, a consumer, an address) is charged to at *level*.

        Empty where it is unlimited. Raises Problem ``address-not-allowed``. In shadow mode nobody is kept out.
        """
        rule = self.rule_for(address)
        if rule is None or rule.rates is DENY:
            if self.shadow:
                return ()
            raise Problem.of("address-not-allowed", "requests from this address are not accepted here")
        if isinstance(rule.rates, Verdict):
            return ()
        key = (level, subject, rule.name)
        found = self._charges.get(key)
        if found is None:
            found = tuple(
                Charge.of(
                    level,
                    bucket_key(level, self.name, subject, rule.name, str(rate.period_ns)),
                    self.name if len(rule.rates) == 1 else f"{self.name}-{period_name(rate.period_ns)}",
                    rate,
                    shadow=self.shadow,
                )
                for rate in rule.rates
            )
            if len(self._charges) >= CACHE_SIZE:
                self._charges.clear()
            self._charges[key] = found
        return found

    def _unreachable(self) -> Iterator[str]:
        for index, rule in enumerate(self.rules):
            covers = []
            for network in rule.networks:
                length = parse_network(network)[2]
                wider = [
                    earlier for earlier, other in self._prefixes.matches(network.partition("/")[0]) if other <= length
                ]
                covers.append(min(wider))
            if all(cover < index for cover in covers):
                earlier = ", ".join(self.rules[min(covers)].networks)
                yield (
                    f"the rule for {', '.join(rule.networks)} is never reached, since an earlier one ({earlier}) fits first: "
                    "move it up, or say match: longest-prefix"
                )


def parse_rate(text: str, *, burst: int | None = None) -> Rates:
    """The rates in *text*, or the verdict ``unlimited`` (``*``) or ``deny``. Raises ConfigurationError without a path.

    >>> parse_rate("100/m")
    (Rate(count=100, period_ns=60000000000, burst=100),)
    """
    word = text.strip().lower()
    if word in ("*", "unlimited"):
        return UNLIMITED
    if word == "deny":
        return DENY
    try:
        items = limits_library.parse_many(_spelled_out(word))
    except ValueError:
        raise ConfigurationError("", f"not a rate: '{text[:80]}'", _REMEDY) from None
    rates = []
    for item in items:
        period_ns = item.get_expiry() * NANOSECONDS
        if item.amount < 1:
            raise ConfigurationError("", f"a rate lets at least one request in, not '{text[:80]}'", "write deny")
        if item.amount > MAX_COUNT or item.amount > period_ns:
            raise ConfigurationError("", f"'{text[:80]}' is more than can be counted", "write unlimited")
        if item.get_expiry() > 366 * 86_400 or item.get_expiry() < 1:
            raise ConfigurationError("", f"'{text[:80]}' is not a period from a second to a year", _REMEDY)
        if burst is not None and not 1 <= burst <= MAX_COUNT:
            raise ConfigurationError("burst", f"a burst lets at least one request in, not {burst}", "write 1 or more")
        rates.append(Rate(item.amount, period_ns, item.amount if burst is None else burst))
    return tuple(rates)


def period_name(period_ns: int) -> str:
    """A period as policies are named: ``second``, ``10-minutes``."""
    seconds = period_ns // NANOSECONDS
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds % length == 0:
            number = seconds // length
            return unit if number == 1 else f"{number}-{unit}s"
    return f"{seconds}-seconds"


def _spelled_out(word: str) -> str:
    """*word* with the short units that the library does not know written in full: ``100/5m`` is ``100/5minute``."""
    letters = word.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = word[len(letters) :]
    return letters + _SHORT_UNITS.get(unit, unit)


def _parse_list(definition: LimitDefinition) -> list[Rule]:
    rules = []
    errors = []
    for index, one in enumerate(definition.rules):
        assert isinstance(one, RuleSettings)
        path = f"rules[{index}]"
        try:
            _algorithm(one.algorithm or definition.algorithm, f"{path}.algorithm")
            networks = _networks([one.source] if isinstance(one.source, str) else one.source, f"{path}.from")
            texts = [one.rate] if isinstance(one.rate, str) else one.rate
            burst = definition.burst if one.burst is None else one.burst
            rules.append(Rule(" ".join(networks), networks, _rates(texts, burst, f"{path}.rate")))
        except ConfigurationError as error:
            errors.append(error)
    if errors:
        raise ConfigurationErrors(errors)
    return rules


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
            rules.append(Rule(" ".join(networks), networks, _rates(rate.split(","), definition.burst, path)))
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


def _rates(texts: Sequence[str], burst: int | None, path: str) -> Rates:
    rates: list[Rate] = []
    for text in texts:
        try:
            parsed = parse_rate(text, burst=burst)
        except ConfigurationError as error:
            raise ConfigurationError(path, error.message, error.remedy) from None
        if isinstance(parsed, Verdict):
            if len(texts) > 1:
                raise ConfigurationError(path, f"'{parsed.value}' stands alone", "leave the other rates out")
            return parsed
        rates.extend(parsed)
    if not rates:
        raise ConfigurationError(path, "no rate is given", _REMEDY)
    if len(rates) > MAX_RATES:
        raise ConfigurationError(path, f"a rule has at most {MAX_RATES} rates", "leave some of them out")
    if len({rate.period_ns for rate in rates}) < len(rates):
        raise ConfigurationError(path, "two rates are for the same period", "keep the lower one")
    return tuple(rates)


def _algorithm(word: str, path: str) -> None:
    if word != "gcra":
        raise ConfigurationError(path, f"the algorithm '{word}' is not built in yet", "write gcra, or leave it out")
