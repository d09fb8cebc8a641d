"""SimpleIO: from a service's declaration to its `Contract`.

Both forms give the same record: ``input = "cust_id", "-segment"`` and ``output = ...`` on the class, and the older inner
``class SimpleIO`` (whose answers are wrapped in ``response`` unless ``response_elem`` says otherwise). A dataclass or
msgspec Struct may stand for an input or output (`specs.models`).

>>> class GetCustomer:
...     input = "cust_id", "-segment"
>>> [(field.name, field.type) for field in contract_of(GetCustomer, service="customer.get").input]
[('cust_id', 'int'), ('segment', 'text')]
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from specs import models, schema
from specs.bounds import limit_faults
from specs.contract import UNSET, Contract, Field
from specs.elements import fields_of
from specs.lifetime import Deprecated, Moment
from specs.mismatch import Mismatch
from specs.problems import ConfigurationError, nearest
from specs.reading import compile_input, value_reader
from specs.settings import Seconds
from specs.writing import compile_output, plain, to_json_values

INPUT_OPTIONS = ("input", "input_required", "input_optional")
OUTPUT_OPTIONS = ("output", "output_required", "output_optional")
#: What the newer form writes on the class itself.
CLASS_OPTIONS = (
    "output_repeated", "default_value", "response_elem", "request_elem", "skip_empty_keys", "force_empty_keys",
    "allow_empty_required", "date_time_format",
)  # fmt: skip
OPTIONS = (*INPUT_OPTIONS, *OUTPUT_OPTIONS, *CLASS_OPTIONS)
#: Options of older platforms that change nothing here: secrets arrive readable (Z29), texts are always Unicode.
IGNORED = ("encrypt_secrets", "use_text", "namespace")
#: Options of older platforms that cannot be honoured, and what to write instead.
REFUSED = {
    "use_channel_params_only": "path and query parameters already win over the body",
    "SkipEmpty": "write skip_empty_keys = True and force_empty_keys",
    "CSV": 'write CSV("name") elements',
    "XML": "what XML looks like is a matter of the channel",
}

_VERB = re.compile(r"handle_([A-Z]+)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s")


def contract_of(
    declaration: Any, *, service: str, module: str = "", namespace: str = "", root: Path | None = None
) -> Contract:
    """The contract that a class declares (or a map with the same names).

    *service* is the service's name, *namespace* what its module says, *root* the folder that ``schema`` files are relative
    to. Raises ConfigurationError: the class, the element, what is wrong and what to write instead.
    """
    get: Callable[..., Any]
    if isinstance(declaration, Mapping):
        get, class_name, documentation = declaration.get, "", declaration.get("documentation") or ""
    else:
        get = lambda name, default=None: getattr(declaration, name, default)  # noqa: E731
        class_name = declaration.__name__ if isinstance(declaration, type) else type(declaration).__name__
        documentation = vars(declaration).get("__doc__") or ""
    try:
        contract = _read(get, service)
        documentation = inspect.cleandoc(documentation)
        contract = replace(
            contract,
            namespace=get("namespace") or namespace,
            summary=summary_of(documentation),
            documentation=documentation,
            class_name=class_name,
            module=module or getattr(declaration, "__module__", ""),
            schema=_schema(get("schema"), root),
            invokes=_names(get("invokes"), "invokes"),
            verbs=() if isinstance(declaration, Mapping) else verbs_of(declaration),
            deadline=float(Seconds.read(get("deadline") or 0, "deadline")),
            blocking=bool(get("blocking")),
            deprecated=str(Deprecated.read(get("deprecated") or False, "deprecated")),
            sunset=str(Moment.read(get("sunset"), "sunset")) if get("sunset") else "",
        )
        compile_input(contract)
        compile_output(contract)
    except ConfigurationError as error:
        raise error.under(class_name) if class_name else error from None
    return contract


def summary_of(documentation: str) -> str:
    """The first sentence of a docstring, on one line.

    >>> summary_of("Returns a customer. By id.\\n\\nMore.")
    'Returns a customer.'
    """
    paragraph = " ".join(documentation.strip().split("\n\n")[0].split())
    return _SENTENCE_END.split(paragraph, maxsplit=1)[0]


def verbs_of(declaration: Any) -> tuple[str, ...]:
    """The HTTP methods that a class has handlers for (``handle_GET``), sorted."""
    found = (_VERB.fullmatch(name) for name in dir(declaration))
    return tuple(sorted(match[1] for match in found if match))


def _read(get: Callable[..., Any], service: str) -> Contract:
    simple = get("SimpleIO")
    given_input, given_output = get("input"), get("output")
    if simple is None:
        options = {name: value for name in CLASS_OPTIONS if (value := get(name, UNSET)) is not UNSET}
        wrapper = ""
    else:
        if given_input is not None or given_output is not None:
            raise ConfigurationError("", "both forms of SimpleIO are used", "use input and output, or class SimpleIO")
        options = _options(simple)
        wrapper = "response"
    if given_input is not None:
        options["input"] = given_input
    if given_output is not None:
        options["output"] = given_output
    repeated = options.get("output_repeated", False)
    if not isinstance(repeated, bool):
        raise ConfigurationError("output_repeated", "this is True or False", "name the elements in output_required")
    inputs, many = _fields(options, INPUT_OPTIONS, "input")
    if many:
        raise ConfigurationError("input", "an input is one record", 'write List("items", ...) in it')
    outputs, many = _fields(options, OUTPUT_OPTIONS, "output")
    if inputs is not None:
        inputs = tuple(_input_options(field, options) for field in inputs)
    response_elem = options.get("response_elem", wrapper)
    forced = _names(options.get("force_empty_keys"), "force_empty_keys")
    for name in forced:
        known = [field.name for field in outputs or ()]
        if name not in known:
            raise ConfigurationError("force_empty_keys", f"no output called '{name}'", nearest(name, known))
    return Contract(
        service,
        input=inputs,
        output=outputs,
        repeated=repeated or many,
        response_elem=response_elem or "",
        request_elem=options.get("request_elem") or "",
        skip_empty_keys=bool(options.get("skip_empty_keys", False)),
        force_empty_keys=forced,
    )


def _options(simple: Any) -> dict[str, Any]:
    if isinstance(simple, Mapping):
        given = dict(simple)
    else:
        # Inherited ones too: services share a base class with their common options.
        given = {name: getattr(simple, name) for name in dir(simple) if not name.startswith("_")}
    for name in given:
        if name in REFUSED:
            raise ConfigurationError(f"SimpleIO.{name}", "this option is not supported", REFUSED[name])
        if name not in OPTIONS and name not in IGNORED:
            raise ConfigurationError(f"SimpleIO.{name}", "no such option", nearest(name, OPTIONS))
    return {name: value for name, value in given.items() if name in OPTIONS}


def _fields(options: Mapping[str, Any], names: tuple[str, ...], where: str) -> tuple[tuple[Field, ...] | None, bool]:
    """The fields of one direction, and whether they repeat; ``None`` where nothing is declared."""
    plain_form, required, optional = (options.get(name) for name in names)
    if plain_form is None and required is None and optional is None:
        return None, False
    if plain_form is not None and (required is not None or optional is not None):
        raise ConfigurationError(where, "this is declared twice", f"use {names[0]}, or {names[1]} and {names[2]}")
    if plain_form is not None:
        model = models.model_of(plain_form)
        if model is not None:
            return _checked(models.fields_of(model, where), where), models.is_list(plain_form)
        return _checked(fields_of(plain_form, where), where), False
    found: list[Field] = []
    for name, parts, needed in ((names[1], required, True), (names[2], optional, False)):
        for field in fields_of(() if parts is None else parts, name):
            if any(field.name == other.name for other in found):
                raise ConfigurationError(
                    f"{name}.{field.name}", "this name is declared twice", "is it optional or not?"
                )
            found.append(replace(field, required=needed and field.required))
    return _checked(tuple(found), where), False


def _checked(fields: tuple[Field, ...], path: str) -> tuple[Field, ...]:
    """*fields* with their defaults as JSON values. Raises ConfigurationError for limits and defaults that make no sense."""
    return tuple(_checked_field(field, f"{path}.{field.name}") for field in fields)


def _checked_field(field: Field, path: str) -> Field:
    for word, limit in field.limits.items():
        fault = limit_faults(word, limit)
        if fault:
            raise ConfigurationError(path, f"{word} is {limit!r}", fault)
    changes: dict[str, Any] = {}
    if field.items is not None:
        changes["items"] = _checked_field(field.items, f"{path}.items")
    if field.fields is not None:
        changes["fields"] = _checked(field.fields, path)
    field = replace(field, **changes)
    if field.default is UNSET:
        return field
    return replace(field, required=False, default=json_default(field, path))


def json_default(field: Field, path: str) -> Any:
    """The default of *field* in its JSON form, as the contract keeps it. Raises ConfigurationError where it does not fit."""
    if field.default is None:
        return None
    try:
        value = value_reader(field, textual=False)(field.default)
        if field.format:
            return value.strftime(field.format)
        if isinstance(value, bytes):
            return to_json_values(value)
        return plain(value)
    except Mismatch as error:
        raise ConfigurationError(path, "the default does not fit the element", error.faults[0].detail) from None


def _input_options(field: Field, options: Mapping[str, Any]) -> Field:
    """*field* with what the options of the whole input say of it."""
    date_time_format = options.get("date_time_format")
    if date_time_format and date_time_format != "iso" and field.type in ("datetime", "utc") and not field.format:
        field = replace(field, format=date_time_format)
    default = options.get("default_value")
    if default is not None and not field.required and field.default is UNSET:
        # One default for elements of all types, so it is given to those that it fits.
        try:
            field = replace(field, default=json_default(replace(field, default=default), field.name))
        except ConfigurationError:
            pass
    if options.get("allow_empty_required") is False and field.required and field.type in ("text", "secret"):
        field = replace(field, limits={"minLength": 1, **field.limits})
    return field


def _schema(given: Any, root: Path | None) -> Mapping[str, Any] | None:
    if not given:
        return None
    if isinstance(given, Mapping):
        return schema.checked(dict(given), "schema")
    path = Path(given)
    if not path.is_absolute():
        if root is None:
            raise ConfigurationError("schema", f"'{given}' is relative to no folder", "give the whole path")
        path = root / path
    inside = root is not None and path.resolve().is_relative_to(root.resolve())
    return schema.load(path, root if inside and root is not None else path.parent)


def _names(given: Any, where: str) -> tuple[str, ...]:
    if not given:
        return ()
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    if not all(isinstance(name, str) for name in names):
        raise ConfigurationError(where, f"this is a list of names, not {given!r}", 'write ["a", "b"]')
    return names
