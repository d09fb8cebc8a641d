"""`gatewright docs`: documents made from declarations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, examples, open_installation, refusing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from specs.contract import Contract, Field

#: The exit code of `docs diff` where callers break, as that of `config diff` where something drifts.
BREAKS = 3

app = typer.Typer(help="Documents made from declarations.", no_args_is_help=True)
app.add_typer(examples.app, name="examples")


@app.callback()
def _docs() -> None:
    """Documents made from declarations."""


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to, made if missing.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Write the reference of this version and, of the installation in --data, the site that callers read, in DIR/api."""
    from gateway.cli import app as program
    from gateway.reference import export as write
    from gateway.reference import pages

    with refusing():
        for path in write(pages(program), folder):
            print(path)
        if database or any(data.glob("*.db")):
            from gateway.documentation.export import export as write_site

            with open_installation(data, database, keys) as installation:
                for path in write_site(installation, folder / "api"):
                    print(path)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A version's number, or a folder of services.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same, of what came after it.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    clients: Annotated[
        Literal["json", "wsdl"] | None,
        typer.Option("--clients", help="Whose breakage the exit code tells; both if left out."),
    ] = None,
    refuse_breaking: Annotated[
        bool, typer.Option("--refuse-breaking", help=f"End with exit code 1 where {BREAKS} would be.")
    ] = False,
) -> None:
    """Say what changed between two versions of the services, and whom that breaks: callers by JSON, clients by WSDL.

    Exit code 0 where nothing breaks them, 3 where something does.
    """
    from backends.breakage import changes

    with refusing():
        before, after = (_contracts(one, data, database, keys) for one in (old, new))
        found = list(changes(before, after))
        for change in found:
            print(f"{change.effect:28} {change.service}: {change.sentence}")
        if any(
            "breaks" in (getattr(change, one) for one in ([clients] if clients else ["json", "wsdl"]))
            for change in found
        ):
            raise typer.Exit(1 if refuse_breaking else BREAKS)


@app.command()
def types(
    names: Annotated[list[str] | None, typer.Argument(metavar="[SERVICE]...", help="Only these services.")] = None,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    services: Annotated[
        Path | None,
        typer.Option("--services", envvar="GATEWRIGHT_SERVICES", help="A folder of services to look at instead."),
    ] = None,
) -> None:
    """Say how each field of each service got its type: declared, or by which rule on names."""
    from gateway.reference import columns
    from specs.problems import ConfigurationError, nearest

    with refusing():
        found = {one.service: one for one in _contracts(str(services) if services else "", data, database, keys)}
        for name in names or ():
            if name not in found:
                raise ConfigurationError("", f"no service called '{name}'", nearest(name, found))
        for name in names or sorted(found):
            rows = list(_rows(found[name]))
            if rows:
                print(f"{name}\n{columns(rows)}\n")


def _contracts(source: str, data: Path, database: str, keys: Path | None) -> Iterable[Contract]:
    """The contracts of a version, of a folder, or, where *source* is empty, of what serves."""
    if source and not source.isdigit():
        from backends.loading import contracts_of
        from specs.problems import ConfigurationError

        folder = Path(source)
        if not folder.is_dir():
            raise ConfigurationError(
                "", f"neither a version's number nor a folder: '{source}'", "see `service versions`"
            )
        paths = [path for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".json") and path.is_file()]
        return contracts_of({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}, "services")
    from gateway.preparation import deployments_of

    with open_installation(data, database, keys) as installation:
        deployments = deployments_of(installation.database, installation.keyring)
        return list(deployments.contracts_of(int(source)) if source else deployments.contracts().values())


def _rows(contract: Contract) -> Iterator[tuple[str, str, str]]:
    for direction, fields in (("input", contract.input), ("output", contract.output)):
        for field in fields or ():
            yield from _field(f"  {direction} {field.name}", field)


def _field(name: str, field: Field) -> Iterator[tuple[str, str, str]]:
    kind = f"list of {field.items.type}" if field.type == "list" and field.items is not None else field.type
    yield name, kind, "declared" if field.origin == "declared" else f"by its name: {field.origin}"
    for member in field.fields or (field.items.fields if field.items is not None else None) or ():
        yield from _field(f"{name}.{member.name}", member)
