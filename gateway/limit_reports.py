"""What operators ask about limits: how one caller stands, who is refused, and what another configuration would have done.

`explain` looks into the very buckets that requests are charged to, and takes nothing. `Replay` sends the lines of an access log
through limits of their own, on the log's own clock.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from gateway.configuration.kinds import place, read_object
from gateway.configuration.objects import Configuration, Definition
from gateway.limit_stores import Stores
from gateway.metrics import merge
from gateway.quotas import Limits, Quotas, subject_of
from security.limits import NANOSECONDS, Charge, State
from security.limits.memory import MemoryStore
from specs.exchange import ANONYMOUS, Identity
from specs.problems import ConfigurationError, Problem, nearest

if TYPE_CHECKING:
    from gateway.configuration.document import Document

#: Kinds whose objects say what is limited; the others are not needed to replay a log.
_KINDS = ("gateway", "limits", "groups", "consumers", "services", "channels", "security")
_TEXT_LINE = re.compile(r'(\S+) (\S+) (\S+) "(\S+) .*" (\d{3}) (\d+) [\d.]+ms (\S+) (\S+) (\S+) ')


@dataclass(frozen=True, slots=True)
class Question:
    """Whose limits are asked for: a call of *channel* by *consumer*, or by the person *user*, from *address*."""

    channel: str
    consumer: str = ""
    address: str = "127.0.0.1"
    security: str = ""
    operation: str = ""
    user: str = ""


def explain(configuration: Configuration, limits: Limits, question: Question, now_ns: int) -> dict[str, Any]:
    """Every level that the call would be charged to: its state, which one binds, and when that frees.

    Raises ConfigurationError for a name that does not exist, StoreUnavailable.
    """
    levels: list[dict[str, Any]] = []
    answer: dict[str, Any] = {**_asked(question), "allowed": True, "levels": levels}
    try:
        charges = charges_of(configuration, limits, question)
    except Problem as problem:
        return {**answer, "allowed": False, "code": problem.code, "detail": problem.detail, "binds": None}
    tightest: tuple[float, dict[str, Any]] | None = None
    for group, storage in _by_store(configuration, charges):
        store = limits.stores.durable if storage == "sql" else limits.stores.store(storage)
        decision = store.peek(group, now_ns)
        for charge, state in zip(group, decision.states, strict=True):
            level = _told(charge, state, storage, charge.policy in (*decision.violated, *decision.shadowed))
            levels.append(level)
            room = state.remaining / max(1, state.quota)
            if not charge.shadow and (tightest is None or room < tightest[0]):
                tightest = (room, level)
        if decision.violated:
            answer["allowed"] = False
            answer["retry_after"] = max(answer.get("retry_after", 0), decision.retry_after)
    answer["binds"] = None
    if tightest is not None:
        tightest[1]["binds"] = True
        answer["binds"] = f"{tightest[1]['level']} {tightest[1]['policy']}"
    return answer


def charges_of(configuration: Configuration, limits: Limits, question: Question, level: str = "") -> tuple[Charge, ...]:
    """The buckets of a call, admission's first; only those of *level* where one is named.

    Raises ConfigurationError, and Problem where a level does not let the address in.
    """
    quotas, identity, service = _quotas(configuration, limits, question)
    charges: tuple[Charge, ...] = ()
    if configuration.gateway.admission is not None:
        compiled = limits.compile(configuration, configuration.gateway.admission)
        charges += compiled.charges("admission", subject_of(question.address), question.address)
    if quotas is not None:
        charges += quotas.chain(question.address, identity, service, question.operation)
    return tuple(charge for charge in charges if level in ("", charge.level))


def _quotas(configuration: Configuration, limits: Limits, question: Question) -> tuple[Quotas | None, Identity, str]:
    definition = _found(configuration, "channels", question.channel)
    settings = definition.settings
    service = getattr(settings, "service", None)
    tuning = configuration.find("services", service) if service else None
    identity = ANONYMOUS
    # Who is asked about comes by the channel's first definition, where none is named.
    proven_by = question.security or next((names[0] for names in map(_names, settings.security or ())), "")
    if question.consumer:
        consumer = _found(configuration, "consumers", question.consumer)
        identity = Identity(
            question.consumer, "consumer", definition=proven_by, groups=frozenset(consumer.settings.groups)
        )
    elif question.security:
        identity = Identity(question.security, "credential", definition=question.security)
    if question.user and identity:
        identity = replace(identity, user=question.user, attributes={"username": question.user})
    elif question.user:
        identity = Identity(question.user, "user", definition=proven_by, user=question.user)
    return limits.quotas(configuration, question.channel, settings, tuning), identity, question.operation


def _names(alternative: str | list[str]) -> list[str]:
    return [alternative] if isinstance(alternative, str) else alternative


def _found(configuration: Configuration, kind: str, name: str) -> Definition:
    found = configuration.find(kind, name)
    if found is None:
        raise ConfigurationError(kind, f"there is no '{name[:80]}'", nearest(name, configuration.of(kind)))
    return found


def _by_store(configuration: Configuration, charges: tuple[Charge, ...]) -> Iterator[tuple[tuple[Charge, ...], str]]:
    storage = configuration.gateway.limit_storage
    parts = (
        (tuple(one for one in charges if one.level == "admission"), "shm"),
        (tuple(one for one in charges if one.level != "admission" and not one.durable), storage),
        (tuple(one for one in charges if one.level != "admission" and one.durable), "sql"),
    )
    return ((group, where) for group, where in parts if group)


def _asked(question: Question) -> dict[str, str]:
    return {
        name: getattr(question, name) for name in ("channel", "consumer", "user", "address") if getattr(question, name)
    }


def _told(charge: Charge, state: State, storage: str, spent: bool) -> dict[str, Any]:
    rate = charge.rate
    return {
        "level": charge.level,
        "policy": charge.policy,
        "mode": "shadow" if charge.shadow else "enforce",
        "algorithm": rate.algorithm,
        "unit": rate.unit,
        "quota": state.quota,
        "window_seconds": state.window_s,
        "cost": charge.cost,
        "remaining": state.remaining,
        "frees_in_seconds": state.reset_s,
        "refuses": spent,
        "binds": False,
        "storage": storage.partition(":")[0],
    }


def refused_callers(folder: Path, most: int = 20) -> list[dict[str, Any]]:
    """Who is refused most, of all workers of this machine: name, address, policy and how often. *folder* is the metrics'."""
    records = []
    for path in (*folder.glob("*-*.json"), folder / "retired.json"):
        try:
            records.append(orjson.loads(path.read_bytes()))
        except (OSError, ValueError):
            continue
    return top_of(merge(records), most)


def top_of(total: Mapping[str, Any], most: int = 20) -> list[dict[str, Any]]:
    """The same of merged metrics."""
    rows = total["tables"].get("limited_callers", {"rows": []})["rows"]
    rows = sorted(rows, key=lambda row: row[-1], reverse=True)[:most]
    return [dict(zip(("who", "address", "policy", "refused"), row, strict=True)) for row in rows]


def configuration_of(document: Document) -> Configuration:
    """What a document says about limits, with nothing resolved, stored or applied. Raises ConfigurationError."""
    objects: dict[tuple[str, str], Definition] = {}
    for (kind, name), body in document.objects.items():
        if kind not in _KINDS or (kind == "security" and "limit" not in body):
            continue
        settings = read_object(kind, body, place(kind, name))
        objects[kind, name] = Definition(kind, name, str(body.get("type", "")), settings, f"{kind}.{name}", 0)
    return Configuration(objects=objects)


@dataclass
class Replay:
    """Requests of an access log, sent through the limits of *configuration* on the log's own clock."""

    configuration: Configuration
    requests: int = 0
    skipped: int = 0
    refused: int = 0
    refused_then: int = 0
    policies: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    callers: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._now = 0.0
        self._stores = Stores(MemoryStore(most=1_000_000, wall=lambda: int(self._now * NANOSECONDS)))
        self._limits = Limits(self._stores, clock=lambda: self._now)
        self._quotas: dict[str, tuple[Quotas | None, Any]] = {}

    def read(self, lines: Iterable[bytes | str]) -> None:
        """Send each line through, in the order in which they stand. What is no line of an access log is skipped and counted."""
        for line in lines:
            request = parse_line(line)
            if request is None:
                self.skipped += 1
                continue
            self._take(*request)

    def _take(self, moment: float, address: str, channel: str, consumer: str, status: int) -> None:
        self._now = max(self._now, moment)
        try:
            # A caller who is not in the document any more is one without limits of their own.
            known = consumer if self.configuration.find("consumers", consumer) else ""
            charges = charges_of(self.configuration, self._limits, Question(channel, known, address))
        except ConfigurationError:
            self.skipped += 1
            return
        except Problem as problem:
            self._refuse(((("", problem.code, "refused"),)), consumer or address, channel)
        else:
            decision = self._stores.local.debit(charges, int(self._now * NANOSECONDS))
            levels = {charge.policy: charge.level for charge in charges}
            for policy in decision.shadowed:
                self.policies[levels[policy], policy, "shadow"] += 1
            if decision.violated:
                verdicts = tuple((levels[policy], policy, "refused") for policy in decision.violated)
                self._refuse(verdicts, consumer or address, channel)
            # The log knows when a request had been answered: it counts as one at a time.
            self._stores.local.release([one for one in charges if one.algorithm == "concurrent"], int(self._now * 1e9))
        self.requests += 1
        self.refused_then += status == 429

    def _refuse(self, verdicts: tuple[tuple[str, str, str], ...], who: str, channel: str) -> None:
        self.refused += 1
        self.policies.update(verdicts)
        self.callers[who, channel] += 1


def parse_line(line: bytes | str) -> tuple[float, str, str, str, int] | None:
    """The moment, address, channel, caller and status of a line of our access log, in JSON or as text; None where it is none."""
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    try:
        if text.lstrip().startswith("{"):
            found = orjson.loads(text)
            stamp, address, channel = found["time"], found["address"], found["channel"]
            identity, status = found.get("identity", ""), int(found["status"])
        else:
            matched = _TEXT_LINE.match(text)
            if matched is None:
                return None
            stamp, address, identity, _, status_text, _, channel, _, _ = matched.groups()
            status = int(status_text)
            identity, channel = ("" if word == "-" else word for word in (identity, channel))
        moment = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return (moment.timestamp(), address, channel, identity, status) if channel else None
