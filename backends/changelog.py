"""The changelog of contracts: what each deployed version brought, changed or took away, and what of that breaks callers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from backends.breakage import Change, changes

if TYPE_CHECKING:
    from backends.deployment import Deployments

MOST_RELEASES = 20


@dataclass(frozen=True, slots=True)
class Release:
    """One deployed version (or, where *of* says so, one revision of the configuration), and its changes beside the one before."""

    version: int
    made_at: datetime
    changes: tuple[Change, ...]
    of: Literal["version", "revision"] = "version"


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
