"""Samples of real calls, taken while serving: a channel that has ``samples`` has one step more, after the answer was made.

The step leaves what the call was about in a queue, once in a while; a greenlet takes the secrets out and writes the rest to
the database. A channel without ``samples`` has no such step, so sampling costs nothing where it is off. Headers are never kept;
neither are refusals, streams, files, and calls or answers that are large.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from backends.examples import LARGEST, Taken
from specs.documents.samples import json_values
from specs.problems import BackendUnavailable, Problem
from specs.redaction import Redaction, credentials_in

if TYPE_CHECKING:
    from gateway.channels import Channel
    from gateway.configuration.sampling import Sampling
    from gateway.pipeline import Step
    from specs.contract import Contract
    from specs.exchange import Exchange

log = logging.getLogger("gatewright.recording")

#: So many calls wait to be written at most; what comes beyond is not taken.
MOST_WAITING = 200
#: Seconds between two writes.
INTERVAL = 1.0


class Keeper(Protocol):
    """Where samples are kept: `backends.examples.Examples`."""

    def keep(self, taken: list[Taken], most: int) -> int:
        """Keep them; how many were new."""


class Call(NamedTuple):
    """What of an exchange is kept until it is written."""

    contract: Contract
    channel: str
    method: str
    status: int
    given: Any
    answer: Any
    headers: Mapping[str, str]
    rule: Sampling


class Recorder:
    """Takes samples in one worker, and writes them. *monotonic* is in nanoseconds."""

    def __init__(self, keeper: Keeper, monotonic: Callable[[], int] = time.monotonic_ns) -> None:
        self._keeper = keeper
        self._monotonic = monotonic
        self._queue: deque[Call] = deque()

    def step(self, channel: Channel, rules: Mapping[str, Sampling]) -> Step:
        """What the pipeline runs when *channel* has answered. *rules* are by the names of its services."""
        due = dict.fromkeys(rules, 0)
        monotonic = self._monotonic

        # PERF: 0.25 us for a call that is not due.
        def sample(exchange: Exchange) -> None:
            contract = channel.called(exchange)
            if contract is None or contract.service not in due or (now := monotonic()) < due[contract.service]:
                return
            outcome = exchange.outcome
            fits = len(exchange.body) <= LARGEST and len(exchange.response_body) <= LARGEST and not exchange.files
            if outcome is None or outcome.stream is not None or not 200 <= outcome.status < 300 or not fits:
                return
            if isinstance(outcome.payload, (str, bytes)) or len(self._queue) >= MOST_WAITING:
                return
            rule = rules[contract.service]
            due[contract.service] = now + int(float(rule.every) * 1e9)
            given = exchange.input if contract.input is not None else exchange.payload
            method = exchange.method if exchange.opened is None else "SOAP"
            self._queue.append(
                Call(contract, channel.name, method, outcome.status, given, outcome.payload, exchange.headers, rule)
            )

        return sample

    def flush(self) -> int:
        """Write what was taken; how many samples were new."""
        by_most: dict[int, list[Taken]] = {}
        while self._queue:
            call = self._queue.popleft()
            try:
                by_most.setdefault(call.rule.most, []).append(redacted(call))
            except (Problem, TypeError, ValueError) as error:  # what JSON has no word for
                log.info("a call of '%s' cannot be a sample: %s", call.contract.service, error)
        return sum(self._keeper.keep(taken, most) for most, taken in by_most.items())

    def run(self, sleep: Callable[[float], None]) -> None:
        """Write for ever. A database that is away loses samples and nothing else."""
        while True:
            sleep(INTERVAL)
            if self._queue:
                try:
                    self.flush()
                except BackendUnavailable as error:
                    log.warning("samples are lost: %s", error)
                except Exception:
                    log.exception("samples are lost")


def redacted(call: Call) -> Taken:
    """The sample of a call, with its secrets taken out. Raises Problem for what JSON cannot hold."""
    contract = call.contract
    redaction = Redaction(call.rule.redact, tuple(credentials_in(call.headers)))
    given, hidden = redaction.record(json_values(call.given), contract.input)
    answer, hidden_too = redaction.record(json_values(call.answer), contract.output)
    pointers = (*(f"input{pointer}" for pointer in hidden), *(f"output{pointer}" for pointer in hidden_too))
    return Taken(contract.service, call.channel, call.method, call.status, given, answer, pointers)
