"""What can be called, as plain records: `Interface`, made of `Operation`s. Every document is printed from one.

The gateway makes an interface for a caller, with what that caller may call and nothing else; documents know no channels,
callers or configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from specs.contract import Contract, Field
from specs.lifetime import UNENDING, Lifetime

#: Methods whose input comes by path and query alone: a body on them means nothing to caches and proxies.
BODILESS = ("GET", "HEAD", "DELETE", "OPTIONS")
_WORD = re.compile(r"[^\W_]+")
_NOT_IDENTIFIER = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Scheme:
    """How callers prove who they are, by one security definition.

    *kind* is ``basic``, ``key`` (a text in *header*), ``cookie`` (of the name *header*), ``bearer`` or, for anything else, the
    word of its challenge.
    """

    name: str
    kind: str
    header: str = "Authorization"
    realm: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A limit as a caller meets it: *quota* calls in *window* seconds; *remaining* of them are left, if that is known."""

    name: str
    level: str
    quota: int
    window: int
    remaining: int | None = None

    @property
    def sentence(self) -> str:
        """The limit in words.

        >>> Policy("standard", "channel", 10, 1).sentence
        '10 calls a second'
        """
        for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
            if self.window % length == 0:
                count = self.window // length
                return (
                    f"{self.quota:,} calls {'a' if unit != 'hour' else 'an'} {unit}"
                    if count == 1
                    else (f"{self.quota:,} calls in {count} {unit}s")
                )
        return f"{self.quota:,} calls in {self.window} s"


@dataclass(frozen=True, slots=True)
class Sample:
    """A message as it looks on the wire: *label* names its format, *text* is its body."""

    label: str
    content_type: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """A real call that stands for others: *input* and *output* are JSON values by the contract, with nothing around them."""

    title: str
    input: Any
    output: Any


@dataclass(frozen=True)
class Operation:
    """One method of one path of one channel, and the service behind it.

    *path* is a template as OpenAPI has it, with *variables* in it. *security* is an OR of ANDs of scheme names, empty where
    anybody may call. *refusals* are the codes of `specs.problems.CODES` that the gateway itself may answer with.
    *requests* and *answers* are messages that were made elsewhere, such as SOAP envelopes; *links* are further documents of the
    channel, as ``(title, url)``.
    """

    id: str
    channel: str
    kind: str
    method: str
    path: str
    contract: Contract
    variables: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("json",)
    security: tuple[tuple[str, ...], ...] = ()
    limits: tuple[Policy, ...] = ()
    refusals: tuple[str, ...] = ()
    description: str = ""
    lifetime: Lifetime = UNENDING
    hosts: tuple[str, ...] = ()
    requests: tuple[Sample, ...] = ()
    answers: tuple[Sample, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    action: str = ""  #: the name of a SOAP operation
    namespace: str = ""  #: that of its messages
    examples: tuple[Example, ...] = ()  #: real calls; where there are none, samples are made up

    @property
    def has_body(self) -> bool:
        """Whether its input comes in a body."""
        return self.method not in BODILESS

    @cached_property
    def body_fields(self) -> tuple[Field, ...] | None:
        """The members of its body: those of the input that the path does not give. None where nothing is declared."""
        fields = self.contract.input
        return None if fields is None else tuple(field for field in fields if field.name not in self.variables)

    @cached_property
    def path_fields(self) -> tuple[Field, ...]:
        """The variables of its path; a text where the contract knows no such member."""
        known = {field.name: field for field in self.contract.input or ()}
        return tuple(replace(known.get(name, Field(name)), required=True, nullable=False) for name in self.variables)

    @cached_property
    def query_fields(self) -> tuple[Field, ...]:
        """What the query gives where there is no body; members that a query cannot hold are left out."""
        if self.has_body:
            return ()
        return tuple(
            field for field in self.body_fields or () if field.type not in ("dict", "dictlist", "nested", "opaque")
        )


@dataclass(frozen=True)
class Interface:
    """Everything that one caller may call. *url* is where, without a slash at the end; empty where nobody has said."""

    title: str
    version: str
    url: str = ""
    description: str = ""
    operations: tuple[Operation, ...] = ()
    schemes: tuple[Scheme, ...] = ()
    internal: tuple[Contract, ...] = ()  #: services that no channel leads to, where they are shown at all
    contact: str = ""
    license: str = ""
    about: Mapping[str, str] = field(default_factory=dict)  #: what each namespace is about, in Markdown

    @cached_property
    def services(self) -> dict[str, list[Operation]]:
        """The operations of each service, by its name."""
        found: dict[str, list[Operation]] = {}
        for operation in sorted(self.operations, key=lambda operation: operation.kind == "soap"):
            found.setdefault(operation.contract.service, []).append(operation)
        return dict(sorted(found.items()))

    @cached_property
    def namespaces(self) -> dict[str, list[Contract]]:
        """The services of each namespace, in order; those without one come last."""
        found: dict[str, list[Contract]] = {}
        for operations in self.services.values():
            contract = operations[0].contract
            found.setdefault(contract.namespace, []).append(contract)
        return dict(sorted(found.items(), key=lambda item: (not item[0], item[0])))

    @cached_property
    def contracts(self) -> dict[str, Contract]:
        """The contract of each service that is shown, whether a channel leads to it or not."""
        exposed = {name: operations[0].contract for name, operations in self.services.items()}
        return dict(sorted({**{contract.service: contract for contract in self.internal}, **exposed}.items()))

    @cached_property
    def searchable(self) -> dict[str, tuple[str, str, str, str]]:
        """What a search looks at, in lower case, by service: its names, its ways in, its fields, and what is said of it."""
        found = {}
        for name, contract in self.contracts.items():
            operations = self.services.get(name, [])
            texts = (
                f"{name} {contract.class_name}",
                " ".join(f"{operation.method} {operation.path}" for operation in operations),
                " ".join(_words_of((*(contract.input or ()), *(contract.output or ())))),
                f"{contract.namespace} {contract.documentation or contract.summary}",
            )
            found[name] = (texts[0].lower(), texts[1].lower(), texts[2].lower(), texts[3].lower())
        return found

    def invoked_by(self, service: str) -> list[str]:
        """Which of the services say that they invoke this one."""
        return [name for name, contract in self.contracts.items() if service in contract.invokes]

    def of_channel(self, channel: str) -> Interface:
        """The part of it that is one channel's."""
        return replace(self, operations=tuple(o for o in self.operations if o.channel == channel), internal=())


def _words_of(fields: Iterable[Field]) -> Iterator[str]:
    """The names and descriptions of *fields*, at any depth."""
    for one in fields:
        yield f"{one.name} {one.description}"
        yield from _words_of((one.items,) if one.items is not None else one.fields or ())


def operation_ids(channel: str, methods: Sequence[str]) -> list[str]:
    """A short id for each method of a channel: the channel's name for the first, with the method after it for the others.

    >>> operation_ids("My rates", ["GET", "POST"])
    ['My-rates', 'My-rates-post']
    """
    base = _NOT_IDENTIFIER.sub("-", channel).strip("-") or "channel"
    return [base if not position else f"{base}-{method.lower()}" for position, method in enumerate(methods)]


def pascal(text: str) -> str:
    """*text* as one word.

    >>> pascal("customer.get-all"), pascal("my api")
    ('CustomerGetAll', 'MyApi')
    """
    return "".join(word[0].upper() + word[1:] for word in _WORD.findall(text)) or "X"


def unique(names: Iterable[str]) -> dict[str, str]:
    """A name of its own for each text, as `pascal` has it: what clashes gets a number."""
    taken: dict[str, str] = {}
    used: set[str] = set()
    for text in names:
        name = wanted = re.sub(r"[^A-Za-z0-9_]", "", pascal(text)) or "X"
        number = 1
        while name.lower() in used:
            number += 1
            name = f"{wanted}{number}"
        used.add(name.lower())
        taken[text] = name
    return taken
