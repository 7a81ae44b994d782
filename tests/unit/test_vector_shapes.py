"""Searches that cannot use an index, told by their text."""

import pytest

from fleet.vectors import Method
from fleet.vectors.plans import Cause
from fleet.vectors.shapes import misfit
from tests.vector_indexes import vector_index

PLAIN = vector_index()
HALF = vector_index(
    Method.HNSW,
    column=None,
    type_name="halfvec",
    expression="((embedding)::halfvec(1536))",
)
PARTIAL = vector_index(predicate="(tenant = 7)")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM knowledge_chunks ORDER BY embedding <=> $1 LIMIT $2",
        "select id, $1 - (embedding <=> $2) as score from knowledge_chunks order by embedding <=> $2 limit 10",
        "select id from knowledge_chunks where tenant = $1\n order by embedding operator(public.<=>) $2 asc limit $3",
        "select id from knowledge_chunks order by embedding <=> $1 fetch first 5 rows only",
    ],
)
def test_these_fit(query: str) -> None:
    assert misfit(query, PLAIN) is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            "select id from knowledge_chunks order by embedding <-> $1 limit $2",
            "searches use <->, the index serves <=>",
        ),
        ("select id from knowledge_chunks where embedding <=> $1 < $2", "do not order by the distance itself"),
        (
            "select id, $1 - (embedding <=> $2) as score from knowledge_chunks order by score desc limit $3",
            "do not order by the distance itself",
        ),
        ("select id from knowledge_chunks order by embedding <=> $1 desc limit $2", "downwards"),
        (
            "select id from knowledge_chunks order by $1 - (embedding <=> $2) limit $3",
            "something computed from the distance",
        ),
        ("select id from knowledge_chunks order by embedding <=> $1", "no limit"),
    ],
)
def test_these_do_not(query: str, said: str) -> None:
    reason = misfit(query, PLAIN)
    assert reason is not None
    assert said in reason.text
    assert reason.remedy
    assert reason.cause is Cause.SHAPE


@pytest.mark.parametrize(
    "query",
    [
        "select id from old_knowledge_chunks order by embedding <-> $1 limit $2",
        "select id from knowledge_chunks order by title_embedding <-> $1 limit $2",
    ],
)
def test_searches_of_other_tables_and_columns_say_nothing(query: str) -> None:
    assert misfit(query, PLAIN) is None


def test_an_index_on_an_expression_serves_only_searches_by_it() -> None:
    assert misfit("select id from knowledge_chunks order by embedding::halfvec(1536) <=> $1 limit $2", HALF) is None
    assert (
        misfit("select id from knowledge_chunks order by cast(embedding as halfvec(1536)) <=> $1 limit $2", HALF)
        is None
    )
    reason = misfit("select id from knowledge_chunks order by embedding <=> $1 limit $2", HALF)
    assert reason is not None
    assert "((embedding)::halfvec(1536))" in reason.text


def test_an_index_on_some_rows_serves_only_searches_among_them() -> None:
    assert (
        misfit("select id from knowledge_chunks where tenant = $1 order by embedding <=> $2 limit $3", PARTIAL) is None
    )
    reason = misfit("select id from knowledge_chunks order by embedding <=> $1 limit $2", PARTIAL)
    assert reason is not None
    assert "(tenant = 7)" in reason.text
