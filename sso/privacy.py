"""The keys that personal data is under: one for each person, and a few for the installation.

What is encrypted of a person is under a key of their own, which is kept under the keyring's active one: a box carried to
another person's row does not open, to forget the key is to erase the person, and a new key of the keyring means to wrap
the small keys and the hashes again and nothing else. Addresses are found by a keyed digest of their canonical form, which
tells whether two are equal and no more.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Column, Connection, false, func, or_, select, update

from security.database import upsert
from security.passwords import PURPOSE as PASSWORD
from security.secrets import Ring, SecretError
from sso import tables
from sso.storage import Storage

PURPOSE = "sso key"
#: Every column whose boxes are under the keyring itself, and their purpose.
BOXES: Final[tuple[tuple[Column[Any], str], ...]] = (
    (tables.keys.c.box, PURPOSE),
    (tables.users.c.key_box, PURPOSE),
    (tables.users.c.password, PASSWORD),
    (tables.old_passwords.c.password, PASSWORD),
    (tables.recovery_codes.c.hash, PASSWORD),
    (tables.letters.c.box, "sso letter"),
)
_NAMES = ("index", "audit", "renewal", "device")

Randomness = Callable[[int], bytes]


class Keys:
    """The keys of one installation's single sign-on. Makes those that are missing, once for all processes."""

    def __init__(self, database: Storage, ring: Ring, randomness: Randomness) -> None:
        self.ring = ring
        self.randomness = randomness
        found = database.read(_all)
        if set(_NAMES) - set(found):
            made = {name: self._wrap(randomness(32)) for name in _NAMES}
            found = database.write(lambda connection: _complete(connection, made))
        self._keys = {name: self._unwrap(found[name]) for name in _NAMES}

    @property
    def audit(self) -> bytes:
        """The key of the audit's chain."""
        return self._keys["audit"]

    def digest(self, kind: str, value: str) -> str:
        """What *value* (an address, a user name) is found by."""
        return self._mac("index", kind, value)

    def renewal(self, token: str) -> bytes:
        """32 bytes that follow from *token* for whoever holds the key: the token after it."""
        return bytes.fromhex(self._mac("renewal", "session", token))

    def device(self, value: str) -> str:
        """The proof that *value* was given to a device by us."""
        return self._mac("device", "device", value)

    def proves(self, value: str, proof: str) -> bool:
        """Whether *proof* is what `device` gave for *value*, in constant time."""
        # WHY: as bytes; a text with other letters in it would be an error, and it is anybody's.
        return hmac.compare_digest(self.device(value).encode(), proof.encode("utf-8", "surrogatepass"))

    def new_person(self) -> tuple[str, Ring]:
        """A key for a new person: the box to keep, and what encrypts by it."""
        key = self.randomness(32)
        return self._wrap(key), _ring(key)

    def person(self, key_box: str | None) -> Ring:
        """What opens the boxes of the person with this *key_box*. Raises SecretError where it was erased."""
        if not key_box:
            raise SecretError("the key of this person was erased")
        return _ring(self._unwrap(key_box))

    def rewrap(self, connection: Connection, most: int = 500) -> int:
        """Bring up to *most* boxes under the keyring's active key; how many there were. 0 means that nothing is left."""
        return rewrap(connection, self.ring, BOXES, most)

    def under(self, connection: Connection, key_id: str) -> int:
        """How many boxes are under that key of the keyring, passwords included; it cannot be retired before there are none."""
        prefix = f"v1.{key_id}."
        return sum(
            connection.execute(
                select(func.count()).select_from(column.table).where(column.startswith(prefix, autoescape=True))
            ).scalar_one()
            for column, _ in BOXES
        )

    def _mac(self, key: str, kind: str, value: str) -> str:
        return hmac.new(self._keys[key], f"{kind}\0{value}".encode("utf-8", "surrogatepass"), sha256).hexdigest()

    def _wrap(self, key: bytes) -> str:
        return self.ring.encrypt(base64.b64encode(key).decode(), PURPOSE)

    def _unwrap(self, box: str) -> bytes:
        return base64.b64decode(self.ring.decrypt(box, PURPOSE))


def rewrap(connection: Connection, ring: Ring, boxes: Iterable[tuple[Column[Any], str]], most: int) -> int:
    """Bring up to *most* boxes of *ring* in these columns under its active key; how many there were.

    What does not open is left as it is, so that the rest goes on; it is in the way of retiring its key.
    """
    done = 0
    others = [f"v1.{key_id}." for key_id in ring.keys if key_id != ring.active]
    for column, purpose in boxes:
        key = list(column.table.primary_key)
        stale = select(column, *key).where(or_(false(), *(column.startswith(one, autoescape=True) for one in others)))
        for box, *own in connection.execute(stale.order_by(*key).limit(most - done)).all():
            try:
                again = ring.encrypt_again(box, purpose)
            except SecretError:
                continue
            # WHY: only what was read is replaced; a box that changed meanwhile is under the active key already.
            same = (column == box, *(part == value for part, value in zip(key, own, strict=True)))
            done += connection.execute(update(column.table).where(*same).values({column.name: again})).rowcount
    return done


def _ring(key: bytes) -> Ring:
    return Ring("sso person", "p", {"p": key})


def _all(connection: Connection) -> dict[str, str]:
    return {row.name: row.box for row in connection.execute(select(tables.keys))}


def _complete(connection: Connection, made: dict[str, str]) -> dict[str, str]:
    for name, box in made.items():
        if name not in _all(connection):
            upsert(connection, tables.keys, {"name": name}, {"box": box})
    return _all(connection)
