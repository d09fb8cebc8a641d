"""Passkeys, the challenges that were answered, and credentials of applications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from security.database import Json, UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "sso_app_credentials",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("app", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sso_app_credentials")),
        sa.UniqueConstraint("digest", name=op.f("uq_sso_app_credentials_digest")),
    )
    op.create_index(op.f("ix_sso_app_credentials_app"), "sso_app_credentials", ["app"], unique=False)
    op.create_table(
        "sso_spent_challenges",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sso_spent_challenges")),
    )
    op.create_index(op.f("ix_sso_spent_challenges_expires_at"), "sso_spent_challenges", ["expires_at"], unique=False)
    op.create_table(
        "sso_passkeys",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("credential_digest", sa.String(length=64), nullable=False),
        sa.Column("credential_id", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name_box", sa.Text(), nullable=False),
        sa.Column("transports", Json(), nullable=False),
        sa.Column("backup_eligible", sa.Boolean(), nullable=False),
        sa.Column("backed_up", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["sso_users.id"], name=op.f("fk_sso_passkeys_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sso_passkeys")),
        sa.UniqueConstraint("credential_digest", name=op.f("uq_sso_passkeys_credential_digest")),
    )
    op.create_index(op.f("ix_sso_passkeys_user_id"), "sso_passkeys", ["user_id"], unique=False)
