"""Rebuilding a vector index while everything goes wrong: locks, old snapshots, a full disk, what people do by hand."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from actions import Job, Plan
from actions.rebuild_vector_index import Parameters, RebuildVectorIndex
from daemon.actions.approvals import digest
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.secrets import SecretText
from tests.conftest import FAST
from tests.integration.actions_kit import at_work, run_all, until
from tests.integration.index_trouble_build import INDEX, chunks

MakeEnvironment = Callable[..., Environment]
ACTION = RebuildVectorIndex()
ALL = Parameters(indexrelname=INDEX)
NAMES = "select relname, oid from pg_class where relam in (select oid from pg_am where amname in ('hnsw', 'ivfflat'))"


async def indexes(sql: asyncpg.Connection) -> dict[str, int]:
    return {record["relname"]: record["oid"] for record in await sql.fetch(NAMES)}


async def run_step(job: Job, plan: Plan, number: int, parameters: Parameters = ALL) -> None:
    await ACTION.steps(job, parameters, plan)[number].run()


@asynccontextmanager
async def somebody(server: EmbeddedServer, database: str, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """A session that has begun a transaction."""
    connection = await asyncpg.connect(server.dsn(database), server_settings={"application_name": "report"})
    await connection.execute(statement)
    yield connection
    await connection.close()


async def test_a_table_that_is_locked_throughout_fails_soon_and_is_tried_again(
    make_environment: MakeEnvironment,
    sql: asyncpg.Connection,
    server: EmbeddedServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actions._vector_build.LOCK_TIMEOUT", "200ms")
    await sql.execute(chunks(300))
    before = await indexes(sql)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        async with somebody(server, database, "begin; lock table chunks in share update exclusive mode"):
            with pytest.raises(asyncpg.LockNotAvailableError):
                await run_step(job, plan, 0)
            with pytest.raises(asyncpg.LockNotAvailableError):
                await run_step(job, plan, 1)
            assert await indexes(sql) == before
        await run_all(ACTION, job, ALL, plan)
        assert (await ACTION.verify(job, ALL, plan)).fixed


OLD_SNAPSHOT = "begin isolation level repeatable read; select 1"


async def test_an_old_snapshot_is_waited_for_and_named(
    make_environment: MakeEnvironment,
    sql: asyncpg.Connection,
    server: EmbeddedServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actions._vector_watch.POLL_SECONDS", 0.05)
    await sql.execute(chunks(300))
    told: list[str] = []
    async with (
        somebody(server, database, OLD_SNAPSHOT) as reader,
        at_work(make_environment(), progress=lambda _ratio, text: told.append(text)) as job,
        asyncio.TaskGroup() as group,
    ):
        plan = await ACTION.plan(job, ALL)
        work = group.create_task(run_all(ACTION, job, ALL, plan))

        async def waits() -> bool:
            await asyncio.sleep(0)
            return any("waits for session" in text and "(report)" in text for text in told)

        await until(waits, "it is told whom the build waits for")
        assert not work.done()
        await reader.execute("rollback")
        await work
        assert (await ACTION.verify(job, ALL, plan)).fixed


async def test_patience_ends_and_nothing_is_left(
    make_environment: MakeEnvironment,
    sql: asyncpg.Connection,
    server: EmbeddedServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actions._vector_watch.POLL_SECONDS", 0.05)
    await sql.execute(chunks(300))
    before = await indexes(sql)
    parameters = Parameters.model_validate({"indexrelname": INDEX, "patience": "200ms"})
    async with somebody(server, database, OLD_SNAPSHOT), at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
        with pytest.raises(ActionError, match=r"given up after 0 s: build of .* waits for session .*\(report\)"):
            await run_all(ACTION, job, parameters, plan)
        assert (await indexes(sql)).keys() == {INDEX, f"custode_new_{job.run_id}"}
        await ACTION.undo(job, parameters, plan)
    assert await indexes(sql) == before


async def test_a_build_that_is_cancelled_is_taken_back(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await sql.execute(chunks(300))
    before = await indexes(sql)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        async with somebody(server, database, OLD_SNAPSHOT):
            work = asyncio.ensure_future(run_all(ACTION, job, ALL, plan))

            async def waiting() -> bool:
                return bool(
                    await sql.fetchval("select exists (select from pg_stat_progress_create_index where phase ~ 'old')")
                )

            await until(waiting, "the build waits")
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            await ACTION.undo(job, ALL, plan)
            assert await indexes(sql) == before
        await ACTION.undo(job, ALL, plan)
    assert await indexes(sql) == before


@pytest.mark.parametrize("number", range(5), ids=["measure", "build", "prove", "swap", "drop"])
async def test_a_table_that_is_dropped_in_the_middle(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, number: int
) -> None:
    await sql.execute(chunks(300))
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        for done in range(number):
            await run_step(job, plan, done)
        await sql.execute("drop table chunks")
        if number < 4:
            with pytest.raises((ActionError, asyncpg.UndefinedTableError)):
                await run_step(job, plan, number)
        verdict = await ACTION.verify(job, ALL, plan)
        assert not verdict.fixed
        assert "is not there" in verdict.reason
        await ACTION.undo(job, ALL, plan)


RENAME = 'alter index "by ""meaning" rename to renamed'
MADE_ANEW = f'{RENAME}; create index "by ""meaning" on chunks using ivfflat (embedding vector_l2_ops) with (lists = 4)'


async def test_an_index_renamed_after_the_approval_is_asked_about_again(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(300))

    def bound(plan: Plan) -> str:
        return digest("qa", ACTION.name, ALL.model_dump(mode="json"), plan)

    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        assert bound(await ACTION.plan(job, ALL)) == bound(plan)
        await sql.execute(MADE_ANEW)
        assert bound(await ACTION.plan(job, ALL)) != bound(plan)
        before = await indexes(sql)
        with pytest.raises(ActionError, match="renamed"):
            await run_step(job, plan, 0)
        assert await indexes(sql) == before


@pytest.mark.parametrize("change", [RENAME, MADE_ANEW], ids=["renamed", "another one of the name"])
async def test_an_index_renamed_during_the_build_stays_as_it_is(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, change: str
) -> None:
    await sql.execute(chunks(300))
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        for number in range(3):
            await run_step(job, plan, number)
        await sql.execute(change)
        with pytest.raises(ActionError, match="was renamed, dropped or made anew"):
            await run_step(job, plan, 3)
        await ACTION.undo(job, ALL, plan)
    assert (await indexes(sql)).keys() == ({"renamed"} if change == RENAME else {"renamed", INDEX})


async def test_undone_after_the_swap_the_old_index_has_its_place_again(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(300))
    before = await indexes(sql)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        for number in range(4):
            await run_step(job, plan, number)
        assert (await indexes(sql))[INDEX] != before[INDEX]
        await ACTION.undo(job, ALL, plan)
        assert not (await ACTION.verify(job, ALL, plan)).fixed
    assert await indexes(sql) == before
    assert await sql.fetchval("""select obj_description('"by ""meaning"'::regclass)""") == "as found"


async def test_a_new_index_that_somebody_dropped_gives_the_old_one_its_place_again(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(300))
    before = await indexes(sql)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        for number in range(4):
            await run_step(job, plan, number)
        await sql.execute('drop index "by ""meaning"')
        with pytest.raises(ActionError, match="was dropped or renamed since it was put in place"):
            await run_step(job, plan, 4)
        await ACTION.undo(job, ALL, plan)
    assert await indexes(sql) == before


async def test_undone_when_the_old_index_is_half_dropped_the_new_one_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(300))
    before = await indexes(sql)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, ALL)
        for number in range(4):
            await run_step(job, plan, number)
        after = await indexes(sql)
        await sql.execute("update pg_index set indisvalid = false where indexrelid = $1", before[INDEX])
        await ACTION.undo(job, ALL, plan)
        assert (await ACTION.verify(job, ALL, plan)).fixed
    assert await indexes(sql) == {INDEX: after[INDEX]}


async def test_a_reader_that_stays_throughout_holds_up_the_drop_alone(
    make_environment: MakeEnvironment,
    sql: asyncpg.Connection,
    server: EmbeddedServer,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actions._vector_watch.POLL_SECONDS", 0.05)
    monkeypatch.setattr("actions._vector_swap._UNDO_PATIENCE", timedelta(milliseconds=200))
    await sql.execute(chunks(300))
    before = await indexes(sql)
    parameters = Parameters.model_validate({"indexrelname": INDEX, "patience": "200ms"})
    async with at_work(make_environment()) as job:
        async with somebody(server, database, "begin; select 1 from chunks"):
            plan = await ACTION.plan(job, parameters)
            for number in range(4):
                await run_step(job, plan, number, parameters)
            for attempt in (run_step(job, plan, 4, parameters), ACTION.undo(job, parameters, plan)):
                with pytest.raises(ActionError, match=r"given up .* drop of custode_old_.* waits for .*\(report\)"):
                    await attempt
            after = await indexes(sql)
            assert after[INDEX] != before[INDEX], "the new one serves"
        await ACTION.undo(job, parameters, plan)
        assert (await ACTION.verify(job, parameters, plan)).fixed, "from there only forward leads out"
    assert await indexes(sql) == {INDEX: after[INDEX]}


def limit_files(pid: int, most: str) -> None:
    """Of another user's process; only that user may."""
    user = Path(f"/proc/{pid}").stat().st_uid
    subprocess.run(["prlimit", f"--pid={pid}", f"--fsize={most}:"], user=user, check=True)


@pytest.fixture
async def apart(scratch: Path) -> AsyncIterator[EmbeddedServer]:
    """A server of its own: what is done to it nobody else feels."""
    running = EmbeddedServer.start(scratch / "apart", settings=FAST)
    yield running
    running.stop()


async def test_a_disk_that_is_full_in_the_middle_of_a_build(
    make_environment: MakeEnvironment, apart: EmbeddedServer
) -> None:
    """The server's process may write no file larger than this: to it, that is a full disk. WAL files are smaller."""
    sql = await asyncpg.connect(apart.dsn())
    await sql.execute("""
        create extension vector;
        create table chunks (id int, embedding vector(1020));
        insert into chunks select i, array_fill(i, array[1020])::vector from generate_series(1, 2300) i;
        create index "by ""meaning" on chunks using ivfflat (embedding vector_l2_ops) with (lists = 2);
        analyze chunks
    """)
    before = await indexes(sql)
    environment = make_environment(dsn=SecretText(apart.dsn()), databases=("postgres",))
    async with at_work(environment) as job:
        plan = await ACTION.plan(job, ALL)
        await run_step(job, plan, 0)
        async with job.changes.acquire("postgres") as connection:
            pid = connection.get_server_pid()
        limit_files(pid, "17000000")
        with pytest.raises(ActionError, match="the disk of the server is full"):
            await run_step(job, plan, 1)
        assert await indexes(sql) == before, "the room is free at once"
        limit_files(pid, "unlimited")
        await run_all(ACTION, job, ALL, plan)
        assert (await ACTION.verify(job, ALL, plan)).fixed
    await sql.close()


async def test_too_little_memory_is_met_with_what_the_server_asks_for(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actions._vector_memory.build_memory", lambda _shape, _rows: 0.0)
    await sql.execute(chunks(0))
    await sql.execute("""
        alter table chunks alter embedding type vector(1000);
        insert into chunks select i, (select array_agg(random()) from generate_series(1, 1000) where i > 0)::vector
            from generate_series(1, 50) i;
        analyze chunks
    """)
    parameters = Parameters(indexrelname=INDEX, lists=500, maintenance_mb=1, queries=0)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
        figures = await run_all(ACTION, job, parameters, plan)
    assert "lists='500'" in str(figures[1]["built"])
