"""Markdown of an `Interface`: one file to read in a repository or to give to an assistant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from specs.contract import Field
from specs.documents import snippets
from specs.documents.bodies import answer_text
from specs.documents.interface import Interface, Operation


def write_markdown(interface: Interface) -> str:
    """The whole interface as one text."""
    return "\n".join(_lines(interface)) + "\n"


def _lines(interface: Interface) -> Iterator[str]:
    yield f"# {interface.title} {interface.version}\n"
    if interface.description:
        yield f"{interface.description}\n"
    if interface.url:
        yield f"Address: {interface.url}\n"
    for namespace, contracts in interface.namespaces.items():
        yield f"## {namespace or 'Services'}\n"
        for contract in contracts:
            yield f"### {contract.service}\n\n{contract.documentation or contract.summary}\n"
            for operation in interface.services[contract.service]:
                yield from _operation(interface, operation)
            if contract.output:
                yield "Answer:\n"
                yield from _table(contract.output)
                yield f"```json\n{answer_text(interface.services[contract.service][0], 'json')}\n```\n"


def _operation(interface: Interface, operation: Operation) -> Iterator[str]:
    if operation.kind == "soap":
        yield f"**SOAP** `{operation.path}`, operation `{operation.action}`\n"
        return
    formats = ", ".join(operation.formats)
    security = " or ".join(" with ".join(choice) for choice in operation.security) or "none"
    yield f"**{operation.method} `{operation.path}`** (channel `{operation.channel}`; {formats}; credentials: {security})\n"
    if operation.lifetime:
        yield f"**{operation.lifetime.sentence}**\n"
    for place, fields in (
        ("Path", operation.path_fields),
        ("Query", operation.query_fields),
        ("Body", operation.body_fields if operation.has_body else ()),
    ):
        if fields:
            yield f"{place}:\n"
            yield from _table(fields)
    word = next((word for word in operation.formats if word in ("json", "xml")), operation.formats[0])
    yield f"```sh\n{snippets.curl(snippets.request_of(interface, operation, word))}\n```\n"


def _table(fields: Sequence[Field]) -> Iterator[str]:
    yield "| name | type | required | says |\n|---|---|---|---|"
    for field in fields:
        said = " ".join(field.description.split()).replace("|", "\\|")
        values = ", ".join(str(value) for value in field.values)
        yield f"| `{field.name}` | {field.type} | {'yes' if field.required else 'no'} | {said or values} |"
    yield ""
