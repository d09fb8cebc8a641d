"""Long JSON, read piece by piece: the same values and the same refusals as `specs.strict_json` has, never long in one call.

Whoever reads in a thread beside others has to let go of the interpreter now and then, and `orjson.loads` does not: eight
megabytes of ``[],[],`` are a second and a half in one call. So the text is cut at commas, wherever they are, into pieces of
`PIECE` bytes. Each is made a document of its own by what is open around it (``[{"a":[`` before, ``]}]`` behind), and what comes
out is put into what came before.

>>> parse(b'{"a": [1, [2, 3], {"b": [4]}], "c": 5}', piece=4)
{'a': [1, [2, 3], {'b': [4]}], 'c': 5}
>>> parse(b'[1, {"a": 2, "b": 3, "a": 4}]', piece=4)
Traceback (most recent call last):
specs.problems.Problem: 400 malformed-body: /1/a: this member stands here twice
"""

from __future__ import annotations

import re
from sys import getrefcount
from typing import Any, Final

import orjson

from specs import strict_json
from specs.problems import Problem
from specs.strict_json import Doubled, Reading, Wrong

#: Bodies of so many bytes are long.
LONG: Final = 65536
#: PERF: 64 KiB of the worst shape are 3 ms in one call; halves of it take a tenth longer in sum.
PIECE: Final = 32768

_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_CLOSED_THEN_OPENED = re.compile(rb"([\]}]*)([\[{]*)")
_BLANKS: Final = b" \t\r\n"
#: So many values are let go of at once.
_AT_ONCE: Final = 4096
#: A document that is nested deeper than this is not for us: nobody can allow it (`strict_json.DEEPEST`).
_MOST_ROUNDS: Final = 300


class _Unusual(Exception):
    """The text is not what it seemed to be: it is read as a whole, which says what is wrong with it."""


def parse(body: bytes, *, max_depth: int = strict_json.DEPTH, exact_decimals: bool = False, piece: int = PIECE) -> Any:
    """What `strict_json.parse` gives, and what it raises."""
    pieces = _Pieces(body, max_depth, exact_decimals, piece)
    try:
        return pieces.parse()
    except (_Unusual, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError):
        pass
    except Problem as problem:
        # What was read so far has no other end than all at once, in one call, while its frames refer to it.
        problem.__traceback__ = None
        pieces.let_go()
        raise
    pieces.let_go()
    return strict_json.parse(body, max_depth=max_depth, exact_decimals=exact_decimals)


class _Pieces:
    def __init__(self, body: bytes, max_depth: int, exact_decimals: bool, piece: int) -> None:
        self._body = body
        self._max_depth = max_depth
        self._exact = exact_decimals
        self._reading = Reading(exact_decimals)
        self._piece = piece
        self._too_deep: Problem | None = None
        self._closed = 0
        self._root: Any = None
        #: What is open where the next piece begins, outermost first: the map or list, and of a map the open member's name.
        self._open: list[tuple[Any, str]] = []

    def parse(self) -> Any:
        """Raises Problem, and _Unusual or what a reader raises where the text has to be read as a whole."""
        body, at = self._body, 0
        while True:
            end, brackets = self._cut(at)
            text = body[at:end].strip(_BLANKS)
            # A comma has something on either side, which is no bracket that closes or opens, and no comma.
            if not text or (at and text[0] in b"]},:") or (end < len(body) and text[-1] in b"[{,:"):
                raise _Unusual
            opened = self._opened(brackets) if end < len(body) else []
            if not opened and end < len(body):
                raise _Unusual
            before = b"".join(self._before())
            try:
                value = self._read(b"".join((before, text, *reversed([_CLOSING[kind] for kind in opened]))))
            except orjson.JSONDecodeError as error:
                raise self._not_json(error, body.index(text, at), len(before), len(text)) from None
            # What is open is found in what was read; what came before goes on where it was.
            last = _last(value, opened)
            if at:
                self._put(value)
                going_on = len(self._open) - self._closed
                self._open = [
                    (self._open[level][0] if level < going_on else found, name)
                    for level, (found, name) in enumerate(last)
                ]
            else:
                self._root, self._open = value, last
            if end == len(body):
                break
            at = end + 1
        if self._too_deep is not None:
            raise self._too_deep
        if self._reading.found:
            raise strict_json.refusal(self._root)
        root, self._root = self._root, None
        return root

    def let_go(self) -> None:
        """Nobody needs what was read."""
        read, self._root = [self._root], None
        self._open = []
        take_apart(read)

    def _not_json(self, error: orjson.JSONDecodeError, at: int, before: int, length: int) -> Problem:
        """What is said of an *error* in a piece of so many bytes that stands *at* in the body, with so many before it."""
        # WHY: reading 8 MiB as a whole to say the same takes 0.1 s in one call.
        octets = len(error.doc[: error.pos].encode()) - before
        if not 0 <= octets < length or "depth" in error.msg:
            raise _Unusual
        whole = self._body.decode("utf-8")
        place = len(self._body[: at + octets].decode("utf-8"))
        return strict_json.not_json(self._body, orjson.JSONDecodeError(error.msg, whole, place))

    def _cut(self, at: int) -> tuple[int, bytes]:
        """Where the piece that begins *at* ends, before a comma or with the body, and its brackets that stand in no text."""
        body, size = self._body, self._piece
        while at + size < len(body):
            # Texts are between quotation marks. What is escaped is none, and has the same length afterwards.
            window = body[at : at + size]
            if b"\\" in window:
                window = window.replace(b"\\\\", b"__").replace(b'\\"', b"__")
            parts = window.split(b'"')
            behind = 0
            for index in range(len(parts) - 1, -1, -1):
                comma = parts[index].rfind(b",") if index % 2 == 0 else -1
                if comma >= 0:
                    outside = b"".join((*parts[0:index:2], parts[index][:comma]))
                    return at + size - behind - len(parts[index]) + comma, outside
                behind += len(parts[index]) + 1
            size *= 2
        return len(body), b""

    def _opened(self, outside: bytes) -> list[int]:
        """What is open at the end of the piece: brackets. Notes how many of those before it are closed by then."""
        brackets = outside.translate(None, _ALL_BUT_BRACKETS)
        for _ in range(_MOST_ROUNDS):
            rest = brackets.replace(b"[]", b"").replace(b"{}", b"")
            if len(rest) == len(brackets):
                break
            brackets = rest
        match = _CLOSED_THEN_OPENED.fullmatch(brackets)
        if match is None or (self._open and len(match[1]) >= len(self._open)) or (match[1] and not self._open):
            raise _Unusual
        self._closed = len(match[1])
        kept = self._open[: len(self._open) - self._closed]
        return [*(_opening(container) for container, _ in kept), *match[2]]

    def _before(self) -> list[bytes]:
        """What stands before a piece: what is open, each in the member of the one around it."""
        before = []
        for level, (container, name) in enumerate(self._open):
            inside = level + 1 < len(self._open)
            if type(container) is list:
                before.append(b"[")
            else:
                before.append(b"{" + orjson.dumps(name) + b":" if inside else b"{")
        return before

    def _read(self, text: bytes) -> Any:
        value = orjson.loads(text)
        if text.count(b"{") + text.count(b"[") > self._max_depth:
            try:
                strict_json.check_depth(value, self._max_depth)
            except Problem as problem:
                self._too_deep = problem
        # WHY: what is too deep is refused in the end, and orjson prints no more levels than can be allowed.
        slowly = self._exact or self._too_deep is not None
        if slowly or ((printed := orjson.dumps(value)) != text and strict_json.may_lose(text, printed)):
            return self._reading.read(text)
        return value

    def _put(self, value: Any) -> None:
        """Put what a piece gave into what is open."""
        for level, (container, name) in enumerate(self._open):
            inside = level + 1 < len(self._open)
            if type(container) is list:
                container += value[1:] if inside else value
                value = value[0] if inside else None
                continue
            inner = value.pop(name) if inside else None
            if not container.keys().isdisjoint(value):
                for twice in container.keys() & value.keys():
                    value[twice] = self._reading.twice()
            if type(inner) is Wrong:
                # The name of what is open comes again: what is in it will not be seen.
                container[name] = inner
                inner = None
            container.update(value)
            if inside and inner is None:
                return
            value = inner


def take_apart(values: list[Any]) -> None:
    """Empty *values*, and the lists and maps in them, a few at a time; what somebody else refers to stays as it is.

    WHY: the last reference to four million lists frees them all in one call of a quarter of a second.
    """
    while values:
        value = values.pop()
        # Referred to by this name and by the question: nobody else has it.
        if getrefcount(value) > 2:
            continue
        if isinstance(value, list):
            while value:
                part = value[-_AT_ONCE:]
                del value[-_AT_ONCE:]
                values += [inner for inner in part if inner and isinstance(inner, (list, dict))]
                part.clear()
        elif isinstance(value, dict):
            # WHY by the class: a record's members hide its methods.
            while len(value) > _AT_ONCE:
                part = [dict.popitem(value)[1] for _ in range(_AT_ONCE)]
                values += [inner for inner in part if inner and isinstance(inner, (list, dict))]
                part.clear()
            values += [inner for inner in dict.values(value) if inner and isinstance(inner, (list, dict))]
            dict.clear(value)


_CLOSING: Final = {ord("["): b"]", ord("{"): b"}"}


def _opening(container: Any) -> int:
    return ord("[") if type(container) is list else ord("{")


def _last(value: Any, opened: list[int]) -> list[tuple[Any, str]]:
    """The last map or list in *value*, as deep as *opened* goes, with the name of the last member of each map."""
    found: list[tuple[Any, str]] = []
    for kind in opened:
        if type(value) is Wrong:
            # The name came twice. What is in it will not be seen, and is read all the same.
            value = [] if kind == ord("[") else {"": Wrong("", "")}
        if type(value) is list:
            found.append((value, ""))
            value = value[-1] if value else Wrong("", "")
        else:
            name = value.last if isinstance(value, Doubled) else next(reversed(value))
            found.append((value, name))
            value = value[name]
    return found
