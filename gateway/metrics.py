"""Counting without a lock: `Metrics` in each worker, `merge` and `render` in the steward.

A worker counts in plain lists and writes them to ``DATA/run/metrics/<pid>-<start>.json`` once a second. The steward adds up the
files of all workers; what a worker that has ended had counted stays in the sum, so that no counter ever goes down.

>>> metrics = Metrics()
>>> metrics.observe("get-customer", 200, 0.0031)
>>> metrics.observe("get-customer", 404, 0.0004, code="no-such-customer")
>>> [line for line in render(merge([metrics.record()])).decode().splitlines() if "requests_total{" in line]
... # doctest: +NORMALIZE_WHITESPACE
['gatewright_requests_total{channel="get-customer",status="2xx"} 1.0',
 'gatewright_requests_total{channel="get-customer",status="4xx"} 1.0']
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

#: Upper bounds of the latency buckets, in seconds.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: What the surplus is counted as, once there are as many names as there may be.
OTHERS = "~others"
_MOST_ROWS = 2000
_FIRST_BUCKET = 6
_SECONDS = _FIRST_BUCKET + len(BUCKETS) + 1
_ROW = [0] * _SECONDS + [0.0]


class Metrics:
    """What one worker has counted. *facts* are told by `/status` as they stand (revision, catalogue, whether it serves)."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        most_channels: int = 1000,
        most_codes: int = 200,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.facts: dict[str, Any] = {}
        self._folder = folder
        self._clock = clock
        self._most_channels = most_channels
        self._most_codes = most_codes
        # A row is requests by class of status (1xx to 5xx at 1 to 5), requests by bucket of latency, and seconds in all.
        self._rows: dict[str, list[Any]] = {}
        self._codes: dict[str, int] = {}
        self._read: dict[str, tuple[str, Callable[[], float]]] = {}
        self._tables: dict[str, tuple[tuple[str, ...], Callable[[], Mapping[tuple[str, ...], int]]]] = {}
        self._notes: dict[str, Callable[[], list[dict[str, Any]]]] = {}
        self._path: Path | None = None

    def observe(self, channel: str, status: int, seconds: float, code: str = "") -> None:
        """Count one answer of *channel* ("" where the path led to none), and the problem's *code* if it was one.

        PERF: 0.25 us; prometheus_client's histogram and counter take 1.7.
        """
        row = self._rows.get(channel) or self._row(channel)
        row[status // 100 if 100 <= status < 600 else 5] += 1
        row[_FIRST_BUCKET + bisect_left(BUCKETS, seconds)] += 1
        row[_SECONDS] += seconds
        if code:
            # SECURITY: A43. Services make codes up; names beyond the bound are counted together.
            if code not in self._codes and len(self._codes) >= self._most_codes:
                code = OTHERS
            self._codes[code] = self._codes.get(code, 0) + 1

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Publish what *read* gives as the gauge ``gatewright_<name>``, summed over workers."""
        self._read[name] = ("gauge", read)

    def counter(self, name: str, read: Callable[[], float]) -> None:
        """Publish what *read* gives, which never goes down, as ``gatewright_<name>_total``."""
        self._read[name] = ("counter", read)

    def table(self, name: str, labels: tuple[str, ...], read: Callable[[], Mapping[tuple[str, ...], int]]) -> None:
        """Publish the counts that *read* gives by labels as ``gatewright_<name>_total``; without *labels* for operators alone."""
        self._tables[name] = (labels, read)

    def note(self, name: str, read: Callable[[], list[dict[str, Any]]]) -> None:
        """Tell operators what *read* gives, as it stands, under *name* of the record."""
        self._notes[name] = read

    def record(self) -> dict[str, Any]:
        """Everything counted so far, as plain values."""
        read = [(kind, name, float(call())) for name, (kind, call) in self._read.items()]
        return {
            "pid": os.getpid(),
            "written_at": self._clock(),
            "facts": self.facts,
            "notes": {name: call() for name, call in self._notes.items()},
            "channels": self._rows,
            "codes": self._codes,
            "gauges": {name: value for kind, name, value in read if kind == "gauge"},
            "counters": {name: value for kind, name, value in read if kind == "counter"},
            "tables": {
                name: {"labels": labels, "rows": [[*key, count] for key, count in call().items()]}
                for name, (labels, call) in self._tables.items()
            },
        }

    def write(self) -> None:
        """Write the record to this worker's file, whole or not at all."""
        if self._folder is None:
            return
        if self._path is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path = self._folder / f"{os.getpid()}-{time.monotonic_ns()}.json"
        write_whole(self._path, orjson.dumps(self.record()))

    def _row(self, channel: str) -> list[Any]:
        if len(self._rows) >= self._most_channels:
            channel = OTHERS
        return self._rows.setdefault(channel, list(_ROW))


class Collected:
    """The metrics of all workers, living and dead, as the steward knows them.

    *alive* tells whether a process exists. What dead workers counted is kept in ``retired.json``, so that a new steward
    goes on where this one ends.
    """

    def __init__(self, folder: Path, alive: Callable[[int], bool] | None = None) -> None:
        self._folder = folder
        self._alive = alive or process_exists

    def workers(self) -> list[dict[str, Any]]:
        """The records of the workers that live, folding those that have ended into what is kept."""
        living = []
        for path in sorted(self._folder.glob("*-*.json")):
            record = _read(path)
            if record is None:
                continue
            if self._alive(record["pid"]):
                living.append(record)
            else:
                self._retire(path, record)
        return living

    def all(self) -> list[dict[str, Any]]:
        """The records to sum up."""
        living = self.workers()
        retired = _read(self._folder / "retired.json")
        return [*living, retired] if retired else living

    def _retire(self, path: Path, record: dict[str, Any]) -> None:
        kept = _read(self._folder / "retired.json") or {"folded": []}
        if path.name not in kept["folded"]:
            merged = merge([kept, {**record, "gauges": {}, "facts": {}}])
            merged["folded"] = [*kept["folded"], path.name][-500:]
            write_whole(self._folder / "retired.json", orjson.dumps(merged))
        path.unlink(missing_ok=True)


def living(folder: Path) -> list[dict[str, Any]]:
    """The records of the workers that live, for whoever only looks: nothing is folded or taken away."""
    records = [record for path in sorted(folder.glob("*-*.json")) if (record := _read(path)) is not None]
    return [record for record in records if process_exists(record["pid"])]


def merge(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of *records*."""
    total: dict[str, Any] = {"channels": {}, "codes": {}, "gauges": {}, "counters": {}, "tables": {}}
    for record in records:
        for channel, row in record.get("channels", {}).items():
            before = total["channels"].get(channel, _ROW)
            total["channels"][channel] = [a + b for a, b in zip(before, row, strict=True)]
        for family in ("codes", "gauges", "counters"):
            for name, value in record.get(family, {}).items():
                total[family][name] = total[family].get(name, 0) + value
        for name, table in record.get("tables", {}).items():
            _add_rows(total["tables"].setdefault(name, {"labels": table["labels"], "rows": []}), table["rows"])
    return total


def _add_rows(table: dict[str, Any], rows: Iterable[list[Any]]) -> None:
    counts = {tuple(key): count for *key, count in table["rows"]}
    for *key, count in rows:
        counts[tuple(key)] = counts.get(tuple(key), 0) + count
    largest = sorted(counts.items(), key=lambda item: item[1], reverse=True)
    table["rows"] = [[*key, count] for key, count in largest[:_MOST_ROWS]]


def render(total: Mapping[str, Any], gauges: Mapping[str, float] | None = None) -> bytes:
    """*total* of `merge`, and further *gauges*, in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(total, gauges or {}))
    return generate_latest(registry)


class _Families:
    def __init__(self, total: Mapping[str, Any], gauges: Mapping[str, float]) -> None:
        self._total = total
        self._gauges = gauges

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        total = self._total
        requests = CounterMetricFamily(
            "gatewright_requests", "Answers by channel and class of status", labels=("channel", "status")
        )
        seconds = HistogramMetricFamily(
            "gatewright_request_seconds", "Seconds from head to answer, by channel", labels=("channel",)
        )
        for channel, row in sorted(total["channels"].items()):
            for digit in range(1, 6):
                if row[digit]:
                    requests.add_metric((channel, f"{digit}xx"), row[digit])
            counts = accumulate(row[_FIRST_BUCKET:_SECONDS])
            names = (*map(str, BUCKETS), "+Inf")
            seconds.add_metric((channel,), list(zip(names, counts, strict=True)), row[_SECONDS])
        yield requests
        yield seconds
        problems = CounterMetricFamily("gatewright_problems", "Problems by code", labels=("code",))
        for code, count in sorted(total["codes"].items()):
            problems.add_metric((code,), count)
        yield problems
        for name, value in sorted(total["counters"].items()):
            yield CounterMetricFamily(f"gatewright_{name}", name.replace("_", " "), value=value)
        for name, table in sorted(total["tables"].items()):
            if table["labels"]:
                family = CounterMetricFamily(f"gatewright_{name}", name.replace("_", " "), labels=table["labels"])
                for *key, count in table["rows"]:
                    family.add_metric(key, count)
                yield family
        for name, value in sorted({**total["gauges"], **self._gauges}.items()):
            yield GaugeMetricFamily(f"gatewright_{name}", name.replace("_", " "), value=value)


def process_exists(pid: int) -> bool:
    """Whether there is a process *pid* that has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def write_whole(path: Path, content: bytes) -> None:
    """Write *content* to *path* so that a reader sees all of it or the file before."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return record
