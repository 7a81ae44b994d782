"""VACUUM and freezing on a real server, and what keeps it from helping."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from actions import Plan, Verdict
from actions.vacuum import Parameters, Vacuum
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from tests.integration.actions_kit import at_work, counted, run_all, until

MakeEnvironment = Callable[..., Environment]
NOTES = """
    create table notes (id int) with (autovacuum_enabled = false);
    insert into notes select generate_series(1, 1000)
"""
BURN = "do $$ begin for i in 1..3000 loop perform pg_current_xact_id(); commit; end loop; end $$"


async def kill_rows(sql: asyncpg.Connection) -> None:
    await sql.execute("delete from notes where id <= 500")

    async def seen() -> bool:
        return await counted(sql, "n_dead_tup = 500") == 1

    await until(seen, "the dead rows are counted")


async def vacuum(environment: Environment, parameters: Parameters) -> tuple[Plan, Verdict]:
    async with at_work(environment) as job:
        plan = await Vacuum().plan(job, parameters)
        await run_all(Vacuum(), job, parameters, plan)
        return plan, await Vacuum().verify(job, parameters, plan)


async def test_dead_rows_are_gone_and_figures_say_so(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(NOTES)
    await kill_rows(sql)
    plan, verdict = await vacuum(make_environment(), Parameters())
    assert plan.commands == ("VACUUM public.notes",)
    assert "may still see" not in plan.effect
    assert verdict.fixed, verdict.reason
    assert (plan.figures["dead_rows"], verdict.figures["dead_rows"]) == (500, 0)


@asynccontextmanager
async def snapshot(server: EmbeddedServer, database: str) -> AsyncIterator[None]:
    reader = await asyncpg.connect(server.dsn(database), server_settings={"application_name": "report"})
    await reader.execute("begin isolation level repeatable read; select 1")
    yield
    await reader.close()


async def test_an_old_snapshot_is_told_before_and_blamed_after(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await sql.execute(NOTES)
    async with snapshot(server, database):
        await kill_rows(sql)

        async def old() -> bool:
            return bool(
                await sql.fetchval(
                    """select exists (select from pg_stat_activity where application_name = 'report'
                    and clock_timestamp() - xact_start > interval '1 second')"""
                )
            )

        await until(old, "the snapshot is no short one any more")
        plan, verdict = await vacuum(make_environment(), Parameters())
    assert "(report)" in plan.effect
    assert not verdict.fixed
    assert "has its dead rows still" in verdict.reason
    assert "(report)" in verdict.reason
    assert verdict.figures["dead_rows"] == 500
    _, verdict = await vacuum(make_environment(), Parameters())
    assert verdict.fixed, "once it has ended"


async def test_old_rows_are_frozen_and_catalogues_too(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, database: str
) -> None:
    await sql.execute(NOTES)
    await sql.execute(BURN)
    parameters = Parameters(freeze_age=2000, limit=500)
    plan, verdict = await vacuum(make_environment(), parameters)
    assert "VACUUM (FREEZE) public.notes" in plan.commands
    assert "VACUUM (FREEZE) pg_catalog.pg_class" in plan.commands
    assert verdict.fixed, verdict.reason
    before, after = plan.figures["oldest_xid_age"], verdict.figures["oldest_xid_age"]
    assert float(before) > 3000
    assert float(after) < 2000
    age = await sql.fetchval("select age(datfrozenxid) from pg_database where datname = $1", database)
    assert age < 2000, "the database's own age is what the alert reads"


async def test_frozen_rows_are_not_frozen_again_and_the_worst_comes_first(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(NOTES)
    await sql.execute(BURN)
    await sql.execute("create table young (id int)")
    parameters = Parameters(schemaname="public", freeze_age=2000)
    async with at_work(make_environment()) as job:
        plan = await Vacuum().plan(job, parameters)
        assert plan.commands == ("VACUUM (FREEZE) public.notes",)
        await run_all(Vacuum(), job, parameters, plan)
        assert not (await Vacuum().plan(job, parameters)).steps


async def test_a_verification_that_finds_it_unfrozen_says_so(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await sql.execute(NOTES)
    async with snapshot(server, database):
        await sql.execute(BURN)
        _, verdict = await vacuum(make_environment(), Parameters(schemaname="public", freeze_age=2000))
    assert not verdict.fixed
    assert "not frozen" in verdict.reason


async def test_a_table_is_named_as_in_the_alert(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await sql.execute("create schema s; create table s.notes (id int)")
    await sql.execute(NOTES)
    await sql.execute("delete from notes where id = 1")

    async def seen() -> bool:
        return await counted(sql, "n_dead_tup = 1") == 1

    await until(seen, "the dead row is counted")
    database = await sql.fetchval("select current_database()")
    parameters = Parameters(datname=database, schemaname="public", relname="notes")
    assert Vacuum().target(parameters).object == f"{database}.public.notes"
    assert not (await vacuum(make_environment(), Parameters()))[0].steps, "one dead row is no reason by itself"
    plan, verdict = await vacuum(make_environment(), parameters)
    assert plan.commands == ("VACUUM public.notes",)
    assert verdict.fixed


@pytest.mark.parametrize("limit", [0, 501])
def test_limits_are_checked(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        Parameters(limit=limit)
