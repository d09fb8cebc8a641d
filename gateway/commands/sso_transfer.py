"""`gatewright sso import` and `export`: people of another system taken over with their hashes; what is kept, written out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from gateway.commands.people import People, print_json, verb

if TYPE_CHECKING:
    from sso.users import NewUser

MEMBERS = (
    "username", "email", "password_hash", "display_name", "language", "roles", "is_super_user", "must_change",
)  # fmt: skip
_YES = ("1", "true", "yes")


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    verb(app, "import")(import_people)
    verb(app, "export")(export_people)


def import_people(
    people: People,
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, a JSON list, or CSV; - for standard input.")],
    form: Annotated[
        Literal["auto", "json", "csv"], typer.Option("--format", help="How it is written; by its name if left out.")
    ] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be refused; nobody is made.")] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out who is there already, and say nothing of it.")
    ] = False,
) -> None:
    """Take people over, active at once, with the hashes of their passwords (PBKDF2, Django; bcrypt and argon2 where installed).

    Members: username, email, password_hash, display_name, language, roles, is_super_user, must_change. Each is taken by
    itself: what is refused is said with its number, and the rest goes on.
    """
    from specs.problems import Problem

    made = skipped = refused = 0
    caller = people.because(f"import of {file}")
    with _reading(file) as source:
        for number, values in _records(source, form, file):
            try:
                new = _new_user(values)
                if dry_run:
                    _would_be(people, new)
                else:
                    people.sso.users.create(new, caller)
                made += 1
            except Problem as problem:
                if problem.code == "conflict" and skip_existing:
                    skipped += 1
                    continue
                refused += 1
                said = "; ".join(f"{fault.pointer.strip('/')}: {fault.detail}" for fault in problem.errors)
                print(f"gatewright: {number}: {said or problem.detail}", file=sys.stderr)
            except ValueError as error:
                refused += 1
                print(f"gatewright: {number}: {error}", file=sys.stderr)
    there = f", {skipped} were there already" if skipped else ""
    print(f"{made} {'could be' if dry_run else 'were'} taken over{there}, {refused} refused")
    if refused:
        raise typer.Exit(1)


def export_people(
    people: People,
    user: Annotated[
        str, typer.Argument(metavar="[USER]", help="All that is kept of one person; everybody if left out.")
    ] = "",
    file: Annotated[Path | None, typer.Option("--file", help="Write it there (0600), not to standard output.")] = None,
    with_hashes: Annotated[
        bool, typer.Option("--with-hashes", help="With the hashes of passwords, for another system to take over.")
    ] = False,
) -> None:
    """Write out what is kept of a person (as they may ask for), or everybody as JSON lines that `import` takes."""
    if user and with_hashes:
        print("gatewright: --with-hashes is for everybody", file=sys.stderr)
        raise typer.Exit(2)
    with _writing(file) as target:
        if user:
            import orjson

            kept = people.sso.users.export(people.find(user).id, people.caller)
            if file is None:
                print_json(kept)
            else:
                target.write(orjson.dumps(kept, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")
            return
        for line in _everybody(people, with_hashes):
            target.write(line + "\n")


def _everybody(people: People, with_hashes: bool) -> Iterator[str]:
    import orjson
    from sqlalchemy import select

    from security.passwords import PURPOSE
    from sso import tables

    sso = people.sso
    after = ""
    sso.database.write(
        lambda connection: sso.audit.record(
            connection, "user.export-all", people.caller, details={"with_hashes": with_hashes}
        )
    )
    while True:
        users = tables.users
        query = select(users).where(users.c.id > after, users.c.state != "deleted").order_by(users.c.id).limit(200)
        rows = sso.database.read(lambda connection, query=query: connection.execute(query).all())  # type: ignore[misc]
        for row in rows:
            member: dict[str, Any] = {
                "username": row.username, "email": sso.users.email_of(row), "display_name": sso.users.name_of(row),
                "language": row.language, "roles": row.roles, "is_super_user": row.is_super_user,
                "must_change": row.must_change, "state": row.state,
            }  # fmt: skip
            if with_hashes and row.password:
                member["password_hash"] = sso.keys.ring.decrypt(row.password, PURPOSE)
            yield orjson.dumps(member).decode()
        if len(rows) < 200:
            return
        after = rows[-1].id


def _would_be(people: People, new: NewUser) -> None:
    """Raise the Problem that making *new* would."""
    from specs.problems import Problem

    users = people.sso.users
    row = users.prepare(new, "active", people.caller)
    if people.sso.database.read(lambda connection: users.taken(connection, row)):
        raise Problem.of("conflict", "this user name or address is taken")


def _new_user(values: dict[str, Any]) -> NewUser:
    """The user that one record tells of. Raises ValueError."""
    from sso.users import NewUser

    given = {name: value for name, value in values.items() if value not in ("", None) and name != "state"}
    if unknown := sorted(set(given) - set(MEMBERS)):
        raise ValueError(f"{', '.join(unknown)}: there are {', '.join(MEMBERS)}")
    for name in ("username", "email"):
        if not isinstance(given.get(name), str):
            raise ValueError(f"{name} is missing")
    for name in ("is_super_user", "must_change"):
        if name in given and not isinstance(given[name], bool):
            given[name] = str(given[name]).lower() in _YES
    roles = given.get("roles", ())
    given["roles"] = tuple(roles.split() if isinstance(roles, str) else map(str, roles))
    for name in ("password_hash", "display_name", "language"):
        if not isinstance(given.get(name, ""), str):
            raise ValueError(f"{name} is a text")
    return NewUser(**given)


def _records(source: IO[str], form: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What stands in a file, with the place of each. Raises ConfigurationError where it cannot be read."""
    import csv

    import orjson

    from specs.problems import ConfigurationError

    if form == "csv" or (form == "auto" and name.lower().endswith(".csv")):
        reader = csv.DictReader(source)
        for row in reader:
            if None in row:
                raise ConfigurationError(name, f"line {reader.line_num} has more columns than the first")
            yield f"line {reader.line_num}", dict(row)
        return
    text = source.read()
    try:
        if text.lstrip().startswith("["):
            for number, value in enumerate(orjson.loads(text), 1):
                yield f"number {number}", _object(value, name, f"number {number}")
            return
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield f"line {number}", _object(orjson.loads(line), name, f"line {number}")
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(name, f"not JSON: {error}", "say --format csv if it is that") from None


def _object(value: Any, name: str, where: str) -> dict[str, Any]:
    from specs.problems import ConfigurationError

    if not isinstance(value, dict):
        raise ConfigurationError(name, f"{where} is no object")
    return value


def _reading(file: str) -> Any:
    from contextlib import nullcontext

    if file == "-":
        return nullcontext(sys.stdin)
    try:
        return open(file, encoding="utf-8-sig", newline="")
    except OSError as error:
        print(f"gatewright: {file}: {(error.strerror or 'cannot be read').lower()}", file=sys.stderr)
        raise typer.Exit(1) from None


def _writing(file: Path | None) -> Any:
    from contextlib import nullcontext

    if file is None:
        return nullcontext(sys.stdout)
    try:
        # SECURITY: personal data, and perhaps hashes: for its owner alone, and never in the place of another file.
        return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except OSError as error:
        print(f"gatewright: {file}: {(error.strerror or 'cannot be written').lower()}", file=sys.stderr)
        raise typer.Exit(1) from None
