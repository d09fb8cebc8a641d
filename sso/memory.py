"""What was read a moment ago and still holds: a request of somebody who is known costs no query.

A copy holds as long as nobody has changed what it was made from. On this machine that is told by `Stamps`: whoever changes a
person's sessions, state or links stamps that person after the transaction and before the reply, so a revocation holds for
every request that begins after it, on all workers. What other machines do is read from the audit, which names every change and
whom it was made to: `Watch` looks often enough that a copy is never older than a second, or it is not taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection, select

from security.stamps import ALL, Stamps, Standing
from specs.problems import BackendUnavailable
from sso import tables
from sso.storage import Storage
from sso.tidings import EVERYBODYS, is_quiet

T = TypeVar("T")

#: Seconds after which the audit is looked at again, and after which nothing is taken without that. PERF: a look is one read by
#: primary key, once in so long for each process that is asked anything.
LOOK: Final = 0.4
TRUST: Final = 0.9
#: So many changes at once are as good as everything.
MANY: Final = 1000


class Watch:
    """Learns from the audit what other machines have changed, and stamps it here. *clock* is in seconds, monotonic."""

    def __init__(self, database: Storage, stamps: Stamps, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._stamps = stamps
        self._clock = clock
        self._looked = -TRUST - 1.0
        self._last = -1
        self._looking = False

    def fresh(self) -> bool:
        """Whether what others did up to a second ago is known here. Raises nothing: who cannot look, does not know."""
        age = self._clock() - self._looked
        if age < LOOK:
            return True
        if self._looking:
            return age < TRUST
        self._looking = True
        began = self._clock()
        try:
            self._look()
        except BackendUnavailable:
            return age < TRUST
        finally:
            self._looking = False
        self._looked = began
        return True

    def stands(self, standing: Standing) -> bool:
        """Whether nothing has changed since *standing*, here or up to a second ago elsewhere."""
        # WHY: in this order. Looking may find that something has.
        return self.fresh() and self._stamps.stands(standing)

    def _look(self) -> None:
        last = self._last
        found = self._database.read(lambda connection: _after(connection, last))
        if found:
            self._last = found[-1][0]
        if last < 0:
            # What was remembered before the first look was remembered without knowing.
            self._last = max(self._last, 0)
            self._stamps.change_all()
        elif len(found) >= MANY or any(action in EVERYBODYS for _, action, _ in found):
            self._stamps.change_all()
        else:
            self._stamps.change(*{target for _, action, target in found if target and not is_quiet(action)})


def _after(connection: Connection, last: int) -> list[tuple[int, str, str]]:
    audit = tables.audit
    columns = select(audit.c.sequence, audit.c.action, audit.c.target)
    if last < 0:
        query = columns.order_by(audit.c.sequence.desc()).limit(1)
    else:
        query = columns.where(audit.c.sequence > last).order_by(audit.c.sequence).limit(MANY)
    return [(row.sequence, row.action, row.target) for row in connection.execute(query)]


class Memory(Generic[T]):
    """Copies by key, at most *most* of them; a full memory begins anew, for it holds nothing that cannot be read again."""

    def __init__(self, stamps: Stamps, watch: Watch, *, most: int = 20_000) -> None:
        self._stamps = stamps
        self._watch = watch
        self._most = most
        self._copies: dict[object, tuple[T, Standing]] = {}

    def recall(self, key: object) -> T | None:
        """The copy of that key, where it still holds."""
        found = self._copies.get(key)
        if found is None:
            return None
        copy, standing = found
        return copy if self._watch.stands(standing) else None

    def last(self, key: object) -> T | None:
        """The copy of that key though nobody can tell whether it still holds on other machines: for when that cannot be told."""
        found = self._copies.get(key)
        return found[0] if found is not None and self._stamps[found[1].place] == found[1].stamp else None

    def begin(self) -> int:
        """The moment to be handed to `keep`, before anything is read for it."""
        self._watch.fresh()
        return self._stamps.clock()

    def keep(self, key: object, copy: T, owner: str, began: int) -> None:
        """Remember *copy*, which is of the user *owner* (of everybody, where that is empty) and was read since *began*.

        Not where anything was changed meanwhile: it may have been read just before.
        """
        standing = self.standing(owner, began)
        if standing is None:
            return
        if len(self._copies) >= self._most:
            self._copies.clear()
        self._copies[key] = (copy, standing)

    def standing(self, owner: str, began: int) -> Standing | None:
        """What tells later whether anything of *owner* has changed since *began*; None where something has already."""
        return self._stamps.unchanged(self._stamps.place(owner) if owner else ALL, began)

    def forget(self, key: object) -> None:
        """Do not remember that key."""
        self._copies.pop(key, None)
