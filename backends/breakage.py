"""What changed between two versions of a contract, named, and what that does to its callers: `changes`.

There are two kinds of callers. Those by JSON (XML and forms likewise) hold what the OpenAPI document promises; clients made from
a WSDL hold what that says, and some of them, the strict ones, refuse an answer with anything else in it. One change may break
one kind and leave the other alone.

>>> from specs.contract import Field
>>> old = Contract("rate.get", class_name="GetRate", input=(Field("year", "int", False),), output=(Field("rate"),))
>>> new = Contract("rate.get", class_name="Rate", input=(Field("year", "int"),), output=(Field("rate"), Field("at", "date")))
>>> for change in changes([old], [new]):
...     print(f"{change.sentence}: {change.effect}")
input year is required now: breaks JSON and WSDL clients
output at is new: breaks strict WSDL clients
the SOAP operation was GetRate and is Rate: breaks WSDL clients
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from backends.narrowing import tightened
from specs.contract import UNSET, Contract, Field
from specs.documents.wsdl import pascal
from specs.lifetime import Lifetime, Moment
from specs.xml_text import is_name

Effect = Literal["safe", "strict", "breaks"]
"""What a change does to clients of a kind: nothing; strict ones refuse an answer; they break."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one service (or, in a configuration, of one channel), and what it does to clients of each kind."""

    service: str
    sentence: str
    json: Effect = "breaks"
    wsdl: Effect = "breaks"
    life: Literal["", "added", "removed"] = ""  #: whether the service itself came or went

    @property
    def breaks(self) -> bool:
        """Whether it breaks callers of either kind."""
        return "breaks" in (self.json, self.wsdl)

    @property
    def kind(self) -> str:
        """``added``, ``removed``, ``broken`` or ``changed``."""
        return self.life or ("broken" if self.breaks else "changed")

    @property
    def effect(self) -> str:
        """Whom it breaks, in words."""
        kinds = [word for word, effect in (("JSON", self.json), ("WSDL", self.wsdl)) if effect == "breaks"]
        if kinds:
            return f"breaks {' and '.join(kinds)} clients"
        return "breaks strict WSDL clients" if self.wsdl == "strict" else "safe"

    def __str__(self) -> str:
        return f"{self.service}: {self.sentence} ({self.effect})"


def changes(old: Iterable[Contract], new: Iterable[Contract]) -> Iterator[Change]:
    """Every change between two sets of contracts, by service."""
    before = {contract.service: contract for contract in old}
    after = {contract.service: contract for contract in new}
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield Change(name, "new service", "safe", "safe", "added")
        elif name not in after:
            yield Change(name, "the service is gone", life="removed")
        elif before[name] != after[name]:
            old_one, new_one = before[name], after[name]
            yield from compare_messages(old_one, new_one)
            yield from (Change(name, *one) for one in _manners(old_one, new_one))


def compare_messages(old: Contract, new: Contract) -> Iterator[Change]:
    """What callers of *old* find in requests and answers where *new* stands: the same service later, or another one."""
    yield from (Change(new.service, *one) for one in _messages(old, new))


_Told = Iterator[tuple[str, Effect, Effect]]
_SAFE: tuple[Effect, Effect] = ("safe", "safe")
_BREAKS: tuple[Effect, Effect] = ("breaks", "breaks")


def _messages(old: Contract, new: Contract) -> _Told:
    if old.input is not None and new.input is not None:
        yield from _inputs(old.input, new.input, "input ")
    elif new.input is not None:
        yield from ((f"input {field.name} is required now", *_BREAKS) for field in new.input if field.required)
    if old.output is not None and new.output is not None:
        yield from _outputs(old.output, new.output, "output ")
    elif old.output is not None:
        yield "the output is not declared any more", "breaks", "breaks"
    elif new.output is not None:
        yield "the output is declared now", "safe", "breaks"  # in a WSDL it was one element `result`
    if old.repeated != new.repeated:
        yield "the output is a list now" if new.repeated else "the output is one record now", "breaks", "breaks"
    # What SOAP wraps a message in is its operation, whatever the contract says.
    if old.request_elem != new.request_elem:
        yield f"the input was wrapped in '{old.request_elem}' and is in '{new.request_elem}'", "breaks", "safe"
    if old.response_elem != new.response_elem:
        yield f"the answer was wrapped in '{old.response_elem}' and is in '{new.response_elem}'", "breaks", "safe"
    if old.schema != new.schema:
        yield from _schema(old.schema or {}, new.schema or {})


def _manners(old: Contract, new: Contract) -> _Told:
    """What a service is called by, and how it may be called, beside what it takes and gives."""
    lost = sorted(set(old.verbs) - set(new.verbs)) if new.verbs else []
    yield from ((f"{verb} is not handled any more", "breaks", "safe") for verb in lost)
    if new.verbs and not old.verbs:
        yield f"only {', '.join(new.verbs)} is handled now", "breaks", "safe"
    fresh = sorted(set(new.statuses or (200,)) - set(old.statuses or (200,)))
    yield from ((f"it may answer with status {status} now", "breaks", "safe") for status in fresh)
    if operation_of(old) != operation_of(new):
        yield f"the SOAP operation was {operation_of(old)} and is {operation_of(new)}", "safe", "breaks"
    if old.namespace != new.namespace:
        said = (
            f"the namespace was '{old.namespace}' and is '{new.namespace}', that of the WSDL unless its channel has one"
        )
        yield said, "safe", "breaks"
    if (old.deprecated, old.sunset) != (new.deprecated, new.sunset):
        ending = Lifetime(Moment(new.deprecated) or None, Moment(new.sunset) or None).sentence
        yield ending[:1].lower() + ending[1:].rstrip(".") if ending else "it is not going away any more", *_SAFE
    if old.documentation != new.documentation:
        yield "its documentation", *_SAFE


def operation_of(contract: Contract) -> str:
    """What a service is called as a SOAP operation, where no other of its endpoint is called so."""
    named = contract.class_name
    return named if named and is_name(named) else pascal(contract.service.rpartition(".")[2])


def _schema(old: Mapping[str, object], new: Mapping[str, object]) -> _Told:
    found = list(tightened(old, new, "input "))
    yield from ((f"{phrase}, by its JSON Schema", *_BREAKS) for phrase in found)
    if not found:
        yield "its JSON Schema takes no less", *_SAFE


def _inputs(old: Sequence[Field], new: Sequence[Field], path: str) -> _Told:
    before = {field.name: field for field in old}
    for field in new:
        known = before.pop(field.name, None)
        name = f"{path}{field.name}"
        if known is None:
            # A new member changes no signature of what is generated from our WSDL: a message stays one class.
            yield (f"{name} is required now", *_BREAKS) if field.required else (f"{name} may be given", *_SAFE)
            continue
        if field.required != known.required:
            yield (f"{name} is required now", *_BREAKS) if field.required else (f"{name} may be left out", *_SAFE)
        if field.nullable != known.nullable:
            yield (f"{name} may be null", *_SAFE) if field.nullable else (f"{name} must not be null any more", *_BREAKS)
        if field.default != known.default and UNSET not in (field.default, known.default):
            yield f"{name} is {field.default!r} and no longer {known.default!r} where it is left out", *_SAFE
        yield from _taken(known, field, name)
    yield from ((f"{path}{name} is gone", *_BREAKS) for name in before)


def _taken(old: Field, new: Field, name: str) -> _Told:
    """What becomes of a value that is sent for *old*."""
    if _same(old.type, new.type):
        if old.format != new.format:
            yield f"{name} is written as {new.format or 'ISO 8601'} now", *_BREAKS
        if lost := [value for value in old.values if value not in new.values]:
            yield f"{name} does not take {_listed(lost)} any more", *_BREAKS
        if more := [value for value in new.values if value not in old.values]:
            yield f"{name} takes {_listed(more)} too", *_SAFE
        for phrase in tightened(old.limits, new.limits):
            yield f"{name}: {phrase}", *_BREAKS
        if old.fields is not None and new.fields is not None:
            yield from _inputs(old.fields, new.fields, f"{name}.")
        elif new.fields is not None:
            yield from ((f"{name}.{one.name} is required now", *_BREAKS) for one in new.fields if one.required)
        if old.items is not None and new.items is not None:
            yield from _taken(old.items, new.items, f"an item of {name}")
        elif new.items is not None:
            yield f"{name} is a list of {new.items.type} now", *_BREAKS
        return
    reads = (old.type, new.type) in _READS
    # A text that was only guessed from a name takes a number too.
    texts = _is_text(old) or (new.origin != "declared" and old.type in ("int", "float"))
    json = reads or new.type in _ANYTHING or (new.type in _TEXTS and texts)
    # In XML a number is a text like any other.
    wsdl = reads or (new.type in _TEXTS and old.type in _LEAVES)
    yield f"{name} was {old.type} and is {new.type}", "safe" if json else "breaks", "safe" if wsdl else "breaks"


def _outputs(old: Sequence[Field], new: Sequence[Field], path: str) -> _Told:
    after = {field.name: field for field in new}
    for known in old:
        field = after.pop(known.name, None)
        name = f"{path}{known.name}"
        if field is None:
            yield f"{name} is gone", *_BREAKS
            continue
        if known.required and not field.required:
            # A list has no form in a WSDL that says it must be there.
            yield f"{name} may be absent now", "breaks", "safe" if field.type in _LISTS else "breaks"
        elif field.required and not known.required:
            yield f"{name} is always there now", *_SAFE
        if field.nullable != known.nullable:
            yield (f"{name} may be null now", *_BREAKS) if field.nullable else (f"{name} is never null now", *_SAFE)
        yield from _given(known, field, name)
    # A strict client checks answers by the description that it was made from: what is not in it, it refuses.
    yield from ((f"{path}{name} is new", "safe", "strict") for name in after)
    names = [field.name for field in old], [field.name for field in new]
    if [name for name in names[0] if name in names[1]] != [name for name in names[1] if name in names[0]]:
        where = path.rstrip(". ")
        yield f"the members of the {where} come in another order", "safe", "strict"


def _given(old: Field, new: Field, name: str) -> _Told:
    """What becomes of those who expect *old*."""
    if _same(old.type, new.type):
        if old.format != new.format:
            yield f"{name} is written as {new.format or 'ISO 8601'} now", *_BREAKS
        if more := [value for value in new.values if value not in old.values]:
            yield f"{name} may be {_listed(more)} too", *_BREAKS
        if lost := [value for value in old.values if value not in new.values]:
            yield f"{name} is never {_listed(lost)} any more", *_SAFE
        for word, limit in old.limits.items():
            if any(tightened({word: new.limits[word]} if word in new.limits else {}, {word: limit})):
                # The limits of answers are in the OpenAPI document; a WSDL has none.
                yield f"{name}: {word} was {limit} and is {new.limits.get(word, 'not said')}", "breaks", "safe"
        if old.fields is not None and new.fields is not None:
            yield from _outputs(old.fields, new.fields, f"{name}.")
        elif old.fields is not None:
            yield f"the members of {name} are not declared any more", *_BREAKS
        elif new.fields is not None:
            yield f"the members of {name} are declared now", "safe", "breaks"
        if old.items is not None and new.items is not None:
            yield from _given(old.items, new.items, f"an item of {name}")
        elif old.items is not None or new.items is not None:
            item = new.items.type if new.items is not None else "anything"
            yield f"{name} is a list of {item} now", "breaks" if old.items is not None else "safe", "breaks"
        return
    json = (new.type, old.type) in _GIVES_JSON or old.type in _ANYTHING or (old.type in _TEXTS and _is_text(new))
    wsdl = (new.type, old.type) in _GIVES_XML or (old.type in _TEXTS and new.type in _LEAVES)
    yield f"{name} was {old.type} and is {new.type}", "safe" if json else "breaks", "safe" if wsdl else "breaks"


_LISTS = frozenset(("list", "dictlist"))
_ANYTHING = frozenset(("opaque", "asis"))
_TEXTS = frozenset(("text", "secret"))
#: What is a text in JSON, whatever it stands for.
_TEXTUAL = _TEXTS | {"decimal", "date", "datetime", "utc", "uuid", "bytes", "csv"}
_LEAVES = _TEXTUAL | {"int", "float", "bool", "enum"}
#: What is sent for the first is read as the second: a decimal is read from a number too.
_READS = frozenset((("int", "float"), ("int", "decimal"), ("float", "decimal"), ("utc", "datetime")))
#: What is answered as the first is what those expect who know the second. A decimal is a text in JSON.
_GIVES_JSON = frozenset((("int", "float"), ("utc", "datetime")))
_GIVES_XML = _GIVES_JSON | {("int", "decimal")}
#: Words for one thing.
_SAME = frozenset((frozenset(("dict", "nested")), frozenset(("opaque", "asis")), frozenset(("text", "secret"))))


def _same(one: str, other: str) -> bool:
    return one == other or frozenset((one, other)) in _SAME


def _is_text(field: Field) -> bool:
    """Whether its values are texts in JSON."""
    return field.type in _TEXTUAL or (field.type == "enum" and all(isinstance(value, str) for value in field.values))


def _listed(values: Sequence[object]) -> str:
    return ", ".join(repr(value) for value in values)
