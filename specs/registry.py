"""Words in the configuration, and the classes behind them.

A registry looks after one folder: `type: ssh` in a document is the class `Connector` in ``backends/connectors/ssh.py``. Third
parties add words through entry points of the group ``gatewright.<kind>s``. A module is imported when its word is first
used, so an optional client library costs nothing, and a missing one is refused with the extra to install.

>>> registry = Registry("format", "specs.formats", "Format")
>>> "json" in registry.words()
True
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
from functools import cached_property
from typing import Any

from specs.problems import ConfigurationError, nearest


class Registry:
    """The classes of one kind, by word. *package* is the folder, *attribute* the class that each of its modules defines."""

    def __init__(self, kind: str, package: str, attribute: str) -> None:
        self.kind = kind
        self.package = package
        self.attribute = attribute
        self._loaded: dict[str, type[Any]] = {}

    @cached_property
    def _modules(self) -> dict[str, str]:
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.submodule_search_locations is None:
            raise ConfigurationError(self.package, "there is no such package")
        names = (m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if not m.name.startswith("_"))
        return {name.removesuffix("_"): f"{self.package}.{name}" for name in names}

    @cached_property
    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {point.name: point for point in importlib.metadata.entry_points(group=f"gatewright.{self.kind}s")}

    def words(self) -> list[str]:
        """Every word that can be used, ours and third parties'."""
        return sorted({*self._modules, *self._entry_points})

    def word_of(self, settings: object) -> str:
        """The word whose class *settings* are of, among those that were used so far; empty where there is none."""
        return next((word for word, found in self._loaded.items() if found.Settings is type(settings)), "")

    def get(self, word: str, path: str = "") -> type[Any]:
        """The class behind *word*. Raises ConfigurationError at *path*: an unknown word, or a library that is not installed."""
        if word in self._loaded:
            return self._loaded[word]
        if word not in self._modules and word not in self._entry_points:
            known = self.words()
            remedy = nearest(word, known)
            listed = "" if remedy.startswith("use one of") else f" (there are: {', '.join(known)})"
            raise ConfigurationError(path, f"no {self.kind} called '{word}'", remedy + listed)
        try:
            if word in self._modules:
                found = getattr(importlib.import_module(self._modules[word]), self.attribute)
            else:
                found = self._entry_points[word].load()
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] in ("gateway", "sso", "backends", "security", "specs"):
                raise
            extra = getattr(error, "extra", word)
            raise ConfigurationError(
                path, f"{self.kind} '{word}' needs the library '{error.name}'", f"pip install 'gatewright[{extra}]'"
            ) from error
        self._loaded[word] = found
        return found  # type: ignore[no-any-return]
