"""One worker's gateway, put together: the composition root of the process that serves.

Gateway.start        database, keyring, runtime, first snapshot, then the greenlets beside the requests
Gateway.handle       the request path, `gateway.pipeline`
Gateway.stop         background work is given back, connections are closed
"""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Any

import gevent

from backends.background import Queue
from backends.cache import sweep_cache
from backends.clock import utc_now
from backends.consumer import Consumer
from backends.examples import Examples, sweep_samples
from backends.leases import Lease, sweep_leases
from backends.scheduler import Scheduler
from backends.upstreams import Upstreams
from gateway.anchor import Anchor
from gateway.bounds import Bounds
from gateway.commands import key_file
from gateway.contract_changes import history
from gateway.journal import Journal
from gateway.keyrings import KeyUse, sweep_key_users
from gateway.limit_stores import Stores, durable_store, open_store
from gateway.long_bodies import long_bodies
from gateway.mailing import Mailing, look_after
from gateway.metrics import Metrics
from gateway.pipeline import Pipeline
from gateway.quotas import Limits
from gateway.recording import Recorder
from gateway.reload import Reloader
from gateway.replay import Nonces
from gateway.runtime import Runtime
from gateway.snapshot import Compiler, Snapshot
from security.addresses import client_address
from security.credentials import CredentialCache, Verifier
from security.database import open_database
from security.secrets import Keyring
from security.stamps import FILE_NAME as STAMPS
from security.stamps import Stamps
from security.threads import give_way
from specs.turns import take_turns

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration
    from gateway.options import Options
    from specs.exchange import Exchange

log = logging.getLogger("gatewright.gateway")

#: Seconds that the scheduler's lease lives without being renewed: after so long another process takes over.
LEASE_SECONDS = 15.0
#: Calls from the background queue that a worker runs at once.
BACKGROUND_CALLS = 8


class Gateway:
    """What a worker serves with. Made before `start`, which belongs after the fork."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.journal = Journal(options.access_log, options.log_format)
        self.metrics = Metrics(options.run_folder / "metrics")
        self.bounds = Bounds(trusted=self._trusts, client_address=self._client_address)
        self._follow_bounds: Callable[[Bounds], None] | None = None

    def start(self) -> None:
        """Open what is needed and compile the first snapshot. Raises ConfigurationError, BackendUnavailable."""
        take_turns(give_way)
        options = self.options
        database = open_database(options.database or options.data)
        stamps = Stamps(options.data / STAMPS)
        keyring = Keyring.open(key_file(options.data, options.keys))
        self.runtime = Runtime(database, keyring, stamps=stamps, listener=options.reached_at)
        self._limit_store = open_store(options.data)
        self._stores = Stores(
            self._limit_store, share=options.worker_count, later=gevent.spawn, durable=lambda: durable_store(database)
        )
        self._stores.publish(self.metrics)
        verifier = Verifier(self.runtime.hasher, self.runtime.hashing, CredentialCache())
        compiler = self._compiler = Compiler(
            verifier,
            Limits(self._stores),
            give_way,
            first_use=Nonces(self._limit_store).first_use,
            listener=options.reached_at,
            history=lambda: history(self.runtime.store, self.runtime.deployments),
            examples=(examples := Examples(database)),
            recorder=(recorder := Recorder(examples)),
        )
        self.metrics.note("connections", self._usage)
        self.reloader = Reloader(self.runtime, compiler, self._took_up)
        self.pipeline = Pipeline(lambda: self.reloader.snapshot, self._record)
        self.handle = self.pipeline.handle
        self.refuse = self.pipeline.refuse
        self.journal.start()
        self._stopping = Event()
        self._greenlets = [
            gevent.spawn(self.reloader.run, gevent.sleep),
            gevent.spawn(self._watch_over),
            gevent.spawn(self._read_addresses_anew),
            gevent.spawn(recorder.run, gevent.sleep),
            *self._background(),
        ]
        # Whoever is told that we serve, and asks /status at once, finds us there.
        self.metrics.write()
        # PERF: what is here now stays. A full collection would look through all of it for 40 ms and more, and hold every
        # request up meanwhile; like this it takes 0.9 ms.
        gc.freeze()

    def follow_bounds(self, follow: Callable[[Bounds], None]) -> None:
        """Tell *follow* the bounds of the wire, now and each time the configuration changes them."""
        self._follow_bounds = follow
        follow(self.bounds)

    def stop(self, grace: float) -> None:
        """Give back background work and connections, and write the last lines; within *grace* seconds."""
        self._stopping.set()
        self._consumer.queue.wake.set()
        with gevent.Timeout(grace, False):
            while self._consumer.running:
                gevent.sleep(0.05)
        self._consumer.give_back()
        gevent.joinall(self._greenlets[3:], timeout=1.0)
        gevent.killall(self._greenlets, timeout=1.0)
        self.metrics.write()
        self.journal.stop()
        self._stores.close()
        self.runtime.close()

    def _background(self) -> list[Any]:
        runtime = self.runtime
        holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        queue: Queue = runtime.queue
        self._consumer = Consumer(
            queue,
            lambda call: self.reloader.snapshot.executor.perform(call),  # type: ignore[attr-defined]
            holder=holder,
            concurrency=BACKGROUND_CALLS,
            exists=lambda name: name in self.reloader.catalogue,
            spawn=gevent.spawn,
        )
        lease = Lease(runtime.database, "scheduler", holder, ttl=LEASE_SECONDS, margin=LEASE_SECONDS / 5)
        anchor = Anchor(self.options.data)
        chores: list[Callable[[], object]] = [
            lambda: sweep_cache(runtime.database, utc_now()),
            lambda: sweep_leases(runtime.database, utc_now()),
            lambda: sweep_key_users(runtime.database, utc_now()),
            lambda: sweep_samples(runtime.database, utc_now()),
            lambda: queue.sweep(utc_now()),
            lambda: self._stores.sweep(),
            self._sweep_people,
            lambda: look_after(runtime.people.current),
            lambda: anchor.keep(runtime.people.current),
            self._synchronise,
        ]
        self._scheduler = Scheduler(runtime.jobs, lease, chores=chores)
        mailing = Mailing(
            runtime.connections, lease, lambda: (runtime.people.current, self._configuration), self._stopping
        )
        mailing.published_by(self.metrics)
        return [
            gevent.spawn(self._consumer.run, self._stopping),
            gevent.spawn(self._scheduler.run, self._stopping),
            gevent.spawn(mailing.run),
            gevent.spawn(KeyUse(runtime.database, runtime.keyring).run, self._stopping),
        ]

    def _sweep_people(self) -> None:
        people = self.runtime.people.current
        if people is not None:
            people.sweep()

    def _took_up(self, snapshot: Snapshot, configuration: Configuration) -> None:
        self._configured_jobs: Mapping[str, Any] = {
            name: definition.settings for name, definition in configuration.of("jobs").items()
        }
        self._configuration = configuration
        self._synchronise()
        self._bound(configuration.gateway)
        self.metrics.facts = {
            "revision": snapshot.revision,
            "deployment": snapshot.generation,
            "serving": True,
            "faults": list(snapshot.faults),
            "not_deployed": dict(self.runtime.deployments.failures),
        }

    def _bound(self, settings: Any) -> None:
        timeouts, limits = settings.timeouts, settings.bounds
        self.bounds = replace(
            self.bounds,
            head_seconds=timeouts.head,
            handshake_seconds=timeouts.head,
            body_seconds=timeouts.body,
            idle_seconds=timeouts.idle,
            write_seconds=timeouts.send,
            total_seconds=timeouts.total,
            drain_seconds=timeouts.drain,
            rate=float(limits.min_rate),
            connections=limits.connections,
            connections_per_address=limits.connections_per_address,
            requests=limits.requests,
            bodies=limits.bodies,
            answers=limits.answers,
            requests_per_address=limits.requests_per_address,
        )
        if self._follow_bounds is not None:
            self._follow_bounds(self.bounds)

    def _synchronise(self) -> None:
        try:
            self.runtime.jobs.synchronise(self._configured_jobs)
        except Exception:
            log.exception("jobs could not be brought in line with the configuration; tried again in a minute")

    def _record(self, exchange: Exchange, nanoseconds: int) -> None:
        problem = exchange.problem
        channel = exchange.channel
        self.metrics.observe(
            channel.name if channel is not None else "",
            exchange.response_status,
            nanoseconds / 1e9,
            problem.code if problem is not None else "",
        )
        self.journal.access(exchange, nanoseconds)

    def _watch_over(self) -> None:
        """Each second: write the metrics, and make room for another worker where this one can run nothing more.

        What long bodies left of garbage is looked for, where it is time.
        """
        while True:
            gevent.sleep(1.0)
            if self.runtime.guard.slots.exhausted:
                # DESIGN 5: threads cannot be stopped. The arbiter starts another worker; the others go on.
                log.error("every thread for blocking services is taken for good: worker %s makes room", os.getpid())
                os.kill(os.getpid(), signal.SIGTERM)
                return
            long_bodies().thaw()
            self.metrics.facts["limits"] = self._stores.facts()
            try:
                self.metrics.write()
            except OSError as error:
                log.error("metrics cannot be written: %s", error.strerror)

    def _read_addresses_anew(self) -> None:
        """Each second: files of addresses that have changed. WHY apart: a million lines take their time, and metrics go on."""
        while True:
            gevent.sleep(1.0)
            self._compiler.address_files.check()

    def _usage(self) -> list[dict[str, Any]]:
        """How the pools of this worker stand: of connections, and of channels that hand on."""
        pools = self.runtime.connections.usage()
        for part in self._compiler.kept():
            if isinstance(part, Upstreams):
                pools += part.usage()
        return pools

    def _trusts(self, peer: str) -> bool:
        return peer in self.reloader.snapshot.trusted

    def _client_address(self, peer: str, headers: Mapping[str, str]) -> str:
        return client_address(peer, headers, self.reloader.snapshot.trusted)
