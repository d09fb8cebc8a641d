"""Buckets of limits that are durable."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "limit_buckets",
        sa.Column("key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_limit_buckets")),
    )
    with op.batch_alter_table("limit_buckets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_limit_buckets_until"), ["until"], unique=False)
