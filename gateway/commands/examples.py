"""`gatewright docs examples`: look at samples of real calls, and promote some of them to examples of the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, open_installation, refusing

if TYPE_CHECKING:
    from backends.examples import Example, Examples

app = typer.Typer(help="Samples of real calls, and the examples made of them.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="The number that `list` shows.")]


@app.command("list")
def list_examples(
    service: Annotated[str, typer.Argument(metavar="[SERVICE]", help="Only those of this service.")] = "",
    promoted: Annotated[
        bool | None, typer.Option("--promoted/--samples", help="Only examples, or only samples.", show_default=False)
    ] = None,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Samples and examples, the newest first; * marks examples, which documents show."""
    with _examples(data, database, keys) as examples:
        for one in examples.all(service, promoted=promoted):
            print(_line(one))


@app.command()
def show(number: Number, data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None) -> None:
    """All that is kept of one: read it before you promote it, since every reader of the service will see it."""
    from specs.documents.bodies import pretty

    with _examples(data, database, keys) as examples:
        print(pretty(as_json(examples.find(number))))


@app.command()
def promote(
    number: Number,
    title: Annotated[str, typer.Option("--title", help="What it shows, for readers.")] = "",
    contract_only: Annotated[
        bool, typer.Option("--contract-only", help="Compare new versions with their contract, and do not run them.")
    ] = False,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="MEMBER", help="A member whose value may differ.")
    ] = None,
    author: Annotated[str, typer.Option("--author", envvar="GATEWRIGHT_AUTHOR", help="Kept with the example.")] = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Make an example of a sample: documents show it, and new versions of the service are asked it again."""
    with _examples(data, database, keys) as examples:
        runs = False if contract_only else None
        print(_line(examples.promote(number, title=title, author=author, runs=runs, ignored=ignore or ())))


@app.command()
def drop(number: Number, data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None) -> None:
    """Take a sample or an example away, out of the documentation too."""
    with _examples(data, database, keys) as examples:
        print(f"dropped {_line(examples.drop(number))}")


@contextmanager
def _examples(data: Path, database: str, keys: Path | None) -> Iterator[Examples]:
    from backends.examples import Examples

    with refusing(), open_installation(data, database, keys) as installation:
        yield Examples(installation.database)


def as_json(one: Example) -> dict[str, object]:
    """A sample or example as the admin API and `show` give it."""
    from dataclasses import asdict

    times = {"made_at": one.made_at.isoformat(), "promoted_at": one.promoted_at and one.promoted_at.isoformat()}
    return {**asdict(one), **times}


def _line(one: Example) -> str:
    mark = "*" if one.promoted_at is not None else " "
    hidden = f"  without {', '.join(one.redacted)}" if one.redacted else ""
    made = one.made_at.strftime("%Y-%m-%d %H:%M:%S")
    title = f"  '{one.title}'" if one.title else ""
    return f"{mark} {one.id:5}  {made}  {one.method:5} {one.service} by {one.channel}{title}{hidden}"
