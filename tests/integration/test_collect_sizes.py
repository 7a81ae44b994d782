"""The collector `sizes`: it waits for nobody."""

import asyncio

import asyncpg
import pytest

from collectors.sizes import SizesCollector
from tests.integration.sites import Site, collected, samples

_TABLES = """
    create table a (id int primary key, words text); create table b (id int primary key);
    insert into a select g, repeat(md5(g::text), 300) from generate_series(1, 200) g;
    insert into b select generate_series(1, 1000)
"""


async def test_sizes_are_the_servers(site: Site) -> None:
    await site.sql.execute(_TABLES)
    found = await collected(SizesCollector, site.target())
    size = site.sql.fetchval
    a = (site.database, "public", "a")
    assert found["custode_table_size_bytes"][a] == await size("select pg_relation_size('a')")
    assert found["custode_table_indexes_size_bytes"][a] == await size("select pg_relation_size('a_pkey')")
    assert found["custode_table_toast_size_bytes"][a] == await size(
        "select pg_relation_size(reltoastrelid) from pg_class where relname = 'a'"
    )
    assert (site.database, "public", "b") not in found["custode_table_toast_size_bytes"]
    assert found["custode_index_size_bytes"][*a, "a_pkey"] == await size("select pg_relation_size('a_pkey')")
    assert found["custode_database_size_bytes"][site.database,] > 1_000_000
    assert ("template0",) in found["custode_database_size_bytes"]


async def test_a_table_without_indexes_has_zero_bytes_of_them(site: Site) -> None:
    await site.sql.execute("create table bare (id int)")
    found = await collected(SizesCollector, site.target())
    assert found["custode_table_indexes_size_bytes"] == {(site.database, "public", "bare"): 0}


@pytest.mark.parametrize("statement", ["lock table a", "truncate a"])
async def test_what_is_locked_is_absent_and_delays_nothing(site: Site, statement: str) -> None:
    await site.sql.execute(_TABLES)
    holder = await site.connect()
    async with holder.transaction():  # a wait for it would end by lock_timeout, with an error
        await holder.execute(statement)
        found = await collected(SizesCollector, site.target())
    await holder.close()
    a, b = (site.database, "public", "a"), (site.database, "public", "b")
    assert a not in found["custode_table_size_bytes"]
    assert b in found["custode_table_size_bytes"]
    assert (*b, "b_pkey") in found["custode_index_size_bytes"]
    locked_too = statement.startswith("truncate")
    assert ((*a, "a_pkey") in found["custode_index_size_bytes"]) is not locked_too
    assert (a in found["custode_table_indexes_size_bytes"]) is not locked_too


async def test_who_waits_for_an_exclusive_lock_counts_as_holding_it(site: Site) -> None:
    await site.sql.execute(_TABLES)
    holder, waiter = await site.connect(), await site.connect()
    async with asyncio.TaskGroup() as group, holder.transaction(), asyncio.timeout(60):
        await holder.execute("select from a limit 1")
        group.create_task(waiter.execute("begin; lock table a; rollback"))
        while not await site.sql.fetchval("select exists (select from pg_locks where not granted)"):
            await site.sql.execute("select pg_sleep(0.01)")
        found = await collected(SizesCollector, site.target())
    await holder.close()
    await waiter.close()
    assert set(found["custode_table_size_bytes"]) == {(site.database, "public", "b")}


async def test_invalid_indexes_come_first_then_the_largest(site: Site) -> None:
    await site.sql.execute(_TABLES)
    await site.sql.execute("create table twice (a int); insert into twice values (1), (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await site.sql.execute("create unique index concurrently broken on twice (a)")
    *_, indexes = await SizesCollector(SizesCollector.Options()).collect(site.target())
    assert [record[3] for record in indexes.records] == ["broken", "b_pkey", "a_pkey"]
    assert indexes.keep == 1


async def test_a_role_that_may_not_connect_somewhere_is_told_so(site: Site) -> None:
    closed = f"{site.database}_closed"
    await site.sql.execute("create role newcomer login")
    await site.sql.execute(f"create database {closed}")
    await site.sql.execute(f"revoke connect on database {closed} from public")
    target = site.target("newcomer")
    try:
        found = await collected(SizesCollector, target)
        everywhere = site.target("newcomer", databases=None)
        await everywhere.databases()
    finally:
        await target.connections.close()
        await everywhere.connections.close()
        await site.sql.execute(f"drop database {closed} with (force)")
        while await site.sql.fetchval("select exists (select from pg_stat_activity where usename = 'newcomer')"):
            await site.sql.execute("select pg_sleep(0.01)")
        await site.sql.execute("drop role newcomer")
    assert (closed,) not in found["custode_database_size_bytes"]
    assert (site.database,) in found["custode_database_size_bytes"]
    assert f"size of database {closed}" in target.gaps
    assert f"database {closed}" in everywhere.gaps


async def test_an_index_at_its_best_is_remembered_until_it_is_built_anew(site: Site) -> None:
    collector = SizesCollector(SizesCollector.Options())

    async def ratios() -> tuple[float, float]:
        found = samples(await collector.collect(site.target()))
        key = (site.database, "public", "t", "t_pkey")
        return found["custode_index_bytes_per_tuple"][key], found["custode_index_best_bytes_per_tuple"][key]

    await site.sql.execute("create table t (id int primary key) with (autovacuum_enabled = false)")
    await site.sql.execute("insert into t select generate_series(1, 20000)")
    await site.sql.execute("vacuum analyze t")
    new, best = await ratios()
    assert new == best == pytest.approx(22, abs=4)
    await site.sql.execute("delete from t where id % 4 <> 0")
    await site.sql.execute("vacuum analyze t")
    grown, best = await ratios()
    assert grown == pytest.approx(4 * new)
    assert best == new
    await site.sql.execute("reindex index t_pkey")
    built, best = await ratios()
    assert built == best < grown


async def test_of_a_small_index_nothing_is_remembered(site: Site) -> None:
    await site.sql.execute(_TABLES)
    await site.sql.execute("vacuum analyze")
    found = await collected(SizesCollector, site.target())
    assert (site.database, "public", "b", "b_pkey") in found["custode_index_bytes_per_tuple"]
    assert found["custode_index_best_bytes_per_tuple"] == {}
