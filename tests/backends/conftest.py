"""What the tests of this layer share."""

import pytest


@pytest.fixture(scope="session")
def one_postgresql_url(postgresql_server):
    """One database for all tests that leave nothing behind: a new one for each costs half a second."""
    return postgresql_server.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def emptied_url(request, tmp_path):
    """The URL of an empty database, on each kind; what the test makes in it is dropped after it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'gatewright.db'}"
        return
    import psycopg

    url = request.getfixturevalue("one_postgresql_url")
    yield url
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True, options="-c lock_timeout=5s") as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
