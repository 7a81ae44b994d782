"""Left-overs of failed builds are dropped, on a real server; whatever else is invalid stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from actions.drop_invalid_index import DropInvalidIndex, Parameters
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.secrets import SecretText
from tests.integration.actions_kit import at_work, run_all, until

MakeEnvironment = Callable[..., Environment]
NOTES = (
    "create table notes (id int not null, text text); insert into notes select i / 2, 'x' from generate_series(1, 9) i"
)
ACTION, ALL = DropInvalidIndex(), Parameters()


async def leave_invalid(sql: asyncpg.Connection, name: str = "by_id") -> None:
    await sql.execute(NOTES)
    with pytest.raises(asyncpg.UniqueViolationError):
        await sql.execute(f"create unique index concurrently {name} on notes (id)")


async def indexes(sql: asyncpg.Connection) -> list[str]:
    records = await sql.fetch("select indexrelid::regclass::text from pg_index where indrelid = 'notes'::regclass")
    return sorted(record[0] for record in records)


async def test_the_definition_is_kept(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await leave_invalid(sql)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        definition = "CREATE UNIQUE INDEX by_id ON public.notes USING btree (id)"
        assert plan.commands == ("DROP INDEX CONCURRENTLY public.by_id",)
        assert plan.objects[0]["definition"] == definition
        (figures,) = await run_all(ACTION, job, ALL, plan)
        assert figures["definition"] == definition
        assert (await ACTION.verify(job, ALL, plan)).figures == {"invalid_indexes": 0, "bytes": 0}
    assert await indexes(sql) == []


@asynccontextmanager
async def building(server: EmbeddedServer, sql: asyncpg.Connection, statement: str) -> AsyncIterator[None]:
    """A build that cannot end: somebody has an older transaction open on the table."""
    reader = await asyncpg.connect(server.dsn(await sql.fetchval("select current_database()")))
    builder = await asyncpg.connect(server.dsn(await sql.fetchval("select current_database()")))
    await reader.execute("begin; insert into notes values (100, 'open')")
    async with asyncio.TaskGroup() as group:
        build = group.create_task(builder.execute(statement))

        async def waiting() -> bool:
            count = await sql.fetchval("select count(*) from pg_stat_progress_create_index where phase ~ 'waiting'")
            return bool(count == 1)

        await until(waiting, "the build waits for the open transaction")
        yield
        await reader.execute("rollback")
        await build
    await reader.close()
    await builder.close()


async def test_what_is_being_built_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer
) -> None:
    await sql.execute(NOTES)
    async with at_work(make_environment()) as job:
        async with building(server, sql, "create index concurrently by_text on notes (text)"):
            plan = await ACTION.plan(job, ALL)
            assert plan.steps == ()
            assert "by_text stays, it is being built" in plan.summary
            with pytest.raises(ActionError, match="by_text is being built"):
                await ACTION.plan(job, Parameters(indexrelname="by_text"))
        assert await indexes(sql) == ["by_text"]
        assert "no left-over" in (await ACTION.plan(job, Parameters(indexrelname="by_text"))).summary


async def test_it_looks_again_before_it_drops(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer
) -> None:
    await leave_invalid(sql)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        async with building(server, sql, "create index concurrently by_text on notes (text)"):
            with pytest.raises(ActionError, match="by_id is being built"):
                await run_all(ACTION, job, ALL, plan)
        assert await indexes(sql) == ["by_id", "by_text"]
        verdict = await ACTION.verify(job, ALL, plan)
    assert not verdict.fixed
    assert "still there" in verdict.reason


MADE_UNIQUE = "delete from notes where ctid in (select max(ctid) from notes group by id having count(*) > 1)"


@pytest.mark.parametrize(
    "change",
    [
        "drop index by_id; create index by_id on notes (id)",
        f"{MADE_UNIQUE}; reindex index by_id",
        "alter index by_id rename to wanted",
    ],
)
async def test_what_is_another_one_by_now_or_valid_is_left_alone(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, change: str
) -> None:
    await leave_invalid(sql)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        await sql.execute(change)
        before = await indexes(sql)
        (figures,) = await run_all(ACTION, job, ALL, plan)
    assert "skipped" in figures
    assert await indexes(sql) == before != []


INVALIDATE = "update pg_index set indisvalid = false where indexrelid = 'by_id'::regclass"


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("alter table notes add constraint by_id primary key (id, text)", "backs a constraint"),
        ("alter table notes add constraint by_id exclude (id with =) deferrable initially deferred", "backs a constr"),
        (
            "create unique index by_id on notes (id); alter table notes replica identity using index by_id",
            "replica identity",
        ),
        ("create index by_id on notes (id); alter extension unaccent add table notes", "belongs to an extension"),
    ],
)
async def test_what_something_else_stands_on_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, made: str, why: str
) -> None:
    await sql.execute("create table notes (id int not null, text text)")
    await sql.execute(made)
    await sql.execute(INVALIDATE)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        with pytest.raises(ActionError, match=why):
            await ACTION.plan(job, Parameters(indexrelname="by_id"))
    assert plan.steps == ()
    assert why in plan.summary


async def test_a_partitioned_index_that_waits_for_its_partitions_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute("""
        create table events (id int) partition by range (id);
        create table events_1 partition of events for values from (0) to (10);
        create table events_2 partition of events for values from (10) to (20);
        create index by_id on only events (id);
        create index by_id_1 on events_1 (id);
        alter index by_id attach partition by_id_1;
        update pg_index set indisvalid = false where indexrelid = 'by_id_1'::regclass
    """)
    assert await sql.fetchval("select count(*) from pg_index where not indisvalid") == 2
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
    assert plan.steps == ()
    assert "by_id_1 stays, it belongs to a partitioned index" in plan.summary


async def test_an_open_transaction_makes_it_fail_and_the_next_try_goes_on(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actions.drop_invalid_index._LOCK_TIMEOUT", "200ms")
    await leave_invalid(sql)
    reader = await asyncpg.connect(server.dsn(await sql.fetchval("select current_database()")))
    await reader.execute("begin; select from notes")
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await run_all(ACTION, job, ALL, plan)
        async with job.changes.acquire(plan.objects[0]["datname"]) as connection:
            assert await connection.fetchval("show lock_timeout") == "1s", "the session is as it was"
        await reader.close()
        await run_all(ACTION, job, ALL, plan)
        assert (await ACTION.verify(job, ALL, plan)).fixed
    assert await indexes(sql) == []


async def test_a_role_that_does_not_own_it_leaves_it(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await leave_invalid(sql)
    role = f"r_{database}"
    await sql.execute(f"create role {role} login")
    try:
        async with at_work(make_environment(dsn=SecretText(server.dsn(database, role)))) as job:
            with pytest.raises(ActionError, match="is not ours"):
                await ACTION.plan(job, Parameters(indexrelname="by_id"))
    finally:
        await sql.execute(f"drop role {role}")


async def test_an_unknown_name_is_refused(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await leave_invalid(sql)
    async with at_work(make_environment()) as job:
        with pytest.raises(ActionError, match="has no index notes"):
            await ACTION.plan(job, Parameters(indexrelname='notes"; drop table notes; --'))
    assert await indexes(sql) == ["by_id"]
