"""One revision of the configuration, read: what snapshots are compiled from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gateway.configuration.document import Key
from gateway.configuration.kinds import Gateway
from specs.problems import ConfigurationError
from specs.settings import Settings


@dataclass(frozen=True, slots=True)
class Definition:
    """One named object: its settings, with secrets in clear and passwords as their stored hashes.

    *type* is the word of its type, where its kind has types. *digest* differs whenever anything about the object does.
    *revision* is the one that brought it.
    """

    kind: str
    name: str
    type: str
    settings: Any  #: an instance of the settings class of the kind, or of the type
    digest: str
    revision: int


@dataclass(frozen=True)
class Configuration:
    """All objects of one revision. *faults* holds, by key, why an object that was accepted once cannot be read here."""

    revision: int = 0
    objects: Mapping[Key, Definition] = field(default_factory=dict)
    faults: Mapping[Key, ConfigurationError] = field(default_factory=dict)

    def of(self, kind: str) -> Mapping[str, Definition]:
        """The objects of a kind, by name."""
        return self._by_kind.get(kind, {})

    # PERF: sorted once. Each channel asks for consumers, groups and definitions: with 10,000 of them that took 14 s a start.
    @cached_property
    def _by_kind(self) -> dict[str, dict[str, Definition]]:
        found: dict[str, dict[str, Definition]] = {}
        for (kind, name), held in self.objects.items():
            found.setdefault(kind, {})[name] = held
        return found

    def find(self, kind: str, name: str = "") -> Definition | None:
        """One object; kinds of which there is one at most have no names."""
        return self.objects.get((kind, name))

    def settings(self) -> dict[Key, Settings]:
        """The settings of every object."""
        return {key: held.settings for key, held in self.objects.items()}

    @cached_property
    def gateway(self) -> Gateway:
        """What holds for the whole gateway, whether the document says anything of it or not."""
        found = self.objects.get(("gateway", ""))
        return found.settings if found is not None else Gateway()
