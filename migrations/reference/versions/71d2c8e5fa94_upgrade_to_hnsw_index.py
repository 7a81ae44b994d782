"""upgrade to HNSW index

Online, and safe to run again after a failure at any point: each statement outside of a transaction is preceded by a
look at what an earlier attempt left.

Revision ID: 71d2c8e5fa94
Revises: e1f47b90c6a3
Create Date: 2025-11-28 14:21:37
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "71d2c8e5fa94"
down_revision = "e1f47b90c6a3"
branch_labels = None
depends_on = None

IVFFLAT = "idx_kc_embedding_ivfflat_1536"
HNSW = "idx_kc_embedding_hnsw_1536"
CREATE = {
    IVFFLAT: f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {IVFFLAT} ON knowledge_chunks"
    " USING ivfflat (embedding vector_cosine_ops) WITH (lists = 100)",
    HNSW: f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {HNSW} ON knowledge_chunks"
    " USING hnsw (embedding vector_cosine_ops) WITH (m = 16, ef_construction = 64)",
}


def upgrade() -> None:
    op.execute("""
        DO $$
        DECLARE installed text := (SELECT extversion FROM pg_extension WHERE extname = 'vector');
        BEGIN
            IF string_to_array(installed, '.')::int[] < ARRAY[0, 5, 0] THEN
                RAISE EXCEPTION 'pgvector % knows no HNSW, 0.5.0 is needed', installed
                    USING HINT = 'ALTER EXTENSION vector UPDATE';
            END IF;
        END $$
    """)
    replace(old=IVFFLAT, new=HNSW)


def downgrade() -> None:
    replace(old=HNSW, new=IVFFLAT)


def replace(*, old: str, new: str) -> None:
    with op.get_context().autocommit_block():
        # IF NOT EXISTS would take the invalid index of a failed attempt for the real one
        if is_invalid(new):
            op.execute(f"DROP INDEX CONCURRENTLY {new}")
        # below 65 MB IVFFlat cannot train 100 lists; a graph that does not fit is built several times slower
        op.execute(
            "SELECT set_config('maintenance_work_mem', '256MB', false)"
            " WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes('256MB')"
        )
        op.execute(CREATE[new])
        op.execute("RESET maintenance_work_mem")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {old}")


def is_invalid(index: str) -> bool:
    if context.is_offline_mode():
        return False
    look = sa.text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:index)")
    return bool(op.get_bind().scalar(look, {"index": index}))
