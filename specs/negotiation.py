"""Which format a body is in, and which one its sender wants back: ``Content-Type`` and ``Accept`` (RFC 9110, 8.3 and 12.5).

>>> media_type, parameters = parse_content_type('Text/XML; charset="UTF-8"')
>>> media_type, parameters["charset"]
('text/xml', 'UTF-8')
>>> parse_accept("text/html, application/xml;q=0.9, */*;q=0.1")
(('text/html', 1000), ('application/xml', 900), ('*/*', 100))
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from specs.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specs.formats import Format

#: Longer headers than this are not looked at: as if absent for ``Accept``, refused for ``Content-Type``.
MOST_CHARACTERS: Final = 1024

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105
_VALUE = rf'(?:{_TOKEN}|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e])*")'
_MEDIA_TYPE = re.compile(rf"\s*({_TOKEN}/{_TOKEN})\s*")
_PARAMETER = re.compile(rf";[ \t]*(?:({_TOKEN})=({_VALUE})[ \t]*)?")
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_RANGE = re.compile(rf"[ \t]*(\*/\*|{_TOKEN}/\*|{_TOKEN}/{_TOKEN}|{_TOKEN})[ \t]*((?:;.*)?)", re.DOTALL)
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")


@lru_cache(maxsize=256)
def parse_content_type(text: str) -> tuple[str, Mapping[str, str]]:
    """The media type in lower case, and its parameters by lower-case name.

    An empty text gives ``""`` and no parameters. Raises Problem unsupported-media-type for what is not a media type, or
    says a parameter twice.
    """
    if not text:
        return "", MappingProxyType({})
    match = _MEDIA_TYPE.match(text) if len(text) <= MOST_CHARACTERS else None
    if match is None:
        raise Problem.of("unsupported-media-type", "the Content-Type header is not a media type")
    parameters: dict[str, str] = {}
    at = match.end()
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None or (parameter[1] or "").lower() in parameters:
            raise Problem.of("unsupported-media-type", "the parameters of the Content-Type header are malformed")
        if parameter[1]:
            parameters[parameter[1].lower()] = _unquoted(parameter[2])
        at = parameter.end()
    return match[1].lower(), MappingProxyType(parameters)


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


@lru_cache(maxsize=1024)
def parse_accept(text: str) -> tuple[tuple[str, int], ...]:
    """The ranges (or codings) of an ``Accept`` or ``Accept-Encoding`` header and their weights in thousandths.

    They come in the order they were written. Parameters but ``q`` are not looked at. An element that is malformed is
    skipped; so a header of nothing else counts as absent.
    """
    if len(text) > MOST_CHARACTERS:
        return ()
    ranges = []
    for element in _ELEMENT.findall(text):
        match = _RANGE.fullmatch(element)
        weight = _weight(match[2]) if match else None
        if match and weight is not None:
            ranges.append((match[1].lower(), weight))
    return tuple(ranges)


def _weight(parameters: str) -> int | None:
    at = 0
    while at < len(parameters):
        parameter = _PARAMETER.match(parameters, at)
        if parameter is None:
            return None
        if (parameter[1] or "").lower() == "q":
            return round(float(parameter[2]) * 1000) if _WEIGHT.fullmatch(parameter[2]) else None
        at = parameter.end()
    return 1000


def choose(accept: str, offered: Sequence[Format]) -> Format | None:
    """The format of *offered* that the caller likes best, the earlier one where it likes two alike.

    No ``Accept`` means the first. ``None`` means that the caller takes none of them: 406, or the first all the same, is for
    the channel to decide.
    """
    # PERF: nearly every call ends here, 0.1 us instead of 1.
    if not accept or accept == "*/*":
        return offered[0]
    ranges = parse_accept(accept)
    if not ranges:
        return offered[0]
    best, weight = None, 0
    for candidate in offered:
        found = _quality(candidate.answers_as, ranges)
        if found > weight:
            best, weight = candidate, found
    return best


def _quality(names: Sequence[str], ranges: Iterable[tuple[str, int]]) -> int:
    """The weight that the most specific matching range gives to a format; 0 where none matches.

    The first of *names* is the media type that is really sent; the others count only where a caller asks for just them.
    """
    group = names[0].partition("/")[0] + "/*"
    quality, closeness = 0, 0
    for pattern, weight in ranges:
        near = 2 if pattern == group else 1 if pattern == "*/*" else 0
        if pattern in names:
            near = 4 if pattern == names[0] else 3
        if near > closeness:
            quality, closeness = weight, near
    return quality


def format_by_type(content_type: str, offered: Sequence[Format]) -> Format | None:
    """The format of *offered* that reads this ``Content-Type``; the first one where there is none."""
    if not content_type:
        return offered[0]
    media_type = parse_content_type(content_type)[0]
    return next((candidate for candidate in offered if candidate.accepts(media_type)), None)


def format_of_body(
    content_type: str, offered: Sequence[Format], *, body: bytes = b"", known_by_cookie: bool = False
) -> Format:
    """The format of *offered* that reads this body; the first one where there is no ``Content-Type``.

    A form-typed body that begins with ``{`` or ``[`` is JSON where the channel reads JSON and no forms, as ``curl -d`` sends
    it. Raises Problem unsupported-media-type, with an ``Accept`` header of what would do.
    """
    found = format_by_type(content_type, offered)
    if found is not None:
        return found
    media_type = parse_content_type(content_type)[0]
    # SECURITY: not for a caller known by a cookie. A page elsewhere can send a form with that cookie and no preflight.
    if media_type == "application/x-www-form-urlencoded" and not known_by_cookie and body.lstrip()[:1] in (b"{", b"["):
        for candidate in offered:
            if candidate.accepts("application/json"):
                return candidate
    known = ", ".join(dict.fromkeys(name for candidate in offered for name in candidate.media_types))
    raise Problem.of("unsupported-media-type", f"send one of {known}", headers=[("Accept", known)])
