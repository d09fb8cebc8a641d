"""Addresses of callers: read in one canonical form, matched against networks, found behind trusted proxies.

An address has one form here, however it was written: IPv4 inside IPv6 (``::ffff:10.0.0.1``) is the IPv4 address, and
networks of IPv6 never cover IPv4 (write ``0.0.0.0/0`` and ``::/0``, or ``*``). Octets with leading zeros are refused, since
one reader takes them for octal and the next does not (A22).

>>> "::ffff:10.1.2.3" in AddressList(["10.0.0.0/8"])
True
>>> client_address("10.0.0.1", {"x-forwarded-for": "6.6.6.6, 192.0.2.7, 10.0.0.2"}, AddressList(["10.0.0.0/8"]))
'192.0.2.7'
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from specs.problems import ConfigurationError, Problem

T = TypeVar("T")
#: An address or a hop is never longer; what is longer is not looked at.
MAX_TEXT = 64
#: How many proxies a request may have come through.
MAX_HOPS = 32
#: Answers kept by address text. A full cache starts anew: it holds nothing that cannot be computed again (A43).
CACHE_SIZE = 65_536
EVERYWHERE = ("0.0.0.0/0", "::/0")
_CANONICAL: dict[str, str] = {}
_MAPPED = b"\0" * 10 + b"\xff\xff"


class Holding(Protocol):
    """A set of addresses, whatever it is made of."""

    def __contains__(self, text: str, /) -> bool: ...


class Address(NamedTuple):
    """An IPv4 or IPv6 address: *version* 4 or 6, *number* its bits as a whole number."""

    version: int
    number: int

    def __str__(self) -> str:
        if self.version == 4:
            return socket.inet_ntop(socket.AF_INET, self.number.to_bytes(4))
        return socket.inet_ntop(socket.AF_INET6, self.number.to_bytes(16))

    def bucket(self) -> bytes:
        """What limits count by: the IPv4 address, or the /64 of an IPv6 one, whose holder has 2**64 to rotate through (A22)."""
        return self.number.to_bytes(4) if self.version == 4 else (self.number >> 64).to_bytes(8)


def parse_address(text: str) -> Address | None:
    """The address in *text*, None where there is none. Brackets, a port (``10.0.0.1:80``, ``[::1]:80``) and a zone are dropped."""
    if len(text) > MAX_TEXT:
        return None
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in text or (port and not _is_port(port)):
            return None
    elif text.count(":") == 1:
        text, colon, port = text.partition(":")
        if not _is_port(colon + port):
            return None
    if "%" in text:
        text, _, zone = text.partition("%")
        if (
            ":" not in text
            or not zone.isascii()
            or not zone.replace("-", "").replace(".", "").replace("_", "").isalnum()
        ):
            return None
    return _bare(text)


def parse_network(text: str) -> tuple[int, int, int]:
    """An address or CIDR as ``(version, network number, prefix length)``. Raises ConfigurationError without a path."""
    base, slash, length_text = text.strip().partition("/")
    address = _bare(base) if len(base) <= MAX_TEXT else None
    if address is None:
        raise ConfigurationError("", f"not an address or network: '{text[:80]}'", "write 10.0.0.0/8, 192.0.2.7 or ::1")
    size = 32 if address.version == 4 else 128
    length = size
    if slash:
        if not (length_text.isascii() and length_text.isdigit() and len(length_text) <= 3):
            raise ConfigurationError("", f"not a prefix length: '{length_text[:20]}'", f"write {base}/{size}")
        length = int(length_text)
        if address.version == 4 and ":" in base:
            length -= 96  # ::ffff:10.0.0.0/104 is 10.0.0.0/8
        if not 0 <= length <= size:
            raise ConfigurationError(
                "", f"no prefix of '{text[:80]}' has that length", f"write a number from 0 to {size}"
            )
    host_bits = size - length
    if address.number & ((1 << host_bits) - 1):
        network = Address(address.version, address.number >> host_bits << host_bits)
        raise ConfigurationError(
            "",
            f"'{text[:80]}' is an address inside a network",
            f"write {network}/{length} for the network, or {address}",
        )
    return address.version, address.number, length


class PrefixMap(Generic[T]):
    """Values by network; the longest prefix that holds an address decides. Built whole, never changed.

    *entries* are pairs of a network and its value. Raises ConfigurationError for one that is not a network, or is given twice
    where that is not *repeated* on purpose (the last one counts then).
    """

    # PERF: 0.1 us an address seen before, 1.7 us a new one whatever the number of networks: one look-up for each prefix
    # length in use. A million networks take 82 MB and 2.4 s to build.

    def __init__(self, entries: Iterable[tuple[str, T]], *, repeated: bool = False) -> None:
        tables: dict[tuple[int, int], dict[int, T]] = {}
        for text, value in entries:
            version, number, length = parse_network(text)
            shift = (32 if version == 4 else 128) - length
            table = tables.setdefault((version, shift), {})
            if not repeated and number >> shift in table:
                raise ConfigurationError("", f"the network '{text}' is given twice", "leave one of them out")
            table[number >> shift] = value
        self._count = sum(map(len, tables.values()))
        # The longest prefix first: the smallest shift.
        self._tables = {
            family: tuple((shift, table) for (version, shift), table in sorted(tables.items(), key=lambda item: item[0][1])
                          if version == family)
            for family in (4, 6)
        }  # fmt: skip
        self._answers: dict[str, T | None] = {}

    def __len__(self) -> int:
        return self._count

    def find(self, text: str) -> T | None:
        """The value of the longest prefix that holds the address *text*; None where none does, or it is no address."""
        try:
            return self._answers[text]
        except KeyError:
            pass
        answer = next(self.matches(text), None)
        if len(self._answers) >= CACHE_SIZE:
            self._answers.clear()
        self._answers[text] = answer
        return answer

    def matches(self, text: str) -> Iterator[T]:
        """The values of every prefix that holds the address *text*, the longest first."""
        address = parse_address(text)
        if address is None:
            return
        number = address.number
        for shift, table in self._tables[address.version]:
            found = table.get(number >> shift, _NOTHING)
            if found is not _NOTHING:
                yield found  # type: ignore[misc]


class AddressList:
    """A set of addresses and networks; ``*`` is everything. What is no address is in no list.

    *networks* may hold blank lines and ``#`` comments, so that an open file is one.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._map: PrefixMap[bool] = PrefixMap(((text, True) for text in _networks(networks)), repeated=True)

    def __contains__(self, text: str) -> bool:
        return self._map.find(text) is True

    def __len__(self) -> int:
        return len(self._map)


def client_address(peer: str, headers: Mapping[str, str], trusted: Holding, *, header: str | None = None) -> str:
    """Who is calling, in canonical form: the right-most address that no trusted proxy has.

    *headers* are by lower-case name, repeated ones joined by commas. *header* says which one the proxies write
    (``x-forwarded-for`` or ``forwarded``, RFC 7239); without it both are read. What stands left of an untrusted or unreadable
    hop was written by a stranger and is ignored. Raises Problem ``ambiguous-request`` where the two headers disagree.
    """
    # SECURITY: A20. Only what a trusted TCP peer says counts, and only as far as trust reaches.
    canonical = _canonical(peer)
    if canonical not in trusted:
        return canonical
    found = []
    if header in (None, "x-forwarded-for") and (value := headers.get("x-forwarded-for")) is not None:
        found.append(_walk(canonical, _forwarded_for(value), trusted))
    if header in (None, "forwarded") and (value := headers.get("forwarded")) is not None:
        found.append(_walk(canonical, _forwarded(value), trusted))
    if len(found) == 2 and found[0] != found[1]:
        # SECURITY: one of them came from a caller through a proxy that writes the other; we cannot know which.
        raise Problem.of("ambiguous-request", "X-Forwarded-For and Forwarded name different callers")
    return found[0] if found else canonical


def _walk(peer: str, hops: Iterator[str], trusted: Holding) -> str:
    address = peer
    for _, hop in zip(range(MAX_HOPS), hops, strict=False):
        parsed = parse_address(hop)
        if parsed is None:
            break
        address = str(parsed)
        if address not in trusted:
            break
    return address


def _forwarded_for(value: str) -> Iterator[str]:
    """The hops of X-Forwarded-For, from the right."""
    end = len(value)
    while end >= 0:
        start = value.rfind(",", 0, end)
        yield value[start + 1 : end].strip(" \t")
        end = start if start >= 0 else -1


def _forwarded(value: str) -> Iterator[str]:
    """The ``for`` of each element of Forwarded, from the right; an element without a readable one gives ''."""
    # SECURITY: read from the right, where the trusted proxy wrote: a quote that a stranger left open on the left cannot
    # swallow what comes after it.
    pieces: list[str] = []
    piece_end = index = len(value)
    quoted = False
    while index > 0:
        index -= 1
        character = value[index]
        if character == '"' and (index - len(value[:index].rstrip("\\"))) % 2 == 0:
            quoted = not quoted
        elif character in ",;" and not quoted:
            pieces.append(value[index + 1 : piece_end])
            piece_end = index
            if character == ",":
                yield _for(pieces)
                pieces = []
    pieces.append(value[:piece_end])
    yield "" if quoted else _for(pieces)


def _for(pairs: list[str]) -> str:
    nodes = []
    for pair in pairs:
        name, equals, node = pair.strip(" \t").partition("=")
        if equals and name.lower() == "for":
            nodes.append(node)
    if len(nodes) != 1 or "\\" in nodes[0]:
        return ""
    node = nodes[0]
    if len(node) >= 2 and node[0] == node[-1] == '"':
        return node[1:-1]
    return "" if '"' in node else node


def _networks(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        text = line.partition("#")[0].strip()
        if text == "*":
            yield from EVERYWHERE
        elif text:
            yield text


def _canonical(text: str) -> str:
    """An address in its one form; what is no address stays as it is."""
    found = _CANONICAL.get(text)
    if found is None:
        found = str(parse_address(text) or text)
        if len(_CANONICAL) >= CACHE_SIZE:
            _CANONICAL.clear()
        _CANONICAL[text] = found
    return found


def _bare(text: str) -> Address | None:
    # PERF: inet_pton takes 0.4 us where `ipaddress` takes 4; it refuses leading zeros, blanks and short forms alike.
    try:
        if ":" in text:
            packed = socket.inet_pton(socket.AF_INET6, text)
            if packed[:12] == _MAPPED:
                return Address(4, int.from_bytes(packed[12:]))
            return Address(6, int.from_bytes(packed))
        return Address(4, int.from_bytes(socket.inet_pton(socket.AF_INET, text)))
    except (OSError, ValueError):
        return None


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text[0] == ":" and digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65_535


class _Nothing:
    pass


_NOTHING = _Nothing()
