"""An installation of single sign-on on a fresh database of each kind."""

import tempfile
from pathlib import Path

import pytest
from people import lasting


@pytest.fixture
def memory_url():
    """A SQLite database in memory of the machine, where it has such a folder: a commit that waits for no disk."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as directory:
        yield f"sqlite:///{directory}/gatewright.db"


@pytest.fixture(scope="session")
def people_url(postgresql_server):
    """One database at PostgreSQL for all of these tests; each finds its tables empty."""
    return postgresql_server.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request):
    yield from lasting(request.getfixturevalue("memory_url" if request.param == "sqlite" else "people_url"))


@pytest.fixture
def sqlite_world(memory_url):
    yield from lasting(memory_url)
