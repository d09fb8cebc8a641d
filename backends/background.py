"""The background queue: calls kept in SQL and run later, at least once, by whichever process has time.

A call is *waiting* until it is due, *running* while somebody has claimed it, then gone; one that failed too often is *dead*
and stays to be looked at. A claim ends by itself, so the calls of a killed worker come back. `backends.consumer` is who claims
and runs them.

>>> import tempfile
>>> from security.database import metadata, open_database
>>> database = open_database(tempfile.mkdtemp())
>>> database.write(lambda connection: metadata.create_all(connection))
>>> queue = Queue(database)
>>> number = queue.enqueue(Call("rates.update", payload={"year": 2026}, cid="7f3a"))
>>> [claim] = queue.claim("worker-1", most=10, seconds=60)
>>> claim.call.service, claim.call.payload, queue.claim("worker-2", most=10, seconds=60)
('rates.update', {'year': 2026}, [])
>>> queue.complete(claim), queue.counts()
(True, {'waiting': 0, 'running': 0, 'dead': 0})
>>> database.close()
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    and_,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from backends.clock import FOR_EVER, LONG_AGO, Clock, utc_now
from security.database import Database, Json, UtcDateTime, metadata
from specs import strict_json
from specs.exchange import ANONYMOUS, Call, Identity

log = logging.getLogger(__name__)

WAITING, RUNNING, DEAD = "waiting", "running", "dead"
#: How often a call is tried before it is given up; with the pauses between, some two minutes.
MOST_ATTEMPTS = 8
#: How many more claims may end with nothing heard of the worker: a call that kills its worker must not do so for ever.
MOST_LOST = 3
LONGEST_PAUSE = 300.0
LARGEST_PAYLOAD = 1 << 20
#: Dead calls are kept for so many days, and so many of them.
DEAD_DAYS = 14
DEAD_KEPT = 1000
background_calls = Table(
    "background_calls",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("service", String(250), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("payload_kind", String(5), nullable=False),
    Column("cid", String(64), nullable=False),
    Column("identity", Json),
    Column("channel", String(250), nullable=False),
    Column("channel_type", String(20), nullable=False),
    Column("callback", String(250), nullable=False),
    Column("lane", String(250), index=True),
    Column("state", String(7), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("most_attempts", Integer, nullable=False),
    Column("claimed_by", String(250), nullable=False),
    Column("claimed_until", UtcDateTime),
    Column("last_error", String(100), nullable=False),
    Index("ix_background_calls_state_due_at", "state", "due_at"),
)
_calls = background_calls.c


@dataclass(frozen=True, slots=True)
class Claim:
    """A call that is ours to run until the claim ends. *attempt* tells this claim from earlier and later ones."""

    id: int
    call: Call
    holder: str
    attempt: int
    failures: int
    most_attempts: int
    callback: str


class Queue:
    """The calls that wait, run, or are dead. *jitter* gives a number from 0 to 1 and keeps retries from coming all at once."""

    def __init__(
        self, database: Database, *, clock: Clock = utc_now, jitter: Callable[[], float] = random.random
    ) -> None:
        self.database = database
        self.clock = clock
        self.jitter = jitter
        #: Set by each call that this process puts in: its consumers wake at once.
        self.wake = threading.Event()
        #: The database as it was when nothing was due, and until when nothing is if it stays so.
        self._mark: int | None = None
        self._quiet_until = LONG_AGO

    def enqueue(self, call: Call, *, after: float = 0.0, **options: Any) -> int:
        """Keep *call* to be run *after* seconds from now; its number. Durable when this returns. *options*: see `put`.

        Raises Problem ``not-representable`` for a payload that JSON cannot hold, ValueError for one that is too large.
        """
        due_at = self.clock() + timedelta(seconds=after)
        number = self.database.write(lambda connection: self.put(connection, call, due_at=due_at, **options))
        self.wake.set()
        return number

    def put(
        self,
        connection: Connection,
        call: Call,
        *,
        due_at: datetime,
        callback: str = "",
        expiration: float | None = None,
        lane: str | None = None,
        most_attempts: int = MOST_ATTEMPTS,
    ) -> int:
        """The same within a transaction that the caller has begun; wake the consumers after it.

        *callback* is a service that gets the answer. A call not begun within *expiration* seconds is not run. Calls of one
        *lane* run one at a time, in their order.
        """
        kind, payload = _packed(call.payload)
        if len(payload) > LARGEST_PAYLOAD:
            raise ValueError(f"a background call's payload has at most {LARGEST_PAYLOAD} bytes, not {len(payload)}")
        row = {
            "service": call.service, "payload": payload, "payload_kind": kind, "cid": call.cid,
            "identity": _identity_record(call.identity), "channel": call.channel, "channel_type": call.channel_type,
            "callback": callback, "lane": lane, "state": WAITING, "made_at": self.clock(), "due_at": due_at,
            "expires_at": due_at + timedelta(seconds=expiration) if expiration is not None else None,
            "attempts": 0, "failures": 0, "most_attempts": most_attempts, "claimed_by": "", "last_error": "",
        }  # fmt: skip
        key = connection.execute(insert(background_calls).values(row)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def claim(self, holder: str, most: int, seconds: float) -> list[Claim]:
        """Up to *most* due calls, ours for *seconds*. What has expired, or killed too many workers, dies here instead."""
        now = self.clock()
        mark = self.database.mark()
        if mark is not None and mark == self._mark and now < self._quiet_until:
            return []
        # PERF: looking first takes no lock; an idle claim would take the database's write lock each second.
        first, self._quiet_until = self.database.read(
            lambda connection: (connection.execute(_claimable(now).limit(1)).first(), _next_due(connection, now))
        )
        if first is None:
            self._mark = mark
            return []
        claims, lost = self.database.write(lambda connection: self._claim(connection, holder, most, seconds, now))
        for row in lost:
            log.error("cid=%s background call %d of '%s' lost its worker too often", row.cid, row.id, row.service)
        return claims

    def _claim(
        self, connection: Connection, holder: str, most: int, seconds: float, now: datetime
    ) -> tuple[list[Claim], list[Row[Any]]]:
        """The claims, and the rows of calls that are dead for having lost their workers."""
        claims, lost = [], []
        for row in connection.execute(
            _claimable(now).limit(most).with_for_update(skip_locked=True, of=background_calls)
        ).all():
            this = update(background_calls).where(_calls.id == row.id)
            if row.expires_at is not None and row.expires_at <= now:
                connection.execute(this.values(state=DEAD, last_error="expired", claimed_by=""))
            elif row.attempts >= row.most_attempts + MOST_LOST:
                connection.execute(this.values(state=DEAD, last_error="worker-lost", claimed_by=""))
                lost.append(row)
            else:
                until = now + timedelta(seconds=seconds)
                claimed = {"claimed_by": holder, "claimed_until": until, "attempts": row.attempts + 1}
                connection.execute(this.values(state=RUNNING, **claimed))
                claims.append(_claim_of(row, holder))
        return claims, lost

    def extend(self, claims: Sequence[Claim], seconds: float) -> int:
        """Keep *claims* for *seconds* from now; how many of them are still ours."""
        until = self.clock() + timedelta(seconds=seconds)
        return self._on_claims(claims, lambda ours: update(background_calls).where(ours).values(claimed_until=until))

    def give_back(self, claims: Sequence[Claim]) -> int:
        """Let others run *claims* at once; they do not count as tried. How many were still ours."""
        values = {"state": WAITING, "claimed_by": "", "attempts": _calls.attempts - 1}
        return self._on_claims(claims, lambda ours: update(background_calls).where(ours).values(values))

    def complete(self, claim: Claim, answer: Any = None, callback: str = "") -> bool:
        """The call is done; *callback* gets the *answer*, in the same transaction. False where the claim was lost before."""

        def work(connection: Connection) -> bool:
            if not connection.execute(delete(background_calls).where(_ours(claim))).rowcount:
                return False
            if callback:
                call = Call(callback, payload=answer, cid=claim.call.cid, identity=claim.call.identity)
                call.channel_type = claim.call.channel_type
                self.put(connection, call, due_at=self.clock())
            return True

        done = self.database.write(work)
        if callback:
            self.wake.set()
        return done

    def fail(self, claim: Claim, code: str, *, for_good: bool = False) -> bool:
        """The call failed with *code*: it is tried again later, or dead. False where the claim was lost before."""
        failures = claim.failures + 1
        dead = for_good or failures >= claim.most_attempts
        pause = min(2.0 ** (failures - 1), LONGEST_PAUSE) * (0.5 + self.jitter() / 2)
        values = {
            "state": DEAD if dead else WAITING, "failures": failures, "last_error": code[:100], "claimed_by": "",
            "due_at": self.clock() + timedelta(seconds=pause),
        }  # fmt: skip
        failed = update(background_calls).where(_ours(claim)).values(values)
        if dead:
            service, cid = claim.call.service, claim.call.cid
            log.error("cid=%s background call %d of '%s' given up: %s", cid, claim.id, service, code)
        return self.database.write(lambda connection: connection.execute(failed).rowcount > 0)

    def calls(self, state: str | None = None, most: int = 100) -> list[dict[str, Any]]:
        """What is in the queue, the newest first: every column but the payload."""
        columns = [column for column in background_calls.c if column is not _calls.payload]
        rows = select(*columns).order_by(_calls.id.desc()).limit(most)
        if state is not None:
            rows = rows.where(_calls.state == state)
        return self.database.read(lambda connection: [dict(row) for row in connection.execute(rows).mappings()])

    def counts(self) -> dict[str, int]:
        """How many calls there are in each state."""
        rows = select(_calls.state, func.count()).group_by(_calls.state)
        found = dict(self.database.read(lambda connection: [tuple(row) for row in connection.execute(rows)]))
        return {state: found.get(state, 0) for state in (WAITING, RUNNING, DEAD)}

    def revive(self, number: int) -> bool:
        """Try a dead call again, as if it were new; whether there was one."""
        values = {"state": WAITING, "due_at": self.clock(), "attempts": 0, "failures": 0, "expires_at": None}
        dead = update(background_calls).where(_calls.id == number, _calls.state == DEAD).values(values)
        revived = self.database.write(lambda connection: connection.execute(dead).rowcount > 0)
        self.wake.set()
        return revived

    def sweep(self, now: datetime) -> int:
        """Delete dead calls that are too old or too many; how many they were."""
        dead = delete(background_calls).where(_calls.state == DEAD)
        newest = select(_calls.id).where(_calls.state == DEAD).order_by(_calls.id.desc()).limit(DEAD_KEPT)
        old = or_(_calls.due_at < now - timedelta(days=DEAD_DAYS), _calls.id.not_in(newest))
        return self.database.write(lambda connection: connection.execute(dead.where(old)).rowcount)

    def _on_claims(self, claims: Sequence[Claim], statement: Callable[[Any], Any]) -> int:
        if not claims:
            return 0
        ours = or_(*(_ours(claim) for claim in claims))
        return self.database.write(lambda connection: int(connection.execute(statement(ours)).rowcount))


def unfinished(connection: Connection, number: int | None) -> bool:
    """Whether the call of that number still waits or runs."""
    open_ = select(_calls.id).where(_calls.id == number, _calls.state != DEAD)
    return number is not None and connection.execute(open_).first() is not None


def _next_due(connection: Connection, now: datetime) -> datetime:
    """Until when no call can become due that is not due at *now*, if nothing changes."""
    moments = (
        select(func.min(_calls.due_at)).where(_calls.state == WAITING, _calls.due_at > now),
        select(func.min(_calls.claimed_until)).where(_calls.state == RUNNING, _calls.claimed_until > now),
    )
    found = [connection.execute(moment).scalar() for moment in moments]
    return min((moment for moment in found if moment is not None), default=FOR_EVER)


def _claimable(now: datetime) -> Any:
    earlier = background_calls.alias()
    behind = (
        select(earlier.c.id)
        .where(earlier.c.lane == _calls.lane, earlier.c.id < _calls.id, earlier.c.state != DEAD)
        .correlate(background_calls)
        .exists()
    )
    due = or_(
        and_(_calls.state == WAITING, _calls.due_at <= now), and_(_calls.state == RUNNING, _calls.claimed_until <= now)
    )
    return select(background_calls).where(due, not_(behind)).order_by(_calls.due_at, _calls.id)


def _ours(claim: Claim) -> Any:
    return and_(
        _calls.id == claim.id,
        _calls.claimed_by == claim.holder,
        _calls.attempts == claim.attempt,
        _calls.state == RUNNING,
    )


def _claim_of(row: Row[Any], holder: str) -> Claim:
    call = Call(row.service, payload=_unpacked(row.payload_kind, bytes(row.payload)), cid=row.cid)
    call.identity = _identity_of(row.identity)
    call.channel, call.channel_type = row.channel, row.channel_type
    return Claim(row.id, call, holder, row.attempts + 1, row.failures, row.most_attempts, row.callback)


def _packed(payload: Any) -> tuple[str, bytes]:
    """The kind of a payload and the bytes to keep: bytes as they are, anything else as JSON. Raises Problem."""
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return "bytes", bytes(payload)
    return "json", strict_json.dumps(payload)


def _unpacked(kind: str, packed: bytes) -> Any:
    # WHY: not orjson, which makes floats of integers beyond 64 bits; these are our own bytes, not a stranger's.
    return packed if kind == "bytes" else json.loads(packed)


def _identity_record(identity: Identity) -> dict[str, Any] | None:
    if not identity:
        return None
    return {
        "name": identity.name, "kind": identity.kind, "definition": identity.definition, "user": identity.user,
        "groups": sorted(identity.groups), "attributes": dict(identity.attributes),
    }  # fmt: skip


def _identity_of(record: dict[str, Any] | None) -> Identity:
    return Identity(**{**record, "groups": frozenset(record["groups"])}) if record else ANONYMOUS
