"""The worker: one process that serves, forked and watched by gunicorn's arbiter.

gunicorn forks, signals, replaces and, as a last resort, kills; everything between the socket and the answer is ours. The
process was patched by gevent before anything else was imported (the console script's first statement), so nothing is patched
here, and a worker that hangs in C or in an endless loop stops telling the arbiter that it lives.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
import traceback
from math import inf
from typing import Any, NoReturn

import gevent
from gevent.event import Event
from gunicorn.workers.base import Worker as BaseWorker

from gateway.bounds import Bounds
from gateway.certificates import Certificates
from gateway.listening import Acceptor, own_listener
from gateway.process_log import say
from gateway.wire import Wire
from specs.problems import BackendError, ConfigurationError

log = logging.getLogger("gatewright.worker")

#: Seconds after which a thread that computes lets go of the interpreter. WHY: the hub asks for it after each call of the system; by
#: Python's own 5 ms every request would wait so long, two or three times, while a large document is printed in a thread.
SWITCH_INTERVAL = 0.0005


class Worker(BaseWorker):  # type: ignore[misc]
    """Serves the gateway that the application loads, until a signal, the parent's end or `max_requests`.

    The gateway has ``handle`` and ``refuse`` (`gateway.wire`), ``start()``, ``stop(grace)`` and perhaps ``bounds``.
    """

    def init_process(self) -> None:
        """Become a worker: called in the forked process."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        self.app.forked(self)
        self.finishing = Event()
        super().init_process()

    def init_signals(self) -> None:
        """Hear signals on gevent's loop, where they wake whoever waits."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        gevent.signal_handler(signal.SIGTERM, self.finish)
        gevent.signal_handler(signal.SIGQUIT, self.quit)
        gevent.signal_handler(signal.SIGINT, self.quit)
        gevent.signal_handler(signal.SIGUSR1, self.reopen)
        gevent.signal_handler(signal.SIGWINCH, int)
        # WHY: this one comes from the arbiter when the loop is deaf, so it must not need the loop.
        signal.signal(signal.SIGABRT, self.abort)

    def finish(self) -> None:
        """Stop as soon as nobody is waiting for an answer."""
        self.alive = False
        self.finishing.set()

    def quit(self) -> None:
        """Stop now."""
        os._exit(0)

    def reopen(self) -> None:
        """Open log files again, after they were rotated."""
        self.log.reopen_files()
        journal = getattr(self.wsgi, "journal", None)
        if journal is not None:
            journal.reopen()

    def abort(self, number: int, frame: Any) -> None:
        """Say where this worker hangs, and end."""
        where = "".join(traceback.format_stack(frame)[-12:])
        os.write(2, f"worker {os.getpid()} did not come back to its loop for {self.cfg.timeout} s:\n{where}".encode())
        os._exit(1)

    def run(self) -> None:
        """Serve until told to finish, then answer what is under way."""
        gateway = self.wsgi
        heart = gevent.spawn(self._beat)
        options = self.app.options
        try:
            certificates = (
                Certificates(options.tls_cert, options.tls_key) if options.tls_cert and options.tls_key else None
            )
            gateway.start()
        except (ConfigurationError, BackendError) as error:
            self._give_up(heart, f"gatewright: a worker could not start: {error}")
        except Exception:
            log.exception("the worker could not start")
            self._give_up(heart, "")
        bounds = getattr(gateway, "bounds", None) or Bounds(connections=options.connections)
        wire = Wire(gateway, bounds, proxy_protocol=options.proxy_protocol)
        follow_bounds = getattr(gateway, "follow_bounds", None)
        if follow_bounds is not None:
            follow_bounds(wire.bound)
        self._publish(gateway, wire)
        acceptors = self._acceptors(wire, certificates)
        for acceptor in acceptors:
            acceptor.start()
        self.app.serves(self)
        while not self.finishing.wait(0.25):
            if wire.requests >= self.max_requests:
                log.info("worker %s has served %s requests and makes room for another", os.getpid(), wire.requests)
                break
        self._finish(gateway, wire, acceptors)
        heart.kill()

    def _give_up(self, heart: Any, line: str) -> NoReturn:
        """End, because the gateway could not be started. An installation that has never served is told at once.

        Later a worker is tried again until it works, ever more slowly.
        """
        if line:
            say(line)
        if self.app.served:
            self.finishing.wait(self.app.failed(self))
        heart.kill()
        sys.exit(1 if self.app.served else 3)

    def _acceptors(self, wire: Wire, certificates: Certificates | None) -> list[Acceptor]:
        acceptors = []
        for listener in self.sockets:
            acceptors.append(Acceptor(listener.sock, wire, certificates))
            if self.app.options.reuse_port and listener.sock.family != socket.AF_UNIX:
                with own_listener(
                    listener.sock
                ) as own:  # the acceptor has a descriptor of its own, which keeps it open
                    acceptors.append(Acceptor(own, wire, certificates))
        return acceptors

    def _publish(self, gateway: Any, wire: Wire) -> None:
        metrics, journal = getattr(gateway, "metrics", None), getattr(gateway, "journal", None)
        if metrics is not None:
            metrics.gauge("connections", lambda: len(wire.connections))
            metrics.gauge("in_flight", lambda: sum(1 for one in wire.connections if one.idle_since == inf))
        if metrics is not None and journal is not None:
            metrics.counter("access_lines_dropped", lambda: journal.dropped)

    def _finish(self, gateway: Any, wire: Wire, acceptors: list[Acceptor]) -> None:
        # A little sooner than the arbiter's own patience, which ends with SIGKILL.
        grace = max(0.5, min(wire.bounds.drain_seconds, self.cfg.graceful_timeout - 1.0))
        deadline = time.monotonic() + grace
        for acceptor in acceptors:
            acceptor.stop()
        gevent.sleep(0)  # connections accepted a moment ago begin
        wire.drain()
        while (wire.connections or wire.expected) and time.monotonic() < deadline:
            gevent.sleep(0.02)
        if wire.connections:
            log.warning("worker %s ends with %s connections unfinished", os.getpid(), len(wire.connections))
        gateway.stop(max(0.1, deadline - time.monotonic()))

    def _beat(self) -> None:
        """Tell the arbiter each second that this worker lives, and notice when the arbiter does not."""
        while True:
            self.notify()
            if os.getppid() != self.ppid:
                log.warning("the master is gone: worker %s finishes", os.getpid())
                self.finish()
            gevent.sleep(1.0)
