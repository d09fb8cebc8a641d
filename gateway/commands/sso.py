"""`gatewright sso`: people who sign up and log in, from a shell, while the gateway serves or not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys, sso_mail, sso_records, sso_transfer
from gateway.commands.people import (
    AsJson,
    PasswordStdin,
    Person,
    Reason,
    Yes,
    confirm,
    new_password,
    opened,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from gateway.commands.people import People
    from sso.users import User

app = typer.Typer(help="People: accounts, sessions, letters, the audit.", no_args_is_help=True)
app.add_typer(sso_records.sessions, name="sessions")
app.add_typer(sso_records.audit, name="audit")
app.add_typer(sso_records.apps, name="apps")
app.add_typer(sso_mail.app, name="mail")
sso_transfer.add_to(app)

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


@app.command("create-user")
def create_user(
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
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Make a user who is active at once."""
    from sso.users import NewUser

    password = "" if invite else new_password(password_stdin, name)
    new = NewUser(
        name, email, password, display_name=display_name, language=language, roles=tuple(role or ()),
        must_change=must_change and not invite,
    )  # fmt: skip
    with opened(data, database, keys, reason) as people:
        _create(people, new, invite)


@app.command("create-super-user")
def create_super_user(
    name: Name,
    email: Email,
    display_name: DisplayName = "",
    language: Language = "en",
    password_stdin: PasswordStdin = False,
    invite: Invite = False,
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Make a super-user, who may do everything with the others."""
    from sso.users import NewUser

    password = "" if invite else new_password(password_stdin, name)
    with opened(data, database, keys, reason) as people:
        _create(
            people,
            NewUser(name, email, password, display_name=display_name, language=language, is_super_user=True),
            invite,
        )


@app.command("list")
def list_users(
    state: State = "",
    limit: Limit = 100,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """List people."""
    with opened(data, database, keys) as people:
        _show(_found(people, {}, state=state, limit=limit), as_json)


@app.command()
def search(
    username: Annotated[str, typer.Option("--username", help="User name.")] = "",
    email: Annotated[str, typer.Option("--email", help="The whole e-mail address.")] = "",
    display_name: DisplayName = "",
    either: Annotated[bool, typer.Option("--either", help="One of them is enough.")] = False,
    prefix: Annotated[bool, typer.Option("--prefix", help="Names begin so.")] = False,
    state: State = "",
    limit: Limit = 100,
    as_json: AsJson = False,
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Find people."""
    asked = {"username": username, "email": email, "display_name": display_name}
    query = {member: text for member, text in asked.items() if text}
    if not query:
        print("gatewright: say what to search for, such as --username", file=sys.stderr)
        raise typer.Exit(2)
    with opened(data, database, keys, reason) as people:
        _show(_found(people, query, state=state, limit=limit, either=either, prefix=prefix), as_json)


@app.command()
def show(
    user: Person,
    as_json: AsJson = False,
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Show a person."""
    from sso.services import plain

    with opened(data, database, keys, reason) as people:
        members = plain(people.sso.users.get(people.find(user).id, people.caller))
    if as_json:
        print_json(members)
    else:
        print_table([(name, _told(value)) for name, value in members.items()], "")


@app.command()
def change(
    user: Person,
    display_name: Annotated[str | None, typer.Option("--display-name", help="What they are called.")] = None,
    language: Annotated[str | None, typer.Option("--language", help="Language of their letters.")] = None,
    role: Annotated[list[str] | None, typer.Option("--role", help="The roles they have; one empty word: none.")] = None,
    super_user: Annotated[bool | None, typer.Option(help="Whether they may do everything with the others.")] = None,
    must_change: Annotated[bool | None, typer.Option(help="Whether they have to choose another password.")] = None,
    address: Annotated[
        list[str] | None, typer.Option("--address", help="The networks they may log in from; one empty word: any.")
    ] = None,
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
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
    with opened(data, database, keys, reason) as people:
        found = people.sso.users.change(people.find(user).id, changes, people.caller, allowed=ADMINISTERED)
    print(f"changed: {found.username}")


def _decision(event: str, sentence: str) -> None:
    def decide(
        user: Person,
        reason: Reason = "",
        data: Data = DEFAULT_DATA,
        database: DatabaseUrl = "",
        keys: Keys = None,
    ) -> None:
        with opened(data, database, keys, reason) as people:
            found = people.find(user)
            state = people.sso.users.decide(found.id, event, people.caller)
        print(f"{found.username} is {state}")

    app.command(event, help=sentence)(decide)


_decision("approve", "Approve of somebody who has signed up.")
_decision("reject", "Reject somebody who has signed up.")
_decision("lock", "Lock an account; its sessions end at once.")
_decision("unlock", "Unlock an account.")


@app.command()
def delete(
    user: Person,
    yes: Yes = False,
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Delete a person for good: what is kept of them can never be read again."""
    with opened(data, database, keys, reason) as people:
        found = people.find(user)
        confirm(f"Delete {found.username} ({found.email}) for good?", yes)
        people.sso.users.erase(found.id, people.caller)
    print(f"deleted: {found.username}")


@app.command("change-password")
def change_password(
    user: Person,
    password_stdin: PasswordStdin = False,
    reason: Reason = "",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Give somebody a password that they have to replace at the next login; their sessions end. Better: reset-password."""
    with opened(data, database, keys, reason) as people:
        found = people.find(user)
        people.sso.accounts.set_password(found.id, new_password(password_stdin, found.username), people.caller)
    print(f"{found.username} has another password, and has to change it at the next login")


@app.command("reset-password")
def reset_password(
    user: Person, reason: Reason = "", data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None
) -> None:
    """Write to somebody with the link by which they set a new password."""
    with opened(data, database, keys, reason) as people:
        found = people.find(user)
        _send_reset(people, found)
    print(f"a letter to {found.username} waits to be sent")


@app.command("reset-totp")
def reset_totp(
    user: Person, reason: Reason = "", data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None
) -> None:
    """Take somebody's second factor away; their sessions end, and they are told."""
    with opened(data, database, keys, reason) as people:
        found = people.find(user)
        people.sso.factors.remove(found.id, people.caller, forced=True)
    print(f"{found.username} has no second factor any more")


@app.command()
def unblock(
    user: Person, reason: Reason = "", data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None
) -> None:
    """Forget how often a password or a code of somebody was guessed wrong, so that they need not wait."""
    from sso.throttle import FAILED_AT_ACCOUNT, FAILED_CODES, LETTERS

    with opened(data, database, keys, reason) as people:
        found, sso = people.find(user), people.sso
        charges = [(FAILED_AT_ACCOUNT, f"id {found.id}"), (FAILED_CODES, found.id), (LETTERS, found.id)]

        def work(connection):  # type: ignore[no-untyped-def]
            sso.throttle.clear(connection, charges)
            sso.audit.record(connection, "user.unblock", people.caller, target=found.id)

        sso.database.write(work)
    print(f"{found.username} need not wait")


@app.command("hash-calibrate")
def hash_calibrate(
    target: Annotated[int, typer.Option("--target", min=10, help="Milliseconds that a password may take.")] = 150,
) -> None:
    """Say how many rounds of PBKDF2 take so long on this machine."""
    import time
    from hashlib import pbkdf2_hmac

    from sso.settings import FEWEST_ROUNDS

    tried, best = 50_000, float("inf")
    for _ in range(3):
        began = time.perf_counter()
        pbkdf2_hmac("sha512", b"a password", b"salt" * 4, tried)
        best = min(best, time.perf_counter() - began)
    rounds = int(target / 1000 / best * tried) // 1000 * 1000
    print(f"rounds: {max(rounds, FEWEST_ROUNDS)}")
    if rounds < FEWEST_ROUNDS:
        print(
            f"gatewright: {target} ms are {rounds} rounds here, and fewer than {FEWEST_ROUNDS} are refused",
            file=sys.stderr,
        )


def _create(people: People, new, invite: bool) -> None:  # type: ignore[no-untyped-def]
    made = people.sso.users.create(new, people.caller)
    if invite:
        _send_reset(people, made)
    print(made.id)


def _send_reset(people: People, user: User) -> None:
    from dataclasses import replace

    people.sso.accounts.forgot(user.username, replace(people.caller))


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
