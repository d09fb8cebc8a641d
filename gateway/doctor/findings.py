"""What checks are given and what they yield: a `Patient`, and findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from gateway.options import Options
from security.database import Database
from security.secrets import Keyring
from specs.contract import Contract

OK, WARNING, WRONG = "ok", "warning", "wrong"


class Finding(NamedTuple):
    """What one check found: *grade* is ``ok``, ``warning`` or ``wrong``; *remedy* says what to do about the last two."""

    grade: str
    subject: str
    sentence: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.grade:8} {self.subject:14} {self.sentence}" + (f": {self.remedy}" if self.remedy else "")


@dataclass
class Patient:
    """What is examined. *status* is what the gateway that runs on the folder says of itself, None where none answers."""

    options: Options
    now: datetime
    status: dict[str, Any] | None = None
    #: Found by some checks, for those after them.
    database: Database | None = None
    keyring: Keyring | None = None
    services: dict[str, Contract] = field(default_factory=dict)
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        """Whether the database is the one in the data folder."""
        return not self.options.database


Found = Iterator[tuple[str, str] | tuple[str, str, str]]
