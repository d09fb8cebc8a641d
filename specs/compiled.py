"""What is compiled from a contract once and used for each of its calls.

>>> from specs.contract import Contract
>>> names = Compiled(lambda contract: contract.service.upper())
>>> names.of(Contract("customer.get"))
'CUSTOMER.GET'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from specs.contract import Contract, Field
from specs.problems import Fault, Problem
from specs.reading import compile_input, invalid_input
from specs.records import Record
from specs.schema import Schema
from specs.writing import compile_output

T = TypeVar("T")


class Compiled(Generic[T]):
    """Results of *make* by contract. A contract holds maps and cannot be hashed, so the same object is the same contract."""

    MOST = 4096

    def __init__(self, make: Callable[[Contract], T]) -> None:
        self._make = make
        self._results: dict[int, tuple[Contract, T]] = {}

    def of(self, contract: Contract) -> T:
        """What *make* gave for this contract."""
        found = self._results.get(id(contract))
        if found is None:
            # Contracts of versions that were deployed over long ago would pile up; those in use are compiled again.
            if len(self._results) >= self.MOST:
                self._results.clear()
            # The contract is kept with its result, so that its id cannot become another one's.
            found = self._results[id(contract)] = (contract, self._make(contract))
        return found[1]


class CompiledContract:
    """One contract, ready for calls: `reader`, `writer`, `schema` (the service's JSON Schema file, or ``None``)."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.reader = compile_input(contract)
        self.writer = compile_output(contract)
        self.schema = Schema(contract.schema, f"{contract.service}.schema") if contract.schema is not None else None
        #: Whether a body is to be parsed with its decimals kept exactly (`specs.strict_json.parse`).
        self.exact_decimals = has_type(contract.input or (), "decimal")

    def read(
        self,
        payload: Any,
        sources: Mapping[str, Any] | None = None,
        *,
        fallback: Mapping[str, Any] | None = None,
        textual: bool = False,
        validate: bool = True,
        pointer: str = "",
    ) -> Record:
        """The checked, typed input. Raises one Problem 400 ``invalid-input``, which names every fault.

        The service's JSON Schema sees the payload alone, the contract the payload, *sources* and *fallback* together (see
        `specs.reading.Reader.read`). A textual payload has types only after it was read, so there the JSON Schema sees the
        typed input. Where *validate* is off the JSON Schema is not asked; the contract always is.
        """
        # PERF: a call costs what `specs.reading` says, and 0.6 us more where there is a JSON Schema and the payload fits it.
        schema = self.schema if validate else None
        late = textual and self.contract.input is not None
        found: list[Fault] = []
        if schema is not None and not late:
            found = _below(pointer, schema.faults(payload))
        try:
            record = self.reader.read(payload, sources, fallback=fallback, textual=textual, pointer=pointer)
        except Problem as problem:
            if not found:
                raise
            known = {fault.pointer for fault in found}
            found.extend(fault for fault in problem.errors if fault.pointer not in known)
            raise invalid_input(found) from None
        if schema is not None and late:
            found = _below(pointer, schema.faults(record))
        if found:
            raise invalid_input(found)
        return record


def _below(pointer: str, faults: list[Fault]) -> list[Fault]:
    return [Fault(pointer + fault.pointer, fault.code, fault.detail) for fault in faults] if pointer else faults


def has_type(fields: Iterable[Field], kind: str) -> bool:
    """Whether an element of this type is among *fields*, at any depth."""
    return any(
        field.type == kind
        or (field.items is not None and has_type((field.items,), kind))
        or (field.fields is not None and has_type(field.fields, kind))
        for field in fields
    )


def without_details(problem: Problem) -> Problem:
    """*problem* with nothing said of what is wrong with the input, for a service whose ``error_details`` are off."""
    if problem.code not in ("invalid-input", "malformed-body"):
        return problem
    return Problem(problem.status, problem.code, "Invalid request", title=problem.title, headers=problem.headers)
