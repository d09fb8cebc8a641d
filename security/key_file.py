"""The file that keys are in: read whole, changed under a lock, replaced in one step; and what the keys in it are wrapped by.

    {"edge": {"active": "1a2b3c4d", "keys": {"1a2b3c4d": "<32 bytes in base64>"}}, "connections": {...}}
    {"vault": {"url": "https://vault:8200", "mount": "transit", "key": "gatewright"}, "edge": {... "vault:v1:..."}, ...}

In the second form each key is encrypted by a key that Vault keeps (`security.transit`), and the file alone opens nothing.
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from security.transit import Transit
from specs.problems import ConfigurationError

RINGS = ("edge", "connections")
KEY_BYTES = 32
LARGEST = 1 << 20
_KEY_ID = re.compile(r"[a-z0-9]{1,32}")

#: What tells that a file is another one, or has other content.
Signature = tuple[int, int, int, int]


class Wrapping(Protocol):
    """How keys stand in the file."""

    def wrap(self, keys: Sequence[bytes]) -> list[str]:
        """The texts that stand for *keys*."""

    def unwrap(self, texts: Sequence[str]) -> list[bytes]:
        """The keys behind *texts*. Raises ValueError for what is none."""


class Plain:
    """Keys as they are, in base64: the file is the secret."""

    def wrap(self, keys: Sequence[bytes]) -> list[str]:
        """See Wrapping."""
        return [base64.b64encode(key).decode() for key in keys]

    def unwrap(self, texts: Sequence[str]) -> list[bytes]:
        """See Wrapping."""
        return [_plain(text) for text in texts]


@dataclass(frozen=True, slots=True)
class Held:
    """One ring in the file: the id of the active key, and each key's text by its id."""

    active: str
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Document:
    """What the file says: its rings by name, and where Vault is that wraps their keys, if it does."""

    rings: Mapping[str, Held]
    vault: Mapping[str, str] | None = None

    def with_ring(self, name: str, held: Held) -> Document:
        """The same, with another ring of that name."""
        return Document({**self.rings, name: held}, self.vault)

    @property
    def wrapping(self) -> Wrapping:
        """What wraps its keys. Raises ConfigurationError where Vault is named in a way that cannot be."""
        if self.vault is None:
            return Plain()
        return Transit.of(self.vault)

    def as_bytes(self) -> bytes:
        """The content of the file."""
        rings = {name: {"active": held.active, "keys": dict(held.texts)} for name, held in self.rings.items()}
        whole = {"vault": dict(self.vault), **rings} if self.vault is not None else rings
        return orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def new_document(wrapping: Wrapping | None = None) -> Document:
    """Both rings, with a fresh key each."""
    wrapping = wrapping or Plain()
    rings = {}
    for name in RINGS:
        key_id = new_id()
        rings[name] = Held(key_id, {key_id: wrapping.wrap([secrets.token_bytes(KEY_BYTES)])[0]})
    return Document(rings)


def new_id() -> str:
    """The id of a new key."""
    return secrets.token_hex(4)


def signature_of(path: Path) -> Signature:
    """What changes when the file does. Raises OSError."""
    return _signature(path.stat())


def read(path: Path) -> tuple[Document, Signature]:
    """What the file at *path* says. Raises ConfigurationError for one that others can touch, or that is damaged."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            # SECURITY: whoever reads this file reads every secret; who may write it chooses the keys.
            if status.st_mode & 0o077:
                raise ConfigurationError("keys", f"{path} is open to other users", f"chmod 600 {path}")
            if status.st_uid not in (os.geteuid(), 0):
                raise ConfigurationError("keys", f"{path} belongs to another user", f"chown it to user {os.geteuid()}")
            content = file.read(LARGEST)
    except OSError as error:
        raise ConfigurationError(
            "keys", f"cannot read the key file {path}", error.strerror or "give its place by --keys"
        ) from error
    try:
        whole = orjson.loads(content)
        vault = whole.pop("vault", None)
        rings = {name: _held(name, value, wrapped=vault is not None) for name, value in whole.items()}
        if not rings or not rings.keys() <= set(RINGS):
            raise ValueError(f"the rings are {', '.join(RINGS)}")
        if vault is not None and not all(type(value) is str for value in vault.values()):
            raise ValueError("what it says of Vault are texts")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # WHY: the cause is not chained: a parser's message may quote what it stumbled over.
        reason = str(error) if type(error) is ValueError else "not the JSON of a keyring"
        raise damaged(path, reason) from None
    return Document(rings, vault), _signature(status)


def create(path: Path, content: bytes) -> None:
    """Make the file where there is none; who comes second leaves the first one's. Raises ConfigurationError."""
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


def replace(path: Path, content: bytes) -> None:
    """Put *content* in the place of what the file holds, in one step, on the disk."""
    _write_beside(path, content).replace(path)
    _sync_directory(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The block is the only one that changes the file."""
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def damaged(path: Path, reason: str) -> ConfigurationError:
    """A file that cannot be used."""
    return ConfigurationError("keys", f"{path} is damaged ({reason})", "restore it from a backup")


def _held(name: str, value: Any, *, wrapped: bool) -> Held:
    if value.keys() != {"active", "keys"}:
        raise ValueError(f"ring '{name}' has members other than active and keys")
    for key_id, text in value["keys"].items():
        if not _KEY_ID.fullmatch(key_id):
            raise ValueError(f"ring '{name}' has a key id that is not lower-case letters and digits")
        if wrapped:
            if not text.startswith("vault:"):
                raise ValueError(f"key '{key_id}' of ring '{name}' is not one that Vault has wrapped")
            continue
        try:
            _plain(text)
        except ValueError:
            raise ValueError(f"key '{key_id}' of ring '{name}' is not {KEY_BYTES} bytes in base64") from None
    if value["active"] not in value["keys"]:
        raise ValueError(f"ring '{name}' does not have its active key")
    return Held(value["active"], value["keys"])


def _plain(text: str) -> bytes:
    key = base64.b64decode(text, validate=True)
    if len(key) != KEY_BYTES or base64.b64encode(key).decode() != text:
        raise ValueError(f"a key has {KEY_BYTES} bytes")
    return key


def _signature(status: os.stat_result) -> Signature:
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


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
