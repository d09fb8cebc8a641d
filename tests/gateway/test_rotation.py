"""Keys are replaced while everything is under them: nothing is lost, and none is retired that is needed."""

import os
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from running import ROOT
from sqlalchemy import select, text, update

from backends.deployment import Deployments
from gateway.administrators import ADMINISTRATORS, Administrators
from gateway.configuration.document import Document
from gateway.configuration.store import OBJECTS, Store
from gateway.keyrings import KEY_USERS, KeyUse, open_keyring, users_of_keys
from gateway.migrations import migrate
from gateway.rotation import Rotation
from security.database import open_database
from security.passwords import PasswordHasher
from security.references import References
from security.secrets import Keyring, key_id_of
from specs.problems import ConfigurationError
from sso import tables as sso_tables
from sso.settings import Sso
from sso.system import COMMAND, SingleSignOn
from sso.users import NewUser

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DOCUMENT = """
    security:
      partners: {type: basic, username: api, password: "${env:P}"}
      keyed: {type: apikey, key: "${env:K}"}
    consumers:
      acme: {basic: [{username: a, password: "${env:P}"}, {username: b, password: another-password}]}
    connections:
      crm: {type: sql, url: "sqlite:////tmp/x", password: "${env:Q}"}
"""
ENVIRON = {"P": "partners-password", "K": "a-key-that-is-long-enough", "Q": "connection-password"}
SERVICE = b"from gatewright import Service\n\n\nclass Answer(Service):\n    name = 'answer'\n"


class Place:
    def __init__(self, url, folder):
        self.database = open_database(url)
        migrate(self.database)
        self.path = folder / "keys.json"
        self.slept = []
        self.open()

    def open(self):
        """As a process does that starts now."""
        self.keyring = Keyring.open(self.path, create=True)
        self.hasher = PasswordHasher(self.keyring.ring("edge"), rounds=10)
        self.store = Store(self.database, self.keyring, hash_password=self.hasher.hash)
        self.deployments = Deployments(self.database, self.keyring.ring("edge"))
        self.sso = SingleSignOn(self.database, self.keyring.ring("edge"), Sso.read({}), rounds=10)
        self.rotation = Rotation(
            self.database, self.keyring, self.deployments, randomness=os.urandom, clock=lambda: NOON,
            pause=self.slept.append,
        )  # fmt: skip

    def fill(self):
        references = References(None, environ=ENVIRON)

        self.store.apply_once(Document.parse(DOCUMENT), "/etc/gw.yaml", references=references)
        self.deployments.deploy({"answer.py": SERVICE})
        administrators = Administrators(self.database, self.keyring)
        administrators._hasher = self.hasher
        administrators.set_password("admin", "administrator's password")
        for name in ("ann", "bea"):
            self.sso.users.create(NewUser(name, f"{name}@example.org", "green lamps over water"), COMMAND)
        self.database.write(
            lambda connection: self.sso.users.write_to(
                connection, connection.execute(select(sso_tables.users)).first(), "welcome"
            )
        )

    def replace_keys(self):
        """New keys that encrypt; the ids of those before them, by ring."""
        old = {ring: self.keyring.ring(ring).active for ring in self.keyring.names}
        for ring, key_id in self.rotation.add(self.keyring.names).items():
            self.rotation.activate(ring, key_id)
        return old

    def unchanged(self):
        """What an operator and callers rely on, told by a process that starts now."""
        self.open()
        applied = self.store.check(Document.parse(DOCUMENT), references=References(None, environ=ENVIRON))
        again = self.store.apply_once(
            Document.parse(DOCUMENT), "/etc/gw.yaml", references=References(None, environ=ENVIRON)
        )
        configuration = self.store.load()
        partners = configuration.find("security", "partners").settings
        return {
            "changes": [str(change) for change in applied.changes],
            "applied again": again is not None,
            "faults": list(configuration.faults),
            "password": self.hasher.verify("partners-password", partners.password.reveal()),
            "connection": configuration.find("connections", "crm").settings.password.reveal(),
            "services": [one.name for one in self.deployments.load()],
            "people": sorted(user.email for user in self.sso.users.search({}, COMMAND)),
            "letters": [one.kind for one in self.database.read(lambda c: self.sso.outbox.due(c))],
            "audit": self.sso.audit.verify().bad,
            "dump": self.store.dump(),
        }


@pytest.fixture
def memory():
    """A folder in the memory of the machine, where it has one: a commit that waits for no disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def place(database_url, memory):
    yield from filled(database_url, memory)


@pytest.fixture
def sqlite_place(memory):
    yield from filled(f"sqlite:///{memory}/gatewright.db", memory)


def filled(url, folder):
    place = Place(url, folder)
    place.fill()
    yield place
    place.database.close()


def test_S50_everything_is_as_it_was_under_other_keys_and_again_under_others(place):
    before = place.unchanged()
    assert (before["changes"], before["applied again"], before["password"]) == ([], False, True)
    for _ in range(2):
        old = place.replace_keys()
        assert list(place.rotation.reencrypt(2))[-1].faults == ()
        for ring, key_id in old.items():
            place.rotation.retire(ring, key_id)
        assert place.unchanged() == before
        content = place.path.read_text()
        assert not any(key_id in content for key_id in old.values())


def test_a_key_is_not_retired_while_anything_is_under_it_and_that_is_named(place):
    old = place.replace_keys()
    with pytest.raises(ConfigurationError) as refused:
        place.rotation.retire("edge", old["edge"])
    for words in (
        "1 passwords of administrators", "4 keys of single sign-on", "2 people's own keys", "2 people's passwords",
        "1 letters that wait", "objects of the configuration, in any revision (security.partners",
        "1 versions of services", "1 applied files (/etc/gw.yaml)", "run `gatewright keys reencrypt`",
    ):  # fmt: skip
        assert words in str(refused.value)
    with pytest.raises(ConfigurationError, match=r"connections\.crm"):
        place.rotation.retire("connections", old["connections"])
    with pytest.raises(ConfigurationError, match="is active"):
        place.rotation.retire("edge", place.keyring.ring("edge").active)
    assert place.unchanged()["people"] == ["ann@example.org", "bea@example.org"]


def test_a_place_that_nobody_thought_of_keeps_its_key(sqlite_place):
    place = sqlite_place
    old = place.replace_keys()
    list(place.rotation.reencrypt())
    place.database.write(lambda c: c.execute(text(f"update jobs set definition = 'v1.{old['edge']}.x'")))
    place.database.write(
        lambda c: c.execute(
            text(f"insert into sso_throttles values ('v1.{old['edge']}.x', 1, '2026-01-01', '2026-01-01')")
        )
    )
    with pytest.raises(ConfigurationError, match="the column key of the table sso_throttles"):
        place.rotation.retire("edge", old["edge"])
    assert old["edge"] in Keyring.open(place.path).ring("edge").keys


def test_what_is_written_a_moment_later_brings_the_key_back(sqlite_place):
    place = sqlite_place
    stale = place.hasher.hash("late")
    old = place.replace_keys()
    list(place.rotation.reencrypt())

    def late(seconds):
        place.slept.append(seconds)
        if seconds == 5.0:
            place.database.write(lambda c: c.execute(update(ADMINISTRATORS).values(password=stale)))

    place.rotation._pause = late
    with pytest.raises(ConfigurationError, match="passwords of administrators"):
        place.rotation.retire("edge", old["edge"])
    assert old["edge"] in Keyring.open(place.path).ring("edge").keys
    assert 5.0 in place.slept


def test_a_revision_that_keeps_what_was_stored_before_writes_it_under_the_active_key(sqlite_place):
    place = sqlite_place
    dump, old = place.store.dump(), place.keyring.ring("edge").active
    place.replace_keys()
    document = dump.replace("username: api", "username: other")
    place.store.apply(Document.parse(document), references=References(None, environ=ENVIRON))
    newest = select(OBJECTS.c.body).where(OBJECTS.c.name == "partners").order_by(OBJECTS.c.revision.desc()).limit(1)
    kept = place.database.read(lambda c: c.execute(newest).scalar_one())["password"]
    assert {key_id_of(kept["$hash"]), key_id_of(kept["$digest"])} == {place.keyring.ring("edge").active}
    assert kept["$digest"].startswith(f"{old}:")
    assert place.hasher.verify("partners-password", kept["$hash"])


def test_what_was_damaged_does_not_keep_the_rest(sqlite_place):
    place = sqlite_place
    row = (OBJECTS.c.name == "crm",)
    body = place.database.read(lambda c: c.execute(select(OBJECTS.c.body).where(*row)).scalar_one())
    damaged = {**body, "password": {**body["password"], "$box": body["password"]["$box"][:-4] + "AAA="}}
    place.database.write(lambda c: c.execute(update(OBJECTS).where(*row).values(body=damaged)))
    old = place.replace_keys()
    faults = list(place.rotation.reencrypt(1))[-1].faults
    assert [fault.partition(":")[0] for fault in faults] == ["connections.crm, revision 1"]
    place.rotation.retire("edge", old["edge"])
    with pytest.raises(ConfigurationError, match=r"connections\.crm"):
        place.rotation.retire("connections", old["connections"])


def test_machines_that_lack_a_key_or_still_encrypt_with_one_are_named(sqlite_place):
    place = sqlite_place
    now = [NOON]
    place.rotation.clock = lambda: now[0]
    elsewhere = KeyUse(place.database, Keyring.open(place.path), clock=lambda: now[0])
    elsewhere._machine, elsewhere._process = "far", "far 17 abc"
    elsewhere._keyring.path = place.path.with_name("far.json")  # its own copy, handed over by hand
    elsewhere.look()
    old = place.keyring.ring("edge").active
    new = place.rotation.add(("edge",))["edge"]
    with pytest.raises(ConfigurationError, match=f"far 17 abc has no key '{new}' yet: hand the key file"):
        place.rotation.activate("edge", new)
    place.path.with_name("far.json").touch(0o600)
    place.path.with_name("far.json").write_bytes(place.path.read_bytes())
    assert elsewhere.look()
    place.rotation.activate("edge", new)
    list(place.rotation.reencrypt())
    with pytest.raises(ConfigurationError, match=f"far 17 abc still encrypts with the key '{old}'"):
        place.rotation.retire("edge", old)
    now[0] += timedelta(seconds=61)
    place.rotation.retire("edge", old)
    assert [user.process for user in users_of_keys(place.database, clock=lambda: NOON)] == ["far 17 abc"]
    elsewhere.leave()
    assert place.database.read(lambda c: c.execute(select(KEY_USERS)).all()) == []


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(sqlite_place):
    use = KeyUse(sqlite_place.database, sqlite_place.keyring)
    use.look()
    assert not use.look()
    assert len(users_of_keys(sqlite_place.database)) == 1
    assert users_of_keys(sqlite_place.database, alive=lambda pid: False) == []


def test_what_is_done_with_keys_is_audited(sqlite_place):
    place = sqlite_place
    old = place.replace_keys()
    with pytest.raises(ConfigurationError):
        place.rotation.retire("edge", old["edge"], "spring cleaning")
    list(place.rotation.reencrypt())
    place.rotation.retire("edge", old["edge"], "spring cleaning")
    records = [r for r in place.sso.audit.find(most=100) if r["action"].startswith("keys.")]
    assert [(r["action"], r["result"]) for r in records] == [
        ("keys.add", "done"), ("keys.add", "done"), ("keys.activate", "done"), ("keys.activate", "done"),
        ("keys.retire", "refused"), ("keys.reencrypt", "begun"), ("keys.reencrypt", "done"), ("keys.retire", "done"),
    ]  # fmt: skip
    assert (records[-1]["target"], records[-1]["reason"]) == (f"edge {old['edge']}", "spring cleaning")


def test_a_backup_from_before_says_which_key_is_missing(sqlite_place, tmp_path):
    place = sqlite_place
    place.database.copy_to(tmp_path / "copy.db")
    old = place.replace_keys()
    list(place.rotation.reencrypt())
    place.rotation.retire("edge", old["edge"])
    copy = open_database(f"sqlite:///{tmp_path}/copy.db")
    try:
        with pytest.raises(ConfigurationError) as refused:
            open_keyring(copy, place.path, create=False)
    finally:
        copy.close()
    assert f"under the key '{old['edge']}' of the ring 'edge'" in str(refused.value)
    assert "it was retired" in str(refused.value)
    assert "use the key file of that time" in str(refused.value)


def test_kill_9_in_the_middle_of_reencryption_loses_nothing(sqlite_place):
    """Cut short after each number of transactions in turn, it goes on where it was."""
    place = sqlite_place
    before = place.unchanged()
    old = place.replace_keys()
    program = """
import os, sys, secrets
from pathlib import Path
from gateway.preparation import deployments_of
from gateway.rotation import Rotation
from security.database import open_database
from security.secrets import Keyring
database, keyring = open_database(sys.argv[1]), Keyring.open(sys.argv[2])
rotation = Rotation(database, keyring, deployments_of(database, keyring), randomness=secrets.token_bytes)
for count, _ in enumerate(rotation.reencrypt(1)):
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
"""
    url = place.database.url.render_as_string()
    ended = []
    for after in (0, 3, 1000):
        done = subprocess.run(
            [sys.executable, "-c", program, url, str(place.path), str(after)], cwd=ROOT, capture_output=True, text=True
        )
        ended.append(done.returncode)
        assert place.unchanged() == before
    assert ended == [-signal.SIGKILL] * 2 + [0], done.stderr
    for ring, key_id in old.items():
        place.rotation.retire(ring, key_id)
    assert place.unchanged() == before
