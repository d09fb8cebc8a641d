"""`gatewright connection`: the ways out, from the operator's side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, open_installation, refusing

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration, Definition

app = typer.Typer(help="List, explain and try the connections of an installation.", no_args_is_help=True)

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
