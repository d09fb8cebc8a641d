"""What a new version of a contract breaks for those who call it by the old one.

>>> from specs.contract import Field
>>> old = Contract("rate.get", input=(Field("year", "int", required=False),), output=(Field("rate"),))
>>> new = Contract("rate.get", input=(Field("year", "int"),), output=(Field("rate", "decimal"),))
>>> breakage([old], [new])
['rate.get: input year is required now', 'rate.get: output rate was text and is decimal']
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from specs.contract import Contract, Field


def breakage(old: Iterable[Contract], new: Iterable[Contract]) -> list[str]:
    """A sentence for each thing that callers of *old* would find broken; empty where nothing is."""
    found = {contract.service: contract for contract in new}
    sentences: list[str] = []
    for before in old:
        after = found.get(before.service)
        if after is None:
            sentences.append(f"{before.service}: the service is gone")
        else:
            sentences.extend(f"{before.service}: {sentence}" for sentence in _compare(before, after))
    return sentences


def _compare(old: Contract, new: Contract) -> Iterator[str]:
    if old.input is not None and new.input is not None:
        yield from _inputs(old.input, new.input, "input ")
    elif old.input is None and new.input is not None:
        yield from (f"input {field.name} is required now" for field in new.input if field.required)
    if old.output is not None and new.output is not None:
        yield from _outputs(old.output, new.output, "output ")
    elif old.output is not None:
        yield "the output is not declared any more"
    if old.repeated != new.repeated:
        yield "the output is a list now" if new.repeated else "the output is one record now"
    if old.response_elem != new.response_elem:
        yield f"the answer was wrapped in '{old.response_elem}' and is in '{new.response_elem}'"
    lost = sorted(set(old.verbs) - set(new.verbs)) if new.verbs else []
    yield from (f"{verb} is not handled any more" for verb in lost)


def _inputs(old: Sequence[Field], new: Sequence[Field], path: str) -> Iterator[str]:
    before = {field.name: field for field in old}
    for field in new:
        known = before.pop(field.name, None)
        if field.required and (known is None or not known.required):
            yield f"{path}{field.name} is required now"
        if known is not None:
            yield from _types(known, field, path)
            if known.nullable and not field.nullable:
                yield f"{path}{field.name} must not be null any more"
            if set(known.values) - set(field.values) and field.values:
                yield f"{path}{field.name} takes fewer values"
            if known.fields is not None and field.fields is not None:
                yield from _inputs(known.fields, field.fields, f"{path}{field.name}.")
    yield from (f"{path}{name} is gone" for name in before)


def _outputs(old: Sequence[Field], new: Sequence[Field], path: str) -> Iterator[str]:
    after = {field.name: field for field in new}
    for known in old:
        field = after.get(known.name)
        if field is None:
            yield f"{path}{known.name} is gone"
            continue
        if known.required and not field.required:
            yield f"{path}{known.name} may be absent now"
        if field.nullable and not known.nullable:
            yield f"{path}{known.name} may be null now"
        yield from _types(known, field, path)
        if known.fields is not None and field.fields is not None:
            yield from _outputs(known.fields, field.fields, f"{path}{known.name}.")


def _types(old: Field, new: Field, path: str) -> Iterator[str]:
    if old.type != new.type:
        yield f"{path}{old.name} was {old.type} and is {new.type}"
    elif old.items is not None and new.items is not None and old.items.type != new.items.type:
        yield f"{path}{old.name} was a list of {old.items.type} and is one of {new.items.type}"
