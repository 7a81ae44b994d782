"""The collector `server`, read by a role that has only pg_monitor."""

from dataclasses import replace

import asyncpg

from collectors.server import ServerCollector
from tests.integration.debian_server import DebianServer
from tests.integration.debian_standby import standby
from tests.integration.sites import DEBIAN_ONLY, Site, collected


async def test_version_start_and_connections(site: Site) -> None:
    found = await collected(ServerCollector, site.target())
    assert list(found["custode_server_info"].values()) == [1]
    version, number = next(iter(found["custode_server_info"]))
    assert str(version).startswith(str(site.major))
    assert number == await site.sql.fetchval("show server_version_num")
    assert found["custode_server_max_connections"][()] == int(await site.sql.fetchval("show max_connections"))
    assert found["custode_server_reserved_connections"][()] == 3
    assert found["custode_server_in_recovery"][()] == 0
    start = await site.sql.fetchval("select extract(epoch from pg_postmaster_start_time())::float8")
    assert found["custode_server_start_timestamp_seconds"][()] == start


async def test_settings_are_in_base_units(site: Site) -> None:
    settings = (await collected(ServerCollector, site.target()))["custode_setting"]
    assert settings["work_mem",] == 4 * 1024**2  # kB
    assert settings["max_wal_size",] == 1024**3  # MB
    assert settings["shared_buffers",] == await site.sql.fetchval(
        "select pg_size_bytes(current_setting('shared_buffers'))"
    )  # 8 kB
    assert settings["wal_segment_size",] == 16 * 1024**2  # B
    assert settings["deadlock_timeout",] == 1  # ms
    assert settings["checkpoint_timeout",] == 300  # s
    assert settings["log_rotation_age",] == 86400  # min
    assert settings["random_page_cost",] == 4
    assert settings["autovacuum",] == 1
    assert settings["fsync",] == 0
    assert settings["log_min_duration_statement",] == -1  # a word, not a millisecond
    assert ("search_path",) not in settings


async def test_a_change_that_waits_for_a_restart_is_counted(site: Site) -> None:
    assert (await collected(ServerCollector, site.target()))["custode_settings_pending_restart"] == {(): 0}
    await site.sql.execute("alter system set max_files_per_process = 900")
    try:
        await site.sql.execute("select pg_reload_conf()")
        for _ in range(200):  # every process reads the files in its own time, ours too
            found = await collected(ServerCollector, site.target())
            if found["custode_settings_pending_restart"][()]:
                break
            await site.sql.execute("select pg_sleep(0.02)")
        assert found["custode_settings_pending_restart"] == {(): 1}
    finally:
        await site.sql.execute("alter system reset max_files_per_process")
        await site.sql.execute("select pg_reload_conf()")


async def test_settings_are_read_anew_after_a_reload_only_and_shown_always(site: Site) -> None:
    collector = ServerCollector(ServerCollector.Options())
    connections = site.target().connections

    async def settings() -> dict[str, float]:
        target = replace(site.target(), connections=connections)
        [rows] = [rows for rows in await collector.collect(target) if rows.family.labels == ("name",)]
        return dict(rows.records)

    first = await settings()
    assert await settings() == first
    await site.sql.execute("alter system set deadlock_timeout = '7s'")
    try:
        await site.sql.execute("select pg_reload_conf()")
        for _ in range(200):  # our session reads the files in its own time
            if await settings() != first:
                break
            await site.sql.execute("select pg_sleep(0.02)")
        assert await settings() == first | {"deadlock_timeout": 7}
    finally:
        await site.sql.execute("alter system reset deadlock_timeout")
        await site.sql.execute("select pg_reload_conf()")
    await connections.close()


async def test_checkpoints_and_writers(site: Site) -> None:
    before = await collected(ServerCollector, site.target())
    await site.sql.execute("checkpoint")
    await site.flush_statistics()
    after = await collected(ServerCollector, site.target())
    assert set(after["custode_checkpoints_total"]) == {("timed",), ("requested",)}
    assert after["custode_checkpoints_total"]["requested",] > before["custode_checkpoints_total"]["requested",]
    assert set(after["custode_buffers_written_total"]) == {("checkpointer",), ("bgwriter",), ("backend",)}


async def test_the_log_grows(site: Site) -> None:
    before = await collected(ServerCollector, site.target())
    await site.sql.execute("create table t as select generate_series(1, 1000) as id; select pg_switch_wal()")
    after = await collected(ServerCollector, site.target())
    assert after["custode_wal_position_bytes"][()] > before["custode_wal_position_bytes"][()]


async def test_what_never_happened_has_no_time(site: Site) -> None:
    found = await collected(ServerCollector, site.target())
    assert found["custode_archiver_archived_total"] == {(): 0}
    assert found["custode_archiver_last_archived_timestamp_seconds"] == {}
    assert found["custode_archiver_last_failed_timestamp_seconds"] == {}
    assert found["custode_replication_lag_seconds"] == {}


async def test_an_idle_slot_keeps_the_log(site: Site) -> None:
    await site.sql.execute("select pg_create_physical_replication_slot('left_behind', true)")
    try:
        await site.sql.execute("create table t as select generate_series(1, 1000) as id")
        found = await collected(ServerCollector, site.target())
    finally:
        await site.sql.execute("select pg_drop_replication_slot('left_behind')")
    slot = ("left_behind", "physical")
    assert found["custode_replication_slot_active"] == {slot: 0}
    assert found["custode_replication_slot_retained_bytes"][slot] > 0


@DEBIAN_ONLY
async def test_a_standby(site: Site) -> None:
    assert isinstance(site.server, DebianServer)
    with standby(site.server) as copy:
        await _caught_up(site, copy)
        on_primary = await collected(ServerCollector, site.target())
        on_standby = await collected(ServerCollector, site.at(copy).target())
    assert on_primary["custode_replication_lag_bytes"]["copy", "streaming"] == 0
    assert on_standby["custode_server_in_recovery"] == {(): 1}
    assert on_standby["custode_wal_position_bytes"][()] > 0
    assert on_standby["custode_replication_lag_seconds"] == {(): 0}


async def _caught_up(site: Site, copy: DebianServer) -> None:
    position = await site.sql.fetchval("select pg_current_wal_flush_lsn()::text")
    reader = await asyncpg.connect(copy.dsn())
    for _ in range(500):
        if await reader.fetchval("select pg_last_wal_replay_lsn() >= $1::text::pg_lsn", position) and (
            await site.sql.fetchval("select bool_and(replay_lsn = pg_current_wal_lsn()) from pg_stat_replication")
        ):
            break
        await reader.execute("select pg_sleep(0.02)")
    await reader.close()
