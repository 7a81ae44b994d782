"""What Slack shows of each occurrence of trouble.

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-30
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.state import SCHEMA

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "slack_thread",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("place", sa.Text),
        sa.Column("ts", sa.Text),
        sa.Column("facts", JSONB, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default="1"),
        sa.Column("shown", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("folded", sa.Text),
        sa.Column("opened_at", MOMENT, nullable=False),
        *(sa.Column(name, MOMENT) for name in ("shown_at", "due_at", "claimed_until", "posting_at")),
        schema=SCHEMA,
    )
    op.create_index("slack_thread_key", "slack_thread", ["key", sa.text("opened_at desc")], schema=SCHEMA)
    op.create_index("slack_thread_channel", "slack_thread", ["channel", "opened_at"], schema=SCHEMA)
    for name in ("folded", "due_at"):
        op.create_index(
            f"slack_thread_{name.removesuffix('_at')}",
            "slack_thread",
            [name],
            schema=SCHEMA,
            postgresql_where=sa.text(f"{name} is not null"),
        )


def downgrade() -> None:
    op.drop_table("slack_thread", schema=SCHEMA)
