"""Dataclasses and msgspec Structs as an input or output: their attributes, as fields.

A type that allows ``None`` makes an element optional and nullable; a default makes it optional. What the service gets is a
record with the same attributes, not an instance: an edge never imports the class.

>>> import dataclasses
>>> @dataclasses.dataclass
... class Order:
...     number: int
...     tags: list[str]
...     note: str | None = None
>>> [(field.name, field.type, field.required) for field in fields_of(Order)]
[('number', 'int', True), ('tags', 'list', True), ('note', 'text', False)]
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Union

from specs.contract import Field
from specs.problems import ConfigurationError

_SCALARS: dict[Any, str] = {
    str: "text", int: "int", float: "float", bool: "bool", bytes: "bytes", decimal.Decimal: "decimal",
    datetime.date: "date", datetime.datetime: "datetime", uuid.UUID: "uuid", dict: "dict", list: "list",
    tuple: "list", set: "list", frozenset: "list", Any: "opaque", object: "opaque",
}  # fmt: skip
_LISTS = (list, tuple, set, frozenset, Sequence, AbstractSet)
_META = {
    "ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum", "multiple_of": "multipleOf",
    "pattern": "pattern",
}  # fmt: skip


def model_of(declared: Any) -> type[Any] | None:
    """The dataclass or Struct that *declared* is, or is a list of; ``None`` where it is neither."""
    if is_list(declared):
        declared = typing.get_args(declared)[0] if typing.get_origin(declared) else declared[0]
    return declared if is_model(declared) else None


def is_model(declared: Any) -> bool:
    """Whether *declared* is a dataclass or a msgspec Struct."""
    return isinstance(declared, type) and (dataclasses.is_dataclass(declared) or hasattr(declared, "__struct_fields__"))


def is_list(declared: Any) -> bool:
    """Whether *declared* is ``list[Model]`` or ``[Model]``."""
    if typing.get_origin(declared) is list:
        return is_model(typing.get_args(declared)[0])
    return isinstance(declared, list) and len(declared) == 1 and is_model(declared[0])


def fields_of(model: type[Any], path: str = "", parents: tuple[type[Any], ...] = ()) -> tuple[Field, ...]:
    """The fields of a model. Raises ConfigurationError."""
    path = path or model.__name__
    if model in parents:
        raise ConfigurationError(path, f"{model.__name__} holds itself", 'declare the inner one as Any or Dict("name")')
    try:
        hints = typing.get_type_hints(model, include_extras=True)
    except (NameError, TypeError) as error:
        raise ConfigurationError(path, f"the types of {model.__name__} cannot be read", str(error)) from None
    found = []
    for name, attribute, default, description in _attributes(model):
        place = f"{path}.{name}"
        field = _field(name, hints[attribute], place, (*parents, model))
        changes: dict[str, Any] = {}
        if description and not field.description:
            changes["description"] = description
        if default is not dataclasses.MISSING:
            changes["required"] = False
            if default is not None:
                changes["default"] = default
        found.append(dataclasses.replace(field, **changes))
    return tuple(found)


def _attributes(model: type[Any]) -> Iterator[tuple[str, str, Any, str]]:
    """Name on the wire, attribute, default (`dataclasses.MISSING`: none) and description."""
    if dataclasses.is_dataclass(model):
        for field in dataclasses.fields(model):
            if not field.init:
                continue
            default = field.default
            if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            yield field.name, field.name, _plain(default), field.metadata.get("description", "")
        return
    from msgspec import NODEFAULT, structs  # whoever has a Struct has msgspec

    for member in structs.fields(model):
        default = member.default
        if default is NODEFAULT:
            default = dataclasses.MISSING if member.default_factory is NODEFAULT else member.default_factory()
        yield member.encode_name, member.name, _plain(default), ""


def _plain(default: Any) -> Any:
    if default is dataclasses.MISSING:
        return default
    if type(default).__name__ == "UnsetType":
        return None  # absent unless given, and that is what an optional element is
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return dataclasses.asdict(default)
    if hasattr(default, "__struct_fields__"):
        return {name: _plain(getattr(default, name)) for name in default.__struct_fields__}
    if isinstance(default, enum.Enum):
        return default.value
    return list(default) if isinstance(default, (tuple, set, frozenset)) else default


def _field(name: str, hint: Any, path: str, parents: tuple[type[Any], ...]) -> Field:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _annotated(_field(name, arguments[0], path, parents), arguments[1:])
    if origin in (Union, types.UnionType):
        options = [option for option in arguments if option is not type(None) and _named(option) != "UnsetType"]
        if len(options) != 1:
            # Several types have no one element; any value is handed on.
            return Field(name, "opaque", required=len(options) == len(arguments), nullable=type(None) in arguments)
        field = _field(name, options[0], path, parents)
        return dataclasses.replace(field, required=False, nullable=type(None) in arguments)
    if origin is typing.Literal:
        return Field(name, "enum", values=tuple(arguments))
    if origin in _LISTS:
        item = arguments[0] if arguments else Any
        if is_model(item):
            return Field(name, "dictlist", fields=fields_of(item, path, parents))
        return Field(name, "list", items=None if item is Any else _field("item", item, f"{path}.items", parents))
    if origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return Field(name, "dict")
    if is_model(hint):
        return Field(name, "dict", fields=fields_of(hint, path, parents))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return Field(name, "enum", values=tuple(member.value for member in hint))
    try:
        kind = _SCALARS.get(hint)
    except TypeError:
        kind = None
    if kind is None:
        raise ConfigurationError(path, f"no element is a {_named(hint)}", "use str, int, Decimal, date, list[...] ...")
    return Field(name, kind)


def _annotated(field: Field, notes: tuple[Any, ...]) -> Field:
    """*field* with the limits and description of what stands beside its type (``msgspec.Meta`` or alike)."""
    limits = dict(field.limits)
    description = field.description
    sizes = ("minItems", "maxItems") if field.type in ("list", "dictlist") else ("minLength", "maxLength")
    for note in notes:
        if isinstance(note, str):
            description = note
        for attribute, word in {**_META, "min_length": sizes[0], "max_length": sizes[1]}.items():
            value = getattr(note, attribute, None)
            if value is not None:
                limits[word] = value
        description = getattr(note, "description", None) or description
    return dataclasses.replace(field, limits=limits, description=description)


def _named(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint))
