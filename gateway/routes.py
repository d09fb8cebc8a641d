"""Which channel does a path lead to? A tree of segments, whose cost is the path's length and not the number of channels.

Templates are written as in Falcon: ``/customers/{cust_id}``, ``/orders/{number:int(6)}``, ``/days/{day:dt("%Y-%m-%d")}``,
``/files/{path:path}``, ``/compare/{base}...{head}``. At each segment a literal is preferred to a mixed segment, that to a
converted variable, that to a plain one; a choice that leads nowhere is taken back.

>>> routes = Routes()
>>> routes.add("/customers/{cust_id}", ["GET"], "customers", name="get-customer")
>>> routes.find("", "/customers/12").methods["GET"], routes.find("", "/customers/12").params
('customers', {'cust_id': '12'})
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from specs.exchange import NOTHING
from specs.problems import ConfigurationError, nearest

_FIELD = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


Check = Callable[[str], bool]


def _between(value: float, min: float | None, max: float | None) -> bool:  # noqa: A002 - Falcon's names
    return (min is None or value >= min) and (max is None or value <= max)


def _int(num_digits: int | None = None, min: int | None = None, max: int | None = None) -> Check:  # noqa: A002
    if num_digits is not None and not 1 <= num_digits <= 20:
        raise ValueError("num_digits is 1 to 20")

    def check(text: str) -> bool:
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 20):
            return False
        return (num_digits is None or len(text) == num_digits) and _between(int(text), min, max)

    return check


def _float(min: float | None = None, max: float | None = None, finite: bool = True) -> Check:  # noqa: A002
    if not finite:
        raise ValueError("only finite numbers are taken")
    shape = re.compile(r"-?\d{1,20}(\.\d{1,20})?", re.ASCII)
    return lambda text: shape.fullmatch(text) is not None and _between(float(text), min, max)


def _uuid() -> Check:
    def check(text: str) -> bool:
        try:
            return str(UUID(text)) == text.lower()
        except ValueError:
            return False

    return check


def _dt(format_string: str = "%Y-%m-%dT%H:%M:%S%z") -> Check:
    datetime.strptime(datetime(2026, 1, 2, tzinfo=UTC).strftime(format_string), format_string)

    def check(text: str) -> bool:
        try:
            datetime.strptime(text, format_string)
        except ValueError:
            return False
        return True

    return check


def _path() -> Check:
    return bool


#: Falcon's converters: what makes a check of their arguments. The value stays a text, since the service's contract gives it its
#: type.
CONVERTERS: dict[str, Callable[..., Check]] = {"int": _int, "float": _float, "uuid": _uuid, "dt": _dt, "path": _path}


@cache
def check_of(converter: str) -> Check:
    """Which texts a converter as it is written (``int(min=1)``) lets through. Raises ValueError for one that is none.

    >>> check_of("int(2, max=20)")("17"), check_of("int(2, max=20)")("7")
    (True, False)
    """
    word, bracket, rest = converter.partition("(")
    if word not in CONVERTERS:
        raise ValueError(f"no converter called '{word}': {nearest(word, CONVERTERS)}")
    if bracket and not rest.endswith(")"):
        raise ValueError("a bracket is not closed")
    try:
        call = ast.parse(f"f({rest[:-1]})", mode="eval").body
        assert isinstance(call, ast.Call)
        positional = [ast.literal_eval(argument) for argument in call.args]
        named = {str(argument.arg): ast.literal_eval(argument.value) for argument in call.keywords}
        check = CONVERTERS[word](*positional, **named)
        check("0")
        return check
    except (SyntaxError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(f"not what '{word}' takes: ({rest} ({error})") from None


class Match(NamedTuple):
    """What a path leads to: the target of each method, and the values of the template's variables."""

    methods: Mapping[str, Any]
    params: Mapping[str, str]


class Variables(NamedTuple):
    """A segment of a template that holds variables. *literals* are the texts around them, where there are any."""

    names: tuple[str, ...]
    converter: str = ""
    literals: tuple[str, ...] = ()


class _Leaf:
    """The end of a template: targets by host ("" for any host) and method, with the channels' names for messages."""

    __slots__ = ("channels", "hosts", "names")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.hosts: dict[str, dict[str, Any]] = {}
        self.channels: dict[tuple[str, str], str] = {}

    def methods(self, host: str) -> dict[str, Any] | None:
        found = self.hosts.get(host) if host else None
        return self.hosts.get("") if found is None else found


class _Node:
    __slots__ = ("end", "literals", "mixed", "rest", "variables")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.mixed: dict[tuple[str, ...], _Node] = {}
        self.variables: dict[str, _Node] = {}  #: by converter; "" (any text) is looked at last
        self.end: _Leaf | None = None
        self.rest: _Leaf | None = None  #: takes whatever is left of the path


class Routes:
    """Paths and the targets they lead to. Built once for a snapshot, then only read."""

    def __init__(self) -> None:
        self._root = _Node()
        self._literal: dict[str, _Leaf] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(
        self,
        template: str,
        methods: Iterable[str],
        target: Any,
        *,
        name: str,
        hosts: Iterable[str] = (),
        prefix: bool = False,
    ) -> None:
        """Lead *template* and *methods* to *target*; with *prefix*, every path below the template too.

        Raises ConfigurationError at ``channels.<name>.path``: not a template, or a path and method that another channel has.
        """
        place = f"channels.{name}.path"
        segments = parse_template(template, place)
        node = self._root
        names: list[str] = []
        rest = prefix
        if prefix and segments[-1] == "":
            segments = segments[:-1]
        for segment in segments:
            if isinstance(segment, str):
                node = node.literals.setdefault(segment, _Node())
                continue
            names.extend(segment.names)
            if segment.converter == "path":
                rest = True
            elif segment.literals:
                node = node.mixed.setdefault(segment.literals, _Node())
            else:
                node = node.variables.setdefault(segment.converter, _Node())
        leaf = node.rest if rest else node.end
        if leaf is None:
            leaf = _Leaf(tuple(names))
            if rest:
                node.rest = leaf
            else:
                node.end = leaf
        elif leaf.names != tuple(names):
            raise ConfigurationError(
                place,
                f"'{template}' has the shape of another channel's path, with other names",
                f"use {', '.join(leaf.names)}",
            )
        self._take(leaf, [host.lower() for host in hosts] or [""], methods, target, name, place, template)
        if not names and not rest:
            self._literal[template] = leaf
        self._size += 1

    def taken(self, template: str, methods: Iterable[str], *, prefix: bool = False) -> bool:
        """Whether another channel has this template, without variables, and one of these methods, for any host."""
        node: _Node | None = self._root
        for segment in parse_template(template):
            node = node.literals.get(str(segment)) if node is not None else None
        leaf = None if node is None else node.rest if prefix else node.end
        return leaf is not None and any(method in leaf.hosts.get("", {}) for method in methods)

    def find(self, host: str, path: str) -> Match | None:
        """The targets that *path* (decoded, canonical) leads to on *host*, or None."""
        leaf = self._literal.get(path)
        if leaf is not None:
            methods = leaf.methods(host)
            if methods is not None:
                return Match(methods, NO_VALUES)
        values: list[str] = []
        leaf = _walk(self._root, path[1:].split("/"), 0, values, host)
        if leaf is None:
            return None
        return Match(leaf.methods(host) or {}, dict(zip(leaf.names, values, strict=False)))

    def _take(
        self, leaf: _Leaf, hosts: list[str], methods: Iterable[str], target: Any, name: str, place: str, template: str
    ) -> None:
        for host in hosts:
            targets = leaf.hosts.setdefault(host, {})
            for method in methods:
                if method in targets:
                    other = leaf.channels[host, method]
                    raise ConfigurationError(
                        place,
                        f"'{method} {template}' leads to the channel '{other}' already",
                        "give one of them another path",
                    )
                targets[method] = target
                leaf.channels[host, method] = name


NO_VALUES: Mapping[str, str] = NOTHING


def parse_template(template: str, place: str = "path") -> list[str | Variables]:
    """The segments of *template*: texts, and `Variables` where there are any. Raises ConfigurationError at *place*."""
    if not template.startswith("/"):
        raise ConfigurationError(place, f"the path '{template}' does not begin with a slash", f"write /{template}")
    segments: list[str | Variables] = []
    seen: set[str] = set()
    texts = template[1:].split("/")
    for position, text in enumerate(texts):
        if "{" not in text and "}" not in text:
            if (
                text in (".", "..")
                or (text == "" and position < len(texts) - 1)
                or re.search(r"[\x00-\x20\x7f?#\\%;]", text)
            ):
                raise ConfigurationError(
                    place, f"'{template}' has a segment that no request can have", f"leave out '{text}'"
                )
            segments.append(text)
            continue
        variables = _parse_variables(text, template, place)
        if variables.converter == "path" and position < len(texts) - 1:
            raise ConfigurationError(place, f"'{template}' goes on after a path variable", "let {name:path} come last")
        for name in variables.names:
            if name in seen:
                raise ConfigurationError(
                    place, f"'{template}' uses the variable '{name}' twice", "give each its own name"
                )
            seen.add(name)
        segments.append(variables)
    return segments


def _parse_variables(text: str, template: str, place: str) -> Variables:
    names: list[str] = []
    literals: list[str] = []
    converter = ""
    position = 0
    for field in _FIELD.finditer(text):
        name, colon, converter = field[1].partition(":")
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                place, f"'{template}' has a variable that is no name: '{field[0]}'", "write {cust_id}"
            )
        if colon:
            try:
                check_of(converter)
            except ValueError as error:
                raise ConfigurationError(place, f"'{template}': {error}", "write {number:int} or {day:dt}") from None
        literals.append(text[position : field.start()])
        position = field.end()
        names.append(name)
    literals.append(text[position:])
    if "{" in (left := _FIELD.sub("", text)) or "}" in left or not names:
        raise ConfigurationError(place, f"'{template}' has braces that do not match", "write {cust_id}")
    if len(names) == 1 and text.startswith("{") and text.endswith("}"):
        return Variables(tuple(names), converter)
    if ":" in "".join(field[1] for field in _FIELD.finditer(text)):
        raise ConfigurationError(
            place, f"'{template}' converts a variable that shares its segment", "leave the converter out"
        )
    return Variables(tuple(names), "", tuple(literals))


def take_apart(segment: str, literals: tuple[str, ...]) -> list[str] | None:
    """The values between *literals* in *segment*, from the left each as short as may be, none empty; None where it does not fit.

    # SECURITY: A42. Each text is looked for once. An expression would try every way to share the segment out: minutes for three
    # variables and 8 KB.

    >>> take_apart("v1-2-3.json", ("v", "-", ".json"))
    ['1', '2-3']
    """
    begin, stop = len(literals[0]), len(segment) - len(literals[-1])
    if not (segment.startswith(literals[0]) and segment.endswith(literals[-1])):
        return None
    values = []
    for text in literals[1:-1]:
        end = segment.find(text, begin + 1, stop) if begin < stop else -1
        if end < 0:
            return None
        values.append(segment[begin:end])
        begin = end + len(text)
    return [*values, segment[begin:stop]] if begin < stop else None


def _walk(node: _Node, segments: list[str], depth: int, values: list[str], host: str) -> _Leaf | None:
    """The leaf below *node* that the segments from *depth* on lead to; *values* grows by what the variables took."""
    if depth == len(segments):
        if node.end is not None and node.end.methods(host) is not None:
            return node.end
        if node.rest is not None and not node.rest.names and node.rest.methods(host) is not None:
            return node.rest
        return None
    segment = segments[depth]
    child = node.literals.get(segment)
    if child is not None:
        found = _walk(child, segments, depth + 1, values, host)
        if found is not None:
            return found
    mark = len(values)
    if segment:
        for literals, child in node.mixed.items():
            taken = take_apart(segment, literals)
            if taken is not None:
                values.extend(taken)
                found = _walk(child, segments, depth + 1, values, host)
                if found is not None:
                    return found
                del values[mark:]
        for converter, child in node.variables.items():
            if converter and check_of(converter)(segment):
                values.append(segment)
                found = _walk(child, segments, depth + 1, values, host)
                if found is not None:
                    return found
                del values[mark:]
        plain = node.variables.get("")
        if plain is not None:
            values.append(segment)
            found = _walk(plain, segments, depth + 1, values, host)
            if found is not None:
                return found
            del values[mark:]
    rest = node.rest
    if (
        rest is not None
        and rest.methods(host) is not None
        and (segment or depth < len(segments) - 1 or rest.names == ())
    ):
        values.append("/".join(segments[depth:]))
        return rest
    return None
