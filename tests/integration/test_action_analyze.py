"""ANALYZE of tables whose statistics are missing or stale, on a real server."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import pytest

from actions.analyze import Analyze, Parameters
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.secrets import SecretText
from tests.integration.actions_kit import at_work, counted, run_all, until

MakeEnvironment = Callable[..., Environment]
NOTES = """
    create table notes (id int) with (autovacuum_enabled = false);
    insert into notes select generate_series(1, 1000)
"""


async def plant(sql: asyncpg.Connection, more: str = "") -> None:
    await sql.execute(NOTES + more)

    async def seen() -> bool:
        return await counted(sql, "relname = 'notes' and n_live_tup = 1000") == 1

    await until(seen, "the rows are counted")


async def test_a_table_that_was_never_analyzed_then_one_that_changed(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await plant(sql)
    async with at_work(make_environment()) as job:
        plan = await Analyze().plan(job, Parameters())
        assert plan.commands == ("ANALYZE public.notes",)
        assert plan.figures["never_analyzed"] == 1
        assert await run_all(Analyze(), job, Parameters(), plan) == [{"analyzed": "public.notes"}]
        verdict = await Analyze().verify(job, Parameters(), plan)
        assert verdict.fixed
        assert verdict.figures["never_analyzed"] == 0
        assert await sql.fetchval("select reltuples from pg_class where relname = 'notes'") == 1000

        await sql.execute("update notes set id = id + 1 where id <= 140")  # below 50 and a tenth of 1000
        await until(lambda: _changed(sql, 140), "the changes are counted")
        assert not (await Analyze().plan(job, Parameters())).steps
        named = Parameters(relname="notes")
        assert (await Analyze().plan(job, named)).steps, "who names it wants it, as soon as there is anything new"
        await sql.execute("update notes set id = id + 1 where id > 980")
        await until(lambda: _changed(sql, 160, 161, 162), "the changes are counted")
        assert (await Analyze().plan(job, Parameters())).steps


async def _changed(sql: asyncpg.Connection, *counts: int) -> bool:
    return await counted(sql, f"n_mod_since_analyze in ({', '.join(map(str, counts))})") == 1


async def test_a_storage_parameter_of_the_table_decides(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await plant(sql)
    await sql.execute("analyze notes; alter table notes set (autovacuum_analyze_threshold = 5000)")
    await sql.execute("update notes set id = id + 1")
    await until(lambda: _changed(sql, 1000), "the changes are counted")
    async with at_work(make_environment()) as job:
        assert not (await Analyze().plan(job, Parameters())).steps
        await sql.execute("alter table notes reset (autovacuum_analyze_threshold)")
        assert (await Analyze().plan(job, Parameters())).steps


async def test_a_table_made_anew_is_another_one(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await plant(sql)
    async with at_work(make_environment()) as job:
        plan = await Analyze().plan(job, Parameters())
        await sql.execute("drop table notes; create table notes (id int)")
        (figures,) = await run_all(Analyze(), job, Parameters(), plan)
        assert "made anew" in str(figures["skipped"])
        assert await counted(sql, "analyze_count > 0") == 0


async def test_the_limit_leaves_the_rest_to_the_next_run(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await plant(sql, "; create table more (id int); insert into more select generate_series(1, 10)")
    await until(lambda: _changed(sql, 10), "the rows are counted")
    async with at_work(make_environment()) as job:
        plan = await Analyze().plan(job, Parameters(limit=1))
        assert plan.commands == ("ANALYZE public.notes",)
        assert "1 more" in plan.summary


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"relname": 'notes"; drop table notes; --'}, "has no table"),
        ({"schemaname": "nowhere"}, "has no table nowhere"),
        ({"datname": "template0"}, "no database 'template0'"),
    ],
)
async def test_what_does_not_exist_is_refused(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, parameters: dict[str, str], said: str
) -> None:
    await plant(sql)
    async with at_work(make_environment()) as job:
        with pytest.raises(ActionError, match=said) as caught:
            await Analyze().plan(job, Parameters.model_validate(parameters))
    assert caught.value.hint


async def test_a_role_that_may_not_is_refused_and_one_that_may_is_not(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await plant(sql)
    role = f"r_{database}"
    await sql.execute(f"create role {role} login")
    try:
        async with at_work(make_environment(dsn=SecretText(server.dsn(database, role)))) as job:
            with pytest.raises(ActionError, match=r"may not maintain public\.notes"):
                await Analyze().plan(job, Parameters())
            await sql.execute(f"grant maintain on notes to {role}")
            plan = await Analyze().plan(job, Parameters())
            await run_all(Analyze(), job, Parameters(), plan)
            assert (await Analyze().verify(job, Parameters(), plan)).fixed
    finally:
        await sql.execute(f"drop owned by {role}; drop role {role}")


async def test_a_lock_in_the_way_is_an_error_that_may_pass(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await plant(sql)
    async with at_work(make_environment()) as job:
        plan = await Analyze().plan(job, Parameters())
        async with sql.transaction():
            await sql.execute("lock table notes in share update exclusive mode")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await run_all(Analyze(), job, Parameters(), plan)
        await run_all(Analyze(), job, Parameters(), plan)
        assert (await Analyze().verify(job, Parameters(), plan)).fixed


async def test_an_attempt_that_the_server_still_works_for_is_waited_for(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    """As a statement outlives its client: the next attempt must not look whether it was done before it has ended."""
    await plant(sql)
    async with at_work(make_environment(), run_id="r1") as job:
        plan = await Analyze().plan(job, Parameters())
        held = f"custode r1 analyze {plan.objects[0]['oid']}"
        await sql.fetchval("select pg_advisory_lock(hashtextextended($1, 0))", held)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await run_all(Analyze(), job, Parameters(), plan)
        await sql.execute("analyze notes")
        await sql.fetchval("select pg_advisory_unlock_all()")
        (figures,) = await run_all(Analyze(), job, Parameters(), plan)
    assert "earlier attempt" in str(figures["skipped"])
    assert await counted(sql, "analyze_count = 1") == 1
