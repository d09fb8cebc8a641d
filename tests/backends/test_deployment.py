"""Versions of services: made, taken up, rolled back, and never changed behind our back."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import ModuleType

import pytest
from sqlalchemy import delete, update

import backends.deployment
from backends.catalogue import deployed_from
from backends.deployment import BreakingChange, DeploymentErrors, Deployments
from backends.executors.local import LocalExecutor
from backends.guard import Guard
from backends.loading import PACKAGE, DeploymentError
from backends.platform import Platform
from backends.versions import service_deployments, service_versions
from security.database import metadata, open_database
from security.secrets import Keyring
from specs.exchange import Call
from specs.problems import ConfigurationError

SOURCE = """
from gatewright import Service
class Answer(Service):
    name = "answer"
    output = "text"
    def handle(self):
        self.response.payload.text = {text!r}
"""


def answer(text, **replaced):
    source = SOURCE.format(text=text)
    for old, new in replaced.items():
        source = source.replace(old, new)
    return {"answer.py": source.encode()}


def call(catalogue, name="answer"):
    return LocalExecutor(catalogue, Platform(), Guard(enforce=False)).perform(Call(name, cid="c1")).payload["text"]


@pytest.fixture
def database(database_url):
    database = open_database(database_url)
    database.write(metadata.create_all)
    yield database
    database.close()


@pytest.fixture
def ring():
    return Keyring.generate().ring("edge")


@pytest.fixture
def deployments(database, ring):
    return Deployments(database, ring, clock=lambda: datetime(2026, 1, 31, tzinfo=UTC))


def test_a_new_version_is_taken_up_and_calls_under_way_end_in_the_old_one(deployments):
    deployments.deploy(answer("one"), source="a.py", author="ann")
    first = deployments.load()
    head = deployments.head()
    deployments.deploy(answer("two"))
    assert deployments.head() > head
    second = deployments.load(first)
    assert (call(first), call(second)) == ("one", "two")


def test_a_version_says_who_made_it_and_what_is_in_it(deployments):
    version = deployments.deploy(answer("one"), source="a.py", author="ann")
    assert (version.id, version.author, version.source, version.services, version.active, version.pinned) == (
        1,
        "ann",
        "a.py",
        ("answer",),
        True,
        False,
    )
    assert deployments.files(1) == answer("one")


def test_what_did_not_change_is_the_same_object(deployments):
    deployments.deploy(answer("one"))
    first = deployments.load()
    assert deployments.load(first).find("answer") is first.find("answer")


def test_the_same_files_make_no_new_version(deployments):
    deployments.deploy(answer("one"))
    head = deployments.head()
    assert deployments.deploy(answer("one")).id == 1
    assert deployments.head() == head


def test_one_file_replaces_itself_and_the_others_stay(deployments):
    deployments.deploy({**answer("one"), "other.py": b"VALUE = 1"})
    deployments.deploy(answer("two"))
    assert sorted(deployments.files(2)) == ["answer.py", "other.py"]
    deployments.deploy({"other.py": None})
    assert sorted(deployments.files(3)) == ["answer.py"]


@pytest.mark.parametrize(
    "broken",
    [
        {"answer.py": b"def ("},
        {"answer.py": b"import nothing_of_this_name"},
        {"other.py": answer("x")["answer.py"]},
        {"answer.py": SOURCE.replace('"text"', "7").encode()},
    ],
)
def test_a_broken_file_leaves_the_old_version_serving(deployments, broken):
    deployments.deploy(answer("one"))
    head = deployments.head()
    with pytest.raises(DeploymentErrors):
        deployments.deploy(broken)
    assert deployments.head() == head
    assert call(deployments.load()) == "one"


@pytest.mark.parametrize("name", ["../x.py", "/etc/x.py", "a/../x.py", "x.sh", "a\\x.py", "x.py\n", "./x.py"])
def test_a_name_that_leads_elsewhere_is_refused(deployments, name):
    with pytest.raises(DeploymentError):
        deployments.deploy({name: b""})


def test_a_rollback_stays_until_it_is_unpinned(deployments):
    deployments.deploy(answer("one"))
    deployments.deploy(answer("two"))
    version = deployments.rollback(1, author="ann")
    assert (version.id, version.active, version.pinned, call(deployments.load())) == (1, True, True, "one")
    assert (deployments.unpin().id, call(deployments.load())) == (2, "two")


def test_an_explicit_deploy_ends_a_rollback(deployments):
    deployments.deploy(answer("one"))
    deployments.deploy(answer("two"))
    deployments.rollback(1)
    version = deployments.deploy(answer("three"))
    assert (version.id, version.pinned, call(deployments.load())) == (3, False, "three")


def test_a_rollback_to_what_never_was_is_refused(deployments):
    with pytest.raises(ConfigurationError, match="no version 9"):
        deployments.rollback(9)


def test_the_last_hundred_versions_are_kept(deployments, monkeypatch):
    monkeypatch.setattr(backends.deployment, "KEPT", 3)
    for number in range(5):
        deployments.deploy(answer(str(number)))
    assert [version.id for version in deployments.versions()] == [5, 4, 3]


def test_versions_can_be_listed_for_one_service(deployments):
    deployments.deploy(answer("one"))
    deployments.deploy({"answer.py": None, "b.py": answer("x", answer="b")["answer.py"]})
    assert [version.id for version in deployments.versions(service="answer")] == [1]


@pytest.mark.parametrize(
    "change",
    [
        update(service_versions).values(files=b"").where(service_versions.c.id == 2),
        update(service_versions).values(contracts=b"[]").where(service_versions.c.id == 2),
        update(service_versions).values(author="mallory").where(service_versions.c.id == 2),
        update(service_versions).values(mac="").where(service_versions.c.id == 2),
        update(service_deployments).values(version=1).where(service_deployments.c.id == 2),
        update(service_deployments).values(pinned=True).where(service_deployments.c.id == 2),
        delete(service_versions).where(service_versions.c.id == 2),
    ],
    ids=["files", "contracts", "author", "mac", "version", "pinned", "row"],
)
def test_a_version_that_was_changed_in_the_database_is_not_taken_up(deployments, database, change, caplog):
    deployments.deploy(answer("one"))
    first = deployments.load()
    deployments.deploy(answer("two"))
    database.write(lambda connection: connection.execute(change))
    after = deployments.load(first)
    assert call(after) == "one"
    assert "services" in deployments.failures
    assert "the ones before go on" in caplog.text


def test_a_stranger_without_the_key_cannot_deploy(database, deployments):
    Deployments(database, Keyring.generate().ring("edge")).deploy(answer("mallory"))
    assert list(deployments.load()) == []
    assert deployments.contracts() == {}
    deployments.deploy(answer("mine"))
    assert call(deployments.load()) == "mine"


def test_versions_are_signed_again_before_a_key_retires(database, tmp_path):
    keyring = Keyring.open(tmp_path / "keys", create=True)
    deployments = Deployments(database, keyring.ring("edge"))
    deployments.deploy(answer("one"))
    old = keyring.ring("edge").active
    keyring.activate("edge", keyring.add_key("edge"))
    assert Deployments(database, keyring.ring("edge")).sign_again() == 2
    keyring.retire("edge", old)
    after = Deployments(database, keyring.ring("edge"))
    assert call(after.load()) == "one"


def test_contracts_are_read_without_importing_code(deployments):
    deployments.deploy(answer("one"))
    gc.collect()
    before = {name for name in sys.modules if name.startswith(PACKAGE)}
    assert [field.name for field in deployments.contracts()["answer"].output] == ["text"]
    assert {name for name in sys.modules if name.startswith(PACKAGE)} == before


def test_breaking_changes_are_warnings_and_can_be_refused(deployments):
    deployments.deploy(answer("one"))
    changed = answer("two", **{'output = "text"': 'input = "id"; output = "text", "-more"'})
    with pytest.raises(BreakingChange, match="input id is required now"):
        deployments.deploy(changed, contract_changes="refuse")
    broken = ("answer: input id is required now (breaks JSON and WSDL clients)",)
    assert deployments.deploy(changed).warnings == broken
    gone = ("answer: the service is gone (breaks JSON and WSDL clients)",)
    assert deployments.deploy({"answer.py": None}).warnings == gone


def test_a_policy_decides_of_each_change_and_who_deploys_may_say_otherwise(database, ring):
    asked = []

    def policies(found):
        asked.append([(change.service, change.sentence) for change in found])
        return ["refuse" if change.service == "answer" else "allow" for change in found]

    deployments = Deployments(database, ring, policies=policies)
    other = {"other.py": answer("x")["answer.py"].replace(b"answer", b"other")}
    deployments.deploy({**answer("one"), **other})
    assert asked == []
    with pytest.raises(BreakingChange) as caught:
        deployments.deploy({"answer.py": None, "other.py": None})
    assert [change.service for change in caught.value.changes] == ["answer"]
    assert [error.file for error in caught.value.errors] == ["answer.py"]
    assert asked == [[("answer", "the service is gone"), ("other", "the service is gone")]]
    assert deployments.deploy({"other.py": None}).warnings == ()
    assert deployments.deploy({"answer.py": None}, contract_changes="allow").warnings == ()


def test_a_built_in_service_cannot_be_replaced(database, ring):
    module = ModuleType("builtins_of_test")
    sys.modules["builtins_of_test"] = module
    exec(answer("built in")["answer.py"], vars(module))
    deployments = Deployments(database, ring, builtin=deployed_from(module))
    with pytest.raises(DeploymentErrors, match="'answer' of Answer stands in built-in Answer too"):
        deployments.deploy(answer("mine"))
    assert call(deployments.load()) == "built in"
    assert list(deployments.contracts()) == ["answer"]
    del sys.modules["builtins_of_test"]


def test_sets_do_not_see_one_another_and_share_no_names(deployments):
    deployments.deploy({**answer("one"), "helpers.py": b"X = 1"})
    with pytest.raises(DeploymentErrors):
        deployments.deploy(answer("two"), set_name="demo")
    deployments.deploy({"b.py": b"import sys\nassert 'helpers' not in sys.modules"}, set_name="demo")
    assert deployments.sets() == ["demo", "services"]


def test_a_deployment_made_meanwhile_is_not_lost(deployments, monkeypatch):
    deployments.deploy(answer("one"))
    original = backends.deployment.contracts_of
    meanwhile = [{"b.py": b"VALUE = 1"}]

    def check(files, set_name):
        found = original(files, set_name)
        if meanwhile:
            deployments.deploy(meanwhile.pop())
        return found

    monkeypatch.setattr(backends.deployment, "contracts_of", check)
    deployments.deploy({"c.py": b"VALUE = 2"})
    assert sorted(deployments.files(deployments.active().id)) == ["answer.py", "b.py", "c.py"]


def test_several_who_deploy_at_once_lose_nothing(database, ring, database_url):
    def deploy(number):
        own = open_database(database_url)
        try:
            return Deployments(own, ring).deploy({f"file{number}.py": b"VALUE = %d" % number}).id
        finally:
            own.close()

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(deploy, range(8)))
    deployments = Deployments(database, ring)
    assert sorted(made) == list(range(1, 9))
    assert sorted(deployments.files(deployments.active().id)) == [f"file{number}.py" for number in range(8)]
