"""Letters to people, kept in the database until they are sent: written in the transaction that they tell of.

A letter holds tokens and an address, so it is encrypted whole. Nobody sends them yet: `Outbox.due` is what a sender begins with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, delete, insert, select

from backends.clock import Clock
from security.secrets import Ring
from sso import tables
from sso.privacy import Randomness

PURPOSE = "sso letter"


class Letter(NamedTuple):
    """One letter: its *kind* names a template, *values* fill it."""

    id: str
    kind: str
    address: str
    language: str
    values: dict[str, Any]


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
        row = {
            "id": tables.new_id("let_", self.randomness(17)),
            "kind": kind,
            "user_id": user_id,
            "box": self.ring.encrypt(content, PURPOSE),
            "due_at": self.clock(),
            "tries": 0,
        }
        connection.execute(insert(tables.letters).values(row))

    def due(self, connection: Connection, most: int = 50) -> list[Letter]:
        """The letters to be sent now, the oldest first."""
        letters = tables.letters
        query = select(letters).where(letters.c.due_at <= self.clock()).order_by(letters.c.due_at, letters.c.id)
        return [self._letter(row) for row in connection.execute(query.limit(most))]

    def sent(self, connection: Connection, letter_id: str) -> None:
        """Forget a letter that was sent."""
        connection.execute(delete(tables.letters).where(tables.letters.c.id == letter_id))

    def _letter(self, row: Any) -> Letter:
        return Letter(row.id, row.kind, **orjson.loads(self.ring.decrypt(row.box, PURPOSE)))
