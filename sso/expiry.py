"""Warnings by letter that something is about to end: passwords, where the settings have them end at all."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, or_, select, update

from sso import tables
from sso.system import SingleSignOn


def warn(sso: SingleSignOn, most: int = 100) -> int:
    """Write to up to *most* people whose password ends within `password.warn_before`, once a password; how many they were."""
    rules = sso.settings.password
    if isinstance(rules.expires_after, str):
        return 0
    now = sso.clock()
    set_before = now + timedelta(seconds=rules.warn_before) - timedelta(seconds=rules.expires_after)
    users = tables.users
    # Who was told of the end of this password is not told again; another one is known by the moment at which it was set.
    due = (
        select(users)
        .where(
            users.c.state == "active",
            users.c.password.is_not(None),
            users.c.password_set_at <= set_before,
            or_(users.c.warned_of.is_(None), users.c.warned_of != users.c.password_set_at),
        )
        .order_by(users.c.id)
        .limit(most)
    )

    def work(connection: Connection) -> int:
        rows = connection.execute(due).all()
        for row in rows:
            end = sso.users.password_end(row)
            assert end is not None
            if end > now:
                sso.users.write_to(connection, row, "password-expires", {"days": _days(end - now), "at": _told(end)})
            connection.execute(update(users).where(users.c.id == row.id).values(warned_of=row.password_set_at))
        return len(rows)

    return sso.database.write(work, audited=False)


def _days(left: timedelta) -> int:
    return max(0, left.days)


def _told(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
