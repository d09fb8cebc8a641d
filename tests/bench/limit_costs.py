"""What limits cost: the whole path with no limits, with three and with five exact ones, in turns on one server.

The rows take turns, many and short, and what is kept of the speed is the median of the turns: a machine that others use runs at
half its speed for seconds at a time, which falls on the rows of one turn alike.

The promise: with a chain of five in shared memory at least 90 % of the speed without limits, by processor time per request.
With a Redis, where one is installed: at most one round trip more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from statistics import median

from harness import ROOT, Load, Sample, free_port
from parts import REQUESTS
from subjects import gatewright
from workload import CONFIGURATION

ROWS = {"none": "no limits", "whole": "3 exact limits", "five": "5 exact limits"}
TURNS = 24
#: Seconds of a turn at most, of warming up before it, and of waiting for the core before that.
SECONDS, WARM, PATIENCE = 0.7, 0.2, 0.5


def lines(load: Load, seconds: float) -> list[str]:
    """A row for each, and how much of the speed is left."""
    found = _rows("shared memory", load, seconds, CONFIGURATION)
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        return [*found, "Redis: not installed"]
    port = free_port()
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        storage = f"gateway: {{limit_storage: 'redis://127.0.0.1:{port}/0'}}\nlimits:"
        return found + _rows("Redis", load, seconds, CONFIGURATION.replace("limits:", storage, 1))
    finally:
        server.terminate()
        server.wait()


def _rows(store: str, load: Load, seconds: float, configuration: str) -> list[str]:
    turns: list[dict[str, Sample]] = []
    with gatewright(configuration) as server:
        for _ in range(TURNS):
            turns.append(
                {
                    key: load.measure(
                        server.port,
                        server.pid,
                        [REQUESTS[key]],
                        min(seconds, SECONDS),
                        warm=WARM,
                        attempts=1,
                        patience=PATIENCE,
                    )
                    for key in ROWS
                }
            )
    found = []
    for key, name in ROWS.items():
        cpu = median(turn[key].cpu for turn in turns)
        share = median(turn["none"].cpu / turn[key].cpu for turn in turns)
        p50 = median(turn[key].p50 for turn in turns)
        found.append(
            f"{store + ', ' + name:32} {cpu:7.1f} us CPU/req   {p50:6.0f} us p50   {share:6.1%} of the speed without"
        )
    return found


if __name__ == "__main__":
    print("\n".join(lines(Load(), float(sys.argv[1]) if len(sys.argv) > 1 else 2.0)))
