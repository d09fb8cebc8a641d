"""A response whose body is still on its way, for whoever hands it on piece by piece: `Streamed`, and `begin_stream`.

Nothing is kept beyond what one read gave: the system sends no faster than the pieces are taken, and the request's body is
taken no faster than the system reads it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf

from backends.http_wire import Connection, Headers, Heads, Known, Reading
from specs.problems import BackendError, BackendTimeout, BackendUnavailable

#: A body that is no longer than this is waited for: one write to the caller instead of two.
WHOLE = 64 * 1024


class Patience:
    """The seconds that the next wait may take: *silence* between two bytes, and not beyond `deadline`."""

    __slots__ = ("deadline", "silence")

    def __init__(self, silence: float) -> None:
        self.silence = silence
        self.deadline = inf

    def __call__(self) -> float:
        if self.deadline == inf:
            return self.silence
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise BackendTimeout("no answer in time")
        return min(remaining, self.silence)


class Streamed:
    """What the system answers: *status*, *headers*, and the pieces of its body, which can be taken once.

    *fields* are its headers as they came, and *connection* is what it said of the connection: names of headers that are not
    for anybody beyond it, among others.

    Belongs to whoever asked, who takes all pieces or calls `close`. *over* is told, once, of the
    connection and whether the body came to its end.
    """

    __slots__ = ("_connection", "_over", "_patience", "_reading", "_sent", "connection", "fields", "status")
    known: Known | None = None

    def __init__(
        self,
        connection: Connection,
        reading: Reading,
        patience: Patience,
        sent: bool,
        over: Callable[[Connection, bool], None],
    ) -> None:
        self.status = reading.status
        self.fields: Sequence[tuple[str, str]] = reading.fields
        self.connection = reading.connection
        self._connection = connection
        self._reading = reading
        self._patience = patience
        self._sent = sent
        self._over: Callable[[Connection, bool], None] | None = over

    @property
    def headers(self) -> Headers:
        """The headers, by name."""
        return Headers(self.fields)

    def whole(self) -> bytes | None:
        """The body, where all of it is here or it is short; else None. Raises BackendError."""
        reading = self._reading
        if not reading.complete and reading.length is not None and reading.length <= WHOLE:
            # PERF: one write to the caller; a small answer that came in two packets would cost two and the chunks around them.
            while not reading.complete:
                self._read()
        if not reading.complete:
            return None
        self._end()
        return b"".join(reading.body)

    def __iter__(self) -> Iterator[bytes]:
        reading = self._reading
        try:
            while True:
                if reading.body:
                    piece = b"".join(reading.body)
                    reading.body.clear()
                    yield piece
                if reading.complete:
                    self._end()
                    return
                self._read()
        finally:
            self.close()

    def _read(self) -> None:
        connection = self._connection
        try:
            connection.read_some(self._reading, self._patience)
        except TimeoutError:
            self.close()
            raise BackendTimeout(f"{connection.origin}: silent in the middle of an answer") from None
        except OSError as error:
            self.close()
            raise BackendError(f"{connection.origin}: broke off in the middle of an answer: {error}") from error
        except BaseException:
            self.close()
            raise

    def _end(self) -> None:
        # SECURITY: A6, A7. Only a connection over which both sides have said everything, and nothing more, is used again.
        reading = self._reading
        self._connection.used = True
        self._connection.reusable = reading.keep_alive and not reading.surplus and self._sent
        self._finish(True)

    def close(self) -> None:
        """Give up what has not been taken; the connection is not used again."""
        self._finish(False)

    def _finish(self, whole: bool) -> None:
        over, self._over = self._over, None
        if over is not None:
            over(self._connection, whole)


class Whole:
    """An answer that is all here; what `Streamed` is for those that are not. *known* is its head, which was read before."""

    __slots__ = ("connection", "content", "fields", "known", "status")

    def __init__(self, known: Known, content: bytes) -> None:
        self.status = known.status
        self.fields: Sequence[tuple[str, str]] = known.fields
        self.connection = known.connection
        self.known: Known | None = known
        self.content = content

    @property
    def headers(self) -> Headers:
        """The headers, by name."""
        return Headers(self.fields)

    def whole(self) -> bytes | None:
        """The body."""
        return self.content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content

    def close(self) -> None:
        """Nothing is held."""


def begin_stream(
    connection: Connection,
    head: bytes,
    body: bytes | Iterable[bytes],
    chunked: bool,
    head_only: bool,
    most: int,
    timeout: float,
    silence: float,
    heads: Heads,
    over: Callable[[Connection, bool], None],
) -> Streamed | Whole:
    """Send a request and read the head of its response, which is due *timeout* seconds after the request was out.

    *head* ends with its empty line; a *body* in pieces is sent as it comes, in chunks where its length is unknown. *heads*
    are those that came before. Raises what *body* raises, OSError, BackendTimeout and BackendError.
    """
    connection.begin()
    refused: OSError | None = None
    sent = True
    try:
        if isinstance(body, bytes):
            connection.say(head + body, silence)
        else:
            sent = _send_pieces(connection, head, body, chunked, silence)
    except (BrokenPipeError, ConnectionResetError) as error:
        refused, sent = error, False
    began = time.monotonic()
    try:
        received = connection.hear(silence if silence < timeout else timeout)
        end = 0 if head_only else received.find(b"\r\n\r\n") + 4
        known = heads.get(received[:end])
        if known is not None and len(received) - end == known.length:
            # SECURITY: A6, A7. The same bytes that the parser has read, then as many as they promise and not one more.
            connection.used = True
            connection.reusable = known.keep_alive and sent
            over(connection, True)
            return Whole(known, received[end:])
        reading = Reading(head_only, most)
        unread = connection.take_in(reading, received, head_only)
        if reading.complete and not reading.surplus and len(received) - end == reading.size:
            heads.keep(received[:end], reading)
        patience = Patience(silence)
        patience.deadline = began + timeout
        while not (reading.complete or (reading.head_done and reading.status >= 200)):
            unread = connection.read_some(reading, patience, head_only, unread)
    except OSError:
        if refused is not None and not connection.answering:
            raise refused from None
        raise
    patience.deadline = inf
    return Streamed(connection, reading, patience, sent, over)


def _send_pieces(connection: Connection, head: bytes, body: Iterable[bytes], chunked: bool, silence: float) -> bool:
    """Send a request whose body comes in pieces; False where it was left in the middle. Raises as `begin_stream`."""
    pending = head
    for piece in body:
        if not pending and connection.talks():
            # It has answered already, most likely a refusal: whoever sends on would never hear of it.
            return False
        octets = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
        connection.say(pending + octets if pending else octets, silence)
        pending = b""
    end = pending + b"0\r\n\r\n" if chunked else pending
    if end:
        connection.say(end, silence)
    return True


class NothingAnswered(BackendUnavailable):
    """A call broke before any byte of an answer. *unsent*: not a byte of the request had left either."""

    def __init__(self, message: str, *, unsent: bool = False) -> None:
        super().__init__(message)
        self.unsent = unsent
