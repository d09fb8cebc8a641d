"""Long loops let others have their turn: `in_turns` gives way every `IN_TURN` items, as the process says how.

Where everybody waits for one loop (gevent's), its process says `take_turns(security.threads.give_way)`.

>>> seen = []
>>> take_turns(lambda: seen.append("others"))
>>> list(in_turns(range(3000)))[-1], seen
(2999, ['others', 'others'])
>>> take_turns(None)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

#: PERF: a thousand items are a millisecond or two, and giving way takes 17 us.
IN_TURN: Final = 1024

_turns: list[Callable[[], None]] = []


def take_turns(give_way: Callable[[], None] | None) -> None:
    """Long loops of this process call *give_way* from now on."""
    _turns[:] = [give_way] if give_way is not None else []


def in_turns(items: Iterable[T]) -> Iterator[T]:
    """The *items* as they are now, with a turn of others every so many."""
    # WHY: others may change what they know in their turn.
    for index, item in enumerate(list(items)):
        if index % IN_TURN == IN_TURN - 1:
            for give_way in _turns:
                give_way()
        yield item
