"""What the doctor finds wrong, that it says how to mend it, and that it changes nothing."""

import datetime as dt
import os
import resource
import shutil
import socket
import sqlite3
from contextlib import closing

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mail_sink import mail_sink
from sqlalchemy import text
from typer.testing import CliRunner

from gateway import doctor
from gateway.cli import app
from gateway.configuration.document import Document
from gateway.configuration.store import Store
from gateway.doctor import OK, WARNING, WRONG, examine, installation, machine
from gateway.migrations import HEAD, migrate
from gateway.options import Options
from security.database import open_database
from security.references import References
from security.secrets import Keyring
from sso.letters import Outbox

NOW = dt.datetime(2026, 7, 1, 12, 0, tzinfo=dt.UTC)


@pytest.fixture
def data(tmp_path):
    """An installation with one revision."""
    folder = tmp_path / "var"
    with closing(open_database(folder)) as database:
        migrate(database)
        store = Store(database, Keyring.open(folder / "keys.json", create=True))
        document = Document.parse(
            "connections: {erp: {type: rest, url: 'http://erp', username: u, password: p4ssw0rd}}"
        )
        store.apply(document, references=References(tmp_path), author="t", comment="")
    return folder


def findings(data, **more):
    options = Options(data=data, **{"listen": ("127.0.0.1:0",), "admin": "127.0.0.1:0", **more})
    return list(examine(options, NOW))


def found(data, subject, **more):
    """What is said of one subject: grade, sentence, remedy."""
    return [tuple(one)[:1] + tuple(one)[2:] for one in findings(data, **more) if one.subject == subject]


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")}


def test_a_sound_set_up_has_nothing_wrong_and_stays_as_it_is(data):
    before = snapshot(data)
    grades = {one.subject: one.grade for one in findings(data)}
    assert grades == {**dict.fromkeys(doctor.CHECKS, OK), "open files": grades["open files"]}
    assert snapshot(data) == before


def test_before_the_first_start_nothing_is_made(tmp_path):
    said = {one.subject: one.sentence for one in findings(tmp_path / "a" / "var")}
    assert said["data folder"] == f"{tmp_path}/a/var will be made"
    assert said["database"].endswith("gatewright.db will be made")
    assert list(tmp_path.iterdir()) == []


def test_what_others_may_read_is_a_warning_with_the_command_that_mends_it(data):
    data.chmod(0o755)
    (data / "gatewright.db").chmod(0o644)
    assert found(data, "data folder") == [(WARNING, f"{data} is open to other users (755)", f"chmod 700 {data}")]
    assert found(data, "database")[0] == (
        WARNING, f"{data}/gatewright.db is open to other users (644)", f"chmod 600 {data}/gatewright.db",
    )  # fmt: skip


def test_a_keyring_that_others_may_read_is_wrong(data):
    (data / "keys.json").chmod(0o644)
    assert found(data, "keyring") == [
        (WRONG, f"keys: {data}/keys.json is open to other users: chmod 600 {data}/keys.json", "")
    ]


def test_a_keyring_that_is_gone_is_wrong_and_none_is_made(data):
    (data / "keys.json").unlink()
    assert found(data, "keyring") == [
        (WRONG, f"{data}/keys.json is not there, and the database has secrets under it", "bring it back from a backup")
    ]
    assert not (data / "keys.json").exists()


def test_another_keyring_does_not_open_what_is_stored(data):
    (data / "keys.json").unlink()
    Keyring.open(data / "keys.json", create=True)
    wrong = [one for one in found(data, "configuration") if one[0] == WRONG]
    assert [one[1].partition(" cannot be read")[0] for one in wrong] == ["connections.erp"]


def test_keys_that_are_missing_are_named_with_what_is_under_them(data):
    gone = Keyring.open(data / "keys.json").ring("connections").active
    (data / "keys.json").unlink()
    Keyring.open(data / "keys.json", create=True)
    [(grade, sentence, remedy)] = found(data, "keys")
    assert (grade, remedy) == (WRONG, "bring back the key file of that time, or enter these again")
    assert f"the ring 'connections' has no key '{gone}', and under it are 1 objects" in sentence
    assert "(connections.erp)" in sentence


def test_mail_is_tried_and_what_was_given_up_is_said(data, tmp_path):
    with mail_sink() as sink:
        text = f"""
            connections: {{outbox: {{type: smtp, host: 127.0.0.1, port: {sink.port}, tls: none, timeout: 30s}}}}
            sso: {{enabled: true, mail: {{connection: outbox, from: a@acme.example}}}}
        """
        with closing(open_database(data)) as database:
            keyring = Keyring.open(data / "keys.json")
            Store(database, keyring).apply(Document.parse(text), references=References(tmp_path))
            outbox = Outbox(keyring.ring("edge"), lambda: NOW, os.urandom)
            for _ in range(2):
                database.write(lambda c: outbox.post(c, "welcome", "usr_1", "ann@example.org", "en", {}))
            [first, _] = database.read(outbox.due_ids)
            database.write(lambda c: outbox.give_up(c, first, "550"))
        assert found(data, "mail") == [
            (WARNING, "1 letters were given up", "see gatewright sso mail list --given-up"),
            (OK, "'outbox' takes mail; 1 letters wait", ""),
        ]
    assert [one[0] for one in found(data, "mail")] == [WARNING, WRONG]
    text = "sso: {enabled: true}"
    with closing(open_database(data)) as database:
        Store(database, Keyring.open(data / "keys.json")).apply(Document.parse(text), references=References(tmp_path))
    assert found(data, "mail")[1][:2] == (WARNING, "nobody can be written to, and 1 letters wait")


def test_a_damaged_database_is_wrong(data):
    with (data / "gatewright.db").open("r+b") as file:
        file.seek(4096 * 2)
        file.write(os.urandom(4096 * 3))
    assert WRONG in {one[0] for one in found(data, "database")}
    (data / "gatewright.db").write_bytes(b"this is no database" * 100)
    assert found(data, "database") == [(WRONG, "file is not a database", "restore a backup")]


@pytest.mark.parametrize(("schema", "grade"), [("0000", WARNING), ("9999", WRONG)])
def test_a_schema_of_another_version_is_said_and_left_alone(data, schema, grade):
    with closing(open_database(data)) as database:
        database.write(lambda c: c.execute(text(f"update alembic_version set version_num = '{schema}'")) and None)
    assert found(data, "database")[0][0] == grade
    with closing(sqlite3.connect(data / "gatewright.db")) as database:
        assert database.execute("select version_num from alembic_version").fetchone() == (schema,)
    assert HEAD not in ("0000", "9999")


def test_too_few_open_files_is_a_warning(data):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    try:
        assert found(data, "open files", connections=200)[0][0] == OK
        grade, sentence, remedy = found(data, "open files", connections=2000)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (grade, sentence) == (WARNING, "1000 a process, 2000 connections may need 4100")
    assert "4100" in remedy


def test_little_room_is_a_warning_and_none_is_wrong(data, monkeypatch):
    usage = type("Usage", (), {"free": 500 << 20})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert found(data, "data folder")[0] == (WARNING, f"500 MiB are free where {data} is", "free some")
    usage.free = 5 << 20
    assert found(data, "data folder")[0] == (WRONG, f"5 MiB are free where {data} is", "free some")
    assert found(data, "limits") == [(WRONG, f"there is no room for {data}/limits.table, 8 MiB", "free some")]


@pytest.mark.parametrize("compiled", [True, False])
def test_it_is_said_whether_limits_are_debited_in_c(data, monkeypatch, compiled):
    monkeypatch.setattr(installation, "COMPILED", compiled)
    language = "C" if compiled else "Python, since there was no C compiler or no Python.h when this was installed"
    ((grade, sentence, *_),) = found(data, "limits")
    assert (grade, sentence.partition("; ")[2]) == (OK, f"debits run in {language}")


def test_a_network_filesystem_is_wrong(data, monkeypatch):
    monkeypatch.setattr(machine, "filesystem_of", lambda path: "nfs4")
    assert found(data, "data folder")[0][:2] == (WRONG, f"{data} lies on a network filesystem (nfs4)")


def test_filesystems_are_told_by_the_longest_mount(data):
    assert machine.filesystem_of(data.parent) != ""
    assert machine.filesystem_of(type(data)("/proc/self")) == "proc"


def test_a_port_that_another_program_has_is_wrong(data):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = f"127.0.0.1:{other.getsockname()[1]}"
        assert found(data, "listeners", listen=(place,)) == [
            (WRONG, f"listen {place} is in use by another program", "stop that, or choose another port"),
            (OK, "admin 127.0.0.1:0 is free", ""),
        ]


def test_an_admin_listener_for_everybody_is_a_warning(data):
    assert found(data, "listeners", admin="0.0.0.0:0")[1] == (
        WARNING, "the admin listener at 0.0.0.0:0 is reached from other machines", "use 127.0.0.1 and a tunnel",
    )  # fmt: skip


def test_a_place_that_is_none_is_wrong(data):
    assert found(data, "listeners", listen=("8000",))[-1][0] == WRONG


def certificate(folder, begins, ends):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(begins).not_valid_after(ends).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(private)
    (folder / "key.pem").chmod(0o600)
    return {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}


@pytest.mark.parametrize(
    ("begins", "ends", "grade", "sentence"),
    [
        (-30, 60, OK, "valid until 2026-08-30"),
        (-30, 5, WARNING, "is valid until 2026-07-06 only"),
        (-30, -1, WRONG, "has been invalid since 2026-06-30"),
        (1, 60, WRONG, "is not valid before 2026-07-02 12:00 UTC"),
    ],
)
def test_a_certificate_is_looked_at_before_it_expires(data, tmp_path, begins, ends, grade, sentence):
    pair = certificate(tmp_path, NOW + dt.timedelta(days=begins), NOW + dt.timedelta(days=ends))
    said = found(data, "certificate", **pair)
    assert [one[0] for one in said] == [grade]
    assert said[0][1].endswith(sentence)


def test_a_private_key_that_others_may_read_or_of_another_certificate(data, tmp_path):
    pair = certificate(tmp_path, NOW, NOW + dt.timedelta(days=60))
    pair["tls_key"].chmod(0o644)
    assert (WARNING, f"{pair['tls_key']} is open to other users", f"chmod 600 {pair['tls_key']}") in found(
        data, "certificate", **pair
    )
    other = tmp_path / "other"
    other.mkdir()
    mixed = {**pair, "tls_key": certificate(other, NOW, NOW + dt.timedelta(days=1))["tls_key"]}
    assert [one[0] for one in found(data, "certificate", **mixed)] == [WRONG]
    assert [one[0] for one in found(data, "certificate", tls_cert=pair["tls_cert"])] == [WRONG]


def test_every_fault_of_a_document_is_told_with_its_place(data, tmp_path):
    path = tmp_path / "gw.yaml"
    path.write_text(
        "channels:\n  a: {type: rest, path: /a, service: nowhere}\n  b: {type: rets, path: /b, service: zato.ping}\n"
        "groups: {gold: {limit: none}}\n"
    )
    said = [one[1] for one in found(data, "configuration", config=path) if one[0] == WRONG]
    assert [line.partition(": ")[0] for line in said] == [f"{path}:3:7"]
    path.write_text(path.read_text().replace("rets", "rest").replace("{gold: {limit: none}}", "{}"))
    assert [one[:2] for one in found(data, "configuration", config=path)] == [
        (WARNING, "channels.a.service: the service 'nowhere' is not deployed"),
        (OK, f"{path}: 2 objects"),
        (OK, "revision 1: 1 objects"),
    ]


def test_a_document_can_be_checked_before_there_is_an_installation(tmp_path):
    path = tmp_path / "gw.yaml"
    path.write_text("connections: {erp: {type: rest, url: 'http://erp', username: u, password: '${env:GW_NOT_SET}'}}")
    said = found(tmp_path / "var", "configuration", config=path)
    assert [one[0] for one in said] == [WRONG]
    assert "GW_NOT_SET" in said[0][1]
    assert not (tmp_path / "var").exists()


def test_a_service_that_cannot_be_deployed_is_wrong_and_nothing_is_deployed(data, tmp_path):
    folder = tmp_path / "services"
    folder.mkdir()
    (folder / "good.py").write_text(
        "from gatewright import Service\n\nclass Good(Service):\n    name = 'good'\n\n    def handle(self): pass\n"
    )
    (folder / "bad.py").write_text("import nothing_called_so\n")
    before = snapshot(data)
    said = found(data, "services", services=folder)
    assert [one[0] for one in said] == [WRONG, OK, OK]
    assert "bad.py" in said[0][1]
    assert "nothing_called_so" in said[0][1]
    assert snapshot(data) == before
    path = tmp_path / "gw.yaml"
    path.write_text("channels: {g: {type: rest, path: /g, service: good}}")
    assert WARNING not in {one[0] for one in found(data, "configuration", services=folder, config=path)}


def test_a_library_that_is_missing_is_named_with_its_extra(data, tmp_path, monkeypatch):
    def no_driver(self):
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr("sqlalchemy.dialects.postgresql.psycopg.PGDialect_psycopg.import_dbapi", classmethod(no_driver))
    path = tmp_path / "gw.yaml"
    path.write_text("connections: {crm: {type: sql, url: 'postgresql://u@h/d'}}")
    assert found(data, "libraries", config=path)[0] == (
        WRONG, "crm: the library 'psycopg' is not installed", "pip install 'gatewright[postgresql]'",
    )  # fmt: skip


def test_a_folder_that_cannot_be_one_is_wrong(tmp_path):
    (tmp_path / "file").touch()
    assert found(tmp_path / "file", "data folder")[0] == (
        WRONG, f"{tmp_path}/file is a file", "give a folder by --data",
    )  # fmt: skip


def test_a_database_server_that_does_not_answer_is_wrong(data):
    url = "postgresql+psycopg://gw:s3cret@127.0.0.1:1/gw"
    said = found(data, "database", database=url)
    assert said == [(WRONG, "the database server cannot be reached", "")]


def test_a_database_server_is_named_without_its_password(data, postgresql_server):
    url = postgresql_server.new_database()
    with closing(open_database(url)) as database:
        migrate(database)
    assert found(data, "database", database=url)[0][0] == OK
    assert "secret" not in found(data, "database", database=url)[0][1]


def test_the_verb_prints_a_line_for_each_finding_and_counts_what_is_wrong(data):
    def run(*words):
        result = CliRunner().invoke(app, ["doctor", "--data", str(data), "--listen", "127.0.0.1:0", "--admin", *words])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout.splitlines(), result.stderr

    code, out, err = run("127.0.0.1:0")
    assert (code, err) == (0, "")
    assert f"ok       keyring        {data}/keys.json" in out
    (data / "keys.json").chmod(0o640)
    code, out, err = run("127.0.0.1:0")
    assert (code, err) == (1, "gatewright: 1 thing is wrong\n")
    assert f"wrong    keyring        keys: {data}/keys.json is open to other users: chmod 600 {data}/keys.json" in out
