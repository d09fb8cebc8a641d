"""What each step of the request path costs, in process: microseconds, the best of several batches.

Prints one JSON object. The steps run as the pipeline runs them, on exchanges that came by the wire's own `read_head` and
`Connection.accept`; only the socket is missing.
"""

from __future__ import annotations

from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

import json
import sys
import tempfile
import time
from pathlib import Path
from textwrap import dedent

import workload
from harness import ROOT, SCRATCH

sys.path.insert(0, str(ROOT))

BATCH = 50
BATCHES = 150


class Sink:
    """A transport whose bytes go nowhere."""

    secure = False
    clock = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.sent = b""

    def send(self, octets, seconds, rate):
        self.sent = octets


def measure(requests: dict[str, bytes]) -> dict[str, dict[str, float]]:
    """Microseconds by request and step."""
    from gateway.assembly import Gateway
    from gateway.connection import Connection
    from gateway.options import Options
    from gateway.pipeline import route
    from gateway.preparation import prepare
    from gateway.wire import Wire

    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="parts-", dir=SCRATCH) as temporary:
        folder = Path(temporary)
        (folder / "services").mkdir()
        for name, source in workload.SERVICES.items():
            (folder / "services" / name).write_text(dedent(source))
        (folder / "gateway.yaml").write_text(workload.CONFIGURATION)
        options = Options(
            data=folder / "data", config=folder / "gateway.yaml", services=folder / "services",
            access_log=str(folder / "access.log"), log_level="error",
        )  # fmt: skip
        options.data.mkdir()
        if prepare(options):
            raise RuntimeError("the installation could not be prepared")
        gateway = Gateway(options)
        gateway.start()
        wire = Wire(gateway, gateway.bounds)
        sink = Sink()
        connection = Connection(wire, sink, "127.0.0.1")

        def accept(octets: bytes):
            connection.buffer = octets
            started = time.monotonic_ns()
            return connection.accept(connection.read_head(), started)[0]

        def answer(exchange) -> None:
            connection.answer(exchange, True)

        for name, octets in requests.items():
            gateway.handle(first := accept(octets))
            if first.response_status != 200:
                raise RuntimeError(f"{name}: {first.response_status} {first.response_body!r}")
            answer(first)
            names = ["accept", "route", *(step.__name__ for step in first.channel.steps), "record", "answer"]
            steps = (*first.channel.steps, gateway.pipeline.record, answer)
            best = dict.fromkeys(names, 1e9)
            for _ in range(BATCHES):
                gateway.journal._queue.clear()
                for step, nanoseconds in zip(names, _batch(accept, gateway, route, steps, octets), strict=True):
                    best[step] = min(best[step], nanoseconds / BATCH / 1000)
            best["sum"] = sum(best.values())
            results[name] = best
        gateway.stop(1.0)
    return results


def _batch(accept, gateway, route, steps, octets: bytes) -> list[int]:
    """Nanoseconds of each step, of `BATCH` requests that go all the way one after another, as they do in a worker."""
    clock = time.perf_counter_ns
    took = [0] * (len(steps) + 2)
    for _ in range(BATCH):
        then = clock()
        exchange = accept(octets)
        took[0] += clock() - then
        then = clock()
        snapshot = exchange.snapshot = gateway.reloader.snapshot
        route(exchange, snapshot.routes)
        took[1] += clock() - then
        for number, step in enumerate(steps, 2):
            then = clock()
            step(exchange)
            took[number] += clock() - then
    return took


REQUESTS = {
    "whole": workload.request("/orders", workload.ORDER),
    "five": workload.request("/five", workload.ORDER, user="five"),
    "none": workload.request("/none", workload.ORDER, user="none"),
    "open": workload.request("/open", workload.ORDER, user=""),
    "get": workload.request("/orders/77", method="GET", user=""),
    "xml": workload.request("/xml", workload.XML_ORDER, content_type="application/xml", user=""),
}

if __name__ == "__main__":
    print(json.dumps(measure(REQUESTS)))
