"""The audit: what was done, by whom, to whom, and why; each record proves the one before it.

A record's MAC covers its content and the MAC before it, under a key that the database does not hold in clear: who changes,
removes or reorders records is found by `Audit.verify`, which names the first bad one. Who can write to the database could
still cut off the end and turn the head back: `Audit.checkpoint`, kept elsewhere, shows that too.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, insert, select

from backends.clock import Clock
from security.database import upsert
from sso import tables
from sso.storage import Storage, tell

SYSTEM = "system"
_BATCH = 1000
_FIELDS = ("sequence", "cid", "action", "result", "reason", "actor", "target", "app", "address", "details")
_START = "0" * 64


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a call comes from, as proven so far: *actor* is a user's id, ``system`` for commands, or empty.

    An *app* that is *unproven* was only named, though it has a credential: no session becomes its own by that.
    """

    app: str = ""
    address: str = ""
    user_agent: str = ""
    cid: str = ""
    actor: str = ""
    reason: str = ""
    unproven: bool = False


class Verdict(NamedTuple):
    """What `Audit.verify` found: *bad* is the number of the first record that is not as it was written."""

    checked: int
    bad: int | None = None
    why: str = ""


class Audit:
    """Appends records within the transactions that they tell of, and verifies them."""

    def __init__(self, database: Storage, key: bytes, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self._key = key

    def record(
        self,
        connection: Connection,
        action: str,
        caller: Caller,
        *,
        target: str = "",
        result: str = "done",
        actor: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Append one record. *details* hold no secrets: no password, code, token or address of mail."""
        head = connection.execute(select(tables.audit_head)).first()
        values: dict[str, Any] = {
            "sequence": head.sequence + 1 if head else 1,
            "at": self.clock(),
            "cid": caller.cid[:64],
            "action": action,
            "result": result,
            "reason": caller.reason[:500],
            "actor": (actor or caller.actor)[:40],
            "target": target[:40],
            "app": caller.app[:100],
            "address": caller.address[:64],
            "details": dict(details or {}),
        }
        values["mac"] = self._mac(values, head.mac if head else _START)
        connection.execute(insert(tables.audit).values(values))
        tell(connection, action, values["target"])
        upsert(connection, tables.audit_head, {"id": 1}, {"sequence": values["sequence"], "mac": values["mac"]})

    def verify(self, checkpoint: str = "") -> Verdict:
        """Whether every record is as it was written; *checkpoint* is one that was kept elsewhere."""
        known, _, known_mac = checkpoint.partition(".")
        # WHY: the head is read first: records that are appended meanwhile come after it.
        head = self.database.read(lambda connection: connection.execute(select(tables.audit_head)).first())
        before, last = _START, 0
        # A checkpoint of the time before the first record holds whatever came after.
        seen = not checkpoint or known == "0"
        while True:
            rows = self.database.read(lambda connection, last=last: _after(connection, last))  # type: ignore[misc]
            for row in rows:
                number = row["sequence"]
                if number != last + 1:
                    return Verdict(last, last + 1, "this record is missing")
                if not hmac.compare_digest(self._mac(row, before), row["mac"]):
                    return Verdict(last, number, "this record was changed, or another before it removed")
                if checkpoint and str(number) == known:
                    if row["mac"] != known_mac:
                        return Verdict(last, number, "this record is not the one that the checkpoint names")
                    seen = True
                before, last = row["mac"], number
            if len(rows) < _BATCH:
                break
        if head is not None and head.sequence > last:
            return Verdict(last, last + 1, "the end was cut off")
        if head is None and last:
            return Verdict(last, last, "the head was removed")
        return Verdict(last) if seen else Verdict(last, last + 1, "the end was cut off before the checkpoint")

    def checkpoint(self) -> str:
        """What to keep elsewhere, a log or another machine: the last record's number and MAC."""
        head = self.database.read(lambda connection: connection.execute(select(tables.audit_head)).first())
        return f"{head.sequence}.{head.mac}" if head else f"0.{_START}"

    def holds(self, checkpoint: str) -> bool:
        """Whether the record that *checkpoint* names is there, as it was then. The chain is not looked at: see `verify`."""
        number, _, mac = checkpoint.partition(".")
        if int(number) == 0:
            return True
        query = select(tables.audit.c.mac).where(tables.audit.c.sequence == int(number))
        return self.database.read(lambda connection: connection.execute(query).scalar()) == mac

    def find(
        self,
        *,
        actor: str = "",
        target: str = "",
        action: str = "",
        after: int = 0,
        before: int | None = None,
        most: int = 50,
    ) -> list[dict[str, Any]]:
        """Records in their order, from the one after number *after* on, at most *most* (and 100).

        With *before* the newest first, from the one before that number on; 0 is the end.
        """
        audit = tables.audit
        query = select(audit).where(audit.c.sequence > after).limit(min(most, 100))
        query = query.order_by(audit.c.sequence if before is None else audit.c.sequence.desc())
        if before:
            query = query.where(audit.c.sequence < before)
        for column, wanted in ((audit.c.actor, actor), (audit.c.target, target), (audit.c.action, action)):
            if wanted:
                query = query.where(column == wanted)
        rows = self.database.read(lambda connection: connection.execute(query).mappings().all())
        return [{name: value for name, value in row.items() if name != "mac"} for row in rows]

    def _mac(self, values: Mapping[str, Any], before: str) -> str:
        content = [before, values["at"].timestamp(), *(values[name] for name in _FIELDS)]
        return hmac.new(self._key, orjson.dumps(content, option=orjson.OPT_SORT_KEYS), sha256).hexdigest()


def _after(connection: Connection, last: int) -> list[dict[str, Any]]:
    audit = tables.audit
    query = select(audit).where(audit.c.sequence > last).order_by(audit.c.sequence).limit(_BATCH)
    return [dict(row) for row in connection.execute(query).mappings()]
