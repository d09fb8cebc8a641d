"""The steps lead to exactly the tables that are declared; an older database is brought up, a newer one refused."""

import re
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.migrations import HEAD, context_options, migrate, schema_version
from gateway.migrations.tables import MODULES, declared
from security.database import open_database
from specs.problems import ConfigurationError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(database_url):
    database = open_database(database_url)
    yield database
    database.close()


def test_the_steps_lead_to_the_declared_tables(database):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    assert migrate(database) is True

    def differences(connection):
        context = MigrationContext.configure(connection, opts=context_options())
        return compare_metadata(context, declared())

    assert database.read(differences) == []


def test_a_database_is_migrated_once(database):
    assert (schema_version(database), migrate(database), schema_version(database)) == ("", True, HEAD)
    assert migrate(database) is False


def test_processes_that_start_together_migrate_once(database_url):
    databases = [open_database(database_url) for _ in range(3)]
    outcomes = []
    threads = [threading.Thread(target=lambda d=d: outcomes.append(migrate(d))) for d in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        database.close()
    assert sorted(outcomes) == [False, False, True]


def test_a_newer_database_is_refused_and_left_alone(database):
    migrate(database)
    database.write(lambda c: c.execute(text("update alembic_version set version_num = '9999'")))
    with pytest.raises(ConfigurationError) as refused:
        migrate(database)
    assert str(refused.value) == (
        f"database: its schema is 9999, and this program knows {HEAD} at the latest: "
        "use the program that migrated it, or a newer one"
    )
    assert schema_version(database) == "9999"


def test_a_step_that_fails_leaves_nothing_behind(database, monkeypatch):
    from alembic import op

    create = op.create_table

    def failing(name, *columns, **options):
        if name == "leases":
            raise RuntimeError("no more room")
        return create(name, *columns, **options)

    monkeypatch.setattr(op, "create_table", failing)
    with pytest.raises(RuntimeError):
        migrate(database)
    assert schema_version(database) == ""
    monkeypatch.undo()
    assert migrate(database) is True


def test_every_module_with_tables_is_known_to_the_migrations():
    declaring = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for layer in ("security", "backends", "sso", "gateway")
        for path in (ROOT / layer).rglob("*.py")
        if re.search(r"^\w+ = (sa\.)?Table\($|= (sa\.)?Table\(.*\bmetadata\b", path.read_text(), re.MULTILINE)
    }
    assert declaring - set(MODULES) - {"backends.demo"} == set()


def test_HEAD_is_the_last_step():
    from alembic.script import ScriptDirectory

    assert ScriptDirectory(str(ROOT / "gateway" / "migrations")).get_current_head() == HEAD
