"""What the admin API administers: `Installation`, one record of the parts that its resources use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backends.deployment import Deployments
from gateway.admin.super_users import SuperUsers
from gateway.administrators import Administrators
from gateway.configuration.store import Store
from gateway.metrics import Collected
from gateway.options import Options
from security.references import References
from specs.contract import Contract


@dataclass(frozen=True, slots=True)
class Installation:
    """The parts of one gateway. *started* and *clock* are in `time.time`'s seconds."""

    options: Options
    store: Store
    administrators: Administrators
    deployments: Deployments
    collected: Collected
    version: str
    started: float
    clock: Callable[[], float]
    super_users: SuperUsers | None = None

    def references(self) -> References:
        """What a document from the admin API may refer to."""
        return References.from_api(self.options.secrets_dir)

    def services(self) -> Mapping[str, Contract]:
        """The contracts of the deployed services, by name."""
        return self.deployments.contracts()
