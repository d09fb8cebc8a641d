"""What the tests of every layer share: `servers` is importable, a database of each kind, and what a skip means to CI."""

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

# What an example takes is told by the machine's other work, not by what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[object]:
    """A PostgreSQL server for the whole session (`servers.PostgreSQL`), started when first asked for."""
    from servers import postgresql

    with ExitStack() as stack:
        yield stack.enter_context(postgresql())


@pytest.fixture(scope="session")
def _shared_database(postgresql_server: object) -> str:
    """One database for all tests that leave nothing behind: a new one for each costs half a second and 7 MB of files."""
    return postgresql_server.new_database()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture(scope="session")
def soap_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A running gateway with the SOAP endpoints of `soap_endpoint`, and two workers."""
    from running import gateway
    from soap_endpoint import CONFIGURATION, ENVIRONMENT, SERVICES

    folder = tmp_path_factory.mktemp("soap")
    with gateway(folder, CONFIGURATION, SERVICES, environment=ENVIRONMENT, workers=2) as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database; the test runs on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gatewright.db'}"
    import psycopg

    url: str = request.getfixturevalue("_shared_database")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        # What the test before left open would keep its tables alive.
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
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
