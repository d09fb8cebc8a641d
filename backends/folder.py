"""The watched folder: deploys a file only when it differs from what was last taken from that very folder.

The database stays the truth: a file that somebody replaced by a command is not put back because the gateway starts again,
and a rollback is not undone by a folder. A broken file keeps its last good content while the others are taken.
"""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, delete, select

from backends.deployment import SET, Deployments
from backends.loading import DeploymentError, DeploymentErrors
from backends.versions import MOST_BYTES, Version, service_folders
from security.database import Database, upsert
from specs.problems import ConfigurationError

log = logging.getLogger("gatewright.deployment")

SUFFIXES = (".py", ".json")


@dataclass(frozen=True, slots=True)
class Scan:
    """What a look at the folder led to: the files *taken*, the *version* that has them, and what is wrong with the others.

    *held* tells that nothing was taken, because a rollback is pinned or the folder has suddenly nothing in it.
    """

    version: Version | None = None
    taken: tuple[str, ...] = ()
    errors: tuple[DeploymentError, ...] = ()
    held: bool = False


class Folder:
    """One folder of service files. *host* and the folder's path tell it from other machines' folders."""

    def __init__(
        self, path: Path, database: Database, deployments: Deployments, *, set_name: str = SET, host: str = ""
    ) -> None:
        self.path = path
        self._database = database
        self._deployments = deployments
        self._set = set_name
        self._key = f"{host or socket.gethostname()}:{path.resolve()}"[:500]
        self._refused: dict[str, str] = {}

    def scan(self) -> Scan:
        """Deploy what changed. A file that was refused is not tried again before it changes, or another file does.

        Raises ConfigurationError where the folder cannot be read.
        """
        found = dict(self._files())
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
        taken = self._taken()
        if taken and not found:
            # WHY: a mount that went away leaves an empty folder; that must not take every service away.
            log.warning("%s is empty: its services go on, take them away with `gatewright service`", self.path)
            return Scan(held=True)
        changed = {name for name, digest in digests.items() if taken.get(name) != digest}
        gone = taken.keys() - digests.keys()
        if not gone and all(self._refused.get(name) == digests[name] for name in changed):
            return Scan()
        active = self._deployments.active(self._set)
        if active is not None and active.pinned:
            log.warning("'%s' is pinned to version %d: nothing is taken from %s", self._set, active.id, self.path)
            return Scan(held=True)
        files: dict[str, bytes | None] = {**{name: found[name] for name in changed}, **dict.fromkeys(gone)}
        version, errors = self._deploy(files)
        self._refused = {name: digests[name] for name in changed - files.keys()}
        self._note({name: digests.get(name) for name in files})
        for error in errors:
            log.error("not deployed, what was there before goes on: %s", error)
        return Scan(version if files else None, tuple(sorted(files)), tuple(errors))

    def _deploy(self, files: dict[str, bytes | None]) -> tuple[Version | None, list[DeploymentError]]:
        """Deploy as many of *files* as can be; those that cannot are taken out of it."""
        errors: list[DeploymentError] = []
        while files:
            try:
                version = self._deployments.deploy(files, source=str(self.path), author="folder", set_name=self._set)
            except DeploymentErrors as found:
                faulty = {error.file for error in found.errors} & files.keys()
                errors.extend(found.errors)
                # WHY: a file that did not change may fail because of one that did; then all of them stay as they were.
                for name in faulty or set(files):
                    del files[name]
            except DeploymentError as error:
                errors.append(error)
                for name in {error.file} & files.keys() or set(files):
                    del files[name]
            else:
                return version, errors
        return None, errors

    def _files(self) -> Iterator[tuple[str, bytes]]:
        if not self.path.is_dir():
            raise ConfigurationError("services", f"there is no folder {self.path}", "make it, or give another")
        total = 0
        for path in sorted(self.path.rglob("*")):
            relative = path.relative_to(self.path)
            hidden = any(part.startswith((".", "__pycache__")) for part in relative.parts)
            if hidden or path.suffix not in SUFFIXES or path.is_dir():
                continue
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ConfigurationError("services", f"cannot read {path}", error.strerror or "") from error
            total += len(content)
            if total > MOST_BYTES:
                raise ConfigurationError(
                    "services", f"{self.path} holds more than {MOST_BYTES} bytes", "move some away"
                )
            yield relative.as_posix(), content

    def _taken(self) -> dict[str, str]:
        table = service_folders
        rows = select(table.c.file, table.c.digest).where(table.c.folder == self._key)
        return {row.file: row.digest for row in self._database.read(lambda connection: connection.execute(rows).all())}

    def _note(self, digests: dict[str, str | None]) -> None:
        def work(connection: Connection) -> None:
            for name, digest in digests.items():
                keys = {"folder": self._key, "file": name}
                if digest is None:
                    matching = (service_folders.c.folder == self._key, service_folders.c.file == name)
                    connection.execute(delete(service_folders).where(*matching))
                else:
                    upsert(connection, service_folders, keys, {"digest": digest})

        if digests:
            self._database.write(work)
