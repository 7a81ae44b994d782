"""add publication_date to knowledge_items

Revision ID: e1f47b90c6a3
Revises: c58a2e7d41f0
Create Date: 2025-11-20 08:47:19
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "e1f47b90c6a3"
down_revision = "c58a2e7d41f0"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("knowledge_items", sa.Column("publication_date", sa.Date(), nullable=True))
    op.create_index("idx_ki_publication_date", "knowledge_items", ["publication_date"])


def downgrade() -> None:
    op.drop_index("idx_ki_publication_date", table_name="knowledge_items")
    op.drop_column("knowledge_items", "publication_date")
