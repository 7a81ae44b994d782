"""The oldest row per retention rule, and the last refresh."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from collectors import Target
from collectors.freshness import FreshnessCollector
from fleet.data.kinds import Kind
from fleet.data.refused import forget_refused, write_refused
from fleet.data.scan import Finding
from fleet.data.scan.records import ScanRecord
from fleet.policy import DataPolicy, Policy, RowRetention
from fleet.stores.local import LocalStore
from tests.integration.sites import WATCHER, Samples, Site, collected, samples

OLDEST = "custode_table_oldest_row_timestamp_seconds"
REFRESH = "custode_refresh_last_success_timestamp_seconds"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def target(site: Site, *rules: RowRetention) -> Target:
    return site.target(policy=Policy(data=DataPolicy(row_retention=rules)))


def rule(table: str, column: str = "created_at") -> RowRetention:
    return RowRetention(table=table, column=column, keep=timedelta(days=90))


async def fill(site: Site, name: str, type_: str = "timestamptz", at: Any = AT, *, readable: bool = True) -> None:
    """Make a table with one row at `at` and one a day later, whose column the watcher may read."""
    quoted = await site.sql.fetchval("select quote_ident($1)", name)
    await site.sql.execute(f"create table {quoted} (created_at {type_})")
    await site.sql.copy_records_to_table(name, records=[(at + timedelta(days=1),), (at,)])
    if readable:
        await site.sql.execute(f"grant select (created_at) on {quoted} to {WATCHER}")


async def oldest(target: Target, scan_rows: int = 1_000_000) -> dict[Any, float]:
    found = samples(await FreshnessCollector(FreshnessCollector.Options(scan_rows=scan_rows)).collect(target))
    return found.get(OLDEST, {})


@pytest.mark.parametrize(
    ("type_", "at", "expected"),
    [
        ("timestamptz", AT, AT.timestamp()),
        ("timestamp", AT.replace(tzinfo=None), AT.timestamp()),
        ("date", AT.date(), datetime(2026, 1, 2, tzinfo=UTC).timestamp()),
    ],
)
async def test_the_oldest_row(site: Site, type_: str, at: object, expected: float) -> None:
    await fill(site, "messages", type_, at)
    assert await oldest(target(site, rule("messages"))) == {(site.database, "public", "messages"): expected}


@pytest.mark.parametrize("name", ['quo"ted', "line\nbreak", "è <!channel>", "%I %s $1", "public_x'; drop table t"])
async def test_hostile_names(site: Site, name: str) -> None:
    await fill(site, name)
    assert await oldest(target(site, rule(name))) == {(site.database, "public", name): AT.timestamp()}


async def test_an_empty_table_has_no_oldest_row(site: Site) -> None:
    await fill(site, "messages")
    await site.sql.execute("truncate messages")
    mine = target(site, rule("messages"))
    assert await oldest(mine) == {}
    assert (mine.gaps, mine.failures) == ({}, {})


async def test_partitions_count_as_one_table(site: Site) -> None:
    await site.sql.execute("create table messages (created_at timestamptz) partition by range (created_at)")
    await site.sql.execute("create table p1 partition of messages default")
    await site.sql.execute("insert into messages values ($1)", AT)
    await site.sql.execute(f"grant select on messages to {WATCHER}")
    assert await oldest(target(site, rule("messages"))) == {(site.database, "public", "messages"): AT.timestamp()}


async def test_a_row_at_minus_infinity_has_no_age(site: Site) -> None:
    await fill(site, "messages")
    await site.sql.execute("insert into messages values ('-infinity')")
    assert await oldest(target(site, rule("messages"))) == {}


async def test_a_locked_table_loses_only_its_own_record(site: Site) -> None:
    await fill(site, "messages")
    await fill(site, "locked")
    mine = target(site, rule("locked"), rule("messages"))
    async with site.sql.transaction():
        await site.sql.execute("lock table locked in access exclusive mode")
        assert await oldest(mine) == {(site.database, "public", "messages"): AT.timestamp()}
    assert isinstance(mine.failures[f"{site.database}.public.locked"], asyncpg.LockNotAvailableError)


async def test_what_cannot_be_known_is_a_gap(site: Site) -> None:
    await fill(site, "closed", readable=False)
    await fill(site, "unlike")
    await fill(site, "filtered")
    await site.sql.execute("alter table unlike drop created_at, add created_at text")
    await site.sql.execute("alter table filtered enable row level security")
    await site.sql.execute("create schema hidden; create table hidden.t (created_at timestamptz)")
    tables = ("closed", "unlike", "filtered", "hidden.t", "nowhere")
    mine = target(site, *map(rule, tables), rule("elsewhere"), rule("public.columns_differ", "gone"))
    await fill(site, "columns_differ")
    assert await oldest(mine) == {}
    assert mine.failures == {}
    here = f"{site.database}.public"
    assert {what: reason.split()[-1] for what, reason in mine.gaps.items()} == {
        f"{here}.closed": "rule",
        f"{here}.unlike": "date",
        f"{here}.filtered": "role",
        f"{site.database}.hidden.t": "rule",
        f"{here}.columns_differ": "exist",
        "public.nowhere": "rule",
        "public.elsewhere": "rule",
    }
    assert mine.gaps["public.nowhere"] == "no database has the table public.nowhere of a retention rule"


async def test_a_table_may_be_in_a_database_that_is_closed_to_us(site: Site) -> None:
    name = f"closed_{site.database}"
    await site.sql.execute(f"create database {name}")
    try:
        await site.sql.execute(f"revoke connect on database {name} from public")
        mine = site.target(databases=None, policy=Policy(data=DataPolicy(row_retention=(rule("nowhere"),))))
        assert await oldest(mine) == {}
    finally:
        await site.sql.execute(f"drop database {name}")
    assert f"database {name}" in mine.gaps
    assert "public.nowhere" not in mine.gaps


async def test_a_large_table_is_read_only_through_an_index(site: Site) -> None:
    await fill(site, "messages")
    await site.sql.execute("analyze messages")
    mine = target(site, rule("messages"))
    assert await oldest(mine, scan_rows=1) == {}
    assert set(mine.gaps) == {f"{site.database}.public.messages"}
    await site.sql.execute("create index on messages (created_at)")
    assert len(await oldest(target(site, rule("messages")), scan_rows=1)) == 1


async def put(store: LocalStore, key: str, text: str) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield text.encode()

    await store.put(key, content())


async def refreshes(site: Site, **stores: LocalStore) -> tuple[Samples, Target]:
    mine = target(site)
    mine.stores = stores
    return await collected(FreshnessCollector, mine), mine


async def test_the_newest_refresh_of_any_store(site: Site, tmp_path: Path) -> None:
    one, two = (LocalStore(LocalStore.Options(path=tmp_path / name)) for name in ("one", "two"))
    assert (await refreshes(site, one=one, two=two))[0].get(REFRESH, {}) == {}
    record = {"environment": "qa", "source": "production"}
    await put(one, "refreshes/qa/1.json", json.dumps(record | {"finished_at": 100.0}))
    await put(two, "refreshes/qa/2.json", json.dumps(record | {"finished_at": 200.0}))
    await put(two, "refreshes/qa-2/3.json", json.dumps(record | {"finished_at": 300.0}))
    assert (await refreshes(site, one=one, two=two))[0][REFRESH] == {(): 200}


async def test_a_broken_record_of_a_refresh_is_a_failure(site: Site, tmp_path: Path) -> None:
    store = LocalStore(LocalStore.Options(path=tmp_path))
    await put(store, "refreshes/qa/1.json", "{")
    found, mine = await refreshes(site, store=store)
    assert found.get(REFRESH, {}) == {}
    assert "refreshes/qa/1.json" in str(mine.failures["store"])


async def test_an_empty_database(site: Site) -> None:
    mine = target(site)
    assert not any((await collected(FreshnessCollector, mine)).values())
    assert (mine.gaps, mine.failures) == ({}, {})


async def test_what_kept_a_copy_from_being_used(site: Site, tmp_path: Path) -> None:
    store = LocalStore(LocalStore.Options(path=tmp_path / "one"))
    found = Finding("public", "notes", "body", Kind.CARD, 3)
    for environment in ("qa", "qa-2"):
        record = ScanRecord(environment=environment, datname="a.b/c", finished_at=1, sampled=False, findings=(found,))
        await write_refused(store, record)
    told, _ = await refreshes(site, store=store)
    assert told["custode_refresh_findings"] == {("a.b/c", "public", "notes", "body", "card"): 3}
    await forget_refused(store, "qa", "a.b/c")
    told, _ = await refreshes(site, store=store)
    assert "custode_refresh_findings" not in told
