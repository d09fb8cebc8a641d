"""What is measured: Gatewright, and the servers beside it. Each is a context manager that gives a port and a process id."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import workload
from harness import HERE, ROOT, SCRATCH, SERVER_CORE, end, free_port, on, serving

PYTHON = SCRATCH / "python" / "bin" / "python"
NODE_MODULES = SCRATCH / "node" / "node_modules"
PYTHON_PEERS = ("falcon", "gunicorn", "gevent", "orjson", "fastapi", "slowapi", "uvicorn[standard]", "pydantic")
NODE_GATEWAYS = ("fast-gateway@3.4.7", "express-gateway")  # later ones of the first need what is not published
NODE_PEERS = (
    *NODE_GATEWAYS,
    "fastify",
    "@fastify/rate-limit",
    "@fastify/basic-auth",
    "moleculer",
    "moleculer-web",
    "fastest-validator",
)


class NotInstalled(Exception):
    """A peer is not here, and why."""


@dataclass(frozen=True)
class Running:
    """A server that answers at *port*. *ready_after* is in seconds; *admin* is Gatewright's other port."""

    port: int
    pid: int
    ready_after: float = 0.0
    admin: int = 0
    folder: Path = field(default_factory=Path)


@contextmanager
def gatewright(
    configuration: str = workload.CONFIGURATION,
    *,
    folder: Path | None = None,
    workers: int = 1,
    cores: Sequence[int] = (SERVER_CORE,),
    services: Mapping[str, str] = workload.SERVICES,
) -> Iterator[Running]:
    """Gatewright, as an operator starts it: access log to a file, metrics on. *folder* keeps an installation for a second start."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as temporary:
        place = folder or Path(temporary)
        (place / "services").mkdir(parents=True, exist_ok=True)
        for name, source in services.items():
            (place / "services" / name).write_text(dedent(source))
        document = place / "gateway.yaml"
        document.write_text(configuration)
        port, admin = free_port(), free_port()
        command = [
            sys.executable, "-m", "gateway.cli", "run", "--config", document, "--services", place / "services",
            "--data", place / "data", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}",
            "--workers", workers, "--access-log", place / "access.log", "--log-level", "warning",
        ]  # fmt: skip
        began = time.monotonic()
        with (place / "errors.log").open("wb") as errors:
            process = subprocess.Popen(
                list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, preexec_fn=on(*cores),
                start_new_session=True,
            )  # fmt: skip
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith(b"ready"):
                raise RuntimeError(f"Gatewright did not start: {(place / 'errors.log').read_text()[-800:]}")
            yield Running(port, process.pid, time.monotonic() - began, admin, place)
        finally:
            end(process)


@dataclass(frozen=True)
class Peer:
    """Another server: its name in the table, and what starts it."""

    name: str
    start: Callable[[], AbstractContextManager[Running]]


def install_peers() -> None:
    """Install the peers of PyPI and npm into the scratch folder, where the tools for that are. Nothing is raised."""
    if not PYTHON.exists():
        say("installing the Python peers")
        run(sys.executable, "-m", "venv", SCRATCH / "python")
        run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYTHON_PEERS)
        # gunicorn's quick parser is built from source: without a compiler it does without.
        run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "gunicorn_h1c")
    if not (NODE_MODULES / "express-gateway").exists() and shutil.which("npm"):
        say("installing the Node.js peers")
        NODE_MODULES.parent.mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", NODE_MODULES.parent, *NODE_PEERS)


def run(*command: object) -> None:
    """Run a command that may fail."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
    if done.returncode:
        say(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def needs(*places: Path) -> None:
    """Raise NotInstalled for the first of *places* that is not there."""
    for place in places:
        if not place.exists():
            raise NotInstalled(f"{place.name} could not be installed")


@contextmanager
def gunicorn_falcon() -> Iterator[Running]:
    """Bare Falcon on gunicorn's gevent worker."""
    needs(PYTHON, *_packages("falcon", "gunicorn", "gevent"))
    port = free_port()
    command = [
        PYTHON, "-m", "gunicorn", "--worker-class", "gevent", "--workers", "1", "--bind", f"127.0.0.1:{port}",
        "--keep-alive", "600", "--no-control-socket", "falcon_bare:application",
    ]  # fmt: skip
    with serving(command, port) as pid:
        yield Running(port, pid)


@contextmanager
def uvicorn_fastapi() -> Iterator[Running]:
    """FastAPI, slowapi, HTTPBasic and pydantic on uvicorn."""
    needs(PYTHON, *_packages("fastapi", "slowapi", "uvicorn"))
    port = free_port()
    command = [PYTHON, "-m", "uvicorn", "--host", "127.0.0.1", "--port", port, "--no-access-log", "fastapi_whole:app"]
    with serving(command, port) as pid:
        yield Running(port, pid)


@contextmanager
def node(script: str, *packages: str, upstream: int = 0) -> Iterator[Running]:
    """A server of ours on Node.js; *upstream* is the port of the system behind it."""
    program = shutil.which("node")
    if program is None:
        raise NotInstalled("there is no node")
    needs(*(NODE_MODULES / package for package in packages))
    port = free_port()
    environment = {"NODE_PATH": str(NODE_MODULES), "NODE_ENV": "production"}
    with serving([program, HERE / "peers" / script, port, upstream], port, environment=environment) as pid:
        yield Running(port, pid)


@contextmanager
def nginx(configured: str = "nginx_lua.conf", upstream: int = 0) -> Iterator[Running]:
    """nginx; *upstream* is the port of the system behind it."""
    program = shutil.which("nginx") or ("/usr/sbin/nginx" if os.path.exists("/usr/sbin/nginx") else None)
    if program is None:
        raise NotInstalled("there is no nginx")
    text = (HERE / "peers" / configured).read_text()
    if "lua" in text:
        needs(Path("/usr/lib/nginx/modules/ngx_http_lua_module.so"))
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="nginx-", dir=SCRATCH) as folder:
        text = text.replace("UPSTREAM", str(upstream)).replace("PORT", str(port)).replace("FOLDER", folder)
        (Path(folder) / "passwords").write_text(f"{workload.USERNAME}:{{PLAIN}}{workload.PASSWORD}\n")
        user = "user root;\n" if os.geteuid() == 0 else ""
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(user + text.replace("modules/", "/usr/lib/nginx/modules/"))
        with serving([program, "-e", "stderr", "-p", folder, "-c", configuration], port) as pid:
            yield Running(port, pid)


def _packages(*names: str) -> list[Path]:
    found = sorted((SCRATCH / "python" / "lib").glob("python3*/site-packages"))
    return [found[0] / name for name in names] if found else [SCRATCH / "python"]


PEERS = (
    Peer("bare Falcon, gunicorn's gevent worker", gunicorn_falcon),
    Peer("FastAPI, slowapi, HTTPBasic, pydantic", uvicorn_fastapi),
    Peer(
        "Fastify, rate-limit, basic-auth, schema", lambda: node("fastify_whole.cjs", "fastify", "@fastify/rate-limit")
    ),
    Peer("moleculer-web, auth, limit, validator", lambda: node("moleculer_whole.cjs", "moleculer", "moleculer-web")),
    Peer("nginx with Lua, auth, limit, JSON", nginx),
)


@dataclass(frozen=True)
class Forwarder:
    """A gateway that hands on to the system at a port: its name in the table, and what starts it."""

    name: str
    start: Callable[[int], AbstractContextManager[Running]]


FORWARDERS = (
    Forwarder("Gatewright", lambda upstream: gatewright(workload.forwarding(upstream), services={})),
    Forwarder(
        "Gatewright, neither auth nor limit",
        lambda upstream: gatewright(workload.forwarding(upstream, bare=True), services={}),
    ),
    Forwarder("nginx, proxy_pass, Basic, limit", lambda upstream: nginx("nginx_forward.conf", upstream)),
    Forwarder(
        "fast-gateway, Basic and limit by hand",
        lambda upstream: node("fast_gateway.cjs", "fast-gateway", upstream=upstream),
    ),
    Forwarder(
        "express-gateway, neither", lambda upstream: node("express_gateway.cjs", "express-gateway", upstream=upstream)
    ),
)
