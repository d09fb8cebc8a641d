"""When something that callers use ends: `Lifetime`, and how they are told (RFC 9745 and RFC 8594).

>>> ending = Lifetime(Moment.read("2026-12-01", "deprecated"), Moment.read("2027-06-30T22:00:00Z", "sunset"))
>>> for header in ending.headers("https://api.example.com/docs"):
...     print(*header)
Deprecation @1796083200
Sunset Wed, 30 Jun 2027 22:00:00 GMT
Link <https://api.example.com/docs>; rel="deprecation"; type="text/html"
Link <https://api.example.com/docs>; rel="sunset"; type="text/html"
>>> ending.sentence
'Deprecated since 1 December 2026; it ends on 30 June 2027.'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any, Final, Self

from specs.problems import ConfigurationError


class Moment(str):
    """A moment as people write it: a date, or a date and time; without a zone it is UTC. `when` is the moment itself."""

    __slots__ = ()

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        made = cls(value.isoformat() if isinstance(value, date) else value if isinstance(value, str) else "")
        try:
            made.when  # noqa: B018 - whether it can be read
        except (ValueError, OverflowError):
            remedy = "write 2027-06-30 or 2027-06-30T22:00:00Z"
            raise ConfigurationError(path, f"not a moment: {value!r}", remedy) from None
        return made

    @property
    def when(self) -> datetime:
        """The moment in UTC."""
        found = datetime.fromisoformat(self)
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)

    @property
    def day(self) -> str:
        """The day in words."""
        when = self.when
        return f"{when.day} {when.strftime('%B %Y')}"

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"type": "string", "examples": ["2027-06-30", "2027-06-30T22:00:00Z"]}


class Deprecated(Moment):
    """Since when something is deprecated, or from when on; true where nobody has noted it, empty where it is not."""

    __slots__ = ()
    #: RFC 9745 has no way to say "since some time": this is how the header says it.
    LONG_AGO = "1970-01-01"

    @classmethod
    def read(cls, value: Any, path: str) -> Self:
        """Raises ConfigurationError."""
        if isinstance(value, bool):
            return cls(cls.LONG_AGO if value else "")
        return super().read(value, path)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """How the document's schema describes it."""
        return {"type": ["boolean", "string"], "examples": [True, "2026-12-01"]}


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Since when something is *deprecated* and when its *sunset* is, if ever; *page* says what to do instead."""

    deprecated: Moment | None = None
    sunset: Moment | None = None
    page: str = ""

    def __bool__(self) -> bool:
        return bool(self.deprecated or self.sunset)

    def over(self, other: Lifetime) -> Lifetime:
        """What this says, and where it says nothing, what *other* does."""
        return Lifetime(self.deprecated or other.deprecated, self.sunset or other.sunset, self.page or other.page)

    def headers(self, page: str = "") -> tuple[tuple[str, str], ...]:
        """The headers of every answer; *page* is where to read more, unless it says so itself."""
        found = []
        if self.deprecated:
            found.append(("Deprecation", f"@{int(self.deprecated.when.timestamp())}"))
        if self.sunset:
            found.append(("Sunset", format_datetime(self.sunset.when, usegmt=True)))
        if link := self.page or page:
            relations = [word for word, said in (("deprecation", self.deprecated), ("sunset", self.sunset)) if said]
            found += [("Link", f'<{link}>; rel="{relation}"; type="text/html"') for relation in relations]
        return tuple(found)

    @property
    def sentence(self) -> str:
        """It in words; empty where there is nothing to say."""
        since = self.deprecated and self.deprecated != Deprecated.LONG_AGO and f" since {self.deprecated.day}"
        said = [f"Deprecated{since or ''}"] if self.deprecated else []
        if self.sunset:
            said.append(f"it ends on {self.sunset.day}" if said else f"It ends on {self.sunset.day}")
        return "; ".join(said) + "." if said else ""

    def check(self, path: str) -> None:
        """Raises ConfigurationError where it ends before it is deprecated (RFC 9745, 4), or its page has no URL."""
        if self.deprecated and self.sunset and self.sunset.when < self.deprecated.when:
            remedy = f"write {self.deprecated} or later"
            raise ConfigurationError(f"{path}.sunset", f"{self.sunset} is before its deprecation", remedy)
        # SECURITY: it goes into a header as it is.
        if self.page and not re.fullmatch(r"https?://[!#-;=?-~]+", self.page):
            raise ConfigurationError(f"{path}.deprecation_page", f"not a URL: '{self.page}'", "write https://...")


#: That of what nobody wants to end.
UNENDING: Final = Lifetime()
