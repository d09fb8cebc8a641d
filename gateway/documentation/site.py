"""The pages of the documentation: HTML of an `Interface`, for a server that answers and for a folder of files alike.

`Site.render` gives one page by its path (``services/customer.get``); `Site.paths` says which there are.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
import orjson
from lxml import etree

from backends.changelog import Release
from gateway.configuration.kinds import Docs
from gateway.documentation.graph import draw
from gateway.documentation.markup import code, markdown
from specs import inference
from specs.contract import UNSET, Contract, Field
from specs.documents import snippets
from specs.documents.bodies import answer_text, pretty, request_text
from specs.documents.interface import Interface, Operation, Policy, Scheme
from specs.documents.refusals import ANSWERS, problem_example
from specs.problems import CODES, TYPE_PREFIX, TYPES

FOLDER = Path(__file__).parent.parent / "pages"
#: A side bar with more services than this names namespaces alone.
FEW = 80
PER_PAGE = 60
PER_NAMESPACE = 12
MOST_HITS = 50
#: What `Interface.searchable` has, in order.
_PLACES = ("name", "path", "field", "documentation")

TYPE_WORDS = {
    "text": "text", "int": "integer", "float": "number", "decimal": "decimal", "bool": "boolean", "date": "date",
    "datetime": "date and time", "utc": "date and time, UTC", "uuid": "UUID", "enum": "choice", "bytes": "base64", "csv": "CSV",
    "list": "list", "dict": "object", "dictlist": "list of objects", "nested": "object", "opaque": "anything",
    "asis": "anything", "secret": "secret text",
}  # fmt: skip
_WIRE = (
    ("text", '"Ann"', "<x>Ann</x>"), ("integer", "7", "<x>7</x>"), ("number", "1.5", "<x>1.5</x>"),
    ("decimal", '"120.50"', "<x>120.50</x>"), ("boolean", "true", "<x>true</x>"), ("date", '"2026-11-21"', "<x>2026-11-21</x>"),
    ("date and time", '"2026-11-21T09:30:00Z"', "<x>2026-11-21T09:30:00Z</x>"), ("base64", '"SGVsbG8="', "<x>SGVsbG8=</x>"),
    ("list", '["a", "b"]', "<x><item>a</item><item>b</item></x>"), ("null", "null", '<x xsi:nil="true"/>'),
)  # fmt: skip
_CHANGES = {"added": "Added", "changed": "Changed", "broken": "Breaking", "removed": "Removed"}
_LIMITS = {
    "minimum": "at least {}", "maximum": "at most {}", "exclusiveMinimum": "more than {}", "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}", "minLength": "{} characters or more", "maxLength": "{} characters at most",
    "pattern": "as {}", "minItems": "{} items or more", "maxItems": "{} items at most", "uniqueItems": "each item once",
}  # fmt: skip


class Panel(NamedTuple):
    """A piece of code to show: what its tab says, and what it is written in."""

    label: str
    text: str
    language: str


class Way(NamedTuple):
    """One way to call a service: methods that take the same input in the same place, and the code to show beside it."""

    operation: Operation
    methods: tuple[str, ...]
    limits: Sequence[Policy]
    refusals: Sequence[tuple[int, Sequence[str]]]
    snippets: Sequence[Panel]
    requests: Sequence[Panel]
    answers: Sequence[Panel]


class Hit(NamedTuple):
    """A service that was searched for, and where the words were found."""

    contract: Contract
    why: str


@dataclass(frozen=True)
class Site:
    """The documentation as one reader sees it. *url* makes a link of a page's path.

    *reader* is what the reader is called, if anything; *left* the limits of each channel with what is left of them;
    *static* says that nobody answers: pages are files.
    """

    interface: Interface
    docs: Docs
    url: Callable[[str], str]
    releases: Callable[[], Sequence[Release]] = tuple
    reader: str = ""
    can_sign_in: bool = False
    left: Mapping[str, Sequence[Policy]] = field(default_factory=dict)
    static: bool = False

    def paths(self) -> Iterator[str]:
        """Every page there is, but for those that only a server can answer."""
        yield from ("", "authentication", "errors", "limits", "graph", "changelog", "types")
        if self.interface.internal:
            yield "internal"
        yield from (f"namespaces/{name or '-'}" for name in self.interface.namespaces)
        yield from (f"services/{name}" for name in self.interface.contracts)

    def render(self, path: str, query: Mapping[str, str] | None = None) -> str | None:
        """The HTML of a page; None where there is none of that path."""
        first, _, rest = path.partition("/")
        if first == "services" and rest in self.interface.contracts:
            return self._service(rest)
        if first == "namespaces":
            name = "" if rest == "-" else rest
            return self._namespace(name, query or {}) if name in self.interface.namespaces else None
        if first == "search" and not rest and not self.static:
            return self._search((query or {}).get("q", ""))
        make = {
            "": self._overview, "authentication": self._authentication, "errors": self._errors, "limits": self._limits,
            "graph": self._graph, "changelog": self._changelog, "types": self._types, "internal": self._internal,
        }.get(path)  # fmt: skip
        return make() if make is not None else None

    def _page(self, template: str, here: str = "", **values: Any) -> str:
        menu = [("authentication", "Authentication"), ("errors", "Errors"), ("limits", "Limits"), ("graph", "Graph"),
                ("changelog", "Changelog")]  # fmt: skip
        if self.docs.console:
            menu.append(("console", "Console"))
        common = {
            "docs": self.docs, "interface": self.interface, "url": self.url, "menu": menu, "here": here, "reader": self.reader,
            "can_sign_in": self.can_sign_in, "static": self.static, "few": len(self.interface.services) <= FEW,
            "methods_of": lambda name: [o.method if o.kind != "soap" else "SOAP" for o in self.interface.services[name]],
        }  # fmt: skip
        return _environment().get_template(template).render({**common, **values})

    def _overview(self) -> str:
        operations = sorted(self.interface.operations, key=_simplest)
        first = self.way([operations[0]]) if operations else None
        formats = sorted({word.upper() if word != "soap" else "SOAP" for o in operations for word in o.formats})
        return self._page("overview.html", first=first, formats=formats, per_namespace=PER_NAMESPACE)

    def _namespace(self, name: str, query: Mapping[str, str]) -> str:
        contracts = self.interface.namespaces[name]
        pages = 1 if self.static else -(-len(contracts) // PER_PAGE)
        asked = query.get("page", "")
        page = min(max(int(asked), 1), pages) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 1
        shown = contracts if self.static else contracts[(page - 1) * PER_PAGE : page * PER_PAGE]
        return self._page(
            "namespace.html", namespace=name, contracts=shown, pages=pages, page=page, open_namespace=name
        )

    def _internal(self) -> str | None:
        return self._page("internal.html") if self.interface.internal else None

    def _service(self, name: str) -> str:
        operations = self.interface.services.get(name, [])
        contract = self.interface.contracts[name]
        groups: dict[tuple[str, bool], list[Operation]] = {}
        for operation in operations:
            groups.setdefault((operation.channel, operation.has_body), []).append(operation)
        known = self.interface.contracts
        schema = contract.schema or {}
        return self._page(
            "service.html",
            service=name,
            contract=contract,
            open_namespace=contract.namespace,
            ways=[self.way(group) for group in groups.values()],
            invokes=[other for other in contract.invokes if other in known],
            invoked_by=self.interface.invoked_by(name),
            schema_fields=fields_of_schema(schema),
        )

    def way(self, group: Sequence[Operation]) -> Way:
        """One way to call a service, from the operations of a channel that take their input in the same place."""
        operation = group[0]
        words = [word for word in operation.formats if word in ("json", "xml")] or list(operation.formats[:1])
        if operation.kind == "soap":
            wsdl = next((link for title, link in operation.links if "WSDL" in title), "")
            made = [Panel("Python (zeep)", snippets.zeep(self.interface, operation, wsdl), "code")] if wsdl else []
        else:
            request = snippets.request_of(self.interface, operation, words[0])
            made = [Panel(name, write(request), "code") for _, name, write in snippets.LANGUAGES]
        requests = [Panel(sample.label, indented(sample.text), "xml") for sample in operation.requests]
        answers = [Panel(sample.label, indented(sample.text), "xml") for sample in operation.answers]
        for word in words if operation.kind != "soap" else ():
            for position in range(max(1, len(operation.examples))):
                titled = operation.examples[position].title if len(operation.examples) > 1 else ""
                label = f"{word.upper()}: {titled}" if titled else word.upper()
                if operation.has_body and (
                    operation.body_fields or (operation.body_fields is None and operation.examples)
                ):
                    requests.append(Panel(label, _shown(request_text(operation, word, position), word), word))
                if operation.contract.output or (operation.contract.output is None and operation.examples):
                    answers.append(Panel(label, _shown(answer_text(operation, word, position), word), word))
        by_status: dict[int, list[str]] = {}
        for refusal in operation.refusals:
            by_status.setdefault(CODES[refusal][0], []).append(refusal)
        limits = self.left.get(operation.channel, operation.limits)
        methods = tuple(o.method for o in group) if operation.kind != "soap" else ("SOAP",)
        return Way(operation, methods, limits, sorted(by_status.items()), made, requests, answers)

    def _search(self, text: str) -> str:
        words = text.lower().split()[:8]
        hits = list(search(self.interface, words)) if words else []
        return self._page("search.html", query=text[:200], found=hits[:MOST_HITS], more=len(hits) > MOST_HITS)

    def _errors(self) -> str:
        statuses = []
        for status, (name, meaning) in ANSWERS.items():
            codes = [(c, title, TYPES.get(c, TYPE_PREFIX + c)) for c, (s, title) in CODES.items() if s == status]
            statuses.append((status, _words(name), meaning.replace("`", ""), codes))
        text = pretty(problem_example("invalid-input"))
        return self._page("errors.html", "errors", statuses=statuses, problem=[Panel("JSON", text, "json")])

    def _authentication(self) -> str:
        rows = []
        for scheme in self.interface.schemes:
            services = [
                n
                for n, ops in self.interface.services.items()
                if any(scheme.name in c for o in ops for c in o.security)
            ]
            sentence, header = _told(scheme)
            rows.append(
                {
                    "scheme": scheme,
                    "services": services,
                    "sentence": sentence,
                    "panels": [Panel("HTTP", header, "code")],
                }
            )
        return self._page("authentication.html", "authentication", schemes=rows)

    def _limits(self) -> str:
        found = {o.channel: self.left.get(o.channel, o.limits) for o in self.interface.operations}
        return self._page(
            "limits.html", "limits", rows=[(c, policy) for c, limits in sorted(found.items()) for policy in limits]
        )

    def _graph(self) -> str:
        known = self.interface.contracts
        invokes = {name: [o for o in contract.invokes if o in known] for name, contract in known.items()}
        pairs = [(name, others) for name, others in invokes.items() if others]
        return self._page("graph.html", "graph", drawn=draw(invokes), pairs=pairs)

    def _changelog(self) -> str:
        channels = {operation.channel for operation in self.interface.operations}
        shown = []
        for release in self.releases():
            known = self.interface.contracts if release.of == "version" else channels
            # What is gone is told of to those who are shown everything: nobody may call it, so nobody may be told.
            kept = tuple(c for c in release.changes if c.service in known or self.docs.shows == "everything")
            if kept:
                shown.append(replace(release, changes=kept))
        return self._page("changelog.html", "changelog", releases=shown, words=_CHANGES)

    def _types(self) -> str:
        return self._page("types.html", "types", table=list(inference.table()), type_words=TYPE_WORDS, wire=_WIRE)


def search(interface: Interface, words: Sequence[str]) -> Iterator[Hit]:
    """The services that have all of *words*, those that have them in their name first."""
    hits: list[tuple[int, Hit]] = []
    for name, texts in interface.searchable.items():
        found = [next((place for place, text in enumerate(texts) if word in text), -1) for word in words]
        if -1 not in found:
            where = " and ".join(dict.fromkeys(_PLACES[place] for place in found))
            hits.append((min(found), Hit(interface.contracts[name], f"in its {where}")))
    yield from (hit for _, hit in sorted(hits, key=lambda scored: (scored[0], scored[1].contract.service)))


def fields_of_schema(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """The members that a service's own JSON Schema names at its top, as far as a table can show them."""
    types = {
        "integer": "int",
        "number": "float",
        "boolean": "bool",
        "array": "list",
        "object": "dict",
        "string": "text",
    }
    found = []
    for name, held in (schema.get("properties") or {}).items():
        if isinstance(held, Mapping):
            word = held.get("type")
            limits = {key: held[key] for key in _LIMITS if key in held}
            kind = "enum" if "enum" in held else types.get(word if isinstance(word, str) else "", "opaque")
            required = name in (schema.get("required") or ())
            description = str(held.get("description", ""))
            found.append(
                Field(name, kind, required, values=tuple(held.get("enum", ())), limits=limits, description=description)
            )
    return tuple(found)


def indented(text: str) -> str:
    """XML with each element on a line of its own, for people."""
    root = etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
    etree.indent(root)
    declaration = text.partition("?>")[0] + "?>\n" if text.startswith("<?xml") else ""
    return declaration + str(etree.tostring(root, encoding="unicode"))


def _shown(text: str, word: str) -> str:
    return indented(text) if word == "xml" else text


def _simplest(operation: Operation) -> tuple[bool, ...]:
    """What makes a good first call: open, with something to send and something that comes back."""
    contract = operation.contract
    return (
        bool(operation.security),
        operation.kind == "soap",
        operation.method != "GET",
        not operation.path_fields,
        not contract.output,
    )


def quoted(path: str) -> str:
    """A page's path as a part of a URL."""
    return quote(path, safe="/-._~")


def type_of(field: Field) -> str:
    """A field's type in words."""
    if field.type == "list" and field.items is not None:
        return f"list of {type_of(field.items)}"
    return TYPE_WORDS[field.type] + (f", as {field.format}" if field.format else "")


def _limits_of(field: Field) -> list[str]:
    found = [_LIMITS[word].format(limit) for word, limit in field.limits.items() if limit is not False]
    return [re.sub(r"^1 (character|item)s", r"1 \1", text) for text in found]


def _members_of(field: Field) -> tuple[Field, ...]:
    if field.items is not None:
        return _members_of(field.items)
    return field.fields or ()


def _told(scheme: Scheme) -> tuple[str, str]:
    """How credentials are sent, in words and as a header."""
    if scheme.kind == "basic":
        value = "Authorization: Basic VVNFUk5BTUU6UEFTU1dPUkQ="
        return "A user name and a password with each call (HTTP Basic, RFC 7617).", value
    if scheme.kind == "key":
        return f"A key in the header {scheme.header} of each call.", f"{scheme.header}: {snippets.KEY}"
    if scheme.kind == "cookie":
        return (
            "The cookie that a browser has of its log-in; pages send it by themselves.",
            f"Cookie: {scheme.header}={snippets.TOKEN}",
        )
    return f"A token with each call ({scheme.kind}).", f"Authorization: {scheme.kind.capitalize()} {snippets.TOKEN}"


def _words(name: str) -> str:
    return "".join(f" {c.lower()}" if c.isupper() and i else c for i, c in enumerate(name))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.globals.update(
        markdown=markdown, code=code, type_of=type_of, limits_of=_limits_of, members_of=_members_of,
        has_default=lambda field: field.default is not UNSET and field.default is not None, query="", service="",
        open_namespace=None,
    )  # fmt: skip
    environment.policies["json.dumps_function"] = lambda value, **_: orjson.dumps(value, default=str).decode()
    return environment
