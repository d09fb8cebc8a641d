import mmap
from collections.abc import Sequence
from typing import final

LAYOUT: tuple[bytes, int, int, int, int, int, int, int]

@final
class Chain:
    def debit(self, now: int, /) -> tuple[int, ...] | None: ...

@final
class Table:
    def __init__(self, memory: mmap.mmap) -> None: ...
    def chain(self, buckets: Sequence[tuple[bytes, int, int, int, int, int, bool]], /) -> Chain: ...
    def close(self) -> None: ...
