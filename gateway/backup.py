"""An embedded installation in one file, copied while it serves; and an installation made again from such a file.

An archive is a gzipped tar of plain files, in this order:

    manifest.json    format, version, schema, revision, moment, and the size and SHA-256 of each of the others
    gatewright.db    the database as it was at one moment: configuration, versions of services, jobs, cache, queue
    keys.json        the keyring, unless it was left out

**Who holds an archive with keys can read every secret in it.** One without keys needs the keyring from elsewhere. The digests
tell damage, not malice. What is left out is made anew: counters of limits, sockets, the file with the first password. Calls
that waited in the queue at the moment of the copy run again in the restored installation.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import sqlite3
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Self

import orjson
from sqlalchemy.exc import DBAPIError

from gateway.commands import KEYS_FILE
from gateway.configuration.store import Store
from gateway.listening import short_name
from gateway.migrations import migrate, schema_version
from security.database import FILE_NAME, Database, open_database
from security.secrets import Keyring
from specs.problems import ConfigurationError

FORMAT = 1
MANIFEST = "manifest.json"
MOST_MANIFEST = 64 << 10
MOST_KEYS = 1 << 20
#: What an installation is made of. A write-ahead log without its database would be replayed into the next one.
PARTS = (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", KEYS_FILE)
#: What goes with the installation that `restore` replaces.
LEFTOVERS = ("admin-password", "limits.table", "audit-anchor")


class _PlainFile(tarfile.TarInfo):
    """A member of an archive that may be nothing but a plain file.

    # SECURITY: long names and extended headers are members too, which `tarfile` reads whole into memory, whatever their size.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """A header as it stands in the archive."""
        found = super().frombuf(buf, encoding, errors)
        if found.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise tarfile.ReadError("it holds something that is no plain file")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What an archive holds. *members* has the size and the SHA-256 of each file, by name."""

    made_at: str
    version: str
    schema: str
    revision: int
    members: dict[str, dict[str, Any]]
    format: int = FORMAT

    @property
    def has_keys(self) -> bool:
        """Whether the keyring is in it."""
        return KEYS_FILE in self.members

    @classmethod
    def read(cls, content: bytes) -> Self:
        """The manifest in *content*. Raises ConfigurationError."""
        try:
            value = orjson.loads(content)
            if value["format"] != FORMAT:
                raise _damaged(f"its format is {value['format']!r}, and this program knows {FORMAT}")
            found = cls(**value)
            if not {FILE_NAME} <= found.members.keys() <= {FILE_NAME, KEYS_FILE} or type(found.revision) is not int:
                raise ValueError
            for member in found.members.values():
                if type(member["size"]) is not int or member["size"] < 0 or type(member["sha256"]) is not str:
                    raise ValueError
            datetime.fromisoformat(found.made_at)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _damaged("its manifest is none of ours") from None
        return found


def backup(
    database: Database, keys: Path | None, archive: Path, *, now: datetime, version: str, replace: bool = False
) -> Manifest:
    """Write *archive* (0600): a copy of *database* and, unless it is None, of the key file *keys*. Others go on meanwhile.

    The file appears whole or not at all; one that is there is refused unless *replace*. Raises ConfigurationError.
    """
    if archive.exists() and not replace:
        raise ConfigurationError("", f"{archive} is there already", "choose another name, or say --force")
    with _explained(f"cannot write {archive}"), TemporaryDirectory(prefix=".backup-", dir=archive.parent) as temporary:
        folder = Path(temporary)
        _copy(database, keys, folder)
        with _opened(folder) as copy:
            schema = schema_version(copy)
            revision = Store(copy, Keyring.generate()).head() if schema else 0
        names = [FILE_NAME] if keys is None else [FILE_NAME, KEYS_FILE]
        manifest = Manifest(
            made_at=now.isoformat(timespec="seconds"),
            version=version,
            schema=schema,
            revision=revision,
            members={name: _described(folder / name) for name in names},
        )
        (folder / MANIFEST).write_bytes(orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
        written = folder / "archive"
        with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6, format=tarfile.GNU_FORMAT) as tar:
                for name in (MANIFEST, *names):
                    tar.add(folder / name, name, filter=_anonymous)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            written.replace(archive)
        else:
            os.link(written, archive)  # unlike a rename it never replaces what came there meanwhile
        _sync(archive.parent)
    return manifest


def restore(archive: Path, data: Path, *, now: datetime, replace: bool = False) -> Manifest:
    """Make the installation in the folder *data* from *archive*, brought to this program's schema.

    What is there is refused, or with *replace* moved to ``data/replaced-<moment>/``. Everything is unpacked beside it and checked
    first, and the database comes last, by one rename: a restore that is refused or cut short changes nothing. Raises
    ConfigurationError: also while a gateway runs on *data*.
    """
    if runs(data):
        raise ConfigurationError("data", f"a gateway runs on {data}", "stop it first")
    there = [name for name in PARTS if (data / name).exists()]
    if there and not replace:
        raise ConfigurationError(
            "data", f"{data} holds an installation ({', '.join(there)})", "give another folder, or say --force"
        )
    made = not data.exists()
    with _explained(f"cannot restore into {data}"):
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # WHY: inside of the folder and not beside it: it may be a mount, out of which nothing can be renamed.
            with TemporaryDirectory(prefix=".restoring-", dir=data) as temporary:
                folder = Path(temporary)
                manifest = _unpack(archive, folder)
                _check(folder, manifest)
                if runs(data):
                    raise ConfigurationError("data", f"a gateway runs on {data}", "stop it first")
                _take_place(folder, data, f"replaced-{now:%Y%m%dT%H%M%SZ}")
        except BaseException:
            if made:
                data.rmdir()
            raise
    return manifest


def runs(data: Path) -> bool:
    """Whether a gateway runs on the folder *data*: its control socket takes connections."""
    path = data / "control.sock"
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, short_name(str(path)) as name:
        probe.settimeout(2.0)
        return probe.connect_ex(name) == 0


def _copy(database: Database, keys: Path | None, folder: Path) -> None:
    """Both files, so that the keys are those of the database."""
    for _ in range(5):
        before = keys.read_bytes() if keys is not None else b""
        (folder / FILE_NAME).unlink(missing_ok=True)
        database.copy_to(folder / FILE_NAME)
        # WHY: a key that was added, used or retired meanwhile would leave boxes in the copy that no key here opens.
        if keys is None or keys.read_bytes() == before:
            break
    else:
        raise ConfigurationError(
            "keys", f"{keys} keeps changing", "try again when its keys are no longer being replaced"
        )
    if keys is not None:
        (folder / KEYS_FILE).write_bytes(before)
        (folder / KEYS_FILE).chmod(0o600)
        Keyring.open(folder / KEYS_FILE)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _unpack(archive: Path, folder: Path) -> Manifest:
    """The members of *archive* in *folder*, each as its manifest says. Raises ConfigurationError."""
    try:
        # SECURITY: an archive is somebody's input. It is read as a stream; names are only compared, never used as paths; what is
        # no plain file is refused; nothing is written beyond the sizes that the manifest gives and the disk has room for.
        with tarfile.open(archive, "r|gz", tarinfo=_PlainFile) as tar:
            members = iter(tar)
            manifest = Manifest.read(_content(tar, next(members, None), MANIFEST, MOST_MANIFEST))
            room = shutil.disk_usage(folder).free
            if sum(member["size"] for member in manifest.members.values()) > room:
                raise ConfigurationError(
                    "data", f"{folder.parent} has no room for it", "free some, or give another folder"
                )
            for name, described in manifest.members.items():
                if name == KEYS_FILE and described["size"] > MOST_KEYS:
                    raise _damaged(f"{name} is too large")
                found = next(members, None)
                source = _opened_member(tar, found, name, described["size"])
                if _write(source, folder / name) != described["sha256"]:
                    raise _damaged(f"{name} is not what its manifest says")
            if next(members, None) is not None:
                raise _damaged("it holds more than its manifest says")
    except FileNotFoundError:
        raise ConfigurationError("", f"there is no file {archive}") from None
    except (tarfile.TarError, EOFError, zlib.error, UnicodeError) as error:
        raise _damaged(str(error) or "it ends too soon") from None
    except OSError as error:
        if error.errno is None:  # gzip's own complaints
            raise _damaged(str(error).lower()) from None
        raise
    return manifest


def _opened_member(tar: tarfile.TarFile, member: tarfile.TarInfo | None, name: str, size: int) -> IO[bytes]:
    if member is None or member.name != name or not member.isreg() or member.issparse() or member.size != size:
        raise _damaged(f"{name} is not where it should be")
    source = tar.extractfile(member)
    assert source is not None
    return source


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo | None, name: str, most: int) -> bytes:
    if member is None or member.size > most:
        raise _damaged("it does not begin with a manifest")
    return _opened_member(tar, member, name, member.size).read()


def _check(folder: Path, manifest: Manifest) -> None:
    """Whether what was unpacked can be used here; the database is brought to this program's schema."""
    if manifest.has_keys:
        Keyring.open(folder / KEYS_FILE)
    with _opened(folder) as database:
        try:
            found = database.read(lambda connection: connection.exec_driver_sql("PRAGMA quick_check").scalar())
            if found != "ok":
                raise _damaged(f"its database is damaged ({found})")
            if not schema_version(database):
                raise _damaged("its database is none of ours")
            migrate(database)
        except DBAPIError:
            raise _damaged("its database cannot be read") from None


def _take_place(folder: Path, data: Path, old: str) -> None:
    """Move the files from *folder* into *data*, and what they replace into *old* below it; all of them, or none."""
    moves = [(data / name, data / old / name) for name in (*PARTS, *LEFTOVERS) if (data / name).exists()]
    if moves:
        (data / old).mkdir(mode=0o700)
    # The database is what an installation is known by: it goes first and comes last.
    moves += [(folder / name, data / name) for name in (KEYS_FILE, FILE_NAME) if (folder / name).exists()]
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            source.rename(target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            target.rename(source)
        raise
    _sync(data)


@contextmanager
def _opened(folder: Path) -> Iterator[Database]:
    database = open_database(folder)
    try:
        yield database
    finally:
        database.close()


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _write(source: IO[bytes], target: Path) -> str:
    """Copy to a new private file, onto the disk; the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while block := source.read(1 << 20):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(reason: str) -> ConfigurationError:
    return ConfigurationError("", f"this archive cannot be restored: {reason}", "use another backup")


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what the system and the database have against it into one line."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError("", what, (error.strerror or str(error)).lower()) from None
    except (sqlite3.Error, DBAPIError) as error:
        raise ConfigurationError("database", what, str(getattr(error, "orig", error))) from None
