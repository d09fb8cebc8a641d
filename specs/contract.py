"""What a service takes and gives, as a plain record: `Contract`, made of `Field`s.

A contract says nothing of Python classes, channels or formats. It is compiled once from a service's declaration
(`specs.simpleio`), stored with the deployed version as JSON, and is all that an edge knows of the service: validation,
documents and every format work from it.

>>> contract = Contract("customer.get", input=(Field("cust_id", "int"), Field("segment", "text", required=False)))
>>> Contract.from_record(contract.as_record()) == contract
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class _Unset:
    """No value at all, where ``None`` would be one."""

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Any = _Unset()

#: The words that `Field.type` may hold. ``dict`` has fields or is free; ``list`` has items; ``dictlist`` is a list of
#: ``dict``; ``nested`` is a group of fields; ``opaque`` and ``asis`` are any JSON value, handed on unchanged.
TYPES = (
    "text", "int", "float", "decimal", "bool", "date", "datetime", "utc", "uuid", "enum", "bytes", "csv",
    "list", "dict", "dictlist", "nested", "opaque", "asis", "secret",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One element of an input or output.

    *fields* are the members of a ``dict``, ``dictlist`` or ``nested`` (``None``: any members); *items* is what a ``list``
    holds (``None``: any values). *limits* are JSON Schema words: ``minimum maximum exclusiveMinimum exclusiveMaximum
    multipleOf minLength maxLength pattern minItems maxItems uniqueItems``. *format* is a ``strftime`` pattern of a ``date``
    or ``datetime`` that is not ISO 8601. *origin* says how the type was found: ``declared``, or the rule of the inference
    table. *nullable* fields accept null.
    """

    name: str
    type: str = "text"
    required: bool = True
    nullable: bool = False
    default: Any = UNSET
    description: str = ""
    values: tuple[Any, ...] = ()
    items: Field | None = None
    fields: tuple[Field, ...] | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    format: str = ""
    origin: str = "declared"

    def as_record(self) -> dict[str, Any]:
        """The field as JSON values; what has its default is left out."""
        record: dict[str, Any] = {"name": self.name, "type": self.type}
        for declared in fields(self)[2:]:
            value = getattr(self, declared.name)
            if declared.name == "items" and value is not None:
                record["items"] = value.as_record()
            elif declared.name == "fields" and value is not None:
                record["fields"] = [member.as_record() for member in value]
            elif declared.name == "limits":
                if value:
                    record["limits"] = dict(value)
            elif declared.name == "values":
                if value:
                    record["values"] = list(value)
            elif value is not UNSET and value != declared.default:
                record[declared.name] = value
            elif declared.name == "default" and value is None:
                record["default"] = None
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Field:
        """The field that `as_record` described."""
        values = dict(record)
        if "items" in values:
            values["items"] = cls.from_record(values["items"])
        if "fields" in values:
            values["fields"] = tuple(cls.from_record(member) for member in values["fields"])
        if "values" in values:
            values["values"] = tuple(values["values"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Contract:
    """What one service takes and gives.

    *input* and *output* of ``None`` mean undeclared: whatever comes is handed on as ``self.request.payload``, and whatever
    the service answers is sent. *repeated* means that the output is a list of such records. *response_elem* wraps the
    answer in a member or root element of that name (``""``: no wrapper); *request_elem* likewise names the input's.
    *schema* is a JSON Schema 2020-12 of the payload with its local references bundled. *verbs* are the HTTP methods that
    the service has handlers for, empty where ``handle`` takes all. *statuses* and *problems* (status, code, detail) are those
    that its source says it answers with, for documents alone. *deadline* is in seconds, 0 where the channel decides.
    *deprecated* and *sunset* are moments (`specs.lifetime`), empty where there are none.
    """

    service: str
    namespace: str = ""
    summary: str = ""
    documentation: str = ""
    class_name: str = ""
    module: str = ""
    input: tuple[Field, ...] | None = None
    output: tuple[Field, ...] | None = None
    repeated: bool = False
    response_elem: str = ""
    request_elem: str = ""
    skip_empty_keys: bool = False
    force_empty_keys: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    invokes: tuple[str, ...] = ()
    statuses: tuple[int, ...] = ()
    problems: tuple[tuple[int, str, str], ...] = ()
    verbs: tuple[str, ...] = ()
    deadline: float = 0.0
    blocking: bool = False
    deprecated: str = ""
    sunset: str = ""

    def as_record(self) -> dict[str, Any]:
        """The contract as JSON values; what has its default is left out."""
        record: dict[str, Any] = {"service": self.service}
        for declared in fields(self)[1:]:
            value = getattr(self, declared.name)
            if value == declared.default and not (value == () and declared.default is None):
                continue
            if declared.name in ("input", "output") and value is not None:
                value = [member.as_record() for member in value]
            record[declared.name] = list(value) if isinstance(value, tuple) else value
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Contract:
        """The contract that `as_record` described."""
        values = dict(record)
        for name in ("input", "output"):
            if values.get(name) is not None:
                values[name] = tuple(Field.from_record(member) for member in values[name])
        for name in ("invokes", "verbs", "force_empty_keys", "statuses"):
            if name in values:
                values[name] = tuple(values[name])
        if "problems" in values:
            values["problems"] = tuple((int(status), code, detail) for status, code, detail in values["problems"])
        return cls(**values)
