"""The program's verbs on an installation whose gateway runs meanwhile, and on installations that cannot be used."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
import requests
from running import ROOT, eventually, gateway
from typer.testing import CliRunner

from backends import demo
from backends.demo.upstream import Upstream
from gateway.cli import app
from gateway.commands import open_installation
from security.secrets import Keyring
from specs.problems import ConfigurationError

GREETER = """
from gatewright import Service

class Greet(Service):
    '''Greets.'''
    name = "greet"
    input = "-name"
    output = "text"

    def handle(self):
        self.response.payload.text = "{word}, " + (self.request.input.name or "you")
"""
CONFIGURATION = """
format: 1
security:
  partners: {type: basic, username: api, password: "${env:PARTNER_PASSWORD}"}
channels:
  greet: {type: rest, path: /greet, service: greet, methods: [GET]}
  rate: {type: rest, path: /rate, service: linuxjournal.get-rate, methods: [POST]}
  rate-xml: {type: xml, path: /rate-xml, service: linuxjournal.get-rate, methods: [POST]}
  secured: {type: rest, path: /secured, service: greet, security: [partners], methods: [GET]}
connections:
  treasury: {type: rest, url: "${env:FEED}", data_format: xml}
"""
PASSWORD = "partner-password-1"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("operated")
    upstream = Upstream()
    prepared = demo.prepare(folder / "demo")
    services = {
        "greeter.py": GREETER.format(word="Hello"),
        "linuxjournal.py": (prepared.services / "linuxjournal.py").read_text(),
    }
    environment = {"PARTNER_PASSWORD": PASSWORD, "FEED": upstream.url}
    try:
        with gateway(folder, CONFIGURATION, services, workers=2, environment=environment) as running:
            yield running
    finally:
        upstream.close()


@pytest.fixture
def verb(served, monkeypatch):
    """Runs a verb of the program in this process, on the data of the gateway that runs in others."""
    for name in ("PARTNER_PASSWORD", "FEED"):
        monkeypatch.setenv(name, served.environment[name])

    def run(*words, expected=0, stdin=None):
        done = CliRunner().invoke(app, [*map(str, words), "--data", str(served.data)], input=stdin)
        assert done.exit_code == expected, f"{words}: {done.exit_code}\n{done.stdout}\n{done.stderr}\n{done.exception}"
        return done.stderr if expected == 1 else done.stdout

    return run


def greeting(served):
    return served.get("/greet").json()["text"].partition(",")[0]


def test_services_are_deployed_looked_up_rolled_back_and_unpinned(served, verb, tmp_path):
    (tmp_path / "greeter.py").write_text(GREETER.format(word="Good morning"))
    assert verb("service", "deploy", tmp_path / "greeter.py").startswith("version 2: greet")
    assert eventually(lambda: greeting(served) == "Good morning")
    (tmp_path / "greeter.py").write_text(GREETER.format(word="Good evening"))
    verb("service", "deploy", tmp_path / "greeter.py")
    assert eventually(lambda: greeting(served) == "Good evening")
    listed = [line.split()[:2] for line in verb("service", "versions", "greet").splitlines()]
    assert listed == [["*", "3"], ["2", listed[1][1]], ["1", listed[2][1]]]

    assert "pinned" in verb("service", "rollback", 1)
    assert eventually(lambda: greeting(served) == "Hello")
    # The folder does not undo a rollback, whatever comes into it.
    (served.data.parent / "services" / "another.py").write_text("X = 1\n")
    assert eventually(lambda: "pinned" in served.log(), 10)
    assert greeting(served) == "Hello"
    assert "pinned" not in verb("service", "unpin")
    assert eventually(lambda: greeting(served) == "Good evening")
    assert "there is no version 99" in verb("service", "rollback", 99, expected=1)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import sys\nsys.exit(3)\n", "greeter.py:2: SystemExit: 3"),
        ("def broken(:\n", "greeter.py:1: SyntaxError"),
        ("import nothing_of_this_name\n", "greeter.py:1: ModuleNotFoundError"),
    ],
)
def test_a_broken_file_is_refused_with_its_line_and_the_old_version_serves(served, verb, tmp_path, source, reason):
    before = greeting(served)
    (tmp_path / "greeter.py").write_text(source)
    assert reason in verb("service", "deploy", tmp_path / "greeter.py", expected=1)
    assert greeting(served) == before


def test_deployment_by_the_admin_api_is_off_unless_it_was_allowed(served):
    files = {"files": {"greeter.py": GREETER.format(word="Boo")}}
    refused = requests.post(
        served.admin_url + "/services/services", auth=served.administrator(), json=files, timeout=20
    )
    assert (refused.status_code, refused.json()["code"]) == (403, "deploy-disabled")


def test_a_dump_applied_changes_nothing_and_a_difference_is_told_by_3(served, verb, tmp_path):
    dumped = verb("config", "dump")
    assert PASSWORD not in dumped
    assert "${env:PARTNER_PASSWORD}" in dumped
    document = tmp_path / "dumped.yaml"
    document.write_text(dumped)
    revision = served.status()["revision"]
    assert verb("config", "diff", document) == ""
    assert verb("config", "apply", document) == f"revision {revision} stays: nothing differs\n"

    document.write_text(dumped.replace("path: /greet", "path: /greet-you"))
    assert "channels.greet" in verb("config", "diff", document, expected=3)
    assert served.get("/greet").status_code == 200
    assert f"revision {revision + 1}: 1 changes" in verb("config", "apply", document)
    assert eventually(lambda: served.get("/greet-you").status_code == 200)
    assert served.get("/secured", auth=("api", PASSWORD)).status_code == 200

    # Somebody who looked at the revision before does not overwrite this one.
    document.write_text(dumped.replace("path: /greet", "path: /hello"))
    assert f"at revision {revision + 1}" in verb("config", "apply", document, "--expect", revision, expected=1)
    assert "equals revision" in verb("config", "rollback", revision)
    assert eventually(lambda: served.get("/greet").status_code == 200 and served.get("/greet-you").status_code == 404)
    assert [line.split("\t")[0] for line in verb("config", "history").splitlines()][:2] == [
        str(revision + 2), str(revision + 1),
    ]  # fmt: skip


def test_what_one_process_caches_is_there_for_all_others(served):
    """The process of the Linux Journal's article: rates fetched by one process, answered by another, in two formats."""
    served.command("service", "invoke", "linuxjournal.update-cache", "--payload", '{"year": 2013, "month": 9}')
    day = {"year": 2013, "month": 9, "day": 3}
    assert served.post("/rate", json=day).json() == {"response": {"rate": "1.22"}}
    xml = served.post("/rate-xml", data="<r><year>2013</year><month>9</month><day>3</day></r>")
    assert "<rate>1.22</rate>" in xml.text
    said = served.command("service", "invoke", "linuxjournal.get-rate", "--payload", json.dumps(day))
    assert json.loads(said) == {"rate": "1.22"}


# installations that cannot be used


def refusal(data, *words, environment=None):
    """The one line that `gatewright run` says where it cannot serve."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "run", "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *words],
        cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    said = [line for line in done.stderr.splitlines() if line.startswith("gatewright: ")]
    [line] = [line for line in said if "the administrator's password is in" not in line]
    assert "Traceback" not in done.stderr, done.stderr
    return line


@pytest.fixture
def copied(served, verb, tmp_path):
    """A copy of the installation, without what its processes hold."""
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    shutil.copy(served.data / "keys.json", copy / "keys.json")
    with closing(sqlite3.connect(served.data / "gatewright.db")) as database:
        database.execute("vacuum into ?", (str(copy / "gatewright.db"),))
    (copy / "gatewright.db").chmod(0o600)
    return copy


def keyring_cut_short(data):
    (data / "keys.json").write_text((data / "keys.json").read_text()[:50])


def keyring_of_another(data):
    (data / "keys.json").unlink()
    Keyring.open(data / "keys.json", create=True)


def keyring_lost(data):
    (data / "keys.json").unlink()


def database_is_none(data):
    (data / "gatewright.db").write_bytes(b"this is no database" * 100)


def database_is_newer(data):
    with closing(sqlite3.connect(data / "gatewright.db")) as database, database:
        database.execute("update alembic_version set version_num = '9999'")


def keyring_open_to_all(data):
    (data / "keys.json").chmod(0o644)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (keyring_cut_short, "keys.json"),
        (keyring_of_another, "the file is not its keyring"),
        (keyring_lost, "no key file"),
        (keyring_open_to_all, "chmod 600"),
        (database_is_none, "restore a backup"),
        (database_is_newer, "newer"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_an_installation_that_is_damaged_is_refused_in_one_clear_line(copied, spoil, named):
    spoil(copied)
    with pytest.raises(ConfigurationError) as caught, open_installation(copied):
        pass
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_gateway_does_not_start_with_the_keyring_of_another(copied):
    keyring_of_another(copied)
    told = refusal(copied)
    assert told.startswith("gatewright: keys: this database is under the key ")
    assert f"which {copied / 'keys.json'} does not have" in told
    assert "the file is not its keyring: use the key file of that time" in told


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own: gives its folder, and a function that mounts it with these options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("only root can mount a disk")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


@pytest.mark.parametrize(
    ("size", "named"), [("120k", "the disk is full"), ("600k", "no room for a limit table")], ids=["database", "limits"]
)
def test_a_full_disk_is_refused_in_one_clear_line(disk, size, named):
    assert named in refusal(disk(f"size={size}") / "var")


def test_a_disk_that_cannot_be_written_is_refused_in_one_clear_line(disk, copied):
    folder = disk("size=24m")
    shutil.copytree(copied, folder / "var")
    disk("remount,ro")
    assert "read-only file system" in refusal(folder / "var")


FULL = """
format: 1
channels:
  greet: {type: rest, path: /greet, service: greet, methods: [GET]}
  keep: {type: rest, path: /keep, service: keep, methods: [GET]}
"""
KEEPER = """
from gatewright import Service

class Keep(Service):
    name = "keep"
    def handle(self):
        self.kvdb.conn.set(f"kept {self.cid}", "x" * 500_000)
        self.response.payload = {"kept": True}
"""


def test_a_disk_that_fills_up_while_it_serves_costs_what_must_be_written_and_nothing_else(disk, tmp_path):
    folder = disk("size=20m")
    services = {"greeter.py": GREETER.format(word="Hello"), "keeper.py": KEEPER}
    with gateway(tmp_path, FULL, services, data=folder / "var") as running:
        assert running.get("/keep").status_code == 200
        with (folder / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"x" * 4096)
            except OSError:
                pass
        # What the database holds on to already takes a few more.
        assert eventually(lambda: running.get("/keep").status_code != 200)
        for _ in range(3):
            assert running.get("/greet").status_code == 200
            refused = running.get("/keep")
            assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
            assert "disk" not in refused.text
        assert "the disk" in running.log()
        changed = tmp_path / "changed.yaml"
        changed.write_text(FULL.replace("/greet", "/greet-you"))
        words = [sys.executable, "-m", "gateway.cli", "config", "apply", str(changed), "--data", str(running.data)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr
        assert "disk" in done.stderr
        (folder / "ballast").unlink()
        assert eventually(lambda: running.get("/keep").status_code == 200)
        running.command("config", "apply", str(changed))
        assert eventually(lambda: running.get("/greet-you").status_code == 200)
        assert running.stop() == 0
