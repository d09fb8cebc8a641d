"""What a running service reaches: one `Platform` record for each process.

The process that serves (or a command, or a test) builds it whole and hands it to the executor. What a process does not have
is an `Absent`, which names itself when a service touches it.

>>> Platform().cache.get("key")
Traceback (most recent call last):
specs.problems.BackendUnavailable: this process has no cache
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from specs.problems import BackendUnavailable


class Absent:
    """Stands where a process has nothing: touching it raises BackendUnavailable, which names *what* is missing."""

    def __init__(self, what: str) -> None:
        self._what = what

    def _refuse(self) -> NoReturn:
        raise BackendUnavailable(f"this process has no {self._what}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    def __getitem__(self, key: Any) -> Any:
        self._refuse()

    def __call__(self, *args: Any, **options: Any) -> Any:
        self._refuse()


@dataclass(frozen=True, slots=True)
class Server:
    """What a service may know of the process that runs it: ``self.server``."""

    cluster_id: int = 1
    name: str = "gatewright"


def _new_cid() -> str:
    return secrets.token_hex(12)


@dataclass(frozen=True, slots=True)
class Platform:
    """What services of one process reach.

    *out* is the facade of connections (``out.sql["crm"]``), *cache* and *kvdb* the shared caches, ``lock(name, ttl, block)``
    gives a context manager, ``enqueue(call, after=seconds, callback=name)`` keeps a call to be run in the background, *jobs* is
    the scheduler's table, *sso* the people, *config* the user's own settings.
    """

    out: Any = field(default_factory=lambda: Absent("connections"))
    cache: Any = field(default_factory=lambda: Absent("cache"))
    kvdb: Any = field(default_factory=lambda: Absent("key-value store"))
    lock: Callable[..., AbstractContextManager[Any]] = field(default_factory=lambda: Absent("locks"))
    enqueue: Callable[..., Any] = field(default_factory=lambda: Absent("background queue"))
    jobs: Any = field(default_factory=lambda: Absent("scheduler"))
    sso: Any = field(default_factory=lambda: Absent("single sign-on"))
    config: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    server: Server = Server()
    new_cid: Callable[[], str] = _new_cid
