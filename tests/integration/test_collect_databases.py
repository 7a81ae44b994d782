"""The collector `databases`, read by a role that has only pg_monitor."""

from collectors.databases import DatabasesCollector
from tests.integration.debian_server import DebianServer
from tests.integration.debian_standby import standby
from tests.integration.sites import DEBIAN_ONLY, Site, collected


async def test_every_database_of_the_server_is_told(site: Site) -> None:
    found = await collected(DatabasesCollector, site.target())
    names = {labels[0] for labels in found["custode_database_xid_age"]}
    assert {site.database, "postgres", "template0", "template1"} <= names
    assert found["custode_database_sessions"][site.database,] >= 1


async def test_work_is_counted(site: Site) -> None:
    before = await collected(DatabasesCollector, site.target())
    await site.sql.execute("create table t as select generate_series(1, 500) as id")
    await site.sql.execute(
        "insert into t values (0); update t set id = id + 1 where id < 3; delete from t where id = 9"
    )
    await site.sql.execute("begin; insert into t values (0); rollback")
    await site.flush_statistics()
    after = await collected(DatabasesCollector, site.target())

    def grown(name: str) -> float:
        return after[name][site.database,] - before[name][site.database,]

    assert grown("custode_database_commits_total") >= 2
    assert grown("custode_database_rollbacks_total") >= 1
    assert grown("custode_database_tuples_inserted_total") >= 501
    assert grown("custode_database_tuples_deleted_total") >= 1
    assert grown("custode_database_blocks_hit_total") > 0


async def test_a_limit_that_is_not_set_is_absent(site: Site) -> None:
    found = await collected(DatabasesCollector, site.target())
    assert (site.database,) not in found["custode_database_connection_limit"]
    await site.sql.execute(f"alter database {site.database} connection limit 17")
    found = await collected(DatabasesCollector, site.target())
    assert found["custode_database_connection_limit"][site.database,] == 17


async def test_checksum_failures_are_absent_without_checksums(site: Site) -> None:
    found = await collected(DatabasesCollector, site.target())
    checksums = await site.sql.fetchval("show data_checksums") == "on"
    assert ((site.database,) in found["custode_database_checksum_failures_total"]) is checksums


async def test_conflicts_are_a_matter_of_standbys(site: Site) -> None:
    assert "custode_recovery_conflicts_total" not in await collected(DatabasesCollector, site.target())


@DEBIAN_ONLY
async def test_the_conflicts_of_a_standby_by_reason(site: Site) -> None:
    assert isinstance(site.server, DebianServer)
    with standby(site.server) as copy:
        found = await collected(DatabasesCollector, site.at(copy).target())
    assert found["custode_recovery_conflicts_total"][site.database, "lock"] == 0
