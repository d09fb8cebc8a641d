"""JSON (RFC 8259), read strictly: no duplicate members, no NaN, no number that would lose digits.

>>> Format().parse(b'{"name": "Anna"}', None).payload
{'name': 'Anna'}
>>> Format().render({"rate": "1.22"}, Contract("get-rate", output=(), response_elem="response"))
b'{"response":{"rate":"1.22"}}'
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from specs import formats, long_json, strict_json
from specs.compiled import Compiled, has_type
from specs.contract import Contract
from specs.formats import Parsed
from specs.negotiation import parse_content_type
from specs.problems import Fault, Problem
from specs.records import pointer

#: PERF: a NamedTuple's own constructor takes 0.15 us longer.
_PARSED = tuple.__new__


class Format(formats.Format):
    """JSON: ``request_elem`` and ``response_elem`` are members around the payload."""

    word = "json"
    media_types: ClassVar[tuple[str, ...]] = ("application/json", "text/json")
    content_type = "application/json"
    answers_as: ClassVar[tuple[str, ...]] = ("application/json", "text/json")

    def __init__(self, levels: int = strict_json.DEPTH) -> None:
        self._exact = Compiled(_exact)
        self._levels = levels

    def nested(self, levels: int) -> formats.Format:
        """JSON of at most so many levels."""
        return self if levels == self._levels else Format(levels)

    def accepts(self, media_type: str) -> bool:
        """JSON, and what is written in it (``application/geo+json``)."""
        return media_type in self.media_types or media_type.endswith("+json")

    def weight(self, body: bytes) -> int:
        # SECURITY: A36. Measured: `{"a":{"a":0}}` takes 28 times its text, `[]` 21, `"a"` 14, numbers 4 to 8, long texts 1, and 5
        # where one letter is beyond the first plane. PERF: 1.4 ms for a megabyte, which takes 15 to parse.
        count = body.count
        values = 40 * (count(b",") + count(b":")) + 25 * count(b'"') + 72 * count(b"[") + 232 * count(b"{")
        return values + len(body) * (1 if body.isascii() else 5)

    def parse(self, body: bytes, contract: Contract | None, *, content_type: str = "") -> Parsed:
        """The values as they came; numbers with a point are decimals where the contract has any."""
        if ";" in content_type:
            charset = parse_content_type(content_type)[1].get("charset", "utf-8").lower()
            if charset not in ("utf-8", "utf8", "us-ascii"):
                raise Problem.of("unsupported-media-type", "JSON is read in UTF-8")
        if not body:
            return Parsed(None)
        read = strict_json.parse if len(body) <= long_json.LONG else long_json.parse
        if contract is None:
            return Parsed(read(body, max_depth=self._levels))
        payload = read(body, max_depth=self._levels, exact_decimals=self._exact.of(contract))
        wrapper = contract.request_elem
        if not wrapper:
            return _PARSED(Parsed, (payload, False, (), ""))
        if not isinstance(payload, dict) or wrapper not in payload:
            sentence = f"the input is to be in a member '{wrapper}'"
            raise Problem.of("invalid-input", sentence, errors=[Fault(pointer([wrapper]), "missing", sentence)])
        return Parsed(payload[wrapper], pointer=pointer([wrapper]))

    def render(self, value: Any, contract: Contract | None) -> bytes:
        """One line of JSON, wrapped in a member where the contract has a ``response_elem``."""
        if contract is None or contract.output is None:
            raw = self.as_given(value)
            if raw is not None:
                return raw
        elif contract.response_elem:
            value = {contract.response_elem: value}
        return strict_json.dumps(value)

    def render_problem(self, problem: Problem, cid: str) -> tuple[bytes, str]:
        """``application/problem+json``, RFC 9457."""
        document = problem.as_dict(cid)
        try:
            body = strict_json.dumps(document)
        except Problem:
            # Half a surrogate pair, quoted from a caller: escaped, as the standard library writes it.
            body = json.dumps(document, default=str).encode()
        return body, "application/problem+json"


def _exact(contract: Contract) -> bool:
    return has_type(contract.input or (), "decimal")
