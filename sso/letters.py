"""Letters to people, kept in the database until they are sent: written in the transaction that they tell of.

A letter holds tokens and an address, so it is encrypted whole. `sso.mail` sends what is due: it takes one letter at a time, and
what becomes of it is written down before the next. What nobody tries to send any more stays to be looked at, and tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, delete, func, insert, select, update

from backends.clock import Clock
from security.secrets import Ring
from sso import tables
from sso.privacy import Randomness

PURPOSE = "sso letter"
#: Who took a letter and did not come back has died; after so long somebody else takes it.
TAKEN: Final = timedelta(minutes=15)


class Letter(NamedTuple):
    """One letter: its *kind* names a template, *values* fill it; *tries* are those before this one."""

    id: str
    kind: str
    address: str
    language: str
    values: dict[str, Any]
    tries: int = 0
    posted_at: datetime | None = None


class Envelope(NamedTuple):
    """What operators see of a letter: nothing of what is in it, nor to which address it goes."""

    id: str
    kind: str
    user_id: str
    tries: int
    posted_at: datetime | None
    due_at: datetime
    given_up_at: datetime | None
    error: str | None


class Outbox:
    """Letters that wait to be sent."""

    def __init__(self, ring: Ring, clock: Clock, randomness: Randomness) -> None:
        self.ring = ring
        self.clock = clock
        self.randomness = randomness

    def post(
        self, connection: Connection, kind: str, user_id: str, address: str, language: str, values: Mapping[str, Any]
    ) -> None:
        """Have a letter sent to *address*: the one that is kept for the person, never one that somebody typed (S39)."""
        content = orjson.dumps({"address": address, "language": language, "values": dict(values)}).decode()
        now = self.clock()
        row = {
            "id": tables.new_id("let_", self.randomness(17)),
            "kind": kind,
            "user_id": user_id,
            "box": self.ring.encrypt(content, PURPOSE),
            "due_at": now,
            "tries": 0,
            "posted_at": now,
        }
        connection.execute(insert(tables.letters).values(row))

    def due(self, connection: Connection, most: int = 50) -> list[Letter]:
        """The letters to be sent now, the oldest first."""
        return [self._letter(row) for row in connection.execute(self._due().limit(most))]

    def due_ids(self, connection: Connection, most: int = 50) -> list[str]:
        """Their ids."""
        return [row.id for row in connection.execute(self._due().limit(most))]

    def take(self, connection: Connection, letter_id: str) -> Letter | None:
        """A letter that is due, which nobody else is given for `TAKEN`; None where somebody was quicker.

        Raises SecretError for one that cannot be opened.
        """
        letters = tables.letters
        now = self.clock()
        mine = (letters.c.id == letter_id, letters.c.due_at <= now, letters.c.given_up_at.is_(None))
        row = connection.execute(select(letters).where(*mine).with_for_update()).first()
        if row is None:
            return None
        values = {"due_at": now + TAKEN, "tries": letters.c.tries + 1}
        connection.execute(update(letters).where(letters.c.id == letter_id).values(values))
        return self._letter(row)

    def sent(self, connection: Connection, letter_id: str) -> None:
        """Forget a letter that was sent."""
        connection.execute(delete(tables.letters).where(tables.letters.c.id == letter_id))

    def put_back(self, connection: Connection, letter: Letter) -> None:
        """Have a letter that could not even be tried be as it was before it was taken."""
        self._change(connection, letter.id, due_at=self.clock(), tries=letter.tries)

    def postpone(self, connection: Connection, letter_id: str, seconds: float, error: str) -> None:
        """Have a letter tried again after *seconds*."""
        self._change(connection, letter_id, due_at=self.clock() + timedelta(seconds=seconds), error=error[:500])

    def give_up(self, connection: Connection, letter_id: str, error: str) -> None:
        """Try to send a letter no more; it stays."""
        self._change(connection, letter_id, given_up_at=self.clock(), error=error[:500])

    def try_again(self, connection: Connection, *letter_ids: str) -> int:
        """Have letters that were given up tried anew, all of them where none is named; how many they are."""
        letters = tables.letters
        wanted = [letters.c.given_up_at.is_not(None)]
        if letter_ids:
            wanted.append(letters.c.id.in_(letter_ids))
        now = self.clock()
        values = {"given_up_at": None, "due_at": now, "posted_at": now, "tries": 0, "error": None}
        return connection.execute(update(letters).where(*wanted).values(values)).rowcount

    def drop(self, connection: Connection, *letter_ids: str) -> int:
        """Forget letters that were given up, all of them where none is named; how many they are."""
        letters = tables.letters
        wanted = [letters.c.given_up_at.is_not(None)]
        if letter_ids:
            wanted.append(letters.c.id.in_(letter_ids))
        return connection.execute(delete(letters).where(*wanted)).rowcount

    def envelopes(self, connection: Connection, *, given_up: bool = False, most: int = 100) -> list[Envelope]:
        """Letters that wait, or were given up, the oldest first."""
        letters = tables.letters
        state = letters.c.given_up_at.is_not(None) if given_up else letters.c.given_up_at.is_(None)
        columns = [letters.c[name] for name in Envelope._fields]
        query = select(*columns).where(state).order_by(letters.c.due_at, letters.c.id).limit(most)
        return [Envelope(*row) for row in connection.execute(query)]

    def counts(self, connection: Connection) -> tuple[int, int]:
        """How many letters wait, and how many were given up."""
        letters = tables.letters
        query = select(func.count(), func.count(letters.c.given_up_at))
        every, given_up = connection.execute(query.select_from(letters)).one()
        return every - given_up, given_up

    def _due(self) -> Any:
        letters = tables.letters
        query = select(letters).where(letters.c.due_at <= self.clock(), letters.c.given_up_at.is_(None))
        return query.order_by(letters.c.due_at, letters.c.id)

    def _change(self, connection: Connection, letter_id: str, **values: Any) -> None:
        connection.execute(update(tables.letters).where(tables.letters.c.id == letter_id).values(values))

    def _letter(self, row: Any) -> Letter:
        content = orjson.loads(self.ring.decrypt(row.box, PURPOSE))
        return Letter(row.id, row.kind, **content, tries=row.tries, posted_at=row.posted_at)
