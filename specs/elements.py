"""What authors write in a declaration: `Text`, `Int`, `List`, `Dict` and the rest. Each element builds one `Field`.

A name that begins with ``-`` is optional. Limits are the words of JSON Schema in snake case.

>>> Int("-age", minimum=0).field().required
False
>>> DictList("addresses", "street", Int("number"), "-zip").field().fields[1]
Field(name='number', type='int', ...)
>>> List("tags", Int).field().items.type
'int'
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from specs.contract import UNSET, Field
from specs.inference import infer
from specs.problems import ConfigurationError, nearest

TEXT_LIMITS = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
NUMBER_LIMITS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusive_minimum": "exclusiveMinimum",
    "exclusive_maximum": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
LIST_LIMITS = {"min_items": "minItems", "max_items": "maxItems", "unique_items": "uniqueItems"}


class Element:
    """One element of an input or output, as an author writes it.

    *default* is what the service gets (or the caller, of an output) where the member is absent. A *nullable* element takes
    null. *format* is a ``strftime`` pattern of a date or time that is not ISO 8601. Nothing is checked before `field`, so
    that the error can name the class that the element stands in.
    """

    type: ClassVar[str] = "text"
    limits: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        name: str,
        *parts: Any,
        default: Any = UNSET,
        description: str = "",
        nullable: bool = False,
        format: str = "",  # noqa: A002  (the word that authors know)
        **limits: Any,
    ) -> None:
        self.name = name
        self.parts = parts
        self.default = default
        self.description = description
        self.nullable = nullable
        self.format = format
        self.given_limits = limits

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def field(self) -> Field:
        """The element as a record. Raises ConfigurationError, whose path begins with the element's name."""
        name, required = split_name(self.name, type(self).__name__)
        if self.format and self.type not in ("date", "datetime", "utc"):
            raise ConfigurationError(name, f"{type(self).__name__} has no format", "only dates and times have one")
        return self.shape(
            Field(
                name,
                self.type,
                required=required,
                nullable=self.nullable,
                default=self.default,
                description=self.description,
                limits=self._limits(name),
                # Older declarations name ISO 8601 by this word.
                format="" if self.format == "iso" else self.format,
            )
        )

    def shape(self, field: Field) -> Field:
        """*field* with what the parts of the element add to it."""
        if self.parts:
            raise ConfigurationError(field.name, f"{type(self).__name__} takes a name and nothing else", "use keywords")
        return field

    def _limits(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for word, value in self.given_limits.items():
            if word not in self.limits:
                known = [*self.limits, "default", "description", "nullable"]
                raise ConfigurationError(
                    name, f"{type(self).__name__} has no limit called '{word}'", nearest(word, known)
                )
            found[self.limits[word]] = value
        return found


class Text(Element):
    """A text."""

    limits = TEXT_LIMITS


class Int(Element):
    """A whole number of 64 bits with a sign."""

    type = "int"
    limits = NUMBER_LIMITS


class Float(Element):
    """A number of binary floating point, never NaN or infinite."""

    type = "float"
    limits = NUMBER_LIMITS


class Decimal(Element):
    """A decimal number whose digits are kept exactly; a text in JSON."""

    type = "decimal"
    limits = NUMBER_LIMITS


class Bool(Element):
    """True or false."""

    type = "bool"


class Date(Element):
    """A day: ISO 8601 ``2026-01-31``, or as *format* says."""

    type = "date"


class DateTime(Element):
    """A day and a time: ISO 8601, with or without an offset, or as *format* says."""

    type = "datetime"


class UTC(Element):
    """A moment: a date and time that is always in UTC, converted where it came with another offset."""

    type = "utc"


class UUID(Element):
    """A UUID (RFC 9562)."""

    type = "uuid"


class Bytes(Element):
    """Bytes; base64 (RFC 4648) in JSON and XML."""

    type = "bytes"


class CSV(Element):
    """A list of texts for the service, one line of comma-separated values (RFC 4180) for its callers."""

    type = "csv"
    limits = LIST_LIMITS


class Opaque(Element):
    """Any value, handed on unchanged."""

    type = "opaque"


class AsIs(Element):
    """Any value, handed on unchanged whatever its name tells."""

    type = "asis"


class Secret(Element):
    """A text that is readable for the service and never shown in logs, faults or documents' examples."""

    type = "secret"
    limits = TEXT_LIMITS


class Enum(Element):
    """One of some values: ``Enum("segment", "gold", "silver")`` or ``Enum("segment", Segment)`` with a Python Enum.

    The service gets the plain value, not the member of the Python Enum: an edge never imports its class.
    """

    type = "enum"

    def shape(self, field: Field) -> Field:
        parts = self.parts
        if len(parts) == 1 and isinstance(parts[0], type) and issubclass(parts[0], enum.Enum):
            values = tuple(member.value for member in parts[0])
        else:
            if len(parts) == 1 and isinstance(parts[0], (list, tuple, set, frozenset)):
                parts = tuple(parts[0])
            values = tuple(part.value if isinstance(part, enum.Enum) else part for part in parts)
        if not values or not all(type(value) in (str, int) for value in values):
            raise ConfigurationError(
                field.name, "an Enum has one or more values, texts or whole numbers", 'write Enum("x", "a", "b")'
            )
        return replace(field, values=values)


class List(Element):
    """A list: ``List("tags")`` of anything, ``List("tags", Int)`` of one kind of element."""

    type = "list"
    limits = LIST_LIMITS

    def shape(self, field: Field) -> Field:
        if not self.parts:
            return field
        if len(self.parts) > 1:
            raise ConfigurationError(field.name, "a List has one kind of element", 'write List("tags", Int)')
        return replace(field, items=_item(self.parts[0], field.name))


class Dict(Element):
    """A map: ``Dict("address")`` of anything, ``Dict("address", "street", "-zip", Dict("country", ...))`` of these members."""

    type = "dict"

    def shape(self, field: Field) -> Field:
        return replace(field, fields=fields_of(self.parts, field.name)) if self.parts else field


class DictList(Dict):
    """A list of maps that are alike: ``DictList("addresses", "street", Int("number"), "-zip")``."""

    type = "dictlist"
    limits = LIST_LIMITS


class Nested(Dict):
    """A group of elements under one name; as `Dict`, under the word that older services use."""

    type = "nested"


# The names that older services know.
Integer = Int
Boolean = Bool
Unicode = Text
ListOfDicts = DictList

#: Every element, by the word that `Field.type` holds.
ELEMENTS: dict[str, type[Element]] = {
    element.type: element
    for element in (
        Text, Int, Float, Decimal, Bool, Date, DateTime, UTC, UUID, Enum, Bytes, CSV, List, Dict, DictList, Nested,
        Opaque, AsIs, Secret,
    )
}  # fmt: skip


def fields_of(parts: Any, path: str = "") -> tuple[Field, ...]:
    """The fields of a declaration: names, elements, or one of them alone. Raises ConfigurationError."""
    if isinstance(parts, (str, Element)):
        parts = (parts,)
    if not isinstance(parts, Iterable) or isinstance(parts, Mapping):
        raise ConfigurationError(path, f"this is names and elements, not {parts!r}", 'write "a", "-b", Int("c")')
    found: dict[str, Field] = {}
    for part in parts:
        try:
            field = field_of(part)
        except ConfigurationError as error:
            raise error.under(path) if path else error from None
        if field.name in found:
            place = f"{path}.{field.name}" if path else field.name
            raise ConfigurationError(place, "this name is declared twice", "give each element a name of its own")
        found[field.name] = field
    return tuple(found.values())


def field_of(part: Any) -> Field:
    """The field of one name or element. Raises ConfigurationError."""
    if isinstance(part, Element):
        return part.field()
    if isinstance(part, str):
        name, required = split_name(part, "an element")
        kind, rule = infer(name)
        return Field(name, kind, required=required, origin=rule)
    if isinstance(part, type) and issubclass(part, Element):
        raise ConfigurationError("", f"{part.__name__} has no name", f'write {part.__name__}("name")')
    raise ConfigurationError("", f"not a name or an element: {part!r}", 'write "a", "-b" or Int("c")')


def split_name(name: Any, what: str) -> tuple[str, bool]:
    """*name* without its mark, and whether the element is required. Raises ConfigurationError."""
    bare = name.removeprefix("-") if isinstance(name, str) else ""
    if not bare or bare != bare.strip():
        raise ConfigurationError("", f"{what} needs a name that is a text, not {name!r}", 'write "name" or "-name"')
    return bare, bare == name


def _item(part: Any, path: str) -> Field:
    plain: dict[Any, type[Element]] = {
        str: Text,
        int: Int,
        float: Float,
        bool: Bool,
        dict: Dict,
        list: List,
        bytes: Bytes,
    }
    if isinstance(part, type) and issubclass(part, enum.Enum):
        return Enum("item", part).field()
    part = plain.get(part, part) if isinstance(part, type) else part
    if isinstance(part, type) and issubclass(part, Element):
        return part("item").field()
    if isinstance(part, Element):
        try:
            return replace(part.field(), required=True)
        except ConfigurationError as error:
            raise error.under(path) from None
    raise ConfigurationError(path, f"not an element: {part!r}", 'write List("tags", Int)')
