"""What runs services in one process, serving or not: the database and everything that services reach through it.

The worker has one for its life; a command such as ``service invoke`` makes one and closes it again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from backends import builtins
from backends.background import Queue
from backends.cache import Caches
from backends.catalogue import Catalogue, Deployed, deployed_from
from backends.connections import Connections, Lease, Outgoing
from backends.deployment import Deployments
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.jobs import Jobs
from backends.keyvalue import KeyValueDatabase
from backends.locks import Locks
from backends.platform import Platform
from gateway.built_in import sso_of
from gateway.configuration.store import Store
from gateway.contract_changes import policies_of
from gateway.people import People
from gateway.rehearsal import Rehearsal
from security.passwords import HashingPool, PasswordHasher
from security.stamps import Stamps

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration
    from security.database import Database
    from security.secrets import Keyring
    from specs.exchange import Call, Outcome
    from sso.system import SingleSignOn

log = logging.getLogger("gatewright.runtime")


class Runtime:
    """The parts of a process that outlive every snapshot. *enforce* is False where no deadline is to be watched.

    *stamps* are the machine's: a command that changes nothing of anybody has some of its own. *listener* is where the gateway is
    reached if no public URL is configured.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        enforce: bool = True,
        stamps: Stamps | None = None,
        listener: str = "",
    ) -> None:
        self.database = database
        self.keyring = keyring
        self.hasher = PasswordHasher(keyring.ring("edge"))
        self.hashing = HashingPool()
        self.store = Store(database, keyring, hash_password=self._hash)
        self.deployments = Deployments(
            database,
            keyring.ring("edge"),
            builtin=deployed_from(builtins),
            policies=policies_of(self.store),
            rehearse=Rehearsal(database, keyring),
        )
        self.connections = Connections()
        self.guard = Guard(enforce=enforce)
        self.queue = Queue(database)
        self.jobs = Jobs(database, self.queue)
        self._platform = Platform(
            cache=Caches(database),
            kvdb=KeyValueDatabase(database),
            lock=Locks(database),
            enqueue=self.queue.enqueue,
            jobs=self.jobs,
        )
        self.people = People(database, keyring, pool=self.hashing, stamps=stamps, listener=listener)
        self._sso_services: list[Deployed] = []

    def _hash(self, password: str) -> str:
        return self.hashing.run(lambda: self.hasher.hash(password))

    def executor(self, configuration: Configuration, catalogue: Catalogue) -> LeasedExecutor:
        """What runs the services of *catalogue* with the connections of *configuration*."""
        leases = [
            self.connections.lease(definition.type, name, definition.settings)
            for name, definition in configuration.of("connections").items()
        ]
        self.guard.deadline = float(configuration.gateway.timeouts.deadline)
        platform = replace(self._platform, out=Outgoing(leases))
        people = self.single_sign_on(configuration)
        if people is not None:
            platform = replace(platform, sso=people)
        return LeasedExecutor(catalogue, platform, self.guard, leases)

    def single_sign_on(self, configuration: Configuration) -> SingleSignOn | None:
        """Single sign-on by the settings of *configuration*; None where it is off. Raises BackendUnavailable."""
        return self.people.of(configuration)

    def catalogue(self, configuration: Configuration, deployed: Catalogue) -> Catalogue:
        """What can be called: what was *deployed*, and the services of single sign-on where it is on."""
        if sso_of(configuration) is None:
            return deployed
        if not self._sso_services:
            from sso.surface import services

            self._sso_services = services()
        own = {one.name for one in self._sso_services}
        for one in deployed:
            if one.name in own:
                log.error("two services have the name '%s': that of '%s' is left out", one.name, one.module)
        return Catalogue([*(one for one in deployed if one.name not in own), *self._sso_services])

    def close(self) -> None:
        """Give everything back."""
        self.guard.close()
        self.hashing.close()
        self.people.close()
        self.database.close()


class LeasedExecutor(LocalExecutor):
    """A snapshot's executor: its services see the snapshot's connections, and it knows when nobody needs them any more."""

    def __init__(self, catalogue: Catalogue, platform: Platform, guard: Guard, leases: Sequence[Lease]) -> None:
        super().__init__(catalogue, platform, guard)
        self._leases = leases
        self._calls = 0
        self._retired = False

    def run(self, call: Call) -> Outcome:
        """The outcome of *call*. The connections stay until it is over, whatever is accepted meanwhile."""
        self._calls += 1
        outcome = None
        try:
            outcome = self._run(call, self.find(call.service), 0)
            return outcome
        finally:
            if outcome is not None and outcome.stream is not None:
                outcome.stream = self._until_sent(outcome.stream)
            else:
                self._over()

    def perform(self, call: Call) -> Outcome:
        """Likewise, for a call that no channel has read."""
        self._calls += 1
        try:
            return super().perform(call)
        finally:
            self._over()

    def _until_sent(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        try:
            yield from stream
        finally:
            self._over()

    def retire(self) -> None:
        """Another snapshot serves now: give the connections back when the last call here is over."""
        self._retired = True
        if not self._calls:
            self._release()

    def _over(self) -> None:
        self._calls -= 1
        if self._retired and not self._calls:
            self._release()

    def _release(self) -> None:
        for lease in self._leases:
            lease.release()
