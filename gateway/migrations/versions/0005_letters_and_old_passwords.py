"""What became of letters, former passwords, and whose password's end was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from security.database import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "sso_old_passwords",
        sa.Column("user_id", sa.String(length=40), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["sso_users.id"], name=op.f("fk_sso_old_passwords_user_id")),
        sa.PrimaryKeyConstraint("user_id", "until", name=op.f("pk_sso_old_passwords")),
    )
    op.add_column("sso_users", sa.Column("warned_of", UtcDateTime(), nullable=True))
    op.add_column("sso_letters", sa.Column("posted_at", UtcDateTime(), nullable=True))
    op.add_column("sso_letters", sa.Column("given_up_at", UtcDateTime(), nullable=True))
    op.add_column("sso_letters", sa.Column("error", sa.String(length=500), nullable=True))
