"""Rehearsal of a new version, before it serves: the examples in the documentation are played again, and differences judged.

Each example is compared with the new contract. Those taken from safe calls are run too, by the new code in the process that
deploys it, with the installation's connections and nobody's identity. ``example_changes`` says what becomes of differences.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backends.deadlines import Deadline
from backends.examples import Example, Examples
from backends.loading import DeploymentError, DeploymentErrors, load
from backends.patience import within
from backends.rehearsal import rehearse
from gateway.configuration.store import Store
from gateway.contract_changes import key_of
from specs.exchange import Call, Outcome
from specs.problems import BackendError, Problem

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration
    from security.database import Database
    from security.secrets import Keyring
    from specs.contract import Contract

#: The longest that an example may take, in seconds.
PATIENCE = 5.0
REMEDY = "mend it, drop the example with `gatewright docs examples drop`, or promote it again with --ignore or --contract-only"


class Rehearsal:
    """What `backends.deployment` asks before a version serves."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    def __call__(self, files: Mapping[str, bytes], contracts: Sequence[Contract]) -> list[str]:
        """A sentence for each difference that is to be told. Raises DeploymentErrors where one is refused."""
        examples = Examples(self._database).promoted()
        if not any(contract.service in examples for contract in contracts):
            return []
        configuration = Store(self._database, self._keyring).load()
        policies = {contract.service: policy_for(configuration, contract.service) for contract in contracts}
        wanted = {service: found for service, found in examples.items() if policies.get(service) != "allow"}
        play = _Play(self._database, self._keyring, configuration, files, contracts)
        try:
            found = list(rehearse(contracts, wanted, play.run))
        finally:
            play.close()
        refused = [
            DeploymentError(f"{contract.module}.py", sentence, REMEDY)
            for contract, sentence in found
            if policies[contract.service] == "refuse"
        ]
        if refused:
            raise DeploymentErrors(refused)
        return [sentence for _, sentence in found]


def policy_for(configuration: Configuration, service: str) -> str:
    """What becomes of a service that answers its examples differently: what it says itself, else what the gateway says."""
    for name, definition in configuration.of("services").items():
        if key_of(name) == key_of(service) and definition.settings.example_changes is not None:
            return str(definition.settings.example_changes)
    return str(configuration.gateway.example_changes)


class _Play:
    """Runs examples by code that does not serve yet; what that needs is made when the first one is run."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        configuration: Configuration,
        files: Mapping[str, bytes],
        contracts: Sequence[Contract],
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._configuration = configuration
        self._files = files
        self._contracts = contracts
        self._runtime: Any = None
        self._executor: Any = None

    def run(self, example: Example) -> Outcome:
        """What the new code answers. Raises Problem."""
        try:
            with within(PATIENCE):
                if self._executor is None:
                    self._executor = self._prepared()
                call = Call(example.service, payload=example.input, cid=f"example-{example.id}", method=example.method)
                call.channel, call.deadline = example.channel, time.monotonic() + PATIENCE
                outcome: Outcome = self._executor.perform(call)
                return outcome
        except Deadline:
            raise Problem.of("deadline-exceeded") from None
        except BackendError as error:
            raise error.problem() from error

    def _prepared(self) -> Any:
        # PERF: what runs services takes 0.2 s to import, and most deployments have no examples.
        from backends.catalogue import Catalogue, deploy
        from gateway.runtime import Runtime

        self._runtime = runtime = Runtime(self._database, self._keyring, enforce=False)
        loaded = load(self._files, "rehearsal", 0)
        new = [
            deploy(getattr(loaded.module(f"{one.module}.py"), one.class_name), one, keepalive=loaded)
            for one in self._contracts
        ]
        names = {one.name for one in new}
        others = [one for one in runtime.deployments.load() if one.name not in names]
        catalogue = runtime.catalogue(self._configuration, Catalogue([*new, *others]))
        return runtime.executor(self._configuration, catalogue)

    def close(self) -> None:
        """Give back what running took; the database stays open."""
        if self._executor is not None:
            self._executor.retire()
        if self._runtime is not None:
            self._runtime.guard.close()
            self._runtime.hashing.close()
