"""The tables of deployed services, and what one row of them says.

A version is a set of files and the contracts compiled from them, under a MAC: whoever can write to the database but has no
key cannot have code of their own run. Which version serves is another, append-only table, under a MAC too.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import orjson
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, String, Table, Text

from backends.loading import DeploymentError
from security.database import Json, UtcDateTime, metadata
from specs.contract import Contract
from specs.values import to_json_values

service_versions = Table(
    "service_versions",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("set_name", String(100), nullable=False, index=True),
    Column("made_at", UtcDateTime, nullable=False),
    Column("author", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("services", Json, nullable=False),
    Column("warnings", Json, nullable=False),
    Column("files", LargeBinary, nullable=False),
    Column("contracts", LargeBinary, nullable=False),
    Column("mac", Text, nullable=False),
)

service_deployments = Table(
    "service_deployments",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("set_name", String(100), nullable=False, index=True),
    Column("version", BigInteger, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("author", Text, nullable=False),
    Column("mac", Text, nullable=False),
)

service_folders = Table(
    "service_folders",
    metadata,
    Column("folder", String(500), primary_key=True),
    Column("file", String(500), primary_key=True),
    Column("digest", String(64), nullable=False),
)

MOST_FILES = 2_000
MOST_BYTES = 16 * 2**20
#: A moment that every version's archive is dated with, so that the same files are the same bytes.
_ARCHIVE_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a set of services, as lists show it; *warnings* are what it breaks for callers of the one before."""

    id: int
    set_name: str
    made_at: datetime
    author: str
    source: str
    digest: str
    services: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    active: bool = False
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What a version is made of: files by name relative to their folder, and the contracts compiled from them."""

    files: Mapping[str, bytes]
    contracts: tuple[Contract, ...]


def checked(files: Mapping[str, bytes | None]) -> None:
    """Raise DeploymentError for a name or a size that cannot be deployed."""
    for name, content in files.items():
        path = PurePosixPath(name)
        # SECURITY: names come from callers of the admin API too; a schema is written to a folder by its name.
        if path.is_absolute() or str(path) != name or ".." in path.parts or "\\" in name or not name.isprintable():
            raise DeploymentError(name, "not the name of a file below a folder", "write customer.py or schemas/a.json")
        if path.suffix not in (".py", ".json"):
            raise DeploymentError(name, "only Python and JSON Schema files are deployed", "name it *.py or *.json")
        if content is not None and len(content) > MOST_BYTES:
            raise DeploymentError(name, f"the file has more than {MOST_BYTES} bytes")
    if len(files) > MOST_FILES or sum(len(content or b"") for content in files.values()) > MOST_BYTES:
        raise DeploymentError("", f"a set has at most {MOST_FILES} files and {MOST_BYTES} bytes", "deploy fewer")


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents, in order of names."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(b"%d:%s%d:" % (len(name.encode()), name.encode(), len(files[name])))
        total.update(files[name])
    return total.hexdigest()


def packed(files: Mapping[str, bytes]) -> bytes:
    """The files as a ZIP archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        for name in sorted(files):
            writer.writestr(zipfile.ZipInfo(name, _ARCHIVE_DATE), files[name], zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files of an archive whose MAC was checked."""
    with zipfile.ZipFile(io.BytesIO(archive)) as reader:
        return {name: reader.read(name) for name in reader.namelist()}


def contracts_to_bytes(contracts: Sequence[Contract]) -> bytes:
    """Contracts as JSON."""
    return orjson.dumps([to_json_values(contract.as_record()) for contract in contracts])


def contracts_from_bytes(text: bytes) -> tuple[Contract, ...]:
    """Contracts from JSON."""
    return tuple(Contract.from_record(record) for record in orjson.loads(text))


def to_sign(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """A digest over the columns *names* of a row, each with its length: what the MAC is made of."""
    total = hashlib.blake2b(digest_size=32)
    for name in names:
        value = row[name]
        if isinstance(value, datetime):
            value = value.astimezone(UTC).isoformat()
        part = value if isinstance(value, bytes) else orjson.dumps(value)
        total.update(b"%s:%d:" % (name.encode(), len(part)))
        total.update(part)
    return total.hexdigest()


VERSION_SIGNED = (
    "id",
    "set_name",
    "made_at",
    "author",
    "source",
    "digest",
    "services",
    "warnings",
    "files",
    "contracts",
)
DEPLOYMENT_SIGNED = ("id", "set_name", "version", "pinned", "made_at", "author")
