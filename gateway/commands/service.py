"""`gatewright service`: list, deploy, look at versions, roll back and invoke services."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, open_installation, refusing

if TYPE_CHECKING:
    from backends.deployment import Deployments
    from backends.versions import Version
    from gateway.commands import Installation

app = typer.Typer(help="List, deploy, roll back and invoke services.", no_args_is_help=True)

Author = Annotated[str, typer.Option("--author", envvar="GATEWRIGHT_AUTHOR", help="Kept with the version.")]
Set = Annotated[str, typer.Option("--set", help="The set of services that is meant.")]
Services = Annotated[
    Path | None, typer.Option("--services", envvar="GATEWRIGHT_SERVICES", help="Folder to take services from first.")
]


@app.command("list")
def list_services(data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None) -> None:
    """Every service that can be called, with the first sentence of its documentation."""
    with _deployments(data, database, keys) as (_, deployments):
        for name, contract in sorted(deployments.contracts().items()):
            print(f"{name:40} {contract.summary}".rstrip())


@app.command()
def deploy(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Python modules and schema files.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    set_name: Set = "services",
    refuse_breaking: Annotated[
        bool, typer.Option("--refuse-breaking", help="The same as --contract-changes refuse.")
    ] = False,
    contract_changes: Annotated[
        Literal["refuse", "warn", "allow"] | None,
        typer.Option(
            "--contract-changes", help="What becomes of changes that break callers, whatever the configuration says."
        ),
    ] = None,
    author: Author = "",
) -> None:
    """Deploy files: all of them, or none where one is broken. Workers take them up within a second."""
    with _deployments(data, database, keys) as (_, deployments):
        contents = {path.name: path.read_bytes() for path in files}
        policy = "refuse" if refuse_breaking else contract_changes
        version = deployments.deploy(
            contents, source="command", author=author, set_name=set_name, contract_changes=policy
        )
        for warning in version.warnings:
            print(f"gatewright: warning: {warning}", file=sys.stderr)
        print(f"version {version.id}: {', '.join(version.services)}")


@app.command()
def scan(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that services are taken from.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    set_name: Set = "services",
) -> None:
    """Deploy what changed in a folder since it was last looked at. Broken files are said, and the others are taken."""
    from backends.folder import Folder

    with _deployments(data, database, keys) as (installation, deployments):
        found = Folder(folder, installation.database, deployments, set_name=set_name).scan()
        if found.version is not None:
            print(f"version {found.version.id}: took {', '.join(found.taken)}")
        if found.held:
            print(f"gatewright: '{set_name}' is pinned to a version: nothing is taken from {folder}", file=sys.stderr)
        for error in found.errors:
            print(f"gatewright: not deployed: {error}", file=sys.stderr)
        if found.errors:
            raise typer.Exit(1)


@app.command()
def versions(
    name: Annotated[str, typer.Argument(metavar="[SERVICE]", help="Only versions that have this service.")] = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    set_name: Set = "services",
) -> None:
    """The versions that are kept, the newest first; * marks the one that serves."""
    with _deployments(data, database, keys) as (_, deployments):
        for version in deployments.versions(set_name, service=name):
            print(_line(version))


@app.command()
def rollback(
    version: Annotated[int, typer.Argument(help="The version that is to serve again.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    author: Author = "",
) -> None:
    """Let an earlier version serve again, pinned: no folder replaces it until `unpin` or the next `deploy`."""
    with _deployments(data, database, keys) as (_, deployments):
        print(_line(deployments.rollback(version, author=author)))


@app.command()
def unpin(
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    set_name: Set = "services",
    author: Author = "",
) -> None:
    """Let the newest version serve again."""
    with _deployments(data, database, keys) as (_, deployments):
        print(_line(deployments.unpin(set_name, author=author)))


@app.command()
def invoke(
    name: Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the service.")],
    payload: Annotated[str, typer.Option("--payload", help="What it gets, as JSON; - reads standard input.")] = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    services: Services = None,
) -> None:
    """Run a service in this process, with the installation's connections, and print what it answers as JSON."""
    import logging

    from backends.folder import Folder
    from gateway.runtime import Runtime
    from specs.problems import ConfigurationError, Problem
    from specs.strict_json import dumps, parse

    logging.basicConfig(format="%(levelname)s - %(message)s", level=logging.INFO, stream=sys.stderr)
    text = sys.stdin.read() if payload == "-" else payload
    with refusing(), open_installation(data, database, keys) as installation:
        runtime = Runtime(installation.database, installation.keyring, enforce=False)
        try:
            given = parse(text.encode()) if text.strip() else None
            if services is not None:
                for error in Folder(services, runtime.database, runtime.deployments).scan().errors:
                    print(f"gatewright: not deployed: {error}", file=sys.stderr)
            configuration = runtime.store.load()
            executor = runtime.executor(configuration, runtime.catalogue(configuration, runtime.deployments.load()))
            answer = executor.invoke(name, given)
        except Problem as problem:
            faults = "".join(f"\n  {fault.pointer or '/'}: {fault.detail}" for fault in problem.errors)
            raise ConfigurationError(name, f"{problem}{faults}") from None
        _print(answer, dumps)


def _print(answer: Any, dumps: Any) -> None:
    if answer is None:
        return
    if isinstance(answer, bytes):
        sys.stdout.buffer.write(answer)
    elif isinstance(answer, str):
        print(answer)
    elif isinstance(answer, Iterator):
        for part in answer:
            sys.stdout.buffer.write(part)
    else:
        print(dumps(answer).decode())


@contextmanager
def _deployments(data: Path, database: str, keys: Path | None) -> Iterator[tuple[Installation, Deployments]]:
    from gateway.preparation import deployments_of

    with refusing(), open_installation(data, database, keys) as installation:
        yield installation, deployments_of(installation.database, installation.keyring)


def _line(version: Version) -> str:
    mark = "*" if version.active else " "
    pinned = " pinned" if version.pinned else ""
    made = version.made_at.strftime("%Y-%m-%d %H:%M:%S")
    return f"{mark} {version.id:5}  {made}  {version.author or '-':12}{pinned}  {', '.join(version.services)}"
