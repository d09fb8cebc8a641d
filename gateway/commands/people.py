"""What the verbs of `gatewright sso` share: single sign-on of an installation, opened from a shell, and how people are named.

Secrets are asked for at a terminal or read from standard input; they are never words of a command line, which every user of
the machine can read. Whatever is done is audited, with who ran the command and the reason that was given.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, open_installation, refusing

if TYPE_CHECKING:
    from gateway.configuration.objects import Configuration
    from sso.audit import Caller
    from sso.system import SingleSignOn
    from sso.users import User

Person = Annotated[str, typer.Argument(metavar="USER", help="User name, e-mail address or id.")]
Reason = Annotated[str, typer.Option("--reason", help="Kept in the audit.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

P = ParamSpec("P")


@dataclass(frozen=True)
class People:
    """Single sign-on of an installation, and who acts."""

    sso: SingleSignOn
    caller: Caller
    configuration: Configuration
    data: Path
    #: Whether whoever acts has said why.
    reasoned: bool = True

    def because(self, reason: str) -> Caller:
        """Who acts, for *reason* where they have given none themselves."""
        return self.caller if self.reasoned else replace(self.caller, reason=f"{reason} {self.caller.reason}")

    def find(self, word: str) -> User:
        """The user with that name, address or id. Raises Problem 404."""
        from sso.problems import refusal

        if word.startswith("usr_"):
            return self.sso.users.get(word)
        row = self.sso.database.read(lambda connection: self.sso.users.by_identifier(connection, word))
        if row is None or row.state == "deleted":
            raise refusal("no-such-user", f"there is no user '{word}'")
        return self.sso.users.get(row.id)


@contextmanager
def opened(data: Path, database: str, keys: Path | None, reason: str = "") -> Iterator[People]:
    """The people of an installation, by its settings or, where it says nothing of them, by the usual ones.

    What is refused ends the program with a line on stderr for each fault, and 1.
    """
    from gateway.configuration.kinds import Sso
    from security.passwords import HashingPool
    from security.stamps import FILE_NAME, Stamps
    from sso.audit import SYSTEM, Caller
    from sso.system import SingleSignOn

    with refusing(), open_installation(data, database, keys) as installation:
        configuration = installation.store().load()
        found = configuration.find("sso")
        pool = HashingPool(1, waiting=1000)
        # WHY: the stamps of this machine, so that its workers hear at once of whom they must not know any more.
        stamps = Stamps(data / FILE_NAME) if data.is_dir() else None
        try:
            sso = SingleSignOn(
                installation.database,
                installation.keyring.ring("edge"),
                found.settings if found is not None else Sso.read({}),
                pool=pool,
                stamps=stamps,
                public_url=(configuration.gateway.public_url or "http://127.0.0.1:8000").rstrip("/"),
            )
            said = f"{reason} " if reason else ""
            with _explaining():
                caller = Caller(actor=SYSTEM, reason=f"{said}(command of {_who()})")
                yield People(sso, caller, configuration, data, bool(reason))
        finally:
            pool.close()
            if stamps is not None:
                stamps.close()


def verb(
    app: typer.Typer, name: str = "", *, audited: bool = True, sentence: str | None = None
) -> Callable[[Callable[Concatenate[People, P], None]], Callable[Concatenate[People, P], None]]:
    """Make what is decorated a verb of *app*: its first parameter is the installation's people, opened; the others are its own.

    Every verb has the options that say which installation is meant; one that is *audited* has ``--reason`` as well.
    """

    def register(work: Callable[Concatenate[People, P], None]) -> Callable[Concatenate[People, P], None]:
        act: Callable[..., None] = work
        hints = get_type_hints(work, include_extras=True)
        own = [one.replace(annotation=hints[one.name]) for one in signature(work).parameters.values()][1:]
        common = [("data", Data, DEFAULT_DATA), ("database", DatabaseUrl, ""), ("keys", Keys, None)]
        shared = [
            Parameter(word, Parameter.POSITIONAL_OR_KEYWORD, annotation=kind, default=default)
            for word, kind, default in ([("reason", Reason, "")] if audited else []) + common
        ]

        def run(**given: Any) -> None:
            data, database, keys = (given.pop(word) for word in ("data", "database", "keys"))
            with opened(data, database, keys, given.pop("reason", "")) as people:
                act(people, **given)

        run.__signature__ = Signature([*own, *shared])  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in (*own, *shared)}
        run.__name__, run.__doc__ = work.__name__, work.__doc__
        app.command(name or None, help=sentence)(run)
        return work

    return register


def new_password(from_stdin: bool, whose: str) -> str:
    """A password for *whose*, from standard input or asked for twice at the terminal. Ends the program with 2 otherwise."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        print("gatewright: give the password by --password-stdin", file=sys.stderr)
        raise typer.Exit(2)
    first = getpass.getpass(f"Password of {whose}: ")
    if getpass.getpass("Again: ") != first:
        print("gatewright: the two are not the same", file=sys.stderr)
        raise typer.Exit(1)
    return first


def confirm(question: str, yes: bool) -> None:
    """Have what cannot be taken back confirmed. Ends the program with 2 where nobody can be asked, with 1 at a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        print("gatewright: say --yes where nobody can be asked", file=sys.stderr)
        raise typer.Exit(2)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise typer.Exit(1)


def print_json(value: Any) -> None:
    """JSON for programs."""
    import orjson

    # The names of columns are a kind of text of the database library's.
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode())


def print_table(rows: Sequence[Sequence[Any]], nothing: str) -> None:
    """Rows in columns as wide as they have to be; *nothing* on stderr where there is none."""
    if not rows:
        print(f"gatewright: {nothing}", file=sys.stderr)
        return
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def _explaining() -> Iterator[None]:
    from specs.problems import Problem

    try:
        yield
    except Problem as problem:
        for fault in problem.errors:
            print(f"gatewright: {fault.pointer.strip('/') or 'input'}: {fault.detail}", file=sys.stderr)
        if not problem.errors:
            print(f"gatewright: {problem.detail or problem.title}", file=sys.stderr)
        raise typer.Exit(1) from None


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "an unknown user"
