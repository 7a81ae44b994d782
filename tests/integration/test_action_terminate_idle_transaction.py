"""Sessions that forgot their transaction are ended on a real server, and never another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from actions.terminate_idle_transaction import Parameters, TerminateIdleTransaction
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.secrets import SecretText
from tests.integration.actions_kit import at_work, run_all, until

MakeEnvironment = Callable[..., Environment]
ACTION = TerminateIdleTransaction()
SHORT = timedelta(milliseconds=20)


@asynccontextmanager
async def idle(
    server: EmbeddedServer, sql: asyncpg.Connection, application: str, user: str = "postgres"
) -> AsyncIterator[asyncpg.Connection]:
    """A session that has been idle in a transaction for longer than SHORT."""
    database = await sql.fetchval("select current_database()")
    client = await asyncpg.connect(server.dsn(database, user), server_settings={"application_name": application})
    await client.execute("begin; select 1")

    async def long_enough() -> bool:
        return bool(
            await sql.fetchval(
                """select exists (select from pg_stat_activity where pid = $1 and state = 'idle in transaction'
                and clock_timestamp() - state_change > 2 * $2::interval)""",
                client.get_server_pid(),
                SHORT,
            )
        )

    await until(long_enough, "idle in its transaction")
    yield client
    if not client.is_closed():
        await client.close()


@pytest.fixture
def parameters(database: str) -> Parameters:
    return Parameters(datname=database, idle_for=SHORT)


def test_by_default_a_quarter_of_an_hour() -> None:
    assert Parameters().idle_for == timedelta(minutes=15)


async def test_what_is_not_idle_for_so_long_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    async with idle(server, sql, "forgetful"), at_work(make_environment()) as job:
        plan = await ACTION.plan(job, Parameters(datname=database))
    assert plan.steps == ()


@pytest.mark.parametrize("application", ["custode", "custode/other/3", "custode client", "pg_dump"])
async def test_our_own_sessions_and_dumps_stay(
    make_environment: MakeEnvironment,
    sql: asyncpg.Connection,
    server: EmbeddedServer,
    parameters: Parameters,
    application: str,
) -> None:
    async with idle(server, sql, application), at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
    assert plan.steps == ()


async def test_only_the_applications_that_are_named(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, parameters: Parameters
) -> None:
    chosen = parameters.model_copy(update={"applications": ("importer",)})
    async with idle(server, sql, "psql") as other, idle(server, sql, "importer") as importer:
        async with at_work(make_environment()) as job:
            plan = await ACTION.plan(job, chosen)
            assert [one["pid"] for one in plan.objects] == [importer.get_server_pid()]
            await run_all(ACTION, job, chosen, plan)
            assert (await ACTION.verify(job, chosen, plan)).fixed
        await other.execute("select 1")


async def test_the_same_process_in_another_transaction_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, parameters: Parameters
) -> None:
    """As if the pid were used again: all but the transaction is the same."""
    async with idle(server, sql, "forgetful") as client, at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
        await client.execute("commit; begin; select 1")
        parameters = parameters.model_copy(update={"idle_for": timedelta(0)})
        assert await run_all(ACTION, job, parameters, plan) == [{"terminated": 0.0}]
        assert (await ACTION.verify(job, parameters, plan)).fixed, "that transaction is gone"
        await client.execute("select 1")


async def test_another_process_under_the_same_pid_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, parameters: Parameters
) -> None:
    async with idle(server, sql, "forgetful") as client, at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
        another = {**plan.objects[0], "backend_start": "2026-01-01T00:00:00+00:00"}
        plan = replace(plan, objects=(another,))
        assert await run_all(ACTION, job, parameters, plan) == [{"terminated": 0.0}]
        await client.execute("select 1")


async def test_one_that_has_gone_on_working_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    async with idle(server, sql, "forgetful") as client, at_work(make_environment()) as job:
        plan = await ACTION.plan(job, Parameters(datname=database, idle_for=SHORT))
        await client.execute("select 1")
        later = Parameters(datname=database, idle_for=timedelta(minutes=1))
        assert await run_all(ACTION, job, later, plan) == [{"terminated": 0.0}]
        verdict = await ACTION.verify(job, later, plan)
        assert not verdict.fixed
        assert "still open" in verdict.reason


async def test_a_failed_transaction_holds_nothing_and_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, parameters: Parameters
) -> None:
    async with idle(server, sql, "forgetful") as client:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await client.execute("select pg_advisory_xact_lock(4711), 1 / 0")

        async def long_enough() -> bool:
            return bool(
                await sql.fetchval(
                    """select exists (select from pg_stat_activity where state = 'idle in transaction (aborted)'
                    and pid = $1 and clock_timestamp() - state_change > 2 * $2::interval and backend_xmin is null)""",
                    client.get_server_pid(),
                    SHORT,
                )
            )

        await until(long_enough, "the failed one is idle for long enough")
        async with at_work(make_environment()) as job:
            assert (await ACTION.plan(job, parameters)).steps == ()


async def test_the_right_to_signal_is_asked_for_and_enough(
    make_environment: MakeEnvironment,
    sql: asyncpg.Connection,
    server: EmbeddedServer,
    parameters: Parameters,
    database: str,
) -> None:
    ours, theirs = f"r_{database}", f"x_{database}"
    await sql.execute(f"create role {ours} login; create role {theirs} login")
    environment = make_environment(dsn=SecretText(server.dsn(database, ours)))
    try:
        async with idle(server, sql, "forgetful", theirs) as client, at_work(environment) as job:
            with pytest.raises(ActionError, match="cannot see what") as caught:
                await ACTION.plan(job, parameters)
            assert "pg_monitor" in str(caught.value.hint)
            await sql.execute(f"grant pg_monitor to {ours}")
            with pytest.raises(ActionError, match="may not end the session") as caught:
                await ACTION.plan(job, parameters)
            assert "pg_signal_backend" in str(caught.value.hint)
            await sql.execute(f"grant pg_signal_backend to {ours}")
            async with idle(server, sql, "by a superuser") as superusers:
                plan = await ACTION.plan(job, parameters)
                assert "1 more are not ours to end" in plan.summary
                assert await run_all(ACTION, job, parameters, plan) == [{"terminated": 1.0}]
                assert (await ACTION.verify(job, parameters, plan)).fixed
                await superusers.execute("select 1")
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                await client.execute("select 1")
    finally:
        await sql.execute(f"drop role {ours}; drop role {theirs}")
