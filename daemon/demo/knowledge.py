"""The knowledge base: the same documents in every environment, a smaller one holding the first part of a larger.

Row n depends on the seed and n alone. Embeddings lie around one centre for each topic, spread along a few shared
directions with falling weight, as embeddings of real text do: neighbours are then close in meaning, and an index that
searches too few lists misses some of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from daemon.demo.vocabulary import KINDS, SENTENCES, SOURCES, TOPICS

DIMENSIONS = 1536
CHUNKS_PER_ITEM = 8
BATCH_ITEMS = 64  # rows come in batches of 512 chunks
SENTENCES_PER_CHUNK = 5

_LATENT = 48  # shared directions
_LATENT_WEIGHT = 1.2
_NOISE_WEIGHT = 0.6

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Document:
    """A knowledge item and the texts of its chunks; `age` is a share of the time that the base covers, 0 is now."""

    id: int
    topic: int
    title: str
    source: str
    url: str
    age: float
    chunks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents and the embeddings of their chunks, one after the other: float32 of shape (chunks, 1536)."""

    documents: tuple[Document, ...]
    embeddings: Vectors


def batches(chunks: int, seed: int) -> Iterator[Batch]:
    """The first `chunks` chunks of the knowledge base, with the documents that hold them."""
    for first in range(0, chunks, BATCH_ITEMS * CHUNKS_PER_ITEM):
        wanted = min(chunks - first, BATCH_ITEMS * CHUNKS_PER_ITEM)
        number = first // (BATCH_ITEMS * CHUNKS_PER_ITEM)
        rng = random.Random(f"{seed}/{number}")  # noqa: S311 - made-up text
        items = -(-wanted // CHUNKS_PER_ITEM)
        documents = tuple(_document(number * BATCH_ITEMS + n + 1, rng) for n in range(items))
        topics = np.repeat([document.topic for document in documents], CHUNKS_PER_ITEM)
        # always the whole batch, so that a smaller base is the beginning of a larger one
        vectors = embeddings(np.resize(topics, BATCH_ITEMS * CHUNKS_PER_ITEM), seed, number)[:wanted]
        yield Batch(_cut(documents, wanted), vectors)


def embeddings(topics: npt.NDArray[np.int64], seed: int, number: int) -> Vectors:
    """Unit vectors around the centres of `topics`: float32 of shape (len(topics), 1536)."""
    centres, directions = _space(seed)
    rng = np.random.default_rng([seed, 1, number])
    latent = rng.standard_normal((len(topics), _LATENT), dtype=np.float32)
    noise = rng.standard_normal((len(topics), DIMENSIONS), dtype=np.float32) * np.float32(DIMENSIONS**-0.5)
    # not `latent @ directions`: a fork in another thread, as servers are started by, stops OpenBLAS's threads, and a
    # product under way then waits for them for ever
    spread = np.einsum("rl,ld->rd", latent, directions)
    return _unit(centres[topics] + _LATENT_WEIGHT * spread + _NOISE_WEIGHT * noise)


def phrase(template: str, topic: int, rng: random.Random) -> str:
    """Fill a template's slots with the topic's words."""
    about = TOPICS[topic]
    term, other = rng.sample(about.terms, 2)
    return template.format(
        subject=about.subject,
        norm=about.norm,
        who=about.who,
        term=term,
        other=other,
        article=rng.randint(1, 180),
        day=rng.randint(1, 28),
        amount=f"{rng.randint(5, 900) * 100:,}".replace(",", "."),
        year=rng.randint(2018, 2026),
    )


def _document(number: int, rng: random.Random) -> Document:
    topic = rng.randrange(len(TOPICS))
    source, domain = rng.choice(SOURCES)
    # titles are not unique: corrections all have the same one
    title = f"{rng.choice(KINDS)} n. {rng.randint(1, 400)}: {TOPICS[topic].subject}" if number % 4 else "Errata corrige"
    texts = tuple(
        " ".join(phrase(sentence, topic, rng) for sentence in rng.sample(SENTENCES, SENTENCES_PER_CHUNK))
        for _ in range(CHUNKS_PER_ITEM)
    )
    return Document(number, topic, title, source, f"https://www.{domain}/documenti/{number}", rng.random(), texts)


def _cut(documents: tuple[Document, ...], chunks: int) -> tuple[Document, ...]:
    left = chunks - (len(documents) - 1) * CHUNKS_PER_ITEM
    last = documents[-1]
    shortened = Document(last.id, last.topic, last.title, last.source, last.url, last.age, last.chunks[:left])
    return (*documents[:-1], shortened)


@cache
def _space(seed: int) -> tuple[Vectors, Vectors]:
    rng = np.random.default_rng([seed, 0])
    centres = _unit(rng.standard_normal((len(TOPICS), DIMENSIONS), dtype=np.float32))
    directions = _unit(rng.standard_normal((_LATENT, DIMENSIONS), dtype=np.float32))
    weights = ((1 + np.arange(_LATENT, dtype=np.float32)) ** -0.25)[:, None]
    return centres, directions * weights / np.linalg.norm(weights)


def _unit(vectors: Vectors) -> Vectors:
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = (vectors / lengths).astype(np.float32)
    return unit
