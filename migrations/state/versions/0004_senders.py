"""Who sent the alert that asked for a run, so that nobody approves what is his own.

Revision ID: 0004
Revises: 0003
Create Date: 2026-11-30
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.state import SCHEMA

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("action_run", sa.Column("sender", sa.Text), schema=SCHEMA)


def downgrade() -> None:
    op.drop_column("action_run", "sender", schema=SCHEMA)
