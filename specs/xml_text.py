"""XML as text: a hardened reader of bytes into plain elements, and what a writer must escape.

Documents with a doctype are refused, so there are no entities, no external anything and no default attributes. Depth,
elements and attributes are bounded while the document is read, not after.

>>> root = parse(b'<c:customer xmlns:c="urn:c" id="1"><name>A &amp; B</name></c:customer>')
>>> root.name, root.namespace, root.attributes, root.children[0].text
('customer', 'urn:c', {'id': '1'}, 'A & B')
>>> escape("a < b")
'a &lt; b'
"""

# SECURITY: A40. This is expat and not lxml because libxml2, as lxml drives it, keeps every name it ever saw in one dictionary
# of the process: requests full of new element names grow it for ever (54 MB from 17 after 1,000 requests of 500 names each;
# expat stayed at 17). The price is 13 us for a body of 8 elements, where lxml takes 3 to 5.

from __future__ import annotations

import re
from typing import Final
from xml.parsers import expat

from specs.negotiation import parse_content_type
from specs.problems import Problem

XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
MOST_DEPTH: Final = 64
#: Start tags, end tags, comments and the like together; twice the elements that there can be, or a few more.
MOST_TAGS: Final = 200_000
#: Of one element; as many namespaces beside them.
MOST_ATTRIBUTES: Final = 64
LONGEST_NAMESPACE: Final = 1024
#: A document is read in pieces of so many bytes, and no tag may be longer.
_PIECE: Final = 65536

#: What XML processors must know, and the two that older clients still send.
ENCODINGS: Final = ("utf-8", "utf-16", "utf-16le", "utf-16be", "us-ascii", "iso-8859-1")

#: Names without a colon. Editions of XML 1.0 and their parsers disagree about many letters (expat and Xerces follow the
#: fourth, libxml2 the fifth); these are the ones in everyday use that all of them take.
_LETTERS = (
    "A-Z_a-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u0131\u0134-\u013e\u0141-\u0148\u014a-\u017e\u0391-\u03a1\u03a3-\u03ce"
    "\u0401-\u040c\u040e-\u044f\u0451-\u045c\u05d0-\u05ea\u0621-\u063a\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
)
_NAME = re.compile(f"[{_LETTERS}][{_LETTERS}.0-9\u00b7-]*")
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_TEXT = re.compile("[&<>\r]|" + _ILLEGAL.pattern)
_IN_ATTRIBUTE = re.compile('[&<>"\r\n\t]|' + _ILLEGAL.pattern)
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}


class Element:
    """One element: its local *name*, its *namespace*, *attributes* (``"urn:x local"`` where they have a namespace)."""

    __slots__ = ("attributes", "children", "name", "namespace", "text")

    def __init__(self, name: str, namespace: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.namespace = namespace
        self.attributes = attributes
        self.children: list[Element] = []
        self.text = ""  #: all of its own text, wherever it stood between the children


class NotXml(ValueError):
    """A text holds a character that XML 1.0 cannot carry, not even escaped."""


def weight(body: bytes) -> int:
    """About how many bytes of memory the elements of a document take, and hardly ever more."""
    # SECURITY: A36. Measured: an element takes 200 bytes, an attribute 90, one letter beyond the first plane four times its text.
    count = body.count
    return 260 * (count(b"<") - count(b"</")) + 110 * count(b"=") + len(body) * (1 if body.isascii() else 5)


def parse(body: bytes, *, content_type: str = "", most_depth: int = MOST_DEPTH) -> Element:
    """The root element of a document; comments and processing instructions are dropped.

    The encoding is that of the ``charset`` in *content_type*, else of the byte order mark or the XML declaration, else UTF-8
    (RFC 7303). Raises Problem: malformed-body, or unsupported-media-type for an encoding that is not in `ENCODINGS`.
    """
    charset = parse_content_type(content_type)[1].get("charset", "").lower() if ";" in content_type else ""
    if charset:
        _check_encoding(charset)
    # SECURITY: A40. Counted before anything is parsed: 2 ms for what would be made into elements for a second.
    if body.count(b"<") > MOST_TAGS:
        raise Problem.of("malformed-body", f"the XML document has more than {MOST_TAGS} tags")
    parser = expat.ParserCreate(charset or None, namespace_separator=" ")
    parser.buffer_text = True
    parser.buffer_size = max(8192, min(len(body), _PIECE) * 2)
    builder = _Builder(most_depth)
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.characters
    parser.StartNamespaceDeclHandler = builder.declare
    parser.XmlDeclHandler = _declaration
    parser.StartDoctypeDeclHandler = _doctype
    try:
        if len(body) > _PIECE:
            _parse_long(parser, body)
        else:
            parser.Parse(body, True)
    except expat.ExpatError as error:
        reason = expat.errors.messages.get(error.code, "not XML")
        raise Problem.of(
            "malformed-body", f"not well-formed XML: {reason} at line {error.lineno}, column {error.offset + 1}"
        ) from None
    except (ValueError, LookupError):  # what the codec of an encoding has to say
        raise Problem.of("malformed-body", "the XML document is not in the encoding that it names") from None
    return builder.document.children[0]


def _parse_long(parser: expat.XMLParserType, body: bytes) -> None:
    # SECURITY: A40. A parser tells of a tag when it has all of it: a million attributes are read before one can be counted. What
    # it has been given and has not told of is a tag that goes on.
    view = memoryview(body)
    for start in range(0, len(body), _PIECE):
        parser.Parse(view[start : start + _PIECE], False)
        if start - parser.CurrentByteIndex > _PIECE:
            raise Problem.of("malformed-body", f"a tag of the XML document is longer than {_PIECE} bytes")
    parser.Parse(b"", True)


class _Builder:
    """Makes elements of a parser's events, and stops at the bounds."""

    def __init__(self, most_depth: int) -> None:
        self.document = Element("", "", {})
        self.open = [self.document]
        self.most_depth = most_depth
        self.declared = 0
        #: Further pieces of the texts of open elements, by depth. WHY: joined one by one they would cost the square of
        #: their number, 68 ms for 10,000 line ends between elements.
        self.pieces: dict[int, list[str]] = {}

    def declare(self, prefix: str | None, uri: str | None) -> None:
        # SECURITY: A40. Every name in a namespace is made anew with all of it: 100 kB and 100,000 elements took a minute.
        if uri is not None and len(uri) > LONGEST_NAMESPACE:
            raise Problem.of("malformed-body", f"an XML namespace has more than {LONGEST_NAMESPACE} characters")
        self.declared += 1
        if self.declared > MOST_ATTRIBUTES:
            raise Problem.of("malformed-body", f"an XML element declares more than {MOST_ATTRIBUTES} namespaces")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.declared = 0
        if len(self.open) > self.most_depth:
            raise Problem.of("malformed-body", f"the XML document is nested deeper than {self.most_depth} elements")
        if len(attributes) > MOST_ATTRIBUTES:
            raise Problem.of("malformed-body", f"an XML element has more than {MOST_ATTRIBUTES} attributes")
        namespace, _, local = name.rpartition(" ")
        element = Element(local, namespace, attributes)
        self.open[-1].children.append(element)
        self.open.append(element)

    def end(self, name: str) -> None:
        element = self.open.pop()
        if self.pieces:
            pieces = self.pieces.pop(len(self.open), None)
            if pieces is not None:
                element.text += "".join(pieces)

    def characters(self, text: str) -> None:
        element = self.open[-1]
        if element.text:
            self.pieces.setdefault(len(self.open) - 1, []).append(text)
        else:
            element.text = text


def _declaration(version: str, encoding: str | None, standalone: int) -> None:
    if version != "1.0":
        raise Problem.of("malformed-body", "only XML 1.0 is understood")
    if encoding:
        _check_encoding(encoding.lower())


def _check_encoding(encoding: str) -> None:
    if encoding not in ENCODINGS:
        raise Problem.of("unsupported-media-type", "XML is read in " + ", ".join(ENCODINGS))


def _doctype(*declaration: object) -> None:
    # SECURITY: A40. Entities, external files and amplification all need a doctype; this runs before any of it is read.
    raise Problem.of("malformed-body", "an XML document with a doctype is not accepted")


def is_name(text: str) -> bool:
    """Whether *text* is a name that every parser takes for an element or attribute (it has no colon)."""
    return _NAME.fullmatch(text) is not None


def escape(text: str) -> str:
    """*text* as the content of an element; a carriage return survives. Raises NotXml."""
    return text if _IN_TEXT.search(text) is None else _IN_TEXT.sub(_escaped, text)


def escape_attribute(text: str) -> str:
    """*text* as the value of an attribute in double quotes; tabs and line ends survive. Raises NotXml."""
    return text if _IN_ATTRIBUTE.search(text) is None else _IN_ATTRIBUTE.sub(_escaped, text)


def without_illegal(text: str) -> str:
    """*text* with U+FFFD for what XML cannot carry: for messages that must get through."""
    return _ILLEGAL.sub("\ufffd", text)


def _escaped(match: re.Match[str]) -> str:
    try:
        return _ESCAPES[match[0]]
    except KeyError:
        raise NotXml(f"XML cannot carry the character U+{ord(match[0]):04X}") from None
