"""The steward: one process beside the workers, so that the admin API answers while the public one is busy.

    admin      the admin API behind its guard            --admin
    control    the same, for whoever may open the socket DATA/control.sock (0600)
    health     /status and /ready as bare status codes   --health

The master starts it, hands it the listening sockets and its options on standard input, and starts it again when it ends.
Further work of the machine, such as watching the services folder, is a task: a callable that runs in a greenlet of its own.
"""

from __future__ import annotations

from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import gevent
from gevent.event import Event

from gateway import process_log
from gateway.admin import answer_problem, make_app
from gateway.admin.guard import Guard, check_type
from gateway.admin.health import ready, status
from gateway.admin.installation import Installation
from gateway.administrators import Administrators
from gateway.bounds import Bounds
from gateway.child import HANDED, sign_of_life
from gateway.listening import Acceptor, place_of
from gateway.metrics import Collected
from gateway.options import Options
from gateway.process_log import say
from gateway.transport import Socket, Sweeper
from gateway.watching import watch_services
from gateway.wire import Wire
from gateway.wsgi import call
from specs.exchange import Exchange
from specs.problems import BackendError, ConfigurationError, InternalError, Problem

log = logging.getLogger("gatewright.steward")

#: The largest document, or set of services, that is taken.
MOST_BODY = 32 << 20
Task = Callable[["Steward"], None]


class AdminHandler:
    """The admin API on one listener: the guard's, or without one for callers who are trusted already."""

    def __init__(self, application: Any, guard: Guard | None) -> None:
        self._application = application
        self._guard = guard

    def handle(self, exchange: Exchange) -> None:
        """Check who calls, then let the application answer."""
        try:
            if self._guard is not None:
                self._guard.check(exchange)
            elif exchange.method not in ("GET", "HEAD"):
                check_type(exchange)
            call(self._application, exchange, exchange.read_body(MOST_BODY))
        except Problem as problem:
            answer_problem(exchange, problem)
        except Exception:
            log.exception("cid=%s the admin API failed", exchange.cid)
            answer_problem(exchange, InternalError())
        exchange.response_headers += [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
        self._record(exchange)

    def refuse(self, exchange: Exchange) -> None:
        """Answer what the wire refused."""
        answer_problem(exchange, exchange.problem or Problem.of("bad-request"))
        self._record(exchange)

    def _record(self, exchange: Exchange) -> None:
        if exchange.method not in ("GET", "HEAD", "OPTIONS", "") or exchange.response_status in (401, 403):
            who = (exchange.notes or {}).get("administrator", "")
            words = (exchange.cid, exchange.peer, who or "-", exchange.method, exchange.path, exchange.response_status)
            log.info("cid=%s %s %r %s %r %s", *words)


class HealthHandler:
    """Bare status codes for probes that come from elsewhere: nothing is told but whether requests are served."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def handle(self, exchange: Exchange) -> None:
        """200 or 503, and nothing else."""
        if exchange.path == "/ready":
            exchange.response_status = 200 if ready(self._installation) else 503
        elif exchange.path == "/status":
            exchange.response_status = 200 if status(self._installation)["status"] == "serving" else 503
        else:
            exchange.response_status = 404
        if exchange.method not in ("GET", "HEAD"):
            exchange.response_status = 405

    def refuse(self, exchange: Exchange) -> None:
        """The problem's status."""
        exchange.response_status = exchange.problem.status if exchange.problem else 400


class Steward:
    """The listeners of one installation, and the *tasks* of its machine."""

    def __init__(
        self, installation: Installation, listeners: Mapping[str, socket.socket], tasks: tuple[Task, ...] = ()
    ) -> None:
        self.installation = installation
        self.options = installation.options
        self.tasks = list(tasks)
        self.stopping = Event()
        self.reloading = Event()
        application = make_app(installation)
        handlers: dict[str, Any] = {"control": AdminHandler(application, None), "health": HealthHandler(installation)}
        if "admin" in listeners:
            place = place_of(listeners["admin"])
            # A listener on a Unix socket is reached by whoever may open the file, and still asks for a password.
            people = installation.super_users
            guard = Guard(
                installation.administrators.verify, place.host or "127.0.0.1", self.options.admin_hosts,
                people.name_of if people is not None else None,
            )  # fmt: skip
            handlers["admin"] = AdminHandler(application, guard)
        sweeper = Sweeper()
        bounds = Bounds(connections=200, body_seconds=30.0)
        self._wires = {name: Wire(handlers[name], bounds, sweeper=sweeper) for name in listeners}
        self._acceptors = [Acceptor(sock, self._wires[name]) for name, sock in listeners.items()]

    def start(self) -> None:
        """Begin to answer, and begin each task."""
        for acceptor in self._acceptors:
            acceptor.start()
        for task in self.tasks:
            gevent.spawn(self._run, task)

    def stop(self, patience: float = 2.0) -> None:
        """Answer what is under way, then end."""
        self.stopping.set()
        for acceptor in self._acceptors:
            acceptor.stop()
        for wire in self._wires.values():
            wire.drain(0.0)
        deadline = time.monotonic() + patience
        while any(wire.connections for wire in self._wires.values()) and time.monotonic() < deadline:
            gevent.sleep(0.02)

    def _run(self, task: Task) -> None:
        """Run *task* until the steward stops; one that fails is tried again, ever more slowly."""
        pause = 0.5
        while not self.stopping.is_set():
            try:
                task(self)
                return
            except Exception:
                log.exception("the task %s failed and begins again in %.1f s", task, pause)
            self.stopping.wait(pause)
            pause = min(60.0, pause * 2)


def open_installation(options: Options) -> Installation:
    """The installation that *options* name, opened in this process."""
    from gateway.admin.super_users import SuperUsers
    from gateway.commands import key_file
    from gateway.configuration.store import Store
    from gateway.people import People
    from gateway.preparation import deployments_of
    from security.database import open_database
    from security.passwords import HashingPool, PasswordHasher
    from security.secrets import Keyring
    from security.stamps import FILE_NAME as STAMPS
    from security.stamps import Stamps

    database = open_database(options.database or options.data)
    keyring = Keyring.open(key_file(options.data, options.keys), create=options.keys is None)
    pool = HashingPool()
    hasher = PasswordHasher(keyring.ring("edge"))
    store = Store(database, keyring, hash_password=lambda password: pool.run(lambda: hasher.hash(password)))
    people = People(database, keyring, pool=pool, stamps=Stamps(options.data / STAMPS), listener=options.reached_at)
    return Installation(
        options=options,
        store=store,
        administrators=Administrators(database, keyring, pool=pool),
        deployments=deployments_of(database, keyring),
        collected=Collected(options.run_folder / "metrics"),
        version=_version(),
        started=time.time(),
        clock=time.time,
        super_users=SuperUsers(store, people),
    )


def main(tasks: tuple[Task, ...] = (), open_it: Callable[[Options], Installation] = open_installation) -> int:
    """Be the steward: what the master starts. *tasks* are the machine's further work; the exit code."""
    master = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    text = sys.stdin.buffer.read()
    if not text:
        return 0  # the master has ended before there was anything to do
    options = Options.from_json(text)
    process_log.begin(options.log_level)
    handed: dict[str, int] = json.loads(os.environ.pop(HANDED))
    news = handed.pop("news")
    listeners = {name: Socket(fileno=descriptor) for name, descriptor in handed.items()}
    for descriptor in (news, *handed.values()):
        os.set_inheritable(descriptor, False)
    sign_of_life(options)
    try:
        installation = open_it(options)
    except (ConfigurationError, BackendError) as error:
        say(f"gatewright: the steward could not start: {error}")
        return 1
    first = installation.administrators.ensure_first(options.data)
    if first is not None:
        say(f"the administrator's name and password are in {first}")
    steward = Steward(installation, listeners, tasks)
    stop = Event()
    gevent.signal_handler(signal.SIGTERM, stop.set)
    gevent.signal_handler(signal.SIGINT, int)  # the terminal sends it to everybody: the master decides
    gevent.signal_handler(signal.SIGHUP, steward.reloading.set)
    steward.start()
    os.write(news, b"s")
    os.kill(master, signal.SIGCHLD)
    while not stop.wait(1.0):
        sign_of_life(options)
        if os.getppid() != master:
            log.warning("the master is gone: the steward ends")
            break
    steward.stop()
    return 0


def _version() -> str:
    try:
        return metadata.version("gatewright")
    except metadata.PackageNotFoundError:
        return "0"


if __name__ == "__main__":
    sys.exit(main((watch_services,)))
