"""The access log: one line for each exchange, written off the request path.

A finished exchange leaves a tuple in a queue; a greenlet makes lines of the queue ten times a second and writes them in one
``write`` to a file opened for appending, in a thread. When nobody takes the lines they are dropped and counted: a full disk
or a stuck pipe never holds up a request.

SECURITY: A25. Neither query strings nor headers are written, apart from User-Agent: credentials travel in both. A48: every
character that a terminal could obey is written as its escape.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import gevent
import orjson
from gevent.event import Event

from security.threads import give_way
from specs.exchange import Exchange

log = logging.getLogger("gatewright.journal")

#: Where standard error is the log.
STANDARD_ERROR = "-"
_LONGEST_TEXT = 512
_LARGEST_WRITE = 1 << 16
#: So many lines are made before requests get their turn, or the tenth part of those that wait.
_AT_ONCE = 25
#: How long the end waits for a write that is under way, in seconds.
_PATIENCE = 2.0

Entry = tuple[float, str, str, str, str, str, int, int, int, str, str, str, str, str]


class Journal:
    """Access lines to *place*: a file's name, ``-`` for standard error, or empty for nowhere.

    *style* is ``json`` (one object a line) or ``text``. At most *most* lines wait; *dropped* counts those that did not fit.
    """

    def __init__(
        self,
        place: str = STANDARD_ERROR,
        style: str = "json",
        *,
        most: int = 50_000,
        interval: float = 0.1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.dropped = 0
        self._place = place
        self._line = _text_line if style == "text" else _json_line
        self._queue: deque[Entry] = deque()
        self._most = most
        self._interval = interval
        self._clock = clock
        self._descriptor = _open(place)
        self._flusher: Any = None
        self._stopping = Event()

    def start(self) -> None:
        """Begin to write; belongs after the fork."""
        if self._descriptor is not None and self._flusher is None:
            self._flusher = gevent.spawn(self._run)

    def stop(self) -> None:
        """Write what is left, and let go of the file."""
        self._stopping.set()
        if self._flusher is not None:
            self._flusher.join(_PATIENCE)
            stuck = not self._flusher.dead
            self._flusher = None
            if stuck:  # in a write that does not end: what waits behind it would not end either
                self.dropped += len(self._queue)
                self._descriptor = None
                return
        self.flush()
        if self._descriptor is not None and self._place != STANDARD_ERROR:
            os.close(self._descriptor)
        self._descriptor = None

    def reopen(self) -> None:
        """Open the file again, after it was rotated."""
        if self._descriptor is not None and self._place != STANDARD_ERROR:
            fresh = _open(self._place)
            if fresh is not None:
                os.dup2(fresh, self._descriptor)
                os.close(fresh)

    def access(self, exchange: Exchange, nanoseconds: int) -> None:
        """Note that *exchange* has been answered. Never waits and never raises.

        PERF: 0.4 us; the line itself is made later, with many others.
        """
        if self._descriptor is None:
            return
        if len(self._queue) >= self._most:
            self.dropped += 1
            return
        problem = exchange.problem
        self._queue.append(
            (
                self._clock(),
                exchange.cid,
                exchange.address,
                exchange.method,
                exchange.path or exchange.target.partition("?")[0],
                exchange.host,
                exchange.response_status,
                len(exchange.response_body),
                nanoseconds,
                getattr(exchange.channel, "name", "") or "",
                exchange.identity.name,
                problem.code if problem is not None else "",
                exchange.headers.get("user-agent", ""),
                exchange.identity.user,
            )
        )

    def flush(self) -> None:
        """Write what is waiting, now."""
        self._write(self._lines(self._most))

    def _run(self) -> None:
        pool = gevent.get_hub().threadpool
        while not self._stopping.wait(self._interval):
            if self._queue:
                waiting = len(self._queue)
                at_once = max(_AT_ONCE, waiting // 10)
                lines = self._lines(at_once)
                while self._queue and len(lines) < waiting:
                    # PERF: five hundred lines are 2 ms, a hundredth of all requests would wait for them.
                    give_way()
                    lines += self._lines(at_once)
                # WHY: a file on a slow disk or a pipe that nobody reads blocks its thread, not the loop.
                pool.apply(self._write, (lines,))

    def _lines(self, most: int) -> list[bytes]:
        queue, line = self._queue, self._line
        return [line(queue.popleft()) for _ in range(min(len(queue), most))]

    def _write(self, lines: list[bytes]) -> None:
        """Write whole lines, as many as go into one write, so that lines of several workers do not mix."""
        batch: list[bytes] = []
        size = 0
        for line in lines:
            if size + len(line) > _LARGEST_WRITE and batch:
                self._write_out(b"".join(batch), len(batch))
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        if batch:
            self._write_out(b"".join(batch), len(batch))

    def _write_out(self, octets: bytes, count: int) -> None:
        if self._descriptor is None:
            return
        try:
            view = memoryview(octets)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self.dropped += count
            log.error("%s access lines are lost: %s", count, error.strerror)


def _open(place: str) -> int | None:
    if not place:
        return None
    if place == STANDARD_ERROR:
        return 2
    return os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


def printable(text: str) -> str:
    r"""*text* on one line, with nothing in it that a terminal obeys.

    >>> printable("a\x1b[31m\nb\u202e")
    'a\\x1b[31m\\nb\\u202e'
    """
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + "..."
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_FRACTIONS = [f".{thousandth:03d}Z" for thousandth in range(1000)]


@lru_cache(maxsize=8)
def _second(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _stamp(moment: float) -> str:
    # PERF: the texts of a second and of its thousandths are made once; a stamp of datetime's costs 1.1 us, this one 0.25.
    thousandths = int(moment * 1000)
    second = thousandths // 1000
    return _second(second) + _FRACTIONS[thousandths - second * 1000]


def _json_line(entry: Entry) -> bytes:
    moment, cid, address, method, path, host, status, size, nanoseconds, channel, identity, code, agent, user = entry
    # PERF: mostly all three are as they should be: one look at them is 0.1 us, one at each 0.3.
    words = path + identity + agent
    if len(words) > _LONGEST_TEXT or not words.isprintable():
        path, identity, agent = printable(path), printable(identity), printable(agent)
    line: dict[str, Any] = {
        "time": _stamp(moment),
        "cid": cid,
        "address": address,
        "method": method,
        "path": path,
        "host": host,
        "status": status,
        "bytes": size,
        "ms": (nanoseconds + 500) // 1000 / 1000,
        "channel": channel,
        "identity": identity,
    }
    if user:
        line["user"] = user  # the id of the person that the caller is, or whose credential it is
    if code:
        line["code"] = code
    if agent:
        line["agent"] = agent
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _text_line(entry: Entry) -> bytes:
    moment, cid, address, method, path, _, status, size, nanoseconds, channel, identity, code, agent, _user = entry
    request = printable(f"{method} {path}").replace('"', "%22")
    words = printable(agent).replace('"', "'")
    line = f'{_stamp(moment)} {address or "-"} {_word(identity)} "{request}" {status} {size} {nanoseconds / 1e6:.3f}ms {_word(channel)} {code or "-"} {cid} "{words}"\n'  # noqa: E501
    return line.encode("utf-8", "backslashreplace")


def _word(text: str) -> str:
    return printable(text).replace(" ", "_") or "-"
