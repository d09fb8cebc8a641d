"""Credentials that a connection borrows: ``security: partners`` of a connection sends what the definition `partners` asks for.

A definition keeps its password as a hash, which cannot be sent. So whoever applies the document, and has the password before
him, seals a copy into the connection, with the keys of connections, which an edge does not have. A definition that no
connection names leaves nothing that could be turned back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.configuration.document import Key
from gateway.configuration.kinds import place
from gateway.configuration.sealing import Bound, Sealer
from specs.problems import ConfigurationError
from specs.settings import Settings


def lend(
    bound: dict[Key, Bound],
    settings: Mapping[Key, Settings],
    stored: Mapping[Key, Mapping[str, Any]],
    sealer: Sealer,
) -> list[ConfigurationError]:
    """Put into each connection of *bound* that names a definition a sealed copy of its credentials; what cannot be lent."""
    errors = []
    for key, held in list(bound.items()):
        name = getattr(settings.get(key), "security", None) if key[0] == "connections" else None
        if name is None or ("security", name) not in settings:
            continue
        try:
            text = _credentials(name, bound, settings)
            bound[key] = sealer.attach(place(*key), held, text, stored.get(key))
        except ConfigurationError as error:
            errors.append(error.under(place(*key)))
    return errors


def _credentials(name: str, bound: Mapping[Key, Bound], settings: Mapping[Key, Settings]) -> str | None:
    """What the definition's callers would send, as the settings of a connection in JSON; None where it is not known here."""
    definition: Any = settings["security", name]
    setting = next((word for word in ("password", "key") if getattr(definition, word, None) is not None), "")
    if not setting:
        raise ConfigurationError(
            "security", f"'{name}' has no credentials of its own to send", "name a definition with a password or a key"
        )
    held = bound.get(("security", name))
    leaf = held.leaves.get(f"{place('security', name)}.{setting}") if held is not None else None
    if leaf is None or not leaf.clear:
        return None
    if setting == "key":
        return json.dumps({"api_key": leaf.text, "header": definition.header})
    return json.dumps({"username": definition.username, "password": leaf.text})
