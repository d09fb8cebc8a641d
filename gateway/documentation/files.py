"""The documents for programs, by the path that they are served and exported under.

openapi.json, openapi.yaml          everything that the reader may call
channels/NAME/openapi.json, .yaml   one channel
schemas/SERVICE.input.json          JSON Schemas of contracts, input and output
postman.json                        a Postman collection
api.md                              Markdown

A document of another kind is one more line here and one printer in `specs.documents`: AsyncAPI is to be ``asyncapi.json``, as soon
as there are channels whose operations are messages of a queue and not calls over HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import orjson

from specs.contract import Contract
from specs.documents import openapi
from specs.documents.interface import Interface
from specs.documents.markdown import write_markdown
from specs.documents.postman import collection
from specs.schema import Direction, schema_of_contract

JSON = "application/json"
YAML = "application/yaml"
Found = tuple[str, Callable[[], bytes], str]


def paths(interface: Interface) -> Iterator[str]:
    """Every document there is."""
    yield from ("openapi.json", "openapi.yaml", "postman.json", "api.md")
    for channel in sorted({o.channel for o in interface.operations if o.kind != "soap"}):
        yield from (f"channels/{channel}/openapi.json", f"channels/{channel}/openapi.yaml")
    for service in interface.contracts:
        yield from (f"schemas/{service}.input.json", f"schemas/{service}.output.json")


def find(path: str, interface: Interface) -> Found | None:
    """The document of that path: its path, what prints it, and its media type."""
    first, _, rest = path.partition("/")
    if first == "channels" and rest:
        channel, _, name = rest.rpartition("/")
        part = interface.of_channel(channel)
        if not part.operations or name not in ("openapi.json", "openapi.yaml"):
            return None
        return path, lambda: _openapi(part, name), JSON if name.endswith("json") else YAML
    if first == "schemas" and rest:
        return _schema(path, rest, interface)
    made: dict[str, tuple[Callable[[], bytes], str]] = {
        "openapi.json": (lambda: _openapi(interface, path), JSON),
        "openapi.yaml": (lambda: _openapi(interface, path), YAML),
        "postman.json": (lambda: openapi.to_json(collection(interface)), JSON),
        "api.md": (lambda: write_markdown(interface).encode(), "text/markdown; charset=utf-8"),
    }
    return (path, *made[path]) if path in made else None


def catalog(interface: Interface, docs: str) -> bytes:
    """The API catalog (RFC 9727): where the interface is described, as a linkset (RFC 9264)."""
    base = interface.url
    links: dict[str, Any] = {
        "anchor": base or "/",
        "service-desc": [
            {"href": f"{base}{docs}/openapi.json", "type": JSON},
            {"href": f"{base}{docs}/openapi.yaml", "type": YAML},
        ],
        "service-doc": [{"href": f"{base}{docs}", "type": "text/html"}],
    }
    return orjson.dumps({"linkset": [links]}, option=orjson.OPT_INDENT_2)


def _openapi(interface: Interface, name: str) -> bytes:
    found = openapi.document(interface)
    return openapi.to_json(found) if name.endswith("json") else openapi.to_yaml(found)


def _schema(path: str, name: str, interface: Interface) -> Found | None:
    directions: tuple[Direction, ...] = ("input", "output")
    for direction in directions:
        service = name.removesuffix(f".{direction}.json")
        if service != name and service in interface.contracts:
            contract = interface.contracts[service]
            return path, partial(_print_schema, contract, direction), "application/schema+json"
    return None


def _print_schema(contract: Contract, direction: Direction) -> bytes:
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"{contract.service}, {direction}"}
    return openapi.to_json({**about, **schema_of_contract(contract, direction)})
