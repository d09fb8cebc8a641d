"""Work on long bodies and answers, beside the loop: `beside` runs it in a real thread, so that nobody else waits for it.

One greenlet that computes holds every caller of its worker up, and 8 MiB can be seconds of reading, parsing and checking.
A thread lets go of the interpreter twice a millisecond (`gateway.worker.SWITCH_INTERVAL`). At a time two pieces of work are done,
one that is long and one that is `VERY_LONG`: more would make callers wait for one another's threads, and be no quicker. Who comes
next waits for its turn, as long as its deadline lets it.

Work is a function of values, and gives values: it touches no exchange, no greenlet and no log. So it does no harm if nobody waits
for it any more; its turn lasts until it has ended all the same.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar

from backends.permits import Permits
from security.threads import Threads
from specs.exchange import NOTHING
from specs.long_json import LONG as LONG  # what is longer is worked on beside the loop
from specs.long_json import take_apart
from specs.problems import Problem

if TYPE_CHECKING:
    from specs.contract import Contract
    from specs.exchange import Exchange

T = TypeVar("T")

#: What is longer has a turn of its own: nobody with a hundred kilobytes waits behind those with eight megabytes.
VERY_LONG: Final = 1024 * 1024
#: So many new lists, maps and the like are not looked through for garbage, again and again, while they live.
MANY: Final = 50_000
#: Seconds after which garbage that was left alone is looked for.
THAW: Final = 60.0
#: Answers with a list of so many values, or a map, are printed beside the loop. PERF: the way to the thread and back is 0.06 ms, a
#: hundred rows of ten members as XML 3 ms.
MANY_VALUES: Final = 100
_LONGEST_WAIT: Final = 3600.0


class Lane:
    """Work that is done one at a time, in a thread; whoever waits longest is next."""

    def __init__(self) -> None:
        self._turn = Permits(1)
        self._pool: Any = None

    def run(self, work: Callable[[], T], seconds: float) -> T:
        """What *work* gives, or raises. Raises Problem 503 where its turn does not come within so many seconds."""
        if not self._turn.acquire(min(seconds, _LONGEST_WAIT)):
            raise Problem.of("overloaded", "too much is being worked on at the moment", headers=[("Retry-After", "1")])
        try:
            if self._pool is None:
                from gevent.threadpool import ThreadPool

                self._pool = ThreadPool(1)
            result = self._pool.spawn(_captured, work)
        except BaseException:
            self._turn.release()
            raise
        # The turn is over when the work is, whoever waits for it: the hub calls this.
        result.rawlink(self._ended)
        value, error = result.get()
        if error is not None:
            try:
                raise error
            finally:
                error = None
        return value  # type: ignore[no-any-return]

    def _ended(self, result: Any) -> None:
        self._turn.release()


class LongBodies:
    """The two lanes of a process, and its garbage collector's leave meanwhile. *clock* is that of deadlines, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._here = Threads(1)
        self._long = Lane()
        self._very_long = Lane()
        self._working = 0
        self._frozen_at = inf

    def run(self, work: Callable[[], T], size: int, until: float = inf) -> T:
        """What *work* gives, or raises; it is about *size* bytes. Raises Problem 503 where its turn has not come by *until*.

        Where gevent has not patched, and in threads, it is done at once.
        """
        if not self._here.on_hub():
            return work()
        lane = self._very_long if size > VERY_LONG else self._long
        return lane.run(lambda: self._without_garbage(work), until - self._clock())

    def _without_garbage(self, work: Callable[[], T]) -> T:
        """In the thread: *work*, with no collection of garbage meanwhile.

        PERF: it looks through all that is there each time that a quarter has been added, holding everybody up: up to 0.3 s at a
        time for 8 MiB of small lists, and more than half of the time that these take to read.
        """
        self._working += 1
        gc.disable()
        try:
            return work()
        finally:
            self._working -= 1
            if gc.get_count()[0] > MANY:
                # Nor is it looked through afterwards: what is frozen ends when nobody refers to it any more.
                gc.freeze()
                self._frozen_at = min(self._frozen_at, self._clock())
            if not self._working:
                gc.enable()

    def thaw(self) -> None:
        """Look for garbage that was frozen with what was alive, a while ago, where nothing long is being worked on."""
        if not self._working and self._clock() - self._frozen_at > THAW:
            self._frozen_at = inf
            gc.unfreeze()
            gc.collect()
            gc.freeze()


def growing(contract: Contract | None) -> tuple[str, ...] | None:
    """The members of an answer that may be long themselves; None where the contract does not tell."""
    if contract is None or contract.output is None:
        return None
    return tuple(field.name for field in contract.output if field.type in _GROWING)


_GROWING: Final = ("list", "dictlist", "dict", "nested", "opaque", "asis")


def is_long(body: bytes, payload: Any, members: Iterable[str] | None) -> bool:
    """Whether printing *payload* may take long: the answer to a long *body*, or one that holds a list of many things.

    *members* are those that `growing` told. PERF: 0.1 us where it told none.
    """
    if len(body) > LONG:
        return True
    if type(payload) is list:
        return len(payload) > MANY_VALUES
    if type(payload) is not dict:
        return False
    for name in payload if members is None else members:
        member = payload.get(name)
        if (type(member) is list or type(member) is dict) and len(member) > MANY_VALUES:
            return True
    return len(payload) > MANY_VALUES


@cache
def long_bodies() -> LongBodies:
    """Those of this process, made when first needed: after the fork, by the thread that has the loop."""
    return LongBodies()


def beside(work: Callable[[], T], size: int, until: float = inf) -> T:
    """What *work* on *size* bytes gives, or raises, while others are served. Raises Problem 503; see `LongBodies.run`."""
    return long_bodies().run(work, size, until)


def let_go(exchange: Exchange) -> None:
    """Forget what was made of a long body, while others are served; the exchange is over."""
    held = {id(value): value for value in (exchange.payload, exchange.input, exchange.form)}
    outcome = exchange.outcome
    if outcome is not None:
        held[id(outcome.payload)] = outcome.payload
        outcome.payload = None
    exchange.payload = None
    exchange.input = exchange.form = NOTHING
    values = list(held.values())
    held.clear()
    beside(lambda: take_apart(values), len(exchange.body))


def _captured(work: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    # WHY: gevent prints the traceback of every exception that leaves a pool thread, the expected ones too.
    try:
        return work(), None
    except BaseException as error:
        return None, error
