"""The collector `indexes`, read by a role that has only pg_monitor and no right on any table."""

import asyncio

import asyncpg
import pytest

from collectors.indexes import IndexesCollector
from tests.integration.sites import Samples, Site, collected


async def test_what_an_index_is(site: Site) -> None:
    await site.sql.execute("""
        create table t (id int primary key, a int, b text, c tsvector, unique (a));
        create unique index by_b on t (b text_pattern_ops);
        create index by_c on t using gin (c);
        create table other (b_of_t text);
    """)
    found = await collected(IndexesCollector, site.target())
    assert set(found["custode_index_info"]) == {
        ("btree", "int4_ops", True, True, True, site.database, "public", "t", "t_pkey"),
        ("btree", "int4_ops", True, False, True, site.database, "public", "t", "t_a_key"),
        ("btree", "text_pattern_ops", True, False, False, site.database, "public", "t", "by_b"),
        ("gin", "tsvector_ops", False, False, False, site.database, "public", "t", "by_c"),
    }
    assert set(found["custode_index_info"].values()) == {1}
    assert set(found["custode_index_valid"].values()) == {1}


async def test_an_index_that_a_foreign_key_needs_is_told(site: Site) -> None:
    await site.sql.execute("create table t (id int); create unique index on t (id)")
    await site.sql.execute("create table child (id int references t (id))")
    (labels,) = (await collected(IndexesCollector, site.target()))["custode_index_info"]
    assert labels[2:5] == (True, False, True)


async def test_use_is_counted_and_what_was_never_used_has_no_last_use(site: Site) -> None:
    await site.sql.execute("create table t (id int primary key, a int); create index by_a on t (a)")
    await site.sql.execute("insert into t select g, g from generate_series(1, 2000) g; analyze t")
    await site.sql.execute("select * from t where id = 7")
    await site.flush_statistics()
    found = await collected(IndexesCollector, site.target())
    used, unused = [(site.database, "public", "t", name) for name in ("t_pkey", "by_a")]
    assert found["custode_index_scans_total"][used] >= 1
    assert found["custode_index_tuples_fetched_total"][used] >= 1
    assert found["custode_index_scans_total"][unused] == 0
    assert found["custode_index_tuples"][used] == 2000
    assert found["custode_index_blocks_hit_total"][used] > 0
    seen = found["custode_index_last_scan_timestamp_seconds"]
    assert (used in seen) is (site.major >= 16)
    assert unused not in seen


async def test_invalid_ones_come_first_whatever_their_size(site: Site) -> None:
    await site.sql.execute("create table t (a int, b int); insert into t select 1, g from generate_series(1, 3000) g")
    await site.sql.execute("create index large on t (b); create table small (b int); create index tiny on small (b)")
    await site.sql.execute("create table twice (a int); insert into twice values (1), (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await site.sql.execute("create unique index concurrently broken on twice (a)")
    _, indexes, _ = await IndexesCollector(IndexesCollector.Options(max_series=5)).collect(site.target())
    assert [record[3] for record in indexes.records] == ["broken", "large", "tiny"]
    assert indexes.keep == 1
    assert (await collected(IndexesCollector, site.target()))["custode_index_valid"] == {
        (site.database, "public", "twice", "broken"): 0,
        (site.database, "public", "t", "large"): 1,
        (site.database, "public", "small", "tiny"): 1,
    }


async def test_system_temporary_and_partitioned_ones_are_left_out(site: Site) -> None:
    await site.sql.execute("""
        create temp table passing (id int primary key);
        create table parts (id int primary key) partition by range (id);
        create table part_1 partition of parts for values from (0) to (10);
    """)
    found = await collected(IndexesCollector, site.target())
    assert [labels[3] for labels in found["custode_index_valid"]] == ["part_1_pkey"]


async def test_progress_of_a_build(site: Site) -> None:
    await site.sql.execute("create table t (id int)")
    holder, builder = await site.connect(), await site.connect()
    async with asyncio.TaskGroup() as group, holder.transaction():
        await holder.execute("insert into t values (1)")
        group.create_task(builder.execute("create index concurrently by_id on t (id)"))
        found = await _until_building(site)
    await holder.close()
    await builder.close()
    (labels,) = found["custode_index_build_blocks_done"]
    assert labels[:5] == (site.database, "public", "t", "by_id", "CREATE INDEX CONCURRENTLY")
    assert str(labels[5]).startswith("waiting for writers")
    assert found["custode_index_build_progress_ratio"] == {labels: 0.0}
    assert found["custode_index_build_remaining_seconds"] == {}, "it waits"


async def _until_building(site: Site) -> Samples:
    target = site.target()
    for _ in range(500):
        found = await collected(IndexesCollector, target)
        if any(str(labels[5]).startswith("waiting") for labels in found.get("custode_index_build_blocks_done", ())):
            break
    return found
