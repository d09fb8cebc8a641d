"""The schema of the database, as one line of numbered steps: ``versions/0001_initial.py`` and on.

    >>> import tempfile
    >>> from security.database import open_database
    >>> database = open_database(tempfile.mkdtemp())
    >>> migrate(database), schema_version(database) == HEAD
    (True, True)
    >>> migrate(database)
    False
    >>> database.close()

A new table or column: declare it where it is used, name its module in ``tables.py``, add a step (`new_step` writes its draft from
what differs), set `HEAD` to it. A test fails while the steps and the declared tables differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, text

from security.database import Database, Json, UtcDateTime
from specs.problems import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0007"
"""The latest step. A constant, so that a start on an up-to-date database need not load Alembic (0.3 s)."""


def migrate(database: Database) -> bool:
    """Bring the database to the schema of this program; whether there was anything to do.

    All steps are one transaction, under a lock between processes. Raises ConfigurationError for a database that a newer
    program has migrated.
    """
    if schema_version(database) == HEAD:
        return False
    from gateway.migrations.tables import declared

    with database.locked("migrations"):
        version = schema_version(database)
        if version == HEAD:
            return False
        if version and version not in _known():
            raise ConfigurationError(
                "database",
                f"its schema is {version}, and this program knows {HEAD} at the latest",
                "use the program that migrated it, or a newer one",
            )
        # WHY: here and not in the writer's thread: what the modules of tables import may itself need gevent's hub.
        declared()
        database.write(_upgrade)
    return True


def schema_version(database: Database) -> str:
    """The step that the database is at; empty where it has no tables of ours."""

    def work(connection: Connection) -> str:
        if not inspect(connection).has_table("alembic_version"):
            return ""
        return connection.execute(text("select version_num from alembic_version")).scalar() or ""

    return database.read(work)


def new_step(database: Database, message: str) -> None:
    """Write the draft of a step that brings *database* to the declared tables. For developers, who then read and mend it."""
    from alembic import command

    database.write(lambda connection: command.revision(_config(connection), message, autogenerate=True, rev_id=_next()))


def _upgrade(connection: Connection) -> None:
    from alembic import command

    command.upgrade(_config(connection), "head")


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _known() -> set[str]:
    from alembic.script import ScriptDirectory

    return {str(step.revision) for step in ScriptDirectory(str(Path(__file__).parent)).walk_revisions()}


def _next() -> str:
    return f"{max((int(step) for step in _known()), default=0) + 1:04d}"


def context_options() -> dict[str, Any]:
    """How steps and the declared tables are compared, here and in ``env.py``."""
    return {"compare_type": True, "compare_server_default": True, "render_item": _render}


def _render(kind: str, item: Any, context: Any) -> Any:
    """Our own column types, as a step writes them."""
    if kind == "type" and isinstance(item, (Json, UtcDateTime)):
        return f"{type(item).__name__}()"
    return False
