"""Which channel does a path lead to? A tree of segments, whose cost is the path's length and not the number of channels.

Templates are written as in Falcon: ``/customers/{cust_id}``, ``/orders/{number:int}``, ``/files/{path:path}``,
``/compare/{base}...{head}``. At each segment a literal is preferred to a mixed segment, that to a converted variable, that
to a plain one; a choice that leads nowhere is taken back.

>>> routes = Routes()
>>> routes.add("/customers/{cust_id}", ["GET"], "customers", name="get-customer")
>>> routes.find("", "/customers/12").methods["GET"], routes.find("", "/customers/12").params
('customers', {'cust_id': '12'})
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from specs.problems import ConfigurationError, nearest

_FIELD = re.compile(r"\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _is_int(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 20


def _is_float(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,20}(\.\d{1,20})?", text, re.ASCII) is not None


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


#: Which texts a converter lets through; the value stays a text, since the service's contract gives it its type.
CONVERTERS: dict[str, Callable[[str], bool]] = {"int": _is_int, "float": _is_float, "uuid": _is_uuid, "path": bool}


class Match(NamedTuple):
    """What a path leads to: the target of each method, and the values of the template's variables."""

    methods: Mapping[str, Any]
    params: Mapping[str, str]


class Variables(NamedTuple):
    """A segment of a template that holds variables. *pattern* where it is mixed with literal text."""

    names: tuple[str, ...]
    converter: str = ""
    pattern: str = ""


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
        self.mixed: dict[str, tuple[re.Pattern[str], _Node]] = {}
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
            elif segment.pattern:
                node = node.mixed.setdefault(segment.pattern, (re.compile(segment.pattern), _Node()))[1]
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


NO_VALUES: Mapping[str, str] = {}


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
    pattern = ""
    converter = ""
    position = 0
    for field in _FIELD.finditer(text):
        name, _, converter = field[1].partition(":")
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                place, f"'{template}' has a variable that is no name: '{field[0]}'", "write {cust_id}"
            )
        if converter and converter not in CONVERTERS:
            raise ConfigurationError(place, f"no converter called '{converter}'", nearest(converter, CONVERTERS))
        pattern += re.escape(text[position : field.start()]) + "(.+?)"
        position = field.end()
        names.append(name)
    pattern += re.escape(text[position:])
    if "{" in (left := _FIELD.sub("", text)) or "}" in left or not names:
        raise ConfigurationError(place, f"'{template}' has braces that do not match", "write {cust_id}")
    if len(names) == 1 and text.startswith("{") and text.endswith("}"):
        return Variables(tuple(names), converter)
    if ":" in "".join(field[1] for field in _FIELD.finditer(text)):
        raise ConfigurationError(
            place, f"'{template}' converts a variable that shares its segment", "leave the converter out"
        )
    return Variables(tuple(names), "", pattern + r"\Z")


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
        for pattern, child in node.mixed.values():
            match = pattern.match(segment)
            if match is not None:
                values.extend(match.groups())
                found = _walk(child, segments, depth + 1, values, host)
                if found is not None:
                    return found
                del values[mark:]
        for converter, child in node.variables.items():
            if converter and CONVERTERS[converter](segment):
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
