"""The PROXY protocol, versions 1 and 2: a proxy of ours says in front of the first byte for whom it connects.

Read from trusted proxies alone, and then required: a connection that may or may not begin with such a header would let
whoever can reach the proxy say it (section 2 of the specification by HAProxy Technologies).

>>> parse(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\\r\\nGET /")
('192.0.2.7', 44)
>>> parse(b"PROXY TCP4 192.0.2.7")
"""

from __future__ import annotations

import socket

from gateway.transport import Gone, Transport
from security.addresses import parse_address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_LINE = 107
#: Addresses and further facts (TLVs) of version 2, which are dropped.
LONGEST = 4096


def read_source(transport: Transport, deadline: float) -> tuple[str, bytes]:
    """Whom the other side connects for (empty: for itself), and what has come after the header.

    Raises Late, and Gone for what is no such header.
    """
    octets = b""
    while True:
        received = transport.receive_raw(deadline)
        if not received:
            raise Gone("no PROXY header")
        octets += received
        found = parse(octets)
        if found is not None:
            return found[0], octets[found[1] :]


def parse(octets: bytes) -> tuple[str, int] | None:
    """The source address and the length of the header that *octets* begin with; None where more has to come. Raises Gone."""
    if octets[:1] == b"\r":
        return _binary(octets)
    if not (octets.startswith(b"PROXY ") or b"PROXY ".startswith(octets)):
        raise Gone("not a PROXY header")
    end = octets.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0:
        if len(octets) >= LONGEST_LINE or b"\n" in octets:
            raise Gone("a PROXY line without its end")
        return None
    words = octets[:end].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return "", end + 2
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise Gone("a PROXY line that says nothing")
    address = parse_address(words[2])
    if address is None or (":" in words[2]) != (words[1] == "TCP6") or not _ports(words[4:]):
        raise Gone("a PROXY line without an address")
    return str(address), end + 2


def _ports(words: list[str]) -> bool:
    return all(word.isascii() and word.isdigit() and len(word) <= 5 and int(word) < 65536 for word in words)


def _binary(octets: bytes) -> tuple[str, int] | None:
    if not octets.startswith(SIGNATURE[: len(octets)]):
        raise Gone("not a PROXY header")
    if len(octets) < 16:
        return None
    length = 16 + int.from_bytes(octets[14:16])
    version, command = octets[12] >> 4, octets[12] & 15
    if version != 2 or command > 1 or length > LONGEST:
        raise Gone("a PROXY header of another version, or too long")
    if len(octets) < length:
        return None
    family = octets[13] >> 4
    size = {1: 4, 2: 16}.get(family, 0)
    if command == 0 or not size:
        return "", length  # a health check of the proxy itself, or a family that is no address
    if length < 16 + 2 * size + 4:
        raise Gone("a PROXY header without its addresses")
    text = socket.inet_ntop(socket.AF_INET if size == 4 else socket.AF_INET6, octets[16 : 16 + size])
    return str(parse_address(text) or text), length
