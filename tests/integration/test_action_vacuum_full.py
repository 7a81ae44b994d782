"""VACUUM FULL, as an action that tells beforehand how long everybody will have to wait."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import asyncpg
import pytest

from actions.vacuum_full import Parameters, VacuumFull
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError
from tests.integration.actions_kit import at_work, run_all
from tests.integration.cleanup_trouble import BLOATED

MakeEnvironment = Callable[..., Environment]


@pytest.fixture
async def bloated(sql: asyncpg.Connection, database: str) -> Parameters:
    await sql.execute(BLOATED)
    await sql.execute("vacuum analyze notes")
    return Parameters(datname=database, relname="notes")


async def test_room_is_given_back(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, bloated: Parameters
) -> None:
    before = await sql.fetchval("select pg_total_relation_size('notes')")
    async with at_work(make_environment()) as job:
        plan = await VacuumFull().plan(job, bloated)
        assert plan.commands == ("VACUUM (FULL, ANALYZE) public.notes",)
        assert "reads and writes of public.notes wait about" in plan.effect
        assert plan.disk_bytes > 0
        await run_all(VacuumFull(), job, bloated, plan)
        verdict = await VacuumFull().verify(job, bloated, plan)
        assert verdict.fixed, verdict.reason
        again = await VacuumFull().plan(job, bloated)
    after = await sql.fetchval("select pg_total_relation_size('notes')")
    assert after < before / 3
    assert float(plan.figures["expected_bytes"]) == pytest.approx(verdict.figures["table_bytes"], rel=0.2)
    assert not again.steps
    assert "is not bloated" in again.summary


async def test_what_would_take_too_long_is_refused(make_environment: MakeEnvironment, bloated: Parameters) -> None:
    hurried = bloated.model_copy(update={"longest_block": timedelta(milliseconds=1)})
    async with at_work(make_environment()) as job:
        with pytest.raises(ActionError, match="everybody would wait about 1 s for public"):
            await VacuumFull().plan(job, hurried)


async def test_it_does_not_queue_up(
    make_environment: MakeEnvironment, bloated: Parameters, server: EmbeddedServer, database: str
) -> None:
    reader = await asyncpg.connect(server.dsn(database))
    async with at_work(make_environment()) as job:
        plan = await VacuumFull().plan(job, bloated)
        async with reader.transaction():
            await reader.execute("select from notes limit 1")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await run_all(VacuumFull(), job, bloated, plan)
        verdict = await VacuumFull().verify(job, bloated, plan)
    await reader.close()
    assert not verdict.fixed
    assert "was not written anew" in verdict.reason


async def test_what_nobody_can_tell_is_refused(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, database: str
) -> None:
    await sql.execute("create table notes (id int, text text) with (autovacuum_enabled = false)")
    await sql.execute("insert into notes select i, 'text' from generate_series(1, 1000) i")
    async with at_work(make_environment()) as job:
        with pytest.raises(ActionError, match="nobody can tell"):
            await VacuumFull().plan(job, Parameters(datname=database, relname="notes"))
        with pytest.raises(ActionError, match="has no table"):
            await VacuumFull().plan(job, Parameters(datname=database, relname="pg_class", schemaname="pg_catalog"))
