"""Samples of real calls, and the examples that were made of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from security.database import Json, UtcDateTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "service_examples",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("service", sa.String(length=250), nullable=False),
        sa.Column("channel", sa.String(length=250), nullable=False),
        sa.Column("method", sa.String(length=20), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("input", Json(), nullable=False),
        sa.Column("output", Json(), nullable=False),
        sa.Column("redacted", Json(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("promoted_at", UtcDateTime(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("runs", sa.Boolean(), nullable=False),
        sa.Column("ignored", Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_examples")),
    )
    for column in ("service", "digest", "promoted_at"):
        op.create_index(op.f(f"ix_service_examples_{column}"), "service_examples", [column], unique=False)
