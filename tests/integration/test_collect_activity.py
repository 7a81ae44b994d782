"""The collector `activity`: sessions, waits and locks as they are at the moment."""

import asyncio

import asyncpg

from collectors.activity import ActivityCollector
from tests.integration.debian_server import DebianServer
from tests.integration.sites import DEBIAN_ONLY, Samples, Site, collected


async def test_an_open_transaction_is_seen_with_its_age(site: Site) -> None:
    other = await site.connect()
    async with other.transaction():
        await other.execute("create table t (id int)")
        found = await collected(ActivityCollector, site.target())
        again = await collected(ActivityCollector, site.target())
    await other.close()
    key = (site.database, "idle in transaction")
    assert found["custode_sessions"][key] == 1
    assert (
        0 < found["custode_transaction_max_age_seconds"][key] < again["custode_transaction_max_age_seconds"][key] < 60
    )
    assert found["custode_locks"][site.database, "AccessExclusiveLock"] >= 1
    assert found["custode_oldest_xmin_age"][()] >= 0


async def test_idle_sessions_have_no_transaction(site: Site) -> None:
    found = await collected(ActivityCollector, site.target())
    assert found["custode_sessions"][site.database, "idle"] >= 1
    assert (site.database, "idle") not in found["custode_transaction_max_age_seconds"]
    assert found["custode_sessions_blocked"][site.database,] == 0


async def test_who_waits_for_a_lock_is_blocked(site: Site) -> None:
    await site.sql.execute("create table t (id int)")
    holder, waiter = await site.connect(), await site.connect()
    async with asyncio.TaskGroup() as group, holder.transaction():
        await holder.execute("lock table t")
        group.create_task(waiter.execute("insert into t values (1)"))
        found = await _until_blocked(site)
    await holder.close()
    await waiter.close()
    assert found["custode_sessions_blocked"][site.database,] == 1
    assert found["custode_sessions_waiting"][site.database, "Lock"] == 1


async def _until_blocked(site: Site) -> Samples:
    target = site.target()
    for _ in range(500):
        found = await collected(ActivityCollector, target)
        if found["custode_sessions_blocked"][site.database,]:
            break
    return found


@DEBIAN_ONLY
async def test_prepared_transactions(site: Site) -> None:
    assert isinstance(site.server, DebianServer)
    await site.sql.execute("create table t (id int)")
    await site.sql.execute("begin; insert into t values (1); prepare transaction 'forgotten'")
    found = await collected(ActivityCollector, site.target())
    await site.sql.execute("rollback prepared 'forgotten'")
    assert found["custode_prepared_transactions"] == {(site.database,): 1}
    assert found["custode_oldest_xmin_age"][()] >= 1


async def test_a_role_without_pg_monitor_is_told_what_it_misses(site: Site) -> None:
    await site.sql.execute("create role nobody_special login")
    target = site.target("nobody_special")
    try:
        await collected(ActivityCollector, target)
        watched = site.target()
        await collected(ActivityCollector, watched)
    finally:
        await target.connections.close()
        await _gone(site.sql, "nobody_special")
        await site.sql.execute("drop role nobody_special")
    assert list(target.gaps) == ["sessions of other roles"]
    assert watched.gaps == {}


async def _gone(sql: asyncpg.Connection, role: str) -> None:
    while await sql.fetchval("select count(*) from pg_stat_activity where usename = $1", role):
        await sql.execute("select pg_sleep(0.01)")
