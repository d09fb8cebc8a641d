"""How the connections of a running gateway stand: pools belong to workers, which write down once a second how theirs do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: The worst of several workers comes first.
_BREAKERS = ("open", "half-open", "closed")


def usage_of(workers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The pools of all *workers* (records of `gateway.metrics`), a row for each system: their sums, and the worst state.

    >>> pool = {"kind": "rest", "name": "erp", "busy": 1, "idle": 2, "most": 20}
    >>> usage_of([{"notes": {"connections": [pool]}}, {"notes": {"connections": [pool]}}])
    [{'kind': 'rest', 'name': 'erp', 'busy': 2, 'idle': 4, 'most': 40, 'workers': 2}]
    """
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for worker in workers:
        for pool in worker.get("notes", {}).get("connections", ()):
            row = rows.setdefault(
                (pool["kind"], pool["name"], pool.get("address", "")),
                {**pool, "busy": 0, "idle": 0, "most": 0, "workers": 0},
            )
            row["workers"] += 1
            for count in ("busy", "idle", "most"):
                row[count] += pool[count]
            if "breaker" in pool:
                row["breaker"] = min(row["breaker"], pool["breaker"], key=_BREAKERS.index)
                row["well"] = row["well"] and pool["well"]
    return [rows[key] for key in sorted(rows)]
