"""People who sign up and log in: users, sessions, second factors, links, attributes, mail, throttles and the audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from security.database import Json, UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "sso_audit",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("cid", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("result", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("actor", sa.String(length=40), nullable=False),
        sa.Column("target", sa.String(length=40), nullable=False),
        sa.Column("app", sa.String(length=100), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("details", Json(), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_sso_audit")),
    )
    op.create_index(op.f("ix_sso_audit_action"), "sso_audit", ["action"], unique=False)
    op.create_index(op.f("ix_sso_audit_actor"), "sso_audit", ["actor"], unique=False)
    op.create_index(op.f("ix_sso_audit_target"), "sso_audit", ["target"], unique=False)
    op.create_table(
        "sso_audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("mac", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sso_audit_head")),
    )
    op.create_table(
        "sso_keys",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("box", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sso_keys")),
    )
    op.create_table(
        "sso_letters",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("box", sa.Text(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sso_letters")),
    )
    op.create_index(op.f("ix_sso_letters_due_at"), "sso_letters", ["due_at"], unique=False)
    op.create_index(op.f("ix_sso_letters_user_id"), "sso_letters", ["user_id"], unique=False)
    op.create_table(
        "sso_throttles",
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sso_throttles")),
    )
    op.create_index(op.f("ix_sso_throttles_until"), "sso_throttles", ["until"], unique=False)
    op.create_table(
        "sso_users",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("username_key", sa.String(length=80), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_digest", sa.String(length=64), nullable=True),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.String(length=256), nullable=True),
        sa.Column("language", sa.String(length=16), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("password_set_at", UtcDateTime(), nullable=True),
        sa.Column("must_change", sa.Boolean(), nullable=False),
        sa.Column("password_disabled", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("state_at", UtcDateTime(), nullable=False),
        sa.Column("state_by", sa.String(length=40), nullable=False),
        sa.Column("session_epoch", sa.Integer(), nullable=False),
        sa.Column("is_super_user", sa.Boolean(), nullable=False),
        sa.Column("roles", Json(), nullable=False),
        sa.Column("addresses", Json(), nullable=False),
        sa.Column("key_box", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sso_users")),
        sa.UniqueConstraint("email_digest", name=op.f("uq_sso_users_email_digest")),
        sa.UniqueConstraint("username_key", name=op.f("uq_sso_users_username_key")),
    )
    op.create_index(op.f("ix_sso_users_name_key"), "sso_users", ["name_key"], unique=False)
    op.create_index(op.f("ix_sso_users_state"), "sso_users", ["state"], unique=False)
    op.create_table(
        "sso_attributes",
        sa.Column("owner_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("encrypted", sa.Boolean(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["sso_users.id"], name=op.f("fk_sso_attributes_user_id")),
        sa.PrimaryKeyConstraint("owner_id", "name", name=op.f("pk_sso_attributes")),
    )
    op.create_index(op.f("ix_sso_attributes_expires_at"), "sso_attributes", ["expires_at"], unique=False)
    op.create_index(op.f("ix_sso_attributes_user_id"), "sso_attributes", ["user_id"], unique=False)
    op.create_table(
        "sso_links",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("definition", sa.String(length=200), nullable=False),
        sa.Column("principal", sa.String(length=200), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("second_factor", sa.String(length=20), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["sso_users.id"], name=op.f("fk_sso_links_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sso_links")),
        sa.UniqueConstraint("definition", "principal", name=op.f("uq_sso_links_definition_principal")),
    )
    op.create_index(op.f("ix_sso_links_user_id"), "sso_links", ["user_id"], unique=False)
    op.create_table(
        "sso_recovery_codes",
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["sso_users.id"], name=op.f("fk_sso_recovery_codes_user_id")),
        sa.PrimaryKeyConstraint("user_id", "number", name=op.f("pk_sso_recovery_codes")),
    )
    op.create_table(
        "sso_sessions",
        sa.Column("token_digest", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("app", sa.String(length=100), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("user_agent", sa.String(length=200), nullable=False),
        sa.Column("methods", Json(), nullable=False),
        sa.Column("authenticated_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.Column("idle_until", UtcDateTime(), nullable=False),
        sa.Column("ends_at", UtcDateTime(), nullable=False),
        sa.Column("previous_digest", sa.String(length=64), nullable=True),
        sa.Column("previous_until", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["sso_users.id"], name=op.f("fk_sso_sessions_user_id")),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_sso_sessions")),
        sa.UniqueConstraint("id", name=op.f("uq_sso_sessions_id")),
    )
    op.create_index(op.f("ix_sso_sessions_ends_at"), "sso_sessions", ["ends_at"], unique=False)
    op.create_index(op.f("ix_sso_sessions_previous_digest"), "sso_sessions", ["previous_digest"], unique=False)
    op.create_index(op.f("ix_sso_sessions_user_id"), "sso_sessions", ["user_id"], unique=False)
    op.create_table(
        "sso_tokens",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("payload", Json(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["sso_users.id"], name=op.f("fk_sso_tokens_user_id")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sso_tokens")),
    )
    op.create_index(op.f("ix_sso_tokens_expires_at"), "sso_tokens", ["expires_at"], unique=False)
    op.create_index("ix_sso_tokens_user_id_kind", "sso_tokens", ["user_id", "kind"], unique=False)
    op.create_table(
        "sso_totp",
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("secret_box", sa.Text(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["sso_users.id"], name=op.f("fk_sso_totp_user_id")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_sso_totp")),
    )
