"""Formats: how the bytes of a body become values, and values bytes. One file each; the class in it is called `Format`.

A format knows contracts but no services: `parse` gives what `specs.reading` checks against the contract, `render` takes
what `specs.writing` made of a service's answer. Wrapping in ``request_elem`` and ``response_elem`` happens here, since it
is a member in JSON and the root element in XML.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from specs.contract import Contract
from specs.exchange import UploadedFile
from specs.problems import Problem


class Parsed(NamedTuple):
    """A body that was read.

    *payload* is what services see as ``self.request.payload``: ``None`` where the body was empty. *textual* means that
    numbers, booleans and the like came as text. *pointer* is where the payload lies in what was sent (``/customer``
    where ``request_elem`` is ``customer``), to be put before the pointers of faults.
    """

    payload: Any
    textual: bool = False
    files: tuple[UploadedFile, ...] = ()
    pointer: str = ""


class Format(ABC):
    """One message format. Stateless but for caches: one object serves every channel."""

    #: What configuration calls it.
    word: ClassVar[str]
    #: The media types that it reads, besides those that `accepts` finds otherwise.
    media_types: ClassVar[tuple[str, ...]]
    #: The ``Content-Type`` of its answers.
    content_type: ClassVar[str]
    #: The media types that a caller may ask for to get its answers, the one that is sent first.
    answers_as: ClassVar[tuple[str, ...]]

    def nested(self, levels: int) -> Format:
        """The same format, reading bodies nested so many levels deep and no more, where it bounds that."""
        return self

    def accepts(self, media_type: str) -> bool:
        """Whether it reads bodies of this media type, given in lower case without parameters."""
        return media_type in self.media_types

    def weight(self, body: bytes) -> int:
        """About how many bytes of memory `parse` makes of *body*, and hardly ever more."""
        return 3 * len(body)

    @abstractmethod
    def parse(self, body: bytes, contract: Contract | None, *, content_type: str = "") -> Parsed:
        """The values in a body. Raises Problem: malformed-body, invalid-input or unsupported-media-type."""

    @abstractmethod
    def render(self, value: Any, contract: Contract | None) -> bytes:
        """The bytes of an answer.

        *value* is what a `specs.writing.Writer` made, or, where no output is declared, whatever the service gave: text
        and bytes are then sent as they are, ``None`` is an empty body. Raises Problem ``not-representable``.
        """

    @staticmethod
    def as_given(value: Any) -> bytes | None:
        """The body where a service with no declared output gave text, bytes or nothing; ``None`` where it gave values."""
        if value is None:
            return b""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        if isinstance(value, str):
            try:
                return value.encode()
            except UnicodeEncodeError:
                raise Problem.of("not-representable", "the text holds half of a surrogate pair") from None
        return None

    @abstractmethod
    def render_problem(self, problem: Problem, cid: str) -> tuple[bytes, str]:
        """The body of a problem and its ``Content-Type``. Never raises."""
