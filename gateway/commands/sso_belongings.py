"""`gatewright sso links` and `attributes`: whose credentials of other definitions are, and what applications keep of people."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from gateway.commands.people import AsJson, People, Person, print_json, print_table, verb

links = typer.Typer(help="Credentials of other security definitions that are somebody's.", no_args_is_help=True)
attributes = typer.Typer(help="What applications keep of a person, by name.", no_args_is_help=True)

Attribute = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]


@verb(links, "list")
def list_links(people: People, user: Person, as_json: AsJson = False) -> None:
    """List what is linked to a person."""
    from sso.services import plain

    found = people.sso.users.get(people.find(user).id, people.caller)
    listed = people.sso.links.all(found.id)
    if as_json:
        print_json([plain(one) for one in listed])
        return
    print_table([(one.id, one.definition, one.principal, one.second_factor) for one in listed], "no link")


@verb(links, "add")
def add_link(
    people: People,
    user: Person,
    definition: Annotated[str, typer.Argument(metavar="DEFINITION", help="Name of the security definition.")],
    principal: Annotated[str, typer.Argument(metavar="PRINCIPAL", help="Who it proves: the name of a consumer.")],
    second_factor: Annotated[
        Literal["required", "satisfied", "service-account"],
        typer.Option(help="What holds where the person has a second factor: refused, or the link is as good."),
    ] = "required",
) -> None:
    """Link what a security definition proves to a person."""
    found = people.find(user)
    link = people.sso.links.add(found.id, definition, principal, people.caller, second_factor=second_factor)
    print(link.id)


@verb(links, "remove")
def remove_link(
    people: People, user: Person, link: Annotated[str, typer.Argument(metavar="LINK", help="Its id.")]
) -> None:
    """Take a link away."""
    found = people.find(user)
    people.sso.links.remove(found.id, link, people.caller)
    print(f"{link} is none of {found.username} any more")


@verb(attributes, "list")
def list_attributes(people: People, user: Person, as_json: AsJson = False) -> None:
    """List what applications keep of a person, what is encrypted as well."""
    import orjson

    from sso.services import plain

    found = people.sso.users.get(people.find(user).id, people.caller)
    listed = people.sso.attributes.all(found.id, found.id)
    if as_json:
        print_json([plain(one) for one in listed])
        return
    rows = []
    for one in listed:
        until = f"until {one.expires_at:%Y-%m-%d %H:%M}" if one.expires_at is not None else ""
        rows.append((one.name, orjson.dumps(one.value).decode(), "encrypted" if one.encrypted else "", until))
    print_table(rows, "no attribute")


@verb(attributes, "set")
def set_attribute(
    people: People,
    user: Person,
    name: Attribute,
    value: Annotated[
        str, typer.Argument(metavar="VALUE", help="JSON, or else a text; - reads it from standard input.")
    ],
    encrypted: Annotated[bool, typer.Option("--encrypted", help="Keep it under the person's key.")] = False,
    days: Annotated[int | None, typer.Option("--days", min=1, help="Forget it after so many days.")] = None,
) -> None:
    """Set an attribute of a person."""
    from sso.attributes import Given

    found = people.find(user)
    until = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    given = Given(_value(sys.stdin.read() if value == "-" else value), encrypted, until)
    people.sso.attributes.set(found.id, found.id, {name: given}, people.caller)
    print(f"set: {name} of {found.username}")


@verb(attributes, "delete")
def delete_attribute(people: People, user: Person, name: Attribute) -> None:
    """Take an attribute of a person away."""
    found = people.find(user)
    people.sso.attributes.delete(found.id, found.id, name, people.caller)
    print(f"deleted: {name} of {found.username}")


def _value(text: str) -> Any:
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
