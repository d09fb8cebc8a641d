"""XML: a root element with the members of the contract. `specs.xml_values` has the mapping.

>>> Format().parse(b"<request><name>Anna</name></request>", None).payload
{'name': 'Anna'}
>>> Format().render({"name": "Anna", "age": 33}, None).decode().partition("?>")[2].strip()
'<response><name>Anna</name><age type="integer">33</age></response>'
"""

from __future__ import annotations

from typing import Any, Final

from specs import formats, xml_text, xml_values
from specs.compiled import Compiled
from specs.contract import Contract
from specs.formats import Parsed
from specs.problems import Fault, Problem
from specs.records import pointer
from specs.xml_values import Shape

DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
PROBLEM_NAMESPACE: Final = "urn:ietf:rfc:9457"
ROOT: Final = "response"
FREE: Final = xml_values.shape_of(None)


class Format(formats.Format):
    """XML in the contract's shape. The root of a request may have any name, unless the contract has a ``request_elem``."""

    word = "xml"
    media_types = ("application/xml", "text/xml")
    content_type = "application/xml"
    answers_as = ("application/xml", "text/xml")

    def __init__(self) -> None:
        self._shapes = Compiled(_shapes)

    def accepts(self, media_type: str) -> bool:
        """XML, and what is written in it (``application/atom+xml``)."""
        return media_type in self.media_types or media_type.endswith("+xml")

    def weight(self, body: bytes) -> int:
        return xml_text.weight(body)

    def parse(self, body: bytes, contract: Contract | None, *, content_type: str = "") -> Parsed:
        """Texts in the contract's shape; a leaf is typed where a ``type`` attribute says so."""
        if not body:
            return Parsed(None, textual=True)
        root = xml_text.parse(body, content_type=content_type)
        if contract is None:
            return Parsed(xml_values.read(root, FREE), textual=True)
        # Pointers begin with the wrapper, as they do in JSON.
        at = pointer([contract.request_elem]) if contract.request_elem else ""
        if at and root.name != contract.request_elem:
            sentence = f"the root element is to be '{contract.request_elem}'"
            raise Problem.of("invalid-input", sentence, errors=[Fault(at, "missing", sentence)])
        return Parsed(xml_values.read(root, self._shapes.of(contract)[0], at), textual=True, pointer=at)

    def render(self, value: Any, contract: Contract | None) -> bytes:
        """The root element is called ``response``, or as the contract's ``response_elem`` says."""
        if contract is None or contract.output is None:
            raw = self.as_given(value)
            if raw is not None:
                return raw
        if contract is None:
            return (DECLARATION + xml_values.write(ROOT, value, FREE)).encode()
        name = contract.response_elem or ROOT
        return (DECLARATION + xml_values.write(name, value, self._shapes.of(contract)[1])).encode()

    def render_problem(self, problem: Problem, cid: str) -> tuple[bytes, str]:
        """The members of the JSON form as elements, as in RFC 9457, appendix B."""
        members = _problem_members(problem.as_dict(cid))
        text = f'{DECLARATION}<problem xmlns="{PROBLEM_NAMESPACE}">{members}</problem>'
        return text.encode("utf-8", "replace"), "application/problem+xml"


def _shapes(contract: Contract) -> tuple[Shape, Shape]:
    """The shapes of a contract's input and output."""
    repeated = contract.repeated and contract.output is not None
    return xml_values.shape_of(contract.input), xml_values.shape_of(contract.output, repeated=repeated)


def _problem_members(value: Any, name: str = "item") -> str:
    """Elements for a problem's members. Nothing is refused here: a problem must get through."""
    if isinstance(value, dict):
        parts = []
        for key, member in value.items():
            tag = key if xml_text.is_name(key) else "member"
            parts.append(f"<{tag}>{_problem_members(member, 'error' if key == 'errors' else 'item')}</{tag}>")
        return "".join(parts)
    if isinstance(value, (list, tuple)):
        return "".join(f"<{name}>{_problem_members(member)}</{name}>" for member in value)
    if value is None or value is True or value is False:
        return {None: "", True: "true", False: "false"}[value]
    return xml_text.escape(xml_text.without_illegal(str(value)))
