"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from security.database import Json, UtcDateTime

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Apply this step."""
    ${upgrades if upgrades else "pass"}
