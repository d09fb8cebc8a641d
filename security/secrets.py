"""Keys, and what is kept under them: encrypted texts, digests to compare by, keys derived for other jobs.

A keyring is one file with two rings: ``edge`` (consumers' credentials) and ``connections`` (what backends log in with; an
edge is not given it). A ring has keys by id, of which one is active: it encrypts, the others still decrypt. Each purpose has a
key of its own, so that a box made for one place cannot be carried to another.

Keys change while everything serves: an opened keyring follows its file. Before it encrypts it looks whether another key has become
active; a key that it does not know is looked for in the file; and keys that were retired stay known to processes that
knew them, for what they have in memory was made by them.

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
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from security import key_file
from security.key_file import KEY_BYTES, RINGS, Document, Held, Plain
from security.transit import Transit
from specs.problems import ConfigurationError, nearest

__all__ = ["RINGS", "KeyMissing", "Keyring", "Ring", "SecretError", "identity_of", "key_id_of"]

log = logging.getLogger("gatewright.keys")

#: After so many seconds a changed file that could not be used is read once more.
TRY_AGAIN = 10.0


class SecretError(Exception):
    """A box that cannot be opened: it was changed, was made for something else, or its key is gone. Never says the secret."""


class KeyMissing(SecretError):
    """A box whose key is not in the ring."""

    def __init__(self, ring: str, key_id: str) -> None:
        super().__init__(f"the ring '{ring}' has no key '{key_id[:40]}': give the keyring that the box was made with")
        self.ring = ring
        self.key_id = key_id


class Ring:
    """Keys by id, one of them active. *keys* are 32 random bytes each; *follow* takes up what has changed, if anything has."""

    def __init__(
        self, name: str, active: str, keys: Mapping[str, bytes], follow: Callable[[], bool] = lambda: False
    ) -> None:
        if active not in keys:
            raise ValueError(f"the active key '{active}' is not in the ring")
        self.name = name
        # WHY: one attribute, so that a thread that reads it sees a key that is active and there.
        self._held = (active, dict(keys))
        self._follow = follow
        self._fernets: dict[tuple[str, str], Fernet] = {}

    @property
    def active(self) -> str:
        """The id of the key that encrypts."""
        return self._held[0]

    @property
    def keys(self) -> Mapping[str, bytes]:
        """Every key, by its id."""
        return self._held[1]

    def encrypt(self, text: str, purpose: str) -> str:
        """*text* in a box that only this ring opens, and only for *purpose*: ``v1.<key id>.<Fernet token>``."""
        # PERF: a stat of the file, 1.5 us beside the 10 of Fernet: no process goes on with a key that was put aside.
        self._follow()
        active = self.active
        token = self._fernet(active, purpose).encrypt(text.encode())
        return f"v1.{active}.{token.decode()}"

    def decrypt(self, box: str, purpose: str) -> str:
        """The text in the box. Raises SecretError for anything but a box of this ring and purpose, bit for bit."""
        version, _, rest = box.partition(".")
        key_id, _, token = rest.partition(".")
        if version != "v1" or not token or not token.isascii():
            raise SecretError("this is not a box of the form v1.<key id>.<token>")
        if not self._knows(key_id):
            raise KeyMissing(self.name, key_id)
        try:
            # SECURITY: Python's decoder skips what is not base64 and ignores spare bits; a box has exactly one spelling.
            if base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)).decode() != token:
                raise InvalidToken
            return self._fernet(key_id, purpose).decrypt(token).decode()
        except (InvalidToken, binascii.Error, ValueError):
            raise SecretError(
                f"a box under key '{key_id}' was changed, or was not made for '{purpose}': enter the secret again"
            ) from None

    def encrypt_again(self, box: str, purpose: str) -> str:
        """What is in *box*, in a box under the active key; *box* itself where it is that already. Raises SecretError."""
        self._follow()
        return box if key_id_of(box) == self.active else self.encrypt(self.decrypt(box, purpose), purpose)

    def digest(self, text: str, purpose: str) -> str:
        """A keyed digest, ``<key id>.<64 hex digits>``: tells whether a secret is the same without keeping it."""
        self._follow()
        active = self.active
        return f"{active}.{_digest(self._digest_key(active, purpose), text)}"

    def matches(self, text: str, digest: str, purpose: str) -> bool:
        """Whether *digest* was made from *text*, by any key of the ring; in constant time. False where its key is gone."""
        try:
            key, value = self._behind(digest, purpose)
        except SecretError:
            return False
        return hmac.compare_digest(_digest(key, text).encode(), value.encode("utf-8", "surrogatepass"))

    def carry(self, digest: str, purpose: str) -> str:
        """*digest* so that it outlives its key: what that key is for this purpose goes along, in a box under the active one.

        For digests whose text nobody has any more; ``<key id>:<64 hex digits>:<box>``. Raises SecretError.
        """
        self._follow()
        if key_id_of(digest) == self.active:
            return digest
        key, value = self._behind(digest, purpose)
        box = self.encrypt(base64.b64encode(key).decode(), f"digest {purpose}")
        return f"{identity_of(digest).partition('.')[0]}:{value}:{box}"

    def derive(self, purpose: str, key_id: str = "") -> bytes:
        """32 bytes for *purpose* (a MAC, a keyed hash), from the active key or the one named."""
        return blake2b(
            b"%d:%s%s" % (len(self.name), self.name.encode(), purpose.encode()),
            key=self.keys[key_id or self.active],
            digest_size=32,
            person=b"gatewright key 1",
        ).digest()

    def _become(self, active: str, keys: Mapping[str, bytes]) -> None:
        self._held = (active, dict(keys))

    def _knows(self, key_id: str) -> bool:
        return key_id in self.keys or (self._follow() and key_id in self.keys)

    def _behind(self, digest: str, purpose: str) -> tuple[bytes, str]:
        """The key that a digest was made with, and its value. Raises SecretError."""
        head, colon, rest = digest.partition(":")
        if colon:
            value, _, box = rest.partition(":")
            return base64.b64decode(self.decrypt(box, f"digest {purpose}")), value
        key_id, _, value = head.partition(".")
        if not self._knows(key_id):
            raise KeyMissing(self.name, key_id)
        return self._digest_key(key_id, purpose), value

    def _digest_key(self, key_id: str, purpose: str) -> bytes:
        return self.derive(f"digest {purpose}", key_id)

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
        self._seen: key_file.Signature | None = None
        self._refused: key_file.Signature | None = None
        self._again = 0.0
        self._opened: dict[str, bytes] = {}

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False) -> Keyring:
        """The keyring in the file at *path*; *create* makes one where there is none.

        Processes that create it at the same time end up with the same one.
        """
        path = Path(path)
        if create and not path.exists():
            key_file.create(path, key_file.new_document().as_bytes())
        keyring = cls({}, path)
        document, seen = key_file.read(path)
        keyring._take_up(document)
        keyring._seen = seen
        return keyring

    @classmethod
    def generate(cls) -> Keyring:
        """A keyring with fresh keys, in memory alone."""
        keyring = cls({})
        keyring._take_up(key_file.new_document())
        return keyring

    @property
    def names(self) -> tuple[str, ...]:
        """The rings that there are."""
        return tuple(self._rings)

    def ring(self, name: str) -> Ring:
        """One of the rings. Raises ConfigurationError where this keyring does not have it (an edge has only ``edge``)."""
        try:
            return self._rings[name]
        except KeyError:
            raise ConfigurationError("keys", f"this keyring has no ring '{name}'", nearest(name, self._rings)) from None

    def follow(self) -> bool:
        """Take up what has changed in the file, if anything has; whether it had. What cannot be read changes nothing."""
        if self.path is None:
            return False
        try:
            seen = key_file.signature_of(self.path)
        except OSError:
            return False
        if seen == self._seen or (seen == self._refused and time.monotonic() < self._again):
            return False
        try:
            document, seen = key_file.read(self.path)
            self._take_up(document, keep=True)
        except ConfigurationError as error:
            # WHY: what runs goes on with the keys that it has. What wraps the new ones may come back, so it is tried again.
            log.error("the key file has changed and cannot be used, the keys before it stay: %s", error)
            self._refused, self._again = seen, time.monotonic() + TRY_AGAIN
            return False
        self._seen = seen
        log.info("the key file has changed: %s", ", ".join(f"{r.name} {r.active}" for r in self._rings.values()))
        return True

    def add_key(self, ring: str) -> str:
        """The id of a new key in *ring*, not active yet: hand the file to every machine first, then `activate` it."""
        key_id = key_file.new_id()

        def added(document: Document, held: Held) -> Held:
            text = document.wrapping.wrap([secrets.token_bytes(KEY_BYTES)])[0]
            return Held(held.active, {**held.texts, key_id: text})

        self._change(ring, added)
        return key_id

    def activate(self, ring: str, key_id: str) -> None:
        """Encrypt with this key from now on."""
        self._change(ring, lambda document, held: Held(_known(ring, held, key_id), held.texts))

    def retire(self, ring: str, key_id: str) -> Callable[[], None]:
        """Forget a key that is not active; what is still under it cannot be read any more. The way back, while this lives."""
        forgotten = ""

        def without(document: Document, held: Held) -> Held:
            nonlocal forgotten
            if _known(ring, held, key_id) == held.active:
                raise ConfigurationError("keys", f"the key '{key_id}' is active", "activate another one first")
            forgotten = held.texts[key_id]
            return Held(held.active, {name: text for name, text in held.texts.items() if name != key_id})

        self._change(ring, without)
        return lambda: self._change(ring, lambda _, held: Held(held.active, {**held.texts, key_id: forgotten}))

    @property
    def wrapped(self) -> bool:
        """Whether the keys in the file are encrypted by another one. Raises ConfigurationError."""
        return self.path is not None and key_file.read(self.path)[0].vault is not None

    def wrap(self, transit: Transit | None) -> None:
        """Have the keys in the file encrypted by *transit*; None writes them as they are. Raises ConfigurationError."""
        self._rewrite(lambda document: (transit.as_place() if transit is not None else None, None))

    def rewrap(self) -> None:
        """Bring the keys in the file under the newest version of the key that wraps them. Raises ConfigurationError."""

        def again(document: Document) -> tuple[dict[str, str] | None, Callable[[list[str]], list[str]] | None]:
            if document.vault is None:
                raise ConfigurationError("keys", "the keys are not wrapped", "wrap them first")
            return dict(document.vault), Transit.of(document.vault).rewrap

        self._rewrite(again)

    def _rewrite(
        self, change: Callable[[Document], tuple[dict[str, str] | None, Callable[[list[str]], list[str]] | None]]
    ) -> None:
        """Write each key in another way; which keys there are stays."""
        if self.path is None:
            raise ConfigurationError("keys", "this keyring has no file", "open it from one")
        with key_file.locked(self.path):
            document, _ = key_file.read(self.path)
            self._take_up(document, keep=True)
            vault, again = change(document)
            rings = {}
            for name, held in document.rings.items():
                texts = list(held.texts.values())
                made = Document({}, vault)
                new = again(texts) if again else made.wrapping.wrap([self._opened[text] for text in texts])
                rings[name] = Held(held.active, dict(zip(held.texts, new, strict=True)))
            rewritten = Document(rings, vault)
            # What cannot be opened again is not written.
            self._take_up(rewritten, keep=True)
            key_file.replace(self.path, rewritten.as_bytes())

    def _change(self, name: str, change: Callable[[Document, Held], Held]) -> None:
        if self.path is None:
            wrapping = Plain()
            texts = {i: wrapping.wrap([key])[0] for i, key in self.ring(name).keys.items()}
            document = Document({name: Held(self.ring(name).active, texts)})
            self._take_up(document.with_ring(name, change(document, document.rings[name])))
            return
        with key_file.locked(self.path):
            document, _ = key_file.read(self.path)
            if name not in document.rings:
                raise ConfigurationError("keys", f"this keyring has no ring '{name}'", nearest(name, document.rings))
            document = document.with_ring(name, change(document, document.rings[name]))
            key_file.replace(self.path, document.as_bytes())
            self._take_up(document)

    def _take_up(self, document: Document, *, keep: bool = False) -> None:
        """Have the rings be those of *document*; *keep* keeps keys that are no longer in it. Raises ConfigurationError."""
        wanted = [text for held in document.rings.values() for text in held.texts.values() if text not in self._opened]
        if wanted:
            try:
                keys = document.wrapping.unwrap(wanted)
            except ValueError:
                keys = []
            if {len(key) for key in keys} != {KEY_BYTES}:
                raise key_file.damaged(self.path or Path("keys"), "a key in it is none of ours")
            self._opened |= dict(zip(wanted, keys, strict=True))
        for name, held in document.rings.items():
            keys_by_id = {key_id: self._opened[text] for key_id, text in held.texts.items()}
            ring = self._rings.get(name)
            if ring is None:
                self._rings[name] = Ring(name, held.active, keys_by_id, self.follow)
            else:
                ring._become(held.active, {**ring.keys, **keys_by_id} if keep else keys_by_id)


def key_id_of(kept: str) -> str:
    """The id of the key that a box or a digest is under."""
    kept = kept.rpartition(":")[2]
    first, _, rest = kept.partition(".")
    return rest.partition(".")[0] if first == "v1" else first


def identity_of(digest: str) -> str:
    """A digest as it was made, carried or not: equal for the same one, however often its keys were changed."""
    key_id, colon, rest = digest.partition(":")
    return f"{key_id}.{rest.partition(':')[0]}" if colon else digest


def _digest(key: bytes, text: str) -> str:
    return blake2b(text.encode(), key=key, digest_size=32).hexdigest()


def _known(ring: str, held: Held, key_id: str) -> str:
    if key_id not in held.texts:
        raise ConfigurationError("keys", f"the ring '{ring}' has no key '{key_id}'", nearest(key_id, held.texts))
    return key_id
