"""The made-up knowledge base: the same every time, the smaller one the beginning of the larger, clustered by topic."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from daemon.demo import knowledge
from daemon.demo.vocabulary import TOPICS


def texts(chunks: int, seed: int = 7) -> list[str]:
    return [text for batch in knowledge.batches(chunks, seed) for d in batch.documents for text in d.chunks]


def vectors(chunks: int, seed: int = 7) -> knowledge.Vectors:
    return np.vstack([batch.embeddings for batch in knowledge.batches(chunks, seed)])


def test_the_same_seed_gives_the_same_base_and_another_seed_another() -> None:
    assert texts(100) == texts(100)
    assert np.array_equal(vectors(100), vectors(100))
    assert texts(100) != texts(100, seed=8)
    assert not np.array_equal(vectors(100), vectors(100, seed=8))


@pytest.mark.parametrize("chunks", [1, 43, 512, 530])
def test_a_smaller_base_is_the_beginning_of_a_larger_one(chunks: int) -> None:
    assert texts(chunks) == texts(560)[:chunks]
    assert np.array_equal(vectors(chunks), vectors(560)[:chunks])


def test_documents_are_numbered_without_a_gap_and_hold_eight_chunks_but_the_last() -> None:
    documents = list(chain.from_iterable(batch.documents for batch in knowledge.batches(1030, 7)))
    assert [document.id for document in documents] == list(range(1, 130))
    assert {len(document.chunks) for document in documents[:-1]} == {knowledge.CHUNKS_PER_ITEM}
    assert len(documents[-1].chunks) == 1030 % knowledge.CHUNKS_PER_ITEM
    assert len({document.url for document in documents}) == len(documents)


def test_texts_are_filled_in_and_long_enough_to_search() -> None:
    for text in texts(300):
        assert "{" not in text
        assert 300 < len(text) < 1500


def test_embeddings_are_unit_vectors_of_1536_float32() -> None:
    embeddings = vectors(600)
    assert embeddings.shape == (600, 1536)
    assert embeddings.dtype == np.float32
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_neighbours_are_of_the_same_topic_and_not_all_alike() -> None:
    batches = list(knowledge.batches(1024, 7))
    topics = np.array([d.topic for batch in batches for d in batch.documents for _ in d.chunks])
    embeddings = np.vstack([batch.embeddings for batch in batches])
    similarity = embeddings @ embeddings.T
    np.fill_diagonal(similarity, -1)
    nearest = similarity.argmax(axis=1)
    assert len(set(topics)) == len(TOPICS)
    assert (topics[nearest] == topics).mean() > 0.95
    # a neighbour that were as good as equal would be found whatever an index does
    assert 0.4 < np.median(similarity.max(axis=1)) < 0.9
