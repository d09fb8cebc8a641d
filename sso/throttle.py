"""Throttles of guessing: by address, by account and address, by account, and a way past them for a device that is known.

A guess is counted when it has failed, and a right guess is taken only where the counters still allow one at that moment, in
the same transaction. So many guesses at once gain nothing over as many one after another, and people who log in from several
places at once lose nothing. What is refused is not counted: nobody is kept out for longer by trying.

An account's own counter delays, 15 minutes at most, and a device that its owner has logged in from does not go by it: who
guesses at somebody's password does not lock them out (S12). Names that nobody has are counted in the same way (S14).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, select

from backends.clock import Clock
from security.addresses import parse_address
from security.database import upsert
from sso import settings, tables
from sso.audit import Caller
from sso.privacy import Keys
from sso.problems import refusal
from sso.storage import Storage


class Rule(NamedTuple):
    """At most *most* in a window of *seconds*; with *delays* beyond that a delay which doubles, not a window that is full."""

    name: str
    most: int
    seconds: float
    delays: bool = False


#: Right ones, too; the settings say how many.
ATTEMPTS: Final = Rule("attempt", settings.ATTEMPTS, 60)
FAILED_AT_ADDRESS: Final = Rule("address", 10, 60)
FAILED_AT_PAIR: Final = Rule("pair", 5, 300)
FAILED_AT_ACCOUNT: Final = Rule("account", 10, 12 * 3600, delays=True)
FAILED_AT_DEVICE: Final = Rule("device", 10, 3600)
FAILED_CODES: Final = Rule("code", 5, 900)
SIGN_UPS: Final = Rule("signup", 20, 60)
#: Right ones, too: what a person has hashed who has proven something already.
HASHES: Final = Rule("hash", 20, 300)
#: Requests of strangers for letters, whoever they are for.
ASKED: Final = Rule("asked", 20, 60)
LETTERS: Final = Rule("letter", 5, 3600)
SIGN_UP_LETTERS: Final = Rule("signup-letter", 3, 86400)
FIRST_DELAY: Final = 30.0
LONGEST_DELAY: Final = 900.0

Charge = tuple[Rule, str]


class Throttle:
    """Counters kept in SQL, the same for all processes."""

    def __init__(self, database: Storage, keys: Keys, clock: Clock) -> None:
        self.database = database
        self.keys = keys
        self.clock = clock

    def hashing(self, whose: str) -> None:
        """Let a person (by id) have passwords or codes of theirs hashed once more, and count it. Raises Problem 429.

        SECURITY: S17. Whoever has an account could keep all threads that hash busy by it, and nobody else would log in.
        """
        self._pass([(HASHES, whose)])

    def asking(self, caller: Caller) -> None:
        """Let a stranger ask for a letter to somebody once more, and count it by their address. Raises Problem 429.

        What is asked for by a super-user or by a command is not counted.
        """
        if caller.address and not caller.actor:
            self._pass([(ASKED, place_of(caller.address))])

    def _pass(self, charges: Sequence[Charge]) -> None:
        self.database.read(lambda connection: self.check(connection, charges))
        # WHY: in the queue of those that write the audit; at PostgreSQL many at once would undo each other.
        self.database.write(lambda connection: self.take(connection, charges))

    def wait(self, connection: Connection, charges: Iterable[Charge]) -> float:
        """How many seconds to wait before all of *charges* allow one more; 0 where they do."""
        now = self.clock()
        return max((self._wait(rule, self._row(connection, rule, key), now) for rule, key in charges), default=0.0)

    def check(self, connection: Connection, charges: Iterable[Charge]) -> None:
        """Raise Problem 429 with Retry-After where one of *charges* does not allow one more."""
        seconds = self.wait(connection, charges)
        if seconds > 0:
            raise refusal("too-many-attempts", "wait before you try again", retry_after=seconds)

    def count(self, connection: Connection, charges: Iterable[Charge]) -> None:
        """Count one for each of *charges*."""
        now = self.clock()
        for rule, key in charges:
            row = self._row(connection, rule, key)
            live = row is not None and now < row[2]
            count, since = (row[0] + 1, row[1]) if live and row is not None else (1, now)
            if rule.delays:
                since = now
            values = {"count": count, "since": since, "until": since + timedelta(seconds=rule.seconds)}
            upsert(connection, tables.throttles, {"key": self._key(rule, key)}, values)

    def take(self, connection: Connection, charges: Sequence[Charge]) -> None:
        """Count one for each of *charges* where all of them allow it, in one transaction. Raises Problem 429 as `check` does."""
        self.check(connection, charges)
        self.count(connection, charges)

    def clear(self, connection: Connection, charges: Iterable[Charge]) -> None:
        """Begin anew for each of *charges*."""
        names = [self._key(rule, key) for rule, key in charges]
        connection.execute(delete(tables.throttles).where(tables.throttles.c.key.in_(names)))

    def clear_all(self, connection: Connection) -> None:
        """Begin anew for everything."""
        connection.execute(delete(tables.throttles))

    def waits(self, connection: Connection, rules: Iterable[Rule]) -> dict[tuple[str, str], float]:
        """Every counter of *rules* that allows no more, as rule and `mark`: how many seconds it is waited for."""
        now, named = self.clock(), {rule.name: rule for rule in rules}
        held = tables.throttles
        found = {}
        for key, count, since, until in connection.execute(
            select(held.c.key, held.c.count, held.c.since, held.c.until)
        ):
            name, _, mark = key.partition(":")
            if name in named and (seconds := self._wait(named[name], (count, since, until), now)) > 0:
                found[name, mark] = seconds
        return found

    def mark(self, key: str) -> str:
        """What a counter of *key* is kept under."""
        return self.keys.digest("throttle", key)

    def sweep(self, connection: Connection) -> int:
        """Forget counters whose time is over; how many there were."""
        return connection.execute(delete(tables.throttles).where(tables.throttles.c.until <= self.clock())).rowcount

    def _wait(self, rule: Rule, row: tuple[int, datetime, datetime] | None, now: datetime) -> float:
        if row is None or now >= row[2] or row[0] < rule.most:
            return 0.0
        if not rule.delays:
            return (row[2] - now).total_seconds()
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(row[0] - rule.most, 10))
        return max(0.0, (row[1] + timedelta(seconds=delay) - now).total_seconds())

    def _row(self, connection: Connection, rule: Rule, key: str) -> tuple[int, datetime, datetime] | None:
        throttles = tables.throttles
        query = select(throttles.c.count, throttles.c.since, throttles.c.until)
        row = connection.execute(query.where(throttles.c.key == self._key(rule, key))).first()
        return None if row is None else (row[0], row[1], row[2])

    def _key(self, rule: Rule, key: str) -> str:
        return f"{rule.name}:{self.mark(key)}"


def place_of(address: str) -> str:
    """What an address is counted as: itself, or the /64 of an IPv6 one."""
    found = parse_address(address)
    return found.bucket().hex() if found is not None else address[:64]
