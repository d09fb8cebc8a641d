"""`gatewright docs`: documents made from declarations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.commands import refusing

app = typer.Typer(help="Documents made from declarations.", no_args_is_help=True)


@app.callback()
def _docs() -> None:
    """Documents made from declarations."""


@app.command()
def export(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to, made if missing.")]) -> None:
    """Write the reference of this version: settings, commands, problems, and the JSON Schema of the document."""
    from gateway.cli import app as program
    from gateway.reference import export as write
    from gateway.reference import pages

    with refusing():
        for path in write(pages(program), folder):
            print(path)
