"""What the tests of every layer share: `servers` is importable, and a database of each kind."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[object]:
    """A PostgreSQL server for the whole session (`servers.PostgreSQL`), started when first asked for."""
    from servers import postgresql

    with ExitStack() as stack:
        yield stack.enter_context(postgresql())


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty database; the test runs on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gatewright.db'}"
    url: str = request.getfixturevalue("postgresql_server").new_database()
    return url
