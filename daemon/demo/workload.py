"""What the application does with its database: enough of it that the statistics look lived in."""

from __future__ import annotations

import asyncpg

ROUNDS = 20

# each answers from an index; $1 is the id of some chunk
_ON_KNOWLEDGE = (
    """SELECT id FROM knowledge_chunks
       ORDER BY embedding <=> (SELECT embedding FROM knowledge_chunks WHERE id = $1) LIMIT 10""",
    """SELECT id FROM knowledge_chunks
       WHERE search_vector @@ websearch_to_tsquery('public.italian_unaccent',
             (SELECT substr(chunk_text, 1, 30) FROM knowledge_chunks WHERE id = $1)) LIMIT 10""",
    "SELECT id FROM knowledge_items WHERE source = 'INPS' AND id <> $1 ORDER BY created_at DESC LIMIT 10",
)
_ON_PUBLICATION_DATE = (
    "SELECT id FROM knowledge_items WHERE id <> $1 AND publication_date > current_date - 365"
    " ORDER BY publication_date DESC LIMIT 10"
)
_ON_PEOPLE = (
    "SELECT id FROM conversations WHERE user_id = $1",
    "SELECT content FROM messages WHERE conversation_id = $1",
    "SELECT id FROM conversations WHERE id <> $1 ORDER BY created_at DESC LIMIT 10",
    "SELECT id FROM messages WHERE id <> $1 ORDER BY created_at DESC LIMIT 10",
    "SELECT id FROM users WHERE email = $1::bigint::text",
)


async def run(connection: asyncpg.Connection, *, chunks: int, publication_date: bool) -> None:
    """Run each query ROUNDS times, on chunks spread over the `chunks` there are."""
    queries = (*_ON_KNOWLEDGE, *_ON_PEOPLE, *((_ON_PUBLICATION_DATE,) if publication_date else ()))
    async with connection.transaction():
        # tables this small would be read from end to end
        await connection.execute("SET LOCAL enable_seqscan = off")
        await connection.execute("SET LOCAL enable_sort = off")
        for round_ in range(ROUNDS):
            for query in queries:
                await connection.fetch(query, 1 + round_ * chunks // ROUNDS)
