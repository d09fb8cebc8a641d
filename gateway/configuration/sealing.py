"""What becomes of the texts of an object before it is stored, and after it is read back.

A stored object is its JSON as it was written, but that some texts are replaced by a map:

    {"$box": ..., "$ref": "${env:X}", "$digest": ...}      a secret, or any text that holds a reference or a URL's password
    {"$hash": ..., "$ref": null, "$digest": ...}           a password: its hash alone
    {"$key": ..., "$ref": null, "$digest": ...}            an API key: the digest that it is found by

``$ref`` is what a dump shows; where it is null the dump shows ``${stored}``, which means "keep what is stored for this
setting", or ``${stored:4f1c...}`` inside a list, where a place alone does not say which. ``$digest`` is keyed: it tells
whether a text is the same as the stored one. What a reference gave is never looked into for references again (A49).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.configuration.document import Warned
from gateway.configuration.kinds import place
from security.credentials import MAX_API_KEY
from security.passwords import MAX_BYTES
from security.passwords import PURPOSE as PASSWORD
from security.references import References, is_reference
from security.secrets import Keyring, Ring, SecretError, identity_of, key_id_of
from specs.problems import ConfigurationError
from specs.settings import Settings, map_leaves

FORMS = {"plain": "$box", "secret": "$box", "password": "$hash", "key": "$key"}
PURPOSE = "configuration"
MARK_LENGTH = 12
SHORT_KEY = 16
LENT = "$credentials"
"""Where a connection holds the credentials that a security definition lent it (`lending`)."""
_LONGEST = {"$hash": MAX_BYTES, "$key": MAX_API_KEY}
_STORED = re.compile(r"\$\{stored(?::([0-9a-f]+))?\}")
_URL_WITH_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s@:]*:[^/\s@]+@")
_INDEX = re.compile(r"\[\d+\]")

Kept = list[tuple[str, Mapping[str, Any]]]
"""What is stored for the texts of an object, by path."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A text of an object that is not stored as it stands: what it is now, or what was stored for it and stays."""

    form: str
    text: str
    reference: str | None
    stored: Mapping[str, Any] | None = None
    clear: bool = True  #: whether the text is what people wrote, and not the hash that was stored for it


@dataclass(frozen=True, slots=True)
class Bound:
    """An object with its references resolved. *values* is what its settings are read from."""

    body: dict[str, Any]
    values: dict[str, Any]
    leaves: Mapping[str, Leaf]


class Sealer:
    """Turns what people write into what is stored, and back. *hash_password* is slow by design; *digest_key* is not."""

    def __init__(self, keyring: Keyring, hash_password: Callable[[str], str], digest_key: Callable[[str], str]) -> None:
        self._keyring = keyring
        self._hashers = {"$hash": hash_password, "$key": digest_key}

    def bind(
        self,
        kind: str,
        name: str,
        body: dict[str, Any],
        settings: type[Settings],
        references: References,
        stored: Mapping[str, Any] | None,
        warnings: list[Warned],
    ) -> Bound:
        """*body* with references resolved, and what is *stored* for the object where it asks for that.

        Raises ConfigurationError.
        """
        root = place(kind, name)
        leaves: dict[str, Leaf] = {}
        kept = list(_stored_leaves(stored, root)) if stored is not None else []

        def visit(word: str, text: str, path: str) -> str:
            if word == "plain" and "$" not in text and "://" not in text:
                return text
            form = FORMS[word]
            if (asked := _STORED.fullmatch(text)) is not None:
                found = _asked_for(asked[1], form, path, root, kept)
                leaves[path] = Leaf(form, self._open(kind, found, path, root), found["$ref"], found, form == "$box")
                return leaves[path].text
            reference = text if is_reference(text) else None
            if word == "plain" and reference is None and not _URL_WITH_PASSWORD.search(text):
                return references.resolve(text, path)
            try:
                resolved = references.resolve(text, path)
            except ConfigurationError as error:
                for at, leaf in kept:
                    # WHY: a dump applies anywhere, and by the admin API, which may not name the variables of the shell.
                    if at == path and leaf["$ref"] == text and form in leaf:
                        warnings.append(Warned(path, f"the stored value stays: {error.message}"))
                        leaves[path] = Leaf(form, self._open(kind, leaf, path, root), text, leaf, form == "$box")
                        return leaves[path].text
                raise
            if form in _LONGEST and len(unicodedata.normalize("NFC", resolved).encode()) > _LONGEST[form]:
                raise ConfigurationError(path, f"a password or key has at most {_LONGEST[form]:,} bytes", "shorten it")
            same = self._same(kind, resolved, form, _where(path, root), root, kept) if resolved else None
            if form == "$key" and len(resolved) < SHORT_KEY:
                warnings.append(Warned(path, f"an API key of less than {SHORT_KEY} characters can be guessed"))
            leaves[path] = Leaf(form, resolved, reference, same)
            return resolved

        values = map_leaves(settings, body, visit, root)
        return Bound(body, values, leaves)

    def attach(self, root: str, bound: Bound, text: str | None, stored: Mapping[str, Any] | None) -> Bound:
        """The connection *bound* with the credentials *text* lent to it; None lets it keep what is *stored* for it.

        Raises ConfigurationError where that is nothing.
        """
        path = f"{root}.{LENT}"
        kept = list(_stored_leaves(stored, root)) if stored is not None else []
        if text is None:
            borrowed_before = stored is not None and stored.get("security") == bound.body["security"]
            found = next((leaf for at, leaf in kept if at == path and borrowed_before), None)
            if found is None:
                raise ConfigurationError(
                    "security",
                    f"only a hash is stored for '{bound.body['security']}', and a hash cannot be sent",
                    "give its password or key in the same document",
                )
            leaf = Leaf("$box", self._open("connections", found, path, root), None, found)
        else:
            leaf = Leaf("$box", text, None, self._same("connections", text, "$box", path, root, kept))
        return Bound({**bound.body, LENT: ""}, bound.values, {**bound.leaves, path: leaf})

    def seal(self, kind: str, bound: Bound, root: str, *, preview: bool = False) -> dict[str, Any]:
        """The object as it is stored. A *preview* costs no hashing and can be compared, but not stored."""
        if not bound.leaves:
            return bound.body
        seal = self._outline if preview else self._seal

        def replace(value: Any, path: str) -> Any:
            if isinstance(value, str):
                leaf = bound.leaves.get(path)
                return value if leaf is None else seal(kind, leaf, _where(path, root))
            if isinstance(value, dict):
                return {key: replace(held, f"{path}.{key}") for key, held in value.items()}
            if isinstance(value, list):
                return [replace(held, f"{path}[{i}]") for i, held in enumerate(value)]
            return value

        return replace(bound.body, root)  # type: ignore[no-any-return]

    def open(self, kind: str, name: str, stored: Mapping[str, Any]) -> dict[str, Any]:
        """What settings are read from: secrets in clear, passwords and keys as their hashes. Raises ConfigurationError."""
        root = place(kind, name)

        def restore(value: Any, path: str) -> Any:
            if isinstance(value, str):
                return _PLAIN.resolve(value) if "$${" in value else value
            if isinstance(value, dict):
                if "$digest" in value:
                    return self._open(kind, value, path, root)
                return {key: restore(held, f"{path}.{key}") for key, held in value.items()}
            if isinstance(value, list):
                return [restore(held, f"{path}[{i}]") for i, held in enumerate(value)]
            return value

        opened: dict[str, Any] = restore(stored, root)
        if LENT in opened:
            opened.update(json.loads(opened.pop(LENT)))
            del opened["security"]
        return opened

    def has_ring(self, kind: str) -> bool:
        """Whether this process may know the secrets of a kind: an edge has no keys for connections."""
        try:
            self._ring(kind)
        except ConfigurationError:
            return False
        return True

    def renew(self, kind: str, name: str, stored: Mapping[str, Any]) -> dict[str, Any]:
        """A stored object with all that is under a key brought under the active one; equal where it is already.

        Raises SecretError for what cannot be opened.
        """
        root = place(kind, name)
        boxes, hashes = self._ring(kind), self._keyring.ring("edge")

        def leaf(value: Mapping[str, Any], path: str) -> dict[str, Any]:
            # WHY: the text of a hash is known to nobody, so a digest takes its own key along; boxes are made anew.
            renewed = {**value, "$digest": boxes.carry(value["$digest"], f"{PURPOSE} {_where(path, root)}")}
            if "$box" in value:
                renewed["$box"] = boxes.encrypt_again(value["$box"], PURPOSE)
            if "$hash" in value:
                renewed["$hash"] = hashes.encrypt_again(value["$hash"], PASSWORD)
            return renewed

        def walk(value: Any, path: str) -> Any:
            if isinstance(value, Mapping):
                if "$digest" in value:
                    return leaf(value, path)
                return {key: walk(held, f"{path}.{key}") for key, held in value.items()}
            if isinstance(value, list):
                return [walk(held, f"{path}[{i}]") for i, held in enumerate(value)]
            return value

        renewed: dict[str, Any] = walk(stored, root)
        return renewed

    def carry_source(self, digest: str) -> str:
        """The digest of a whole document, brought under the active key. Raises SecretError."""
        return self._keyring.ring("edge").carry(digest, f"{PURPOSE} source")

    def digest(self, text: str) -> str:
        """A keyed digest of a whole document."""
        return self._keyring.ring("edge").digest(text, f"{PURPOSE} source")

    def matches(self, text: str, digest: str) -> bool:
        """Whether *digest* was made from *text*."""
        return self._keyring.ring("edge").matches(text, digest, f"{PURPOSE} source")

    def _ring(self, kind: str) -> Ring:
        return self._keyring.ring("connections" if kind == "connections" else "edge")

    def keys(self, bound: Bound) -> list[str]:
        """The digests that the API keys of an object are found by."""
        leaves = [leaf for leaf in bound.leaves.values() if leaf.form == "$key"]
        return [leaf.stored["$key"] if leaf.stored else self._hashers["$key"](leaf.text) for leaf in leaves]

    def _outline(self, kind: str, leaf: Leaf, where: str) -> dict[str, Any]:
        if leaf.stored is not None:
            return {**leaf.stored, "$ref": leaf.reference}
        digest = self._ring(kind).digest(leaf.text, f"{PURPOSE} {where}")
        return {leaf.form: "", "$ref": leaf.reference, "$digest": digest}

    def _seal(self, kind: str, leaf: Leaf, where: str) -> dict[str, Any]:
        if leaf.stored is not None:
            return {**leaf.stored, "$ref": leaf.reference}
        # SECURITY: the place is inside the box, so whoever writes to the database cannot move a secret to another object.
        box = leaf.form == "$box"
        kept = (
            self._ring(kind).encrypt(f"{where}\n{leaf.text}", PURPOSE) if box else self._hashers[leaf.form](leaf.text)
        )
        return {**self._outline(kind, leaf, where), leaf.form: kept}

    def _open(self, kind: str, leaf: Mapping[str, Any], path: str, root: str) -> str:
        if "$box" not in leaf:
            return str(leaf.get("$hash") or leaf["$key"])
        try:
            where, _, text = self._ring(kind).decrypt(leaf["$box"], PURPOSE).partition("\n")
        except SecretError as error:
            raise ConfigurationError(path, f"the stored secret cannot be read: {error}") from None
        if where != _where(path, root):
            raise ConfigurationError(path, f"the stored secret belongs to {where}", "enter it again")
        return text

    def _same(self, kind: str, text: str, form: str, where: str, root: str, kept: Kept) -> Mapping[str, Any] | None:
        """The stored leaf of the same setting that holds the same text; in a list it may have stood elsewhere."""
        ring = self._ring(kind)
        for at, leaf in kept:
            if form in leaf and _where(at, root) == where and ring.matches(text, leaf["$digest"], f"{PURPOSE} {where}"):
                return leaf
        return None


def shown(stored: Any, path: str = "") -> Any:
    """A stored object as a document shows it: references, and ``${stored}`` for what was not one."""
    if isinstance(stored, dict):
        if "$digest" in stored:
            if stored["$ref"] is not None:
                return stored["$ref"]
            return f"${{stored:{_mark(stored)}}}" if _INDEX.search(path) else "${stored}"
        return {key: shown(held, f"{path}.{key}") for key, held in stored.items() if key != LENT}
    if isinstance(stored, list):
        return [shown(held, f"{path}[{i}]") for i, held in enumerate(stored)]
    return stored


def identifying(stored: Any) -> Any:
    """A stored object without what differs each time the same text is sealed."""
    if isinstance(stored, dict):
        if "$digest" in stored:
            form = next(form for form in FORMS.values() if form in stored)
            return [form, stored["$ref"], identity_of(stored["$digest"])]
        return {key: identifying(held) for key, held in stored.items()}
    if isinstance(stored, list):
        return [identifying(held) for held in stored]
    return stored


_PLAIN = References(None)


def stored_keys(stored: Any) -> list[str]:
    """The digests that the API keys of a stored object are found by."""
    return [leaf["$key"] for _, leaf in _stored_leaves(stored, "") if "$key" in leaf]


def keys_under(kind: str, stored: Any) -> set[tuple[str, str]]:
    """The rings and ids of the keys that the texts of a stored object are under."""
    boxes = "connections" if kind == "connections" else "edge"
    found = set()
    for _, leaf in _stored_leaves(stored, ""):
        found.add((boxes, key_id_of(leaf["$digest"])))
        if "$box" in leaf:
            found.add((boxes, key_id_of(leaf["$box"])))
        if "$hash" in leaf:
            found.add(("edge", key_id_of(leaf["$hash"])))
    return found


def _stored_leaves(stored: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(stored, Mapping):
        if "$digest" in stored:
            yield path, stored
            return
        for key, held in stored.items():
            yield from _stored_leaves(held, f"{path}.{key}")
    elif isinstance(stored, list):
        for position, held in enumerate(stored):
            yield from _stored_leaves(held, f"{path}[{position}]")


def _asked_for(mark: str | None, form: str, path: str, root: str, kept: Kept) -> Mapping[str, Any]:
    """The stored leaf that a ``${stored}`` at *path* stands for. Raises ConfigurationError where there is none."""
    where = _where(path, root)
    if mark is None and where != path:
        # SECURITY: by position, a removed item would hand its password on to the next one.
        raise ConfigurationError(
            path, "which of a list's stored values is meant cannot be told", "write ${stored:...} as `config dump` does"
        )
    for at, leaf in kept:
        if form in leaf and _where(at, root) == where and (mark is None or _mark(leaf) == mark):
            return leaf
    raise ConfigurationError(
        path, "nothing is stored for this setting", 'write the value, "${env:NAME}" or "${file:PATH}"'
    )


def _where(path: str, root: str) -> str:
    """*path* below *root* without the positions in lists."""
    return root + _INDEX.sub("[]", path[len(root) :])


def _mark(leaf: Mapping[str, Any]) -> str:
    return identity_of(leaf["$digest"]).rpartition(".")[2][:MARK_LENGTH]
