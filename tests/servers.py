"""Private servers for tests: each context manager starts one on a free loopback port and stops it by its process id.

A server that is not installed skips the test, and the reason says "server missing".
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM, *, patience: float = 10.0) -> None:
    """End a process of ours by signal *number*, and by SIGKILL where that does not help."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class PostgreSQL:
    """A running server with an empty cluster, whose user ``gw`` has the password ``secret``."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._numbers = itertools.count(1)

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of one of its databases."""
        return f"postgresql+psycopg://gw:secret@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        import psycopg

        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"create database {name} template template0")
        return self.url(name)


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server of our own, without fsync: it is thrown away."""
    programs = postgresql_programs()
    root = Path(tempfile.mkdtemp(prefix="gw-pg-", dir="/tmp"))
    # PostgreSQL refuses to run as root.
    owner: dict[str, object] = {}
    if os.geteuid() == 0:
        owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(root, "postgres", "postgres")
    try:
        (root / "password").write_text("secret\n")
        (root / "password").chmod(0o644)
        made = subprocess.run(
            [programs / "initdb", "-D", root / "cluster", "-A", "scram-sha-256", "-U", "gw", "-E", "UTF8", "--locale=C",
             f"--pwfile={root / 'password'}", "--no-sync"],
            cwd=root, capture_output=True, text=True, **owner,
        )  # fmt: skip
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stdout}{made.stderr}")
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": root, "fsync": "off",
            "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB", "max_connections": "60",
        }  # fmt: skip
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", root / "cluster", *(f"-c{k}={v}" for k, v in settings.items())],
                cwd=root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **owner,
            )  # fmt: skip
        try:
            server = PostgreSQL(port)
            _wait_for_postgresql(server, process, root / "log")
            yield server
        finally:
            stop(process, signal.SIGQUIT)  # "immediate" in PostgreSQL's terms: nothing here is worth a checkpoint
    finally:
        shutil.rmtree(root, ignore_errors=True)


def postgresql_programs() -> Path:
    """The folder of PostgreSQL's programs."""
    candidates = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin")]
    if found := shutil.which("postgres"):
        candidates.insert(0, Path(found).resolve().parent)
    for directory in candidates:
        if (directory / "postgres").exists() and (directory / "initdb").exists():
            return directory
    pytest.skip("server missing: PostgreSQL (apt-get install postgresql)")


def _wait_for_postgresql(server: PostgreSQL, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    end = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(server.url().replace("+psycopg", ""), connect_timeout=2).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}") from None
            time.sleep(0.05)
        else:
            return


class Redis:
    """A Redis (or Valkey) server that a test may kill and start again on the same port. *url* is where it is."""

    def __init__(self, port: int, folder: Path, program: str, arguments: tuple[str, ...]) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self._folder = folder
        self._command = (program, *arguments, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with nothing in it, and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Redis did not start: {(self._folder / 'log').read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, as a machine that fails does."""
        if self._process is not None:
            stop(self._process, signal.SIGKILL)
            self._process = None


@contextmanager
def redis_server(*arguments: str) -> Iterator[Redis]:
    """A server of our own that keeps nothing on the disk; *arguments* are further ones of ``redis-server``."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("server missing: Redis (apt-get install redis-server)")
    folder = Path(tempfile.mkdtemp(prefix="gw-redis-", dir="/tmp"))
    server = Redis(free_port(), folder, program, ("--save", "", "--appendonly", "no", *arguments))
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
