"""Another key for everything: what each key of the keyring is used by, bringing it under the active one, and retiring the old.

`Rotation.uses` counts; `Rotation.reencrypt` goes through it in short transactions, so that a gateway serves meanwhile and
a process that is killed has lost nothing: who begins again finds what is left. `Rotation.retire` refuses while anything is
under the key, in a place that we know of or in any other column of the database.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, Connection, String, Text, cast, func, select, tuple_, update

from backends.clock import Clock, utc_now
from backends.deployment import Deployments
from backends.versions import service_deployments, service_versions
from gateway.administrators import ADMINISTRATORS
from gateway.configuration.kinds import place
from gateway.configuration.sealing import Sealer, keys_under
from gateway.configuration.store import OBJECTS, SOURCES
from gateway.keyrings import KEY_USERS, users_of_keys
from gateway.migrations.tables import declared
from security.database import Database, Json
from security.passwords import PURPOSE as PASSWORD
from security.secrets import Keyring, SecretError, key_id_of
from security.transit import Transit
from specs.problems import ConfigurationError
from sso import tables
from sso.audit import SYSTEM, Audit, Caller
from sso.privacy import BOXES, Keys, rewrap
from sso.storage import Storage

BATCH: Final = 500
#: Columns that hold boxes of the edge's ring, beside those of single sign-on, and what people call them.
OURS: Final[tuple[tuple[Column[Any], str], ...]] = ((ADMINISTRATORS.c.password, PASSWORD),)
_SIGNED: Final = ((service_versions, "versions of services"), (service_deployments, "deployments"))
_WORDS: Final = {
    "administrators": "passwords of administrators",
    "sso_keys": "keys of single sign-on",
    "sso_users.key_box": "people's own keys",
    "sso_users.password": "people's passwords",
    "sso_old_passwords": "people's former passwords",
    "sso_recovery_codes": "recovery codes",
    "sso_letters": "letters that wait",
}
_NAMED: Final = 5


class Use(NamedTuple):
    """What is under one key: how many of *what*, and the names of the first few where they have any."""

    ring: str
    key_id: str
    what: str
    number: int
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = self.number - len(self.names)
        named = f" ({', '.join(self.names)}{f' and {more} more' if more > 0 else ''})" if self.names else ""
        return f"{self.number} {self.what}{named}"


class Progress(NamedTuple):
    """How far `reencrypt` is: things done since it began, and what could not be opened."""

    done: int
    faults: tuple[str, ...]


class Rotation:
    """The keys of one installation, from a process of its own, while it serves or not."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        deployments: Deployments,
        *,
        randomness: Callable[[int], bytes],
        clock: Clock = utc_now,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.database = database
        self.keyring = keyring
        self.deployments = deployments
        self.clock = clock
        self._randomness = randomness
        self._pause = pause
        self._sealer = Sealer(keyring, str, str)

    def uses(self) -> list[Use]:
        """What each key is used by, keys that the keyring does not have included."""
        return uses_of_keys(self.database, self.keyring)

    def add(self, rings: tuple[str, ...], reason: str = "") -> dict[str, str]:
        """A new key in each of *rings*, which encrypts nothing yet; the ids by ring."""
        made = {}
        for ring in rings:
            made[ring] = self.keyring.add_key(ring)
            self._record("keys.add", ring, made[ring], reason)
        return made

    def activate(self, ring: str, key_id: str, reason: str = "") -> None:
        """Have everything encrypted with this key from now on. Raises ConfigurationError where a machine does not know it yet."""
        self.keyring.ring(ring)
        lacking = self._wait_for(lambda user: key_id not in user["known"], ring)
        if lacking:
            raise ConfigurationError(
                "keys",
                f"{', '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} no key '{key_id}' yet",
                "hand the key file to every machine first",
            )
        self.keyring.activate(ring, key_id)
        self._record("keys.activate", ring, key_id, reason)

    def reencrypt(self, batch: int = BATCH, reason: str = "") -> Iterator[Progress]:
        """Bring everything under the active keys, *batch* things to a transaction; says after each how far it is."""
        edge = self.keyring.ring("edge")
        total = 0
        faults: list[str] = []
        self._record("keys.reencrypt", "edge", edge.active, reason, result="begun")
        for boxes in (OURS, BOXES):
            while done := self.database.write(lambda connection, of=boxes: rewrap(connection, edge, of, batch)):  # type: ignore[misc]
                total += done
                yield Progress(total, ())
                self._pause(0.01)  # whoever waits to write comes first
        last: tuple[Any, ...] = ("", "", -1)
        while True:
            done, faulty, following = self._renew(last, batch)
            total, faults = total + done, [*faults, *faulty]
            if following is None:
                break
            last = following
            yield Progress(total, tuple(faults))
            self._pause(0.01)
        total += self.database.write(self._renew_sources)
        if any(use.key_id != edge.active for use in _signatures(self.database)):
            total += self.deployments.sign_again()
        self._record("keys.reencrypt", "edge", edge.active, reason)
        yield Progress(total, tuple(dict.fromkeys(faults)))

    def retire(self, ring: str, key_id: str, reason: str = "", *, settle: float = 5.0) -> None:
        """Forget a key that nothing is under and nobody encrypts with; *settle* is how long writes in flight may take, in seconds.

        Raises ConfigurationError that names what is still under it.
        """
        if key_id not in self.keyring.ring(ring).keys:
            raise ConfigurationError("keys", f"the ring '{ring}' has no key '{key_id}'", "see `gatewright keys list`")
        try:
            if self.keyring.ring(ring).active == key_id:
                raise ConfigurationError("keys", f"the key '{key_id}' is active", "activate another one first")
            busy = self._wait_for(lambda user: user["active"] == key_id, ring)
            if busy:
                raise ConfigurationError(
                    "keys",
                    f"{', '.join(busy)} still encrypts with the key '{key_id}'",
                    "hand the new key file to every machine",
                )
            self._check_free(ring, key_id)
            back = self.keyring.retire(ring, key_id)
            # WHY: what was encrypted a moment before the other key became active may be written a moment later.
            self._pause(settle)
            try:
                self._check_free(ring, key_id)
            except ConfigurationError:
                back()
                raise
        except ConfigurationError as error:
            self._record("keys.retire", ring, key_id, reason, result="refused", why=error.message)
            raise
        self._record("keys.retire", ring, key_id, reason)

    def wrap(self, transit: Transit | None, *, undo: bool = False) -> None:
        """Have *transit* encrypt the keys in the key file; None renews what wraps them, or with *undo* takes it away."""
        if transit is None and not undo:
            self.keyring.rewrap()
        else:
            self.keyring.wrap(transit)
        for ring in self.keyring.names:
            self._record("keys.unwrap" if undo else "keys.wrap", ring, self.keyring.ring(ring).active, "")

    def ring_of(self, key_id: str) -> str:
        """The ring that has a key of that id. Raises ConfigurationError."""
        for name in self.keyring.names:
            if key_id in self.keyring.ring(name).keys:
                return name
        raise ConfigurationError("keys", f"there is no key '{key_id}'", "see `gatewright keys list`")

    def _check_free(self, ring: str, key_id: str) -> None:
        """Raise ConfigurationError where anything is under the key."""
        found = [str(use) for use in self.uses() if (use.ring, use.key_id) == (ring, key_id)]
        if not found:
            found = self.database.read(lambda connection: _elsewhere(connection, key_id))
        if found:
            raise ConfigurationError(
                "keys",
                f"the key '{key_id}' is still used by {'; '.join(found)}",
                "run `gatewright keys reencrypt` first",
            )

    def _wait_for(self, holds: Callable[[Mapping[str, Any]], bool], ring: str, tries: int = 40) -> list[str]:
        """The processes for which *holds*, once those that are about to notice the file have had the time for it."""
        for _ in range(tries):
            users = users_of_keys(self.database, clock=self.clock)
            found = [user.process for user in users if ring in user.rings and holds(user.rings[ring])]
            if not found:
                return []
            self._pause(0.5)
        return found

    # Under another one

    def _renew(self, after: tuple[Any, ...], most: int) -> tuple[int, list[str], tuple[Any, ...] | None]:
        """The objects of the configuration after that one: how many were renewed, what cannot be, and where to go on."""
        key = (OBJECTS.c.kind, OBJECTS.c.name, OBJECTS.c.revision)
        there = select(*key, OBJECTS.c.body).where(tuple_(*key) > after, OBJECTS.c.body.is_not(None))

        def work(connection: Connection) -> tuple[int, list[str], tuple[Any, ...] | None]:
            rows = connection.execute(there.order_by(*key).limit(most)).all()
            done, faults = 0, []
            for kind, name, revision, body in rows:
                if not self._sealer.has_ring(kind):
                    continue
                try:
                    renewed = self._sealer.renew(kind, name, body)
                except SecretError as error:
                    faults.append(f"{place(kind, name)}, revision {revision}: {error}")
                    continue
                if renewed != body:
                    same = (OBJECTS.c.kind == kind, OBJECTS.c.name == name, OBJECTS.c.revision == revision)
                    connection.execute(update(OBJECTS).where(*same).values(body=renewed))
                    done += 1
            return done, faults, tuple(rows[-1][:3]) if len(rows) == most else None

        return self.database.write(work)

    def _renew_sources(self, connection: Connection) -> int:
        done = 0
        for path, digest in connection.execute(select(SOURCES.c.path, SOURCES.c.digest)).all():
            try:
                carried = self._sealer.carry_source(digest)
            except SecretError:
                continue
            if carried != digest:
                connection.execute(update(SOURCES).where(SOURCES.c.path == path).values(digest=carried))
                done += 1
        return done

    def _record(self, action: str, ring: str, key_id: str, reason: str, *, result: str = "done", why: str = "") -> None:
        storage = Storage(self.database)
        audit = Audit(storage, Keys(storage, self.keyring.ring("edge"), self._randomness).audit, self.clock)
        caller = Caller(actor=SYSTEM, reason=reason)
        details = {"ring": ring, "key": key_id, **({"why": why[:300]} if why else {})}
        storage.write(
            lambda connection: audit.record(
                connection, action, caller, target=f"{ring} {key_id}", result=result, details=details
            )
        )


def uses_of_keys(database: Database, keyring: Keyring) -> list[Use]:
    """What each key is used by, keys that *keyring* does not have included."""
    return [*_columns(database, keyring), *_objects(database), *_signatures(database)]


def _columns(database: Database, keyring: Keyring) -> Iterator[Use]:
    known = list(keyring.ring("edge").keys)

    def work(connection: Connection) -> list[Use]:
        found = []
        for column, _ in (*OURS, *BOXES):
            table = column.table
            words = _WORDS.get(table.name) or _WORDS[f"{table.name}.{column.name}"]
            left = connection.execute(select(func.count()).where(column.is_not(None))).scalar_one()
            for key_id in known:
                under = select(func.count()).where(column.startswith(f"v1.{key_id}.", autoescape=True))
                count = connection.execute(under).scalar_one()
                left -= count
                found += [Use("edge", key_id, words, count)] if count else []
            if left:
                strange = Counter(
                    key_id_of(box) for box in connection.execute(select(column).where(column.is_not(None))).scalars()
                )
                found += [Use("edge", i, words, n) for i, n in strange.items() if i not in known]
        return found

    yield from database.read(work)


def _objects(database: Database) -> Iterator[Use]:
    names: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)

    def work(connection: Connection) -> None:
        names.clear()
        rows = select(OBJECTS.c.kind, OBJECTS.c.name, OBJECTS.c.body).where(OBJECTS.c.body.is_not(None))
        for kind, name, body in connection.execute(rows):
            for key in keys_under(kind, body):
                names[key][place(kind, name)] = None

    database.read(work)
    for (ring, key_id), objects in names.items():
        yield Use(ring, key_id, "objects of the configuration, in any revision", len(objects), tuple(objects)[:_NAMED])


def _signatures(database: Database) -> Iterator[Use]:
    def work(connection: Connection) -> list[Use]:
        found = []
        for table, words in _SIGNED:
            macs = connection.execute(select(table.c.mac)).scalars()
            found += [Use("edge", i, words, n) for i, n in Counter(map(key_id_of, macs)).items()]
        sources = connection.execute(select(SOURCES.c.path, SOURCES.c.digest)).all()
        by_key: dict[str, list[str]] = defaultdict(list)
        for path, digest in sources:
            by_key[key_id_of(digest)].append(path)
        return found + [Use("edge", i, "applied files", len(p), tuple(p[:_NAMED])) for i, p in by_key.items()]

    yield from database.read(work)


def _elsewhere(connection: Connection, key_id: str) -> list[str]:
    """Columns that hold something under the key, whatever they are: places that were forgotten above would be lost."""
    found = []
    for table in declared().sorted_tables:
        # What was done with keys names them, and nothing is under them there.
        if table is KEY_USERS or table is tables.audit:
            continue
        for column in table.columns:
            if not isinstance(column.type, (String, Json)):
                continue
            held = select(column).where(cast(column, Text).contains(f"{key_id}.", autoescape=True))
            if connection.execute(held.limit(1)).first() is not None:
                found.append(f"the column {column.name} of the table {table.name}")
    return found
