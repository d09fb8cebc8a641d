"""How a value is said not to fit: `Mismatch`, and `shown`, which lets a fault show a value without handing it on whole."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from typing import Any

from specs.problems import Fault

_SHOWN = 40


class Mismatch(Exception):
    """A value that does not fit. *faults* have pointers relative to that value."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self.faults = faults


def mismatch(code: str, detail: str) -> Mismatch:
    """A value that does not fit, for one reason."""
    return Mismatch([Fault("", code, detail)])


def shown(value: Any) -> str:
    """*value* as a fault may show it: short, and a container by its kind alone."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")
    if isinstance(value, (int, float, decimal.Decimal)):
        text = str(value) if not isinstance(value, int) or value.bit_length() < 256 else "a very large number"
        return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, (bytes, bytearray)):
        return "bytes"
    return f"a {type(value).__name__}"
