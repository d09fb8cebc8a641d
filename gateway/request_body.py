"""The body of one request, read when somebody asks for it: `Body`.

Nothing is read at accept. Whoever reads says how much is welcome; more is 413, slower than a floor is 408, and chunks are
read to the letter: one to eight hexadecimal digits and CRLF, no extensions, trailers dropped (A5, A36). `Body.read` gives
the whole, `Body.pieces` what has come so far, for whoever hands it on: the caller sends no faster than pieces are taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from gateway.bounds import Bounds, Held
from gateway.long_bodies import LONG, beside
from gateway.transport import LARGEST_READ, Gone, Late, Transport
from security.threads import give_way
from specs.compression import decode_content
from specs.problems import Problem

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")
#: What may still become the beginning of a chunk.
_BEGUN = re.compile(rb"(?:[0-9a-fA-F]{1,8}\r?)?")
#: So many chunks are read before others get their turn.
_IN_TURN = 1000
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\Z")
_LONGEST_LINE = 8190
_MOST_TRAILERS = 20
#: What is made of bodies that are no longer is not counted: a thousand requests at a time make 120 MB of them at most.
LIGHT = 4096


class Body:
    """A body of *length* bytes (-1: chunked), of which *buffered* has come with the head.

    After the answer, `finished` says whether the next request begins at `rest`. What is read as a whole counts as *held* until
    `release`, and `holds` says how much that is.
    """

    __slots__ = (
        "_arrived", "_bounds", "_content", "_expects", "_held", "_length", "_made", "_patience", "_transport", "finished", "holds",
        "rest", "touched",
    )  # fmt: skip

    def __init__(
        self, transport: Transport, bounds: Bounds, length: int, buffered: bytes, expects: bool, held: Held
    ) -> None:
        self._transport = transport
        self._bounds = bounds
        self._length = length
        self._expects = expects
        self._content: bytes | None = None if length else b""
        self._patience = bounds.body_seconds
        self.rest = buffered
        self.finished = length == 0
        self.touched = False
        self.holds = self._made = 0
        self._held = held
        self._arrived = 0

    def arrived(self) -> int:
        """How many bytes of the body have come, as far as somebody asked for them."""
        if self._length < 0 or self.touched:
            return self._arrived
        return self._length if self.finished else min(self._length, len(self.rest))

    def read(self, most: int, coding: str = "", weigh: Callable[[bytes], int] | None = None) -> bytes:
        """The whole body, which is at most *most* bytes, with its content *coding* undone; the same bytes each time.

        What is made of a long one counts as held too, as *weigh* reckons it. Raises Problem 413, 408 and 400, 415 for a coding
        that is not known, and 503 while too much is held already.
        """
        length = self._length
        if self._content is None and 0 < length <= most and length == len(self.rest):
            # PERF: nearly every body comes with its head, and nothing after it.
            content = self._content = self.rest
            self.rest = b""
            self.finished = True
        else:
            content = self._whole(most)
        if coding and content:
            packed = content
            # WHY: nobody knows how long it is when it is unpacked.
            content = beside(lambda: decode_content(packed, coding, most), len(packed), self._transport.ends)
            if content is not packed:
                self._hold(len(content))
        if weigh is not None and len(content) > LIGHT:
            whole = content
            long = len(content) > LONG
            count = beside(lambda: weigh(whole), len(whole), self._transport.ends) if long else weigh(content)
            self._hold_values(count)
        return content

    def _whole(self, most: int) -> bytes:
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
            content = b"".join(self._keeping(most))
        self._content = content
        self.finished = True
        return content

    def pieces(self, most: int) -> Iterator[bytes]:
        """The body piece by piece, once, at most *most* bytes of it. Raises as `read` does, between pieces too."""
        length = self._length
        if self._content is not None or 0 < length <= len(self.rest):
            content = self.read(most)
            if content:
                yield content
            return
        if length > most:
            raise _too_large(most)
        for piece in self._arriving(most):
            if piece:
                yield piece
        self._content = b""
        self.finished = True

    def _keeping(self, most: int) -> Iterator[bytes]:
        for piece in self._arriving(most):
            self._hold(len(piece))
            yield piece

    def _hold(self, count: int) -> None:
        # SECURITY: A36. A thousand bodies, each as long as one may be, are more than a machine has.
        if self._held.octets + count > self._bounds.bodies:
            raise Problem.of("overloaded", "too much is being sent at the moment", headers=[("Retry-After", "1")])
        self._held.octets += count
        self.holds += count

    def _hold_values(self, count: int) -> None:
        """Count what is made of the body, once; where nobody else holds any it is never too much."""
        held = self._held
        if self._made:
            return
        if held.made and held.made + count > self._bounds.bodies:
            raise Problem.of("overloaded", "too much is being worked on at the moment", headers=[("Retry-After", "1")])
        held.made += count
        self._made = count
        self.holds += count

    def release(self) -> None:
        """Nobody needs the body any more: what it took is free for others."""
        self._held.octets -= self.holds - self._made
        self._held.made -= self._made
        self.holds = self._made = 0

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

    def _arriving(self, most: int) -> Iterator[bytes]:
        if self.touched:
            raise Problem.of("malformed-body", "the body has been given up already")
        self.touched = True
        if self._expects and not self.rest:
            self._say_continue()
        return self._by_length(self._length) if self._length > 0 else self._by_chunks(most)

    def _receive(self) -> bytes:
        """The next bytes. SECURITY: A35. A pause has an end, and whoever makes many of them is as slow as `rate` at least."""
        clock = self._transport.clock
        began = clock()
        try:
            octets = self._transport.receive(began + self._patience, LARGEST_READ)
        except Late:
            raise Problem.of("request-timeout", "the body came too slowly") from None
        if not octets:
            raise Problem.of("malformed-body", "the connection ended before the body did")
        bounds = self._bounds
        self._patience = min(bounds.body_seconds, self._patience + len(octets) / bounds.rate - (clock() - began))
        return octets

    def _say_continue(self) -> None:
        try:
            self._transport.send(_CONTINUE, self._bounds.write_seconds, self._bounds.rate)
        except (Late, Gone):
            raise Problem.of("request-timeout", "nobody is there to send the body") from None

    def _by_length(self, length: int) -> Iterator[bytes]:
        # SECURITY: A36. What is kept grows with what has come, not with what was announced.
        piece, self.rest = self.rest, b""
        while length > len(piece):
            length -= len(piece)
            self._arrived += len(piece)
            if piece:
                yield piece
            piece = self._receive()
        self._arrived += length
        self.rest = piece[length:]
        yield piece[:length]

    def _by_chunks(self, most: int) -> Iterator[bytes]:
        # PERF: 0.6 us for a chunk that is here, however many there are: what has come is given on together.
        octets, at, received, turn = self.rest, 0, 0, 0
        self.rest = b""
        here: list[bytes] = []
        while True:
            found = _CHUNK.match(octets, at)
            while found is None:
                if not _BEGUN.fullmatch(octets, at):
                    raise Problem.of(
                        "malformed-body", "a chunk begins with its size in one to eight hexadecimal digits"
                    )
                yield b"".join(here)
                here.clear()
                octets, at = octets[at:] + self._receive(), 0
                found = _CHUNK.match(octets, at)
            at, size = found.end(), int(found[1], 16)
            if size == 0:
                break
            received += size
            if received > most:
                raise _too_large(most)
            piece = octets[at : at + size]
            at += size
            while True:
                self._arrived += len(piece)
                here.append(piece)
                size -= len(piece)
                if not size:
                    break
                yield b"".join(here)
                here.clear()
                octets = self._receive()
                piece, at = octets[:size], size
            while len(octets) < at + 2:
                yield b"".join(here)
                here.clear()
                octets, at = octets[at:] + self._receive(), 0
            if octets[at : at + 2] != b"\r\n":
                raise Problem.of("malformed-body", "a chunk is as long as it says and ends with CRLF")
            at += 2
            turn += 1
            if turn % _IN_TURN == 0:
                # SECURITY: A35. A body of chunks of a byte is millions of them, and its sender never makes us wait.
                give_way()
        yield b"".join(here)
        buffer = bytearray(octets[at:])
        for _ in range(_MOST_TRAILERS + 1):
            line = self._line(buffer, _LONGEST_LINE)
            if not line:
                self.rest = bytes(buffer)
                return
            if not _TRAILER.match(line):
                raise Problem.of("malformed-body", "what follows the last chunk are headers, or nothing")
        raise Problem.of("headers-too-large", f"there are more than {_MOST_TRAILERS} trailers")

    def _line(self, buffer: bytearray, longest: int) -> bytes:
        """The next line, without its CRLF. SECURITY: A5. A bare LF or CR ends nothing."""
        while True:
            end = buffer.find(b"\r\n", 0, longest + 2)
            if end >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 2]
                return line
            if len(buffer) > longest or b"\n" in buffer:
                raise Problem.of("malformed-body", "the chunks are not as RFC 9112 has them")
            buffer += self._receive()


def _too_large(most: int) -> Problem:
    return Problem.of("body-too-large", f"the body may have {most} bytes at most")
