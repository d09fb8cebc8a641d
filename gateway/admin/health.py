"""``/status``, ``/ready`` and ``/metrics``: how the gateway is."""

from __future__ import annotations

from typing import Any

import falcon

from gateway.admin.installation import Installation
from gateway.metrics import merge, render

#: A worker that has not written for so many seconds hangs.
SILENT = 10.0


class StatusResource:
    """What runs: version, revision, workers."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The status, as JSON."""
        response.media = status(self._installation)


class ReadyResource:
    """Whether requests are served."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """200 while at least one worker serves, else 503."""
        serving = ready(self._installation)
        response.status = 200 if serving else 503
        response.media = {"ready": serving}


class MetricsResource:
    """What was counted."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The sum over all workers since the gateway started, in the text format of Prometheus."""
        collected = self._installation.collected
        workers = collected.workers()
        gauges = {
            "workers": float(len(workers)),
            "workers_serving": float(sum(1 for worker in workers if _serves(self._installation, worker))),
            "revision": float(max((_number(worker, "revision") for worker in workers), default=0)),
            "uptime_seconds": self._installation.clock() - self._installation.started,
        }
        response.content_type = "text/plain; version=0.0.4; charset=utf-8"
        response.data = render(merge(collected.all()), gauges)


def status(installation: Installation) -> dict[str, Any]:
    """The status as JSON values."""
    now = installation.clock()
    workers = [
        {
            "pid": worker["pid"],
            "serving": _serves(installation, worker),
            "seen_seconds_ago": round(max(0.0, now - worker["written_at"]), 1),
            "in_flight": int(worker["gauges"].get("in_flight", 0)),
            **{name: value for name, value in worker["facts"].items() if name != "serving"},
        }
        for worker in installation.collected.workers()
    ]
    serving = any(worker["serving"] for worker in workers)
    # Of the one worker that sends letters, where people are written to at all.
    mail = next((one for worker in installation.collected.workers() for one in worker["notes"].get("mail", ())), None)
    return {
        "status": "serving" if serving else "starting",
        "version": installation.version,
        "revision": installation.store.head(),
        "uptime_seconds": round(now - installation.started, 1),
        "workers": workers,
        **({} if mail is None else {"mail": mail}),
    }


def ready(installation: Installation) -> bool:
    """Whether at least one worker serves a snapshot."""
    return any(_serves(installation, worker) for worker in installation.collected.workers())


def _serves(installation: Installation, worker: dict[str, Any]) -> bool:
    return bool(worker["facts"].get("serving")) and installation.clock() - worker["written_at"] < SILENT


def _number(worker: dict[str, Any], name: str) -> int:
    value = worker["facts"].get(name, 0)
    return value if isinstance(value, int) else 0
