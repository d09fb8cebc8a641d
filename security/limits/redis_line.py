"""The line to Redis: one connection, which all callers of a process share.

Whoever comes while nobody is at it takes the *turn*, writes the questions of all who wait, in one piece, and reads their answers;
who comes meanwhile waits, and one of those has the next turn. So there are never more answers on their way than somebody waits for,
and the more callers there are, the less each one pays for the system's part.

redis-py finds the server, connects, proves who we are and speaks TLS; only the questions and answers of debits are ours. What an
answer must look like is known to the byte before it comes, its question's number included. Whatever else comes, or does not come in
time, ends the connection: nobody is ever given another caller's answer.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from security.limits import StoreUnavailable
from security.limits.redis_script import NUMBER, Question
from security.threads import patched

#: Questions that leave together: many enough that the system's part is small, few enough that both sides' buffers hold them.
MOST = 64
#: Bytes read at once, and the longest error.
LARGEST_READ, LONGEST_ERROR = 65_536, 4096
#: What a server says that has done nothing, and that redis-py has an answer to: it finds who serves the keys, or loads the script.
ELSEWHERE = (b"NOSCRIPT", b"MOVED", b"ASK", b"TRYAGAIN", b"CLUSTERDOWN")
#: Those of them after which the same server may be asked again.
STILL_HERE = (b"NOSCRIPT", b"ASK", b"TRYAGAIN")


class OutOfProtocol(OSError):
    """What came is no answer to what was asked."""


class Readable:
    """What waits, by way of the hub, until something has come.

    WHY: an answer that is there before it is waited for, which is usual where Redis is near, is read without anybody else having
    had a turn: the same caller would ask again and again, alone.
    """

    def __init__(self, descriptor: int) -> None:
        import gevent

        self._hub = gevent.get_hub()
        self._timeout = gevent.Timeout
        self._watcher = self._hub.loop.io(descriptor, 1)

    def wait(self, seconds: float) -> None:
        """Raises TimeoutError."""
        with self._timeout(seconds, TimeoutError("no answer")):
            self._hub.wait(self._watcher)

    def close(self) -> None:
        """Look no more."""
        self._watcher.close()


class Asked:
    """One caller's question on its way; it is *over* with numbers as its answer, with a failure, or with neither: ask elsewhere."""

    __slots__ = ("answer", "failure", "leads", "over", "question", "tail", "woken")

    def __init__(self, question: Question, tail: bytes) -> None:
        self.question = question
        self.tail = tail
        self.answer: tuple[float, ...] | None = None
        self.failure = ""
        self.over = False
        self.leads = False
        self.woken: threading.Lock | None = None


class Line:
    """The connection of this process to the server that *find* gives a pool of. *patience* is in seconds, for a whole exchange.

    *moment* gives when it is asked, and that as the bytes that questions carry; *told* is given the same, and the answer.
    """

    def __init__(
        self,
        find: Callable[[], Any],
        moment: Callable[[], tuple[int, bytes]],
        told: Callable[[int, tuple[float, ...]], None],
        patience: float,
    ) -> None:
        from redis.exceptions import RedisError

        #: WHY: a forked process must not write into its parent's connection; who has a line looks.
        self.process = os.getpid()
        self._find = find
        self._moment = moment
        self._told = told
        self._patience = patience
        self._errors = (RedisError, OSError)
        #: WHY no lock: gevent's gives way to others where it is not to be had, and who gives way may be killed.
        self._turn = deque([True])
        self._waiting: deque[Asked] = deque()
        self._number = 0
        self._pool: Any = None
        self._connection: Any = None
        self._socket: Any = None
        self._poll: Any = None
        self._ready: Readable | None = None

    def ask(self, question: Question, identifier: bytes = b"") -> tuple[float, ...] | None:
        """The answer's numbers; None where the server did nothing and redis-py is to be asked. Raises StoreUnavailable."""
        tail = b"\r\n$%d\r\n%b\r\n" % (len(identifier), identifier) if question.named else b"\r\n"
        mine = Asked(question, tail)
        if self._take():
            self._waiting.append(mine)
        else:
            mine.woken = threading.Lock()
            mine.woken.acquire()
            self._waiting.append(mine)
            # Whoever had the turn may have left before this was to be seen.
            if not self._take():
                self._wait(mine, mine.woken)
        if not mine.over:
            at_rest = not mine.leads
            try:
                while not mine.over:
                    self._exchange(mine, at_rest)
                    at_rest = False
            finally:
                self._leave()
        if mine.failure:
            raise StoreUnavailable(mine.failure)
        return mine.answer

    def close(self) -> None:
        """Give the connection back."""
        self._drop()

    def _wait(self, mine: Asked, woken: threading.Lock) -> None:
        try:
            woken.acquire()
        except BaseException:
            # A deadline, say. Where the answer is on its way nobody reads it; where the turn was ours it is the next one's.
            try:
                self._waiting.remove(mine)
            except ValueError:
                pass
            if mine.leads and not mine.over:
                self._leave()
            raise

    def _take(self) -> bool:
        """Have the turn, if nobody has it."""
        try:
            return self._turn.pop()
        except IndexError:
            return False

    def _leave(self) -> None:
        """Give the turn to the first of those who wait."""
        waiting = self._waiting
        self._turn.append(True)
        # Who came until now could not have it.
        while waiting and self._take():
            try:
                first = waiting[0]
            except IndexError:
                self._turn.append(True)
                continue
            first.leads = True
            assert first.woken is not None
            first.woken.release()
            return

    def _exchange(self, mine: Asked, at_rest: bool) -> None:
        """Ask for all who wait, and tell each."""
        waiting = self._waiting
        batch = [waiting.popleft() for _ in range(min(len(waiting), MOST))]
        failure, begun = "interrupted", time.monotonic()
        try:
            self._connect(at_rest)
            self._converse(batch)
        except self._errors as error:
            failure = f"{type(error).__name__}: {str(error)[:200]}"
            # WHY: for a server that is gone, or silent, nobody waits once more who has waited as long already.
            if self._socket is None or time.monotonic() - begun > self._patience / 2:
                batch += [waiting.popleft() for _ in range(len(waiting))]
            self._drop()
        except BaseException:
            self._drop()
            raise
        finally:
            for one in batch:
                if not one.over:
                    one.failure = f"Redis does not count: {failure}"
                    one.over = True
                if one is not mine and one.woken is not None:
                    one.woken.release()

    def _connect(self, at_rest: bool) -> None:
        if self._socket is not None:
            # What comes when nobody has asked is an end, or an answer too many.
            if not at_rest or not self._poll.poll(0):
                return
            self._drop()
        self._pool = self._find()
        self._connection = connection = self._pool.get_connection()
        poll = _poller()
        # WHY this attribute: redis-py gives nobody its socket, and each answer by way of its parser would cost as much as all this.
        self._socket, self._poll = connection._sock, poll
        self._socket.settimeout(self._patience)
        poll.register(self._socket, select.POLLIN)
        self._ready = Readable(self._socket.fileno()) if patched() else None

    def _drop(self) -> None:
        connection, pool, ready = self._connection, self._pool, self._ready
        self._connection = self._pool = self._socket = self._poll = self._ready = None
        if ready is not None:
            ready.close()
        if connection is not None:
            connection.disconnect()
            pool.release(connection)

    def _converse(self, batch: list[Asked]) -> None:
        asked, moment = self._moment()
        number = self._number
        parts: list[bytes] = []
        for one in batch:
            number += 1
            parts += (one.question.head, NUMBER.pack(number), moment, one.tail)
        first, self._number = self._number + 1, number
        end = time.monotonic() + self._patience
        # Somebody may close the line meanwhile.
        socket = self._socket
        socket.sendall(b"".join(parts))
        if self._ready is not None:
            self._ready.wait(self._patience)
        came, at, stays, answer = socket.recv(LARGEST_READ), 0, True, None
        for number, one in enumerate(batch, first):
            question = one.question
            after = at + question.length
            # PERF: nearly always all of it is there.
            if len(came) < after or not came.startswith(question.announced, at) or came[after - 2 : after] != b"\r\n":
                came, after, error = self._odd(socket, question, came, at, end)
                if error is not None:
                    stays &= _note(one, error)
                    at = after
                    continue
            numbers = question.read(came, at + len(question.announced))
            if numbers[0] != number:
                raise OutOfProtocol("an answer to another question")
            one.answer = answer = numbers
            one.over = True
            at = after
        if len(came) != at:
            raise OutOfProtocol("more answers than questions")
        if answer is not None:
            self._told(asked, answer)
        if not stays:
            self._drop()

    def _odd(
        self, socket: Any, question: Question, came: bytes, at: int, end: float
    ) -> tuple[bytes, int, bytes | None]:
        """An answer that is not there yet, or is an error: what has come then, where the answer ends, and its error."""
        announced, length = question.announced, question.length
        while True:
            begin = came[at : at + len(announced)]
            if begin == announced:
                if len(came) >= at + length:
                    if came[at + length - 2 : at + length] != b"\r\n":
                        raise OutOfProtocol("an answer without its end")
                    return came, at + length, None
            elif begin[:1] == b"-":
                stop = came.find(b"\r\n", at, at + LONGEST_ERROR)
                if stop >= 0:
                    return came, stop + 2, came[at + 1 : stop]
                if len(came) >= at + LONGEST_ERROR:
                    raise OutOfProtocol("an error without its end")
            elif not announced.startswith(begin):
                raise OutOfProtocol("no answer to what was asked")
            came += self._more(socket, end)

    def _more(self, socket: Any, end: float) -> bytes:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("half an answer")
        socket.settimeout(left)
        came: bytes = socket.recv(LARGEST_READ)
        if not came:
            raise ConnectionResetError("the server has closed the connection")
        socket.settimeout(self._patience)
        return came


def _note(one: Asked, error: bytes) -> bool:
    """What becomes of a question that was answered with *error*; whether the connection may be used again."""
    word = error.partition(b" ")[0]
    one.over = True
    if word not in ELSEWHERE:
        one.failure = f"Redis does not count: {error[:200].decode(errors='replace')}"
    return word in STILL_HERE


def _poller() -> Any:
    """What looks at sockets and does not wait: the system's own, since gevent's goes by way of the hub."""
    monkey = sys.modules.get("gevent.monkey")
    return (monkey.get_original("select", "poll") if monkey is not None else select.poll)()
