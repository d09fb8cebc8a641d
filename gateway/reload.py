"""Taking up what was accepted: each worker looks four times a second for a new revision or new services.

The new snapshot is compiled beside the old one and takes its place in one assignment: a request reads one of them from
beginning to end. What the old one had on lease goes back when the last request that reads it is over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from specs.problems import BackendUnavailable

if TYPE_CHECKING:
    from backends.catalogue import Catalogue
    from gateway.configuration.objects import Configuration
    from gateway.runtime import LeasedExecutor, Runtime
    from gateway.snapshot import Compiler, Snapshot

log = logging.getLogger("gatewright.reload")

#: Seconds between two looks. PERF: a look at a quiet database is two indexed reads, 0.15 ms, or 1 ms in a worker that is busy;
#: the embedded one tells in 0.01 ms that it is quiet.
INTERVAL = 0.25


class Reloader:
    """Keeps `snapshot` up to date. *took_up* is told of each new one."""

    def __init__(
        self, runtime: Runtime, compiler: Compiler, took_up: Callable[[Snapshot, Configuration], None]
    ) -> None:
        self._runtime = runtime
        self._compiler = compiler
        self._took_up = took_up
        self._configuration: Configuration | None = None
        self._catalogue: Catalogue | None = None
        self._executor: LeasedExecutor | None = None
        self._heads = (-1, -1)
        self._mark: int | None = None
        self._away = False
        self.snapshot: Snapshot
        self.catalogue: Catalogue
        self.look()

    def look(self) -> bool:
        """Take up what is new, if anything is. Raises BackendUnavailable while the database cannot be read."""
        runtime = self._runtime
        mark = runtime.database.mark()
        if mark is not None and mark == self._mark:
            return False
        heads = (runtime.store.head(), runtime.deployments.head())
        if heads == self._heads:
            self._mark = mark
            return False
        began = time.monotonic()
        revision, generation = heads
        # WHY: the heads are read first. What is accepted while we load is loaded with it, and looked at again next time.
        if revision != self._heads[0]:
            before = self._configuration
            self._configuration = runtime.store.load() if before is None else runtime.store.refresh(before)
        if generation != self._heads[1] or self._catalogue is None:
            self._catalogue = runtime.deployments.load(self._catalogue)
        configuration = self._configuration
        assert configuration is not None
        catalogue = runtime.catalogue(configuration, self._catalogue)
        executor = runtime.executor(configuration, catalogue)
        people = runtime.single_sign_on(configuration)
        snapshot = self._compiler.compile(configuration, catalogue, generation, executor, people)
        self._heads, self._mark = heads, mark
        replaced, self._executor = self._executor, executor
        self.snapshot, self.catalogue = snapshot, catalogue
        if replaced is not None:
            replaced.retire()
        self._took_up(snapshot, configuration)
        log.info(
            "revision %s and deployment %s serve after %.0f ms", revision, generation, (time.monotonic() - began) * 1000
        )
        return True

    def run(self, sleep: Callable[[float], None]) -> None:
        """Look for ever. A database that is away changes nothing for requests: the snapshot goes on."""
        while True:
            sleep(INTERVAL)
            try:
                self.look()
                self._away = False
            except BackendUnavailable as error:
                if not self._away:
                    log.error("configuration cannot be read, what serves goes on: %s", error)
                self._away = True
            except Exception:
                log.exception("a new revision could not be taken up, what serves goes on")
                sleep(1.0)
