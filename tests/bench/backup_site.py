"""The databases that backups are measured on: knowledge chunks with text and vectors of 1536 dimensions."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from struct import pack

import asyncpg
import numpy as np

from fleet.backups.index import BINARY_HEADER, BINARY_TRAILER

DIMENSIONS = 1536
CHUNKS_A_DOCUMENT = 10
_WORDS = [
    "contribuente",
    "dichiarazione",
    "aliquota",
    "detrazione",
    "imposta",
    "scadenza",
    "versamento",
    "ravvedimento",
    "fattura",
    "cedolare",
    "regime",
    "forfettario",
    "agevolazione",
    "ritenuta",
    "credito",
    "periodo",
    "reddito",
    "fabbricato",
    "locazione",
    "contratto",
    "registro",
    "articolo",
    "comma",
    "decreto",
    "circolare",
    "agenzia",
    "entrate",
    "risposta",
    "interpello",
    "quadro",
    "rigo",
    "modello",
    "intermediario",
    "sanzione",
    "interessi",
    "della",
    "dello",
    "nella",
    "entro",
    "oltre",
    "salvo",
    "qualora",
    "pertanto",
    "tuttavia",
    "secondo",
    "mediante",
    "presso",
]

_SCHEMA = """
    create extension vector;
    create table knowledge_items (id bigint primary key, title text not null);
    create table knowledge_chunks (
        id bigint not null,
        item_id bigint not null,
        chunk_text text not null,
        embedding vector(1536) not null,
        created_at timestamptz not null default now()
    );
"""
KEYS = """
    alter table knowledge_chunks add primary key (id);
    alter table knowledge_chunks add foreign key (item_id) references knowledge_items;
    create index on knowledge_chunks using gin (to_tsvector('italian', chunk_text));
"""
IVFFLAT = "create index on knowledge_chunks using ivfflat (embedding vector_cosine_ops) with (lists = 100)"
HNSW = "create index on knowledge_chunks using hnsw (embedding vector_cosine_ops) with (m = 16, ef_construction = 64)"


async def fill(connection: asyncpg.Connection, rows: int) -> None:
    """Tables and rows, without keys and indexes."""
    await connection.execute(_SCHEMA)
    await append(connection, 0, rows)


async def append(connection: asyncpg.Connection, first: int, rows: int) -> None:
    """Further documents, of chunks from number `first` on."""
    items = range(first // CHUNKS_A_DOCUMENT, (first + rows) // CHUNKS_A_DOCUMENT)
    await connection.copy_records_to_table("knowledge_items", records=[(item, f"documento {item}") for item in items])
    await connection.copy_to_table("knowledge_chunks", source=_stream(first, rows), format="binary")


async def update_documents(connection: asyncpg.Connection, rows: int, ratio: float) -> int:
    """Write some documents anew, whole, as an import does; returns the number of rows."""
    documents = rows // CHUNKS_A_DOCUMENT
    chosen = random.Random(7).sample(range(documents), round(documents * ratio))  # noqa: S311 - data for a test
    said = await connection.execute(
        "update knowledge_chunks set chunk_text = chunk_text || '.', embedding = embedding + embedding"
        " where item_id = any($1)",
        chosen,
    )
    return int(said.rpartition(" ")[2])


async def _stream(first: int, rows: int) -> AsyncIterator[bytes]:
    yield BINARY_HEADER
    for start in range(first, first + rows, 1000):
        yield b"".join(_rows(start, min(1000, first + rows - start)))
    yield BINARY_TRAILER


def _rows(first: int, count: int) -> Iterator[bytes]:
    chance = np.random.default_rng(first)
    words = random.Random(first)  # noqa: S311 - data for a test
    centres = np.random.default_rng(1).standard_normal((64, DIMENSIONS), dtype=np.float32)
    vectors = centres[chance.integers(0, 64, count)] + chance.standard_normal((count, DIMENSIONS), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    content = vectors.astype(">f4")
    for number in range(count):
        row = first + number
        text = " ".join(words.choices(_WORDS, k=72)).encode()
        vector = pack(">hh", DIMENSIONS, 0) + content[number].tobytes()
        yield b"".join(
            (
                pack(">hiqiq", 5, 8, row, 8, row // CHUNKS_A_DOCUMENT),
                pack(">i", len(text)),
                text,
                pack(">i", len(vector)),
                vector,
                pack(">iq", 8, 800_000_000_000_000 + row * 1_000_000),
            )
        )
