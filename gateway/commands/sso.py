"""`gatewright sso`: people who sign up and log in, from a shell, while the gateway serves or not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands import sso_access, sso_belongings, sso_mail, sso_records, sso_transfer
from gateway.commands.people import (
    AsJson,
    PasswordStdin,
    People,
    Person,
    Yes,
    confirm,
    new_password,
    print_json,
    print_table,
    verb,
)
from gateway.commands.sso_access import send_reset

if TYPE_CHECKING:
    from sso.users import User

app = typer.Typer(help="People: accounts, sessions, letters, the audit.", no_args_is_help=True)
app.add_typer(sso_records.sessions, name="sessions")
app.add_typer(sso_records.audit, name="audit")
app.add_typer(sso_records.apps, name="apps")
app.add_typer(sso_belongings.links, name="links")
app.add_typer(sso_belongings.attributes, name="attributes")
app.add_typer(sso_mail.app, name="mail")
sso_transfer.add_to(app)
sso_access.add_to(app)

Name = Annotated[str, typer.Argument(metavar="NAME", help="User name.")]
Email = Annotated[str, typer.Option("--email", help="E-mail address.")]
DisplayName = Annotated[str, typer.Option("--display-name", help="What they are called.")]
Language = Annotated[str, typer.Option("--language", help="Language of their letters, such as en or de.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="A role they have; may be repeated.")]
State = Annotated[str, typer.Option("--state", help="Only those in this state, such as unapproved.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many at most.")]
Invite = Annotated[
    bool, typer.Option("--invite", help="Without a password: a letter has the link by which they set one.")
]


@verb(app, "create-user")
def create_user(
    people: People,
    name: Name,
    email: Email,
    display_name: DisplayName = "",
    language: Language = "en",
    role: Roles = None,
    password_stdin: PasswordStdin = False,
    invite: Invite = False,
    must_change: Annotated[
        bool, typer.Option(help="Whether they have to choose another password at the first login.")
    ] = True,
) -> None:
    """Make a user who is active at once."""
    from sso.users import NewUser

    password = "" if invite else new_password(password_stdin, name)
    new = NewUser(
        name, email, password, display_name=display_name, language=language, roles=tuple(role or ()),
        must_change=must_change and not invite,
    )  # fmt: skip
    _create(people, new, invite)


@verb(app, "create-super-user")
def create_super_user(
    people: People,
    name: Name,
    email: Email,
    display_name: DisplayName = "",
    language: Language = "en",
    password_stdin: PasswordStdin = False,
    invite: Invite = False,
) -> None:
    """Make a super-user, who may do everything with the others."""
    from sso.users import NewUser

    password = "" if invite else new_password(password_stdin, name)
    _create(
        people,
        NewUser(name, email, password, display_name=display_name, language=language, is_super_user=True),
        invite,
    )


@verb(app, "list", audited=False)
def list_users(people: People, state: State = "", limit: Limit = 100, as_json: AsJson = False) -> None:
    """List people."""
    _show(_found(people, {}, state=state, limit=limit), as_json)


@verb(app)
def search(
    people: People,
    username: Annotated[str, typer.Option("--username", help="User name.")] = "",
    email: Annotated[str, typer.Option("--email", help="The whole e-mail address.")] = "",
    display_name: DisplayName = "",
    either: Annotated[bool, typer.Option("--either", help="One of them is enough.")] = False,
    prefix: Annotated[bool, typer.Option("--prefix", help="Names begin so.")] = False,
    state: State = "",
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Find people."""
    asked = {"username": username, "email": email, "display_name": display_name}
    query = {member: text for member, text in asked.items() if text}
    if not query:
        print("gatewright: say what to search for, such as --username", file=sys.stderr)
        raise typer.Exit(2)
    _show(_found(people, query, state=state, limit=limit, either=either, prefix=prefix), as_json)


@verb(app)
def show(people: People, user: Person, as_json: AsJson = False) -> None:
    """Show a person."""
    from sso.services import plain

    members = plain(people.sso.users.get(people.find(user).id, people.caller))
    if as_json:
        print_json(members)
    else:
        print_table([(name, _told(value)) for name, value in members.items()], "")


@verb(app)
def change(
    people: People,
    user: Person,
    display_name: Annotated[str | None, typer.Option("--display-name", help="What they are called.")] = None,
    language: Annotated[str | None, typer.Option("--language", help="Language of their letters.")] = None,
    role: Annotated[list[str] | None, typer.Option("--role", help="The roles they have; one empty word: none.")] = None,
    super_user: Annotated[bool | None, typer.Option(help="Whether they may do everything with the others.")] = None,
    must_change: Annotated[bool | None, typer.Option(help="Whether they have to choose another password.")] = None,
    address: Annotated[
        list[str] | None, typer.Option("--address", help="The networks they may log in from; one empty word: any.")
    ] = None,
) -> None:
    """Change a person."""
    from sso.users import ADMINISTERED

    given = {
        "display_name": display_name, "language": language, "is_super_user": super_user, "must_change": must_change,
        "roles": None if role is None else [one for one in role if one],
        "addresses": None if address is None else [one for one in address if one],
    }  # fmt: skip
    changes = {member: value for member, value in given.items() if value is not None}
    if not changes:
        print("gatewright: say what to change, such as --role", file=sys.stderr)
        raise typer.Exit(2)
    found = people.sso.users.change(people.find(user).id, changes, people.caller, allowed=ADMINISTERED)
    print(f"changed: {found.username}")


def _decision(event: str, sentence: str) -> None:
    def decide(people: People, user: Person) -> None:
        found = people.find(user)
        state = people.sso.users.decide(found.id, event, people.caller)
        print(f"{found.username} is {state}")

    verb(app, event, sentence=sentence)(decide)


_decision("approve", "Approve of somebody who has signed up.")
_decision("reject", "Reject somebody who has signed up.")
_decision("lock", "Lock an account; its sessions end at once.")
_decision("unlock", "Unlock an account.")


@verb(app)
def delete(people: People, user: Person, yes: Yes = False) -> None:
    """Delete a person for good: what is kept of them can never be read again."""
    found = people.find(user)
    confirm(f"Delete {found.username} ({found.email}) for good?", yes)
    people.sso.users.erase(found.id, people.caller)
    print(f"deleted: {found.username}")


def _create(people: People, new, invite: bool) -> None:  # type: ignore[no-untyped-def]
    made = people.sso.users.create(new, people.caller)
    if invite:
        send_reset(people, made)
    print(made.id)


def _found(people: People, query: dict[str, str], *, limit: int, **how) -> list[User]:  # type: ignore[no-untyped-def]
    found: list[User] = []
    while len(found) < limit:
        after = found[-1].id if found else ""
        page = people.sso.users.search(query, people.caller, after=after, most=min(100, limit - len(found)), **how)
        found += page
        if len(page) < 100:
            break
    return found


def _show(users: list[User], as_json: bool) -> None:
    from sso.services import plain

    if as_json:
        print_json([plain(user) for user in users])
        return
    rows = [
        (user.id, user.username, user.email, user.state, "super-user" if user.is_super_user else " ".join(user.roles))
        for user in users
    ]
    print_table(rows, "nobody")


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str("" if value is None else value)
