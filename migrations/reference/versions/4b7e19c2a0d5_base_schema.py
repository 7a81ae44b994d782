"""base schema

Revision ID: 4b7e19c2a0d5
Revises:
Create Date: 2025-03-10 09:12:44
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector

revision = "4b7e19c2a0d5"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    create_knowledge()
    create_people()
    op.create_table(
        "feed_status",
        _id(),
        sa.Column("feed_url", sa.Text(), nullable=False, unique=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default="healthy"),
        sa.Column("items_found", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("consecutive_errors", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text()),
        sa.Column("last_checked_at", sa.DateTime(timezone=True)),
        sa.Column("last_success_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("status IN ('healthy', 'degraded', 'failing')", name="ck_feed_status_status"),
    )


def create_knowledge() -> None:
    op.create_table(
        "knowledge_items",
        _id(),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), unique=True),
        sa.Column("status", sa.Text(), nullable=False, server_default="active"),
        _moment("created_at"),
        _moment("updated_at"),
        sa.CheckConstraint("status IN ('active', 'superseded', 'archived')", name="ck_knowledge_items_status"),
    )
    op.create_index("idx_ki_source_created_at", "knowledge_items", ["source", "created_at"])
    op.create_table(
        "knowledge_chunks",
        _id(),
        _parent("knowledge_item_id", "knowledge_items.id"),
        sa.Column("chunk_index", sa.Integer(), nullable=False),
        sa.Column("chunk_text", sa.Text(), nullable=False),
        sa.Column("token_count", sa.Integer(), nullable=False),
        sa.Column("embedding", Vector(1536)),
        _moment("created_at"),
        sa.UniqueConstraint("knowledge_item_id", "chunk_index", name="uq_kc_item_chunk"),
    )
    # the first search of the application, by the beginning of the text
    op.execute("CREATE INDEX idx_kc_chunk_text_prefix ON knowledge_chunks (left(chunk_text, 1000) text_pattern_ops)")


def create_people() -> None:
    op.create_table(
        "users",
        _id(),
        sa.Column("email", sa.Text(), nullable=False, unique=True),
        sa.Column("hashed_password", sa.Text(), nullable=False),
        sa.Column("full_name", sa.Text()),
        sa.Column("phone", sa.Text()),
        sa.Column("address", sa.Text()),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.true()),
        _moment("created_at"),
    )
    op.create_table(
        "conversations",
        _id(),
        _parent("user_id", "users.id"),
        sa.Column("title", sa.Text()),
        _moment("created_at"),
    )
    op.create_index("idx_conversations_user_id", "conversations", ["user_id"])
    op.create_index("idx_conversations_created_at", "conversations", ["created_at"])
    op.create_table(
        "messages",
        _id(),
        _parent("conversation_id", "conversations.id"),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        _moment("created_at"),
        sa.CheckConstraint("role IN ('user', 'assistant')", name="ck_messages_role"),
    )
    op.create_index("idx_messages_conversation_id", "messages", ["conversation_id"])
    op.create_index("idx_messages_created_at", "messages", ["created_at"])


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True)


def _parent(name: str, target: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), sa.ForeignKey(target, ondelete="CASCADE"), nullable=False)


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def downgrade() -> None:
    # the extension stays: it may have been there before, and others may use it
    for table in ("feed_status", "messages", "conversations", "users", "knowledge_chunks", "knowledge_items"):
        op.drop_table(table)
