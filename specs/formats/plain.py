"""Plain text, and bodies that nobody looks into: the payload is a text, or bytes where the body is not text.

>>> Format().parse(b"hello", None, content_type="text/plain").payload
'hello'
>>> Format().parse(b"\\x00\\xff", None, content_type="application/octet-stream").payload
b'\\x00\\xff'
"""

from __future__ import annotations

from typing import Any, Final

from specs.contract import Contract
from specs.formats import Parsed, json_
from specs.negotiation import parse_content_type
from specs.problems import Problem

CHARSETS: Final = ("utf-8", "utf8", "us-ascii", "iso-8859-1")


class Format(json_.Format):
    """Any body, as it is. Answers that are no text are written as JSON is, with no member around them; problems are JSON."""

    word = "plain"
    media_types = ("text/plain",)
    content_type = "text/plain; charset=utf-8"
    answers_as = ("text/plain",)

    def accepts(self, media_type: str) -> bool:
        """Everything."""
        return True

    def parse(self, body: bytes, contract: Contract | None, *, content_type: str = "") -> Parsed:
        """Text in the charset that it names (UTF-8 where it names none); bytes where the media type is not ``text/...``."""
        if not body:
            return Parsed(None, textual=True)
        media_type, parameters = parse_content_type(content_type)
        if media_type and not media_type.startswith("text/"):
            return Parsed(body, textual=True)
        charset = parameters.get("charset", "utf-8").lower()
        if charset not in CHARSETS:
            raise Problem.of("unsupported-media-type", "text is read in " + ", ".join(CHARSETS))
        try:
            return Parsed(body.decode(charset), textual=True)
        except UnicodeDecodeError:
            raise Problem.of("malformed-body", f"the text is not {charset}") from None

    def render(self, value: Any, contract: Contract | None) -> bytes:
        """Text and bytes as they are, anything else as JSON."""
        raw = self.as_given(value)
        return raw if raw is not None else super().render(value, None)
