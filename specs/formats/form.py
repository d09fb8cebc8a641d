"""HTML forms: ``application/x-www-form-urlencoded`` and ``multipart/form-data`` (RFC 7578), with uploaded files. Answers are JSON.

A form is flat: it carries members of one text each, and lists of such, by saying a name again. There is no way in it to say null,
an empty list, or members of members; an empty text is a text.

>>> Format().parse(b"name=Anna&tags=a&tags=b", None).payload
{'name': 'Anna', 'tags': ['a', 'b']}
"""

from __future__ import annotations

import re
from base64 import b64encode
from io import BytesIO
from typing import Final

from falcon import HTTPError
from falcon.media.multipart import BodyPart, MultipartFormHandler

from specs.contract import Contract
from specs.exchange import UploadedFile
from specs.formats import Parsed, json_
from specs.negotiation import parse_content_type
from specs.problems import Problem
from specs.query import add, parse_query, with_lists

URLENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
MOST_PARTS: Final = 100
MOST_HEADER_BYTES: Final = 4096

#: RFC 2046, 5.1.1, without the blanks that it allows inside.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=?-]{1,70}")
_CONTROLS = re.compile("[\x00-\x1f\x7f]")


class Format(json_.Format):
    """Forms in, JSON out. All values are text, or lists of text for names that come more than once and for list fields."""

    word = "form"
    media_types = (URLENCODED, MULTIPART)

    def accepts(self, media_type: str) -> bool:
        """Both kinds of form."""
        return media_type in self.media_types

    def parse(self, body: bytes, contract: Contract | None, *, content_type: str = "") -> Parsed:
        """The fields of a form. A file is found in *files*, and in the payload as base64 where a ``Bytes`` field has its name."""
        media_type, parameters = parse_content_type(content_type)
        if media_type == MULTIPART:
            return _multipart(body, contract, parameters.get("boundary", ""))
        if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
            raise Problem.of("unsupported-media-type", "forms are read in UTF-8")
        values = parse_query(_text(body), code="malformed-body")
        return Parsed(with_lists(values, contract), textual=True)


def _multipart(body: bytes, contract: Contract | None, boundary: str) -> Parsed:
    if not _BOUNDARY.fullmatch(boundary):
        raise Problem.of("unsupported-media-type", "multipart/form-data needs a boundary of 1 to 70 characters")
    # A preamble is allowed by RFC 2046 and sent by nobody: what stands there would be read by some parsers alone.
    if not body.startswith((f"--{boundary}".encode(), f"\r\n--{boundary}".encode())):
        raise Problem.of("malformed-body", "the multipart form does not begin with its boundary")
    uploads = {
        field.name for field in (contract.input if contract is not None else None) or () if field.type == "bytes"
    }
    values: dict[str, str | list[str]] = {}
    files = []
    try:
        form = _handler(len(body)).deserialize(BytesIO(body), f'{MULTIPART}; boundary="{boundary}"', len(body))
        for part in form:
            name = _name(part)
            if part.filename is None:
                add(values, name, _text(part.data))
                continue
            file = UploadedFile(name, _file_name(part.filename), part.content_type, part.data)
            if not file.filename and not file.content:
                continue  # a file input that the user left alone
            files.append(file)
            if name in uploads:
                add(values, name, b64encode(file.content).decode())
    except HTTPError as error:
        reason = getattr(error, "description", None) or "not a multipart form"
        raise Problem.of("malformed-body", f"the multipart form is malformed: {reason}") from None
    except UnicodeDecodeError:
        raise Problem.of("malformed-body", "a header of the multipart form is not UTF-8") from None
    return Parsed(with_lists(values, contract), textual=True, files=tuple(files))


def _handler(length: int) -> MultipartFormHandler:
    # SECURITY: A44. Parts and their headers are bounded here, their bytes by the body that they are part of.
    handler = MultipartFormHandler()
    handler.parse_options.max_body_part_count = MOST_PARTS
    handler.parse_options.max_body_part_headers_size = MOST_HEADER_BYTES
    handler.parse_options.max_body_part_buffer_size = length + 1
    return handler


def _name(part: BodyPart) -> str:
    """The name of a part. Raises Problem: it has none, or is a multipart of its own."""
    if not part.name:
        raise Problem.of("malformed-body", "a part of the multipart form has no name")
    if part.content_type.lower().lstrip().startswith("multipart/"):
        raise Problem.of("malformed-body", "a part of a multipart form cannot be a multipart itself")
    return str(part.name)


def _file_name(text: str) -> str:
    """The last step of the path that some clients send, with nothing in it that a terminal or a file system would act on."""
    name = _CONTROLS.sub("", text.replace("\\", "/").rpartition("/")[2]).strip()
    return "" if name in (".", "..") else name


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Problem.of("malformed-body", "the form is not UTF-8") from None
