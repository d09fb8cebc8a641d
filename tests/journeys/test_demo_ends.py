"""`gatewright demo` as a newcomer runs it: it serves, it ends when it is told to, and it starts again at once."""

import os
import signal
import subprocess
import sys

import requests
from running import ROOT, free_port


def test_the_demo_ends_with_sigterm_leaves_nothing_running_and_starts_again(tmp_path):
    for _ in range(2):
        port, admin = free_port(), free_port()
        words = [
            "--data",
            str(tmp_path),
            "--listen",
            f"127.0.0.1:{port}",
            "--admin",
            f"127.0.0.1:{admin}",
            "--workers",
            "1",
        ]
        with (tmp_path / "errors").open("w+") as errors:
            demo = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "demo", *words],
                cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=errors, text=True,
                start_new_session=True,
            )  # fmt: skip
            try:
                assert demo.stdout.readline() == f"ready http://127.0.0.1:{port}\n"
                assert requests.get(f"http://127.0.0.1:{port}/hello/world", timeout=20).status_code == 200
                demo.send_signal(signal.SIGTERM)
                assert demo.wait(20) == 0
            finally:
                if demo.poll() is None:
                    os.killpg(demo.pid, signal.SIGKILL)
                    demo.wait(10)
                demo.stdout.close()
            errors.seek(0)
            assert "Traceback" not in errors.read()
