"""A change of the configuration keeps what was counted, and a changed rate carries it over; a killed worker takes nothing along."""

import os
import signal
import time

from running import gateway

SERVICES = {
    "ping.py": """
        from gatewright import Service

        class Ping(Service):
            name = "ping"

            def handle(self):
                self.response.payload = {"pong": True}
    """
}
ALGORITHMS = ("gcra", "sliding-log", "fixed-window")


def document(rate, description=""):
    lines = ["format: 1", "limits:"]
    lines += [f"  {one}: {{rules: [{{from: '*', rate: {rate}}}], algorithm: {one}}}" for one in ALGORITHMS]
    lines += ["channels:"]
    lines += [
        f"  {one}: {{type: rest, path: /{one}, service: ping, limit: {one}, description: '{description}'}}"
        for one in ALGORITHMS
    ]
    return "\n".join(lines)


def wait_for(true, seconds=20):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)


def test_what_was_counted_stays(tmp_path):
    with gateway(tmp_path, document("10/day"), SERVICES, workers=1) as served:

        def ask(times):
            return [[served.get(f"/{one}").status_code for _ in range(times)] for one in ALGORITHMS]

        def change(rate, description):
            path = tmp_path / "new.yaml"
            path.write_text(document(rate, description))
            served.command("config", "apply", str(path))
            head = served.status()["revision"]
            wait_for(lambda: all(worker.get("revision") == head for worker in served.status()["workers"]))

        assert ask(6) == [[200] * 6] * 3
        change("10/day", "another description")
        remaining = [served.get(f"/{one}").headers["RateLimit"].partition(";t=")[0] for one in ALGORITHMS]
        assert remaining == [f'"{one}";r=3' for one in ALGORITHMS]
        change("8/day", "a lower rate")
        assert ask(2) == [[200, 429]] * 3
        (worker,) = [one["pid"] for one in served.status()["workers"]]
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: worker not in [one["pid"] for one in served.status()["workers"]])
        assert ask(1) == [[429]] * 3
