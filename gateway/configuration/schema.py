"""JSON Schema of the whole document: what editors complete and check by.

>>> schema()["properties"]["channels"]["additionalProperties"]["required"]
['type']
"""

from __future__ import annotations

from typing import Any

from gateway.configuration.document import FORMAT
from gateway.configuration.kinds import KINDS, Kind
from specs.problems import ConfigurationError
from specs.settings import Settings

IDENTIFIER = "urn:gatewright:schema:configuration:1"


def schema() -> dict[str, Any]:
    """The document as a JSON Schema 2020-12. Types whose library is not installed are left out."""
    properties: dict[str, Any] = {
        "$schema": {"type": "string", "description": "where this schema is, for editors"},
        "format": {"const": FORMAT, "description": "version of the document's own format"},
    }
    for kind in KINDS.values():
        properties[kind.word] = {**_kind_schema(kind), "description": kind.sentence}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": IDENTIFIER,
        "title": "Gatewright configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _kind_schema(kind: Kind) -> dict[str, Any]:
    if kind.settings is not None:
        one = _settings_schema(kind.settings)
        return one if kind.single else _named(one)
    words = []
    choices = []
    assert kind.registry is not None
    for word in kind.registry.words():
        try:
            found = kind.registry.get(word)
        except ConfigurationError:
            continue
        settings = _settings_schema(found.Settings)
        settings["properties"] = {"type": {"const": word}, **settings["properties"]}
        words.append(word)
        choices.append({"if": {"properties": {"type": {"const": word}}, "required": ["type"]}, "then": settings})
    return _named(
        {"type": "object", "properties": {"type": {"enum": words}}, "required": ["type"], "allOf": choices},
    )


def _named(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "propertyNames": {"minLength": 1, "maxLength": 200},
        "additionalProperties": one,
    }


def _settings_schema(settings: type[Settings]) -> dict[str, Any]:
    made = settings.json_schema()
    made["type"] = ["object", "null"] if "required" not in made else "object"
    if settings.__doc__:
        made["title"] = settings.__doc__.strip().splitlines()[0]
    return made
