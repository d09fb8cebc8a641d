"""Plans: how a map whose members came as they were declared becomes a record in one go, in C where there was a compiler.

A plan knows nothing but that case. For a map that is any other way, `Apply` gives ``None``, and `specs.reading` or
`specs.writing` goes over it member by member, with its conversions, defaults and faults. So there is nothing to choose
between the two: where a plan gives a record, it is the one that they would give.

>>> apply = plan(dict, dict, [("id", "int", True, False), ("tags", ("text", False), False, False)])
>>> apply({"id": 7, "tags": ["a"], "more": 1}) if COMPILED else {"id": 7, "tags": ["a"]}
{'id': 7, 'tags': ['a']}
>>> apply({"id": "7"}), apply({})
(None, None)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from specs.contract import Field
from specs.conversions import kept_type
from specs.records import NATIVE

#: Whether plans run in C; else they leave everything to others.
COMPILED = NATIVE is not None

Apply = Callable[[Any], Any]

Kind = Any
"""What becomes of one value: a word ("text", "bool", "int", "float": it stays as it is where it is of that type), a `plan` of
its own, what converts it (what that raises, it raises again when asked by others), or (kind, nullable) of the items of a list."""

_WORDS = {"text": "text", "secret": "text", "bool": "bool", "int": "int", "float": "float"}


def plan(
    make: type[dict[str, Any]], maps: type[dict[str, Any]], members: Iterable[tuple[str, Kind, bool, bool]]
) -> Apply:
    """The plan of the record *make*, for dictionaries and for *maps* (a class of them).

    Each of *members* is a name, its kind, whether others have to see to it where it is absent, and whether it may be null.
    """
    if NATIVE is None:
        return _nothing
    return NATIVE.Plan(make, maps, tuple((name, _own(kind), need, null) for name, kind, need, null in members)).apply


def word_of(field: Field) -> str:
    """The word of a *field* whose values stay as they are where they are of its type, else empty."""
    return _WORDS[field.type] if kept_type(field)[0] is not None else ""


def _own(kind: Kind) -> Kind:
    """*kind* as C has it: a plan in place of its method."""
    if isinstance(kind, tuple):
        return _own(kind[0]), kind[1]
    owner = getattr(kind, "__self__", None)
    return owner if NATIVE is not None and isinstance(owner, NATIVE.Plan) else kind


def _nothing(value: Any) -> Any:
    return None
