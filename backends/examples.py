"""Examples: real calls of services, sampled and redacted, and those of them that were promoted to the documentation.

A *sample* was taken from traffic: few are kept, and none for long. A person looks at it and promotes it: then it is an
*example*, which documents show to every reader of the service, and which each new version is asked again (`backends.rehearsal`).

>>> import tempfile
>>> from security.database import metadata, open_database
>>> database = open_database(tempfile.mkdtemp())
>>> database.write(lambda connection: metadata.create_all(connection))
>>> examples = Examples(database)
>>> examples.keep([Taken("rate.get", "rates", "GET", 200, {"year": 2026}, {"rate": "1.22"})])
1
>>> examples.promote(1, title="This year").title, [one.input for one in examples.promoted()["rate.get"]]
('This year', [{'year': 2026}])
>>> database.close()
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from backends.clock import Clock, utc_now
from security.database import Database, Json, UtcDateTime, metadata
from specs.problems import ConfigurationError

#: What of a call is larger is no example to anybody, in bytes of JSON.
LARGEST: Final = 32_768
#: How long a sample waits for somebody to promote it.
KEPT_FOR: Final = timedelta(days=7)
#: Methods that are safe (RFC 9110, 9.2.1): asking again changes nothing.
SAFE: Final = ("GET",)

service_examples = Table(
    "service_examples",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("service", String(250), nullable=False, index=True),
    Column("channel", String(250), nullable=False),
    Column("method", String(20), nullable=False),
    Column("status", Integer, nullable=False),
    Column("input", Json, nullable=False),
    Column("output", Json, nullable=False),
    Column("redacted", Json, nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("made_at", UtcDateTime, nullable=False),
    Column("promoted_at", UtcDateTime, nullable=True, index=True),
    Column("title", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("runs", Boolean, nullable=False),
    Column("ignored", Json, nullable=False),
)
_ROWS = service_examples.c


@dataclass(frozen=True, slots=True)
class Taken:
    """A sample as it was taken, redacted: *input* and *output* are JSON values, *redacted* points at what was taken out."""

    service: str
    channel: str
    method: str
    status: int
    input: Any
    output: Any
    redacted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """A sample, or, with *promoted_at*, an example. *runs*: new versions are run with it, not only compared with their contract.

    *ignored* names members whose values may differ from one call to the next.
    """

    id: int
    service: str
    channel: str
    method: str
    status: int
    input: Any
    output: Any
    redacted: tuple[str, ...]
    made_at: datetime
    promoted_at: datetime | None
    title: str
    author: str
    runs: bool
    ignored: tuple[str, ...]


class Examples:
    """The samples and examples of an installation."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def keep(self, taken: Iterable[Taken], most: int = 20) -> int:
        """Keep samples, of one service and channel at most the *most* newest; how many were new. Equal calls are one."""
        now = self._clock()
        rows = [row for one in taken if (row := _row(one, now)) is not None]

        def work(connection: Connection) -> int:
            added = 0
            for row in rows:
                if connection.execute(select(_ROWS.id).where(_ROWS.digest == row["digest"])).first() is None:
                    connection.execute(insert(service_examples).values(**row))
                    added += 1
            for service, channel in {(row["service"], row["channel"]) for row in rows}:
                ours = (_ROWS.service == service, _ROWS.channel == channel, _ROWS.promoted_at.is_(None))
                kept = select(_ROWS.id).where(*ours).order_by(_ROWS.id.desc()).limit(most)
                identities = connection.execute(kept).scalars().all()
                connection.execute(delete(service_examples).where(*ours, _ROWS.id < min(identities, default=0)))
            return added

        return self._database.write(work) if rows else 0

    def state(self) -> tuple[int, int, datetime | None]:
        """Something that changes when an example is promoted or dropped: what documents were made from compares it."""
        wanted = select(func.count(), func.max(_ROWS.id), func.max(_ROWS.promoted_at)).where(
            _ROWS.promoted_at.is_not(None)
        )
        found = self._database.read(lambda connection: connection.execute(wanted).one())
        return (found[0], found[1] or 0, found[2])

    def all(self, service: str = "", *, promoted: bool | None = None) -> list[Example]:
        """Samples and examples, the newest first: of one service, and only those that are or are not *promoted*."""
        wanted = select(service_examples).order_by(_ROWS.id.desc())
        if service:
            wanted = wanted.where(_ROWS.service == service)
        if promoted is not None:
            wanted = wanted.where(_ROWS.promoted_at.is_not(None) if promoted else _ROWS.promoted_at.is_(None))
        return [_example(row) for row in self._database.read(lambda connection: connection.execute(wanted).all())]

    def promoted(self) -> dict[str, list[Example]]:
        """The examples of each service, in the order of their promotion."""
        found: dict[str, list[Example]] = {}
        for one in sorted(self.all(promoted=True), key=lambda one: (str(one.promoted_at), one.id)):
            found.setdefault(one.service, []).append(one)
        return found

    def find(self, number: int) -> Example:
        """One sample or example. Raises ConfigurationError where there is none."""
        row = self._database.read(
            lambda connection: connection.execute(select(service_examples).where(_ROWS.id == number)).one_or_none()
        )
        if row is None:
            raise ConfigurationError("", f"there is no sample {number}", "see `gatewright docs examples list`")
        return _example(row)

    def promote(
        self,
        number: int,
        *,
        title: str = "",
        author: str = "",
        runs: bool | None = None,
        ignored: Collection[str] = (),
    ) -> Example:
        """Make an example of a sample. *runs* is whether new versions are run with it: calls of GET, unless it says otherwise.

        Again is no harm: an example gets another title and other rules. Raises ConfigurationError.
        """
        found = self.find(number)
        if runs and found.method not in SAFE:
            # SECURITY: what is not safe would be done again, at a deploy, with nobody asking for it.
            raise ConfigurationError(
                "",
                f"sample {number} was taken from {found.method}, which may change something",
                "let new versions be compared with their contract alone",
            )
        values = {
            "title": title or found.title or f"A call of {found.service}",
            "author": author or found.author,
            "runs": found.method in SAFE if runs is None else runs,
            "ignored": sorted(ignored),
            "promoted_at": self._clock(),
        }
        this = update(service_examples).where(_ROWS.id == number)
        self._database.write(lambda connection: connection.execute(this.values(**values)))
        return self.find(number)

    def drop(self, number: int) -> Example:
        """Take a sample or example away, out of the documentation too; what it was. Raises ConfigurationError."""
        found = self.find(number)
        self._database.write(lambda connection: connection.execute(delete(service_examples).where(_ROWS.id == number)))
        return found


def sweep_samples(database: Database, now: datetime) -> int:
    """Delete the samples that nobody promoted in time; how many there were."""
    old = delete(service_examples).where(_ROWS.promoted_at.is_(None), _ROWS.made_at < now - KEPT_FOR)
    return int(database.write(lambda connection: connection.execute(old).rowcount))


def _row(one: Taken, now: datetime) -> dict[str, Any] | None:
    """The row of a sample; None where it is too large."""
    given = orjson.dumps([one.service, one.channel, one.method, one.input], option=orjson.OPT_SORT_KEYS)
    if len(given) + len(orjson.dumps(one.output)) > LARGEST:
        return None
    return {
        "service": one.service[:250], "channel": one.channel[:250], "method": one.method[:20], "status": one.status,
        "input": one.input, "output": one.output, "redacted": list(one.redacted),
        "digest": hashlib.blake2b(given, digest_size=32).hexdigest(), "made_at": now, "promoted_at": None,
        "title": "", "author": "", "runs": False, "ignored": [],
    }  # fmt: skip


def _example(row: Row[Any]) -> Example:
    texts: dict[str, Any] = {"redacted": tuple(row.redacted or ()), "ignored": tuple(row.ignored or ())}
    plain = {name: value for name, value in row._mapping.items() if name not in ("digest", *texts)}
    return Example(**plain, **texts)
