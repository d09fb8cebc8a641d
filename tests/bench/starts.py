"""How long starts take: `gatewright run` until it says ready, on a new folder and on one that is there; and two commands."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import CLIENT_CORE, ROOT, SCRATCH, SERVER_CORE, wait_for_quiet
from subjects import gatewright
from workload import CONFIGURATION


def lines(times: int) -> list[str]:
    """The table's lines."""
    fresh, again = [], []
    for _ in range(times):
        with tempfile.TemporaryDirectory(prefix="starts-", dir=SCRATCH) as folder:
            for found in (fresh, again):
                wait_for_quiet()
                with gatewright(folder=Path(folder), cores=(SERVER_CORE, CLIENT_CORE)) as server:
                    found.append(server.ready_after)
    rows = {
        "gatewright run, new folder, until ready": min(fresh),
        "gatewright run, next start, until ready": min(again),
        "gatewright --help": command(times, "--help"),
        "gatewright config validate": validate(times),
    }
    return [f"{name:42} {seconds:6.2f} s" for name, seconds in rows.items()]


def validate(times: int) -> float:
    """Seconds of `config validate` on the benchmark's own document."""
    with tempfile.TemporaryDirectory(prefix="starts-", dir=SCRATCH) as folder:
        document = Path(folder) / "gateway.yaml"
        document.write_text(CONFIGURATION)
        return command(times, "config", "validate", str(document))


def command(times: int, *words: str) -> float:
    """The least seconds that a verb of the program took."""
    took = []
    for _ in range(times):
        wait_for_quiet()
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "gateway.cli", *words], cwd=ROOT, check=True, capture_output=True)
        took.append(time.monotonic() - began)
    return min(took)
