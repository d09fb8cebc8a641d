"""Ten thousand channels: a gateway starts with them, answers on each as it does with ten, and takes up a change of one."""

import statistics
import time

import pytest
import requests
from running import eventually, gateway

SERVICES = {
    "echo.py": """
        from gatewright import Service

        class Echo(Service):
            name = "echo"
            input = "-n"
            output = "-n"
            def handle(self):
                self.response.payload.n = self.request.input.n
    """,
}


def configuration(channels, moved=""):
    lines = [
        f'  c{n}: {{type: rest, path: "/area{n % 97}{moved if n == channels - 1 else ""}/thing{n}/{{n}}", service: echo}}\n'
        for n in range(channels)
    ]
    return "format: 1\nchannels:\n" + "".join(lines)


def median_call(running, channels):
    """Seconds of the middle one of a hundred calls to channels here and there."""
    took = []
    with requests.Session() as session:
        for n in range(0, channels, max(1, channels // 100)):
            began = time.perf_counter()
            answer = session.get(f"{running.url}/area{n % 97}/thing{n}/7", timeout=20)
            took.append(time.perf_counter() - began)
            assert answer.json() == {"n": "7"}
    return statistics.median(took)


@pytest.mark.soak
def test_Z42_ten_thousand_channels_start_answer_like_ten_and_take_up_a_change(tmp_path):
    for count in (10, 10_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        began = time.monotonic()
        with gateway(folder, configuration(count), SERVICES) as running:
            started = time.monotonic() - began
            call = median_call(running, count)
            changed = folder / "changed.yaml"
            changed.write_text(configuration(count, moved="-moved"))
            last = count - 1
            began = time.monotonic()
            running.command("config", "apply", str(changed))
            applied = time.monotonic() - began
            path = f"/area{last % 97}-moved/thing{last}/7"
            assert eventually(lambda path=path: running.get(path).status_code == 200, 60)
            seen = time.monotonic() - began - applied
            [worker] = running.workers()
            with open(f"/proc/{worker}/status") as file:
                memory = next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmRSS"))
            print(
                f"{count} channels: ready after {started:.1f} s, {memory} MB a worker, {call * 1e6:.0f} us a call, "
                f"a change applied in {applied:.1f} s and served {seen:.2f} s later"
            )
            if count == 10:
                few = call
            assert running.stop() == 0
    assert call < few * 3
    assert started < 120
    assert seen < 10
