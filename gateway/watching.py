"""Watching the services folder: the steward's task that takes what changes in it.

What is taken is checked in a process of its own, since checking a module means running it: one that never ends, or ends its
process, is refused like any other that is broken, and the steward goes on answering.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
from watchfiles import watch

if TYPE_CHECKING:
    from gateway.options import Options
    from gateway.steward import Steward

log = logging.getLogger("gatewright.services")

#: The longest that the modules of a folder may take to be imported and checked, in seconds.
PATIENCE = 60.0
#: Folders on other machines may tell nothing of their changes: so often they are looked at all the same, in milliseconds.
LOOK_EVERY = 5000


def watch_services(steward: Steward) -> None:
    """Take what changes in the folder that --services names, until the steward stops."""
    options = steward.options
    if options.services is None:
        return
    # WHY: the watcher waits in C. In a greenlet it would stop the whole process (and did, when tried), so it has a thread.
    pool = gevent.get_hub().threadpool
    watcher = watch(
        options.services,
        debounce=200,
        step=20,
        rust_timeout=LOOK_EVERY,
        yield_on_timeout=True,
        raise_interrupt=False,
        watch_filter=_is_service,
    )
    # WHY: looked at before it is scanned, so that what comes meanwhile differs from it.
    seen = _state(options.services)
    scan(options)
    while not steward.stopping.is_set():
        pool.apply(next, (watcher, None))
        state = _state(options.services)
        if state != seen:
            seen = state
            scan(options)


def scan(options: Options) -> None:
    """Take what changed in the folder, in a process of its own; what it says is logged."""
    assert options.services is not None
    words = ["service", "scan", str(options.services.resolve()), "--data", str(options.data.resolve())]
    if options.database:
        words += ["--database", options.database]
    if options.keys is not None:
        words += ["--keys", str(options.keys.resolve())]
    try:
        # WHY -P: a module in the folder that the gateway was started from must not shadow one of ours.
        done = subprocess.run(  # noqa: S603 - our own program, with paths that the operator gave
            [sys.executable, "-P", "-m", "gateway.cli", *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
    except subprocess.TimeoutExpired:
        log.error("the services of %s took over %g s to be checked: nothing is taken", options.services, PATIENCE)
        return
    for line in done.stdout.splitlines():
        log.info("%s", line)
    for line in done.stderr.splitlines():
        # What begins with a version is told of one that was taken, such as whom it breaks.
        level = logging.WARNING if line.startswith("version ") else logging.ERROR
        log.log(level, "%s", line.removeprefix("gatewright: "))


def _is_service(change: object, path: str) -> bool:
    return path.endswith((".py", ".json"))


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """The files of *folder*, with what tells that one changed."""
    state = {}
    for path in folder.rglob("*"):
        try:
            found = path.stat()
        except OSError:
            continue
        if _is_service(None, path.name):
            state[str(path)] = (found.st_mtime_ns, found.st_size)
    return state
