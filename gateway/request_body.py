"""The body of one request, read when somebody asks for it: `Body`.

Nothing is read at accept. Whoever reads says how much is welcome; more is 413, slower than a floor is 408, and chunks are
read to the letter: one to eight hexadecimal digits and CRLF, no extensions, trailers dropped (A5, A36).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.bounds import Bounds
from gateway.transport import LARGEST_READ, Gone, Late, Transport
from specs.problems import Problem

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}\Z")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\Z")
_LONGEST_LINE = 8190
_MOST_TRAILERS = 20


class Body:
    """A body of *length* bytes (-1: chunked), of which *buffered* has come with the head.

    After the answer, `finished` says whether the next request begins at `rest`.
    """

    __slots__ = ("_bounds", "_content", "_expects", "_length", "_transport", "finished", "rest", "touched")

    def __init__(self, transport: Transport, bounds: Bounds, length: int, buffered: bytes, expects: bool) -> None:
        self._transport = transport
        self._bounds = bounds
        self._length = length
        self._expects = expects
        self._content: bytes | None = None if length else b""
        self.rest = buffered
        self.finished = length == 0
        self.touched = False

    def read(self, most: int) -> bytes:
        """The whole body, which is at most *most* bytes. Raises Problem 413, 408 and 400; the same bytes each time."""
        content = self._content
        if content is not None:
            if len(content) > most:
                raise _too_large(most)
            return content
        length = self._length
        if length > most:
            raise _too_large(most)
        if 0 < length <= len(self.rest):
            content, self.rest = self.rest[:length], self.rest[length:]
        else:
            if self.touched:
                raise Problem.of("malformed-body", "the body has been given up already")
            self.touched = True
            if self._expects and not self.rest:
                self._say_continue()
            content = self._read_length(length) if length > 0 else self._read_chunks(most)
        self._content = content
        self.finished = True
        return content

    @property
    def drainable(self) -> bool:
        """Whether the connection can go on: the body has been read, or is not too long to be read in vain."""
        return self.finished or not (self.touched or self._expects or self._length > self._bounds.drain)

    def drain(self) -> bool:
        """Read and forget a body that nobody asked for; False where that did not work and the connection ends."""
        if self.finished:
            return True
        try:
            self.read(self._bounds.drain)
        except Problem:
            return False
        return True

    def _floor(self) -> Callable[[int], float]:
        """When a body of which so much has come is too late: a while, and a second more for each `rate` bytes."""
        began = self._transport.clock() + self._bounds.body_seconds
        rate = self._bounds.rate
        return lambda received: began + received / rate

    def _receive(self, deadline: float) -> bytes:
        try:
            octets = self._transport.receive(deadline, LARGEST_READ)
        except Late:
            raise Problem.of("request-timeout", "the body came too slowly") from None
        if not octets:
            raise Problem.of("malformed-body", "the connection ended before the body did")
        return octets

    def _say_continue(self) -> None:
        try:
            self._transport.send(_CONTINUE, self._bounds.write_seconds, self._bounds.rate)
        except (Late, Gone):
            raise Problem.of("request-timeout", "nobody is there to send the body") from None

    def _read_length(self, length: int) -> bytes:
        # SECURITY: A36. What is kept grows with what has come, not with what was announced.
        parts = [self.rest]
        received = len(self.rest)
        floor = self._floor()
        while received < length:
            octets = self._receive(floor(received))
            received += len(octets)
            parts.append(octets)
        whole = b"".join(parts)
        self.rest = whole[length:]
        return whole[:length]

    def _read_chunks(self, most: int) -> bytes:
        content = bytearray()
        buffer = bytearray(self.rest)
        self.rest = b""
        floor = self._floor()
        while True:
            line = self._line(buffer, floor(len(content)), 10)
            if not _CHUNK_SIZE.match(line):
                raise Problem.of("malformed-body", "a chunk begins with its size in one to eight hexadecimal digits")
            size = int(line, 16)
            if size == 0:
                break
            if len(content) + size > most:
                raise _too_large(most)
            while len(buffer) < size + 2:
                buffer += self._receive(floor(len(content) + len(buffer)))
            if buffer[size : size + 2] != b"\r\n":
                raise Problem.of("malformed-body", "a chunk is as long as it says and ends with CRLF")
            content += buffer[:size]
            del buffer[: size + 2]
        for _ in range(_MOST_TRAILERS + 1):
            line = self._line(buffer, floor(len(content)), _LONGEST_LINE)
            if not line:
                self.rest = bytes(buffer)
                return bytes(content)
            if not _TRAILER.match(line):
                raise Problem.of("malformed-body", "what follows the last chunk are headers, or nothing")
        raise Problem.of("headers-too-large", f"there are more than {_MOST_TRAILERS} trailers")

    def _line(self, buffer: bytearray, deadline: float, longest: int) -> bytes:
        """The next line, without its CRLF. SECURITY: A5. A bare LF or CR ends nothing."""
        while True:
            end = buffer.find(b"\r\n", 0, longest + 2)
            if end >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 2]
                return line
            if len(buffer) > longest or b"\n" in buffer:
                raise Problem.of("malformed-body", "the chunks are not as RFC 9112 has them")
            buffer += self._receive(deadline)


def _too_large(most: int) -> Problem:
    return Problem.of("body-too-large", f"the body may have {most} bytes at most")
