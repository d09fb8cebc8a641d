"""References: secrets that a document names and does not hold, ``${env:NAME}`` and ``${file:PATH}``.

A text may hold several, and other text around them; ``$${`` stands for ``${`` itself. What a reference gives is not looked
into again.

>>> references = References(Path("."), environ={"P": "s3cret"})
>>> references.resolve("postgresql://crm:${env:P}@db/crm")
'postgresql://crm:s3cret@db/crm'
>>> references.resolve("$${env:P}")
'${env:P}'
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from specs.problems import ConfigurationError, nearest

#: The only variables that a document from the admin API may name.
API_PREFIX = "GATEWRIGHT_SECRET_"
MAX_FILE_BYTES = 65_536
_SOURCES = ("env", "file")


def is_reference(text: str) -> bool:
    """Whether *text* holds a reference (or the beginning of one), not counting ``$${``."""
    return any(kind == "reference" for kind, _ in _pieces(text))


class References:
    """What references mean to one author of documents. Raises ConfigurationError, which never holds a value.

    Files are relative to *base*. *env_prefix* limits the variables, *root* the files, to what begins with it or lies below it.
    """

    def __init__(
        self,
        base: Path | None,
        *,
        environ: Mapping[str, str] | None = None,
        env_prefix: str = "",
        root: Path | None = None,
    ) -> None:
        self.base = base
        self.environ = os.environ if environ is None else environ
        self.env_prefix = env_prefix
        self.root = root

    @classmethod
    def from_api(cls, secrets_dir: Path | None, *, environ: Mapping[str, str] | None = None) -> References:
        """For a document that arrived over the network: `API_PREFIX` variables, and files below *secrets_dir* if any."""
        return cls(secrets_dir, environ=environ, env_prefix=API_PREFIX, root=secrets_dir)

    def resolve(self, text: str, path: str = "") -> str:
        """*text* with each reference replaced; *path* is its place in the document, for errors."""
        return "".join(self._value(piece, path) if kind == "reference" else piece for kind, piece in _pieces(text))

    def _value(self, reference: str, path: str) -> str:
        source, colon, name = reference.partition(":")
        if not reference.endswith("}"):
            raise ConfigurationError(
                path, "a reference is not closed", "write ${env:NAME}, or $${ for the signs themselves"
            )
        name = name.removesuffix("}")
        if not colon or source not in _SOURCES:
            word = source.removesuffix("}")
            remedy = f"write ${{env:{word}}}" if not colon and word.isupper() else nearest(word, _SOURCES)
            raise ConfigurationError(path, f"no kind of reference called '{word[:40]}'", remedy)
        if not name:
            raise ConfigurationError(path, f"a reference of kind '{source}' names nothing", f"write ${{{source}:NAME}}")
        return self._variable(name, path) if source == "env" else self._file(name, path)

    def _variable(self, name: str, path: str) -> str:
        if not name.startswith(self.env_prefix):
            raise ConfigurationError(
                path,
                f"this document may not refer to the variable {name}",
                f"use one whose name begins with {self.env_prefix}",
            )
        value = self.environ.get(name)
        if not value:
            state = "is not set" if value is None else "is empty"
            raise ConfigurationError(path, f"the environment variable {name} {state}", f"set {name} and try again")
        return value

    def _file(self, name: str, path: str) -> str:
        if self.base is None:
            raise ConfigurationError(path, "this document may not refer to files", "start with --secrets-dir DIR")
        found = self.base / name
        try:
            # SECURITY: the real place counts, so neither ".." nor a link leads out of the directory that was allowed.
            found = found.resolve(strict=True)
            if self.root is not None and not found.is_relative_to(self.root.resolve()):
                raise ConfigurationError(
                    path,
                    f"this document may not refer to the file {name}",
                    "use one below the directory of --secrets-dir",
                )
            if not found.is_file():
                raise ConfigurationError(path, f"{name} is not a file", "name a file with the secret in it")
            with found.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a name of a file"
            raise ConfigurationError(path, f"the file {name!r} cannot be read", reason.lower()) from None
        if len(content) > MAX_FILE_BYTES:
            raise ConfigurationError(
                path, f"the file {name} is too large", f"a secret has at most {MAX_FILE_BYTES} bytes"
            )
        try:
            value = content.decode()
        except UnicodeDecodeError:
            raise ConfigurationError(
                path, f"the file {name} is not UTF-8 text", "encode binary secrets as text"
            ) from None
        # WHY: editors and `echo` end a file with one line end that is not part of the secret.
        value = value.removesuffix("\n").removesuffix("\r")
        if not value:
            raise ConfigurationError(path, f"the file {name} is empty", "write the secret into it")
        return value


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """The text in pieces: ``("text", ...)`` as it stands, ``("reference", "env:NAME}")`` without its opening signs."""
    position = 0
    while (start := text.find("${", position)) >= 0:
        if start > position and text[start - 1] == "$":
            yield "text", text[position : start - 1] + "${"
            position = start + 2
            continue
        if start > position:
            yield "text", text[position:start]
        end = text.find("}", start)
        end = len(text) if end < 0 else end + 1
        yield "reference", text[start + 2 : end]
        position = end
    if position < len(text):
        yield "text", text[position:]
