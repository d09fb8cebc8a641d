"""Services, how they run, and the connectors they reach out with. What service authors import stands here too.

>>> from backends import Service, Int
"""

from typing import TYPE_CHECKING, Any

from backends.familiar import SCHEDULER, fs_safe_now
from backends.service import Service
from specs.elements import (
    CSV,
    UTC,
    UUID,
    AsIs,
    Bool,
    Boolean,
    Bytes,
    Date,
    DateTime,
    Decimal,
    Dict,
    DictList,
    Enum,
    Float,
    Int,
    Integer,
    List,
    ListOfDicts,
    Nested,
    Opaque,
    Secret,
    Text,
    Unicode,
)
from specs.problems import BackendError, BackendTimeout, BackendUnavailable, Fault, Problem

if TYPE_CHECKING:
    from backends.testkit import invoke

__all__ = [
    "CSV", "SCHEDULER", "UTC", "UUID", "AsIs", "BackendError", "BackendTimeout", "BackendUnavailable", "Bool", "Boolean",
    "Bytes", "Date", "DateTime", "Decimal", "Dict", "DictList", "Enum", "Fault", "Float", "Int", "Integer", "List",
    "ListOfDicts", "Nested", "Opaque", "Problem", "Secret", "Service", "Text", "Unicode", "fs_safe_now", "invoke",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # WHY: the test kit needs the compilers of contracts; a command that only names a service should not pay for them.
    if name == "invoke":
        from backends.testkit import invoke

        return invoke
    raise AttributeError(f"module 'backends' has no attribute '{name}'")
