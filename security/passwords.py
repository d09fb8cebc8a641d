"""Passwords: hashed slowly by PBKDF2-SHA512, the hash itself encrypted; verified in threads of their own.

A stolen database gives nothing to guess at without the keyring, and a stolen keyring still leaves 220,000 rounds a guess.
A password is a Unicode text in NFC (RFC 8265: the same key presses on two systems are the same password) of at
most 1,024 bytes in UTF-8; nothing is cut off, folded or trimmed.

>>> from security.secrets import Keyring
>>> hasher = PasswordHasher(Keyring.generate().ring("edge"), rounds=1000)
>>> stored = hasher.hash("correct horse")
>>> hasher.verify("correct horse", stored), hasher.verify("battery staple", stored)
(True, False)
"""

from __future__ import annotations

import os
import secrets
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from passlib.hash import pbkdf2_sha512

from security.secrets import Ring
from security.threads import Threads
from specs.problems import Problem

T = TypeVar("T")
ROUNDS = 220_000
MAX_BYTES = 1024
PURPOSE = "password"


class PasswordUnusable(ValueError):
    """Not a text that can be a password: empty, too long, or with code points that UTF-8 cannot carry."""


class PasswordHasher:
    """Hashes that only *ring* can read. One hash takes about 0.13 s at 220,000 *rounds*: see `HashingPool`."""

    def __init__(self, ring: Ring, *, rounds: int = ROUNDS) -> None:
        self.ring = ring
        self.rounds = rounds
        self._scheme = pbkdf2_sha512.using(rounds=rounds, salt_size=16)
        # A checksum of random bytes: no password is known that gives it, and checking one costs what checking any does.
        self._dummy = ring.encrypt(
            self._scheme(salt=secrets.token_bytes(16), checksum=secrets.token_bytes(64), rounds=rounds).to_string(),
            PURPOSE,
        )

    def hash(self, password: str) -> str:
        """What to store: a box with salt, rounds and checksum in it. Raises PasswordUnusable."""
        return self.ring.encrypt(self._scheme.hash(_canonical(password)), PURPOSE)

    def verify(self, password: str, stored: str) -> bool:
        """Whether *password* is the one behind *stored*, in constant time. Raises SecretError for a damaged box."""
        try:
            given = _canonical(password)
        except PasswordUnusable:
            # SECURITY: A32. Decided before any account is looked at, so the quick answer tells nothing about one.
            return False
        return bool(pbkdf2_sha512.verify(given, self.ring.decrypt(stored, PURPOSE)))

    def needs_rehash(self, stored: str) -> bool:
        """Whether to hash again at the next good login: other rounds (a timing difference, A26), or a key that is not active."""
        if stored.split(".", 2)[1:2] != [self.ring.active]:
            return True
        return bool(self._scheme.needs_update(self.ring.decrypt(stored, PURPOSE)))

    def dummy(self) -> str:
        """A stored hash that no password matches and that costs as much to check as any: for users who do not exist (A26)."""
        return self._dummy


class HashingPool:
    """The threads that hash: as many as there are cores, and a bounded queue before them.

    # PERF: OpenSSL gives the GIL back: 24 hashes in one thread take 2.84 s (hub gap p99 2.9 ms), in two 1.62 s (3.4 ms).
    """

    def __init__(self, threads: int | None = None, *, waiting: int | None = None) -> None:
        count = threads or os.cpu_count() or 1
        # SECURITY: a hash is the dearest thing a stranger can ask for; the queue is at most about four seconds long.
        self._threads = Threads(count, waiting=32 * count if waiting is None else waiting)

    def run(self, work: Callable[[], T]) -> T:
        """What *work* returns. Raises Problem ``overloaded`` (503, Retry-After) where the queue is full."""
        if self._threads.full:
            raise Problem.of(
                "overloaded", "too many credentials are being checked at the moment", headers=[("Retry-After", "2")]
            )
        return self._threads.run(work)

    def close(self) -> None:
        """End the threads."""
        self._threads.close()


def _canonical(password: str) -> bytes:
    # SECURITY: A32. The length is bounded before anything is done with the text; a character has at least one byte.
    if len(password) <= MAX_BYTES:
        try:
            encoded = unicodedata.normalize("NFC", password).encode()
        except UnicodeEncodeError:
            raise PasswordUnusable("a password is a text that UTF-8 can carry") from None
        if 0 < len(encoded) <= MAX_BYTES:
            return encoded
    raise PasswordUnusable(f"a password has from 1 to {MAX_BYTES:,} bytes")
