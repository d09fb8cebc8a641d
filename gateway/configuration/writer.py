"""Plain values to YAML that `loader` reads back as the same values, and that people can read and compare.

>>> print(write({"a": "on", "b": [1, "017"], "c": "two\\nlines\\n"}), end="")
a: "on"
b:
- 1
- "017"
c: |
  two
  lines
"""

from __future__ import annotations

from typing import Any

import yaml

from gateway.configuration.loader import reads_as_text

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def write(value: Any) -> str:
    """The YAML of maps, lists, texts, numbers, booleans and None; keys stay in their order."""
    text: str = yaml.dump(value, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Writer(_DUMPER):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(writer: Any, text: str) -> Any:
    style = None
    if "\n" in text:
        style = "|"
    elif not text or not reads_as_text(text) or "${" in text or "::" in text or not _plain_elsewhere(writer, text):
        style = '"'
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _plain_elsewhere(writer: Any, text: str) -> bool:
    """Whether other readers of YAML would take it for a text too: not ``on``, ``12:30`` or ``2026-01-01``."""
    tag = writer.resolve(yaml.ScalarNode, text, (True, False))
    return bool(tag == "tag:yaml.org,2002:str")


_Writer.add_representer(str, _text)
