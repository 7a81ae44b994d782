"""A snapshot restored beside its database: everything is there, nothing else is touched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from actions import Plan
from actions.restore import Parameters, Restore
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError, StoreError
from fleet.policy import BackupPolicy, Policy
from fleet.stores.local import LocalStore
from tests.integration.restores import MakeSite, databases, run_steps, take

ACTION = Restore()
INVENTORY = """
    select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
"""


@pytest.fixture
def into(database: str) -> str:
    return f"{database}_x"


async def restore(restoring: MakeSite, parameters: Parameters) -> tuple[Plan, str]:
    """Run it whole; the plan and the verdict's reason."""
    job = restoring()
    plan = await ACTION.plan(job, parameters)
    await run_steps(ACTION, job, parameters, plan)
    verdict = await ACTION.verify(job, parameters, plan)
    assert verdict.fixed, verdict.reason
    return plan, verdict.reason


class Frozen(LocalStore):
    """An archive: contents are readable once they were asked for twice."""

    asked = 0

    async def thaw(self, keys: Iterable[str]) -> frozenset[str]:
        self.asked += 1
        contents = frozenset(key for key in keys if key.startswith("objects/"))
        return contents if self.asked < 3 else frozenset()

    def get(self, key: str) -> AsyncIterator[bytes]:
        if self.asked < 3 and key.startswith("objects/"):
            raise StoreError(f"{key} is archived")
        return super().get(key)


async def test_what_is_archived_is_asked_for_and_waited_for(
    restoring: MakeSite, content: str, into: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actions._thaw.POLL_SECONDS", 0.01)
    options = LocalStore.Options(path=tmp_path / "archive")
    await take(restoring(stores={"archive": LocalStore(options)}), content)
    frozen, told = Frozen(options), list[str]()
    job = restoring(stores={"archive": frozen}, progress=lambda _ratio, text: told.append(text))
    parameters = Parameters(database=content, into=into)
    plan = await ACTION.plan(job, parameters)
    await run_steps(ACTION, job, parameters, plan)
    assert (await ACTION.verify(job, parameters, plan)).fixed
    assert frozen.asked == 3
    assert any("the store 'archive' has archived" in text for text in told)


async def test_all_of_it_is_there_again(
    restoring: MakeSite, content: str, into: str, server: EmbeddedServer, sql: asyncpg.Connection
) -> None:
    manifest = await take(restoring(), content)
    assert len(manifest.snapshots[0].copies) >= 2
    assert {copy.name for copy in manifest.snapshots[0].copies} >= {"chunks", 'odd " name'}
    plan, reason = await restore(restoring, Parameters(database=content, into=into))
    assert plan.steps == ("load", "keys", "vectors", "check")
    assert "8800 rows" in reason
    copy = await asyncpg.connect(server.dsn(into))
    try:
        assert await copy.fetchval(INVENTORY) == await sql.fetchval(INVENTORY)
        for query in (
            "select count(*), md5(string_agg(c::text, '' order by id)) from chunks c",
            """select count(*), md5(string_agg(o::text, '' order by id)) from "Odd; schema"."odd "" name" o""",
            "select count(*), sum(chunks) from per_item",
            "select last_value, is_called from counter",
            "select count(*), md5(string_agg(convert_from(lo_get(oid), 'utf8'), '')) from pg_largeobject_metadata",
            "select pg_get_userbyid(datdba), datcollate, encoding from pg_database where datname = current_database()",
            "select count(*) from pg_inherits",
            "select obj_description('chunks_hnsw'::regclass)",
        ):
            assert await copy.fetchrow(query) == await sql.fetchrow(query), query
        assert await copy.fetchval("select to_regnamespace('custode_restore') is null")
        assert await copy.fetchval("select count(*) from pg_stats where tablename = 'chunks'") > 0
        assert (
            await copy.fetchval("select array_agg(relname) from pg_class where reltuples < 0 and relkind = 'm'") is None
        )
    finally:
        await copy.close()


async def test_a_database_that_exists_is_never_touched(
    restoring: MakeSite, content: str, into: str, sql: asyncpg.Connection
) -> None:
    await take(restoring(), content)
    job, parameters = restoring(), Parameters(database=content, into=into)
    plan = await ACTION.plan(job, parameters)
    await sql.execute(f'create database "{into}"')  # since the plan
    with pytest.raises(ActionError, match="already"):
        await run_steps(ACTION, job, parameters, plan)
    await ACTION.undo(job, parameters, plan)
    assert await databases(sql, into) == [into], "undo drops what is its own alone"
    for name in (into, content):
        with pytest.raises(ActionError, match="already"):
            await ACTION.plan(restoring(), Parameters(database=content, into=name))


async def test_some_tables_alone(restoring: MakeSite, content: str, into: str, server: EmbeddedServer) -> None:
    await take(restoring(), content)
    parameters = Parameters(database=content, into=into, tables=("chunks", "parts_2"), defer_vector_indexes=True)
    plan, _ = await restore(restoring, parameters)
    assert plan.steps == ("load", "keys", "check", "vectors")
    copy = await asyncpg.connect(server.dsn(into))
    try:
        counts = await copy.fetchrow("select (select count(*) from chunks), (select count(*) from items)")
        assert tuple(counts or ()) == (2000, 0)
        assert await copy.fetchval("select count(*) from parts_2") > 0
        assert await copy.fetchval("select count(*) from parts_1") == 0
        assert await copy.fetchval("select count(*) from pg_constraint where contype = 'f'") == 0
        assert await copy.fetchval("select indisvalid from pg_index where indexrelid = 'chunks_hnsw'::regclass")
    finally:
        await copy.close()
    with pytest.raises(ActionError, match="no table 'nobody'"):
        await ACTION.plan(restoring(), Parameters(database=content, tables=("nobody",)))


async def test_the_schema_alone(restoring: MakeSite, content: str, into: str, server: EmbeddedServer) -> None:
    await take(restoring(), content)
    await restore(restoring, Parameters(database=content, into=into, schema_only=True))
    copy = await asyncpg.connect(server.dsn(into))
    try:
        assert await copy.fetchval("select count(*) from chunks") == 0
        assert await copy.fetchval("select count(*) from items") == 0
        assert await copy.fetchval("select count(*) from pg_constraint where contype = 'f'") == 1
    finally:
        await copy.close()


async def test_the_nearest_not_later_than_a_moment(restoring: MakeSite, content: str) -> None:
    first, second = await take(restoring(), content), await take(restoring(run_id="another"), content)
    moments = {first.id: first.started_at, second.id: second.started_at}
    for wanted, moment in moments.items():
        at = datetime.fromtimestamp(moment, UTC) + timedelta(milliseconds=1)  # it knows no less than a microsecond
        plan = await ACTION.plan(restoring(), Parameters(database=content, at=at))
        assert plan.objects[0]["backup"] == wanted
    with pytest.raises(ActionError, match="not later than"):
        await ACTION.plan(
            restoring(), Parameters(at=datetime.fromtimestamp(first.started_at, UTC) - timedelta(hours=1))
        )
    plan = await ACTION.plan(restoring(), Parameters(backup=first.id))
    assert plan.objects[0]["backup"] == first.id


async def test_roles_that_are_not_there_are_told_before_anything(
    restoring: MakeSite, content: str, into: str, sql: asyncpg.Connection, server: EmbeddedServer
) -> None:
    await take(restoring(), content)
    await sql.execute("reassign owned by restore_app to postgres; drop owned by restore_app; drop role restore_app")
    try:
        with pytest.raises(ActionError, match=r"lacks roles.*restore_app"):
            await ACTION.plan(restoring(), Parameters(database=content, into=into))
        parameters, job = Parameters(database=content, into=into, create_roles=True), restoring()
        plan = await ACTION.plan(job, parameters)
        assert plan.commands[0] == "CREATE ROLE restore_app NOLOGIN"
        await run_steps(ACTION, job, parameters, plan)
        assert (await ACTION.verify(job, parameters, plan)).fixed
        assert await sql.fetchval("select not rolcanlogin from pg_roles where rolname = 'restore_app'")
        await ACTION.undo(job, parameters, plan)
        assert await databases(sql, into) == []
        assert await sql.fetchval("select count(*) from pg_roles where rolname = 'restore_app'") == 0
    finally:
        await sql.execute("drop role if exists restore_app; create role restore_app")


async def test_a_damaged_object_fails_the_restore_and_another_copy_serves(
    restoring: MakeSite, content: str, into: str, store: LocalStore, sql: asyncpg.Connection
) -> None:
    await take(restoring(), content)
    (largest, *_) = sorted(
        (stat for stat in await store.list("objects/")), key=lambda stat: stat.size_bytes, reverse=True
    )
    path = store._root / largest.key
    whole = path.read_bytes()
    path.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    job, parameters = restoring(), Parameters(database=content, into=into)
    plan = await ACTION.plan(job, parameters)
    with pytest.raises(StoreError, match="damaged"):
        await run_steps(ACTION, job, parameters, plan)
    await ACTION.undo(job, parameters, plan)
    assert await databases(sql, into) == []
    path.unlink()
    with pytest.raises(ActionError, match="not whole"):
        await ACTION.plan(restoring(), parameters)
    path.write_bytes(whole)
    await restore(restoring, parameters)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("update chunks set content = 'x' where id = 7", "not all with the same content"),
        ("delete from parts_2 where id = 49", "public.parts_2 has"),
        ("alter table chunks add column more int", "table public.chunks"),
        ("drop index chunks_text", "index public.chunks_text"),
        ("update items set name = 'x' where id = 7", "public.items"),
    ],
)
async def test_a_difference_is_found(
    restoring: MakeSite, content: str, into: str, server: EmbeddedServer, *, change: str, said: str
) -> None:
    await take(restoring(), content)
    job, parameters = restoring(), Parameters(database=content, into=into)
    plan = await ACTION.plan(job, parameters)
    *before, check = ACTION.steps(job, parameters, plan)
    for step in before:
        await step.run()
    copy = await asyncpg.connect(server.dsn(into))
    await copy.execute(change)
    await copy.close()
    await check.run()
    verdict = await ACTION.verify(job, parameters, plan)
    assert not verdict.fixed
    assert said in verdict.reason


@pytest.mark.parametrize(
    ("query", "fixed"),
    [("select count(*) > 10 from chunks", True), ("select count(*) from nothing", False), ("select 1/0", False)],
)
async def test_the_environments_own_questions(
    restoring: MakeSite,
    make_environment: Callable[..., Environment],
    content: str,
    into: str,
    *,
    query: str,
    fixed: bool,
) -> None:
    await take(restoring(), content)
    environment = make_environment(policy=Policy(backup=BackupPolicy(smoke_queries=(query,))))
    job, parameters = restoring(environment), Parameters(database=content, into=into)
    plan = await ACTION.plan(job, parameters)
    await run_steps(ACTION, job, parameters, plan)
    verdict = await ACTION.verify(job, parameters, plan)
    assert verdict.fixed is fixed, verdict.reason
    assert fixed or query in verdict.reason
