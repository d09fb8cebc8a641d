"""Requests and answers as they look on the wire: the bodies of samples and of real calls, as values and as texts.

>>> from specs.contract import Contract, Field
>>> call = Operation("a", "a", "rest", "POST", "/a", Contract("a", input=(Field("n", "int"),), request_elem="call"))
>>> request_text(call, "form"), "".join(request_text(call, "json").split())
('n=1', '{"call":{"n":1}}')
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from specs.contract import Contract
from specs.documents.interface import Operation
from specs.documents.samples import input_sample, json_values, output_sample
from specs.formats import Format, form, json_, plain, xml

FORMATS: Final[Mapping[str, Format]] = {
    "json": json_.Format(), "xml": xml.Format(), "form": form.Format(), "plain": plain.Format(),
}  # fmt: skip


def request_example(operation: Operation, word: str, position: int = 0) -> Any:
    """The sample of a body as a JSON value; the schema says what it is called in other formats."""
    fields = operation.body_fields
    if position < len(operation.examples):
        sent = operation.examples[position].input
        value = sent
        if isinstance(sent, Mapping):
            kept = {field.name for field in fields} if fields is not None else set(sent) - set(operation.variables)
            value = {name: held for name, held in sent.items() if name in kept}
    else:
        value = json_values(input_sample(operation, fields or ()))
    return {operation.contract.request_elem: value} if word == "json" and operation.contract.request_elem else value


def answer_example(operation: Operation, word: str, position: int = 0) -> Any:
    """The sample of an answer as a JSON value, likewise."""
    contract = operation.contract
    value = (
        operation.examples[position].output
        if position < len(operation.examples)
        else json_values(output_sample(operation, position))
    )
    return {contract.response_elem: value} if word != "xml" and contract.response_elem else value


def request_text(operation: Operation, word: str, position: int = 0) -> str:
    """The body of the sample request, as it is sent."""
    fields, contract = operation.body_fields or (), operation.contract
    if word == "xml":
        shaped = Contract(contract.service, output=fields, response_elem=contract.request_elem or "request")
        return FORMATS["xml"].render(input_sample(operation, fields, position=position), shaped).decode()
    if word == "form":
        values = json_values(input_sample(operation, fields, position=position))
        return urlencode({name: _form_text(value) for name, value in values.items()}, doseq=True)
    return pretty(request_example(operation, "json", position))


def answer_text(operation: Operation, word: str, position: int = 0) -> str:
    """The body of the sample answer, as it comes."""
    contract = operation.contract
    if contract.output is None and position >= len(operation.examples):
        return ""
    if word == "xml":
        value = (
            output_sample(operation, position) if contract.output is not None else operation.examples[position].output
        )
        return FORMATS["xml"].render(value, contract).decode()
    return pretty(answer_example(operation, "json", position))


def pretty(value: Any) -> str:
    """A JSON value for people."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _form_text(value: Any) -> Any:
    """A JSON value as a field of a form: a list is a field that comes again."""
    if isinstance(value, list):
        return [_form_text(one) for one in value]
    return value if isinstance(value, str) else orjson.dumps(value).decode()
