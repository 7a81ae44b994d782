"""The collector `tables`, read by a role that has only pg_monitor and no right on any table."""

import asyncpg
import pytest

from collectors.tables import TablesCollector
from tests.integration.sites import Site, collected


async def test_rows_changes_and_scans(site: Site) -> None:
    await site.sql.execute("create table t (id int primary key, words text)")
    await site.sql.execute("insert into t select g, 'x' from generate_series(1, 100) g")
    await site.sql.execute("update t set words = 'y' where id <= 10; delete from t where id > 95")
    await site.sql.execute("set enable_seqscan = off; select * from t where id = 7; reset enable_seqscan")
    await site.sql.execute("select count(*) from t")
    await site.flush_statistics()
    found = await collected(TablesCollector, site.target())
    key = (site.database, "public", "t")
    expected = {
        "live_tuples": 95,
        "dead_tuples": 15,
        "modified_since_analyze": 115,
        "inserted_since_vacuum": 100,
        "tuples_inserted_total": 100,
        "tuples_updated_total": 10,
        "tuples_deleted_total": 5,
        "vacuum_total": 0,
    }
    assert {name: found[f"custode_table_{name}"][key] for name in expected} == expected
    assert found["custode_table_index_scans_total"][key] >= 1
    assert found["custode_table_index_tuples_fetched_total"][key] >= 1
    assert found["custode_table_seq_scans_total"][key] >= 1
    assert found["custode_table_heap_blocks_hit_total"][key] > 0
    assert found["custode_table_index_blocks_hit_total"][key] > 0
    assert found["custode_table_toast_blocks_hit_total"][key] == 0
    assert found["custode_table_xid_age"][key] >= 1


async def test_figures_agree_with_the_servers_own_views(site: Site) -> None:
    await site.sql.execute("create table t (id int primary key, a int, words text); create index on t (a)")
    await site.sql.execute("insert into t select g, g % 7, repeat(g::text, 2000) from generate_series(1, 300) g")
    await site.sql.execute("select * from t where id = 7")
    await site.sql.execute("vacuum analyze t")
    await site.flush_statistics()
    found = await collected(TablesCollector, site.target())
    key = (site.database, "public", "t")
    record = await site.sql.fetchrow(
        "select * from pg_stat_user_tables join pg_statio_user_tables using (relid) where relid = 't'::regclass"
    )
    assert record is not None
    pairs = {
        "seq_tuples_read_total": "seq_tup_read",
        "index_scans_total": "idx_scan",
        "index_tuples_fetched_total": "idx_tup_fetch",
        "heap_blocks_read_total": "heap_blks_read",
        "index_blocks_read_total": "idx_blks_read",
        "index_blocks_hit_total": "idx_blks_hit",
        "toast_blocks_hit_total": "toast_blks_hit",
        "tuples_hot_updated_total": "n_tup_hot_upd",
        "analyze_total": "analyze_count",
    }
    assert {name: found[f"custode_table_{name}"][key] for name in pairs} == {
        name: record[column] for name, column in pairs.items()
    }
    assert found["custode_table_last_vacuum_timestamp_seconds"][key] == record["last_vacuum"].timestamp()


async def test_what_never_happened_or_does_not_exist_is_absent(site: Site) -> None:
    await site.sql.execute("create table bare (id int)")
    found = await collected(TablesCollector, site.target())
    key = (site.database, "public", "bare")
    for name in ("last_vacuum", "last_autovacuum", "last_analyze", "last_autoanalyze"):
        assert key not in found[f"custode_table_{name}_timestamp_seconds"]
    assert key not in found["custode_table_index_scans_total"]
    assert key not in found["custode_table_toast_blocks_read_total"]
    assert found["custode_table_live_tuples"][key] == 0


async def test_only_what_holds_the_users_rows(site: Site) -> None:
    await site.sql.execute("""
        create table kept (id int);
        create materialized view seen as select 1;
        create view not_a_table as select 1;
        create table parts (id int) partition by range (id);
        create table part_1 partition of parts for values from (0) to (10);
        create temp table passing (id int);
        create schema "Odd ""one"" {x}";
        create table "Odd ""one"" {x}"."È un nome" (id int);
    """)
    found = await collected(TablesCollector, site.target())
    assert set(found["custode_table_live_tuples"]) == {
        (site.database, "public", "kept"),
        (site.database, "public", "seen"),
        (site.database, "public", "part_1"),
        (site.database, 'Odd "one" {x}', "È un nome"),
    }


async def test_indexes_that_queries_may_use_are_counted(site: Site) -> None:
    await site.sql.execute("create table bare (a int); create table t (id int primary key, a int)")
    await site.sql.execute("create index on t (a); insert into t values (1, 1), (2, 1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await site.sql.execute("create unique index concurrently broken on t (a)")
    found = (await collected(TablesCollector, site.target()))["custode_table_indexes"]
    assert found == {(site.database, "public", "bare"): 0, (site.database, "public", "t"): 2}
