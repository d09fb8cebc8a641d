"""The watched folder: what it deploys, and what it leaves alone."""

import pytest

from backends.deployment import Deployments
from backends.folder import Folder
from security.database import metadata, open_database
from security.secrets import Keyring
from specs.problems import ConfigurationError

SOURCE = b"from gatewright import Service\nclass A(Service):\n    name = %r\n    def handle(self): pass\n"


def service(name):
    return SOURCE % name


@pytest.fixture
def database(database_url):
    database = open_database(database_url)
    database.write(metadata.create_all)
    yield database
    database.close()


@pytest.fixture
def deployments(database):
    return Deployments(database, Keyring.generate().ring("edge"))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "services"
    path.mkdir()
    return path


@pytest.fixture
def folder(path, database, deployments):
    return Folder(path, database, deployments)


def test_every_python_file_is_deployed_and_nothing_else_is(folder, path, deployments):
    for name, content in {
        "a.py": service("a"),
        "readme.txt": b"x",
        ".hidden.py": b"1/0",
        "schemas/a.json": b"{}",
    }.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(content)
    (path / "__pycache__").mkdir()
    (path / "__pycache__" / "a.py").write_bytes(b"1/0")
    scan = folder.scan()
    assert (scan.taken, scan.errors, scan.version.services) == (("a.py", "schemas/a.json"), (), ("a",))
    assert deployments.load().names() == ["a"]


def test_nothing_is_deployed_twice(folder, path, database, deployments):
    (path / "a.py").write_bytes(service("a"))
    folder.scan()
    head = deployments.head()
    assert folder.scan().taken == ()
    assert Folder(path, database, deployments).scan().taken == ()
    assert deployments.head() == head


def test_what_a_command_deployed_is_not_undone_by_the_folder_as_it_was(folder, path, database, deployments):
    (path / "a.py").write_bytes(service("a"))
    folder.scan()
    deployments.deploy({"a.py": service("b")})
    Folder(path, database, deployments).scan()
    assert deployments.load().names() == ["b"]


def test_another_machines_folder_is_another(folder, path, database, deployments):
    (path / "a.py").write_bytes(service("a"))
    folder.scan()
    (path / "a.py").write_bytes(service("b"))
    assert Folder(path, database, deployments, host="other").scan().taken == ("a.py",)


def test_a_broken_file_keeps_its_old_content_while_others_are_taken(folder, path, deployments, caplog):
    (path / "a.py").write_bytes(service("a"))
    folder.scan()
    (path / "a.py").write_bytes(b"def (")
    (path / "b.py").write_bytes(service("b"))
    scan = folder.scan()
    assert (scan.taken, [(error.file, error.line) for error in scan.errors]) == (("b.py",), [("a.py", 1)])
    assert deployments.load().names() == ["a", "b"]
    assert "a.py:1: SyntaxError" in caplog.text
    assert folder.scan().errors == ()
    (path / "a.py").write_bytes(service("c"))
    assert (folder.scan().taken, deployments.load().names()) == (("a.py",), ["b", "c"])


def test_a_broken_helper_holds_back_those_that_need_it(folder, path, deployments):
    (path / "a.py").write_bytes(service("a"))
    (path / "helper.py").write_bytes(b"VALUE = 1")
    folder.scan()
    (path / "a.py").write_bytes(b"from helper import NEW\n" + service("z"))
    (path / "helper.py").write_bytes(b"NEW = ")
    scan = folder.scan()
    assert (scan.taken, sorted({error.file for error in scan.errors})) == ((), ["a.py", "helper.py"])
    assert deployments.load().names() == ["a"]


def test_a_file_that_is_gone_from_the_folder_takes_its_services_away(folder, path, deployments):
    (path / "a.py").write_bytes(service("a"))
    (path / "b.py").write_bytes(service("b"))
    folder.scan()
    (path / "a.py").unlink()
    folder.scan()
    assert deployments.load().names() == ["b"]


def test_a_folder_that_is_suddenly_empty_takes_nothing_away(folder, path, deployments, caplog):
    (path / "a.py").write_bytes(service("a"))
    folder.scan()
    (path / "a.py").unlink()
    assert folder.scan().held is True
    assert deployments.load().names() == ["a"]
    path.rmdir()
    with pytest.raises(ConfigurationError, match="no folder"):
        folder.scan()


def test_a_rollback_is_not_undone_by_the_folder(folder, path, deployments):
    (path / "a.py").write_bytes(service("one"))
    folder.scan()
    (path / "a.py").write_bytes(service("two"))
    folder.scan()
    deployments.rollback(1)
    (path / "a.py").write_bytes(service("three"))
    assert (folder.scan().held, deployments.load().names()) == (True, ["one"])
    deployments.unpin()
    folder.scan()
    assert deployments.load().names() == ["three"]


def test_a_duplicate_of_an_old_files_service_keeps_the_old_one(folder, path, deployments):
    (path / "z.py").write_bytes(service("x"))
    folder.scan()
    (path / "a.py").write_bytes(service("x"))
    scan = folder.scan()
    assert scan.taken == ()
    assert "stands in a.py too" in str(scan.errors[0])
    assert deployments.load().find("x").module == "z"
