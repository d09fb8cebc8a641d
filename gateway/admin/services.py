"""``/services``: what is deployed, its versions, and deployment where it is allowed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import falcon

from backends.versions import Version
from gateway.admin.configuration import body_of
from gateway.admin.deploying import deploy
from gateway.admin.guard import administrator
from gateway.admin.installation import Installation
from gateway.contract_changes import policy_from
from specs.problems import Problem


class _Resource:
    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._deployments = installation.deployments

    def _check_allowed(self) -> None:
        # SECURITY: code that arrives by the network runs in every worker; whoever wants that says so at start.
        if not self._installation.options.allow_deploy:
            raise Problem.of("deploy-disabled", "start the gateway with --allow-deploy to deploy by this API")


class ServicesResource(_Resource):
    """Every deployed service."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The services, and the sets that were ever deployed to."""
        contracts = self._deployments.contracts()
        response.media = {
            "services": [
                {"name": name, "summary": contract.summary, "module": contract.module}
                for name, contract in sorted(contracts.items())
            ],
            "sets": self._deployments.sets(),
        }


class SetResource(_Resource):
    """One set of services."""

    def on_post(self, request: falcon.Request, response: falcon.Response, set_name: str) -> None:
        """Deploy: ``{"files": {"customers.py": "..."}}``; null takes a file away. What cannot be deployed changes nothing.

        ``"contract_changes": "refuse"`` (``warn``, ``allow``) stands for what the configuration says of breaking changes.
        """
        self._check_allowed()
        asked = body_of(request, {"files": dict, "refuse_breaking": bool, "contract_changes": str}, required=("files",))
        policy = policy_from("refuse" if asked.get("refuse_breaking") else asked.get("contract_changes", ""))
        files = asked["files"]
        if not files or not all(source is None or isinstance(source, str) for source in files.values()):
            raise Problem.of("invalid-input", "files are texts by their names, one at least")
        response.media = deploy(
            self._installation.options,
            files,
            author=administrator(request),
            set_name=set_name,
            contract_changes=policy,
        )
        response.status = 201


class VersionsResource(_Resource):
    """The versions of one set."""

    def on_get(self, request: falcon.Request, response: falcon.Response, set_name: str) -> None:
        """The versions that are kept, the newest first."""
        versions = self._deployments.versions(set_name)
        if not versions:
            raise Problem.of("not-found", "nothing was deployed to a set of this name")
        response.media = {"versions": [_told(version) for version in versions]}


class SetRollbackResource(_Resource):
    """The way back to an earlier version."""

    def on_post(self, request: falcon.Request, response: falcon.Response, set_name: str) -> None:
        """``{"version": 3}``: it serves again, and stays until it is unpinned."""
        self._check_allowed()
        version = body_of(request, {"version": int}, required=("version",))["version"]
        if version not in {kept.id for kept in self._deployments.versions(set_name)}:
            raise Problem.of("not-found", "this set has no such version")
        response.media = _told(self._deployments.rollback(version, author=administrator(request)))


class SetUnpinResource(_Resource):
    """The way forward again."""

    def on_post(self, request: falcon.Request, response: falcon.Response, set_name: str) -> None:
        """The newest version of the set serves again."""
        self._check_allowed()
        response.media = _told(self._deployments.unpin(set_name, author=administrator(request)))


def _told(version: Version) -> dict[str, Any]:
    return {**asdict(version), "made_at": version.made_at.isoformat()}
