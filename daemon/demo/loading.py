"""COPY the made-up data into an environment, in binary: text would take several times as long."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from daemon.demo import knowledge, people
from daemon.demo.vocabulary import SOURCES

_KNOWLEDGE_SECONDS = 730 * 86400.0


@dataclass(frozen=True, slots=True)
class Order:
    """What to make: `rows` knowledge chunks in production, all moments counted back from `now` (unix seconds)."""

    rows: int
    now: float
    seed: int = 20251120


async def load_knowledge(
    connection: asyncpg.Connection, first: int, last: int, order: Order, progress: Callable[[int], None]
) -> None:
    """Load the chunks from number `first`, with which a document must begin, to before `last`.

    `connection` knows pgvector's codec. `progress` is told how many chunks of the base there are now.
    """
    if first == last:
        return
    for batch in knowledge.batches(last, order.seed):
        documents = [document for document in batch.documents if document.id > first // knowledge.CHUNKS_PER_ITEM]
        if documents:
            size = sum(len(document.chunks) for document in documents)
            await _load_documents(connection, documents, batch.embeddings[-size:], order.now)
            progress((documents[0].id - 1) * knowledge.CHUNKS_PER_ITEM + size)
    await _continue_numbering(connection, "knowledge_items")


async def _load_documents(
    connection: asyncpg.Connection, documents: list[knowledge.Document], embeddings: knowledge.Vectors, now: float
) -> None:
    moments = [datetime.fromtimestamp(now - document.age * _KNOWLEDGE_SECONDS, UTC) for document in documents]
    items = (
        (document.id, document.title, "\n\n".join(document.chunks), document.source, document.url, at, at)
        for document, at in zip(documents, moments, strict=True)
    )
    await _copy(connection, "knowledge_items", "id title content source url created_at updated_at", items)
    texts = [
        (document.id, index, text, len(text) // 4, at)
        for document, at in zip(documents, moments, strict=True)
        for index, text in enumerate(document.chunks)
    ]
    chunks = ((*text, vector) for text, vector in zip(texts, embeddings, strict=True))
    columns = "knowledge_item_id chunk_index chunk_text token_count created_at embedding"
    await _copy(connection, "knowledge_chunks", columns, chunks)


async def load_feeds(connection: asyncpg.Connection, order: Order) -> None:
    """One healthy feed for each source, read within the last hour."""
    feeds = [
        (f"https://www.{domain}/rss", source, 20 + n, datetime.fromtimestamp(order.now - 300.0 * n, UTC))
        for n, (source, domain) in enumerate(SOURCES, 1)
    ]
    rows = ((*feed, feed[-1]) for feed in feeds)
    await _copy(connection, "feed_status", "feed_url source items_found last_checked_at last_success_at", rows)


async def load_people(connection: asyncpg.Connection, order: Order) -> None:
    """Made-up users, one for 20 chunks, and their conversations, one for 5."""
    count = max(20, order.rows // 20)
    chats = people.chats(count, max(40, order.rows // 5), order.now, order.seed)
    await _load_users(connection, people.users(count, order.now, order.seed))
    await _copy(connection, "conversations", "id user_id title created_at", chats.conversations)
    await _copy(connection, "messages", "conversation_id role content created_at", chats.messages)
    await _continue_numbering(connection, "conversations")


async def load_test_accounts(connection: asyncpg.Connection, order: Order, environment: str) -> None:
    """What environments without people have."""
    await _load_users(connection, people.test_accounts(environment, order.now))


async def _load_users(connection: asyncpg.Connection, users: tuple[people.User, ...]) -> None:
    await _copy(connection, "users", "id email hashed_password full_name phone address created_at", users)
    await _continue_numbering(connection, "users")


async def _copy(connection: asyncpg.Connection, table: str, columns: str, records: Iterable[tuple[Any, ...]]) -> None:
    await connection.copy_records_to_table(table, columns=columns.split(), records=records)


async def _continue_numbering(connection: asyncpg.Connection, table: str) -> None:
    """Let the identity column go on after the numbers that came with the data."""
    largest = await connection.fetchval(f"SELECT max(id) FROM {table}")  # noqa: S608 - a name of ours
    await connection.execute("SELECT setval(pg_get_serial_sequence($1, 'id'), $2)", table, largest)
