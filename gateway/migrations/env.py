"""Run by Alembic, within the transaction that `gateway.migrations` has begun."""

from __future__ import annotations

from alembic import context

from gateway.migrations import context_options
from gateway.migrations.tables import declared

context.configure(connection=context.config.attributes["connection"], target_metadata=declared(), **context_options())
with context.begin_transaction():
    context.run_migrations()
