"""Rehearsal: what a new version would do differently with the calls that documents show as examples.

>>> from specs.contract import Contract, Field
>>> old = Contract("rate.get", input=(Field("year", "int"),), output=(Field("rate"), Field("unit")))
>>> new = Contract("rate.get", input=(Field("year", "int", limits={"maximum": 2025}),), output=(Field("rate"),))
>>> list(misfits(new, {"year": 2026}, {"rate": "1.22", "unit": "EUR"}))
['input /year: this is at most 2025', 'output /unit is not told of any more']
>>> list(changes({"rate": "1.22", "at": 1}, {"rate": "1.23", "at": 2}, ignored=["at"]))
['output /rate was "1.22" and is "1.23"']
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from specs.compiled import CompiledContract
from specs.contract import Contract, Field
from specs.documents.samples import json_values
from specs.problems import Problem
from specs.records import escape

if TYPE_CHECKING:
    from backends.examples import Example
    from specs.exchange import Outcome

#: So many differences of one example are told.
MOST = 10
_ABSENT = object()


def rehearse(
    contracts: Iterable[Contract],
    examples: Mapping[str, Sequence[Example]],
    run: Callable[[Example], Outcome] | None = None,
) -> Iterator[tuple[Contract, str]]:
    """Each difference that the services of *contracts* make to their *examples*, with whose it is.

    *run* calls the new code; without it the contract alone is compared. A service that is gone makes none: that it is
    gone is told elsewhere.
    """
    for contract in contracts:
        for example in examples.get(contract.service, ()):
            found = list(islice(misfits(contract, example.input, example.output), MOST))
            if not found and run is not None and example.runs:
                found = list(islice(_answered(example, run), MOST))
            for difference in found:
                yield contract, f"{contract.service}: example {example.id} '{example.title}': {difference}"


def misfits(contract: Contract, given: Any, answer: Any) -> Iterator[str]:
    """How a call and its answer do not fit *contract*; nothing where they do."""
    if contract.input is not None:
        try:
            CompiledContract(contract).read(given)
        except Problem as problem:
            yield from (f"input {fault.pointer or '/'}: {fault.detail}" for fault in problem.errors)
        yield from (f"input {pointer} is not taken any more" for pointer in _unknown(contract.input, given, ""))
    if contract.output is not None:
        reader = CompiledContract(Contract(contract.service, input=contract.output))
        rows = answer if contract.repeated and isinstance(answer, list) else [answer]
        if contract.repeated != isinstance(answer, list):
            yield "output is a list now" if contract.repeated else "output is one record now"
            return
        for position, row in enumerate(rows):
            place = f"/{position}" if contract.repeated else ""
            try:
                reader.read(row)
            except Problem as problem:
                yield from (f"output {place}{fault.pointer or '/'}: {fault.detail}" for fault in problem.errors)
            gone = _unknown(contract.output, row, place)
            yield from (f"output {pointer} is not told of any more" for pointer in gone)


def changes(before: Any, after: Any, ignored: Collection[str] = (), place: str = "") -> Iterator[str]:
    """How one answer differs from another, JSON values both; members called as in *ignored* may."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            if name not in ignored:
                pair = (before.get(name, _ABSENT), after.get(name, _ABSENT))
                yield from changes(*pair, ignored=ignored, place=f"{place}/{escape(name)}")
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"output {place or '/'} had {len(before)} items and has {len(after)}"
            return
        for position, pair in enumerate(zip(before, after, strict=True)):
            yield from changes(*pair, ignored=ignored, place=f"{place}/{position}")
    elif before is _ABSENT:
        yield f"output {place} is new"
    elif after is _ABSENT:
        yield f"output {place} is gone"
    elif before != after or isinstance(before, bool) is not isinstance(after, bool):
        yield f"output {place or '/'} was {_shown(before)} and is {_shown(after)}"


def _answered(example: Example, run: Callable[[Example], Outcome]) -> Iterator[str]:
    try:
        outcome = run(example)
    except Problem as problem:
        yield f"it is refused: {problem.status} {problem.code}"
        return
    if outcome.status != example.status:
        yield f"its status was {example.status} and is {outcome.status}"
    hidden = {pointer.rpartition("/")[2] for pointer in example.redacted}
    yield from changes(example.output, json_values(outcome.payload), {*example.ignored, *hidden})


def _unknown(fields: Sequence[Field], value: Any, place: str) -> Iterator[str]:
    """Pointers to the members of *value* that *fields* have no word of."""
    if not isinstance(value, Mapping):
        return
    known = {field.name: field for field in fields}
    for name, held in value.items():
        pointer = f"{place}/{escape(name)}"
        if name not in known:
            yield pointer
        elif known[name].fields is not None:
            for position, one in enumerate(held if isinstance(held, list) else [held]):
                below = f"{pointer}/{position}" if isinstance(held, list) else pointer
                yield from _unknown(known[name].fields or (), one, below)


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 40 else text[:40] + "..."
