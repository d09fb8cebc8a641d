"""`make bench`: what a request costs, beside peers, in one sitting; and what 10,000 channels and a start cost.

    python tests/bench/run.py [--quick] [--only requests,limits,sessions,...] [--rounds N] [--seconds S]

Compare CPU per request, within one sitting: requests a second and latencies are also those of the machine's other work.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import channels
import documents
import limit_costs
import pairs
import sessions
import soap
import starts
from harness import CLIENT_CORE, CONNECTIONS, HERE, MUCH, SCRATCH, SERVER_CORE, Load, Sample, free_port, on, pauses
from parts import REQUESTS
from subjects import FORWARDERS, PEERS, NotInstalled, gatewright, install_peers, say

SECTIONS = (
    "requests", "pairs", "limits", "sessions", "peers", "forwarding", "channels", "soap", "documents", "parts", "starts",
)  # fmt: skip
ROWS = {
    "whole": "whole path: Basic, allowlist, 3 limits, schema",
    "none": "the same with no limits",
    "five": "the same with 5 limits",
    "open": "open path: no auth, no limits",
    "get": "GET with a path variable, open",
    "xml": "XML, open",
}
BARE = PEERS[0].name
#: How often half load is measured.
TURNS = 12


class Table:
    """The rows of requests; of several rounds the one with the least processor time counts, others only make it more."""

    def __init__(self, ours: str) -> None:
        self.ours = ours
        self.samples: dict[str, Sample] = {}
        self.missing: dict[str, str] = {}
        self.notes: list[str] = []

    def add(self, name: str, sample: Sample) -> None:
        """One more sample of a row."""
        before = self.samples.get(name)
        if before is None or sample.cpu < before.cpu:
            self.samples[name] = sample
        say(f"  {name}: {sample.cpu:.1f} us, {sample.foreign:.0%} of the core to others")

    def lines(self) -> list[str]:
        """The table. The ratio is how often the processor time of the row called *ours* goes into a row's."""
        ours = self.samples.get(self.ours)
        found = [f"{'':57} {'req/s':>8} {'p50 us':>8} {'p99 us':>8} {'CPU us/req':>10} {'x ours':>7} {'others':>7}"]
        for name, sample in self.samples.items():
            ratio = f"{sample.cpu / ours.cpu:7.2f}" if ours else ""
            doubt = " ?" if sample.foreign > MUCH else ""
            found.append(
                f"{name:57} {sample.per_second:8.0f} {sample.p50:8.0f} {sample.p99:8.0f} {sample.cpu:10.1f} {ratio:>7}"
                f" {sample.foreign:6.0%}{doubt}"
            )
        found += [f"{name:57} not measured: {reason}" for name, reason in self.missing.items()]
        return found + self.notes


def measure_ours(load: Load, table: Table, seconds: float) -> None:
    """Every row of Gatewright's own."""
    with gatewright() as server:
        for key, name in ROWS.items():
            table.add(f"Gatewright {name}", load.measure(server.port, server.pid, [REQUESTS[key]], seconds))


def measure_half_load(load: Load, table: Table, seconds: float) -> None:
    """The whole path at half of what it can do, of several turns the one with the least p99; and with two workers."""
    whole = table.samples["Gatewright " + ROWS["whole"]]
    with gatewright() as server:
        turns = [
            load.measure(
                server.port, server.pid, [REQUESTS["whole"]], min(seconds, 1.0), rate=0.5 * whole.per_second, attempts=1
            )
            for _ in range(TURNS)
        ]
        table.add("Gatewright whole path at half load", min(turns, key=lambda sample: sample.p99))
        share, longest = pauses(seconds)
        table.notes.append(
            f"the machine's own pauses: who only looks at the clock on the server's core, and is alone there, is held up for "
            f"{share:.1%} of the time, in pieces of 0.2 to {longest / 1000:.1f} ms"
        )
    with gatewright(workers=2, cores=(SERVER_CORE, CLIENT_CORE)) as server:
        turns = [
            load.measure(server.port, server.pid, [REQUESTS["whole"]], min(seconds, 1.0), attempts=1)
            for _ in range(TURNS)
        ]
        table.add("Gatewright whole path, two workers on both cores", min(turns, key=lambda sample: sample.cpu))


def measure_peers(load: Load, table: Table, seconds: float) -> None:
    """The servers beside us."""
    for peer in PEERS:
        try:
            with peer.start() as server:
                table.add(peer.name, load.measure(server.port, server.pid, [REQUESTS["whole"]], seconds))
        except (NotInstalled, RuntimeError) as error:
            table.missing[peer.name] = str(error)


def measure_forwarding(load: Load, table: Table, seconds: float) -> None:
    """Gateways before a system that costs nothing: it is the load client itself."""
    if not load.compiled:
        table.missing["forwarding"] = "there is no C compiler"
        return
    for forwarder in FORWARDERS:
        upstream = free_port()
        try:
            with forwarder.start(upstream) as server:
                requests = [REQUESTS["whole"]]
                table.add(forwarder.name, load.measure(server.port, server.pid, requests, seconds, upstream=upstream))
        except (NotInstalled, RuntimeError) as error:
            table.missing[forwarder.name] = str(error)


def parts_lines() -> list[str]:
    """What each step costs in process."""
    done = subprocess.run(
        [sys.executable, HERE / "parts.py"], capture_output=True, text=True, timeout=300, preexec_fn=on(SERVER_CORE)
    )
    if done.returncode:
        return [f"not measured: {done.stderr.strip()[-300:]}"]
    found = json.loads(done.stdout)
    steps = list(dict.fromkeys(step for row in found.values() for step in row if step != "sum"))
    lines = [f"{'us':12}" + "".join(f"{name:>9}" for name in found)]
    for step in (*steps, "sum"):
        lines.append(
            f"{step:12}" + "".join(f"{row[step]:9.2f}" if step in row else f"{'-':>9}" for row in found.values())
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round of a second a row: a minute or two")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"sections, of {', '.join(SECTIONS)}")
    parser.add_argument("--rounds", type=int, help="how often all rows are measured: 3, or 1 when quick")
    parser.add_argument("--seconds", type=float, help="how long a row is measured: 4, or 1 when quick")
    parser.add_argument("--channels", type=int, default=10_000, help="how many channels are many")
    chosen = parser.parse_args()
    sections = set(chosen.only.split(","))
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    seconds = chosen.seconds or (1.0 if chosen.quick else 4.0)
    load = Load()
    if not load.compiled:
        say("there is no C compiler: the load comes from Python, and requests a second are its limit")
    table, forwarded = Table("Gatewright " + ROWS["whole"]), Table("Gatewright")
    if sections & {"peers", "forwarding"}:
        install_peers()
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        if "requests" in sections:
            measure_ours(load, table, seconds)
        if "peers" in sections:
            measure_peers(load, table, seconds)
        if "forwarding" in sections:
            measure_forwarding(load, forwarded, seconds)
    if "requests" in sections:
        measure_half_load(load, table, seconds)
    reports: list[tuple[str, Callable[[], list[str]]]] = []
    if table.samples:
        title = f"Requests: one worker on core {SERVER_CORE}, {CONNECTIONS} connections from core {CLIENT_CORE}, best of {rounds}"
        reports.append((title, table.lines))
    if "forwarding" in sections:
        reports.append(
            (f"Forwarding an order of 200 bytes to a system that answers 200, best of {rounds}", forwarded.lines)
        )
    if "pairs" in sections:
        reports.append((f"Beside peers: medians of {pairs.TURNS} turns", lambda: pairs.lines(load, seconds)))
    if "limits" in sections:
        reports.append((f"Limits: medians of {limit_costs.TURNS} turns", lambda: limit_costs.lines(load, seconds)))
    if "sessions" in sections:
        reports.append((f"Sessions: medians of {sessions.TURNS} turns", lambda: sessions.lines(load, seconds)))
    if "channels" in sections:
        reports.append(
            (f"{chosen.channels:,} channels beside ten", lambda: channels.lines(load, chosen.channels, seconds))
        )
    if "soap" in sections:
        reports.append(("SOAP beside Spyne and the same service in JSON", lambda: soap.lines(load, seconds)))
    if "documents" in sections:
        reports.append(("The documentation of 1,000 services", documents.lines))
    if "parts" in sections:
        reports.append(("Steps in process, least of 150 batches", parts_lines))
    if "starts" in sections:
        reports.append(("Starts, least of several, on both cores", lambda: starts.lines(2 if chosen.quick else 4)))
    text = ""
    for title, report in reports:
        say(title)
        text += "\n".join(("", title, *(f"  {line}" for line in report()), ""))
    print(text)
    Path(SCRATCH / "report.txt").write_text(text)


if __name__ == "__main__":
    main()
