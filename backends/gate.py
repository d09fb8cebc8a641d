"""The gate before a new version of services: what becomes of a change that breaks those who call the one before.

refuse    the version is not deployed
warn      it is, and those who deploy are told
allow     it is; the changelog tells

The configuration says which (`gateway.contract_changes`); who deploys may say otherwise for one time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from backends.breakage import Change, changes
from backends.loading import DeploymentError, DeploymentErrors
from specs.contract import Contract

Policy = Literal["refuse", "warn", "allow"]
Policies = Callable[[Sequence[Change]], Sequence[Policy]]
"""The policy for each of some changes that break callers; asked once in a deployment that has any."""


class BreakingChange(DeploymentErrors):
    """A version that was refused because it breaks callers of the one that serves; *changes* say how."""

    def __init__(self, refused: Sequence[Change], files: Mapping[str, str]) -> None:
        remedy = "deploy it under another name, or with other `contract_changes`"
        super().__init__(DeploymentError(files.get(change.service, ""), str(change), remedy) for change in refused)
        self.changes = tuple(refused)


def told(found: Sequence[Change]) -> Sequence[Policy]:
    """The policies where nobody has said any: all changes that break callers are told."""
    return ["warn"] * len(found)


def judge(old: Sequence[Contract], new: Sequence[Contract], policies: Policies) -> list[str]:
    """A sentence for each change between *old* and *new* that its author is to be told. Raises BreakingChange."""
    found = [change for change in changes(old, new) if change.breaks]
    judged = list(zip(found, policies(found), strict=True)) if found else []
    if refused := [change for change, policy in judged if policy == "refuse"]:
        raise BreakingChange(refused, {one.service: f"{one.module}.py" for one in (*old, *new)})
    return [str(change) for change, policy in judged if policy == "warn"]
