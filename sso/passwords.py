"""What a password has to be, and how those of other systems are taken over.

Hashes are `security.passwords`: PBKDF2 and then Fernet. A hash that came from elsewhere is encrypted in the same way and
replaced by one of ours when its owner next logs in.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

from passlib import hash as schemes

from security.passwords import MAX_BYTES, PURPOSE, HashingPool, PasswordHasher
from sso.problems import invalid
from sso.settings import PasswordRules
from sso.weak_passwords import weakness

#: How a hash of each foreign scheme begins, its name at libpass, the library that it needs, and its greatest cost.
FOREIGN: Final = (
    ("$pbkdf2-sha512$", "pbkdf2_sha512", "", 2_000_000),
    ("$pbkdf2-sha256$", "pbkdf2_sha256", "", 2_000_000),
    ("pbkdf2_sha256$", "django_pbkdf2_sha256", "", 2_000_000),
    ("$2a$", "bcrypt", "bcrypt", 14),
    ("$2b$", "bcrypt", "bcrypt", 14),
    ("$2y$", "bcrypt", "bcrypt", 14),
    ("$argon2", "argon2", "argon2", 10),
)
#: Most memory of an argon2 hash (KiB), most of it in all of its passes together, and most threads that a pass is begun with.
_MOST_MEMORY: Final = 262_144
_MOST_FILLED: Final = 4 * _MOST_MEMORY
_MOST_THREADS: Final = 16
_OWN = "$pbkdf2-sha512$"
#: Bytes of a password that bcrypt reads. Whoever made such a hash cut the rest off, so it is cut off to compare with it.
_READ_BY_BCRYPT = 72


class Passwords:
    """Hashes, verifies and judges passwords; the work is done in the threads of *pool*."""

    def __init__(self, rules: PasswordRules, hasher: PasswordHasher, pool: HashingPool) -> None:
        self.rules = rules
        self.hasher = hasher
        self.pool = pool

    def hash(self, password: str) -> str:
        """What to store. Raises Problem 503 ``overloaded``."""
        return self.pool.run(lambda: self.hasher.hash(password))

    def verify(self, password: str, stored: str | None) -> bool:
        """Whether the password is right; *stored* of None costs as much as a wrong one (S11). Raises Problem 503."""
        return self.pool.run(lambda: self._verify(password, stored or self.hasher.dummy()))

    def needs_rehash(self, stored: str) -> bool:
        """Whether the password is to be hashed again at the next good login."""
        foreign = not self.hasher.ring.decrypt(stored, PURPOSE).startswith(_OWN)
        return foreign or self.hasher.needs_rehash(stored)

    def check(
        self, password: str, member: str, *, own: Iterable[str], context: Iterable[str] = (), mfa: bool = False
    ) -> None:
        """Raise Problem 422 where *password* cannot be one; *mfa* says that a second factor is always asked for."""
        least = self.rules.min_length_with_mfa if mfa else self.rules.min_length
        length = len(unicodedata.normalize("NFC", password[: MAX_BYTES + 1]))
        if length < least:
            raise invalid(member, "too-short", f"a password has {least} characters at least")
        try:
            encoded = len(password.encode())
        except UnicodeEncodeError:
            raise invalid(member, "invalid", "a password is a text that UTF-8 can carry") from None
        # SECURITY: S9. A longer one is refused, never cut off: two that differ at the end are different.
        if length > self.rules.max_length or encoded > MAX_BYTES:
            raise invalid(member, "too-long", f"a password has {self.rules.max_length} characters at most")
        weak = weakness(password, own, [*context, *self.rules.context_words])
        if weak is not None:
            raise invalid(member, "too-weak", f"choose another password: {weak}")

    def take_foreign(self, foreign: str) -> str:
        """A hash of another system as it is stored here. Raises Problem 422 for one that cannot be verified here."""
        _, cost = _scheme(foreign)
        if cost is None:
            raise invalid("password_hash", "invalid", "not a hash that can be verified here")
        return self.hasher.ring.encrypt(foreign, PURPOSE)

    def _verify(self, password: str, stored: str) -> bool:
        foreign = self.hasher.ring.decrypt(stored, PURPOSE)
        if foreign.startswith(_OWN) or not 0 < len(password) <= MAX_BYTES:
            return self.hasher.verify(password, stored)
        scheme, cost = _scheme(foreign)
        if cost is None:
            return self.hasher.verify(password, self.hasher.dummy())
        given = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
        if scheme.name == "bcrypt":
            given = given[:_READ_BY_BCRYPT]
        try:
            return bool(scheme.verify(given, foreign))
        except ValueError:  # no scheme takes every text: bcrypt refuses a zero byte
            return False


def _scheme(foreign: str) -> tuple[Any, int | None]:
    """The scheme of a hash, and its cost; a cost of None where it cannot be verified at a cost that is bearable."""
    for prefix, name, library, most in FOREIGN:
        if not foreign.startswith(prefix) or len(foreign) > 1024:
            continue
        if library and importlib.util.find_spec(library) is None:
            raise invalid(
                "password_hash", "unsupported", f"hashes of {name} need the extra: install gatewright[hashes]"
            )
        scheme = getattr(schemes, name)
        try:
            found = scheme.from_string(foreign)
        except (ValueError, TypeError):
            return scheme, None
        # SECURITY: a hash of a billion rounds would be a login that holds a thread for minutes.
        # So would a pass over little memory that begins a thousand threads.
        memory, threads = getattr(found, "memory_cost", 0), getattr(found, "parallelism", 1)
        bearable = memory <= _MOST_MEMORY and memory * found.rounds <= _MOST_FILLED and threads <= _MOST_THREADS
        if not found.checksum or found.rounds > most or not bearable:
            return scheme, None
        return scheme, int(found.rounds)
    return None, None
