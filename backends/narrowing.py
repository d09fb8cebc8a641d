"""Is what one JSON Schema takes still taken by another? `tightened` says what may be refused now.

Nobody can decide that for every two schemas. Keywords whose order is known are compared by it; any other that differs counts as
tighter, so that what is not understood is said and not overlooked.

>>> list(tightened({"minLength": 1, "maxLength": 9}, {"minLength": 2, "maxLength": 12}))
['minLength was 1 and is 2']
>>> list(tightened({"properties": {"a": {}}}, {"properties": {"a": {"type": "integer"}, "b": {}}, "required": ["b"]}, "input "))
['input a: type is integer now', 'input b is required now']
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Keywords that say nothing of what is taken.
_NOTES = frozenset((
    "title", "description", "examples", "default", "$comment", "deprecated", "readOnly", "writeOnly", "$schema", "$id",
    "contentEncoding", "contentMediaType",
))  # fmt: skip
_FLOORS = frozenset(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"))
_CEILINGS = frozenset(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"))
_MAPS = frozenset(("properties", "$defs", "definitions", "patternProperties"))
_SCHEMAS = frozenset(("items", "additionalProperties", "propertyNames"))
_ABSENT: Any = object()


def tightened(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """A phrase for each thing by which a value that *old* takes may be refused by *new*; *place* stands before members."""
    if old == new or new is True or old is False:
        return
    if not isinstance(new, Mapping):
        yield f"{place.strip() or 'nothing'} is not taken any more"
        return
    before: Mapping[str, Any] = old if isinstance(old, Mapping) else {}
    for word, value in new.items():
        was = before.get(word, _ABSENT)
        if word in _NOTES or value == was:
            continue
        if word in _MAPS:
            known = was if was is not _ABSENT else {}
            for name in value:
                if name in known:
                    yield from tightened(known[name], value[name], f"{place}{name}: ")
        elif word == "required":
            yield from (f"{place}{name} is required now" for name in value if was is _ABSENT or name not in was)
        elif word in _SCHEMAS and was is not _ABSENT:
            yield from tightened(was, value, f"{place}{word}: ")
        elif _tighter(word, was, value):
            said = f"{value}" if isinstance(value, (str, int, float)) else "another"
            yield f"{place}{word} is {said} now" if was is _ABSENT else f"{place}{word} was {was} and is {said}"


def _tighter(word: str, was: Any, value: Any) -> bool:
    if word == "type":
        kinds = _kinds(value)
        return was is _ABSENT or not _kinds(was) <= kinds | ({"integer"} if "number" in kinds else set())
    if word == "enum":
        return was is _ABSENT or any(one not in value for one in was)
    if word == "uniqueItems":
        return bool(value)
    if word == "additionalProperties":
        return value is not True
    if word in _FLOORS:
        return was is _ABSENT or value > was
    if word in _CEILINGS:
        return was is _ABSENT or value < was
    return True


def _kinds(value: Any) -> set[str]:
    return {value} if isinstance(value, str) else set(value)
