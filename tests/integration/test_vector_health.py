"""What a real server tells of its vector indexes, and what was reckoned of them against what it has built."""

from __future__ import annotations

import asyncpg
import pytest

from fleet.policy import VectorPolicy
from fleet.vectors import Method
from fleet.vectors.costs import index_bytes, shape_of
from fleet.vectors.curve import measure_curve
from fleet.vectors.health import measure_distance, read_health, read_server, read_unindexed

_FILL = """
    insert into t (e)
    select (select array_agg(random()) from generate_series(1, {dimensions}) where n > 0)::vector
    from generate_series(1, {rows}) n
"""


async def fill(sql: asyncpg.Connection, rows: int, dimensions: int = 64) -> None:
    await sql.execute(f"create table t (id bigserial, e vector({dimensions}))")
    await sql.execute(_FILL.format(rows=rows, dimensions=dimensions))
    await sql.execute("analyze t")


async def test_the_server(sql: asyncpg.Connection) -> None:
    await sql.execute("set maintenance_work_mem = '96MB'; set max_parallel_maintenance_workers = 1")
    server = await read_server(sql)
    assert server is not None
    assert server.version == await sql.fetchval("select current_setting('server_version_num')::int")
    assert server.vector_version == server.installed_version
    assert (server.maintenance_bytes, server.workers) == (96 * 2**20, 1)
    await sql.execute("drop extension vector")
    assert await read_server(sql) is None


async def test_rows_are_not_counted_twice_after_a_load(sql: asyncpg.Connection) -> None:
    await fill(sql, 5000)
    await sql.execute("create index h on t using ivfflat (e vector_l2_ops) with (lists = 5)")
    await sql.fetchval("select pg_stat_force_next_flush()")
    assert await sql.fetchval("select pg_stat_get_live_tuples('t'::regclass)") == 10_000, "as the server says"
    (health,) = await read_health(sql)
    assert health.index.rows == pytest.approx(5000, rel=0.02)
    await sql.execute("delete from t where id <= 3000; analyze t; select pg_stat_force_next_flush()")
    (health,) = await read_health(sql)
    assert health.index.rows == pytest.approx(2000, rel=0.02)


async def test_use_and_what_roles_search_with(sql: asyncpg.Connection, database: str) -> None:
    await fill(sql, 500)
    await sql.execute("create index h on t using hnsw (e vector_l2_ops)")
    await sql.execute("create index v on t using ivfflat (e vector_cosine_ops) with (lists = 5)")
    role = f"{database}_app"
    await sql.execute(f"create role {role}")
    try:
        await sql.execute(f"alter role {role} in database {database} set hnsw.ef_search = 123")
        await sql.execute(f"alter database {database} set ivfflat.probes = 4")
        await sql.execute("set enable_seqscan = off")
        await sql.fetch("select 1 from t order by e <-> (select e from t where id = 1) limit 3")
        await sql.execute("delete from t where id <= 100; select pg_stat_force_next_flush()")
        h, v = await read_health(sql)
    finally:
        await sql.execute(f"drop owned by {role}; drop role {role}")
    assert (h.index.indexrelname, v.index.indexrelname) == ("h", "v")
    assert (h.scans, v.scans) == (1, 0)
    assert h.table_scans > 0
    assert h.dead_rows == 100
    assert h.search == {"": 40, role: 123}
    assert v.search == {"": 4}


async def test_columns_that_no_vector_index_is_on(sql: asyncpg.Connection) -> None:
    await sql.execute("""
        create table indexed (e vector(3)); create table cast_ (e vector(3)); create table bare (e vector(3), n int);
        create table small (e vector(3));
        create index on indexed using hnsw (e vector_l2_ops);
        create index on cast_ using hnsw ((e::halfvec(3)) halfvec_l2_ops);
        create index on bare (n);
    """)
    await sql.execute("""
        insert into small select '[1,2,3]'; insert into bare (e) select '[1,2,3]' from generate_series(1, 10000);
        update pg_class set reltuples = 10000 where relname in ('indexed', 'cast_')
    """)
    await sql.execute("analyze bare, small")
    (found,) = await read_unindexed(sql)
    assert (found.relname, found.column, found.type_name, found.dimensions, found.rows) == (
        "bare",
        "e",
        "vector",
        3,
        10_000,
    )


async def test_the_time_of_a_distance(sql: asyncpg.Connection) -> None:
    await fill(sql, 50, dimensions=1536)
    await sql.execute("create index h on t using hnsw (e vector_cosine_ops)")
    await sql.execute("create index b on t using hnsw ((binary_quantize(e)::bit(1536)) bit_hamming_ops)")
    bits, whole = [await measure_distance(sql, health.index) for health in await read_health(sql)]
    assert whole is not None
    assert bits is not None
    assert 0 < bits < whole < 1e-4
    await sql.execute("delete from t where id > 1")
    ((_, health),) = [await read_health(sql)]
    assert await measure_distance(sql, health.index) is None


@pytest.mark.parametrize(
    "definition",
    [
        "using hnsw (e vector_cosine_ops)",
        "using hnsw (e vector_cosine_ops) with (m = 32, ef_construction = 64)",
        "using hnsw ((e::halfvec(384)) halfvec_cosine_ops)",
        "using ivfflat (e vector_cosine_ops) with (lists = 10)",
    ],
)
async def test_sizes_that_were_reckoned_are_those_that_it_builds(sql: asyncpg.Connection, definition: str) -> None:
    await fill(sql, 2000, dimensions=384)
    await sql.execute(f"create index i on t {definition}")
    (health,) = await read_health(sql)
    shape = shape_of(health.index)
    assert shape is not None
    assert index_bytes(shape, 2000) == pytest.approx(health.index.size_bytes, rel=0.08)


async def test_the_curve_of_recall(sql: asyncpg.Connection) -> None:
    await fill(sql, 3000)
    await sql.execute("create index v on t using ivfflat (e vector_l2_ops) with (lists = 100)")
    (health,) = await read_health(sql)
    assert health.index.method is Method.IVFFLAT
    curve = await measure_curve(sql, health.index, VectorPolicy(), [3, 100])
    assert [point.setting for point in curve] == [1, 2, 3, 5, 10, 20]
    ratios = [point.recall.ratio for point in curve]
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.6 < ratios[-1] <= 1
    assert all(point.seconds > 0 for point in curve)
