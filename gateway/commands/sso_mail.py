"""`gatewright sso mail`: whether letters can be sent, which wait or were given up, and what they say."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands import DEFAULT_DATA, Data, DatabaseUrl, Keys
from gateway.commands.people import AsJson, Yes, confirm, opened, print_json, print_table

if TYPE_CHECKING:
    from gateway.commands.people import People
    from sso.mail import Postman

app = typer.Typer(help="Letters: whether they can be sent, and which wait.", no_args_is_help=True)

Letters = Annotated[list[str] | None, typer.Argument(metavar="[LETTER]...", help="Ids; all of them if left out.")]
Language = Annotated[str, typer.Option("--language", help="Such as en or de.")]


@app.command("test")
def send_test(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Whom to write to.")],
    language: Language = "en",
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Send a message now, past the letters that wait, and say what the server says."""
    from specs.problems import ConfigurationError
    from sso.letters import Letter
    from sso.names import email_key

    with opened(data, database, keys) as people:
        postman = _postman(people)
        site = {"site_name": people.sso.settings.site_name, "username": ""}
        letter = Letter(f"test-{people.sso.keys.randomness(8).hex()}", "test", email_key(address), language, site)
        try:
            message = postman.message_of(letter)
        except ValueError as error:
            raise ConfigurationError("sso.mail", str(error)) from None
        with postman.connect() as line:
            line.send(message)
    print(f"the server has taken the message to {address}")


@app.command("list")
def list_letters(
    given_up: Annotated[bool, typer.Option("--given-up", help="Those that nobody tries to send any more.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 100,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """List letters that wait, or that were given up; nothing of what is in them."""
    with opened(data, database, keys) as people:
        listed = people.sso.database.read(
            lambda connection: people.sso.outbox.envelopes(connection, given_up=given_up, most=limit)
        )
    if as_json:
        print_json([one._asdict() for one in listed])
        return
    rows = [
        (one.id, one.kind, one.user_id, f"{one.tries} tries", f"{one.due_at:%Y-%m-%d %H:%M}", one.error)
        for one in listed
    ]
    print_table(rows, "no letter")


@app.command()
def retry(letters: Letters = None, data: Data = DEFAULT_DATA, database: DatabaseUrl = "", keys: Keys = None) -> None:
    """Have letters that were given up tried anew."""
    with opened(data, database, keys) as people:
        again = people.sso.database.write(
            lambda connection: people.sso.outbox.try_again(connection, *(letters or ())), audited=False
        )
    print(f"{again} are tried again")


@app.command()
def drop(
    letters: Letters = None,
    yes: Yes = False,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Forget letters that were given up."""
    with opened(data, database, keys) as people:
        if not letters:
            confirm("Forget all letters that were given up?", yes)
        gone = people.sso.database.write(
            lambda connection: people.sso.outbox.drop(connection, *(letters or ())), audited=False
        )
    print(f"{gone} are forgotten")


@app.command()
def show(
    kind: Annotated[str, typer.Argument(metavar="[KIND]", help="Such as confirm; the kinds if left out.")] = "",
    language: Language = "en",
    html: Annotated[bool, typer.Option("--html", help="The HTML, not the plain text.")] = False,
    data: Data = DEFAULT_DATA,
    database: DatabaseUrl = "",
    keys: Keys = None,
) -> None:
    """Show what a kind of letter says, by the templates of this installation, filled with examples."""
    from specs.problems import ConfigurationError
    from sso.mail import sample_values
    from sso.mail_templates import Templates

    with opened(data, database, keys) as people:
        templates = _postman(people).templates if people.sso.settings.mail is not None else Templates()
        if not kind:
            print("\n".join(templates.kinds()))
            return
        try:
            values: dict[str, Any] = {**sample_values(), "site_name": people.sso.settings.site_name}
            filled = templates.check(kind, language, values)
        except ValueError as error:
            raise ConfigurationError(kind, str(error), f"there are {', '.join(templates.kinds())}") from None
    if html:
        sys.stdout.write(filled.html)
    else:
        print(f"Subject: {filled.subject}\n\n{filled.text}", end="")


def _postman(people: People) -> Postman:
    from backends.connections import Connections
    from gateway.mailing import postman_of

    return postman_of(people.sso, people.configuration, Connections())
