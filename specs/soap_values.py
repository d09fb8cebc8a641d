"""Values in a SOAP body, in the shape of the schema that a WSDL publishes (`specs.documents.wsdl`): reader and writer.

    absent      no element                         a list            its element once for each item
    null        <x xsi:nil="true"/>                a list in a list  <x> with an <item> for each item
    record      <x> with its members in it         any value         as in `specs.xml_values`, at any depth

Elements are in the endpoint's namespace; what an untyped value holds may be in any. There is no form for an empty list: one that
is required is empty where it has no element, an optional one is absent. A null where none may be counts as absent where
absent may be, since clients differ in what they send for nothing.

>>> from specs.contract import Field
>>> from specs.xml_text import parse
>>> members = Members((Field("id", "int"), Field("tags", "list", items=Field("item"))))
>>> members.read(parse(b'<Get xmlns="urn:x"><id>7</id><tags>a</tags></Get>'), "urn:x")
{'id': '7', 'tags': ['a']}
>>> members.write({"id": 7, "tags": ["a", "b"]})
'<id>7</id><tags>a</tags><tags>b</tags>'
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from specs import xml_values
from specs.compiled import has_type
from specs.contract import Contract, Field
from specs.problems import Fault, Problem
from specs.records import pointer
from specs.xml_text import XSI, Element, NotXml, escape, is_name
from specs.xml_values import ANY, ANY_EXACT, Shape, shape_of

#: The type of each leaf in XML Schema. Dates with a format of their own are texts; so are lines of comma-separated values.
XSD_TYPES: Final[Mapping[str, str]] = {
    "text": "string", "secret": "string", "int": "long", "float": "double", "decimal": "decimal", "bool": "boolean",
    "date": "date", "datetime": "dateTime", "utc": "dateTime", "uuid": "string", "enum": "string", "bytes": "base64Binary",
    "csv": "string",
}  # fmt: skip
ITEM: Final = "item"
RESULT: Final = "result"
_NIL: Final = f"{XSI} nil"
_XSI_TYPE: Final = f"{XSI} type"
_BLANKS: Final = "\t\n\r "
_ESCAPE = re.compile("_x[0-9A-F]*_")
#: A day as XML Schema allows it: with a time zone, which a day has no use for.
_ZONED_DAY = re.compile(r"(\d{4}-\d\d-\d\d)(?:Z|[+-]\d\d:\d\d)", re.ASCII)
#: What clients call a number or boolean where anything may stand, and the word for it in `specs.xml_values`.
_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("int", "long", "integer", "short", "byte", "unsignedInt", "unsignedShort"), "integer"),
    **dict.fromkeys(("double", "float", "decimal"), "number"),
    "boolean": "boolean",
}

#: What a value that may be anything says it is, so that clients with types make the right thing of it.
_XSI_TYPES: Final[Mapping[type, str]] = {str: "string", bool: "boolean", int: "long", float: "double"}


def element_name(name: str) -> str:
    """The XML name of a member: its own, where that is one; else with ``_xHHHH_`` for what is not (ISO/IEC 9075-14, 9.1).

    >>> element_name("cust_id"), element_name("1st name"), element_name("")
    ('cust_id', '_x0031_st_x0020_name', '_x_')
    """
    if is_name(name) and not _ESCAPE.search(name):
        return name
    if not name:
        return "_x_"
    parts = []
    for position, character in enumerate(name):
        legal = is_name(character if position == 0 else "a" + character)
        if not legal or (character == "_" and _ESCAPE.match(name, position)):
            parts.append(f"_x{ord(character):04X}_")
        else:
            parts.append(character)
    return "".join(parts)


def fields_in(contract: Contract) -> tuple[Field, ...] | None:
    """What the element of a request holds; None for anything."""
    return contract.input


def fields_out(contract: Contract) -> tuple[Field, ...]:
    """What the element of an answer holds: rows of a repeated output as ``item``, an undeclared one as ``result``."""
    if contract.output is None:
        return (Field(RESULT, "opaque", required=False, nullable=True),)
    if contract.repeated:
        return (Field(ITEM, "dictlist", fields=contract.output),)
    return contract.output


def wrap_answer(contract: Contract, value: Any) -> dict[str, Any]:
    """What a `specs.writing.Writer` made, as the members that `fields_out` declares."""
    if contract.output is None:
        if isinstance(value, (bytes, bytearray, memoryview)):
            value = bytes(value).decode("utf-8", "replace")
        return {} if value is None else {RESULT: value}
    if contract.repeated:
        return {ITEM: value}
    return value  # type: ignore[no-any-return]


class _Misfit(Exception):
    """Something cannot be read or written; the way to it grows at the front while the exception rises."""

    def __init__(self, detail: str, *way: str | int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.way = list(way)

    def problem(self, code: str) -> Problem:
        return Problem.of(code, self.detail, errors=[Fault(pointer(self.way), code, self.detail)])


class _Place:
    """What one element may hold, compiled from a field. *form* is ``leaf``, ``record``, ``list``, ``rows`` or ``free``."""

    __slots__ = ("form", "free", "item", "members", "name", "nullable", "print", "required", "tag", "tidy")

    def __init__(self, field: Field, exact: bool, *, within: bool = False) -> None:
        self.name = field.name
        self.tag = element_name(field.name)
        self.required = field.required
        self.nullable = field.nullable
        self.free: Shape = ANY_EXACT if exact else ANY
        self.members: Members | None = None
        self.item: _Place | None = None
        self.print: Callable[[Any], str] = _PRINTERS.get(field.type, _print)
        self.tidy = _day if field.type == "date" and not field.format else None
        kind = field.type
        if kind in ("dict", "nested"):
            self.form = "record"
            if field.fields is None:
                self.form, self.free = "free", shape_of((Field("", "decimal"),) if exact else None)
            else:
                self.members = Members(field.fields, exact=exact)
        elif kind in ("list", "dictlist"):
            self.form = "rows" if within else "list"
            self.item = _Place(item_of(field), exact, within=True)
        else:
            self.form = "free" if kind in ("opaque", "asis") else "leaf"


def item_of(field: Field) -> Field:
    """The field of one item of a list."""
    if field.type == "dictlist":
        return Field(ITEM, "dict", fields=field.fields)
    return field.items if field.items is not None else Field(ITEM, "opaque", nullable=True)


class Members:
    """The members of a record, ready to be read and written; *fields* of None are any members."""

    def __init__(self, fields: Sequence[Field] | None, *, exact: bool | None = None) -> None:
        exact = has_type(fields or (), "decimal") if exact is None else exact
        self._free = fields is None
        self._any = shape_of(None)
        self._undeclared = ANY_EXACT if exact else ANY
        places = [_Place(field, exact) for field in fields or ()]
        self._by_tag = {place.tag: place for place in places}
        self._by_name = {place.name: place for place in places}
        self._empty = [place.name for place in places if place.form == "list" and place.required]

    def read(self, element: Element, namespace: str) -> Any:
        """The values in *element*: texts, lists and maps, with typed values where anything may stand.

        Raises Problem malformed-body with a pointer to the member.
        """
        if self._free:
            return xml_values.read(_with_words(element), self._any)
        try:
            return self.read_record(element, namespace)
        except _Misfit as misfit:
            raise misfit.problem("malformed-body") from None

    def read_record(self, element: Element, namespace: str) -> dict[str, Any]:
        """Likewise, for a record within another; raises what `read` makes a Problem of."""
        if element.text.strip(_BLANKS):
            raise _Misfit("text between elements has no meaning here")
        found: dict[str, list[Element]] = {}
        others: dict[str, list[Element]] = {}
        by_tag = self._by_tag
        for child in element.children:
            name = child.name
            if name not in by_tag:
                others.setdefault(name, []).append(child)
            elif child.namespace != namespace:
                where = f"'{child.namespace}'" if child.namespace else "no namespace"
                raise _Misfit(f"this element belongs in the namespace '{namespace}', not in {where}", by_tag[name].name)
            elif name in found:
                found[name].append(child)
            else:
                found[name] = [child]
        values: dict[str, Any] = {}
        for name, elements in found.items():
            place = by_tag[name]
            try:
                self._read_place(values, place, elements, namespace)
            except _Misfit as misfit:
                misfit.way.insert(0, place.name)
                raise
        for name in self._empty:
            values.setdefault(name, [])
        for name, elements in others.items():
            read = [xml_values.read(_with_words(one), self._undeclared) for one in elements]
            values.setdefault(name, read if len(read) > 1 else read[0])
        return values

    @staticmethod
    def _read_place(values: dict[str, Any], place: _Place, elements: list[Element], namespace: str) -> None:
        nil = len(elements) == 1 and elements[0].attributes and _is_nil(elements[0])
        if place.item is not None and place.form == "list":
            if not nil:
                values[place.name] = _read_each(elements, place.item, namespace)
            elif place.nullable:
                values[place.name] = None
            elif place.item.nullable:
                values[place.name] = [None]
            elif place.required:
                values[place.name] = None
        elif len(elements) > 1:
            raise _Misfit("given more than once")
        elif not nil:
            values[place.name] = _read_value(elements[0], place, namespace)
        elif place.nullable or place.required:
            values[place.name] = None

    def write(self, value: Mapping[str, Any]) -> str:
        """The elements of *value*, in its order. Raises Problem not-representable with a pointer to what XML cannot carry."""
        parts: list[str] = []
        try:
            self.write_record(parts, value)
        except _Misfit as misfit:
            raise misfit.problem("not-representable") from None
        return "".join(parts)

    def write_record(self, parts: list[str], value: Mapping[str, Any]) -> None:
        """Likewise, onto *parts*."""
        places = self._by_name
        for name, member in value.items():
            place = places[name]
            try:
                if place.form == "list" and member is not None:
                    assert place.item is not None
                    _write_each(parts, place.tag, member, place.item)
                else:
                    _write_value(parts, place.tag, member, place)
            except NotXml as error:
                raise _Misfit(str(error), name) from None
            except _Misfit as misfit:
                misfit.way.insert(0, name)
                raise


def _read_each(elements: Iterable[Element], place: _Place, namespace: str) -> list[Any]:
    values = []
    for position, element in enumerate(elements):
        try:
            nil = element.attributes and _is_nil(element)
            values.append(None if nil else _read_value(element, place, namespace))
        except _Misfit as misfit:
            misfit.way.insert(0, position)
            raise
    return values


def _read_value(element: Element, place: _Place, namespace: str) -> Any:
    form = place.form
    if form == "leaf":
        if element.children:
            raise _Misfit("this element holds a value and no elements")
        return element.text if place.tidy is None else place.tidy(element.text)
    if form == "record":
        assert place.members is not None
        return place.members.read_record(element, namespace)
    if form == "rows":
        assert place.item is not None
        if element.text.strip(_BLANKS) or any(child.name != ITEM for child in element.children):
            raise _Misfit("a list within a list holds elements called 'item' alone")
        return _read_each(element.children, place.item, namespace)
    try:
        return xml_values.read(_with_words(element), place.free)
    except Problem as problem:
        raise _Misfit(problem.detail) from None


def _is_nil(element: Element) -> bool:
    if element.attributes.get(_NIL, "").strip(_BLANKS) not in ("true", "1"):
        return False
    if element.children or element.text.strip(_BLANKS):
        raise _Misfit("an element that is nil must be empty")
    return True


def _with_words(element: Element) -> Element:
    """*element* with the ``type`` of our own XML beside the ``xsi:type`` that SOAP clients write for numbers and booleans."""
    told = element.attributes.get(_XSI_TYPE)
    if told is not None and "type" not in element.attributes and not element.children:
        word = _WORDS.get(told.rpartition(":")[2])
        if word is not None:
            element.attributes["type"] = word
            if word == "boolean":
                element.text = {"1": "true", "0": "false"}.get(element.text.strip(_BLANKS), element.text)
    for child in element.children:
        _with_words(child)
    return element


def _day(text: str) -> str:
    match = _ZONED_DAY.fullmatch(text.strip(_BLANKS))
    return match[1] if match else text


def _write_each(parts: list[str], tag: str, values: Iterable[Any], place: _Place) -> None:
    for position, one in enumerate(values):
        try:
            _write_value(parts, tag, one, place)
        except NotXml as error:
            raise _Misfit(str(error), position) from None
        except _Misfit as misfit:
            misfit.way.insert(0, position)
            raise


def _write_value(parts: list[str], tag: str, value: Any, place: _Place) -> None:
    if value is None:
        parts.append(f'<{tag} xsi:nil="true"/>')
    elif place.form == "leaf":
        text = place.print(value)
        parts.append(f"<{tag}>{escape(text)}</{tag}>" if text else f"<{tag}/>")
    elif place.form == "record":
        assert place.members is not None
        parts.append(f"<{tag}>")
        place.members.write_record(parts, value)
        parts.append(f"</{tag}>")
    elif place.form == "rows":
        assert place.item is not None
        parts.append(f"<{tag}>")
        _write_each(parts, ITEM, value, place.item)
        parts.append(f"</{tag}>")
    elif type(value) in _XSI_TYPES and place.free.kind == "any":
        parts.append(f'<{tag} xsi:type="xsd:{_XSI_TYPES[type(value)]}">{escape(_print(value))}</{tag}>')
    else:
        try:
            parts.append(xml_values.write(tag, value, place.free))
        except Problem as problem:
            raise _Misfit(problem.detail) from None


def _print(value: Any) -> str:
    """A text, or a number or boolean that stayed one where the type was inferred."""
    if type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _print_int(value: Any) -> str:
    return str(int(value)) if isinstance(value, (bool, float)) and value == int(value) else str(value)


def _print_decimal(value: Any) -> str:
    # XML Schema's decimals have no exponent; ours has 6144 at most (`specs.conversions`).
    return format(value, "f") if isinstance(value, Decimal) else _print(value)


def _print_moment(value: Any) -> str:
    return value if isinstance(value, str) else str(value.isoformat())


_PRINTERS: Final[Mapping[str, Callable[[Any], str]]] = {
    "int": _print_int,
    "decimal": _print_decimal,
    "date": _print_moment,
    "datetime": _print_moment,
    "utc": _print_moment,
    "bytes": lambda value: base64.b64encode(value).decode("ascii"),
}
