"""Accepted configuration: numbered revisions of named objects in the database, of which nothing is ever overwritten.

A revision is one transaction: all of a document or nothing. An object that did not change gets no new row, so the objects
of revision N are, by kind and name, the latest rows up to N; a row without a body says that the object was removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Column, Connection, ForeignKey, Integer, Table, Text, and_, func, select
from sqlalchemy.exc import IntegrityError

from backends.gate import Policy
from gateway.configuration.changes import Change, compare
from gateway.configuration.document import FORMAT, Document, Key, Warned, check
from gateway.configuration.kinds import KINDS, place, read_object
from gateway.configuration.objects import Configuration, Definition
from gateway.configuration.preparation import prepare
from gateway.configuration.sealing import Bound, Sealer, identifying, shown
from gateway.configuration.writer import write
from gateway.contract_changes import Way, judge
from security.credentials import ApiKeys
from security.database import Database, Json, UtcDateTime, metadata, upsert
from security.passwords import PasswordHasher
from security.references import References
from security.secrets import Keyring, SecretError
from specs.contract import Contract
from specs.problems import ConfigurationError, ConfigurationErrors

REVISIONS = Table(
    "configuration_revisions",
    metadata,
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("author", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("changes", Integer, nullable=False),
)
OBJECTS = Table(
    "configuration_objects",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("revision", Integer, ForeignKey(REVISIONS.c.revision), primary_key=True, index=True),
    Column("body", Json),
    Column("digest", Text),
)
SOURCES = Table(
    "configuration_sources",
    metadata,
    Column("path", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("revision", Integer, nullable=False),
)

#: PERF: an object takes about 75 us to read; this many take 4 ms, and 10,000 take 0.8 s.
READ_AT_ONCE = 50
#: So many changes of channels are looked back on.
MOST_CHANNELS = 200


class StaleRevision(ConfigurationError):
    """Somebody else changed the configuration meanwhile; *current* is the revision that they made."""

    def __init__(self, expected: int, current: int) -> None:
        super().__init__(
            "", f"the configuration is at revision {current} and no longer at {expected}", "look at it and apply again"
        )
        self.current = current


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an `apply`: the revision that holds now, the changes (none: no new revision), what is doubtful."""

    revision: int
    changes: tuple[Change, ...]
    warnings: tuple[Warned, ...]


class Revision(NamedTuple):
    """One accepted change."""

    revision: int
    at: datetime
    author: str
    comment: str
    changes: int


class _Row(NamedTuple):
    kind: str
    name: str
    revision: int
    body: dict[str, Any] | None
    digest: str | None

    @property
    def key(self) -> Key:
        return self.kind, self.name


class Store:
    """The configuration of one database.

    *hash_password* turns a password into what is kept of it, slowly: a server gives one that hashes in threads. *clock* gives
    aware moments. *pause* is called now and then while objects are read, for a server to let others run.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        hash_password: Callable[[str], str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self.database = self._database = database
        self._sealer = Sealer(keyring, hash_password or PasswordHasher(keyring.ring("edge")).hash, ApiKeys.digest)
        self._clock = clock
        self._pause = pause

    def head(self) -> int:
        """The number of the latest revision; 0 before the first."""
        return self._database.read(_head)

    def load(self, revision: int | None = None) -> Configuration:
        """The configuration at *revision*, or at the latest. Raises ConfigurationError where there is no such revision.

        Never refuses what was accepted: an object that cannot be read is in `Configuration.faults`.
        """
        number, rows = self._rows(revision)
        return self._read(Configuration(), number, rows)

    def refresh(self, previous: Configuration) -> Configuration:
        """The latest configuration, *previous* itself where that still is. Unchanged objects are the same objects."""
        if self.head() == previous.revision:
            return previous
        number, rows = self._database.read(
            lambda connection: (_head(connection), _latest(connection, previous.revision))
        )
        return self._read(previous, number, rows)

    def changes_since(self, revision: int) -> set[Key]:
        """The objects that were added, changed or removed after *revision*."""
        columns = select(OBJECTS.c.kind, OBJECTS.c.name).where(OBJECTS.c.revision > revision).distinct()
        return self._database.read(lambda connection: {(kind, name) for kind, name in connection.execute(columns)})

    def check(
        self,
        document: Document,
        *,
        references: References,
        services: Mapping[str, Contract] | None = None,
        merge: bool = False,
        contract_changes: Policy | None = None,
    ) -> Applied:
        """What `apply` would do, without doing it. Raises ConfigurationErrors."""
        return self.apply(
            document,
            references=references,
            services=services,
            merge=merge,
            dry_run=True,
            contract_changes=contract_changes,
        )

    def apply(
        self,
        document: Document,
        *,
        references: References,
        author: str = "",
        comment: str = "",
        expected: int | None = None,
        services: Mapping[str, Contract] | None = None,
        merge: bool = False,
        dry_run: bool = False,
        source: tuple[str, str] | None = None,
        contract_changes: Policy | None = None,
    ) -> Applied:
        """Make *document* the configuration: what it does not name is removed, or kept with *merge*.

        *expected* is the revision that the author saw. *services* are the contracts of deployed services, by name. *source* is
        noted with the revision (`apply_once`). *contract_changes* is for this time what becomes of changes that break callers.
        Raises ConfigurationErrors for the document, StaleRevision where somebody was quicker.
        """
        base, rows = self._rows(None)
        if expected is not None and expected != base:
            raise StaleRevision(expected, base)
        before = {row.key: row.body for row in rows if row.body is not None}
        digests = {row.key: row.digest for row in rows}
        prepared = prepare(document, self._sealer, references, stored=before, merge=merge, services=services)
        bound = prepared.bound
        changed = [key for key, held in bound.items() if self._digest(key, held) != digests.get(key)]
        removed = [] if merge else [key for key in before if key not in bound]
        was = self._ways({key: before[key] for key in changed + removed if key in before})
        ways = {k[1]: Way(bound[k].values["type"], prepared.settings[k]) for k in changed if k[0] == "channels"}
        told = judge(was, ways, prepared.settings, services or {}, contract_changes)
        warnings = (*prepared.warnings, *told)
        if dry_run:
            after = {key: self._preview(key, bound[key]) for key in changed}
            return Applied(base, compare(before, after, changed + removed), warnings)
        sealed = {key: self._sealer.seal(key[0], bound[key], place(*key)) for key in changed}
        changes = compare(before, sealed, changed + removed)
        if not changes and source is None:
            return Applied(base, (), warnings)
        new = self._write(base, [*sealed.items(), *((key, None) for key in removed)], author, comment, source)
        return Applied(new, changes, warnings)

    def apply_once(
        self, document: Document, path: str, *, references: References, services: Mapping[str, Contract] | None = None
    ) -> Applied | None:
        """Apply the document of the file *path*, unless it is what was last applied from that file.

        So a start does not undo what was changed since; a changed value behind a reference counts as a change of the file.
        """
        content = document.text + "\0" + "\0".join(_values_behind(document, references))
        statement = select(SOURCES.c.digest).where(SOURCES.c.path == path)
        noted = self._database.read(lambda connection: connection.execute(statement).scalar())
        if noted is not None and self._sealer.matches(content, noted):
            return None
        return self.apply(
            document,
            references=references,
            services=services,
            author=path,
            comment="applied at start",
            source=(path, self._sealer.digest(content)),
        )

    def rollback(
        self, revision: int, *, author: str = "", comment: str = "", services: Mapping[str, Contract] | None = None
    ) -> Applied:
        """Make a new revision that equals *revision*. Raises ConfigurationErrors where that can no longer be read.

        Whatever it breaks for callers is told and not refused: this is the way out.
        """
        base, rows = self._rows(None)
        before = {row.key: row for row in rows if row.body is not None}
        after = {row.key: row for row in self._rows(revision)[1] if row.body is not None}
        wanted = self._read(Configuration(), revision, list(after.values()))
        if wanted.faults:
            raise ConfigurationErrors(wanted.faults.values())
        keys = [
            k for k in {**before, **after} if k not in before or k not in after or before[k].digest != after[k].digest
        ]
        was = self._ways({key: before[key].body or {} for key in keys if key in before})
        ways = {name: Way(definition.type, definition.settings) for name, definition in wanted.of("channels").items()}
        settings = wanted.settings()
        warnings = (*check(settings, services), *judge(was, ways, settings, services or {}, "warn"))
        bodies = {key: row.body for key, row in after.items()}
        changes = compare({key: row.body for key, row in before.items()}, bodies, keys)
        if not changes:
            return Applied(base, (), warnings)
        written = [(key, bodies.get(key)) for key in keys]
        return Applied(
            self._write(base, written, author, comment or f"rollback to revision {revision}", None),
            changes,
            warnings,
        )

    def dump(self, revision: int | None = None) -> str:
        """The configuration as YAML that `apply` accepts and finds nothing to change in; never a secret."""
        return write(self.document(revision))

    def document(self, revision: int | None = None) -> dict[str, Any]:
        """What `dump` writes, as a map: kinds in the document's order, names in the alphabet's."""
        document: dict[str, Any] = {"format": FORMAT}
        rows = [row for row in self._rows(revision)[1] if row.body is not None]
        for kind in KINDS.values():
            bodies = {
                row.name: shown(row.body) for row in sorted(rows, key=lambda row: row.name) if row.kind == kind.word
            }
            if bodies:
                document[kind.word] = bodies[""] if kind.single else bodies
        return document

    def channels_changed(self, most: int) -> list[tuple[Revision, dict[str, Way], dict[str, Way]]]:
        """What the latest *most* revisions changed or removed of the channels there were, as it was before and is after each.

        At most `MOST_CHANNELS` of them. The latest revision comes first.
        """
        revisions = self.history(most)
        older, changed = OBJECTS.alias(), OBJECTS.c.revision >= min((one.revision for one in revisions), default=0)
        same = and_(
            older.c.kind == OBJECTS.c.kind, older.c.name == OBJECTS.c.name, older.c.revision < OBJECTS.c.revision
        )
        columns = (OBJECTS.c.name, OBJECTS.c.revision)
        pairs = (
            select(*columns, func.max(older.c.revision).label("before"))
            .join(older, same)
            .where(OBJECTS.c.kind == "channels", changed)
            .group_by(*columns)
            .order_by(OBJECTS.c.revision.desc())
            .limit(MOST_CHANNELS)
        )

        def work(connection: Connection) -> tuple[list[Any], dict[tuple[str, int], Any]]:
            found = connection.execute(pairs).all()
            numbers = {row.revision for row in found} | {row.before for row in found}
            rows = connection.execute(
                select(*columns, OBJECTS.c.body).where(
                    OBJECTS.c.kind == "channels",
                    OBJECTS.c.name.in_({row.name for row in found}),
                    OBJECTS.c.revision.in_(numbers),
                )
            )
            return list(found), {(row.name, row.revision): row.body for row in rows}

        found, bodies = self._database.read(work)
        made = []
        for revision in revisions:
            here = [row for row in found if row.revision == revision.revision]
            before = {("channels", row.name): bodies[row.name, row.before] for row in here}
            after = {("channels", row.name): bodies[row.name, row.revision] for row in here}
            if here:
                made.append((revision, self._ways(before), self._ways(after)))
        return made

    def history(self, most: int | None = None) -> list[Revision]:
        """Accepted changes, the latest first."""
        statement = select(REVISIONS).order_by(REVISIONS.c.revision.desc()).limit(most)
        return self._database.read(lambda connection: [Revision(*row) for row in connection.execute(statement)])

    def _ways(self, bodies: Mapping[Key, dict[str, Any] | None]) -> dict[str, Way]:
        """The channels among stored objects; one that cannot be read here could not be called either."""
        found = {}
        for (kind, name), body in bodies.items():
            if kind == "channels" and body is not None:
                try:
                    found[name] = Way(
                        body["type"], read_object(kind, self._sealer.open(kind, name, body), place(kind, name))
                    )
                except ConfigurationError:
                    continue
        return found

    def _preview(self, key: Key, bound: Bound) -> dict[str, Any]:
        return self._sealer.seal(key[0], bound, place(*key), preview=True)

    def _digest(self, key: Key, bound: Bound) -> str:
        return _digest_of(self._preview(key, bound))

    def _rows(self, revision: int | None) -> tuple[int, list[_Row]]:
        def work(connection: Connection) -> tuple[int, list[_Row]]:
            head = _head(connection)
            number = head if revision is None else revision
            if not 0 <= number <= head:
                raise ConfigurationError("revision", f"there is no revision {number}", f"the latest is {head}")
            return number, _latest(connection, 0, number)

        return self._database.read(work)

    def _read(self, previous: Configuration, revision: int, rows: list[_Row]) -> Configuration:
        objects = dict(previous.objects)
        faults = dict(previous.faults)
        readable = {kind for kind in KINDS if self._sealer.has_ring(kind)}
        for position, row in enumerate(rows, 1):
            if position % READ_AT_ONCE == 0:
                self._pause()
            objects.pop(row.key, None)
            faults.pop(row.key, None)
            if row.body is None or row.kind not in readable:
                continue
            try:
                body = self._sealer.open(*row.key, row.body)
                settings = read_object(row.kind, body, place(*row.key))
                word = body["type"] if KINDS[row.kind].registry is not None else ""
                objects[row.key] = Definition(row.kind, row.name, word, settings, row.digest or "", row.revision)
            except ConfigurationError as error:
                faults[row.key] = error
        return Configuration(revision, objects, faults)

    def _write(
        self,
        base: int,
        objects: list[tuple[Key, dict[str, Any] | None]],
        author: str,
        comment: str,
        source: tuple[str, str] | None,
    ) -> int:
        """One transaction: the new revision, if *base* is still the latest. Without *objects* only the source is noted."""
        new = base + 1 if objects else base
        rows = [
            {
                "kind": kind,
                "name": name,
                "revision": new,
                "body": body,
                "digest": None if body is None else _digest_of(body),
            }
            for (kind, name), body in objects
        ]
        made = {"revision": new, "at": self._clock(), "author": author, "comment": comment, "changes": len(rows)}

        def work(connection: Connection) -> None:
            current = _head(connection)
            if current != base:
                raise StaleRevision(base, current)
            if rows:
                # WHY: what was read before and is kept may be under a key that was put aside meanwhile.
                fresh = [{**row, "body": row["body"] and self._renewed(row)} for row in rows]
                connection.execute(REVISIONS.insert(), made)
                connection.execute(OBJECTS.insert(), fresh)
            if source is not None:
                upsert(connection, SOURCES, {"path": source[0]}, {"digest": source[1], "revision": new})

        try:
            self._database.write(work)
        except IntegrityError:
            raise StaleRevision(base, self.head()) from None
        return new

    def _renewed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._sealer.renew(row["kind"], row["name"], row["body"])
        except (SecretError, ConfigurationError):
            # Who may not read it (an edge), or cannot any more, hands it on as it is.
            return dict(row["body"])


def _head(connection: Connection) -> int:
    return connection.execute(select(func.max(REVISIONS.c.revision))).scalar() or 0


def _latest(connection: Connection, after: int, upto: int | None = None) -> list[_Row]:
    """The last row of each object among the revisions after *after* and up to *upto*, removals included."""
    within = [OBJECTS.c.revision > after] if upto is None else [OBJECTS.c.revision > after, OBJECTS.c.revision <= upto]
    last = (
        select(OBJECTS.c.kind, OBJECTS.c.name, func.max(OBJECTS.c.revision).label("revision"))
        .where(*within)
        .group_by(OBJECTS.c.kind, OBJECTS.c.name)
        .subquery()
    )
    same = and_(OBJECTS.c.kind == last.c.kind, OBJECTS.c.name == last.c.name, OBJECTS.c.revision == last.c.revision)
    return [_Row(*row) for row in connection.execute(select(OBJECTS).join(last, same))]


def _digest_of(stored: dict[str, Any]) -> str:
    text = orjson.dumps(identifying(stored), option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=16).hexdigest()


def _values_behind(document: Document, references: References) -> list[str]:
    """What the references of a document give at this moment; nothing for one that cannot be resolved."""
    values: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, str) and "${" in value:
            try:
                values.append(references.resolve(value))
            except ConfigurationError:
                values.append("")
        elif isinstance(value, Mapping):
            for held in value.values():
                walk(held)
        elif isinstance(value, list):
            for held in value:
                walk(held)

    walk(dict(document.objects))
    return values
