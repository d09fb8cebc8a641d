"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from security.database import Json, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "administrators",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_administrators")),
    )
    op.create_table(
        "background_calls",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("service", sa.String(length=250), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("payload_kind", sa.String(length=5), nullable=False),
        sa.Column("cid", sa.String(length=64), nullable=False),
        sa.Column("identity", Json(), nullable=True),
        sa.Column("channel", sa.String(length=250), nullable=False),
        sa.Column("channel_type", sa.String(length=20), nullable=False),
        sa.Column("callback", sa.String(length=250), nullable=False),
        sa.Column("lane", sa.String(length=250), nullable=True),
        sa.Column("state", sa.String(length=7), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("most_attempts", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.String(length=250), nullable=False),
        sa.Column("claimed_until", UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_background_calls")),
    )
    op.create_index(op.f("ix_background_calls_lane"), "background_calls", ["lane"], unique=False)
    op.create_index("ix_background_calls_state_due_at", "background_calls", ["state", "due_at"], unique=False)
    op.create_table(
        "cache_entries",
        sa.Column("cache", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=500), nullable=False),
        sa.Column("kind", sa.String(length=5), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("cache", "key", name=op.f("pk_cache_entries")),
    )
    op.create_index(op.f("ix_cache_entries_expires_at"), "cache_entries", ["expires_at"], unique=False)
    op.create_table(
        "configuration_revisions",
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_configuration_revisions")),
    )
    op.create_table(
        "configuration_sources",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_configuration_sources")),
    )
    op.create_table(
        "jobs",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("source", sa.String(length=7), nullable=False),
        sa.Column("definition", Json(), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("next_run", UtcDateTime(), nullable=True),
        sa.Column("last_run", UtcDateTime(), nullable=True),
        sa.Column("runs_done", sa.Integer(), nullable=False),
        sa.Column("runs_skipped", sa.Integer(), nullable=False),
        sa.Column("running_call", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_next_run"), "jobs", ["next_run"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.Column("holder", sa.String(length=250), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_index(op.f("ix_leases_expires_at"), "leases", ["expires_at"], unique=False)
    op.create_table(
        "service_deployments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("set_name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("pinned", sa.Boolean(), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_deployments")),
    )
    op.create_index(op.f("ix_service_deployments_set_name"), "service_deployments", ["set_name"], unique=False)
    op.create_table(
        "service_folders",
        sa.Column("folder", sa.String(length=500), nullable=False),
        sa.Column("file", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("folder", "file", name=op.f("pk_service_folders")),
    )
    op.create_table(
        "service_versions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("set_name", sa.String(length=100), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("services", Json(), nullable=False),
        sa.Column("warnings", Json(), nullable=False),
        sa.Column("files", sa.LargeBinary(), nullable=False),
        sa.Column("contracts", sa.LargeBinary(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_versions")),
    )
    op.create_index(op.f("ix_service_versions_set_name"), "service_versions", ["set_name"], unique=False)
    op.create_table(
        "configuration_objects",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("body", Json(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["revision"], ["configuration_revisions.revision"], name=op.f("fk_configuration_objects_revision")
        ),
        sa.PrimaryKeyConstraint("kind", "name", "revision", name=op.f("pk_configuration_objects")),
    )
    op.create_index(op.f("ix_configuration_objects_revision"), "configuration_objects", ["revision"], unique=False)
