"""JSON Schema 2020-12: of a contract, and of a service's ``schema`` file.

`schema_of` describes declared fields as documents print them: what to send, though the reader also takes a number's text.
`load` reads a schema file with the local files it refers to, bundled into one document (2020-12, section 9.3), so that an
edge needs no files. `Schema` checks values.

SECURITY: A42. Nothing is ever fetched: a reference to the network, or out of the root folder, is refused when loaded, and
the compiled validator is offline.

>>> from specs.contract import Field
>>> schema_of((Field("id", "int"), Field("note", required=False, nullable=True)))["required"]
['id']
>>> Schema({"required": ["name"]}).faults({})
[Fault(pointer='/name', code='missing', detail='this member is required')]
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urljoin, urlsplit

import jsonschema_rs
import orjson

from specs.contract import UNSET, Contract, Field
from specs.problems import ConfigurationError, Fault
from specs.records import escape, pointer
from specs.writing import to_json_values

Direction = Literal["input", "output"]

MOST_FAULTS = 100
#: Values in which every fault is looked for; of larger ones the first is told, and those in their beginnings.
MOST_VALUES = 10_000
_LONGEST_DETAIL = 200

_DECIMAL = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,6})?$"
_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "secret": {"type": "string", "format": "password"},
    "int": {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number", "format": "double"},
    "decimal": {"type": "string", "format": "decimal", "pattern": _DECIMAL},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "utc": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "csv": {"type": "string"},
    "opaque": {},
    "asis": {},
}
_NUMBER_WORDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})


def schema_of(fields: Sequence[Field], direction: Direction = "input") -> dict[str, Any]:
    """The JSON Schema of a record with these members. Members that are not declared are allowed, and ignored."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: schema_of_field(field, direction) for field in fields},
    }
    required = [field.name for field in fields if field.required]
    return {**schema, "required": required} if required else schema


def schema_of_contract(contract: Contract, direction: Direction) -> dict[str, Any]:
    """The JSON Schema of a whole input or output, without its wrapper: a list where it is repeated, anything if undeclared."""
    fields = contract.input if direction == "input" else contract.output
    if fields is None:
        return dict(contract.schema) if direction == "input" and contract.schema else {}
    record = schema_of(fields, direction)
    return {"type": "array", "items": record} if direction == "output" and contract.repeated else record


def schema_of_field(field: Field, direction: Direction = "input") -> dict[str, Any]:
    """The JSON Schema of one member."""
    schema = _shape(field, direction)
    textual = schema.get("type") == "string"
    # A decimal or CSV is a text on the wire, where limits on its number or items say nothing.
    schema.update((word, limit) for word, limit in field.limits.items() if not textual or word in _TEXT_WORDS)
    if field.nullable and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if field.nullable and "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    if field.description:
        schema["description"] = field.description
    if field.default is not UNSET:
        schema["default"] = field.default
    if field.type == "secret":
        schema["writeOnly" if direction == "input" else "readOnly"] = True
    return schema


_TEXT_WORDS = ("minLength", "maxLength", "pattern")


def _shape(field: Field, direction: Direction) -> dict[str, Any]:
    if field.type == "enum":
        kinds = sorted({"integer" if isinstance(value, int) else "string" for value in field.values})
        return {"type": kinds[0], "enum": list(field.values)} if len(kinds) == 1 else {"enum": list(field.values)}
    if field.type in ("dict", "nested"):
        return {"type": "object"} if field.fields is None else schema_of(field.fields, direction)
    if field.type == "dictlist":
        items = {"type": "object"} if field.fields is None else schema_of(field.fields, direction)
        return {"type": "array", "items": items}
    if field.type == "list":
        return {"type": "array", "items": {} if field.items is None else schema_of_field(field.items, direction)}
    schema = dict(_TYPES[field.type])
    if field.format:
        schema.pop("format")
        schema["description"] = f"as {field.format}"
    return schema


class Schema:
    """A compiled JSON Schema. *document* is whole: what it refers to is in it, or by its URI in *resources*.

    A ``format`` is asserted, unless *asserts_formats* is false: then it is only a note, as 2020-12 has it without its vocabulary.
    """

    def __init__(
        self,
        document: Mapping[str, Any] | bool,
        path: str = "schema",
        *,
        resources: Mapping[str, Any] | None = None,
        asserts_formats: bool = True,
    ) -> None:
        try:
            # The dialect that the file names; 2020-12 where it names none.
            whole = document if isinstance(document, bool) else dict(document)
            dialect = jsonschema_rs.validator_cls_for(whole)
            # SECURITY: messages go to the caller: the mask keeps the values that were sent out of them.
            self._validator = dialect(
                whole,
                validate_formats=asserts_formats,
                offline=True,
                mask="this value",
                registry=jsonschema_rs.Registry(list(resources.items())) if resources else None,
            )
        except ValueError as error:
            raise _bad_schema(path, error) from None
        self._is_valid = self._validator.is_valid

    def faults(self, value: Any) -> list[Fault]:
        """Everything that is wrong with a value, at most 100 faults; none where it is valid.

        *value* holds JSON values; a decimal counts as a number, and what else JSON has no word for as its JSON form.
        """
        try:
            # PERF: 0.6 us for six fields (a slow core); errors are only collected where there are any.
            if self._is_valid(value):
                return []
        except ValueError:
            try:
                value = orjson.loads(orjson.dumps(value, default=_as_json))
            except (TypeError, ValueError):
                return [Fault("", "wrong-type", "this cannot be written as JSON")]
            if self._is_valid(value):
                return []
        if counted(value, MOST_VALUES) >= MOST_VALUES:
            return self._first_faults(value)
        return list(islice(self._each_fault(value), MOST_FAULTS))

    def _each_fault(self, value: Any) -> Iterator[Fault]:
        return (fault for error in self._validator.iter_errors(value) for fault in _faults_of(error))

    def _first_faults(self, value: Any) -> list[Fault]:
        """The first fault in a large *value*, and what else is wrong with the beginnings of its lists and maps."""
        # SECURITY: A42. The validator makes an error of every fault, asked for or not, and lets nobody else compute meanwhile:
        # 90 s for 8 MiB of wrong numbers. The first fault takes it no time.
        first = _faults_of(_first_error(self._validator, value))
        beginning, cut = _beginning(value, MOST_VALUES)
        # What a list or map lacks when it is cut, or has too little of, it may have.
        others = (
            fault for fault in self._each_fault(beginning) if fault.code == "unknown-member" or not _told_of(fault, cut)
        )
        return list(islice(dict.fromkeys(chain(first, others)), MOST_FAULTS))


def counted(value: Any, most: int) -> int:
    """How many values are in *value*, itself included, or *most* where there are more."""
    count, waiting = 1, [value]
    while waiting and count < most:
        inner = waiting.pop()
        if isinstance(inner, (list, tuple, dict)):
            count += len(inner)
            if count < most:
                waiting.extend(dict.values(inner) if isinstance(inner, dict) else inner)
    return min(count, most)


def _first_error(validator: Any, value: Any) -> Any:
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return error
    raise AssertionError("a value that is not valid has an error")


def _beginning(value: Any, most: int) -> tuple[Any, set[str]]:
    """*value* with *most* values, of each list and map a tenth of that; and the pointers of those that were cut."""
    cut: set[str] = set()
    left = most

    def of(inner: Any, at: str) -> Any:
        nonlocal left
        left -= 1
        if not isinstance(inner, (list, tuple, dict)):
            return inner
        named = isinstance(inner, dict)
        found: dict[Any, Any] = {}
        for name, held in islice(dict.items(inner) if isinstance(inner, dict) else enumerate(inner), most // 10):
            if left <= 0:
                break
            found[name] = of(held, f"{at}/{escape(str(name))}")
        if len(found) < len(inner):
            cut.add(at)
        return found if named else list(found.values())

    return of(value, ""), cut


def _told_of(fault: Fault, cut: set[str]) -> bool:
    """Whether *fault* is of a list or map that was cut: of it as a whole, or of a member that it lacks."""
    return fault.pointer in cut or (fault.code == "missing" and fault.pointer.rpartition("/")[0] in cut)


def _as_json(value: Any) -> Any:
    return float(value) if isinstance(value, decimal.Decimal) else to_json_values(value)


_CODES = {
    "required": "missing", "type": "wrong-type", "enum": "not-allowed", "const": "not-allowed", "pattern": "pattern-mismatch",
    "minimum": "out-of-range", "maximum": "out-of-range", "exclusiveMinimum": "out-of-range",
    "exclusiveMaximum": "out-of-range", "multipleOf": "not-a-multiple", "minLength": "too-short", "maxLength": "too-long",
    "minItems": "too-few", "maxItems": "too-many", "uniqueItems": "not-unique", "format": "invalid-format",
    "additionalProperties": "unknown-member", "unevaluatedProperties": "unknown-member", "falseSchema": "not-allowed",
}  # fmt: skip


def _faults_of(error: Any) -> Iterator[Fault]:
    path = list(error.instance_path)
    keyword = error.kind.name
    code = _CODES.get(keyword) or re.sub(r"(?<!^)(?=[A-Z])", "-", keyword).lower()
    if keyword == "required":
        yield Fault(pointer([*path, error.kind.property]), code, "this member is required")
    elif code == "unknown-member":
        for name in error.kind.unexpected:
            yield Fault(pointer([*path, name]), code, "there is no such member")
    else:
        detail = error.message if len(error.message) <= _LONGEST_DETAIL else error.message[:_LONGEST_DETAIL] + "..."
        yield Fault(pointer(path), code, detail)


def checked(document: dict[str, Any], path: str) -> dict[str, Any]:
    """*document*, which is a schema that can be compiled. Raises ConfigurationError naming *path* and the place in it."""
    Schema(document, path)
    return document


def _bad_schema(path: str, error: ValueError) -> ConfigurationError:
    place = pointer(getattr(error, "instance_path", None) or [])
    message = str(getattr(error, "message", error)).partition("\n")[0][:_LONGEST_DETAIL]
    return ConfigurationError(path, f"not a JSON Schema at '{place or '/'}'", message)


# Files: each becomes a resource whose $id is its place below the root, and a reference its absolute form.

_BASE = "schema:///"
_META = ("https://json-schema.org/draft/", "http://json-schema.org/draft-")
_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_VALUES = frozenset({"const", "enum", "default", "examples"})
_MOST_FILES = 500


def load(path: Path, root: Path) -> dict[str, Any]:
    """The JSON Schema in a file, with the files below *root* that it refers to bundled into its ``$defs``.

    Raises ConfigurationError naming the file and the place: it cannot be read, is not JSON, not a schema, or refers to what
    is not there, not below *root*, or on the network.
    """
    return _Bundle(root.resolve()).load(path.resolve())


class _Bundle:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[Path, dict[str, Any]] = {}

    def load(self, path: Path) -> dict[str, Any]:
        waiting = [path]
        while waiting:
            file = waiting.pop()
            if file in self._files:
                continue
            if len(self._files) >= _MOST_FILES:
                raise ConfigurationError(str(path), f"this schema refers to more than {_MOST_FILES} files")
            document = self._parse(file)
            own_id = document.pop("$id", "")
            found: set[Path] = set()
            self._files[file] = self._rewritten(document, file, own_id if isinstance(own_id, str) else "", found, "")
            waiting.extend(sorted(found))
        document = self._files.pop(path)
        if self._files:
            others = {self._id(file): {**other, "$id": self._id(file)} for file, other in self._files.items()}
            document = {**document, "$id": self._id(path), "$defs": {**document.get("$defs", {}), **others}}
        return checked(document, str(path))

    def _id(self, file: Path) -> str:
        return _BASE + quote(file.relative_to(self._root).as_posix())

    def _parse(self, file: Path) -> dict[str, Any]:
        try:
            document = orjson.loads(file.read_bytes())
        except OSError as error:
            raise ConfigurationError(str(file), "this file cannot be read", str(error.strerror)) from None
        except orjson.JSONDecodeError as error:
            raise ConfigurationError(
                str(file), f"not JSON: {error.msg}", f"line {error.lineno}, column {error.colno}"
            ) from None
        if not isinstance(document, dict):
            raise ConfigurationError(str(file), "a schema file holds an object")
        return document

    def _rewritten(self, schema: Any, file: Path, own_id: str, found: set[Path], place: str) -> Any:
        if isinstance(schema, list):
            return [self._rewritten(inner, file, own_id, found, f"{place}/{i}") for i, inner in enumerate(schema)]
        if not isinstance(schema, dict):
            return schema
        if place and isinstance(schema.get("$id"), str):
            return schema  # a resource of its own: its references are its own affair, and compiled offline
        result: dict[str, Any] = {}
        for word, inner in schema.items():
            at = f"{place}/{word}"
            if word in ("$ref", "$dynamicRef") and isinstance(inner, str):
                result[word] = self._reference(inner, file, own_id, found, at)
            elif word in _VALUES:
                result[word] = inner
            elif word in _MAPS and isinstance(inner, dict):
                result[word] = {
                    name: self._rewritten(part, file, own_id, found, f"{at}/{name}") for name, part in inner.items()
                }
            else:
                result[word] = self._rewritten(inner, file, own_id, found, at)
        return result

    def _reference(self, reference: str, file: Path, own_id: str, found: set[Path], place: str) -> str:
        target, _, fragment = reference.partition("#")
        if not target:
            return reference
        if target.startswith(_META):
            return reference
        if own_id:
            # A file that names itself https://acme.example/schemas/a.json means its neighbour in the same folder by b.json
            # and by https://acme.example/schemas/b.json alike.
            absolute, folder = urljoin(own_id, target), urljoin(own_id, ".")
            target = absolute.removeprefix(folder) if folder and absolute.startswith(folder) else absolute
        scheme = urlsplit(target).scheme
        if scheme not in ("", "file"):
            raise ConfigurationError(
                str(file), f"'{place}' refers to {reference}", "nothing is fetched: keep a copy below the same folder"
            )
        path = (file.parent / unquote(urlsplit(target).path)).resolve()
        if not path.is_relative_to(self._root):
            raise ConfigurationError(str(file), f"'{place}' refers to {reference}", f"that is outside {self._root}")
        if not path.is_file():
            raise ConfigurationError(str(file), f"'{place}' refers to {reference}", "there is no such file")
        found.add(path)
        return f"{self._id(path)}#{fragment}" if fragment else self._id(path)
