"""A gateway in a process of its own, as an operator starts it: for tests that talk to it over the wire."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from urllib.parse import urlsplit

import requests

ROOT = Path(__file__).parent.parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """A gateway that serves: *url* and *admin_url*, its *data* folder, and what it printed."""

    def __init__(self, process, data, admin_port, environment):
        self.process = process
        self.data = Path(data)
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self.environment = environment
        self.url = ""
        self.errors = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors.append(line)

    def wait_until_ready(self, seconds=60):
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line.startswith("ready http"):
            self.process.wait(10)
            self._reader.join(5)
            raise AssertionError(f"the gateway did not start: {line!r}\n{''.join(self.errors)}")
        self.url = line.split()[1]
        return self

    def connect(self, timeout=10, source="127.0.0.1"):
        """A raw connection to the public listener, from the address *source*."""
        place = urlsplit(self.url)
        return socket.create_connection((place.hostname, place.port), timeout=timeout, source_address=(source, 0))

    def request(self, method, path, **more):
        more.setdefault("timeout", 20)
        return requests.request(method, self.url + path, **more)

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, **more):
        return self.request("POST", path, **more)

    def command(self, *words, expected=0, stdin=None):
        """Run another verb of the program on the same installation."""
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *words, "--data", str(self.data)],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, input=stdin, timeout=60,
        )  # fmt: skip
        assert done.returncode == expected, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def administrator(self):
        """The credential that the first start made."""
        name, _, password = (self.data / "admin-password").read_text().strip().rpartition(":")
        return (name or "admin", password)

    def status(self):
        return requests.get(self.admin_url + "/status", timeout=10).json()

    def log(self):
        return "".join(self.errors)

    def workers(self):
        """The process ids of its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid) for pid in children if b"gateway.steward" not in Path(f"/proc/{pid}/cmdline").read_bytes()}

    def kill(self):
        """kill -9 of all its processes at once, as a power cut ends them."""
        kill_group(self.process)

    def stop(self, seconds=30):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            kill_group(self.process)
            raise AssertionError(f"the gateway did not stop\n{self.log()}") from None
        finally:
            self._reader.join(5)
            self.process.stdout.close()
            self.process.stderr.close()


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(10)


def eventually(condition, seconds=20.0, pause=0.05):
    """What *condition* gives as soon as that is true; at the end of *seconds*, whatever it gives."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(pause)
    return found


@contextmanager
def gateway(folder, configuration="format: 1\n", services=None, *, workers=1, options=(), environment=None, data=None):
    """A gateway on free ports that serves *configuration* (YAML text) and *services* (file name -> source)."""
    folder = Path(folder)
    services_dir = folder / "services"
    services_dir.mkdir(exist_ok=True)
    for name, source in (services or {}).items():
        content = source if isinstance(source, str) else json.dumps(source)
        (services_dir / name).write_text(dedent(content))
    document = folder / "gateway.yaml"
    document.write_text(dedent(configuration))
    data = Path(data or folder / "var")
    admin_port = free_port()
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
    process = subprocess.Popen(
        [
            sys.executable, "-m", "gateway.cli", "run", "--config", str(document), "--services", str(services_dir),
            "--data", str(data), "--listen", "127.0.0.1:0", "--admin", f"127.0.0.1:{admin_port}",
            "--workers", str(workers), *options,
        ],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    running = Running(process, data, admin_port, env)
    try:
        yield running.wait_until_ready()
    finally:
        if process.poll() is None:
            running.stop()
        else:
            for stream in (process.stdout, process.stderr):
                if not stream.closed:
                    running._reader.join(5)
                    stream.close()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
