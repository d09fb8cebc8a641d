"""Revisions: all of a document or nothing, one writer wins, nothing is lost, and a dump is what was applied."""

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gateway.configuration.document import Document
from gateway.configuration.loader import load
from gateway.configuration.store import OBJECTS, StaleRevision, Store
from gateway.configuration.writer import write
from gateway.migrations import migrate
from security.credentials import ApiKeys
from security.database import Database, open_database
from security.passwords import PasswordHasher
from security.references import References
from security.secrets import Keyring
from specs.problems import ConfigurationError

ROOT = Path(__file__).parents[2]


class Place:
    """A store and what it was made from; passwords cost nothing here."""

    def __init__(self, database: Database, keyring: Keyring, environ: dict[str, str], folder: Path) -> None:
        self.database = database
        self.keyring = keyring
        self.environ = environ
        self.references = References(folder, environ=environ)
        self.hasher = PasswordHasher(keyring.ring("edge"), rounds=10)
        self.hashed = 0
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)
        self.store = Store(database, keyring, hash_password=self._hash, clock=self._now)

    def _hash(self, password: str) -> str:
        self.hashed += 1
        return self.hasher.hash(password)

    def _now(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment

    def apply(self, document, **options):
        made = Document.parse(document) if isinstance(document, str) else Document.of(document)
        return self.store.apply(made, references=options.pop("references", self.references), **options)

    def changes(self, document, **options):
        return [str(change) for change in self.apply(document, **options).changes]

    def raw(self):
        """Everything that is stored, as one text."""
        return self.database.read(lambda c: orjson.dumps([list(row) for row in c.execute(select(OBJECTS))])).decode()


@pytest.fixture
def place(database_url, tmp_path):
    database = open_database(database_url)
    migrate(database)
    yield Place(database, Keyring.generate(), {"PASSWORD": "s3cret-of-partners", "URL_PART": "db"}, tmp_path)
    database.close()


@pytest.fixture
def sqlite_place(tmp_path):
    database = open_database(tmp_path)
    migrate(database)
    yield Place(database, Keyring.generate(), {"PASSWORD": "s3cret-of-partners"}, tmp_path)
    database.close()


def channel(path, **more):
    return {"type": "rest", "path": path, "service": "s", **more}


DOCUMENT = """
format: 1
security:
  partners: {type: basic, username: api, password: "${env:PASSWORD}"}
  keys: {type: apikey, key: a-key-of-more-than-16-characters}
consumers:
  acme: {groups: [gold], basic: [{username: acme, password: first-pass}, {username: acme2, password: second-pass}],
         apikey: {key: another-key-of-more-than-16}}
channels:
  a: {type: rest, path: /a, service: s, security: [partners, [keys]], description: "costs $${x}"}
connections:
  crm: {type: rest, url: "http://${env:URL_PART}/", password: connection-secret, username: u}
  old: {type: sql, url: "postgresql+psycopg://crm:in-the-url@db/crm"}
"""
SECRETS = (
    "s3cret-of-partners",
    "a-key-of-more",
    "first-pass",
    "second-pass",
    "another-key",
    "connection-secret",
    "in-the-url",
)


def test_what_is_applied_is_loaded(place):
    assert place.store.head() == 0
    assert place.store.load().objects == {}
    applied = place.apply(DOCUMENT, author="ann", comment="first")
    assert (applied.revision, len(applied.changes)) == (1, 6)
    loaded = place.store.load()
    assert (loaded.revision, loaded.faults) == (1, {})
    partners = loaded.of("security")["partners"]
    assert (partners.type, partners.revision) == ("basic", 1)
    assert place.hasher.verify("s3cret-of-partners", partners.settings.password.reveal())
    assert loaded.find("security", "keys").settings.key.reveal() == ApiKeys.digest("a-key-of-more-than-16-characters")
    assert loaded.find("connections", "crm").settings.password.reveal() == "connection-secret"
    assert loaded.find("connections", "crm").settings.url == "http://db/"
    assert loaded.find("connections", "old").settings.url == "postgresql+psycopg://crm:in-the-url@db/crm"
    assert loaded.find("channels", "a").settings.description == "costs ${x}"
    assert loaded.gateway.max_body == 8 * 2**20


def test_no_secret_is_stored_or_shown_in_clear(place):
    applied = place.apply(DOCUMENT)
    changed = place.apply(DOCUMENT.replace("first-pass", "third-pass").replace("connection-secret", "new-secret"))
    shown = place.store.dump() + place.raw() + repr(applied) + repr(changed)
    assert [secret for secret in (*SECRETS, "third-pass", "new-secret") if secret in shown] == []


def test_dump_then_apply_is_a_no_op(place):
    place.apply(DOCUMENT)
    dumped = place.store.dump()
    place.environ.clear()
    assert (place.changes(dumped), place.store.head(), place.store.dump()) == ([], 1, dumped)
    assert '"${env:PASSWORD}"' in dumped
    assert 'password: "${stored}"' in dumped


def test_Z_complaint_1220_a_dump_applies_elsewhere_once_its_secrets_are_given(place, tmp_path):
    place.apply(DOCUMENT)
    other = open_database(tmp_path / "other")
    migrate(other)
    store = Store(other, Keyring.generate(), hash_password=str)
    with pytest.raises(ConfigurationError) as refused:
        store.apply(Document.parse(place.store.dump()), references=place.references)
    assert "connections.crm.password: nothing is stored for this setting" in str(refused.value)
    given = place.store.dump()
    for mark in [line.split('"')[1] for line in given.splitlines() if "${stored" in line]:
        given = given.replace(f'"{mark}"', f"given-{len(given)}-and-long", 1)
    given = given.replace("url: given", "url: sqlite:////given")
    store.apply(Document.parse(given), references=place.references)
    other.close()


def test_unchanged_objects_get_no_new_row_and_passwords_are_hashed_once(place):
    place.apply(DOCUMENT)
    assert (place.hashed, place.changes(DOCUMENT), place.store.head(), place.hashed) == (3, [], 1, 3)
    assert place.changes(DOCUMENT.replace("path: /a", "path: /b")) == ["~ channels.a: path: /a -> /b"]
    assert place.store.changes_since(1) == {("channels", "a")}
    assert place.store.changes_since(2) == set()


def test_a_value_behind_a_reference_that_changed_is_a_change(place):
    place.apply(DOCUMENT)
    place.environ["PASSWORD"] = "another"
    assert place.changes(DOCUMENT) == ["~ security.partners: password: another value"]
    loaded = place.store.load().find("security", "partners").settings
    assert place.hasher.verify("another", loaded.password.reveal())


def test_a_reference_instead_of_the_same_value_is_told_and_not_hashed_again(place):
    place.apply(DOCUMENT)
    before = place.store.load().find("security", "partners").settings
    assert place.changes(DOCUMENT.replace('"${env:PASSWORD}"', "s3cret-of-partners")) == [
        "~ security.partners: password: ${env:PASSWORD} -> ${stored}"
    ]
    assert (place.hashed, place.store.load().find("security", "partners").settings) == (3, before)


def test_whole_document_or_merge(place):
    place.apply({"channels": {"a": channel("/a"), "b": channel("/b")}})
    assert place.changes({"channels": {"c": channel("/c")}}, merge=True) == ["+ channels.c"]
    assert place.changes({"channels": {"c": channel("/c")}}) == ["- channels.a", "- channels.b"]
    with pytest.raises(ConfigurationError, match="leads to the channel 'c' already"):
        place.apply({"channels": {"d": channel("/c")}}, merge=True)


def test_a_dry_run_changes_nothing_and_hashes_nothing(place):
    got = place.changes(DOCUMENT, dry_run=True)
    assert (len(got), place.store.head(), place.hashed) == (6, 0, 0)


def test_a_bad_document_is_refused_whole_with_every_fault(place):
    place.apply({"channels": {"a": channel("/a")}})
    with pytest.raises(ConfigurationError) as refused:
        place.apply(
            {"channels": {"a": channel("/b"), "b": channel("c")}, "limits": {"l": {}}, "groups": {"g": {"x": 1}}}
        )
    assert [line.split(":")[0] for line in str(refused.value).splitlines()] == [
        "channels.b.path",
        "limits.l.rules",
        "groups.g.x",
    ]
    assert place.store.load().find("channels", "a").settings.path == "/a"


def test_a_missing_reference_names_the_place_and_the_variable(place):
    with pytest.raises(ConfigurationError) as refused:
        place.apply("security: {p: {type: basic, username: u, password: '${env:NOT_THERE}'}}")
    assert str(refused.value) == (
        "security.p.password: the environment variable NOT_THERE is not set: set NOT_THERE and try again"
    )


def test_the_admin_api_refers_to_its_own_variables_alone_but_keeps_what_is_stored(place):
    place.apply(DOCUMENT)
    by_api = References.from_api(None, environ={"PASSWORD": "stolen", "GATEWRIGHT_SECRET_P": "given"})
    applied = place.apply(place.store.dump(), references=by_api)
    assert (applied.changes, [w.path for w in applied.warnings]) == (
        (), ["security.partners.password", "connections.crm.url"]
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="may not refer to the variable PASSWORD"):
        place.apply(DOCUMENT.replace("keys: {", "more: {type: basic, username: x, password: '${env:PASSWORD}'}\n  keys: {"),
                    references=by_api)  # fmt: skip
    changed = place.store.dump().replace("${env:PASSWORD}", "${env:GATEWRIGHT_SECRET_P}")
    assert place.changes(changed, references=by_api) == [
        "~ security.partners: password: ${env:PASSWORD} -> ${env:GATEWRIGHT_SECRET_P}"
    ]


def test_A49_what_a_reference_gives_is_not_a_template(place):
    place.environ["PASSWORD"] = "${env:URL_PART}"
    place.apply("connections: {c: {type: rest, url: 'http://h', username: u, password: '${env:PASSWORD}'}}")
    assert place.store.load().find("connections", "c").settings.password.reveal() == "${env:URL_PART}"


def test_a_stored_secret_cannot_be_asked_for_from_elsewhere(place):
    place.apply(DOCUMENT)
    new = {"connections": {"mine": {"type": "rest", "url": "http://evil", "username": "u", "password": "${stored}"}}}
    with pytest.raises(ConfigurationError, match=r"connections\.mine.password: nothing is stored for this setting"):
        place.apply(new, merge=True)
    box = load(place.store.dump())["connections"]["crm"]
    stolen = {"$box": "v1.x.y", "$ref": None, "$digest": "x"}
    with pytest.raises(ConfigurationError, match="not a key"):
        place.apply({"connections": {"mine": {**box, "password": stolen}}})


def test_a_box_moved_to_another_object_is_not_opened(sqlite_place):
    place = sqlite_place
    connection = {"type": "rest", "url": "http://h", "username": "u"}
    place.apply({"connections": {"a": {**connection, "password": "p-a"}, "b": {**connection, "password": "p-b"}}})
    rows = place.database.read(lambda c: c.execute(select(OBJECTS.c.name, OBJECTS.c.body)).all())
    bodies = {row.name: row.body for row in rows}
    place.database.write(lambda c: c.execute(OBJECTS.update().where(OBJECTS.c.name == "b").values(body=bodies["a"])))
    loaded = place.store.load()
    assert str(loaded.faults["connections", "b"]) == (
        "connections.b.password: the stored secret belongs to connections.a.password: enter it again"
    )
    assert loaded.find("connections", "a") is not None


def test_a_removed_item_of_a_list_does_not_hand_its_password_on(place):
    place.apply(DOCUMENT)
    dumped = load(place.store.dump())
    second = dumped["consumers"]["acme"]["basic"][1]
    assert second["password"].startswith("${stored:")
    dumped["consumers"]["acme"]["basic"] = [second]
    place.apply(dumped)
    (left,) = place.store.load().find("consumers", "acme").settings.basics
    assert place.hasher.verify("second-pass", left.password.reveal())
    dumped["consumers"]["acme"]["basic"] = [{**second, "password": "${stored}"}]
    with pytest.raises(ConfigurationError, match="which of a list's stored values is meant cannot be told"):
        place.apply(dumped)


def test_two_consumers_cannot_share_a_key(place):
    key = {"apikey": {"key": "the-same-key-for-both"}}
    with pytest.raises(
        ConfigurationError, match=r"consumers\.b\.apikey: an API key belongs to the consumer 'a' already"
    ):
        place.apply({"consumers": {"a": key, "b": key}})
    place.apply({"consumers": {"a": key}})
    with pytest.raises(ConfigurationError, match="an API key belongs to the consumer"):
        place.apply({"consumers": {"b": key}}, merge=True)


def test_a_short_key_is_a_warning(place):
    got = place.apply({"security": {"k": {"type": "apikey", "key": "short"}}}).warnings
    assert [str(w) for w in got] == ["security.k.key: an API key of less than 16 characters can be guessed"]


def test_a_stale_revision_is_refused_by_name(place):
    place.apply({"channels": {"a": channel("/a")}})
    place.apply({"channels": {"a": channel("/b")}}, expected=1)
    with pytest.raises(StaleRevision, match="the configuration is at revision 2 and no longer at 1") as refused:
        place.apply({"channels": {"a": channel("/c")}}, expected=1)
    assert refused.value.current == 2


def test_of_two_who_apply_at_once_one_wins(place):
    class Interrupted(Store):
        def _write(self, *arguments):
            place.apply({"channels": {"b": channel("/b")}})
            return super()._write(*arguments)

    slow = Interrupted(place.database, place.keyring)
    with pytest.raises(StaleRevision, match="at revision 1 and no longer at 0"):
        slow.apply(Document.of({"channels": {"a": channel("/a")}}), references=place.references)
    assert list(place.store.load().of("channels")) == ["b"]


def test_history_and_rollback(place):
    place.apply({"channels": {"a": channel("/a")}}, author="ann", comment="one")
    place.apply({"channels": {"b": channel("/b")}}, author="bob")
    applied = place.store.rollback(1, author="cid")
    assert [str(change) for change in applied.changes] == ["+ channels.a", "- channels.b"]
    assert place.store.dump() == place.store.dump(1)
    history = [(r.revision, r.author, r.comment, r.changes) for r in place.store.history()]
    assert history == [(3, "cid", "rollback to revision 1", 2), (2, "bob", "", 2), (1, "ann", "one", 1)]
    assert place.store.history()[0].at == place.moment
    assert place.store.rollback(3).changes == ()
    with pytest.raises(ConfigurationError, match="there is no revision 9: the latest is 3"):
        place.store.rollback(9)


def test_rollback_brings_back_passwords(place):
    place.apply(DOCUMENT)
    place.apply(DOCUMENT.replace("first-pass", "other-pass"))
    place.store.rollback(1)
    assert place.hasher.verify(
        "first-pass", place.store.load().find("consumers", "acme").settings.basics[0].password.reveal()
    )
    assert place.changes(DOCUMENT) == []


def test_a_refresh_reads_what_changed_and_keeps_the_rest(place):
    place.apply({"channels": {"a": channel("/a"), "b": channel("/b")}})
    first = place.store.load()
    assert place.store.refresh(first) is first
    place.apply({"channels": {"a": channel("/a"), "c": channel("/c")}})
    second = place.store.refresh(first)
    assert second.objects == place.store.load().objects
    assert second.find("channels", "a") is first.find("channels", "a")
    assert list(first.of("channels")) == ["a", "b"]


def test_what_can_no_longer_be_read_is_a_fault_and_not_a_refusal(sqlite_place):
    place = sqlite_place
    place.apply({"channels": {"a": channel("/a"), "b": channel("/b")}})
    gone = {"type": "gone", "path": "/a"}
    place.database.write(lambda c: c.execute(OBJECTS.update().where(OBJECTS.c.name == "a").values(body=gone)))
    loaded = place.store.load()
    assert (list(loaded.of("channels")), list(loaded.faults)) == (["b"], [("channels", "a")])
    place.apply({"channels": {"a": channel("/c"), "b": channel("/b")}})
    assert place.store.refresh(loaded).faults == {}


def test_an_edge_has_no_keys_for_connections_and_does_not_miss_them(sqlite_place):
    place = sqlite_place
    place.environ["URL_PART"] = "db"
    place.apply(DOCUMENT)
    edge = Store(place.database, Keyring({"edge": place.keyring.ring("edge")})).load()
    assert (edge.of("connections"), edge.faults, list(edge.of("channels"))) == ({}, {}, ["a"])


def test_secrets_survive_a_change_of_keys(place):
    place.apply(DOCUMENT)
    for ring in ("edge", "connections"):
        place.keyring.activate(ring, place.keyring.add_key(ring))
    assert place.changes(DOCUMENT) == []
    assert place.store.load().find("connections", "crm").settings.password.reveal() == "connection-secret"


def test_a_file_is_applied_at_start_only_when_it_changed(place):
    text = "security: {p: {type: basic, username: u, password: '${env:PASSWORD}'}}"

    def start(text):
        applied = place.store.apply_once(Document.parse(text), "/etc/gw.yaml", references=place.references)
        return None if applied is None else applied.revision

    assert start(text) == 1
    place.apply({"channels": {"a": channel("/a")}}, merge=True)
    assert (start(text), list(place.store.load().of("channels"))) == (None, ["a"])
    place.environ["PASSWORD"] = "rotated"
    assert (start(text), start(text)) == (3, None)
    assert start(text + " # a remark") == 3
    assert start(text + " # a remark") is None


names = st.text("abcdefghij .-_äß漢", min_size=1, max_size=8).filter(lambda n: n == n.strip())
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.sampled_from(
    ["on", "017", "a\nb\n", "$${x}", "$$", "x $ {y}", "http://u:p@h/", "12:30", "#"]
)
plain = texts.filter(lambda text: "${" not in text.replace("$${", ""))
groups = st.fixed_dictionaries({}, optional={"description": plain})
anything = st.recursive(
    plain
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
consumers = st.fixed_dictionaries(
    {}, optional={"groups": st.lists(names, max_size=2), "attributes": st.dictionaries(names, anything, max_size=3),
                  "enabled": st.booleans(), "allow": st.just(["10.0.0.0/8", "::1"]), "description": plain}
)  # fmt: skip
jobs = st.fixed_dictionaries(
    {"service": names, "every": st.sampled_from(["1h", 60, 1.5])},
    optional={"payload": anything, "repeats": st.integers(1, 9)},
)
documents = st.fixed_dictionaries(
    {}, optional={"groups": st.dictionaries(names, groups, max_size=3), "consumers": st.dictionaries(names, consumers, max_size=3),
                  "jobs": st.dictionaries(names, jobs, max_size=3), "docs": st.just({}), "gateway": st.just({"max_body": "1KiB"})}
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents)
def test_export_then_import_is_identity(sqlite_place, document):
    applied = sqlite_place.apply(write(document))
    dumped = sqlite_place.store.dump()
    assert sqlite_place.apply(dumped).changes == ()
    assert sqlite_place.store.head() == applied.revision
    sqlite_place.apply({})
    sqlite_place.store.rollback(applied.revision)
    assert sqlite_place.store.dump() == dumped


WRITER = """
import sys
from pathlib import Path
from gateway.configuration.document import Document
from gateway.configuration.store import Store
from security.database import open_database
from security.references import References
from security.secrets import Keyring
folder = Path(sys.argv[1])
store = Store(open_database(folder), Keyring.open(folder / "keys.json"))
for number in range(1, 100_000):
    channels = {name: {"type": "rest", "service": "s", "path": f"/{name}/{number}"} for name in "abcdefgh"}
    revision = store.apply(Document.of({"channels": channels}), references=References(None)).revision
    print(revision, number, flush=True)
"""


def test_what_was_accepted_survives_kill_9_and_readers_never_see_half_a_change(tmp_path):
    keyring = Keyring.open(tmp_path / "keys.json", create=True)
    database = open_database(tmp_path)
    migrate(database)
    store = Store(database, keyring)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        loaded = store.load()
        while loaded.revision < 40:
            loaded = store.refresh(loaded)
            seen = {held.settings.path.rpartition("/")[2] for held in loaded.of("channels").values()}
            assert (len(seen), len(loaded.objects)) in ((0, 0), (1, 8))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        told = process.stdout.read().split("\n")
        process.stdout.close()
        process.wait()
    revision, number = told[-2].split()
    after = store.load()
    assert after.revision >= int(revision)
    assert store.load(int(revision)).find("channels", "a").settings.path == f"/a/{number}"
    database.close()


def test_thousands_of_objects_are_polled_for_nothing(sqlite_place):
    place = sqlite_place
    many = {f"c{n}": channel(f"/c/{n}/{{id}}") for n in range(2000)}
    place.apply({"channels": many})
    pauses = []
    store = Store(place.database, place.keyring, pause=lambda: pauses.append(1))
    loaded = store.load()
    assert (len(loaded.objects), len(pauses)) == (2000, 40)
    place.apply({"channels": {**many, "c7": channel("/other")}})
    assert store.refresh(loaded).find("channels", "c7").settings.path == "/other"
    assert len(pauses) == 40


BORROWING = """
security:
  partners: {type: basic, username: api, password: "hunter2-hunter2"}
  device: {type: apikey, key: "device-key-0123456789", header: X-Device}
  people: {type: basic, groups: ["*"]}
connections:
  erp: {type: rest, url: "http://127.0.0.1:9", security: partners}
  hut: {type: rest, url: "http://127.0.0.1:9", security: device}
"""


def test_a_connection_sends_what_the_definition_that_it_names_asks_for(place):
    place.apply(BORROWING)
    held = place.store.load().of("connections")
    erp, hut = held["erp"].settings, held["hut"].settings
    assert (erp.username, erp.password.reveal(), erp.security) == ("api", "hunter2-hunter2", None)
    assert (hut.api_key.reveal(), hut.header) == ("device-key-0123456789", "X-Device")
    assert "hunter2" not in place.raw()
    assert "hunter2" not in place.store.dump()


def test_borrowed_credentials_change_with_their_definition_and_are_no_change_by_themselves(place):
    place.apply(BORROWING)
    assert place.changes(BORROWING) == []
    assert place.changes(place.store.dump()) == []
    place.apply(BORROWING.replace("hunter2", "hunter3"))
    assert place.store.load().of("connections")["erp"].settings.password.reveal() == "hunter3-hunter3"


def test_what_a_definition_cannot_lend_is_refused_with_the_remedy(place):
    with pytest.raises(ConfigurationError, match=r"connections\.erp\.security: 'people' has no credentials"):
        place.apply(BORROWING.replace("security: partners", "security: people"))
    place.apply(BORROWING.replace(", security: partners", ""))
    stored = place.store.dump().replace("type: rest", "type: rest", 1)
    document = load(stored)
    document["connections"]["erp"]["security"] = "partners"
    with pytest.raises(ConfigurationError, match="only a hash is stored for 'partners'"):
        place.apply(document)


def test_what_revisions_did_to_channels_is_looked_back_on(place):
    def channels(**paths):
        made = {name: {"type": "rest", "path": path, "service": "s"} for name, path in paths.items()}
        return {"channels": made, "limits": {"few": {"rules": "* = 1/s"}}}

    place.apply(channels(a="/a", b="/b"))
    place.apply(channels(a="/c"))
    place.apply({**channels(a="/c", d="/d"), "limits": {}})
    place.apply(channels(a="/e", d="/d"))
    looked = [
        (
            revision.revision,
            {name: way.settings.path for name, way in before.items()},
            {name: way.settings.path for name, way in after.items()},
        )
        for revision, before, after in place.store.channels_changed(20)
    ]
    assert looked == [(4, {"a": "/c"}, {"a": "/e"}), (2, {"a": "/a", "b": "/b"}, {"a": "/c"})]
    assert [revision.revision for revision, _, _ in place.store.channels_changed(2)] == [4]


def test_a_channel_that_breaks_callers_is_told_of_refused_or_let_pass(place):
    def document(policy, path):
        channel = {"type": "rest", "path": path, "methods": ["GET"], "service": "s"}
        return {"gateway": {"contract_changes": policy}, "channels": {"a": channel}}

    assert place.apply(document("refuse", "/a")).warnings == ()
    told = "channels.a: the path was /a and is /b (breaks JSON clients)"
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        place.apply(document("refuse", "/b"))
    assert [
        str(one) for one in place.apply(document("refuse", "/b"), dry_run=True, contract_changes="warn").warnings
    ] == [told]
    assert [str(one) for one in place.apply(document("warn", "/b")).warnings] == [told]
    assert place.apply(document("allow", "/c")).warnings == ()
    assert [str(one) for one in place.store.rollback(1).warnings] == [
        "channels.a: the path was /c and is /a (breaks JSON clients)"
    ]
