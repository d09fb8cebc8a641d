"""What differs between two states of the configuration, as people read it; never a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from gateway.configuration.document import Key
from gateway.configuration.kinds import KINDS, place
from gateway.configuration.sealing import shown

LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One object that is added, changed or removed; *settings* tells what of a changed one differs.

    >>> str(Change("channels", "c", "change", ("path: /a -> /b",)))
    '~ channels.c: path: /a -> /b'
    """

    kind: str
    name: str
    action: Literal["add", "change", "remove"]
    settings: tuple[str, ...] = ()

    def __str__(self) -> str:
        sign = {"add": "+", "change": "~", "remove": "-"}[self.action]
        told = ": " + "; ".join(self.settings) if self.settings else ""
        return f"{sign} {place(self.kind, self.name)}{told}"


def compare(before: Mapping[Key, Any], after: Mapping[Key, Any], keys: list[Key]) -> tuple[Change, ...]:
    """The changes of the objects *keys*, stored bodies both, in the order of a document."""
    order = list(KINDS)
    changes = []
    for key in sorted(keys, key=lambda key: (order.index(key[0]), key[1])):
        if key not in before:
            changes.append(Change(*key, "add"))
        elif key not in after:
            changes.append(Change(*key, "remove"))
        else:
            changes.append(Change(*key, "change", tuple(_differences(before[key], after[key], ""))))
    return tuple(changes)


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    if before == after:
        return
    sealed = [isinstance(value, Mapping) and "$digest" in value for value in (before, after)]
    if any(sealed):
        old, new = shown(before), shown(after)
        secret = all(sealed) and old == new
        yield f"{path}: another value" if secret else f"{path}: {_short(old)} -> {_short(new)}"
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            below = f"{path}.{key}" if path else key
            if key not in after:
                yield f"{below}: removed"
            elif key not in before:
                yield f"{below}: {_short(shown(after[key], '[0]'))}"
            else:
                yield from _differences(before[key], after[key], below)
    else:
        yield f"{path}: {_short(shown(before, '[0]'))} -> {_short(shown(after, '[0]'))}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."
