"""Tokens that do one thing once: confirm a sign-up or an address, reset a password, finish a login. Only their SHA-256 is kept."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from backends.clock import Clock
from sso import tables
from sso.privacy import Randomness

#: kind: how many tries it has, and whether a new one replaces those that the person has.
KINDS: Final = {
    "confirm": (1, True), "reset": (1, True), "reset-key": (5, True), "email": (1, True), "login": (5, False),
    "totp": (5, True), "code": (1, False),
}  # fmt: skip


class Tokens:
    """One-time tokens of people."""

    def __init__(self, clock: Clock, randomness: Randomness) -> None:
        self.clock = clock
        self.randomness = randomness

    def issue(
        self,
        connection: Connection,
        kind: str,
        user_id: str,
        lifetime: float,
        payload: Mapping[str, Any] | None = None,
    ) -> str:
        """A new token, good for *lifetime* seconds."""
        tries, alone = KINDS[kind]
        if alone:
            self.revoke(connection, user_id, kind)
        token = "gwt_" + base64.urlsafe_b64encode(self.randomness(32)).decode().rstrip("=")
        row = {
            "digest": digest_of(token),
            "kind": kind,
            "user_id": user_id,
            "expires_at": self.clock() + timedelta(seconds=lifetime),
            "tries": tries,
            "payload": dict(payload or {}),
        }
        connection.execute(insert(tables.tokens).values(row))
        return token

    def find(self, connection: Connection, kind: str, token: str) -> Any:
        """The row of a token that can still be used, or None; reading does not use it up (S5)."""
        tokens = tables.tokens
        query = select(tokens).where(tokens.c.digest == digest_of(token), tokens.c.kind == kind)
        row = connection.execute(query).first()
        return row if row is not None and row.expires_at > self.clock() and row.tries > 0 else None

    def use(self, connection: Connection, kind: str, token: str) -> Any:
        """The row of a token, which is used up by this; None for one that cannot be used."""
        row = self.find(connection, kind, token)
        if row is None:
            return None
        gone = connection.execute(delete(tables.tokens).where(tables.tokens.c.digest == row.digest)).rowcount
        return row if gone == 1 else None

    def spend_try(self, connection: Connection, digest: str) -> None:
        """One try less for the token with this digest; after the last one it is dead."""
        tokens = tables.tokens
        connection.execute(update(tokens).where(tokens.c.digest == digest).values(tries=tokens.c.tries - 1))

    def revoke(self, connection: Connection, user_id: str, *kinds: str) -> None:
        """Kill the person's tokens, those of *kinds* alone where given."""
        statement = delete(tables.tokens).where(tables.tokens.c.user_id == user_id)
        connection.execute(statement.where(tables.tokens.c.kind.in_(kinds)) if kinds else statement)

    def sweep(self, connection: Connection) -> int:
        """Forget tokens whose time is over; how many there were."""
        return connection.execute(delete(tables.tokens).where(tables.tokens.c.expires_at <= self.clock())).rowcount


def digest_of(token: str) -> str:
    """What a token is found by."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
