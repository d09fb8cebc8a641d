"""What a stranger can have of a process: `Bounds` of the wire, in bytes and seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf


def _trusts_nobody(peer: str) -> bool:
    return False


def _peer_alone(peer: str, headers: Mapping[str, str]) -> str:
    return peer


class Held:
    """How many bytes a process holds for strangers at the moment, of bodies or of answers, and the *most* it takes.

    `made` is what is made of bodies: of its own, so that one large document does not keep small bodies out.
    """

    __slots__ = ("made", "most", "octets")

    def __init__(self, most: float = inf) -> None:
        self.octets = self.made = 0
        self.most = most

    def take(self, count: int) -> bool:
        """Hold so many more, where there is room; what is too large for any room is held where there is nothing else."""
        if count and self.octets and self.octets + count > self.most:
            return False
        self.octets += count
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one connection, and all of them together, may take.

    Whoever sends a body may keep us waiting for *body_seconds*, and earns what was waited back at one second for each *rate*
    bytes; whoever takes an answer likewise for *write_seconds*. So no pause is longer, and nobody is slower than *rate* on
    the whole. *total_seconds* bound a request and its answer together. An unread body of up to *drain* bytes is read and
    forgotten, so that the connection can go on. *linger* is how long a connection that ends is listened to, so that its last
    answer arrives; *drain_seconds* how long requests may take to end when the process stops.

    *connections* and *requests* (those being answered) are of one process; of each no more than so many are of one address,
    a trusted proxy's connections excepted. *bodies* is how many bytes of request bodies the process holds, all requests
    together, and how many of what is made of them; what came with a head is not counted. *answers* is how many bytes of
    answers wait for callers who do not take them, of long ones (64 KiB) the whole. *trusted* tells whether a peer is a proxy
    of ours, and *client_address* gives the caller's address from a trusted proxy's headers.
    """

    request_line: int = 8190
    head: int = 65536
    headers: int = 100
    head_seconds: float = 10.0
    idle_seconds: float = 75.0
    body_seconds: float = 10.0
    write_seconds: float = 30.0
    handshake_seconds: float = 10.0
    total_seconds: float = 3600.0
    drain_seconds: float = 30.0
    rate: float = 1024.0
    drain: int = 65536
    linger: float = 2.0
    connections: int = 2000
    connections_per_address: int = 500
    requests: int = 1000
    requests_per_address: int = 500
    requests_in_turn: int = 32
    bodies: int = 256 * 1024 * 1024
    answers: int = 256 * 1024 * 1024
    trusted: Callable[[str], bool] = _trusts_nobody
    client_address: Callable[[str, Mapping[str, str]], str] = _peer_alone
