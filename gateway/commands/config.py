"""`gatewright config`: check, compare, apply and write out the configuration."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, open_installation, refusing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backends.gate import Policy
    from gateway.commands import Installation
    from gateway.configuration.document import Document, Warned
    from gateway.configuration.store import Applied
    from security.references import References

DRIFT = 3
MOST_WARNINGS = 50

app = typer.Typer(help="Check, compare, apply and write out the configuration.", no_args_is_help=True)

File = Annotated[str, typer.Argument(metavar="FILE", help="The document, YAML or JSON; - for standard input.")]
Merge = Annotated[bool, typer.Option("--merge", help="Keep objects that the document does not name.")]
Comment = Annotated[str, typer.Option("--comment", help="Kept with the revision.")]
Changes = Annotated[
    Literal["refuse", "warn", "allow"] | None,
    typer.Option("--contract-changes", help="What becomes of changes that break callers, whatever the document says."),
]
Author = Annotated[str, typer.Option("--author", envvar="GATEWRIGHT_AUTHOR", help="Kept with the revision.")]
At = Annotated[int | None, typer.Option("--revision", help="An earlier revision instead of the latest.")]


@app.command()
def validate(
    file: File, data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None, merge: Merge = False
) -> None:
    """Say what is wrong with a document. Nothing is changed, nor is an installation made where there is none."""
    from gateway.configuration.preparation import prepare
    from gateway.configuration.sealing import Sealer
    from security.database import FILE_NAME
    from security.secrets import Keyring

    document, references = _read(file)
    with refusing(document):
        if database or (data / FILE_NAME).exists():
            with open_installation(data, database, keys) as installation:
                warnings = _check(installation, document, references, merge).warnings
        else:
            sealer = Sealer(Keyring.generate(), str, str)
            warnings = prepare(document, sealer, references, stored={}).warnings
    _warn(warnings)
    print(f"{document.source} can be applied: {len(document.objects)} objects")


@app.command()
def diff(
    file: File, data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None, merge: Merge = False
) -> None:
    """Show what applying a document would change. Exit code 3 where there is something."""
    document, references = _read(file)
    with refusing(document), open_installation(data, database, keys) as installation:
        # What would be refused is shown as well: nothing is applied here.
        found = _check(installation, document, references, merge, "warn")
    _warn(found.warnings)
    for change in found.changes:
        print(change)
    if found.changes:
        raise typer.Exit(DRIFT)


@app.command()
def apply(
    file: File,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    merge: Merge = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    expected: Annotated[
        int | None, typer.Option("--expect", help="Refuse if the configuration is not at this revision.")
    ] = None,
    contract_changes: Changes = None,
    comment: Comment = "",
    author: Author = "",
) -> None:
    """Make a document the configuration: all of it in one step, or nothing. A running gateway follows within a second."""
    document, references = _read(file)
    with refusing(document), open_installation(data, database, keys) as installation:
        applied = installation.store().apply(
            document,
            references=references,
            author=author or _user(),
            comment=comment,
            expected=expected,
            services=installation.services(),
            merge=merge,
            dry_run=dry_run,
            contract_changes=contract_changes,
        )
    _warn(applied.warnings)
    for change in applied.changes:
        print(change)
    if dry_run:
        print(f"revision {applied.revision} stays: nothing was applied")
    elif applied.changes:
        print(f"revision {applied.revision}: {len(applied.changes)} changes")
    else:
        print(f"revision {applied.revision} stays: nothing differs")


@app.command()
def dump(data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None, revision: At = None) -> None:
    """Write the configuration as a document that can be applied again. Secrets are references, or ${stored}."""
    with refusing(), open_installation(data, database, keys) as installation:
        text = installation.store().dump(revision)
    sys.stdout.write(text)


@app.command()
def history(
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    most: Annotated[int, typer.Option("--most", help="How many to list.")] = 50,
) -> None:
    """List the accepted changes, the latest first: revision, moment, author, number of changes, comment."""
    with refusing(), open_installation(data, database, keys) as installation:
        for made in installation.store().history(most):
            moment = made.at.isoformat(timespec="seconds")
            print(f"{made.revision}\t{moment}\t{made.author}\t{made.changes}\t{made.comment}".rstrip())


@app.command()
def rollback(
    revision: Annotated[int, typer.Argument(metavar="REVISION", help="The revision to go back to.")],
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
    comment: Comment = "",
    author: Author = "",
) -> None:
    """Make a new revision that equals an earlier one."""
    with refusing(), open_installation(data, database, keys) as installation:
        applied = installation.store().rollback(
            revision, author=author or _user(), comment=comment, services=installation.services()
        )
    _warn(applied.warnings)
    for change in applied.changes:
        print(change)
    outcome = f"equals revision {revision}" if applied.changes else "stays: nothing differs"
    print(f"revision {applied.revision} {outcome}")


@app.command()
def schema() -> None:
    """Write the JSON Schema of the document, for editors: `$schema: ./gatewright.schema.json` at its top."""
    import orjson

    from gateway.configuration.schema import schema as whole

    sys.stdout.write(orjson.dumps(whole(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())


def _check(
    installation: Installation, document: Document, references: References, merge: bool, policy: Policy | None = None
) -> Applied:
    store, services = installation.store(), installation.services()
    return store.check(document, references=references, services=services, merge=merge, contract_changes=policy)


def _read(file: str) -> tuple[Document, References]:
    """The document in a file, whose references to files are relative to it."""
    from gateway.configuration.document import Document
    from security.references import References
    from specs.problems import ConfigurationError

    with refusing():
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        except OSError as error:
            raise ConfigurationError(file, "cannot be read", (error.strerror or "").lower()) from None
        except UnicodeDecodeError as error:
            raise ConfigurationError(file, f"not UTF-8 text, at byte {error.start}") from None
        source = "standard input" if file == "-" else file
        document = Document.parse(text, source)
        return document, References(Path.cwd() if file == "-" else Path(file).resolve().parent)


def _warn(warnings: Sequence[Warned]) -> None:
    for warning in warnings[:MOST_WARNINGS]:
        print(f"gatewright: warning: {warning}", file=sys.stderr)
    if len(warnings) > MOST_WARNINGS:
        print(f"gatewright: warning: {len(warnings) - MOST_WARNINGS} more of the like", file=sys.stderr)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
