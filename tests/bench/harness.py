"""Starting servers on one core and loading them from another: `serving`, `Load` and the `Sample` that it gives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
#: What was built and installed for measuring; `make clean` removes it.
SCRATCH = ROOT / "build" / "bench"
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]
CONNECTIONS = 32
#: A share of the server's core that, taken by others, makes a measurement doubtful.
MUCH = 0.1
#: How much servers and the client go before other programs: 0 to 19, as root. For machines that others use meanwhile.
PRIORITY = int(os.environ.get("BENCH_PRIORITY", "0"))


@dataclass(frozen=True)
class Sample:
    """One measurement. Times are microseconds; *foreign* is the share of the server's core that went to other programs."""

    per_second: float
    p50: float
    p99: float
    cpu: float
    foreign: float
    refused: int


class Load:
    """The load client, built when first needed; one in Python where there is no compiler."""

    def __init__(self, connections: int = CONNECTIONS) -> None:
        SCRATCH.mkdir(parents=True, exist_ok=True)
        self._connections = connections
        self._requests = SCRATCH / "requests"
        self._requests.mkdir(exist_ok=True)
        self.compiled = self._build()

    def _build(self) -> bool:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            return False
        source, program = HERE / "load.c", SCRATCH / "load"
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run([compiler, "-O2", "-o", program, source], check=True)
        return True

    def measure(
        self,
        port: int,
        pid: int,
        requests: Sequence[bytes],
        seconds: float,
        *,
        rate: float = 0.0,
        warm: float = 1.0,
        attempts: int = 4,
        upstream: int = 0,
        patience: float = 15.0,
    ) -> Sample:
        """Load the server at *port*, whose processes are *pid* and its descendants. *rate* 0: as fast as it goes.

        The compiled client is also the system behind the server, where *upstream* is the port of one.

        While other programs take the server's core it is measured again, *attempts* times at most; the quietest counts. Before
        each it is waited for so many seconds of *patience* at most that they let go of it.
        """
        best: Sample | None = None
        for _ in range(attempts):
            wait_for_quiet(patience)
            sample = self._measure(port, pid, requests, seconds, rate, warm, upstream)
            if best is None or sample.foreign < best.foreign:
                best = sample
            if best.foreign <= MUCH:
                break
        assert best is not None
        return best

    def _measure(
        self, port: int, pid: int, requests: Sequence[bytes], seconds: float, rate: float, warm: float, upstream: int
    ) -> Sample:
        files = []
        for number, request in enumerate(requests):
            files.append(self._requests / f"{number}")
            files[-1].write_bytes(request)
        program = [str(SCRATCH / "load")] if self.compiled else [sys.executable, str(HERE / "load.py")]
        processes = ",".join(map(str, family(pid)))
        words = [port, self._connections, warm, seconds, rate, SERVER_CORE, processes, upstream, *files]
        done = subprocess.run(
            [*program, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=warm + seconds + 60,
            preexec_fn=on(CLIENT_CORE),
            start_new_session=True,
        )
        if done.returncode:
            raise RuntimeError(f"the load client failed: {done.stderr.strip()[-600:]}")
        found = json.loads(done.stdout)
        if found["refused"]:
            print(f"  {found['refused']} answers were no success: {done.stderr.strip()[:300]}", file=sys.stderr)
        count = max(1, found["requests"])
        return Sample(
            per_second=count / found["seconds"],
            p50=found["p50_us"],
            p99=found["p99_us"],
            cpu=found["cpu_seconds"] / count * 1e6,
            foreign=max(0.0, found["foreign"]),
            refused=found["refused"],
        )


def wait_for_quiet(patience: float = 15.0) -> None:
    """Wait until the two cores have been mostly idle for half a second, or *patience* seconds are over."""
    deadline = time.monotonic() + patience
    while not PRIORITY and time.monotonic() < deadline:
        before = _busy()
        time.sleep(0.5)
        if max(now - then for now, then in zip(_busy(), before, strict=True)) < 0.5 * MUCH:
            return


def pauses(seconds: float, least: float = 200.0) -> tuple[float, float]:
    """What the machine itself holds programs up for: the share of time that a process on the server's core, which does nothing but
    look at the clock, did not run in pieces of more than *least* microseconds; and the longest piece, in microseconds.
    """
    program = (
        "import time\n"
        f"clock = time.monotonic; end = clock() + {seconds}; least = {least} / 1e6; lost = longest = 0.0; last = clock()\n"
        "while last < end:\n"
        "    now = clock()\n"
        "    if now - last > least:\n"
        "        lost += now - last; longest = max(longest, now - last)\n"
        "    last = now\n"
        f"print(lost / {seconds}, longest * 1e6)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, preexec_fn=on(SERVER_CORE))
    share, longest = map(float, done.stdout.split())
    return share, longest


def _busy() -> list[float]:
    """Seconds that each of the two cores has been busy."""
    found = []
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name in (f"cpu{SERVER_CORE}", f"cpu{CLIENT_CORE}"):
            ticks = list(map(int, numbers))
            found.append((sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK"))
    return found


def on(*cores: int):
    """What a process that is to stay on *cores* runs first; with `PRIORITY` it goes before others, where that is allowed."""

    def begin() -> None:
        os.sched_setaffinity(0, cores)
        if PRIORITY:
            # A nice value counts within a session, that of the session's group among sessions.
            os.setpriority(os.PRIO_PROCESS, 0, -PRIORITY)
            group = Path("/proc/self/autogroup")
            if group.exists():
                group.write_text(str(-PRIORITY))

    return begin


def family(pid: int) -> list[int]:
    """*pid* and its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for known in found:
        found.extend(children.get(known, []))
    return found


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    command: Sequence[str | Path],
    port: int,
    *,
    environment: Mapping[str, str] | None = None,
    patience: float = 30.0,
    cores: Sequence[int] = (SERVER_CORE,),
) -> Iterator[int]:
    """A server on *cores* that listens at *port*; its process id. Ended, with all that it started, at the end."""
    log = SCRATCH / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)), cwd=HERE / "peers", env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, preexec_fn=on(*cores), start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"it did not start: {log.read_text()[-400:]}") from None
                time.sleep(0.05)
        time.sleep(0.5)
        yield process.pid
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that has a session of its own, with its descendants."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(10)
