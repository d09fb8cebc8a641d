"""`gatewright sso sessions`, `audit` and `apps`: who is logged in, what was done, what applications prove themselves by."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.people import AsJson, People, Person, Yes, confirm, print_json, print_table, verb

sessions = typer.Typer(help="Who is logged in.", no_args_is_help=True)
audit = typer.Typer(help="What was done, by whom and why; each record proves the one before it.", no_args_is_help=True)
apps = typer.Typer(help="Applications, and what they prove themselves by.", no_args_is_help=True)


@verb(sessions, "list")
def list_sessions(people: People, user: Person, as_json: AsJson = False) -> None:
    """List the sessions of a person."""
    from sso.services import session_of

    found = people.sso.users.get(people.find(user).id, people.caller)
    listed = people.sso.sessions.list(found.id)
    if as_json:
        print_json([session_of(one) for one in listed])
        return
    rows = [(one.id, one.app, one.address, f"{one.seen_at:%Y-%m-%d %H:%M}", " ".join(one.methods)) for one in listed]
    print_table(rows, "no session")


@verb(sessions)
def revoke(
    people: People,
    user: Annotated[str, typer.Argument(metavar="[USER]", help="User name, e-mail address or id.")] = "",
    session: Annotated[str, typer.Argument(metavar="[SESSION]", help="Its id; every session if left out.")] = "",
    everybody: Annotated[bool, typer.Option("--everybody", help="The sessions of all people.")] = False,
    yes: Yes = False,
) -> None:
    """End sessions: one, all of a person, or everybody's."""
    if everybody == bool(user):
        print("gatewright: name somebody, or say --everybody", file=sys.stderr)
        raise typer.Exit(2)
    rooms = people.sso.sessions
    if everybody:
        confirm("End the sessions of everybody?", yes)
        rooms.end_everybodys(people.caller)
        print("every session has ended")
        return
    found = people.find(user)
    if session:
        rooms.end(found.id, session, people.caller)
    else:
        rooms.end_all(found.id, people.caller)
    print(f"{'this session' if session else 'every session'} of {found.username} has ended")


@verb(audit, "list", audited=False)
def list_records(
    people: People,
    actor: Annotated[str, typer.Option("--actor", help="Id of who did it; system for commands.")] = "",
    target: Annotated[str, typer.Option("--target", help="Id of whom it was done to.")] = "",
    action: Annotated[str, typer.Option("--action", help="Such as user.lock.")] = "",
    after: Annotated[int, typer.Option("--after", min=0, help="From the record after this number on.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List records, in their order."""
    found: list[dict[str, object]] = []
    while len(found) < limit:
        page = people.sso.audit.find(
            actor=actor, target=target, action=action, after=after, most=min(100, limit - len(found))
        )
        found += page
        if len(page) < 100:
            break
        after = page[-1]["sequence"]
    if as_json:
        print_json([{**one, "at": one["at"].isoformat()} for one in found])  # type: ignore[attr-defined]
        return
    members = ("action", "result", "actor", "target", "reason")
    rows = [(one["sequence"], f"{one['at']:%Y-%m-%d %H:%M:%S}", *(one[name] for name in members)) for one in found]
    # What a stranger could write into a record stays on its line.
    print_table([[repr(cell)[1:-1] if isinstance(cell, str) else cell for cell in row] for row in rows], "no record")


@verb(audit, audited=False)
def verify(
    people: People,
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", help="One that was kept elsewhere; else the one that this machine keeps.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say whether every record is as it was written; names the first that is not, and ends with 1."""
    from gateway.anchor import read_anchor

    kept = checkpoint or read_anchor(people.data)
    verdict = people.sso.audit.verify(kept)
    now = people.sso.audit.checkpoint()
    good = verdict.bad is None
    if as_json:
        print_json({"good": good, **verdict._asdict(), "compared_with": kept, "checkpoint": now})
    elif good:
        print(f"{verdict.checked} records are as they were written; checkpoint {now}")
    else:
        print(f"gatewright: record {verdict.bad}: {verdict.why}; {verdict.checked} before it are good", file=sys.stderr)
    if not good:
        raise typer.Exit(1)


@verb(audit, audited=False)
def checkpoint(people: People) -> None:
    """Print what to keep elsewhere: with it, `verify` notices that the end was cut off by somebody who turned the head back."""
    print(people.sso.audit.checkpoint())


@verb(apps, "list", audited=False)
def list_apps(people: People, as_json: AsJson = False) -> None:
    """List applications: what people may do through each, and its credentials."""
    from sso.services import plain

    listed = {name: (rules, people.sso.applications.all(name)) for name, rules in people.sso.settings.apps.items()}
    if as_json:
        print_json(
            [
                {
                    "app": name, "signup": rules.signup, "login": rules.login, "allow": list(rules.allow),
                    "credentials": [plain(one) for one in held],
                }
                for name, (rules, held) in listed.items()
            ]
        )  # fmt: skip
        return
    rows = []
    for name, (rules, held) in listed.items():
        may = " ".join(word for word, on in (("signup", rules.signup), ("login", rules.login)) if on) or "nothing"
        rows.append((name, may, " ".join(one.id for one in held)))
    print_table(rows, "the document names no application")


@verb(apps, "add-credential")
def add_credential(
    people: People,
    app: Annotated[str, typer.Argument(metavar="APP", help="Name of the application.")],
    name: Annotated[str, typer.Option("--name", help="What tells it from the others.")] = "",
    file: Annotated[
        Path | None, typer.Option("--file", help="Write it there (0600) and not to standard output.")
    ] = None,
) -> None:
    """Make a credential of an application, which is shown this once."""
    if file is not None and file.exists():
        print(f"gatewright: {file} is there already", file=sys.stderr)
        raise typer.Exit(1)
    issued = people.sso.applications.add(app, people.caller, name=name)
    print(f"gatewright: {issued.credential.id} of {app}", file=sys.stderr)
    if file is None:
        print(issued.secret)
        return
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.write(issued.secret + "\n")


@verb(apps, "remove-credential")
def remove_credential(
    people: People,
    app: Annotated[str, typer.Argument(metavar="APP", help="Name of the application.")],
    credential: Annotated[str, typer.Argument(metavar="CREDENTIAL", help="Its id.")],
) -> None:
    """Take a credential of an application away."""
    people.sso.applications.remove(app, credential, people.caller)
    print(f"{credential} is none of {app} any more")
