"""The collector `vectors` on pgvector indexes (only the embedded server has pgvector)."""

import pytest

from collectors.vectors import VectorsCollector
from tests.integration.sites import EMBEDDED_ONLY, WATCHER, Site, collected, samples

_FILL = "insert into {table} (e) select array[random(), random(), random()]::vector from generate_series(1, {rows})"


@pytest.fixture
async def vectors(site: Site) -> Site:
    await site.sql.execute("create extension vector")
    await site.sql.execute("create table t (id bigserial, e vector(3))")
    await site.sql.execute(f"grant select on all tables in schema public to {WATCHER}")
    return site


async def test_a_database_without_pgvector_has_nothing_to_tell(site: Site) -> None:
    target = site.target()
    assert await collected(VectorsCollector, target) == {}
    assert target.failures == {}


@EMBEDDED_ONLY
async def test_parameters_with_pgvectors_defaults(vectors: Site) -> None:
    await vectors.sql.execute("""
        create index ivf_default on t using ivfflat (e vector_cosine_ops);
        create index ivf_set on t using ivfflat (e vector_l2_ops) with (lists = 7);
        create index hnsw_default on t using hnsw (e vector_ip_ops);
        create index hnsw_set on t using hnsw ((e::halfvec(3)) halfvec_cosine_ops) with (m = 4, ef_construction = 9);
    """)
    found = await collected(VectorsCollector, vectors.target())
    table = (vectors.database, "public", "t")
    assert found["custode_vector_index_lists"] == {(*table, "ivf_default"): 100, (*table, "ivf_set"): 7}
    assert found["custode_vector_index_max_connections"] == {(*table, "hnsw_default"): 16, (*table, "hnsw_set"): 4}
    assert found["custode_vector_index_ef_construction"] == {(*table, "hnsw_default"): 64, (*table, "hnsw_set"): 9}
    assert set(found["custode_vector_index_info"]) == {
        ("ivfflat", "vector_cosine_ops", "e", "3", *table, "ivf_default"),
        ("ivfflat", "vector_l2_ops", "e", "3", *table, "ivf_set"),
        ("hnsw", "vector_ip_ops", "e", "3", *table, "hnsw_default"),
        ("hnsw", "halfvec_cosine_ops", "(e::halfvec(3))", "3", *table, "hnsw_set"),
    }
    assert found["custode_vector_index_size_bytes"][*table, "ivf_set"] > 0
    version = await vectors.sql.fetchval("select extversion from pg_extension where extname = 'vector'")
    assert found["custode_vector_extension_info"] == {(vectors.database, version): 1}


@EMBEDDED_ONLY
async def test_rows_that_were_there_at_the_build(vectors: Site) -> None:
    await vectors.sql.execute(_FILL.format(table="t", rows=1000))
    await vectors.sql.execute("create index i on t using ivfflat (e vector_l2_ops) with (lists = 5)")
    await vectors.sql.execute(_FILL.format(table="t", rows=3000))
    await vectors.flush_statistics()
    target = vectors.target()
    key = (vectors.database, "public", "t", "i")
    found = await collected(VectorsCollector, target)
    assert found["custode_vector_index_rows"][key] == 4000
    assert found["custode_vector_index_build_rows"][key] == pytest.approx(1000)
    await vectors.sql.execute("alter index i set (lists = 6)")  # changes the row of pg_class, rebuilds nothing
    found = await collected(VectorsCollector, target)
    assert found["custode_vector_index_build_rows"][key] == pytest.approx(1000)
    await vectors.sql.execute("reindex index i")
    found = await collected(VectorsCollector, target)
    assert found["custode_vector_index_build_rows"][key] == pytest.approx(4000)


@EMBEDDED_ONLY
async def test_a_build_that_blocked_nobody_counts_alike(vectors: Site) -> None:
    await vectors.sql.execute(_FILL.format(table="t", rows=1000))
    await vectors.sql.execute("create index concurrently i on t using hnsw (e vector_l2_ops)")
    await vectors.sql.execute(_FILL.format(table="t", rows=1000))
    await vectors.flush_statistics()
    found = await collected(VectorsCollector, vectors.target())
    assert list(found["custode_vector_index_build_rows"].values()) == [pytest.approx(1000)]
    await vectors.sql.execute("reindex index concurrently i")
    found = await collected(VectorsCollector, vectors.target())
    assert list(found["custode_vector_index_build_rows"].values()) == [pytest.approx(2000)]


@EMBEDDED_ONLY
async def test_an_index_built_on_nothing(vectors: Site) -> None:
    await vectors.sql.execute("create index i on t using ivfflat (e vector_l2_ops) with (lists = 5)")
    found = await collected(VectorsCollector, vectors.target())
    assert found["custode_vector_index_build_rows"] == {}
    await vectors.sql.execute(_FILL.format(table="t", rows=500))
    await vectors.flush_statistics()
    found = await collected(VectorsCollector, vectors.target())
    assert list(found["custode_vector_index_build_rows"].values()) == [0]


@EMBEDDED_ONLY
async def test_a_table_it_may_not_read_is_a_gap_and_the_rest_is_told(vectors: Site) -> None:
    await vectors.sql.execute(_FILL.format(table="t", rows=100))
    await vectors.sql.execute("create index i on t using hnsw (e vector_l2_ops)")
    await vectors.sql.execute(f"revoke all on t from {WATCHER}")
    target = vectors.target()
    found = await collected(VectorsCollector, target)
    assert len(found["custode_vector_index_max_connections"]) == 1
    assert found["custode_vector_index_build_rows"] == {}
    assert list(target.gaps) == [f"rows of {vectors.database}.public.t at the build of its indexes"]


@EMBEDDED_ONLY
async def test_odd_names_are_quoted_by_the_server(vectors: Site) -> None:
    await vectors.sql.execute("""
        create schema "S;--"; create table "S;--"."T""' %s" (id bigserial, e vector(3));
        create index "I'" on "S;--"."T""' %s" using hnsw (e vector_l2_ops)
    """)
    await vectors.sql.execute(f'grant usage on schema "S;--" to {WATCHER}')
    await vectors.sql.execute(f'grant select on "S;--"."T""\' %s" to {WATCHER}')
    await vectors.sql.execute(_FILL.format(table='"S;--"."T""\' %s"', rows=10))
    await vectors.flush_statistics()
    found = await collected(VectorsCollector, vectors.target())
    assert found["custode_vector_index_build_rows"] == {(vectors.database, "S;--", "T\"' %s", "I'"): 0}


@EMBEDDED_ONLY
async def test_a_locked_table_keeps_its_rows_to_itself_and_delays_nothing(vectors: Site) -> None:
    await vectors.sql.execute("create table free (id bigserial, e vector(3))")
    await vectors.sql.execute(f"grant select on free to {WATCHER}")
    for table in ("t", "free"):
        await vectors.sql.execute(_FILL.format(table=table, rows=10))
        await vectors.sql.execute(f"create index on {table} using hnsw (e vector_l2_ops)")
    await vectors.flush_statistics()
    holder = await vectors.connect()
    async with holder.transaction():  # a wait for it would end by lock_timeout, with an error
        await holder.execute("lock table t")
        target = vectors.target()
        found = await collected(VectorsCollector, target)
    await holder.close()
    assert target.failures == {}
    assert [labels[2] for labels in found["custode_vector_index_build_rows"]] == ["free"]
    assert len(found["custode_vector_index_max_connections"]) == 2


@EMBEDDED_ONLY
async def test_what_a_build_now_would_take(vectors: Site) -> None:
    await vectors.sql.execute(_FILL.format(table="t", rows=2000))
    await vectors.sql.execute("create index h on t using hnsw (e vector_l2_ops); create index b on t (id)")
    await vectors.sql.execute("create index i on t using ivfflat (e vector_l2_ops) with (lists = 5)")
    await vectors.flush_statistics()
    found = await collected(VectorsCollector, vectors.target())
    sizes, expected = found["custode_vector_index_size_bytes"], found["custode_vector_index_expected_size_bytes"]
    assert sizes.keys() == expected.keys()
    for index, size in sizes.items():
        assert size == pytest.approx(expected[index], rel=0.3), index
    assert all(needed > 50_000 for needed in found["custode_vector_index_build_memory_bytes"].values())


@EMBEDDED_ONLY
async def test_dead_rows_are_told_of_all_rows(vectors: Site) -> None:
    await vectors.sql.execute("alter table t set (autovacuum_enabled = false)")
    await vectors.sql.execute(_FILL.format(table="t", rows=1000))
    await vectors.sql.execute("create index h on t using hnsw (e vector_l2_ops)")
    await vectors.sql.execute("delete from t where id <= 250")
    await vectors.flush_statistics()
    found = await collected(VectorsCollector, vectors.target())
    assert list(found["custode_vector_index_dead_ratio"].values()) == [0.25]


@EMBEDDED_ONLY
async def test_an_index_is_older_than_its_pgvector_until_it_is_built_anew(vectors: Site) -> None:
    async def before() -> list[float]:
        return list(
            (await collected(VectorsCollector, vectors.target()))["custode_vector_index_before_extension"].values()
        )

    await vectors.sql.execute("create index h on t using hnsw (e vector_l2_ops)")
    assert await before() == [0]
    # what an update does to the extension's row
    await vectors.sql.execute("update pg_extension set extversion = extversion where extname = 'vector'")
    assert await before() == [1]
    await vectors.sql.execute("reindex index h")
    assert await before() == [0]
    await vectors.sql.execute("update pg_extension set extversion = extversion where extname = 'vector'")
    assert await before() == [1]
    await vectors.sql.execute("reindex index concurrently h")
    assert await before() == [0]


@EMBEDDED_ONLY
async def test_parameters_that_were_changed_wait_for_a_build(vectors: Site) -> None:
    collector = VectorsCollector(VectorsCollector.Options())

    async def changed() -> list[float]:
        found = samples(await collector.collect(vectors.target()))
        return list(found["custode_vector_index_parameters_changed"].values())

    await vectors.sql.execute("create index i on t using ivfflat (e vector_l2_ops) with (lists = 5)")
    assert await changed() == [0]
    await vectors.sql.execute("alter index i rename to j")
    assert await changed() == [0]
    await vectors.sql.execute("alter index j set (lists = 6)")
    assert await changed() == [1]
    assert await changed() == [1]
    await vectors.sql.execute("alter index j set (lists = 5)")
    assert await changed() == [0]
    await vectors.sql.execute("alter index j set (lists = 6)")
    await vectors.sql.execute("reindex index concurrently j")
    assert await changed() == [0]
