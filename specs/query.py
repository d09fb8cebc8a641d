"""Names and values as URLs and forms carry them (application/x-www-form-urlencoded, WHATWG URL 5.1), read strictly and bounded.

>>> parse_query("a=1&b=x+y&b=%C3%BC&flag")
{'a': '1', 'b': ['x y', 'ü'], 'flag': ''}
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus, unquote_to_bytes

from specs.contract import Contract
from specs.problems import Problem

MOST_PARAMETERS: Final = 1000
_PIECE: Final = 65536
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")

#: The fields that a name given once, or as ``name[]``, is a list for.
_LISTS: Final = ("list", "dictlist")


def parse_query(text: str, *, most: int = MOST_PARAMETERS, code: str = "bad-request") -> dict[str, str | list[str]]:
    """The values by name, in the order they came: a text, or a list of texts where a name came more than once.

    Raises Problem *code*, with status 400: more than *most* parameters, a broken escape, or text that is not UTF-8.
    """
    if not text:
        return {}
    # SECURITY: A44. Counted before anything is split.
    if text.count("&") >= most:
        raise Problem.of(code, f"more than {most} parameters")
    escaped = "%" in text or "+" in text
    if escaped and _badly_escaped(text):
        raise Problem.of(code, "a percent sign is to be followed by two hexadecimal digits")
    values: dict[str, str | list[str]] = {}
    for pair in text.split("&"):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        if escaped:
            try:
                name, value = _unescaped(name), _unescaped(value)
            except UnicodeDecodeError:
                raise Problem.of(code, "a parameter is not UTF-8") from None
        add(values, name, value)
    return values


# WHY in pieces: no call is long, so that a thread which reads a form of megabytes lets others compute (`specs.long_json`).


def _badly_escaped(text: str) -> bool:
    if len(text) <= _PIECE:
        return _BAD_ESCAPE.search(text) is not None
    for start in range(0, len(text), _PIECE):
        found = _BAD_ESCAPE.search(text, start, start + _PIECE + 2)
        if found is not None and found.start() < start + _PIECE:
            return True
    return False


def _unescaped(text: str) -> str:
    """*text*, in which every percent sign is followed by two digits, as it was meant. Raises UnicodeDecodeError."""
    if len(text) <= _PIECE:
        return unquote_plus(text, errors="strict")
    parts, start = [], 0
    while start < len(text):
        end = start + _PIECE
        # An escape is three characters, and stays whole.
        end -= 1 if text[end - 1 : end] == "%" else 2 if text[end - 2 : end - 1] == "%" else 0
        parts.append(unquote_to_bytes(text[start:end].replace("+", " ")))
        start = end
    return b"".join(parts).decode()


def add(values: dict[str, str | list[str]], name: str, value: str) -> None:
    """Put one more value in; a second one of the same name makes a list."""
    present = values.get(name)
    if present is None:
        values[name] = value
    elif isinstance(present, list):
        present.append(value)
    else:
        values[name] = [present, value]


def with_lists(values: dict[str, str | list[str]], contract: Contract | None) -> dict[str, str | list[str]]:
    """The same values with a list, be it of one, for each list field of the contract.

    ``tags[]`` is another way to write ``tags`` where ``tags`` is such a field, or where there is no contract.
    """
    declared = contract.input if contract is not None else None
    lists = {field.name for field in declared or () if field.type in _LISTS}
    if declared is not None and not lists:
        return values
    shaped: dict[str, str | list[str]] = {}
    for name, value in values.items():
        bare = name.removesuffix("[]")
        listed = bare in lists if declared is not None else bare != name and bool(bare)
        if not listed:
            shaped[name] = value
            continue
        texts = value if isinstance(value, list) else [value]
        present = shaped.get(bare, [])
        shaped[bare] = [*(present if isinstance(present, list) else [present]), *texts]
    return shaped
