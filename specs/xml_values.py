"""Values as XML elements: the one mapping that the XML format and SOAP share, driven by a contract's fields.

    absent        no element                    a member      <name>...</name>; <entry name="...">  where the key is no XML name
    null          <x xsi:nil="true"/>           a list        <x><item>...</item></x>, an empty one <x/>
    empty text    <x/>                          a dict        <x> with its members, an empty one <x/>

Where the contract says what an element holds, nothing else is written. Where it does not (free dicts and lists, ``Opaque``,
``AsIs``, undeclared answers), or a value is not of the type that it says, the element carries ``type="text | integer | number |
boolean | list | dict"``; in such a place text needs none, nor does a dict that has members.

Reading takes other people's habits too: namespaces, comments, unknown attributes and the order of members do not matter; a
list may be repeated elements with no ``<item>``. A list's element that stands alone is the list where it is empty or holds
``<item>`` alone, and else the one item; elements that stand twice or more are the items, whatever they hold. Outside the
contract repeated elements are a list too.

>>> from specs.contract import Field
>>> shape = shape_of((Field("id", "int"), Field("tags", "list", items=Field("item"))))
>>> write("response", {"id": 7, "tags": ["a", ""]}, shape)
'<response><id>7</id><tags><item>a</item><item/></tags></response>'
>>> from specs.xml_text import parse
>>> read(parse(b"<customer><tags>a</tags><id> 7 </id><tags>b</tags></customer>"), shape)
{'tags': ['a', 'b'], 'id': ' 7 '}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from specs import strict_json
from specs.compiled import has_type
from specs.contract import Field
from specs.problems import Fault, Problem
from specs.records import pointer
from specs.xml_text import MOST_DEPTH, XSI, Element, NotXml, escape, escape_attribute, is_name

ITEM: Final = "item"
ENTRY: Final = "entry"
NIL: Final = f"{XSI} nil"
_NIL_TRUE: Final = f' xmlns:xsi="{XSI}" xsi:nil="true"/>'
_WORDS: Final = frozenset(("text", "integer", "number", "boolean", "list", "dict"))
_BLANKS: Final = "\t\n\r "

#: What a field's element holds (``text``, a list, a dict or anything), and the word of the values that need no ``type`` there.
_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "int": ("text", "integer"), "float": ("text", "number"), "bool": ("text", "boolean"),
    "list": ("list", "list"), "dictlist": ("list", "list"), "dict": ("dict", "dict"), "nested": ("dict", "dict"),
    "opaque": ("any", "text"), "asis": ("any", "text"),
}  # fmt: skip


class Shape:
    """What one element may hold, compiled from a field.

    *kind* is ``text``, ``list``, ``dict`` or ``any``; *native* the word of the values that need no ``type``; *members* those of a
    dict, *item* that of a list, *others* the shape of what no field names; *exact* says that numbers keep their digits.
    """

    __slots__ = ("exact", "item", "kind", "members", "native", "others")

    def __init__(self, kind: str, native: str, exact: bool) -> None:
        self.kind = kind
        self.native = native
        self.exact = exact
        self.members: dict[str, Shape] = {}
        self.others = self if kind == "any" else (ANY_EXACT if exact else ANY)
        self.item = self.others


class _Any(Shape):
    __slots__ = ()

    def __init__(self, exact: bool) -> None:
        super().__init__("any", "text", exact)


ANY: Final = _Any(exact=False)
ANY_EXACT: Final = _Any(exact=True)


def shape_of(fields: Sequence[Field] | None, *, repeated: bool = False) -> Shape:
    """The shape of an element with such members (``None``: any members), or of a list of such elements."""
    exact = has_type(fields or (), "decimal")
    shape = _dict_of(fields, exact)
    if repeated:
        listed = Shape("list", "list", exact)
        listed.item = shape
        return listed
    return shape


def _dict_of(fields: Sequence[Field] | None, exact: bool) -> Shape:
    shape = Shape("dict", "dict", exact)
    for field in fields or ():
        shape.members[field.name] = _field_shape(field, exact)
    return shape


def _field_shape(field: Field, exact: bool) -> Shape:
    kind, native = _KINDS.get(field.type, ("text", "text"))
    if kind == "dict":
        return _dict_of(field.fields, exact)
    shape = Shape(kind, native, exact)
    if field.type == "dictlist":
        shape.item = _dict_of(field.fields, exact)
    elif field.type == "list" and field.items is not None:
        shape.item = _field_shape(field.items, exact)
    return shape


# Reading


class _Misfit(Exception):
    """Something cannot be read or written; the way to it grows at the front while the exception rises."""

    def __init__(self, detail: str, *way: str | int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.way = list(way)

    def problem(self, code: str, at: str = "") -> Problem:
        return Problem.of(code, self.detail, errors=[Fault(at + pointer(self.way), code, self.detail)])


def read(element: Element, shape: Shape, at: str = "") -> Any:
    """The value of an element: dicts, lists, texts and null; typed leaves where a ``type`` attribute says so.

    Raises Problem malformed-body with a pointer to the member, below *at*.
    """
    try:
        return _read(element, shape)
    except _Misfit as misfit:
        raise misfit.problem("malformed-body", at) from None


def _read(element: Element, shape: Shape) -> Any:
    kind = shape.kind
    attributes = element.attributes
    if attributes:
        if attributes.get(NIL, "").strip(_BLANKS) in ("true", "1"):
            if element.children or element.text.strip(_BLANKS):
                raise _Misfit("an element that is nil must be empty")
            return None
        word = attributes.get("type")
        if word in _WORDS and (word != shape.native or word == "text"):
            return _read_as(element, shape, str(word))
    children = element.children
    if children:
        if element.text.strip(_BLANKS):
            raise _Misfit("text between elements has no meaning here")
        return _read_list(element, shape) if kind == "list" else _read_members(children, shape)
    text = element.text
    if kind == "text" or kind == "any":
        return text
    blank = not text.strip(_BLANKS)
    if kind == "list":
        return [] if blank else [_read(element, shape.item)]
    return {} if blank else text  # a text where a dict belongs: the contract says so to the caller


def _read_as(element: Element, shape: Shape, word: str) -> Any:
    """The value of an element whose ``type`` is not what the contract would make of it."""
    if word == "dict":
        return _read_members(_only_children(element), shape.others)
    if word == "list":
        return _read_items(element, shape if shape.kind == "list" else shape.others)
    if element.children:
        raise _Misfit(f'an element of type="{word}" holds no elements')
    if word == "text":
        return element.text
    text = element.text.strip(_BLANKS)
    try:
        value = strict_json.parse(text.encode(), exact_decimals=shape.exact)
    except Problem:
        value = None
    found = word_of(value) or "number"  # the only other value is a decimal
    if value is None or (found != word and (found, word) != ("integer", "number")):
        raise _Misfit(f'not of type="{word}"')
    return value


def _only_children(element: Element) -> list[Element]:
    if element.text.strip(_BLANKS):
        raise _Misfit("text between elements has no meaning here")
    return element.children


def _read_list(element: Element, shape: Shape) -> list[Any]:
    """A list's element that has children and stands alone."""
    if element.attributes.get("type") == "list" or all(child.name == ITEM for child in element.children):
        return _read_items(element, shape)
    return [_read(element, shape.item)]


def _read_items(element: Element, shape: Shape) -> list[Any]:
    items = []
    for position, child in enumerate(_only_children(element)):
        if child.name != ITEM:
            raise _Misfit("a list holds elements called 'item' alone")
        try:
            items.append(_read(child, shape.item))
        except _Misfit as misfit:
            misfit.way.insert(0, position)
            raise
    return items


def _read_members(children: Sequence[Element], shape: Shape) -> dict[str, Any]:
    found: dict[str, list[Element]] = {}
    for child in children:
        name = child.name
        if name == ENTRY and "name" in child.attributes:
            name = child.attributes["name"]
        found.setdefault(name, []).append(child)
    members = {}
    for name, elements in found.items():
        expected = shape.members.get(name, shape.others)
        try:
            if len(elements) == 1:
                members[name] = _read(elements[0], expected)
            elif expected.kind == "list" or expected.kind == "any":
                members[name] = [_read(element, expected.item) for element in elements]
            else:
                raise _Misfit("given more than once")
        except _Misfit as misfit:
            misfit.way.insert(0, name)
            raise
    return members


# Writing


def write(name: str, value: Any, shape: Shape, *, attributes: str = "") -> str:
    """The element called *name* that holds *value*. *attributes* are put into its start tag as they are.

    Raises Problem not-representable with a pointer to what XML cannot carry.
    """
    parts: list[str] = []
    try:
        _write(parts, name, value, shape, attributes, MOST_DEPTH)
    except NotXml as error:
        raise _Misfit(str(error)).problem("not-representable") from None
    except _Misfit as misfit:
        raise misfit.problem("not-representable") from None
    return "".join(parts)


def word_of(value: Any) -> str:
    """The word for the JSON type of a plain value; ``""`` for null and for what is no plain value."""
    return _WORD_OF.get(type(value), "")


_WORD_OF: Final[Mapping[type, str]] = {
    str: "text", bool: "boolean", int: "integer", float: "number", list: "list", tuple: "list", dict: "dict",
}  # fmt: skip


def _write(parts: list[str], name: str, value: Any, shape: Shape, attributes: str, depth: int) -> None:
    if is_name(name):
        tag, start = name, f"<{name}{attributes}"
    else:
        tag, start = ENTRY, f'<{ENTRY} name="{escape_attribute(name)}"{attributes}'
    word = word_of(value)
    if not word:
        if value is None:
            parts.append(start + _NIL_TRUE)
            return
        # What a date, a decimal or a subclass looks like is for JSON to say: so both formats say the same.
        value = _plain(value)
        word = word_of(value)
    if word != shape.native and not _obvious(word, value, shape):
        start += f' type="{word}"'
    if word == "dict" or word == "list":
        if not value:
            parts.append(start + "/>")
            return
        if depth <= 1:
            raise _Misfit(f"nested deeper than {MOST_DEPTH} elements")
        parts.append(start + ">")
        _write_inside(parts, value, shape, depth - 1)
        parts.append(f"</{tag}>")
        return
    text = value if word == "text" else _leaf(value)
    parts.append(f"{start}>{escape(text)}</{tag}>" if text else start + "/>")


def _obvious(word: str, value: Any, shape: Shape) -> bool:
    """Whether a reader makes the same of *value* though it is not of the type that the shape says."""
    if word == "dict":
        return shape.kind == "any" and bool(value)
    return word == "integer" and shape.native == "number"


def _write_inside(parts: list[str], value: Any, shape: Shape, depth: int) -> None:
    step: str | int = 0
    try:
        if isinstance(value, dict):
            members = shape.members if shape.kind == "dict" else {}
            for key, member in value.items():
                step = key if isinstance(key, str) else _key(key)
                _write(parts, step, member, members.get(step, shape.others), "", depth)
        else:
            expected = shape.item if shape.kind == "list" else shape.others
            for position, member in enumerate(value):
                step = position
                _write(parts, ITEM, member, expected, "", depth)
    except NotXml as error:
        raise _Misfit(str(error), step) from None
    except _Misfit as misfit:
        misfit.way.insert(0, step)
        raise


def _leaf(value: bool | int | float) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise _Misfit("a number that is not finite has no form in JSON or XML")
    return repr(value)


def _plain(value: Any) -> Any:
    try:
        return strict_json.parse(strict_json.dumps(value))
    except Problem as problem:
        raise _Misfit(problem.detail) from None


def _key(key: object) -> str:
    (text,) = _plain({key: None})
    return str(text)
