"""Passkeys as they are kept: whose they are, how often they were used, and the challenges that they answer.

A challenge is not kept before it is answered: it carries its end and a MAC over what it was made for, so that asking for
challenges fills no table. When it was answered it is kept until its end, in the transaction that it let in: it counts once (S38).
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from backends.clock import Clock
from sso import tables
from sso.audit import Audit, Caller
from sso.privacy import Keys
from sso.problems import refusal
from sso.storage import Storage

#: How long a challenge can be answered, in seconds.
LIFETIME: Final = 300
MOST: Final = 20
_NONCE, _END, _PROOF = 16, 8, 24


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey as its person sees it; *synced* tells that it lives on more than one device."""

    id: str
    name: str
    synced: bool
    created_at: datetime
    used_at: datetime | None


class NewPasskey(NamedTuple):
    """What an authenticator has made."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: Sequence[str]
    backup_eligible: bool
    backed_up: bool


@dataclass(frozen=True, slots=True)
class Assertion:
    """A passkey that was found to have signed *challenge*; not used up yet. *verified*: it knew who held it."""

    passkey_id: str
    challenge: bytes
    sign_count: int
    backed_up: bool
    verified: bool
    method: str = "passkey"


class Passkeys:
    """The passkeys of people."""

    def __init__(self, database: Storage, keys: Keys, audit: Audit, clock: Clock) -> None:
        self.database = database
        self.keys = keys
        self.audit = audit
        self.clock = clock

    # Challenges

    def challenge(self, purpose: str, subject: str) -> bytes:
        """A challenge that is good for *purpose* of *subject* alone, for five minutes."""
        end = int(self.clock().timestamp()) + LIFETIME
        head = self.keys.randomness(_NONCE) + end.to_bytes(_END)
        return head + self._proof(head, purpose, subject)

    def stands(self, challenge: bytes, purpose: str, subject: str) -> bool:
        """Whether *challenge* was made for that, and its time is not over."""
        if len(challenge) != _NONCE + _END + _PROOF:
            return False
        head, proof = challenge[:-_PROOF], challenge[-_PROOF:]
        right = hmac.compare_digest(proof, self._proof(head, purpose, subject))
        return right and int.from_bytes(head[_NONCE:]) > self.clock().timestamp()

    def spend(self, connection: Connection, challenge: bytes) -> bool:
        """Within a transaction: use *challenge* up; False where it was used before."""
        spent = tables.spent_challenges
        digest = sha256(challenge).hexdigest()
        if connection.execute(select(spent.c.digest).where(spent.c.digest == digest)).first() is not None:
            return False
        end = datetime.fromtimestamp(int.from_bytes(challenge[_NONCE : _NONCE + _END]), UTC)
        connection.execute(insert(spent).values(digest=digest, expires_at=end))
        return True

    # Kept

    def find(self, connection: Connection, credential_id: bytes) -> Any:
        """The row of the passkey with that credential id, or None."""
        kept = tables.passkeys
        query = select(kept).where(kept.c.credential_digest == sha256(credential_id).hexdigest())
        return connection.execute(query).first()

    def rows(self, connection: Connection, user_id: str) -> list[Any]:
        """The rows of a user's passkeys, the oldest first."""
        kept = tables.passkeys
        query = select(kept).where(kept.c.user_id == user_id).order_by(kept.c.created_at, kept.c.id)
        return list(connection.execute(query))

    def all(self, row: Any) -> list[Passkey]:
        """The passkeys of the user of a row, the oldest first."""
        found = self.database.read(lambda connection: self.rows(connection, row.id))
        return [self._passkey(row, one) for one in found]

    def keep(self, connection: Connection, row: Any, new: NewPasskey, name: str) -> Passkey:
        """Within a transaction: a further passkey of the user of a row. Raises Problem 409."""
        if self.find(connection, new.credential_id) is not None:
            raise refusal("passkey-known", "this passkey is enrolled already")
        if count(connection, row.id) >= MOST:
            raise refusal("too-many-passkeys", f"an account has {MOST} at most: take one away first")
        ring = self.keys.person(row.key_box)
        values = {
            "id": tables.new_id("pky_", self.keys.randomness(17)), "user_id": row.id,
            "credential_digest": sha256(new.credential_id).hexdigest(), "credential_id": encoded(new.credential_id),
            "public_key": encoded(new.public_key), "sign_count": new.sign_count, "name_box": ring.encrypt(name, "passkey"),
            "transports": list(new.transports), "backup_eligible": new.backup_eligible, "backed_up": new.backed_up,
            "created_at": self.clock(), "used_at": None,
        }  # fmt: skip
        connection.execute(insert(tables.passkeys).values(values))
        return Passkey(values["id"], name, new.backed_up, values["created_at"], None)

    def rename(self, row: Any, passkey_id: str, name: str, caller: Caller) -> Passkey:
        """Give a passkey of the user of a row another name. Raises Problem 404."""
        kept = tables.passkeys
        box = self.keys.person(row.key_box).encrypt(name, "passkey")

        def work(connection: Connection) -> Any:
            named = update(kept).where(kept.c.id == passkey_id, kept.c.user_id == row.id).values(name_box=box)
            if not connection.execute(named).rowcount:
                raise refusal("no-such-passkey", "there is no such passkey")
            self.audit.record(connection, "passkey.rename", caller, target=row.id, details={"passkey": passkey_id})
            return connection.execute(select(kept).where(kept.c.id == passkey_id)).one()

        return self._passkey(row, self.database.write(work))

    def remove(self, connection: Connection, user_id: str, passkey_id: str) -> None:
        """Within a transaction: take a passkey away. Raises Problem 404 where it is not this user's."""
        kept = tables.passkeys
        if not connection.execute(delete(kept).where(kept.c.id == passkey_id, kept.c.user_id == user_id)).rowcount:
            raise refusal("no-such-passkey", "there is no such passkey")

    def consume(self, connection: Connection, user_id: str, proof: Assertion, caller: Caller | None = None) -> bool:
        """Within a transaction: use *proof* up; False where its challenge was used before or its counter went back.

        A counter that went back is audited: it tells of a passkey that was copied (WebAuthn 7.2, step 22).
        """
        kept = tables.passkeys
        if not self.spend(connection, proof.challenge):
            return False
        # SECURITY: S38. One statement compares and sets: of several with one counter one changes the row. An authenticator
        # that has no counter always says 0.
        later = or_(kept.c.sign_count < proof.sign_count, (kept.c.sign_count == 0) & (proof.sign_count == 0))
        used = update(kept).where(kept.c.id == proof.passkey_id, kept.c.user_id == user_id, later)
        values = {"sign_count": proof.sign_count, "used_at": self.clock(), "backed_up": proof.backed_up}
        if connection.execute(used.values(values)).rowcount == 1:
            return True
        details = {"passkey": proof.passkey_id}
        self.audit.record(
            connection, "passkey.counter", caller or Caller(), target=user_id, result="refused", details=details
        )
        return False

    def sweep(self, connection: Connection) -> int:
        """Forget challenges whose time is over; how many there were."""
        spent = tables.spent_challenges
        return connection.execute(delete(spent).where(spent.c.expires_at <= self.clock())).rowcount

    def _passkey(self, row: Any, kept: Any) -> Passkey:
        name = self.keys.person(row.key_box).decrypt(kept.name_box, "passkey")
        return Passkey(kept.id, name, kept.backed_up, kept.created_at, kept.used_at)

    def _proof(self, head: bytes, purpose: str, subject: str) -> bytes:
        return bytes.fromhex(self.keys.device(f"challenge {purpose} {subject} {head.hex()}"))[:_PROOF]


def count(connection: Connection, user_id: str) -> int:
    """How many passkeys a user has."""
    kept = tables.passkeys
    return connection.execute(select(func.count()).where(kept.c.user_id == user_id)).scalar_one()


def encoded(octets: bytes) -> str:
    """Octets as WebAuthn's JSON has them: base64url without padding."""
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """What `encoded` was given. Raises ValueError."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
