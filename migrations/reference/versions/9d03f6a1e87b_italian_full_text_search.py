"""Italian full text search, blind to accents

Revision ID: 9d03f6a1e87b
Revises: 4b7e19c2a0d5
Create Date: 2025-04-02 16:30:08
"""

from __future__ import annotations

from alembic import op

revision = "9d03f6a1e87b"
down_revision = "4b7e19c2a0d5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS unaccent")
    # unaccent() is only STABLE, which a generated column refuses; as a dictionary of a configuration that is
    # named in the expression it is fine, for to_tsvector(regconfig, text) is IMMUTABLE
    op.execute("CREATE TEXT SEARCH CONFIGURATION public.italian_unaccent (COPY = pg_catalog.italian)")
    op.execute(
        "ALTER TEXT SEARCH CONFIGURATION public.italian_unaccent"
        " ALTER MAPPING FOR hword, hword_part, word WITH unaccent, italian_stem"
    )
    op.execute(
        "ALTER TABLE knowledge_chunks ADD COLUMN search_vector tsvector"
        " GENERATED ALWAYS AS (to_tsvector('public.italian_unaccent', chunk_text)) STORED"
    )
    op.execute("CREATE INDEX idx_kc_search_vector ON knowledge_chunks USING gin (search_vector)")


def downgrade() -> None:
    # the extension stays: it may have been there before, and others may use it
    op.drop_column("knowledge_chunks", "search_vector")
    op.execute("DROP TEXT SEARCH CONFIGURATION public.italian_unaccent")
