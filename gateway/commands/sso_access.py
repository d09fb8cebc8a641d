"""`gatewright sso`, how people get in: passwords and second factors given anew, who has to wait, a session from the shell."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

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

if TYPE_CHECKING:
    from sso.users import User


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    verb(app, "change-password")(change_password)
    verb(app, "reset-password")(reset_password)
    verb(app, "reset-totp")(reset_totp)
    verb(app, "blocked", audited=False)(blocked)
    verb(app, "unblock")(unblock)
    verb(app, "login")(log_in)
    app.command("hash-calibrate")(hash_calibrate)


def send_reset(people: People, user: User) -> None:
    """Post the letter by which somebody sets a new password."""
    people.sso.accounts.forgot(user.username, people.caller)


def change_password(people: People, user: Person, password_stdin: PasswordStdin = False) -> None:
    """Give somebody a password that they have to replace at the next login; their sessions end. Better: reset-password."""
    found = people.find(user)
    people.sso.accounts.set_password(found.id, new_password(password_stdin, found.username), people.caller)
    print(f"{found.username} has another password, and has to change it at the next login")


def reset_password(people: People, user: Person) -> None:
    """Write to somebody with the link by which they set a new password."""
    found = people.find(user)
    send_reset(people, found)
    print(f"a letter to {found.username} waits to be sent")


def reset_totp(people: People, user: Person) -> None:
    """Take somebody's second factor away; their sessions end, and they are told."""
    found = people.find(user)
    people.sso.factors.remove(found.id, people.caller, forced=True)
    print(f"{found.username} has no second factor any more")


def blocked(people: People, as_json: AsJson = False) -> None:
    """List who has to wait before they may try again, and what for; addresses are kept as digests, and are counted alone."""
    listed = people.sso.database.read(people.sso.attempts.blocked)
    if as_json:
        print_json([one._asdict() for one in listed])
        return
    rows = [(one.who or "an address", one.what, f"{one.seconds:.0f} s") for one in listed]
    print_table(rows, "nobody has to wait")


def unblock(
    people: People,
    user: Annotated[str, typer.Argument(metavar="[USER]", help="User name, e-mail address or id.")] = "",
    address: Annotated[str, typer.Option("--address", help="Those who come from this address.")] = "",
    everybody: Annotated[bool, typer.Option("--everybody", help="All people and addresses.")] = False,
    yes: Yes = False,
) -> None:
    """Forget how often a password or a code of somebody was guessed wrong (or from where), so that they need not wait."""
    if everybody == bool(user or address):
        print("gatewright: name somebody or an --address, or say --everybody", file=sys.stderr)
        raise typer.Exit(2)
    if everybody:
        confirm("Forget all that was guessed wrong?", yes)
    found = people.find(user) if user else None
    people.sso.attempts.unblock(people.caller, user_id=found.id if found is not None else "", address=address)
    who = " from ".join(one for one in (found.username if found is not None else "", address) if one)
    print(f"{who} need not wait" if who else "nobody need wait")


def log_in(
    people: People,
    user: Person,
    application: Annotated[
        str, typer.Option("--app", help="Through which application; the usual one if left out.")
    ] = "",
    address: Annotated[
        str, typer.Option("--address", help="From where it will be used; needed where sessions are bound to it.")
    ] = "",
) -> None:
    """Open a session of somebody, of level 1, and print its token, this once; audited as theirs and yours."""
    found = people.find(user)
    caller = replace(people.caller, app=application, address=address)
    done = people.sso.login.by_command(found.id, caller)
    print(
        f"gatewright: {done.session.id} of {found.username}, until {done.session.ends_at:%Y-%m-%d %H:%M} UTC",
        file=sys.stderr,
    )
    print(done.token)


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
