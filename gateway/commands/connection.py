"""`gatewright connection`: the ways out, from the operator's side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, open_installation, refusing

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration, Definition

app = typer.Typer(help="List, explain, try and watch the connections of an installation.", no_args_is_help=True)

ConnectionName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the connection.")]


@app.command("list")
def list_all(data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None) -> None:
    """The connections of the configuration: name and type."""
    for name, definition in sorted(_configuration(data, database, keys).of("connections").items()):
        print(f"{name}\t{definition.type}")


@app.command()
def ping(name: ConnectionName, data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None) -> None:
    """Reach a system once, from this process, with what the configuration says of it."""
    import time

    from backends.connections import Connections
    from specs.problems import BackendError, ConfigurationError

    with refusing():
        definition = _find(_configuration(data, database, keys), name)
        lease = Connections().lease(definition.type, name, definition.settings)
        try:
            begun = time.monotonic()
            lease.connector.ping()
            taken = time.monotonic() - begun
        except BackendError as error:
            raise ConfigurationError(name, f"cannot be reached: {error}") from None
        finally:
            lease.release()
    print(f"{name} answers ({taken * 1000:.0f} ms)")


@app.command()
def explain(name: ConnectionName, data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None) -> None:
    """What a connection is set to, with a sentence on each setting. Secrets are shown as their references, or hidden."""
    from backends.connections import CONNECTORS
    from gateway.reference import columns, first_line
    from specs.settings import describe

    with refusing(), open_installation(data, database, keys) as installation:
        store = installation.store()
        definition = _find(store.load(), name)
        connector = CONNECTORS.get(definition.type)
        written = store.document()["connections"][name]
    print(f"{name}: {definition.type}, since revision {definition.revision}")
    print(f"{first_line(connector)}\n")
    rows = []
    for key, _, default, sentence in describe(connector.Settings):
        rows.append((key, str(written[key]) if key in written else f"({default})" if default else "", sentence))
    print(columns(rows))


@app.command()
def stats(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A connection or proxy channel; all if left out.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """How the pools of a running gateway stand: connections in use, idle, and the most there may be, over all its workers."""
    import json

    from gateway.connection_reports import usage_of
    from gateway.metrics import living
    from gateway.reference import columns
    from specs.problems import ConfigurationError, nearest

    with refusing():
        workers = living(data / "run" / "metrics")
        if not workers:
            raise ConfigurationError("", f"no gateway runs on '{data}'", "start it, or name its folder by --data")
        rows = usage_of(workers)
        known = {row["name"] for row in rows}
        if name and name not in known:
            raise ConfigurationError("", f"nobody has used '{name}' since the gateway started", nearest(name, known))
    rows = [row for row in rows if not name or row["name"] == name]
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        print("no connection has been used")
        return
    print(columns([("NAME", "KIND", "BUSY", "IDLE", "MOST", "STATE"), *map(_row, rows)]))


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    state = row.get("breaker", "") if row.get("well", True) else "not well"
    name = f"{row['name']} {row['address']}" if "address" in row else row["name"]
    return (name, row["kind"], *(str(row[count]) for count in ("busy", "idle", "most")), state)


def _configuration(data: Path, database: str, keys: Path | None) -> Configuration:
    with refusing(), open_installation(data, database, keys) as installation:
        return installation.store().load()


def _find(configuration: Configuration, name: str) -> Definition:
    """The connection called *name*. Raises ConfigurationError."""
    from specs.problems import ConfigurationError, nearest

    fault = configuration.faults.get(("connections", name))
    if fault is not None:
        raise fault
    known = configuration.of("connections")
    if name not in known:
        raise ConfigurationError("", f"no connection called '{name}'", nearest(name, known))
    return known[name]
