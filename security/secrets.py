"""Keys, and what is kept under them: encrypted texts, digests to compare by, keys derived for other jobs.

A keyring is one file with two rings: ``edge`` (consumers' credentials) and ``connections`` (what backends log in with; an
edge is not given it). A ring has keys by id, of which one is active: it encrypts, the others still decrypt. Each purpose has a
key of its own, so that a box made for one place cannot be carried to another.

>>> ring = Keyring.generate().ring("edge")
>>> box = ring.encrypt("s3cret", "setting")
>>> ring.decrypt(box, "setting")
's3cret'
>>> ring.matches("s3cret", ring.digest("s3cret", "setting"), "setting")
True
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson
from cryptography.fernet import Fernet, InvalidToken

from specs.problems import ConfigurationError, nearest

RINGS = ("edge", "connections")
KEY_BYTES = 32
_KEY_ID = re.compile(r"[a-z0-9]{1,32}")


class SecretError(Exception):
    """A box that cannot be opened: it was changed, was made for something else, or its key is gone. Never says the secret."""


class Ring:
    """Keys by id, one of them active. *keys* are 32 random bytes each."""

    def __init__(self, name: str, active: str, keys: Mapping[str, bytes]) -> None:
        if active not in keys:
            raise ValueError(f"the active key '{active}' is not in the ring")
        self.name = name
        self.active = active
        self.keys = dict(keys)
        self._fernets: dict[tuple[str, str], Fernet] = {}

    def encrypt(self, text: str, purpose: str) -> str:
        """*text* in a box that only this ring opens, and only for *purpose*: ``v1.<key id>.<Fernet token>``."""
        token = self._fernet(self.active, purpose).encrypt(text.encode())
        return f"v1.{self.active}.{token.decode()}"

    def decrypt(self, box: str, purpose: str) -> str:
        """The text in the box. Raises SecretError for anything but a box of this ring and purpose, bit for bit."""
        version, _, rest = box.partition(".")
        key_id, _, token = rest.partition(".")
        if version != "v1" or not token or not token.isascii():
            raise SecretError("this is not a box of the form v1.<key id>.<token>")
        if key_id not in self.keys:
            raise SecretError(
                f"the ring '{self.name}' has no key '{key_id[:40]}': give the keyring that the box was made with"
            )
        try:
            # SECURITY: Python's decoder skips what is not base64 and ignores spare bits; a box has exactly one spelling.
            if base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)).decode() != token:
                raise InvalidToken
            return self._fernet(key_id, purpose).decrypt(token).decode()
        except (InvalidToken, binascii.Error, ValueError):
            raise SecretError(
                f"a box under key '{key_id}' was changed, or was not made for '{purpose}': enter the secret again"
            ) from None

    def digest(self, text: str, purpose: str) -> str:
        """A keyed digest, ``<key id>.<64 hex digits>``: tells whether a secret is the same without keeping it."""
        return f"{self.active}.{self._digest(self.active, text, purpose)}"

    def matches(self, text: str, digest: str, purpose: str) -> bool:
        """Whether *digest* was made from *text*, by any key of the ring; in constant time. False where its key is gone."""
        key_id, _, value = digest.partition(".")
        if key_id not in self.keys:
            return False
        return hmac.compare_digest(self._digest(key_id, text, purpose).encode(), value.encode())

    def derive(self, purpose: str, key_id: str = "") -> bytes:
        """32 bytes for *purpose* (a MAC, a keyed hash), from the active key or the one named."""
        return blake2b(
            b"%d:%s%s" % (len(self.name), self.name.encode(), purpose.encode()),
            key=self.keys[key_id or self.active],
            digest_size=32,
            person=b"gatewright key 1",
        ).digest()

    def _digest(self, key_id: str, text: str, purpose: str) -> str:
        return blake2b(text.encode(), key=self.derive(f"digest {purpose}", key_id), digest_size=32).hexdigest()

    def _fernet(self, key_id: str, purpose: str) -> Fernet:
        found = self._fernets.get((key_id, purpose))
        if found is None:
            # Purposes are words of the program, so this holds as many entries as there are keys times such words.
            key = base64.urlsafe_b64encode(self.derive(f"encrypt {purpose}", key_id))
            found = self._fernets[key_id, purpose] = Fernet(key)
        return found


class Keyring:
    """The rings of one key file. Raises ConfigurationError, with the remedy, for a file that cannot be used."""

    def __init__(self, rings: Mapping[str, Ring], path: Path | None = None) -> None:
        self.path = path
        self._rings = dict(rings)

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False) -> Keyring:
        """The keyring in the file at *path*; *create* makes one where there is none.

        Processes that create it at the same time end up with the same one.
        """
        path = Path(path)
        if create and not path.exists():
            _create(path, _document(cls.generate()._rings))
        return cls(_read(path), path)

    @classmethod
    def generate(cls) -> Keyring:
        """A keyring with fresh keys, in memory alone."""
        rings = {}
        for name in RINGS:
            key_id = secrets.token_hex(4)
            rings[name] = Ring(name, key_id, {key_id: secrets.token_bytes(KEY_BYTES)})
        return cls(rings)

    def ring(self, name: str) -> Ring:
        """One of the rings. Raises ConfigurationError where this keyring does not have it (an edge has only ``edge``)."""
        try:
            return self._rings[name]
        except KeyError:
            raise ConfigurationError("keys", f"this keyring has no ring '{name}'", nearest(name, self._rings)) from None

    def add_key(self, ring: str) -> str:
        """The id of a new key in *ring*, not active yet: hand the file to every machine first, then `activate` it."""
        key_id = secrets.token_hex(4)
        self._change(ring, lambda old: Ring(old.name, old.active, {**old.keys, key_id: secrets.token_bytes(KEY_BYTES)}))
        return key_id

    def activate(self, ring: str, key_id: str) -> None:
        """Encrypt with this key from now on."""
        self._change(ring, lambda old: Ring(old.name, _known(old, key_id), old.keys))

    def retire(self, ring: str, key_id: str) -> None:
        """Forget a key that is not active; what is still under it cannot be read any more."""

        def without(old: Ring) -> Ring:
            if _known(old, key_id) == old.active:
                raise ConfigurationError("keys", f"the key '{key_id}' is active", "activate another one first")
            return Ring(old.name, old.active, {k: v for k, v in old.keys.items() if k != key_id})

        self._change(ring, without)

    def _change(self, name: str, change: Callable[[Ring], Ring]) -> None:
        if self.path is None:
            self._rings[name] = change(self.ring(name))
            return
        with _locked(self.path):
            rings = _read(self.path)
            if name not in rings:
                raise ConfigurationError("keys", f"this keyring has no ring '{name}'", nearest(name, rings))
            rings[name] = change(rings[name])
            temporary = _write_beside(self.path, _document(rings))
            temporary.replace(self.path)
            _sync_directory(self.path.parent)
            self._rings = rings


def _known(ring: Ring, key_id: str) -> str:
    if key_id not in ring.keys:
        raise ConfigurationError("keys", f"the ring '{ring.name}' has no key '{key_id}'", nearest(key_id, ring.keys))
    return key_id


def _document(rings: Mapping[str, Ring]) -> bytes:
    return orjson.dumps(
        {
            name: {
                "active": ring.active,
                "keys": {key_id: base64.b64encode(key).decode() for key_id, key in ring.keys.items()},
            }
            for name, ring in rings.items()
        },
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def _read(path: Path) -> dict[str, Ring]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            # SECURITY: whoever reads this file reads every secret; who may write it chooses the keys.
            if status.st_mode & 0o077:
                raise ConfigurationError("keys", f"{path} is open to other users", f"chmod 600 {path}")
            if status.st_uid not in (os.geteuid(), 0):
                raise ConfigurationError("keys", f"{path} belongs to another user", f"chown it to user {os.geteuid()}")
            content = file.read(1 << 20)
    except OSError as error:
        raise ConfigurationError(
            "keys", f"cannot read the key file {path}", error.strerror or "give its place by --keys"
        ) from error
    try:
        document = orjson.loads(content)
        rings = {name: _ring(name, value) for name, value in document.items()}
        if not rings or not rings.keys() <= set(RINGS):
            raise ValueError(f"the rings are {', '.join(RINGS)}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # WHY: the cause is not chained: a parser's message may quote what it stumbled over.
        reason = str(error) if type(error) is ValueError else "not the JSON of a keyring"
        raise ConfigurationError("keys", f"{path} is damaged ({reason})", "restore it from a backup") from None
    return rings


def _ring(name: str, value: Any) -> Ring:
    if value.keys() != {"active", "keys"}:
        raise ValueError(f"ring '{name}' has members other than active and keys")
    keys = {}
    for key_id, text in value["keys"].items():
        if not _KEY_ID.fullmatch(key_id):
            raise ValueError(f"ring '{name}' has a key id that is not lower-case letters and digits")
        key = base64.b64decode(text, validate=True)
        if len(key) != KEY_BYTES or base64.b64encode(key).decode() != text:
            raise ValueError(f"key '{key_id}' of ring '{name}' is not {KEY_BYTES} bytes in base64")
        keys[key_id] = key
    if value["active"] not in keys:
        raise ValueError(f"ring '{name}' does not have its active key")
    return Ring(name, value["active"], keys)


def _create(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = _write_beside(path, content)
        try:
            # WHY: a link appears whole or not at all and never replaces: the second creator finds the first one's keys.
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigurationError("keys", f"cannot create the key file {path}", error.strerror or "") from error


def _write_beside(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
