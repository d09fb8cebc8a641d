"""The changelog of contracts: what each deployed version brought, changed or took away, and what of that breaks callers.

>>> from specs.contract import Contract, Field
>>> old = Contract("rate.get", input=(), output=(Field("rate"),))
>>> new = Contract("rate.get", input=(Field("year", "int", required=False),), output=(Field("rate", "decimal"),))
>>> [(change.kind, change.sentence) for change in changes([old], [new])]
[('broken', 'output rate was text and is decimal'), ('changed', 'input year may be given')]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from backends.breakage import breakage
from specs.contract import Contract, Field

if TYPE_CHECKING:
    from backends.deployment import Deployments

MOST_RELEASES = 20


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one service. *kind* is ``added``, ``changed``, ``broken`` (it breaks callers) or ``removed``."""

    service: str
    kind: str
    sentence: str
    soap: bool = True  #: whether strict SOAP clients, whose classes were made from the description, refuse what comes

    @property
    def breaks(self) -> bool:
        """Whether it breaks callers, in whatever format."""
        return self.kind in ("broken", "removed")


@dataclass(frozen=True, slots=True)
class Release:
    """One deployed version, and its changes beside the one before."""

    version: int
    made_at: datetime
    changes: tuple[Change, ...]


def releases(deployments: Deployments, most: int = MOST_RELEASES) -> list[Release]:
    """The newest versions of the services, each with what changed; versions that changed no contract are left out."""
    versions = deployments.versions()[: most + 1]
    contracts = {version.id: deployments.contracts_of(version.id) for version in versions}
    found = []
    for position, version in enumerate(versions):
        before = versions[position + 1] if position + 1 < len(versions) else None
        if before is None and len(versions) > most:
            break
        made = tuple(changes(contracts[before.id] if before is not None else (), contracts[version.id]))
        if made:
            found.append(Release(version.id, version.made_at, made))
    return found


def changes(old: Iterable[Contract], new: Iterable[Contract]) -> Iterator[Change]:
    """Every change between two sets of contracts, by service."""
    before = {contract.service: contract for contract in old}
    after = {contract.service: contract for contract in new}
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield Change(name, "added", "new service", soap=False)
        elif name not in after:
            yield Change(name, "removed", "the service is gone")
        elif before[name] != after[name]:
            broken = [sentence.removeprefix(f"{name}: ") for sentence in breakage([before[name]], [after[name]])]
            yield from (Change(name, "broken", sentence) for sentence in broken)
            yield from _harmless(before[name], after[name])


def _harmless(old: Contract, new: Contract) -> Iterator[Change]:
    # WHY: a new optional input changes the positional signatures that some toolkits generate from a WSDL; ours is made so
    # that they take the message as one class, which only grows a member.
    for field in _new(old.input, new.input):
        if not field.required:
            yield Change(new.service, "changed", f"input {field.name} may be given", soap=False)
    for field in _new(old.output, new.output):
        # A strict SOAP client, which checks answers by the description it was made from, refuses what is not in it.
        yield Change(new.service, "changed", f"output {field.name} is new", soap=True)
    if old.documentation != new.documentation:
        yield Change(new.service, "changed", "its documentation", soap=False)


def _new(old: tuple[Field, ...] | None, new: tuple[Field, ...] | None) -> Iterator[Field]:
    known = {field.name for field in old or ()}
    yield from (field for field in new or () if field.name not in known)
