"""Searches, samples and passes over a real table: what is nearest is what the server says is nearest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import asyncpg
import pytest

from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.secrets import Secrets
from fleet.vectors import VectorIndex, vector_indexes
from fleet.vectors.allowance import Allowance, cost_of
from fleet.vectors.exact import ExactSearch
from fleet.vectors.probe import cheap_probe, part_blocks, read_exact, search_curve
from fleet.vectors.recall import K, reaching
from fleet.vectors.sample import queries_of, sample_queries
from fleet.vectors.search import Query, search_many, search_sql
from tests.integration.actions_kit import until
from tests.integration.index_trouble_recall import vectors

# what is indexed, by which operator class
INDEXED = {
    "l2": "(e vector_l2_ops)",
    "cosine": "(e vector_cosine_ops)",
    "inner product": "(e vector_ip_ops)",
    "taxicab": "(e vector_l1_ops)",
    "halfvec": "((e::halfvec(16)) halfvec_cosine_ops)",
    "hamming": "((binary_quantize(e)::bit(16)) bit_hamming_ops)",
    "jaccard": "((binary_quantize(e)::bit(16)) bit_jaccard_ops)",
    "a part": "(e vector_cosine_ops) where kind = 1",
}


async def the_index(sql: asyncpg.Connection, name: str = "by_vector") -> VectorIndex:
    (index,) = await vector_indexes(sql, (None, None, name))
    return index


async def told_by_the_server(sql: asyncpg.Connection, index: VectorIndex, query: Query) -> list[float]:
    async with sql.transaction():
        await sql.execute("set local enable_indexscan = off; set local plan_cache_mode = force_custom_plan")
        records = await sql.fetch(search_sql(index, K + 1), query.text)
    return [record["distance"] for record in records if record["ctid"] != query.row][:K]


async def exact(environment: Environment, index: VectorIndex, queries: Sequence[Query]) -> list[list[float]]:
    search = ExactSearch(index, queries, K)
    await read_exact(environment, Secrets(time.monotonic), index, search)
    return search.distances


@pytest.mark.parametrize("indexed", INDEXED)
async def test_the_pass_agrees_with_the_server(
    sql: asyncpg.Connection, make_environment: Callable[..., Environment], indexed: str
) -> None:
    await sql.execute(vectors(rows=600))
    await sql.execute("insert into chunks select id + 600, kind, e from chunks where id <= 60")  # as near as can be
    await sql.execute("insert into chunks values (0, 1, null)")
    await sql.execute(f"create index by_vector on chunks using hnsw {INDEXED[indexed]}")
    index = await the_index(sql)
    queries = await sample_queries(sql, index, 25)
    found = await exact(make_environment(), index, queries)
    assert len(queries) == 25
    for query, distances in zip(queries, found, strict=True):
        assert distances == pytest.approx(await told_by_the_server(sql, index, query), rel=1e-5, abs=1e-6)


async def test_a_pass_in_parts_finds_the_same(
    sql: asyncpg.Connection, make_environment: Callable[..., Environment]
) -> None:
    await sql.execute(vectors(rows=2000))
    await sql.execute("create index by_vector on chunks using ivfflat (e vector_l2_ops) with (lists = 10)")
    index, environment = await the_index(sql), make_environment()
    queries = await sample_queries(sql, index, 10)
    blocks = await sql.fetchval("select pg_relation_size('chunks') / 8192")
    assert blocks >= 3
    known: list[list[float]] = [[] for _ in queries]
    rows = 0
    for part in part_blocks(blocks, 3):
        search = ExactSearch(index, queries, K)
        search.resume(known)
        await read_exact(environment, Secrets(time.monotonic), index, search, blocks=part)
        known, rows = search.distances, rows + search.rows
    assert rows == 2000
    assert known == await exact(environment, index, queries)


async def test_a_sample_is_always_the_same_and_of_what_is_in_the_index(sql: asyncpg.Connection) -> None:
    await sql.execute(vectors())
    await sql.execute("create index by_vector on chunks using hnsw (e vector_cosine_ops) where kind = 2")
    await sql.execute("update chunks set e = '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]' where id % 2 = 0")
    await sql.execute("update chunks set e = null where id % 5 = 0")
    index = await the_index(sql)
    queries = await sample_queries(sql, index, 50)
    assert await sample_queries(sql, index, 50) == queries
    rows = [query.row for query in queries if query.row is not None]
    assert await sql.fetchval(
        "select bool_and(kind = 2 and id % 10 in (1, 3, 7, 9)) from chunks where ctid = any($1)", rows
    )
    assert 10 < len(rows) == len(set(rows)) <= 50
    assert await queries_of(sql, index, rows[5:8]) == queries[5:8]
    await sql.execute("delete from chunks where ctid = $1", rows[6])
    assert await queries_of(sql, index, rows[5:8]) == [queries[5], queries[7]]


async def test_real_searches_are_taken_as_they_are_configured(sql: asyncpg.Connection) -> None:
    await sql.execute(vectors(rows=50))
    await sql.execute("create table searches (v vector(16)); insert into searches select e from chunks where id < 9")
    await sql.execute("create index by_vector on chunks using hnsw (e vector_l2_ops)")
    index = await the_index(sql)
    queries = await sample_queries(sql, index, 5, "select v from searches")
    assert len(queries) == 5
    assert {query.row for query in queries} == {None}
    answers = await search_many(sql, index, queries, K)
    assert [distances[0] for distances in answers.distances] == [0.0] * 5  # nobody's own row is left out
    for wrong in ("select 'no vector'", "delete from searches", "select v from nowhere"):
        with pytest.raises(ActionError, match="the policy names for by_vector"):
            await sample_queries(sql, index, 5, wrong)
    assert await sql.fetchval("select count(*) from searches") == 8


async def test_searches_use_the_index_and_leave_the_session_as_it_was(sql: asyncpg.Connection) -> None:
    await sql.execute(vectors())
    await sql.execute("create index by_vector on chunks using ivfflat (e vector_cosine_ops) with (lists = 30)")
    index = await the_index(sql)
    queries = await sample_queries(sql, index, 20)
    await sql.execute("set ivfflat.probes = 3")
    own, all_ = await search_many(sql, index, queries, K), await search_many(sql, index, queries, K, 30)
    assert (own.setting, all_.setting) == (3, 30)
    assert all(len(distances) == K for distances in all_.distances)
    assert [list(one) for one in all_.distances] == [await told_by_the_server(sql, index, query) for query in queries]
    assert own.distances != all_.distances
    assert len(own.seconds) == 20
    shown = [await sql.fetchval(f"show {name}") for name in ("ivfflat.probes", "enable_seqscan", "row_security")]
    assert shown == ["3", "on", "on"]


async def test_the_own_row_takes_no_place_among_the_candidates(sql: asyncpg.Connection) -> None:
    await sql.execute(vectors(rows=500))
    await sql.execute("create index by_vector on chunks using hnsw (e vector_l2_ops)")
    await sql.execute(f"set hnsw.ef_search = {K}")
    index = await the_index(sql)
    answers = await search_many(sql, index, await sample_queries(sql, index, 20), K)
    assert answers.setting == K
    assert [len(distances) for distances in answers.distances] == [K] * 20
    assert await sql.fetchval("show hnsw.ef_search") == str(K)


async def test_one_of_two_indexes_on_a_column_is_searched_by_its_method(sql: asyncpg.Connection) -> None:
    await sql.execute(vectors(rows=1000))
    await sql.execute("""
        create index by_lists on chunks using ivfflat (e vector_cosine_ops) with (lists = 20);
        create index by_graph on chunks using hnsw (e vector_cosine_ops)
    """)
    for name in ("by_lists", "by_graph"):
        index = await the_index(sql, name)
        queries = await sample_queries(sql, index, 10)
        before = await sql.fetchval("select pg_stat_get_numscans($1)", index.oid)
        await search_many(sql, index, queries, K)
        await sql.fetchval("select pg_stat_force_next_flush()")
        assert await sql.fetchval("select pg_stat_get_numscans($1)", index.oid) - before == 10


async def test_a_search_that_another_index_answers_is_no_measurement(sql: asyncpg.Connection) -> None:
    await sql.execute(vectors(rows=200))
    await sql.execute("create index one on chunks using hnsw (e vector_cosine_ops)")
    await sql.execute("create index other on chunks using hnsw (e vector_cosine_ops)")
    outcomes = []
    for name in ("one", "other"):
        index = await the_index(sql, name)
        queries = await sample_queries(sql, index, 1)
        (outcome,) = await asyncio.gather(search_many(sql, index, queries, K), return_exceptions=True)
        outcomes.append(str(outcome) if isinstance(outcome, ActionError) else type(outcome).__name__)
    assert "Answers" in outcomes
    assert [one.removesuffix("one").removesuffix("other") for one in outcomes if one != "Answers"] == [
        "the planner does not search through "
    ]


@pytest.mark.parametrize(
    "index_sql",
    [
        "ivfflat (e vector_cosine_ops) with (lists = 60)",
        "hnsw (e vector_cosine_ops) with (m = 5, ef_construction = 16)",
    ],
    ids=["ivfflat", "hnsw"],
)
async def test_the_cheap_probe_is_near_the_exact_one(
    sql: asyncpg.Connection, make_environment: Callable[..., Environment], index_sql: str
) -> None:
    await sql.execute(vectors(rows=6000, clusters=400))
    await sql.execute(f"create index by_vector on chunks using {index_sql}")
    await sql.execute("set ivfflat.probes = 2; set hnsw.ef_search = 10")
    index = await the_index(sql)
    queries = await sample_queries(sql, index)
    cheap = await cheap_probe(sql, index, queries, Allowance(index, None, 60))
    own, *curve = await search_curve(
        sql, index, queries, await exact(make_environment(), index, queries), [None, 20, 60]
    )
    assert cheap is not None
    assert own.recall.ratio < 0.97, "there is something to see"
    assert cheap.recall.ratio == pytest.approx(own.recall.ratio, abs=0.02)
    assert cheap.setting == own.setting
    assert own.recall.low < own.recall.ratio < own.recall.high
    assert own.recall.ratio < curve[0].recall.ratio <= curve[1].recall.ratio
    best = reaching([own, *curve], curve[1].recall.ratio)
    assert best is not None
    assert best.setting in {20, 60}


async def test_an_allowance_ends_searches_that_read_too_much(sql: asyncpg.Connection) -> None:
    await sql.execute(vectors())
    await sql.execute("create index by_vector on chunks using hnsw (e vector_cosine_ops)")
    index = await the_index(sql)
    queries = await sample_queries(sql, index, 30)
    assert (await cheap_probe(sql, index, queries, Allowance(index, 1e9, 60))) is not None
    late = await search_many(sql, index, queries, K, allowance=Allowance(index, None, 0))
    assert len(late.distances) == 1
    assert await cheap_probe(sql, index, queries, Allowance(index, None, 0)) is None
    cost = await cost_of(sql, index)
    assert cost is not None
    assert cost.counted
    assert cost.shared_bytes == 8192 * int(
        await sql.fetchval("select setting from pg_settings where name = 'shared_buffers'")
    )
    # what is in memory already may be searched for nothing; what is not, counts
    warm = Allowance(index, 1.0, 60)
    assert len((await search_many(sql, index, queries, K, allowance=warm)).distances) == 30
    assert warm.read_bytes == 0


async def test_what_is_read_from_outside_of_shared_buffers_counts(sql: asyncpg.Connection) -> None:
    await sql.execute(vectors())
    await sql.execute("create index by_vector on chunks using hnsw (e vector_cosine_ops)")
    index = await the_index(sql)
    queries = await sample_queries(sql, index, 30)
    await sql.execute("create extension pg_buffercache")
    if not await sql.fetchval("select exists (select from pg_proc where proname = 'pg_buffercache_evict_relation')"):
        pytest.skip("the server cannot be told to evict")
    await sql.execute("checkpoint")
    await sql.fetch("select pg_buffercache_evict_relation($1::oid)", index.oid)
    cold = Allowance(index, 8192.0, 60)
    answers = await search_many(sql, index, queries, K, allowance=cold)
    assert len(answers.distances) < 30
    assert cold.read_bytes >= 8192


async def test_a_pass_that_is_given_up_ends_at_once(
    sql: asyncpg.Connection, make_environment: Callable[..., Environment]
) -> None:
    await sql.execute(vectors(rows=100))
    await sql.execute("create index by_vector on chunks using hnsw (e vector_cosine_ops)")
    index, environment = await the_index(sql), make_environment()
    search = ExactSearch(index, await sample_queries(sql, index, 5), K)
    await sql.execute("begin; lock table chunks in access exclusive mode")
    work = asyncio.ensure_future(read_exact(environment, Secrets(time.monotonic), index, search))
    waiting = "select count(*) > 0 from pg_locks where not granted and relation = 'chunks'::regclass"
    await until(lambda: sql.fetchval(waiting), "the pass waits for the table")
    work.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await work
    await sql.execute("rollback")
