"""Names of other objects, as settings hold them: a text that knows which kind of object it names.

Whoever checks a whole document finds the references by their type alone, so a connector or channel declares
``limit: LimitName | None = setting(...)`` and the rest follows: the check, the nearest name, the published schema.

>>> class Door(Settings):
...     limit: LimitName | None = setting("name of a limit definition", default=None)
>>> [(path, name, name.kind) for path, name in references(Door.read({"limit": "standard"}), "doors.front")]
[('doors.front.limit', 'standard', 'limits')]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from specs.problems import ConfigurationError
from specs.settings import Settings, setting

__all__ = [
    "ConnectionName", "GroupName", "LimitName", "Many", "Name", "SecurityName", "ServiceName", "references", "setting",
]  # fmt: skip


class Name(str):
    """The name of an object; `kind` is the top-level key of the document that the object stands under."""

    __slots__ = ()
    kind: ClassVar[str] = ""

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        if isinstance(value, str) and value:
            return cls(value)
        raise ConfigurationError(path, f"this is a name from '{cls.kind}', not {value!r}", "write the name as text")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"type": "string", "minLength": 1, "description": f"a name from '{cls.kind}'"}


class SecurityName(Name):
    """A security definition."""

    __slots__ = ()
    kind = "security"


class LimitName(Name):
    """A limit definition."""

    __slots__ = ()
    kind = "limits"


class GroupName(Name):
    """A group of consumers. Groups exist by being named: an unknown one is a warning."""

    __slots__ = ()
    kind = "groups"


class ServiceName(Name):
    """A service. It may be deployed later: an unknown one is a warning."""

    __slots__ = ()
    kind = "services"


class ConnectionName(Name):
    """A connection."""

    __slots__ = ()
    kind = "connections"


class Many(tuple[Any, ...]):
    """Several values of one type, which a document may write as one value or as a list. Subclasses give `item`."""

    __slots__ = ()
    item: ClassVar[Any] = str

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        if isinstance(value, (list, tuple)):
            return cls(cls.read_item(one, f"{path}[{i}]") for i, one in enumerate(value))
        return cls((cls.read_item(value, path),))

    @classmethod
    def read_item(cls, value: Any, path: str) -> Any:
        """One value. Raises ConfigurationError."""
        if cls.item is not str:
            return cls.item.read(value, path)
        if isinstance(value, str) and value:
            return value
        raise ConfigurationError(path, f"this is a text or a list of texts, not {value!r}", f'write "{value}"')

    @classmethod
    def item_schema(cls) -> dict[str, Any]:
        """How the document's schema describes one value."""
        return {"type": "string"} if cls.item is str else cls.item.json_schema()

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"anyOf": [cls.item_schema(), {"type": "array", "items": cls.item_schema()}]}


def references(value: Any, path: str) -> Iterator[tuple[str, Name]]:
    """Every `Name` below *value* (settings, maps, lists), with its path in the document."""
    if isinstance(value, Name):
        yield path, value
    elif isinstance(value, Settings):
        for key, attribute in value.keys().items():
            held = getattr(value, attribute)
            if held is not None and not isinstance(held, (bool, int, float)):
                yield from references(held, f"{path}.{key}")
    elif isinstance(value, Mapping):
        for key, held in value.items():
            yield from references(held, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for position, held in enumerate(value):
            yield from references(held, f"{path}[{position}]")
