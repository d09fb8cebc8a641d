"""The test kit: run a service in a test, with no server and no database.

>>> from backends.service import Service
>>> class Greet(Service):
...     input, output = "who", "text"
...
...     def handle(self):
...         self.response.payload.text = f"Hello, {self.request.input.who}"
>>> invoke(Greet, who="Ann").text
'Hello, Ann'
"""

from __future__ import annotations

import fnmatch
import inspect
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backends.catalogue import Catalogue, Deployed, deploy, describe, services_in
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.platform import Platform
from backends.service import Service
from specs.exchange import ANONYMOUS, Call, Identity
from specs.problems import nearest
from specs.values import Record


def invoke(
    service: type[Service] | str,
    payload: Any = None,
    *,
    out: Any = None,
    cache: Any = None,
    config: Mapping[str, Any] | None = None,
    identity: Identity = ANONYMOUS,
    method: str = "",
    services: Iterable[type[Service]] = (),
    background: list[Call] | None = None,
    **input: Any,  # noqa: A002  (the word that authors know)
) -> Any:
    """The payload that *service* answers; a map comes as a `Record`, with its members as attributes.

    *payload* is the body, checked by the service's contract and JSON Schema; *input* are members of it by keyword. *out* is a
    fake of the connections the service uses, as maps: ``out={"sql": {"crm": my_fake}}``. *cache* is a `MemoryCache` to look
    into, *background* a list that gets what the service put into the background. The services of the same module can be
    invoked, and those in *services*. Raises Problem as a caller would see it, with the service's own exception as its cause.
    """
    executor = _executor(service, out, cache, config, services, background)
    name = service if isinstance(service, str) else executor.name_of(service)
    if input:
        payload = {**(payload or {}), **input}
    deployed = executor.find(name)
    call = Call(deployed.name, payload=payload, cid="test", identity=identity, method=method, channel_type="test")
    call.input = deployed.compiled.read(payload)
    outcome = executor.run(call)
    if outcome.stream is not None:
        return b"".join(outcome.stream)
    return Record(outcome.payload) if type(outcome.payload) is dict else outcome.payload


class MemoryCache:
    """The shared cache, in memory: ``self.cache`` and ``self.kvdb`` of a service under test. *clock* is in seconds.

    >>> cache = MemoryCache()
    >>> cache.set("colour", "red"), cache.get("colour"), cache.conn.exists("colour")
    (True, 'red', 1)
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._values: dict[str, tuple[Any, float | None]] = {}

    @property
    def default(self) -> MemoryCache:
        """The cache that is meant where none is named."""
        return self

    conn = default

    def get_cache(self, kind: str = "builtin", name: str = "default") -> MemoryCache:
        """A cache by name: all are this one."""
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or *default* where there is none or its time is up."""
        value, expires = self._values.get(key, (default, None))
        return default if expires is not None and expires <= self._clock() else value

    def set(self, key: str, value: Any, expiry: float = 0, *, ex: float | None = None, nx: bool = False) -> bool:
        """Keep a value, for *expiry* (or *ex*) seconds where given; with *nx* only where there is none."""
        if nx and key in self:
            return False
        seconds = ex or expiry
        self._values[key] = (value, self._clock() + seconds if seconds else None)
        return True

    def setex(self, key: str, seconds: float, value: Any) -> bool:
        """Keep a value for so many seconds."""
        return self.set(key, value, ex=seconds)

    def delete(self, *keys: str) -> int:
        """Forget; how many there were."""
        found = [key for key in keys if key in self]
        for key in keys:
            self._values.pop(key, None)
        return len(found)

    def exists(self, *keys: str) -> int:
        """How many of *keys* there are."""
        return sum(key in self for key in keys)

    def incr(self, key: str, amount: int = 1) -> int:
        """Count up from 0; the new value."""
        value = int(self.get(key, 0)) + amount
        expires = self._values[key][1] if key in self else None
        self._values[key] = (value, expires)
        return value

    def expire(self, key: str, seconds: float) -> bool:
        """Have a value forgotten after so many seconds; whether there is one."""
        return key in self and self.set(key, self.get(key), ex=seconds)

    def keys(self, pattern: str = "*") -> list[str]:
        """The keys that match a shell pattern."""
        return [key for key in self._values if key in self and fnmatch.fnmatchcase(key, pattern)]

    def __contains__(self, key: str) -> bool:
        missing = object()
        return self.get(key, missing) is not missing

    def __getitem__(self, key: str) -> Any:
        return self.get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        self.delete(key)


class Out:
    """Connections in a test: a nested map that is read by attribute, by item and by `get`."""

    def __init__(self, members: Mapping[str, Any], path: str = "out") -> None:
        self._members = members
        self._path = path

    def __getitem__(self, name: str) -> Any:
        if name not in self._members:
            raise LookupError(f"the test gives no {self._path}[{name!r}]: {nearest(name, self._members)}")
        found = self._members[name]
        return Out(found, f"{self._path}.{name}") if isinstance(found, Mapping) else found

    get = __getitem__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]


class _Executor(LocalExecutor):
    """Runs the services of a test; it knows them by class too."""

    def name_of(self, service_class: type[Service]) -> str:
        """The name that *service_class* was given."""
        return next(one.name for one in self.catalogue if one.service_class is service_class)


def _executor(
    service: type[Service] | str,
    out: Any,
    cache: Any,
    config: Mapping[str, Any] | None,
    services: Iterable[type[Service]],
    background: list[Call] | None,
) -> _Executor:
    found = dict.fromkeys(services)
    if not isinstance(service, str):
        module = sys.modules.get(service.__module__)
        found |= dict.fromkeys([service, *(services_in(module) if module else [])])
    shared = cache if cache is not None else MemoryCache()
    kept = background if background is not None else []
    platform = Platform(
        out=Out(out) if isinstance(out, Mapping) else out if out is not None else Out({}),
        cache=shared,
        kvdb=shared,
        lock=_lock,
        enqueue=lambda call, **options: kept.append(call),
        config=config or {},
    )
    return _Executor(Catalogue([_deployed(one) for one in found]), platform, Guard(enforce=False))


def _deployed(service_class: type[Service]) -> Deployed:
    module = service_class.__module__.rpartition(".")[2]
    try:
        root: Path | None = Path(inspect.getfile(service_class)).parent
    except (OSError, TypeError):
        root = None
    return deploy(service_class, describe(service_class, module=module, root=root))


@contextmanager
def _lock(name: str, **options: Any) -> Iterator[None]:
    yield
