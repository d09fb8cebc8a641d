"""`serve`: gunicorn's arbiter over our workers, with the steward beside them.

    serve(options)
      └── prepare(options)      in a process of its own: migrations, --config; what fails is said before anything listens
      └── master                binds every socket, forks workers, keeps the steward alive. No database, thread or event loop
            ├── steward         admin, health and control listeners   gateway/steward.py
            └── workers         the public listeners                  gateway/worker.py

The console script patches the process with gevent before anything is imported, because workers are forked from it. The master
itself takes the native functions back (`Native`), so that no event loop is ever made in it.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter as BaseArbiter
from gunicorn.errors import HaltServer

from gateway import process_log
from gateway.certificates import Certificates
from gateway.child import Apart, StewardProcess
from gateway.listening import bind, place_of
from gateway.options import Endpoint, Options
from gateway.process_log import say
from gateway.worker import Worker
from specs.problems import ConfigurationError

log = logging.getLogger("gatewright.server")

Factory = Callable[[Options], Any]
Prepare = Callable[[Options], Any]
Announce = Callable[[str], None]


class Native:
    """The functions of the standard library that make an event loop when gevent has patched them, as they were before.

    The master runs with the originals; a process forked from it takes the patched ones back before it does anything else.
    """

    NAMES = (
        ("os", "fork"), ("os", "waitpid"), ("os", "posix_spawn"), ("time", "sleep"), ("queue", "SimpleQueue"),
        ("signal", "signal"), ("signal", "getsignal"),
    )  # fmt: skip

    def __init__(self) -> None:
        self._patched = {(module, name): getattr(importlib.import_module(module), name) for module, name in self.NAMES}

    def take(self) -> None:
        """Use the originals."""
        for module, name in self.NAMES:
            setattr(sys.modules[module], name, monkey.get_original(module, name))
        # WHY: imports leave one behind: Falcon makes a thread pool, and with it a queue of gevent's. Workers make their own.
        hub = get_hub_if_exists()
        if hub is not None:
            hub.destroy(destroy_loop=True)

    def give_back(self) -> None:
        """Use what gevent put in their place, if it did."""
        for (module, name), patched in self._patched.items():
            setattr(sys.modules[module], name, patched)


class Listener:
    """A listening socket as gunicorn holds one."""

    def __init__(self, sock: socket.socket, place: Endpoint, scheme: str) -> None:
        self.sock = sock
        self.place = place
        self.scheme = scheme

    def getsockname(self) -> Any:
        """As of a socket; the path of a Unix socket as it was asked for."""
        return self.place.path or self.sock.getsockname()

    def __str__(self) -> str:
        return str(self.place) if self.place.path else f"{self.scheme}://{place_of(self.sock)}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


class Application(BaseApplication):  # type: ignore[misc]
    """gunicorn's view of us: its settings out of our options, and the gateway that a worker loads."""

    def __init__(self, options: Options, factory: Factory | None, native: Native) -> None:
        self.options = options
        self._factory = factory
        self.native = native
        self.served = False
        #: How many starts of workers have failed since one last served.
        self.failed_starts = 0
        self.news, self._news_in = os.pipe()
        os.set_blocking(self.news, False)
        super().__init__()

    @property
    def news_in(self) -> int:
        """Where processes say that they serve: ``w`` for a worker, ``s`` for the steward, ``f`` for a worker that cannot."""
        return self._news_in

    def load_config(self) -> None:
        """Tell gunicorn what our options mean to it."""
        options = self.options
        settings = {
            "bind": list(options.listen),
            "workers": options.worker_count,
            "worker_class": Worker,
            "timeout": options.timeout,
            "graceful_timeout": options.graceful_timeout,
            "max_requests": options.max_requests,
            "max_requests_jitter": options.max_requests // 10,
            "loglevel": options.log_level,
            "proc_name": "gatewright",
            # WHY: its default is one path in the home folder, which two gateways of a user would share.
            "control_socket_disable": True,
        }
        if os.access("/dev/shm", os.W_OK):  # noqa: S108 - gunicorn makes an unlinked file there
            settings["worker_tmp_dir"] = "/dev/shm"  # noqa: S108
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The gateway. Called in the worker."""
        return self.import_gateway()(self.options)

    def import_gateway(self) -> Factory:
        """What makes the gateway. Imported in the master, once for all workers."""
        if self._factory is None:
            # WHY: a module that takes `time.sleep` for itself has to find the one that workers need.
            self.native.give_back()
            try:
                self._factory = importlib.import_module("gateway.assembly").Gateway
            finally:
                self.native.take()
        return self._factory

    def forked(self, worker: Worker) -> None:
        """A worker begins, in its own process."""
        self.native.give_back()
        process_log.begin(self.options.log_level)

    def serves(self, worker: Worker) -> None:
        """A worker accepts connections, in its own process."""
        tell(self._news_in, b"w", worker.ppid)

    def failed(self, worker: Worker) -> float:
        """A worker could not start, in its own process; how many seconds there should be before the next one tries."""
        tell(self._news_in, b"f", worker.ppid)
        return float(min(30, 2 ** min(5, self.failed_starts // self.options.worker_count)))


def tell(news: int, word: bytes, master: int) -> None:
    """Send *word* to the master and wake it."""
    os.write(news, word)
    os.kill(master, signal.SIGCHLD)


class Arbiter(BaseArbiter):  # type: ignore[misc]
    """gunicorn's arbiter with the steward under the same care, one ready line, and a reload that prepares first."""

    def __init__(
        self,
        app: Application,
        listeners: list[Listener],
        steward: StewardProcess,
        prepare: Prepare | None,
        announce: Announce | None,
    ) -> None:
        super().__init__(app)
        self._announce = announce
        self.LISTENERS = listeners
        self._steward = steward
        self._prepare = prepare
        self._preparing: Apart | None = None
        self._reload_again = False
        self._heard: set[int] = set()

    def start(self) -> None:
        """Start the steward, then what gunicorn starts."""
        super().start()
        self._steward.start()

    def manage_workers(self) -> None:
        """Keep as many workers as there should be, and the steward."""
        super().manage_workers()
        if not self._steward.keep() and not self.app.served:
            raise HaltServer("the steward could not start", 1)
        self._listen_to_news()
        self._follow_preparation()

    def _listen_to_news(self) -> None:
        try:
            words = os.read(self.app.news, 4096)
        except BlockingIOError:
            return
        self._heard.update(words)
        for word in words:
            if word == ord("w"):
                self.app.failed_starts = 0
            elif word == ord("f"):
                self.app.failed_starts += 1
        if not self.app.served and self._heard >= set(b"ws"):
            self.app.served = True
            say(f"ready {self.LISTENERS[0]}", sys.stdout)
            if self._announce is not None:
                self._announce(str(self.LISTENERS[0]))

    def handle_hup(self) -> None:
        """Prepare again, then replace the workers one generation by the next. What cannot be prepared changes nothing.

        Meanwhile the master looks after its children as ever; asked once more, it prepares once more after that.
        """
        if self._prepare is None:
            self._reload()
        elif self._preparing is not None:
            self._reload_again = True
        else:
            self._preparing = Apart(self._prepare, self.app.options, self.app.native.give_back)

    def _follow_preparation(self) -> None:
        preparing = self._preparing
        if preparing is None:
            return
        code = preparing.poll()
        patience = self.app.options.reload_timeout
        if code is None:
            if time.monotonic() - preparing.began < patience:
                return
            preparing.stop()
            self.log.error("what a reload prepares was not ready after %s s", patience)
        self._preparing = None
        if code == 0:
            self._reload()
        else:
            self.log.error("the reload is refused; everything goes on as before")
        if self._reload_again:
            self._reload_again = False
            self.handle_hup()

    def _reload(self) -> None:
        self._steward.signal(signal.SIGHUP)
        super().handle_hup()

    def stop(self, graceful: bool = True) -> None:
        """Stop the workers, then the steward."""
        if self._preparing is not None:
            self._preparing.stop()
            self._preparing = None
        super().stop(graceful)
        self._steward.stop()


def serve(
    options: Options,
    prepare: Prepare | None = None,
    *,
    factory: Factory | None = None,
    announce: Announce | None = None,
) -> int:
    """Serve until a signal ends it; the exit code: 0 after SIGTERM, 1 where something is refused or fails.

    *prepare* is called in a process of its own before anything listens, and again for each SIGHUP; an exception or an exit
    code refuses the start. *announce* is told the URL when all serve. *factory* makes the gateway in each worker
    (`gateway.assembly.Gateway`).
    """
    native = Native()
    native.take()
    master = os.getpid()
    try:
        return _serve(options, prepare, factory, native, announce)
    except SystemExit as end:
        if os.getpid() != master:
            raise
        return 1 if end.code else 0
    except ConfigurationError as error:
        say(f"gatewright: {error}")
        return 1
    finally:
        if os.getpid() == master:
            native.give_back()


def _serve(
    options: Options, prepare: Prepare | None, factory: Factory | None, native: Native, announce: Announce | None
) -> int:
    options.check()
    try:
        options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(options.run_folder, ignore_errors=True)
        options.run_folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError("data", f"{str(options.data)!r} cannot be used", str(error.strerror).lower()) from None
    if options.tls_cert and options.tls_key:
        Certificates(options.tls_cert, options.tls_key)  # refuses what cannot be used before a worker has to
    # Sockets first: two gateways on the same data, or a port that is taken, end here and have changed nothing.
    control = options.data / "control.sock"
    stewards = {"control": bind(Endpoint("", 0, str(control)), "data", mode=0o600)}
    stewards["admin"] = bind(Endpoint.parse(options.admin, "admin"), "admin")
    if options.health:
        stewards["health"] = bind(Endpoint.parse(options.health, "health"), "health")
    scheme = "https" if options.tls_cert else "http"
    places = [Endpoint.parse(place) for place in options.listen]
    listeners = [
        Listener(bind(place, "listen", shared=options.reuse_port and not place.path), place, scheme) for place in places
    ]
    # Workers write into documents where they are reached: there port 0 has become a real one.
    real = (
        place if place.path else place._replace(port=place_of(one.sock).port)
        for one, place in zip(listeners, places, strict=True)
    )
    options = replace(options, listen=tuple(str(place) for place in real))
    app = Application(options, factory, native)
    steward = StewardProcess(options, stewards, app.news_in)
    master = os.getpid()
    try:
        steward.start_ahead()
        app.import_gateway()
        if prepare is not None and Apart(prepare, options, native.give_back).wait():
            return 1
        say(f"admin http://{place_of(stewards['admin'])}")
        Arbiter(app, listeners, steward, prepare, announce).run()
    finally:
        if os.getpid() == master:
            steward.stop()
            control.unlink(missing_ok=True)
    return 0
