"""Which process uses which keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from security.database import Json, UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "key_users",
        sa.Column("process", sa.String(length=200), nullable=False),
        sa.Column("machine", sa.String(length=100), nullable=False),
        sa.Column("rings", Json(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("process", name=op.f("pk_key_users")),
    )
