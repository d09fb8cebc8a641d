"""Settings: declared once, with a sentence each; read, checked and frozen when loaded.

The declaration gives the validation, the JSON Schema, the documentation and the console's form.

>>> class Door(Settings):
...     host: str = setting("name or address of the host")
...     timeout: Seconds = setting("the longest that an answer may take", default="30s")
>>> Door.read({"host": "h1"}).timeout
30.0
>>> Door.read({"hots": "h1"}, "connections.door")
Traceback (most recent call last):
specs.problems.ConfigurationErrors: connections.door.hots: no such setting: did you mean 'host'?
connections.door.host: this setting is required: name or address of the host
"""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, Union, dataclass_transform

from specs.problems import ConfigurationError, ConfigurationErrors, nearest


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required()


@dataclass(frozen=True)
class Setting:
    """One setting as declared. *default* is written as people write it (``"30s"``) and read when the settings are."""

    sentence: str
    default: Any
    name: str = ""
    type: Any = None

    @property
    def required(self) -> bool:
        """Whether a document must give it."""
        return self.default is REQUIRED


def setting(sentence: str, *, default: Any = REQUIRED, name: str = "") -> Any:
    """Declare a setting. *sentence* is what documents and forms say of it; *name* its key where Python cannot spell it."""
    return Setting(sentence, default, name)


class Seconds(float):
    """A time span: a number of seconds or text such as ``500ms``, ``30s``, ``5m``, ``1h30m``, ``2d``."""

    UNITS: ClassVar[dict[str, float]] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    _TEXT = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
    _PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")

    @classmethod
    def read(cls, value: Any, path: str) -> Seconds:
        """Raises ConfigurationError."""
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
            return cls(value)
        text = value.strip().lower() if isinstance(value, str) else ""
        if cls._TEXT.fullmatch(text):
            return cls(sum(float(number) * cls.UNITS[unit] for number, unit in cls._PART.findall(text)))
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return cls(text)
        raise ConfigurationError(path, f"not a time span: {value!r}", "write 30s, 5m, 1h or a number of seconds")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"type": ["string", "number"], "examples": ["30s", "5m", "1h"]}


class Size(int):
    """A number of bytes: a whole number or text such as ``64KiB``, ``8MiB``, ``1GB``."""

    UNITS: ClassVar[dict[str, int]] = {
        "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "k": 2**10, "m": 2**20, "g": 2**30,
        "kib": 2**10, "mib": 2**20, "gib": 2**30,
    }  # fmt: skip

    @classmethod
    def read(cls, value: Any, path: str) -> Size:
        """Raises ConfigurationError."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", value.strip().lower()) if isinstance(value, str) else None
        if match and match[2] in cls.UNITS:
            return cls(float(match[1]) * cls.UNITS[match[2]])
        raise ConfigurationError(path, f"not a size: {value!r}", "write 8MiB, 64KiB or a number of bytes")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"type": ["string", "integer"], "examples": ["8MiB", "64KiB"]}


class Secret:
    """A value that is needed in clear when used and is never printed: `reveal` gives it."""

    __slots__ = ("_value",)
    leaf: ClassVar[str] = "secret"  #: what `map_leaves` calls it

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    @classmethod
    def read(cls, value: Any, path: str) -> Secret:
        """Raises ConfigurationError."""
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str) or not value:
            raise ConfigurationError(
                path, "a secret is a text that is not empty", 'write "${env:NAME}" or "${file:PATH}"'
            )
        return cls(value)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"type": "string", "minLength": 1, "writeOnly": True, "examples": ["${env:NAME}", "${file:PATH}"]}


class Password(Secret):
    """A secret that is only ever compared: configuration keeps its hash alone, and `reveal` gives that hash."""

    leaf = "password"

    def __repr__(self) -> str:
        return "Password('***')"


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(setting,))
class Settings:
    """A frozen set of settings. A subclass declares them: ``host: str = setting("name or address of the host")``.

    Types are ``str int float bool``, `Seconds`, `Size`, `Secret`, `Password`, ``Literal[...]``, lists, maps, unions,
    other Settings, and any class with ``read(value, path)`` and ``json_schema()``. Override `check` for what no single
    setting can say.
    """

    __settings__: ClassVar[dict[str, Setting]] = {}

    def __init_subclass__(cls) -> None:
        declared = {name: value for name, value in vars(cls).items() if isinstance(value, Setting)}
        cls.__settings__ = {**cls.__settings__, **declared}

    def __init__(self, **values: Any) -> None:
        hints = self.types()
        for attribute, declared in self.__settings__.items():
            if attribute in values:
                value = values.pop(attribute)
            elif declared.required:
                raise TypeError(f"{type(self).__name__} needs {attribute}")
            else:
                value = _default(hints[attribute], declared.default)
            object.__setattr__(self, attribute, value)
        if values:
            raise TypeError(f"{type(self).__name__} has no setting called {next(iter(values))}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("settings are frozen")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"

    @classmethod
    def types(cls) -> dict[str, Any]:
        """The type of each setting, by attribute."""
        if "__types__" not in cls.__dict__:
            hints = typing.get_type_hints(cls)
            cls.__types__ = {name: hints[name] for name in cls.__settings__}  # type: ignore[attr-defined]
        return cls.__types__  # type: ignore[attr-defined,no-any-return]

    @classmethod
    def keys(cls) -> dict[str, str]:
        """The attribute behind each key of the document."""
        return {declared.name or attribute: attribute for attribute, declared in cls.__settings__.items()}

    @classmethod
    def read(cls, value: Any, path: str = "") -> Self:
        """Settings from a map of a document. Raises ConfigurationErrors, which names every fault in one go."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                path, f"this is a map of settings, not {_kind(value)}", f"use {', '.join(cls.keys())}"
            )
        errors: list[ConfigurationError] = []
        values: dict[str, Any] = {}
        keys = cls.keys()
        for key in value:
            if key not in keys:
                errors.append(ConfigurationError(_join(path, str(key)), "no such setting", nearest(str(key), keys)))
        hints = cls.types()
        for key, attribute in keys.items():
            if key not in value:
                if cls.__settings__[attribute].required:
                    sentence = cls.__settings__[attribute].sentence
                    errors.append(ConfigurationError(_join(path, key), "this setting is required", sentence))
                continue
            try:
                values[attribute] = read_type(hints[attribute], value[key], _join(path, key))
            except ConfigurationErrors as found:
                errors.extend(found.errors)
            except ConfigurationError as error:
                errors.append(error)
        if errors:
            raise ConfigurationErrors(errors)
        settings = cls(**values)
        settings.check(path)
        return settings

    def check(self, path: str) -> None:
        """Raise ConfigurationError for what only several settings together can get wrong."""

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The settings as a JSON Schema 2020-12 object."""
        hints = cls.types()
        properties: dict[str, Any] = {}
        for key, attribute in cls.keys().items():
            declared = cls.__settings__[attribute]
            properties[key] = {**schema_of_type(hints[attribute]), "description": declared.sentence}
            if not declared.required and declared.default is not None:
                properties[key]["default"] = declared.default
        required = [key for key, attribute in cls.keys().items() if cls.__settings__[attribute].required]
        schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        return {**schema, "required": required} if required else schema


Visit = Callable[[str, str, str], Any]


def map_leaves(kind: Any, value: Any, visit: Visit, path: str = "") -> Any:
    """*value*, as *kind* (a type of a setting) would read it, with each text in it replaced by ``visit(kind, text, path)``.

    The first argument tells what the text is there: the `Secret.leaf` of its type (``secret``, ``password`` ...) or
    ``plain``. What does not fit *kind* is walked as plain, so that reading it afterwards names the fault.
    """
    options = [option for option in _options(kind) if option is not type(None)]
    if isinstance(value, str):
        secret = [o for o in options if isinstance(o, type) and issubclass(o, Secret)]
        return visit(secret[-1].leaf if secret else "plain", value, path)
    if isinstance(value, Mapping):
        known: dict[str, Any] = {}
        inner: Any = Any
        for option in options:
            if isinstance(option, type) and issubclass(option, Settings):
                known.update({key: option.types()[attribute] for key, attribute in option.keys().items()})
            elif typing.get_origin(option) in (dict, Mapping):
                inner = typing.get_args(option)[1]
        return {k: map_leaves(known.get(k, inner), v, visit, _join(path, str(k))) for k, v in value.items()}
    if isinstance(value, list):
        item = next((typing.get_args(o)[0] for o in options if typing.get_origin(o) in (list, tuple)), Any)
        return [map_leaves(item, v, visit, f"{path}[{i}]") for i, v in enumerate(value)]
    return value


def read_type(kind: Any, value: Any, path: str) -> Any:
    """*value* of a document as *kind*, the annotation of a setting. Raises ConfigurationError at *path*."""
    if kind is Any:
        return value
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_union(kind, value, path)
    if origin is Literal:
        words = typing.get_args(kind)
        if value in words and type(value) in {type(word) for word in words}:
            return value
        known = [str(word) for word in words]
        raise ConfigurationError(path, f"not one of the values that exist: {value!r}", nearest(str(value), known))
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise ConfigurationError(path, f"this is a list, not {_kind(value)}", "write [a, b]")
        items = [read_type(typing.get_args(kind)[0], item, f"{path}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigurationError(path, f"this is a map, not {_kind(value)}", "write {name: value}")
        inner = typing.get_args(kind)[1]
        return {str(k): read_type(inner, v, _join(path, str(k))) for k, v in value.items()}
    if kind is type(None):
        if value is None:
            return None
        raise ConfigurationError(path, f"this is null, not {_kind(value)}")
    if hasattr(kind, "read"):
        return kind.read(value, path)
    return _read_scalar(kind, value, path)


def schema_of_type(kind: Any) -> dict[str, Any]:
    """JSON Schema of a setting's annotation."""
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        options = [schema_of_type(option) for option in typing.get_args(kind) if option is not type(None)]
        if type(None) in typing.get_args(kind):
            options.append({"type": "null"})
        return {"anyOf": options} if len(options) > 1 else options[0]
    if origin is Literal:
        return {"enum": list(typing.get_args(kind))}
    if origin in (list, tuple):
        return {"type": "array", "items": schema_of_type(typing.get_args(kind)[0])}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": schema_of_type(typing.get_args(kind)[1])}
    if hasattr(kind, "json_schema"):
        return kind.json_schema()  # type: ignore[no-any-return]
    words: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    return {"type": words[kind]} if kind in words else {}


def describe(settings: type[Settings]) -> Iterator[tuple[str, str, str, str]]:
    """Each setting as ``(key, type, default, sentence)``, as `gatewright explain` prints it."""
    hints = settings.types()
    for key, attribute in settings.keys().items():
        declared = settings.__settings__[attribute]
        default = "required" if declared.required else _written(declared.default)
        yield key, type_name(hints[attribute]), default, declared.sentence


def type_name(kind: Any) -> str:
    """An annotation as people read it."""
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(option) for option in arguments if option is not type(None))
    if origin is Literal:
        return " or ".join(str(word) for word in arguments)
    if origin in (list, tuple):
        return f"list of {type_name(arguments[0])}"
    if origin in (dict, Mapping):
        return f"map of {type_name(arguments[1])}"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
    return names.get(kind) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", getattr(kind, "__name__", str(kind))).lower()


def _read_union(kind: Any, value: Any, path: str) -> Any:
    first: ConfigurationError | None = None
    for option in _options(kind):
        if option is type(None) and value is not None:
            continue
        try:
            return read_type(option, value, path)
        except ConfigurationError as error:
            # The option whose shape fits has the most to say of what is wrong.
            if first is None or _shape_fits(option, value):
                first = error
    raise first or ConfigurationError(path, f"cannot be {_kind(value)}")


def _shape_fits(option: Any, value: Any) -> bool:
    if isinstance(value, Mapping):
        return typing.get_origin(option) in (dict, Mapping) or (
            isinstance(option, type) and issubclass(option, Settings)
        )
    if isinstance(value, list):
        return typing.get_origin(option) in (list, tuple)
    return isinstance(option, type) and not issubclass(option, Settings)


def _read_scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is str:
        if isinstance(value, str):
            return value
        raise ConfigurationError(path, f"this is a text, not {_kind(value)}", f'write "{value}"')
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise ConfigurationError(path, f"this is true or false, not {_kind(value)}")
    if kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise ConfigurationError(path, f"this is a whole number, not {_kind(value)}")
    if kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        raise ConfigurationError(path, f"this is a number, not {_kind(value)}")
    if isinstance(value, kind):
        return value
    raise TypeError(f"settings cannot read {kind!r}")


def _written(default: Any) -> str:
    """A default as a document has it; empty where it is nothing."""
    if default is None or default == [] or default == {}:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return ", ".join(map(str, default)) if isinstance(default, list) else str(default)


def _default(kind: Any, default: Any) -> Any:
    if default is None:
        return None
    if isinstance(default, (list, dict)):
        return read_type(kind, default.copy(), "default")
    return _fixed_default(kind, default)


# PERF: most settings of most objects are left out: 10,000 channels are read in 1.4 s instead of 2.9. What is read of a
# number or a text cannot be changed, so all may share it.
@functools.lru_cache(maxsize=None, typed=True)
def _fixed_default(kind: Any, default: Any) -> Any:
    return read_type(kind, default, "default")


def _options(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a map"}
    return names.get(type(value), type(value).__name__)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
