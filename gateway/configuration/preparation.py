"""A document made ready to be compared and stored: every reference resolved, every object readable, the whole consistent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.configuration.document import Document, Key, Warned, check
from gateway.configuration.kinds import place, read_object, settings_class
from gateway.configuration.lending import lend
from gateway.configuration.sealing import Bound, Sealer, stored_keys
from security.references import References
from specs.problems import ConfigurationError, ConfigurationErrors
from specs.settings import Settings


@dataclass(frozen=True, slots=True)
class Prepared:
    """The objects of an acceptable document, with the *settings* of all that will be there, and what is doubtful about it."""

    bound: Mapping[Key, Bound]
    settings: Mapping[Key, Settings]
    warnings: tuple[Warned, ...]


def prepare(
    document: Document,
    sealer: Sealer,
    references: References,
    *,
    stored: Mapping[Key, Mapping[str, Any]],
    merge: bool = False,
    services: Collection[str] | None = None,
) -> Prepared:
    """Check *document* against what is *stored*; with *merge*, together with the objects that it does not name.

    *services* are the names of deployed services, where they are known. Raises ConfigurationErrors, all faults at once.
    """
    warnings: list[Warned] = []
    errors: list[ConfigurationError] = []
    bound: dict[Key, Bound] = {}
    settings: dict[Key, Settings] = {}
    kept = {key: body for key, body in stored.items() if merge and key not in document.objects}
    for key, held in kept.items():
        try:
            settings[key] = read_object(key[0], sealer.open(*key, held), place(*key))
        except ConfigurationError as error:
            errors.append(error)
    for key, body in document.objects.items():
        try:
            kind = settings_class(key[0], body, place(*key))
            bound[key] = sealer.bind(*key, body, kind, references, stored.get(key), warnings)
            settings[key] = read_object(key[0], bound[key].values, place(*key))
        except ConfigurationErrors as found:
            errors.extend(found.errors)
        except ConfigurationError as error:
            errors.append(error)
    errors += lend(bound, settings, stored, sealer)
    if errors:
        raise ConfigurationErrors(errors)
    warnings += check(settings, services)
    _refuse_shared_keys(sealer, bound, kept)
    return Prepared(bound, settings, tuple(warnings))


def _refuse_shared_keys(sealer: Sealer, bound: Mapping[Key, Bound], kept: Mapping[Key, Any]) -> None:
    """An API key names one consumer. Raises ConfigurationError."""
    keys = {key: sealer.keys(held) for key, held in bound.items() if key[0] == "consumers"}
    keys |= {key: stored_keys(body) for key, body in kept.items() if key[0] == "consumers"}
    owners: dict[str, str] = {}
    for key, digests in keys.items():
        for digest in digests:
            other = owners.setdefault(digest, key[1])
            if other != key[1]:
                message = f"an API key belongs to the consumer '{other}' already"
                raise ConfigurationError(f"{place(*key)}.apikey", message, "give each consumer keys of its own")
