"""Notices that know their slot and who holds them, silences that are kept up.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-30
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.state import SCHEMA

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
_OPEN = sa.text("sent_at is null and dead_at is null")


def upgrade() -> None:
    for name in ("slot", "claim", "reference"):
        op.add_column("outbox", sa.Column(name, sa.Text), schema=SCHEMA)
    op.create_index("outbox_thread", "outbox", ["notifier", "thread", "id"], schema=SCHEMA, postgresql_where=_OPEN)
    op.create_index("outbox_created", "outbox", ["created_at"], schema=SCHEMA)
    for name in ("remote", "expired_by", "thread"):
        op.add_column("silence", sa.Column(name, sa.Text), schema=SCHEMA)
    op.add_column("silence", sa.Column("expired_at", MOMENT), schema=SCHEMA)


def downgrade() -> None:
    for name in ("expired_at", "thread", "expired_by", "remote"):
        op.drop_column("silence", name, schema=SCHEMA)
    for name in ("outbox_created", "outbox_thread"):
        op.drop_index(name, "outbox", schema=SCHEMA)
    for name in ("reference", "claim", "slot"):
        op.drop_column("outbox", name, schema=SCHEMA)
