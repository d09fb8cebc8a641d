"""Lists of addresses that are too long for a document: a file of networks, one a line, a million of them if need be.

`Ranges` holds them sorted and merged: 8 bytes an IPv4 network. `AddressFiles` looks each second whether a file has changed and
reads it anew a little at a time, while requests go on with what was there. A file that cannot be read whole is not taken: what
was read before stays in force. Replace a file by renaming another over it, so that nobody reads half of it.

>>> found = Ranges.read(["10.0.0.0/8   # ours", "::1", ""])
>>> "10.1.2.3" in found, "::ffff:10.1.2.3" in found, "11.0.0.1" in found, len(found)
(True, True, False, 2)
"""

from __future__ import annotations

import logging
import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from socket import AF_INET, inet_pton
from typing import TypeAlias

from security.addresses import CACHE_SIZE, AddressList, parse_address, parse_network
from specs.problems import ConfigurationError

log = logging.getLogger("gatewright.addresses")

Growing: TypeAlias = "array[int] | list[int]"

#: How a setting names a file instead of a network.
PREFIX = "file:"
#: So many lines are read, or ranges put in order, before others get their turn: half a millisecond.
AT_ONCE = 500
MAX_BYTES = 256 << 20


class Ranges:
    """A set of addresses, as ranges that neither touch nor overlap. Built whole, never changed."""

    # PERF: a million IPv4 networks: 8 MB, 1.6 s to read in pieces of half a millisecond, 0.1 us a look-up of an address seen
    # before, 1.3 us of a new one. Nothing here is an object for each network while it is read: a million tuples took 200 MB
    # more, and collecting garbage among them stopped a worker for 3 s.

    def __init__(self, four: tuple[array[int], array[int]], six: tuple[list[int], list[int]]) -> None:
        self._starts: dict[int, Sequence[int]] = {4: four[0], 6: six[0]}
        self._ends: dict[int, Sequence[int]] = {4: four[1], 6: six[1]}
        self._answers: dict[str, bool] = {}

    @classmethod
    def read(cls, lines: Iterable[str], pause: Callable[[], None] = lambda: None) -> Ranges:
        """The networks of *lines*; ``#`` begins a comment. *pause* is called now and then. Raises ConfigurationError."""
        # First and last address as one number, in piles by their first bits, so that no sort takes long.
        four = [array("Q") for _ in range(1 << _PILE_BITS)]
        six: dict[int, list[int]] = {}
        for number, line in enumerate(lines, 1):
            if number % AT_ONCE == 0:
                pause()
            # PERF: most lines are this simple, and are read in a third of the time.
            base, slash, digits = line.strip().partition("/")
            hosts = _HOST_BITS.get(slash + digits)
            if hosts is not None:
                try:
                    first = int.from_bytes(inet_pton(AF_INET, base))
                except OSError:
                    pass
                else:
                    if not first & hosts:
                        four[first >> 32 - _PILE_BITS].append(first << 32 | first | hosts)
                        continue
            text = line.partition("#")[0].strip()
            if not text:
                continue
            try:
                version, first, length = parse_network(text)
            except ConfigurationError as error:
                # SECURITY: the line is not repeated: a file that somebody named by mistake may hold anything.
                raise ConfigurationError(f"line {number}", "not an address or network", error.remedy[:60]) from None
            if version == 4:
                four[first >> 32 - _PILE_BITS].append(first << 32 | first | (1 << 32 - length) - 1)
            else:
                last = first | (1 << 128 - length) - 1
                six.setdefault(first >> 128 - _PILE_BITS, []).append(first << 128 | last)
        found_four, found_six = (array("I"), array("I")), (list[int](), list[int]())
        _merge(four, 32, found_four, pause)
        _merge((six[key] for key in sorted(six)), 128, found_six, pause)
        return cls(found_four, found_six)

    def __contains__(self, text: str) -> bool:
        try:
            return self._answers[text]
        except KeyError:
            pass
        address = parse_address(text)
        found = False
        if address is not None:
            index = bisect_right(self._starts[address.version], address.number) - 1
            found = index >= 0 and address.number <= self._ends[address.version][index]
        if len(self._answers) >= CACHE_SIZE:
            self._answers.clear()
        self._answers[text] = found
        return found

    def __len__(self) -> int:
        return len(self._starts[4]) + len(self._starts[6])


_PILE_BITS = 12
_HOST_BITS = {"": 0, **{f"/{length}": (1 << 32 - length) - 1 for length in range(33)}}


def _merge(
    piles: Iterable[Sequence[int]], bits: int, found: tuple[Growing, Growing], pause: Callable[[], None]
) -> None:
    """Put the ranges of *piles*, each a pair of addresses of so many *bits* in one number, in order, joined where they touch."""
    starts, ends = found
    mask, reached, done = (1 << bits) - 1, -2, 0
    for pile in piles:
        for pair in sorted(pile):
            first, last = pair >> bits, pair & mask
            if first > reached + 1:
                starts.append(first)
                ends.append(last)
                reached = last
            elif last > reached:
                ends[-1] = reached = last
            done += 1
            if done % AT_ONCE == 0:
                pause()


class AddressFile:
    """The addresses in one file, as it was when it could last be read whole. *ranges* is None while it never could."""

    def __init__(self, path: Path, pause: Callable[[], None]) -> None:
        self.path = path
        self.ranges: Ranges | None = None
        self._pause = pause
        self._seen: object = None

    def check(self) -> None:
        """Read the file if it has changed. Never raises: what was read before stays in force."""
        try:
            found = os.stat(self.path)
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._seen:
                return
            self._seen = stamp
            if found.st_size > MAX_BYTES:
                raise ConfigurationError("", f"the file is larger than {MAX_BYTES >> 20} MiB", "split the list")
            with self.path.open(encoding="ascii", errors="replace") as lines:
                self.ranges = Ranges.read(lines, self._pause)
        except (OSError, ConfigurationError) as error:
            reason = (error.strerror or "") if isinstance(error, OSError) else str(error)
            if reason != self._seen:
                held = "nothing was read before" if self.ranges is None else "what was read before stays in force"
                log.error("the list of addresses %s is not taken: %s; %s", self.path, reason, held)
            if isinstance(error, OSError):
                self._seen = reason
            return
        log.info("%s holds %s ranges of addresses", self.path, len(self.ranges))


class AddressFiles:
    """The files of one process, each read once. *pause* lets others go on."""

    def __init__(self, pause: Callable[[], None] = lambda: None) -> None:
        self._pause = pause
        self._files: dict[str, AddressFile] = {}

    def get(self, path: str) -> AddressFile:
        """The list in the file *path*, read now if it was not yet."""
        found = self._files.get(path)
        if found is None:
            found = self._files[path] = AddressFile(Path(path), self._pause)
            found.check()
        return found

    def check(self) -> None:
        """Read again what has changed."""
        for found in list(self._files.values()):
            found.check()


class AddressSet:
    """*networks* as settings hold them: networks, and ``file:`` with the path of a file of them.

    SECURITY: an address is held to be in a file that could never be read where *otherwise* says so: a list of those who may
    not call (True) then keeps everybody out, and so does a list of those who may (False).
    """

    def __init__(self, networks: Iterable[str], files: AddressFiles, *, otherwise: bool) -> None:
        texts = list(networks)
        self._plain = AddressList(text for text in texts if not text.startswith(PREFIX))
        self._files = [files.get(text[len(PREFIX) :]) for text in texts if text.startswith(PREFIX)]
        self._otherwise = otherwise

    def __bool__(self) -> bool:
        return bool(len(self._plain) or self._files)

    def __contains__(self, text: str) -> bool:
        if text in self._plain:
            return True
        if not self._files:
            return False
        return any(self._otherwise if file.ranges is None else text in file.ranges for file in self._files)
