"""Connections: which live objects there are, who still needs them, and how services find them.

A snapshot of the configuration takes a `Lease` on each connection that it names. Leases of the same kind, name and
settings are of the same object, so a new revision that leaves a connection alone leaves its pool alone; the last lease
given up closes it. Services see the leases of the newest snapshot as `Outgoing`: ``self.out.sql["crm"]``.

>>> connections = Connections()
>>> settings = CONNECTORS.get("rest").Settings.read({"url": "http://127.0.0.1:9"})
>>> before, after = (connections.lease("rest", "erp", settings) for _ in range(2))
>>> before.connector is after.connector
True
>>> Outgoing([after]).plain_http["erp"] is after.connector
True
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from backends.connectors import Base, Settings
from specs.problems import BackendUnavailable, ConfigurationError, nearest
from specs.registry import Registry
from specs.settings import Secret

log = logging.getLogger("gatewright.connections")

CONNECTORS = Registry("connector", "backends.connectors", "Connector")


class UnknownConnection(BackendUnavailable, LookupError):
    """A service asked for a connection that the configuration does not have."""


class Connections:
    """The live connections of one process, by kind, name and settings."""

    def __init__(self, registry: Registry = CONNECTORS) -> None:
        self._registry = registry
        self._live: dict[_Key, _Live] = {}
        self._lock = threading.RLock()

    def lease(self, kind: str, name: str, settings: Settings) -> Lease:
        """A lease on that connection. Nothing is connected, or even made, before it is used."""
        key = _Key(kind, name, digest_of(settings))
        with self._lock:
            live = self._live.get(key)
            if live is None:
                live = self._live[key] = _Live(self._registry.get(kind), name, settings)
            live.leases += 1
        return Lease(self, key, live)

    def live(self) -> list[Base]:
        """The connections that have been used and not closed."""
        return [live.connector for live in list(self._live.values()) if live.connector is not None]

    def usage(self) -> list[dict[str, Any]]:
        """How each connection that has been used stands, in this process: its kind, name and pool."""
        found = []
        for key, live in list(self._live.items()):
            if live.connector is not None:
                busy, idle, most = live.connector.usage() or (0, 0, 0)
                found.append({"kind": key.kind, "name": key.name, "busy": busy, "idle": idle, "most": most})
        return found

    def _give_up(self, key: _Key) -> None:
        with self._lock:
            live = self._live[key]
            live.leases -= 1
            if live.leases:
                return
            del self._live[key]
        if live.connector is not None:
            try:
                live.connector.close()
            except Exception:
                # Whoever gives a lease up is compiling a snapshot and can do nothing about it.
                log.exception("connection '%s' could not be closed", key.name)

    def _make(self, live: _Live) -> Base:
        with self._lock:
            if live.connector is None:
                live.connector = live.connector_class(live.name, live.settings)
            return live.connector


class Lease:
    """A claim on one connection. *kind* and *name* say which; `release` gives it up."""

    def __init__(self, connections: Connections, key: _Key, live: _Live) -> None:
        self.kind = key.kind
        self.name = key.name
        self.connector_class = live.connector_class
        self._connections = connections
        self._key = key
        self._live = live
        self._released = False

    @property
    def connector(self) -> Base:
        """The live object, made now if nobody used it before. Raises BackendError where that cannot be done."""
        return self._live.connector or self._connections._make(self._live)

    def release(self) -> None:
        """Give the lease up; more than once does no harm."""
        if not self._released:
            self._released = True
            self._connections._give_up(self._key)


class Family:
    """The connections that one word leads to: ``self.out.sql``. Read like a dict, whose `get` does not forgive."""

    def __init__(self, word: str, leases: Mapping[str, Lease]) -> None:
        self._word = word
        self._leases = leases

    def __getitem__(self, name: str) -> Any:
        lease = self._leases.get(name)
        if lease is None:
            raise UnknownConnection(f"no {self._word} connection called '{name}': {nearest(name, self._leases)}")
        return lease.connector

    def get(self, name: str) -> Any:
        """The connection of that name. Raises UnknownConnection, as the brackets do."""
        return self[name]

    def __contains__(self, name: str) -> bool:
        return name in self._leases

    def __iter__(self) -> Iterator[str]:
        return iter(self._leases)

    def __len__(self) -> int:
        return len(self._leases)


class Outgoing:
    """Ways out, as services see them: ``self.out.rest["erp"]``, ``self.outgoing.plain_http.get("erp")``.

    `use` puts the leases of a new snapshot in place of the old ones, in one assignment; whoever handed the old ones in
    releases them after it.
    """

    def __init__(self, leases: Iterable[Lease] = (), registry: Registry = CONNECTORS) -> None:
        self._registry = registry
        self._families: Mapping[str, Family] = {}
        self.use(leases)

    def use(self, leases: Iterable[Lease]) -> None:
        """Offer these connections from now on, and no others."""
        by_word: dict[str, dict[str, Lease]] = {word: {} for word in self._registry.words()}
        for lease in leases:
            for word in (lease.kind, *lease.connector_class.also_found_under):
                by_word.setdefault(word, {})[lease.name] = lease
        self._families = MappingProxyType({word: Family(word, found) for word, found in by_word.items()})

    def __getattr__(self, word: str) -> Family:
        if word.startswith("_"):
            raise AttributeError(word)
        family = self._families.get(word)
        if family is not None:
            return family
        # Another name of a kind that has no connection yet; a kind whose library is not installed can have none.
        for kind in self._registry.words():
            try:
                if word in self._registry.get(kind).also_found_under:
                    return Family(word, {})
            except ConfigurationError:
                continue
        raise AttributeError(f"no kind of connection called '{word}': {nearest(word, self._families)}")


class _Key(NamedTuple):
    kind: str
    name: str
    digest: str


class _Live:
    """One connection and the number of leases on it; the connector is made at first use."""

    __slots__ = ("connector", "connector_class", "leases", "name", "settings")

    def __init__(self, connector_class: type[Base], name: str, settings: Settings) -> None:
        self.connector_class = connector_class
        self.name = name
        self.settings = settings
        self.leases = 0
        self.connector: Base | None = None


def digest_of(settings: Settings) -> str:
    """The same text for the same settings, secrets included. It stays in memory and is never stored or shown."""
    return hashlib.sha256(repr(_plain(settings)).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return [(name, _plain(getattr(value, name))) for name in sorted(value.__settings__)]
    if isinstance(value, Secret):
        return ("secret", value.reveal())
    if isinstance(value, Mapping):
        return sorted((str(key), _plain(member)) for key, member in value.items())
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    return value
