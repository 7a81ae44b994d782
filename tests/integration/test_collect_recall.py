"""The collector `recall` on pgvector indexes (only the embedded server has pgvector)."""

import asyncio
from datetime import timedelta

import pytest

from collectors.recall import RecallCollector
from fleet.policy import TIER_DEFAULTS, Policy, Tier, VectorQueries
from tests.integration.index_trouble_recall import vectors
from tests.integration.sites import EMBEDDED_ONLY, WATCHER, Site, collected, samples

RECALL = "custode_vector_index_recall_ratio"
QUERIES = "custode_vector_index_recall_queries"


@pytest.fixture
async def searched(site: Site) -> Site:
    await site.sql.execute("create extension vector")
    await site.sql.execute(vectors(rows=2000))
    await site.sql.execute(f"grant select on all tables in schema public to {WATCHER}")
    return site


def policy(**vectors_: object) -> Policy:
    known = TIER_DEFAULTS[Tier.QA]
    return known.model_copy(update={"vectors": known.vectors.model_copy(update=vectors_)})


async def test_a_database_without_pgvector_has_nothing_to_tell(site: Site) -> None:
    target = site.target()
    assert await collected(RecallCollector, target) == {}
    assert (target.failures, target.gaps) == ({}, {})


@EMBEDDED_ONLY
async def test_each_index_has_its_recall_at_the_settings_of_the_database(searched: Site) -> None:
    await searched.sql.execute("""
        create index poor on chunks using ivfflat (e vector_cosine_ops) with (lists = 100);
        create index good on chunks using hnsw (e vector_l2_ops);
    """)
    await searched.sql.execute(f"alter database {searched.database} set hnsw.ef_search = 77")
    target = searched.target()
    found = await collected(RecallCollector, target)
    poor, good = ((searched.database, "public", "chunks", name) for name in ("poor", "good"))
    assert (target.failures, target.gaps) == ({}, {})
    assert found["custode_vector_index_search_setting"] == {poor: 1, good: 77}
    assert 0.1 < found[RECALL][poor] < 0.8
    assert 0.95 < found[RECALL][good] <= 1
    for key in (poor, good):
        low, high = (found[f"custode_vector_index_recall_{bound}_ratio"][key] for bound in ("low", "high"))
        assert low < found[RECALL][key] <= high
        assert 0 < found["custode_vector_index_search_seconds"][key] < 1
    assert found[QUERIES] == {poor: 100, good: 100}
    assert set(found["custode_vector_index_recall_probe_timestamp_seconds"].values()) == {target.now}


@EMBEDDED_ONLY
async def test_what_may_not_be_read_is_a_gap(searched: Site) -> None:
    await searched.sql.execute("create index i on chunks using hnsw (e vector_l2_ops)")
    for change in (f"revoke all on chunks from {WATCHER}", "alter table chunks enable row level security"):
        await searched.sql.execute(f"grant select on chunks to {WATCHER}; {change}")
        target = searched.target()
        assert await collected(RecallCollector, target) == {}
        assert target.gaps == {
            f"recall of {searched.database}.public.i": "needs SELECT on the table, without row security"
        }
        assert target.failures == {}


@EMBEDDED_ONLY
async def test_nothing_is_brought_into_memory_without_leave(searched: Site) -> None:
    await searched.sql.execute("create index i on chunks using hnsw (e vector_l2_ops); create extension pg_buffercache")
    if not await searched.sql.fetchval("select to_regproc('pg_buffercache_evict_relation') is not null"):
        pytest.skip("the server cannot be told to evict")
    await searched.sql.execute("checkpoint")
    for share, known in ((1e-9, 0), (None, 1)):
        await searched.sql.fetch("select pg_buffercache_evict_relation('i'::regclass)")
        target = searched.target(policy=policy(probe_share=share))
        found = await collected(RecallCollector, target)
        assert len(found.get(RECALL, {})) == known
        assert len(target.gaps) == 1 - known


@EMBEDDED_ONLY
async def test_a_small_table_an_empty_one_and_a_broken_index(searched: Site) -> None:
    await searched.sql.execute("""
        create table few (e vector(3)); insert into few values ('[1,2,3]'), ('[1,2,4]');
        create table none (e vector(3));
        create index few_i on few using hnsw (e vector_l2_ops);
        create index none_i on none using hnsw (e vector_l2_ops);
        create index broken on chunks using hnsw (e vector_l2_ops);
        update pg_index set indisvalid = false where indexrelid = 'broken'::regclass
    """)
    await searched.sql.execute(f"grant select on few, none to {WATCHER}")
    target = searched.target()
    found = await collected(RecallCollector, target)
    assert found[QUERIES] == {(searched.database, "public", "few", "few_i"): 2}
    assert list(found[RECALL].values()) == [1.0]
    assert (target.failures, target.gaps) == ({}, {})


@EMBEDDED_ONLY
async def test_real_searches_are_used_and_wrong_ones_are_told(searched: Site) -> None:
    await searched.sql.execute("create index i on chunks using hnsw (e vector_l2_ops)")
    real = VectorQueries(index="i", sql="select e from chunks where id <= 33")
    found = await collected(RecallCollector, searched.target(policy=policy(queries=(real,))))
    assert list(found[QUERIES].values()) == [33]
    target = searched.target(policy=policy(queries=(VectorQueries(index="i", sql="select nothing"),)))
    assert await collected(RecallCollector, target) == {}
    assert "the policy names for i cannot be used" in target.gaps[f"recall of {searched.database}.public.i"]


@EMBEDDED_ONLY
async def test_a_locked_table_keeps_what_was_known_of_it(searched: Site) -> None:
    await searched.sql.execute("create index i on chunks using hnsw (e vector_l2_ops)")
    collector = RecallCollector(RecallCollector.Options())
    before = samples(await collector.collect(searched.target()))
    holder = await searched.connect()
    async with holder.transaction(), asyncio.timeout(60):
        await holder.execute("lock table chunks in access exclusive mode")
        target = searched.target()
        after = samples(await collector.collect(target))
    await holder.close()
    assert len(before[RECALL]) == 1
    assert (after, target.failures, target.gaps) == (before, {}, {})
    await searched.sql.execute("drop index i")
    assert samples(await collector.collect(searched.target())) == {}


@EMBEDDED_ONLY
async def test_what_there_is_no_time_for_has_no_figures_yet(searched: Site) -> None:
    await searched.sql.execute("create index i on chunks using hnsw (e vector_l2_ops)")
    collector = RecallCollector(RecallCollector.Options(timeout=timedelta(microseconds=1)))
    assert samples(await collector.collect(searched.target())) == {}
    collector.options = RecallCollector.Options()
    assert len(samples(await collector.collect(searched.target()))[RECALL]) == 1
