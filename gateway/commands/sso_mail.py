"""`gatewright sso mail`: whether letters can be sent, which wait or were given up, and what they say."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.people import AsJson, People, Yes, confirm, print_json, print_table, verb

if TYPE_CHECKING:
    from sso.mail import Postman

app = typer.Typer(help="Letters: whether they can be sent, and which wait.", no_args_is_help=True)

Letters = Annotated[list[str] | None, typer.Argument(metavar="[LETTER]...", help="Ids; all of them if left out.")]
Language = Annotated[str, typer.Option("--language", help="Such as en or de.")]


@verb(app, "test", audited=False)
def send_test(
    people: People,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Whom to write to.")],
    language: Language = "en",
) -> None:
    """Send a message now, past the letters that wait, and say what the server says."""
    from specs.problems import ConfigurationError
    from sso.letters import Letter
    from sso.names import email_key

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


@verb(app, "list", audited=False)
def list_letters(
    people: People,
    given_up: Annotated[bool, typer.Option("--given-up", help="Those that nobody tries to send any more.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List letters that wait, or that were given up; nothing of what is in them."""
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


@verb(app, audited=False)
def retry(people: People, letters: Letters = None) -> None:
    """Have letters that were given up tried anew."""
    again = people.sso.database.write(
        lambda connection: people.sso.outbox.try_again(connection, *(letters or ())), audited=False
    )
    print(f"{again} are tried again")


@verb(app, audited=False)
def drop(people: People, letters: Letters = None, yes: Yes = False) -> None:
    """Forget letters that were given up."""
    if not letters:
        confirm("Forget all letters that were given up?", yes)
    gone = people.sso.database.write(
        lambda connection: people.sso.outbox.drop(connection, *(letters or ())), audited=False
    )
    print(f"{gone} are forgotten")


@verb(app, audited=False)
def show(
    people: People,
    kind: Annotated[str, typer.Argument(metavar="[KIND]", help="Such as confirm; the kinds if left out.")] = "",
    language: Language = "en",
    html: Annotated[bool, typer.Option("--html", help="The HTML, not the plain text.")] = False,
) -> None:
    """Show what a kind of letter says, by the templates of this installation, filled with examples."""
    from specs.problems import ConfigurationError
    from sso.mail import sample_values
    from sso.mail_templates import Templates

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
