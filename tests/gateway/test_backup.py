"""Backup of an embedded installation while it is used, and what a restore accepts, refuses and leaves alone."""

import gzip
import io
import random
import socket
import stat
import tarfile
import threading
import zlib
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256

import orjson
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from gateway import migrations
from gateway.administrators import Administrators
from gateway.backup import MANIFEST, backup, restore
from gateway.cli import app
from gateway.configuration.document import Document
from gateway.configuration.store import Store
from gateway.migrations import HEAD, migrate, schema_version
from security.database import open_database
from security.passwords import HashingPool, PasswordHasher
from security.references import References
from security.secrets import Keyring
from specs.problems import ConfigurationError

NOW = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
DOCUMENT = "connections:\n  erp: {type: rest, url: 'http://erp', username: u, password: s3cret-of-erp}\n"


class Installation:
    """An embedded installation with one revision that holds a secret."""

    def __init__(self, data):
        self.data = data
        self.keys = data / "keys.json"
        self.database = open_database(data)
        migrate(self.database)
        self.store = Store(self.database, Keyring.open(self.keys, create=True))

    def apply(self, document):
        return self.store.apply(Document.parse(document), references=References(self.data), author="t", comment="")

    def backup(self, archive, *, keys=True, replace=False):
        return backup(
            self.database, self.keys if keys else None, archive, now=NOW, version="1.2", replace=replace
        )  # fmt: skip


@pytest.fixture
def installation(tmp_path):
    made = Installation(tmp_path / "var")
    made.apply(DOCUMENT)
    with closing(made.database):
        yield made


@pytest.fixture
def archive(installation, tmp_path):
    installation.backup(tmp_path / "backup.tar.gz")
    return tmp_path / "backup.tar.gz"


def password_in(data, keys=None):
    with closing(open_database(data)) as database:
        found = Store(database, Keyring.open(keys or data / "keys.json")).load()
        assert found.faults == {}
        return found.of("connections")["erp"].settings.password.reveal()


def members(archive):
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def pack(path, files):
    """An archive of (name or TarInfo, content)."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return path


def everything_in(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive, data, **more):
    with pytest.raises(ConfigurationError) as caught:
        restore(archive, data, now=NOW, **more)
    return str(caught.value)


def test_what_is_restored_is_what_was_backed_up(installation, archive, tmp_path):
    manifest = restore(archive, tmp_path / "new", now=NOW)
    assert (manifest.revision, manifest.made_at, manifest.version) == (1, "2026-07-01T12:00:00+00:00", "1.2")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["gatewright.db", "keys.json"]
    assert password_in(tmp_path / "new") == "s3cret-of-erp"
    for path in [tmp_path / "new", *(tmp_path / "new").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_an_archive_is_for_its_owner_alone_and_never_there_in_part(archive):
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert list(members(archive)) == [MANIFEST, "gatewright.db", "keys.json"]
    assert [path.name for path in archive.parent.iterdir() if path.name.startswith(".")] == []


def test_a_backup_does_not_replace_another_unless_told(installation, archive):
    before = archive.read_bytes()
    with pytest.raises(ConfigurationError, match="is there already: choose another name, or say --force"):
        installation.backup(archive)
    assert archive.read_bytes() == before
    installation.apply("groups: {gold: {}}")
    assert installation.backup(archive, replace=True).revision == 2


def test_a_copy_is_of_one_moment_while_others_write(installation, tmp_path):
    # Each transaction moves one from the first to the second: what is in both together never changes.
    write = installation.database.write
    write(lambda c: c.execute(text("create table pairs (name text, held integer)")))
    write(lambda c: c.execute(text("insert into pairs values ('a', 1000000), ('b', 0)")))
    stop = threading.Event()
    moved = 0

    def keep_writing():
        nonlocal moved
        while not stop.is_set():
            write(lambda c: [c.execute(text(f"update pairs set held = held {one} where name = '{name}'"))
                             for name, one in (("a", "- 1"), ("b", "+ 1"))] and None)  # fmt: skip
            moved += 1

    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        for number in range(5):
            while moved < number * 10:
                assert thread.is_alive()
            installation.backup(tmp_path / f"{number}.tar.gz")
    finally:
        stop.set()
        thread.join()
    seen = []
    for number in range(5):
        restore(tmp_path / f"{number}.tar.gz", tmp_path / str(number), now=NOW)
        with closing(open_database(tmp_path / str(number))) as database:
            a, b = database.read(lambda c: c.execute(text("select held from pairs order by name")).scalars().all())
        assert a + b == 1_000_000
        seen.append(b)
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_keys_that_change_during_the_copy_are_copied_with_what_is_under_them(installation, tmp_path, monkeypatch):
    copy = installation.database.copy_to
    ring = Keyring.open(installation.keys)
    calls = []

    def copy_then_rotate(path):
        copy(path)
        calls.append(path)
        if len(calls) == 1:
            ring.activate("connections", ring.add_key("connections"))

    monkeypatch.setattr(installation.database, "copy_to", copy_then_rotate)
    installation.backup(tmp_path / "a.tar.gz")
    assert len(calls) == 2
    assert members(tmp_path / "a.tar.gz")["keys.json"] == installation.keys.read_bytes()


def test_without_its_keys_an_archive_opens_nothing(installation, tmp_path):
    archive = tmp_path / "keyless.tar.gz"
    assert not installation.backup(archive, keys=False).has_keys
    assert list(members(archive)) == [MANIFEST, "gatewright.db"]
    assert b"s3cret-of-erp" not in gzip.decompress(archive.read_bytes())
    restore(archive, tmp_path / "new", now=NOW)
    assert not (tmp_path / "new" / "keys.json").exists()
    assert password_in(tmp_path / "new", installation.keys) == "s3cret-of-erp"


def test_an_installation_is_replaced_only_when_told_and_then_kept_aside(installation, archive, tmp_path):
    installation.apply("connections: {erp: {type: rest, url: 'http://erp', username: u, password: a-later-one}}")
    installation.database.close()
    before = everything_in(installation.data)
    assert refusal(archive, installation.data) == (
        f"data: {installation.data} holds an installation (gatewright.db, keys.json): give another folder, or say --force"
    )
    assert everything_in(installation.data) == before
    restore(archive, installation.data, now=NOW, replace=True)
    assert password_in(installation.data) == "s3cret-of-erp"
    assert password_in(installation.data / "replaced-20260701T120000Z") == "a-later-one"


def test_a_write_ahead_log_without_its_database_is_not_replayed_into_the_restored_one(archive, tmp_path):
    data = tmp_path / "new"
    data.mkdir()
    (data / "gatewright.db-wal").write_bytes(b"whatever")
    assert "holds an installation (gatewright.db-wal)" in refusal(archive, data)
    restore(archive, data, now=NOW, replace=True)
    assert (data / "replaced-20260701T120000Z" / "gatewright.db-wal").read_bytes() == b"whatever"


def test_a_folder_that_a_gateway_runs_on_is_left_alone_whatever_is_said(archive, tmp_path):
    data = tmp_path / "new"
    data.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(data / "control.sock"))
        listener.listen()
        assert refusal(archive, data, replace=True) == f"data: a gateway runs on {data}: stop it first"
    # What a gateway that was killed leaves behind is in nobody's way.
    assert restore(archive, data, now=NOW).revision == 1


def test_a_move_that_fails_puts_back_what_was_moved(installation, archive, monkeypatch):
    installation.database.close()
    before = everything_in(installation.data)
    real = type(archive).rename
    failed = []

    def rename(source, target):
        if target == installation.data / "gatewright.db" and not failed:
            failed.append(source)
            raise OSError(28, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(type(archive), "rename", rename)
    assert refusal(archive, installation.data, replace=True) == (
        f"cannot restore into {installation.data}: no space left on device"
    )
    assert everything_in(installation.data) == before


def test_an_older_database_is_brought_to_this_schema_and_a_newer_one_refused(installation, tmp_path):
    installation.database.write(lambda c: c.execute(text("update alembic_version set version_num = '9999'")))
    installation.backup(tmp_path / "newer.tar.gz")
    assert "its schema is 9999" in refusal(tmp_path / "newer.tar.gz", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_migration_runs_before_anything_takes_its_place(installation, archive, tmp_path, monkeypatch):
    seen = []

    def migrating(database):
        seen.append((database.url.database, schema_version(database), (tmp_path / "new" / "gatewright.db").exists()))
        return migrations.migrate(database)

    monkeypatch.setattr("gateway.backup.migrate", migrating)
    restore(archive, tmp_path / "new", now=NOW)
    assert [one[1:] for one in seen] == [(HEAD, False)]
    assert "/.restoring-" in seen[0][0]


def manifest_for(files, **more):
    described = {name: {"size": len(content), "sha256": sha256(content).hexdigest()} for name, content in files.items()}
    values = {
        "format": 1,
        "made_at": NOW.isoformat(),
        "version": "1",
        "schema": HEAD,
        "revision": 1,
        "members": described,
    }
    return orjson.dumps({**values, **more})


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def hostile(found):
    """Archives that are not ours, by what is wrong with them. *found* are the members of a good one."""
    database, keys = found["gatewright.db"], found["keys.json"]
    two = {"gatewright.db": database, "keys.json": keys}
    good = (MANIFEST, found[MANIFEST])
    outside = {"../escaped": b"x", "gatewright.db": database}
    return {
        "no manifest": [("gatewright.db", database)],
        "manifest last": [("gatewright.db", database), ("keys.json", keys), good],
        "manifest is no JSON": [(MANIFEST, b"{"), ("gatewright.db", database)],
        "manifest is a list": [(MANIFEST, b"[]"), ("gatewright.db", database)],
        "manifest of another format": [(MANIFEST, manifest_for(two, format=2)), *two.items()],
        "manifest with more": [(MANIFEST, manifest_for(two, more=1)), *two.items()],
        "manifest with a sentence for a revision": [(MANIFEST, manifest_for(two, revision="\x1b[2J")), *two.items()],
        "manifest too large": [(MANIFEST, b" " * (65 << 10)), *two.items()],
        "a size that is a text": [(MANIFEST, manifest_for(two, members={"gatewright.db": {"size": "1", "sha256": ""}}))],
        "a path out of the folder": [(MANIFEST, manifest_for(outside)), *outside.items()],
        "an absolute path": [good, ("/tmp/gatewright-escaped", b"x")],
        "a path with a dot": [good, ("./gatewright.db", database), ("keys.json", keys)],
        "a link for the database": [good, (link("gatewright.db", "/etc/passwd"), b""), ("keys.json", keys)],
        "a hard link": [good, (link("gatewright.db", "manifest.json", tarfile.LNKTYPE), b"")],
        "a device": [good, (link("gatewright.db", "", tarfile.CHRTYPE), b"")],
        "a folder": [good, (link("gatewright.db", "", tarfile.DIRTYPE), b"")],
        "an extended header": [(link("x" * 300, "", tarfile.REGTYPE), b""), good, *two.items()],
        "one file twice": [good, ("gatewright.db", database), ("gatewright.db", database)],
        "one file more": [good, *two.items(), ("more", b"x")],
        "one file less": [good, ("gatewright.db", database)],
        "a database that is longer": [good, ("gatewright.db", database + b"x"), ("keys.json", keys)],
        "a database of other content": [good, ("gatewright.db", database[:-1] + b"x"), ("keys.json", keys)],
        "a database that is none": [
            (MANIFEST, manifest_for({"gatewright.db": b"not a database" * 99})), ("gatewright.db", b"not a database" * 99),
        ],
        "an empty database": [(MANIFEST, manifest_for({"gatewright.db": b""})), ("gatewright.db", b"")],
        "a keyring that is none": [
            (MANIFEST, manifest_for({"gatewright.db": database, "keys.json": b"{}"})),
            ("gatewright.db", database), ("keys.json", b"{}"),
        ],
        "more than the disk holds": [
            (MANIFEST, manifest_for(two, members={"gatewright.db": {"size": 1 << 60, "sha256": ""}})), *two.items(),
        ],
    }  # fmt: skip


def test_an_archive_that_is_not_ours_is_refused_in_one_line_and_changes_nothing(archive, tmp_path):
    outcomes = {}
    for number, (what, files) in enumerate(hostile(members(archive)).items()):
        bad = pack(tmp_path / f"{number}.tar.gz", files)
        data = tmp_path / "deep" / str(number)
        outcomes[what] = refusal(bad, data)
        assert not data.exists(), what
    assert {what: line for what, line in outcomes.items() if not line or "\n" in line or "Traceback" in line} == {}
    assert not (tmp_path / "deep" / "escaped").exists()
    assert outcomes["a link for the database"].endswith("it holds something that is no plain file: use another backup")
    assert outcomes["more than the disk holds"].endswith("has no room for it: free some, or give another folder")


def refused(archive, data):
    """Whether the archive is refused, in one line and with nothing left behind; else whether it is whole."""
    try:
        restore(archive, data, now=NOW)
    except ConfigurationError as error:
        return "\n" not in str(error) and not data.exists()
    assert password_in(data) == "s3cret-of-erp"
    return False


def test_one_flipped_bit_is_refused_wherever_it_counts(archive, tmp_path):
    whole = archive.read_bytes()
    chance = random.Random(7)
    bad = tmp_path / "damaged.tar.gz"
    for number in range(40):
        place = chance.randrange(24, len(whole) - 8)  # gzip's own frame holds a moment, a name and a checksum
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        bad.write_bytes(damaged)
        # Between the blocks of what is packed there may be bits that nobody reads.
        assert refused(bad, tmp_path / f"d{number}") or unpacked(damaged) == unpacked(whole), place


def unpacked(octets):
    try:
        return gzip.decompress(octets)
    except (EOFError, OSError, zlib.error):
        return None


@pytest.mark.parametrize("kept", [0, 10, 1000, -2000])
def test_an_archive_cut_short_is_refused(archive, tmp_path, kept):
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(archive.read_bytes()[:kept])
    assert refused(cut, tmp_path / "new")


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_the_verbs_say_in_a_line_what_they_did_or_refused(installation, tmp_path):
    file, data, new = tmp_path / "b.tar.gz", installation.data, tmp_path / "new"
    pool = HashingPool()
    administrators = Administrators(installation.database, Keyring.open(installation.keys), pool=pool)
    administrators._hasher = PasswordHasher(Keyring.open(installation.keys).ring("edge"), rounds=10)
    administrators.set_password("admin", "correct horse battery")
    kept = "with its keys: keep it as safe as those"
    assert run("backup", file, "--data", data) == (0, f"{file}: revision 1, {kept}\n", "")
    assert run("backup", file, "--data", data) == (
        1, "", f"gatewright: {file} is there already: choose another name, or say --force\n",
    )  # fmt: skip
    code, out, err = run("restore", file, "--data", new)
    assert (code, err) == (0, "")
    assert out.startswith(f"{new}: revision 1 as of 2")
    assert run("restore", file, "--data", new)[0] == 1
    assert run("restore", tmp_path / "none", "--data", tmp_path / "x") == (
        1, "", f"gatewright: there is no file {tmp_path / 'none'}\n",
    )  # fmt: skip
    assert not (tmp_path / "x").exists()
    with closing(open_database(new)) as database:
        administrators = Administrators(database, Keyring.open(new / "keys.json"), pool=pool)
        assert administrators.verify("admin", "correct horse battery")
    pool.close()


def test_nothing_is_made_where_there_is_nothing_to_back_up(tmp_path):
    data = tmp_path / "var"
    assert run("backup", tmp_path / "b.tar.gz", "--data", data) == (
        1, "", f"gatewright: data: there is no installation in {data}: give its folder by --data\n",
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_postgresql_has_a_program_of_its_own_for_this(tmp_path):
    assert run("backup", tmp_path / "b", "--database", "postgresql+psycopg://gw@127.0.0.1:1/gw") == (
        1, "", "gatewright: database: a PostgreSQL database is not copied by this: use pg_dump\n",
    )  # fmt: skip


def test_a_folder_that_cannot_be_written_to_is_a_line(installation, tmp_path):
    code, out, err = run("backup", tmp_path / "none" / "b.tar.gz", "--data", installation.data)
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert err.startswith(f"gatewright: cannot write {tmp_path}/none/b.tar.gz: no such file or directory")
