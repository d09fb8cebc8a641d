"""Deployment: new versions of services, taken up by every worker; the database is the truth.

A *set* of services (one is enough for nearly everybody) has versions; a version is all files of the set and the contracts
compiled from them. `Deployments.deploy` changes some files of a set and so makes a new version, if all of it loads; else the old
one goes on. Workers watch `head` and `load` what it leads to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, Row, delete, func, insert, select

from backends.catalogue import Catalogue, Deployed, deploy
from backends.clock import Clock, utc_now
from backends.gate import BreakingChange, Policies, Policy, judge, told
from backends.loading import DeploymentError, DeploymentErrors, Loaded, contracts_of, load
from backends.versions import (
    DEPLOYMENT_SIGNED,
    VERSION_SIGNED,
    Content,
    Version,
    checked,
    contracts_from_bytes,
    contracts_to_bytes,
    digest_of,
    packed,
    service_deployments,
    service_versions,
    to_sign,
    unpacked,
)
from security.database import Database
from specs.contract import Contract
from specs.problems import ConfigurationError

__all__ = ["SET", "BreakingChange", "DeploymentError", "DeploymentErrors", "Deployments", "Version"]

log = logging.getLogger("gatewright.deployment")

#: The set that folders, commands and the admin API deploy to unless told otherwise.
SET = "services"
KEPT = 100
_PURPOSE = "service-versions"


class Ring(Protocol):
    """What signs versions: a ring of `security.secrets`."""

    def digest(self, text: str, purpose: str) -> str:
        """A keyed digest that names its key."""

    def matches(self, text: str, digest: str, purpose: str) -> bool:
        """Whether *digest* was made from *text*."""


def unrehearsed(files: Mapping[str, bytes], contracts: Sequence[Contract]) -> Sequence[str]:
    """No rehearsal: nothing is told of any version."""
    return ()


class Deployments:
    """Versions of services in the database. *ring* signs them (the ``edge`` ring); *builtin* services are always there.

    *policies* say what becomes of changes that break callers; without them they are said. *rehearse* is asked of each version
    before it serves: what it answers is told, and it may refuse. `failures` holds what `load` could
    not take up, by set, for the status.
    """

    def __init__(
        self,
        database: Database,
        ring: Ring,
        *,
        builtin: Iterable[Deployed] = (),
        clock: Clock = utc_now,
        policies: Policies = told,
        rehearse: Callable[[Mapping[str, bytes], Sequence[Contract]], Sequence[str]] = unrehearsed,
    ) -> None:
        self._database = database
        self._ring = ring
        self._builtin = tuple(builtin)
        self._clock = clock
        self._policies = policies
        self._rehearse = rehearse
        self.failures: dict[str, str] = {}

    # Changing

    def deploy(
        self,
        files: Mapping[str, bytes | None],
        *,
        source: str = "",
        author: str = "",
        set_name: str = SET,
        contract_changes: Policy | None = None,
    ) -> Version:
        """A new version of the set, with these files added or replaced (None takes one away); it serves from now on.

        A pin ends. Where nothing differs from what serves, that version is given back. *contract_changes* is for this time
        what becomes of changes that break callers. Raises DeploymentErrors, with file, line and reason, and BreakingChange;
        the old version goes on serving then.
        """
        checked(files)
        while True:
            base = self.active(set_name)
            content = self._base(base)
            merged = {name: found for name, found in {**content.files, **files}.items() if found is not None}
            checked(merged)
            if base is not None and digest_of(merged) == base.digest:
                if base.pinned:
                    self._point(set_name, base.id, pinned=False, author=author, expected=base)
                return self.active(set_name) or base
            contracts = contracts_of(merged, set_name)
            self._refuse_duplicates(contracts, merged, set_name)
            policies = (lambda found: [contract_changes] * len(found)) if contract_changes else self._policies
            sentences = [*judge(content.contracts, contracts, policies), *self._rehearse(merged, contracts)]
            made = self._store(set_name, merged, contracts, sentences, source, author, base)
            if made is not None:
                for sentence in sentences:
                    log.warning("version %d of '%s': %s", made.id, set_name, sentence)
                return made

    def rollback(self, version: int, *, author: str = "") -> Version:
        """Have an earlier version serve, pinned: no folder replaces it until `unpin` or an explicit `deploy`.

        Raises ConfigurationError where there is no such version, or it was changed in the database.
        """
        found = self.find(version)
        content = self._content(version)
        self._refuse_duplicates(content.contracts, content.files, found.set_name)
        self._point(found.set_name, version, pinned=True, author=author)
        return self.find(version)

    def unpin(self, set_name: str = SET, *, author: str = "") -> Version:
        """Have the newest version of the set serve again. Raises ConfigurationError where it has none."""
        newest = next(iter(self.versions(set_name)), None)
        if newest is None:
            raise ConfigurationError(set_name, f"no services were deployed to '{set_name}'")
        if not newest.active or newest.pinned:
            self._point(set_name, newest.id, pinned=False, author=author)
        return self.find(newest.id)

    def sign_again(self) -> int:
        """Sign every version with the active key, before an older one is retired; how many were. A changed one is left."""

        def work(connection: Connection) -> int:
            count = 0
            for table, names in ((service_versions, VERSION_SIGNED), (service_deployments, DEPLOYMENT_SIGNED)):
                for row in connection.execute(select(table)).all():
                    if self._genuine(row, names):
                        mac = self._sign(dict(row._mapping), names)
                        connection.execute(table.update().where(table.c.id == row.id).values(mac=mac))
                        count += 1
            return count

        return self._database.write(work)

    # Looking

    def head(self) -> int:
        """A number that grows with each change of what serves: workers compare it."""
        return self._database.read(_head)

    def sets(self) -> list[str]:
        """The sets that have ever been deployed to."""
        names = select(service_deployments.c.set_name).distinct().order_by(service_deployments.c.set_name)
        return list(self._database.read(lambda connection: connection.execute(names).scalars().all()))

    def versions(self, set_name: str = SET, *, service: str = "") -> list[Version]:
        """The versions that are kept, the newest first; with *service* those that have it."""

        def work(connection: Connection) -> list[Version]:
            serving = _serving(connection, set_name)
            rows = connection.execute(
                _listed().where(service_versions.c.set_name == set_name).order_by(service_versions.c.id.desc())
            )
            return [_version(row, serving) for row in rows]

        found = self._database.read(work)
        return [version for version in found if service in version.services] if service else found

    def find(self, version: int) -> Version:
        """One version. Raises ConfigurationError where there is none."""

        def work(connection: Connection) -> Version | None:
            row = connection.execute(_listed().where(service_versions.c.id == version)).one_or_none()
            return _version(row, _serving(connection, row.set_name)) if row is not None else None

        found = self._database.read(work)
        if found is None:
            raise ConfigurationError("", f"there is no version {version}", "see `gatewright service versions`")
        return found

    def active(self, set_name: str = SET) -> Version | None:
        """The version that serves, or None where nothing was deployed."""

        def work(connection: Connection) -> Version | None:
            serving = _serving(connection, set_name)
            if serving is None:
                return None
            row = connection.execute(_listed().where(service_versions.c.id == serving.version)).one_or_none()
            return _version(row, serving) if row is not None else None

        return self._database.read(work)

    def files(self, version: int) -> Mapping[str, bytes]:
        """The files of a version. Raises ConfigurationError where it was changed in the database."""
        return self._content(version).files

    def contracts_of(self, version: int) -> tuple[Contract, ...]:
        """The contracts of a version, whether it serves or not. Raises ConfigurationError where it was changed meanwhile."""
        return self._content(version).contracts

    def contracts(self) -> dict[str, Contract]:
        """The contract of every service that serves, by name, without importing any code: what an edge needs."""
        found = {one.name: one.contract for one in self._builtin}
        for set_name in self.sets():
            try:
                version = self._serving_version(set_name)
                for contract in self._content(version).contracts if version else ():
                    found.setdefault(contract.service, contract)
            except ConfigurationError as error:
                log.error("the services of '%s' cannot be used: %s", set_name, error)
        return found

    # Taking up

    def load(self, previous: Catalogue | None = None) -> Catalogue:
        """The catalogue of what serves. Versions that *previous* has are taken over as they are.

        Never raises for a version: one that was changed in the database, or does not load here, is logged and noted in
        `failures`, and the one that *previous* has of its set goes on.
        """
        before: dict[str, list[Deployed]] = {}
        for one in previous or ():
            if isinstance(one.keepalive, Loaded):
                before.setdefault(one.keepalive.set_name, []).append(one)
        found = list(self._builtin)
        names = {one.name for one in found}
        failures = {}
        for set_name in self.sets():
            old = before.get(set_name, [])
            try:
                services = self._load_set(set_name, old)
            except ConfigurationError as error:
                log.error("the services of '%s' are not taken up, the ones before go on: %s", set_name, error)
                failures[set_name] = str(error)
                services = old
            for one in services:
                if one.name in names:
                    log.error("two services have the name '%s': that of '%s' is left out", one.name, set_name)
                    continue
                names.add(one.name)
                found.append(one)
        self.failures = failures
        return Catalogue(found)

    def _load_set(self, set_name: str, old: list[Deployed]) -> list[Deployed]:
        version = self._serving_version(set_name)
        if old and old[0].version == version:
            return old
        content = self._content(version)
        loaded = load(content.files, set_name, version)
        compiled = {one.name: one for one in old}
        services = []
        for contract in content.contracts:
            same = compiled.get(contract.service)
            file = f"{contract.module}.py"
            service_class = getattr(loaded.module(file), contract.class_name, None)
            if service_class is None:
                raise DeploymentError.at(file, 0, f"the class {contract.class_name} is not there in this process")
            services.append(
                deploy(
                    service_class,
                    contract,
                    compiled=same.compiled if same is not None and same.contract == contract else None,
                    version=version,
                    keepalive=loaded,
                )
            )
        return services

    # Rows

    def _serving_version(self, set_name: str) -> int:
        row = self._database.read(lambda connection: _serving(connection, set_name))
        if row is None or not self._genuine(row, DEPLOYMENT_SIGNED):
            raise ConfigurationError(set_name, "the record of which version serves was changed in the database")
        return int(row.version)

    def _content(self, version: int) -> Content:
        """The files and contracts of a version whose MAC fits. Raises ConfigurationError."""
        row = self._database.read(
            lambda connection: connection.execute(
                select(service_versions).where(service_versions.c.id == version)
            ).one_or_none()
        )
        if row is None:
            raise ConfigurationError("", f"there is no version {version}", "see `gatewright service versions`")
        # SECURITY: whoever can write to the database alone must not have code of theirs run.
        if not self._genuine(row, VERSION_SIGNED):
            raise ConfigurationError(
                "", f"version {version} was changed in the database, or was signed with a key that is gone"
            )
        return Content(unpacked(row.files), contracts_from_bytes(row.contracts))

    def _base(self, serving: Version | None) -> Content:
        """What a new version is made from: the one that serves, or where that was tampered with, the newest that was not."""
        if serving is None:
            return Content({}, ())
        for version in (serving, *self.versions(serving.set_name)):
            try:
                return self._content(version.id)
            except ConfigurationError as error:
                log.error("the new version of '%s' does not build on this one: %s", serving.set_name, error)
        return Content({}, ())

    def _store(
        self,
        set_name: str,
        files: Mapping[str, bytes],
        contracts: Sequence[Contract],
        warnings: Sequence[str],
        source: str,
        author: str,
        base: Version | None,
    ) -> Version | None:
        """The new version, serving; None where somebody else deployed meanwhile."""
        row = {
            "set_name": set_name,
            "made_at": self._clock(),
            "author": author,
            "source": source,
            "digest": digest_of(files),
            "services": sorted(contract.service for contract in contracts),
            "warnings": list(warnings),
            "files": packed(files),
            "contracts": contracts_to_bytes(contracts),
        }

        def work(connection: Connection) -> int | None:
            serving = _serving(connection, set_name)
            if (serving.version if serving is not None else None) != (base.id if base is not None else None):
                return None
            newest = connection.execute(select(func.max(service_versions.c.id))).scalar() or 0
            signed = {**row, "id": newest + 1}
            connection.execute(insert(service_versions).values(**signed, mac=self._sign(signed, VERSION_SIGNED)))
            self._append(connection, set_name, newest + 1, pinned=False, author=author)
            kept = (
                select(service_versions.c.id)
                .where(service_versions.c.set_name == set_name)
                .order_by(service_versions.c.id.desc())
                .limit(KEPT)
            )
            identities = connection.execute(kept).scalars().all()
            connection.execute(
                delete(service_versions).where(
                    service_versions.c.set_name == set_name, service_versions.c.id < min(identities)
                )
            )
            return newest + 1

        made = self._database.write(work)
        return self.find(made) if made is not None else None

    def _point(
        self, set_name: str, version: int, *, pinned: bool, author: str, expected: Version | None = None
    ) -> None:
        def work(connection: Connection) -> None:
            serving = _serving(connection, set_name)
            if expected is None or (serving is not None and serving.version == expected.id):
                self._append(connection, set_name, version, pinned=pinned, author=author)

        self._database.write(work)

    def _append(self, connection: Connection, set_name: str, version: int, *, pinned: bool, author: str) -> None:
        row = {
            "id": _head(connection) + 1,
            "set_name": set_name,
            "version": version,
            "pinned": pinned,
            "made_at": self._clock(),
            "author": author,
        }
        connection.execute(insert(service_deployments).values(**row, mac=self._sign(row, DEPLOYMENT_SIGNED)))

    def _sign(self, row: Mapping[str, Any], names: Sequence[str]) -> str:
        return self._ring.digest(to_sign(row, names), _PURPOSE)

    def _genuine(self, row: Row[Any], names: Sequence[str]) -> bool:
        return self._ring.matches(to_sign(dict(row._mapping), names), row.mac, _PURPOSE)

    def _refuse_duplicates(self, contracts: Iterable[Contract], files: Mapping[str, bytes], set_name: str) -> None:
        others = {one.name: f"built-in {one.contract.class_name}" for one in self._builtin}
        for other in self.sets():
            active = self.active(other) if other != set_name else None
            others.update(dict.fromkeys(active.services if active else (), f"the set '{other}'"))
        errors = [
            DeploymentError(
                f"{contract.module}.py",
                f"the service '{contract.service}' of {contract.class_name} stands in {others[contract.service]} too",
                "give one of them another `name`",
            )
            for contract in contracts
            if contract.service in others
        ]
        if errors:
            raise DeploymentErrors(errors)


def _head(connection: Connection) -> int:
    return int(connection.execute(select(func.max(service_deployments.c.id))).scalar() or 0)


def _serving(connection: Connection, set_name: str) -> Row[Any] | None:
    table = service_deployments
    return connection.execute(
        select(table).where(table.c.set_name == set_name).order_by(table.c.id.desc()).limit(1)
    ).one_or_none()


def _listed() -> Any:
    names = ("id", "set_name", "made_at", "author", "source", "digest", "services", "warnings")
    return select(*(service_versions.c[name] for name in names))


def _version(row: Row[Any], serving: Row[Any] | None) -> Version:
    active = serving is not None and serving.version == row.id
    return Version(
        id=row.id,
        set_name=row.set_name,
        made_at=row.made_at,
        author=row.author,
        source=row.source,
        digest=row.digest,
        services=tuple(row.services),
        warnings=tuple(row.warnings),
        active=active,
        pinned=active and serving is not None and bool(serving.pinned),
    )
