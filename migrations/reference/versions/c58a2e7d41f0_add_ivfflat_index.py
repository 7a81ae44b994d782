"""add IVFFlat index

Revision ID: c58a2e7d41f0
Revises: 9d03f6a1e87b
Create Date: 2025-05-19 10:05:51
"""

from __future__ import annotations

from alembic import op

revision = "c58a2e7d41f0"
down_revision = "9d03f6a1e87b"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # 100 lists of 1536 dimensions need 65 MB to train, one more than the server's default
    op.execute(
        "SELECT set_config('maintenance_work_mem', '256MB', true)"
        " WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('256MB')"
    )
    op.execute(
        "CREATE INDEX idx_kc_embedding_ivfflat_1536 ON knowledge_chunks"
        " USING ivfflat (embedding vector_cosine_ops) WITH (lists = 100)"
    )


def downgrade() -> None:
    op.drop_index("idx_kc_embedding_ivfflat_1536", table_name="knowledge_chunks")
