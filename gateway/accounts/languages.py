"""What the pages say, sentence by sentence: one file for each language, and the choice of one for a visitor.

A file maps names to whole sentences; where a number is in it, to one sentence for ``one`` and another for ``other``. Another
language is another file: a test says what is missing in it.

>>> LANGUAGES["de"].say("login.title")
'Anmelden'
>>> choose("fr, de;q=0.5, en;q=0.3", "", "en").code
'de'
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parent / "languages"
_UNITS: Final = (("minutes", 60), ("hours", 3600), ("days", 86400))


@dataclass(frozen=True)
class Language:
    """A language: its code and its sentences by name."""

    code: str
    texts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What it is called in itself."""
        return str(self.texts["language"])

    def has(self, name: str) -> bool:
        """Whether there is a sentence of that name."""
        return name in self.texts

    def say(self, name: str, /, **values: Any) -> str:
        """The sentence of that name, filled with *values*. Raises KeyError where there is none."""
        found = self.texts[name]
        if isinstance(found, Mapping):
            found = found["one" if values.get("count") == 1 else "other"]
        return str(found).format(**values)

    def ago(self, moment: datetime, now: datetime) -> str:
        """How long ago *moment* was, roughly."""
        seconds = max(0.0, (now - moment).total_seconds())
        if seconds < 60:
            return self.say("ago.now")
        unit, size = next(((u, s) for u, s in reversed(_UNITS) if seconds >= s), _UNITS[0])
        return self.say(f"ago.{unit}", count=int(seconds // size))

    def date(self, moment: datetime) -> str:
        """A day, as it is written in this language."""
        month = self.texts["date.months"].split()[moment.month - 1]
        return self.say("date.day", day=moment.day, month=month, year=moment.year)


def read(path: Path) -> Language:
    """The language in the file at *path*."""
    return Language(path.stem, dict(_flat(yaml.safe_load(path.read_text("utf-8")))))


def _flat(texts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in texts.items():
        if isinstance(value, Mapping) and set(value) != {"one", "other"}:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


#: Every language there is, by its code.
LANGUAGES: Final = {path.stem: read(path) for path in sorted(FOLDER.glob("*.yaml"))}


def choose(accepted: str, chosen: str, otherwise: str) -> Language:
    """The language for a visitor: the one they have *chosen*, else the best of what their browser accepts, else *otherwise*."""
    if chosen in LANGUAGES:
        return LANGUAGES[chosen]
    ranked = []
    for place, part in enumerate(accepted[:200].split(",")):
        tag, _, weight = part.partition(";")
        try:
            quality = float(weight.partition("=")[2] or 1)
        except ValueError:
            continue
        ranked.append((-quality, place, tag.strip().lower().partition("-")[0]))
    for quality, _, code in sorted(ranked):
        if code in LANGUAGES and quality < 0:
            return LANGUAGES[code]
    return LANGUAGES.get(otherwise, LANGUAGES["en"])
