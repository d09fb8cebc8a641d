"""YAML text to plain values, with none of YAML's surprises.

Texts stay texts but for the core schema's ``null``, ``true``, ``false`` and numbers: ``on``, ``no``, ``12:30``, ``017`` and
``2026-01-01`` are texts. Keys are always texts. Refused: keys that occur twice, tags, merge keys, several documents,
aliases that grow without bound, nesting without end, integers beyond 64 bits.

>>> load("a: on")
{'a': 'on'}
>>> load("a: [1, 1.5, 017, null, true]")
{'a': [1, 1.5, '017', None, True]}
>>> load("a: {password: ${env:X}}", "my.yaml")
Traceback (most recent call last):
specs.problems.ConfigurationError: my.yaml:1:16: did not find expected ',' or '}': quote it: "${env:X}"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from specs.problems import ConfigurationError

# PERF: 10,000 channels (1.4 MB, 170,000 events) load in 0.4 s by libyaml's events and our builder, 1.5 s by CSafeLoader.
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

DEEPEST = 64
MOST_ALIASED = 100_000  #: values that aliases may add to a document, all in all

_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
# WHY: 017 is 15 to YAML 1.1 and 17 to 1.2; who writes it means a text. An exponent alone (1e5) is a number in 1.2.
_FLOAT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_NUMBER_BEGINS = frozenset("+-0123456789")

Positions = dict[str, tuple[int, int]]


def load(text: str, source: str = "configuration") -> Any:
    """The value that *text* describes: maps, lists, texts, numbers, booleans, None.

    Raises ConfigurationError at ``source:line:column``.
    """
    return _Builder(text, source, None).document()


def positions(text: str) -> Positions:
    """Line and column, both from 1, of every path (``channels.c.path``) in a text that `load` accepts."""
    found: Positions = {}
    _Builder(text, "", found).document()
    return found


def reads_as_text(text: str) -> bool:
    """Whether *text*, written plain, would be read back as that text."""
    return text not in _WORDS and not (text[0] in _NUMBER_BEGINS and _FLOAT.fullmatch(text))


class _Builder:
    """Builds one document from the parser's events."""

    def __init__(self, text: str, source: str, found: Positions | None) -> None:
        self.text = text
        self.source = source
        self.found = found
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.size = 0
        self.aliased = 0
        self.events = self._events(text)

    def document(self) -> Any:
        while True:
            event = next(self.events)
            if isinstance(event, yaml.StreamEndEvent):
                return None
            if not isinstance(event, (yaml.StreamStartEvent, yaml.DocumentStartEvent)):
                break
        value = self._value(event, "", 0)
        next(self.events)
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._fault(event, "a second document begins here", "write one document to a file")
        return value

    def _events(self, text: str) -> Iterator[Any]:
        try:
            yield from yaml.parse(text, Loader=_PARSER)
        except (yaml.reader.ReaderError, UnicodeEncodeError):
            raise ConfigurationError(
                self.source, "a character that no document can hold", self._unprintable()
            ) from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise ConfigurationError(
                f"{self.source}:{mark.line + 1}:{mark.column + 1}" if mark else self.source,
                error.problem or "this is not YAML",
                self._remedy(error),
            ) from None

    def _value(self, event: Any, path: str, depth: int) -> Any:
        kind = type(event)
        self.size += 1
        if self.found is not None:
            self.found.setdefault(path, (event.start_mark.line + 1, event.start_mark.column + 1))
        if kind is yaml.ScalarEvent:
            value = self._scalar(event)
            if event.anchor:
                self.anchors[event.anchor] = value, 1
            return value
        if kind is yaml.AliasEvent:
            return self._alias(event)
        if depth == DEEPEST:
            raise self._fault(event, f"nested more than {DEEPEST} levels deep", "a configuration is flatter than that")
        if event.tag is not None and event.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise self._fault(event, f"tags have no meaning here: {event.tag}", "leave it out")
        before = self.size
        built = self._map(path, depth) if kind is yaml.MappingStartEvent else self._list(path, depth)
        if event.anchor:
            self.anchors[event.anchor] = built, self.size - before + 1
        return built

    def _map(self, path: str, depth: int) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for event in self.events:
            if type(event) is yaml.MappingEndEvent:
                break
            if type(event) is not yaml.ScalarEvent:
                raise self._fault(event, "a key is a text", "quote it")
            key = event.value
            if key == "<<" and event.implicit[0]:
                raise self._fault(event, "merge keys (<<) have no meaning here", "repeat the settings")
            if key in built:
                raise self._fault(event, f"'{key}' occurs twice in this map", "keep one of them")
            below = ""
            if self.found is not None:
                below = f"{path}.{key}" if path else key
                mark: Any = event.start_mark
                self.found[below] = mark.line + 1, mark.column + 1
            built[key] = self._value(next(self.events), below, depth + 1)
        return built

    def _list(self, path: str, depth: int) -> list[Any]:
        built: list[Any] = []
        for event in self.events:
            if type(event) is yaml.SequenceEndEvent:
                break
            below = f"{path}[{len(built)}]" if self.found is not None else ""
            built.append(self._value(event, below, depth + 1))
        return built

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0]:
            if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
                raise self._fault(event, f"tags have no meaning here: {event.tag}", "leave it out")
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in _NUMBER_BEGINS or not _FLOAT.fullmatch(text):
            return text
        if _INTEGER.fullmatch(text):
            if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
                raise self._fault(event, "a whole number beyond 64 bits", f'write "{text}" if it is a text')
            return int(text)
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise self._fault(event, "a number beyond what a float holds", f'write "{text}" if it is a text')
        return number

    def _alias(self, event: Any) -> Any:
        # An anchor is known once its value is whole, so a value cannot hold itself.
        if event.anchor not in self.anchors:
            raise self._fault(event, f"no value is called '&{event.anchor}' before this", "quote it if it is a text")
        value, size = self.anchors[event.anchor]
        self.size += size
        self.aliased += size
        # SECURITY: ten lines of nested aliases stand for a billion values (the "billion laughs").
        if self.aliased > MOST_ALIASED:
            raise self._fault(event, f"aliases stand for more than {MOST_ALIASED} values", "write the values out")
        return value

    def _fault(self, event: Any, message: str, remedy: str = "") -> ConfigurationError:
        mark = event.start_mark
        return ConfigurationError(f"{self.source}:{mark.line + 1}:{mark.column + 1}", message, remedy)

    def _unprintable(self) -> str:
        for number, line in enumerate(self.text.split("\n"), 1):
            found = re.search("[^\t\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", line)
            if found:
                return f"leave out U+{ord(found[0]):04X} in line {number}"
        return "leave it out"

    def _remedy(self, error: yaml.MarkedYAMLError) -> str:
        """What to write instead: most faults are texts that need quotes in the flow style."""
        lines = self.text.splitlines()
        for mark in (error.problem_mark, error.context_mark):
            if mark is None or mark.line >= len(lines):
                continue
            line = lines[mark.line]
            found = re.search(
                r"(?<![\"'])(\$\{[^}]*\}|(?<=[\s\[:,])[0-9A-Fa-f:.]*::[0-9A-Fa-f:./]*|(?<=[\s\[:,])\*(?=[\s,\]}]|$))",
                line,
            )
            if found:
                return f'quote it: "{found[0]}"'
            if re.search(r"[:\[,{]\s*[@`%*&!]", line):
                return "quote a text that begins with one of @ ` % * & !"
            if "\t" in line[: mark.column + 1]:
                return "indent with blanks, not with tabs"
        return "quote a text that holds ': ' or begins with a sign" if "mapping values" in (error.problem or "") else ""
