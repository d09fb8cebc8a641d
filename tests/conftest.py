"""What the tests of every layer share: `servers` is importable, a database of each kind, and what a skip means to CI."""

import os
import sys
from collections.abc import Generator, Iterator
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


#: What the reason of a skip says where a test needs a server that is not installed.
MISSING = "server missing"


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a failure of *report* where it is a skip for want of a server and CI is set: there, nothing may be left untried."""
    if report.skipped and os.environ.get("CI") and MISSING in str(report.longrepr):
        _, _, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, str(report.longrepr))
        report.outcome = "failed"
        report.longrepr = f"CI is set, where every server is to be installed. {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skips of tests and of their fixtures."""
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skips of whole modules."""
    report = yield
    refuse_skip(report)
    return report
