"""Gatewright and its peers in turns, many and short: how often our processor time for a request goes into theirs.

A machine that others use runs at half its speed for seconds at a time. In a table whose rows are measured one after another that
falls on some of them and not on others; here it falls on those of one turn alike, and the median of the turns is the difference.
All servers run at once on the server's core; who is not asked does nothing.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from harness import Load, Sample, free_port
from parts import REQUESTS
from subjects import FORWARDERS, PEERS, NotInstalled, Running, gatewright, install_peers

TURNS = 24
#: Seconds of a turn at most, of warming up before it, and of waiting for the core before that.
SECONDS, WARM, PATIENCE = 0.7, 0.2, 0.5


@dataclass(frozen=True)
class Subject:
    """A server that runs, and the port of the system behind it, if there is one."""

    name: str
    server: Running
    upstream: int = 0


def lines(load: Load, seconds: float) -> list[str]:
    """A row for each peer: the whole path first, then forwarding."""
    install_peers()
    found = []
    with ExitStack() as running:
        ours = Subject("Gatewright, whole path", running.enter_context(gatewright()))
        found += _rows(load, seconds, [ours, *_peers(running, found)])
    if not load.compiled:
        return [*found, "forwarding: there is no C compiler"]
    with ExitStack() as running:
        found += _rows(load, seconds, _forwarders(running, found))
    return found


def _peers(running: ExitStack, missing: list[str]) -> list[Subject]:
    subjects = []
    for peer in PEERS:
        try:
            subjects.append(Subject(peer.name, running.enter_context(peer.start())))
        except (NotInstalled, RuntimeError) as error:
            missing.append(f"{peer.name}: {error}")
    return subjects


def _forwarders(running: ExitStack, missing: list[str]) -> list[Subject]:
    subjects = []
    for forwarder in FORWARDERS:
        upstream = free_port()
        try:
            subjects.append(Subject(forwarder.name, running.enter_context(forwarder.start(upstream)), upstream))
        except (NotInstalled, RuntimeError) as error:
            missing.append(f"{forwarder.name}: {error}")
    return subjects


def _rows(load: Load, seconds: float, subjects: list[Subject]) -> list[str]:
    """A row for each of *subjects*, the first of which is ours."""
    turns: list[dict[str, Sample]] = []
    for number in range(TURNS):
        order = subjects if number % 2 else subjects[::-1]
        turns.append({one.name: _measure(load, seconds, one) for one in order})
    found = []
    for one in subjects:
        cpu = median(turn[one.name].cpu for turn in turns)
        times = sorted(turn[one.name].cpu / turn[subjects[0].name].cpu for turn in turns)
        quarter = len(times) // 4
        found.append(
            f"{one.name:40} {cpu:7.1f} us CPU/req   {median(times):5.2f} times ours,"
            f" half of the turns {times[quarter]:.2f} to {times[-1 - quarter]:.2f}"
        )
    return found


def _measure(load: Load, seconds: float, one: Subject) -> Sample:
    return load.measure(
        one.server.port, one.server.pid, [REQUESTS["whole"]], min(seconds, SECONDS), warm=WARM, attempts=1,
        patience=PATIENCE, upstream=one.upstream,
    )  # fmt: skip


if __name__ == "__main__":
    print("\n".join(lines(Load(), float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)))
