"""Bloated indexes are built anew on a real server, beside readers and writers; nothing of a failed build stays."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from actions import Plan, Verdict
from actions._index_bloat import find_indexes
from actions._index_build import left_overs
from actions.reindex import Parameters, Reindex
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.secrets import SecretText
from tests.conftest import FAST
from tests.integration.actions_kit import at_work, run_all, until

MakeEnvironment = Callable[..., Environment]
ACTION, SMALL = Reindex(), {"least_bytes": 0}
NOTES = """
    create table notes (id int primary key, text text, kind int) with (autovacuum_enabled = false);
    insert into notes select i, 'text ' || i, i % 5 from generate_series(1, 20000) i;
    create index by_text on notes (text);
    create index by_kind on notes (kind);
    create index by_words on notes using gin (to_tsvector('simple', text))
"""
VECTORS = """
    create table chunks (id int, embedding vector(64)) with (autovacuum_enabled = false);
    insert into chunks select i, array_fill(i, array[64])::vector from generate_series(1, 3000) i;
    create index by_embedding on chunks using hnsw (embedding vector_l2_ops);
    create index by_list on chunks using ivfflat (embedding vector_l2_ops) with (lists = 3)
"""


async def bloat(sql: asyncpg.Connection, table: str = "notes") -> None:
    await sql.execute(f"delete from {table} where id % 10 <> 0")  # noqa: S608 - of ours
    await sql.execute(f"vacuum analyze {table}")


async def reindex(environment: Environment, **said: Any) -> tuple[Plan, list[Any], Verdict]:
    parameters = Parameters.model_validate(SMALL | said)
    async with at_work(environment) as job:
        plan = await ACTION.plan(job, parameters)
        figures = await run_all(ACTION, job, parameters, plan)
        return plan, figures, await ACTION.verify(job, parameters, plan)


async def test_what_is_fresh_is_left_alone_and_the_estimate_is_right(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, database: str
) -> None:
    await sql.execute(NOTES)
    await sql.execute(VECTORS)
    await sql.execute("analyze")
    found = {index.indexrelname: index for index in await find_indexes(sql, database)}
    for name in ("notes_pkey", "by_text", "by_kind", "by_embedding", "by_list"):
        assert found[name].bloat == pytest.approx(1.0, abs=0.15), name
    assert found["by_words"].bloat is None
    assert not (await reindex(make_environment()))[0].steps


async def test_the_worst_comes_first_and_figures_say_what_was_gained(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(NOTES)
    await bloat(sql)
    plan, figures, verdict = await reindex(make_environment(), limit=1)
    assert plan.commands == ("REINDEX INDEX CONCURRENTLY public.by_text",)
    assert "1 more next time" in plan.summary
    assert verdict.fixed, verdict.reason
    assert float(verdict.figures["bytes"]) < float(plan.figures["bytes"]) / 5
    assert all(figure["bytes_after"] < figure["bytes_before"] / 5 for figure in figures)
    assert plan.disk_bytes > 0


async def test_the_names_and_the_constraint_stay(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await sql.execute(NOTES)
    await bloat(sql)
    before = await sql.fetch("select indexdef from pg_indexes where tablename = 'notes' order by 1")
    await reindex(make_environment())
    assert await sql.fetch("select indexdef from pg_indexes where tablename = 'notes' order by 1") == before
    assert (
        await sql.fetchval(
            "select indexrelid::regclass::text from pg_index join pg_constraint on conindid = indexrelid"
            " where conrelid = 'notes'::regclass and contype = 'p'"
        )
        == "notes_pkey"
    )


async def test_vector_indexes_are_built_anew_too(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await sql.execute(VECTORS)
    await bloat(sql, "chunks")
    plan, _, verdict = await reindex(make_environment(), relname="chunks")
    assert len(plan.steps) == 2
    assert verdict.fixed, verdict.reason


async def test_fresh_statistics_may_say_that_it_is_not_bloated(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(NOTES)
    await bloat(sql)
    async with at_work(make_environment()) as job:
        parameters = Parameters(indexrelname="by_text", least_bytes=0)
        plan = await ACTION.plan(job, parameters)
        await sql.execute("insert into notes select i, 'text ' || i from generate_series(1, 20000) i where i % 10 <> 0")
        (figures,) = await run_all(ACTION, job, parameters, plan)
        assert "not bloated by fresh statistics" in str(figures["skipped"])
        verdict = await ACTION.verify(job, parameters, plan)
    assert verdict.fixed, verdict.reason


async def test_of_an_unknown_kind_whoever_names_it_has_decided(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(NOTES)
    plan, _, verdict = await reindex(make_environment(), indexrelname="by_words")
    assert plan.commands == ("REINDEX INDEX CONCURRENTLY public.by_words",)
    assert verdict.fixed, verdict.reason
    plan, _, _ = await reindex(make_environment(), indexrelname="by_text")
    assert not plan.steps
    plan, _, verdict = await reindex(make_environment(), indexrelname="by_text", force=True)
    assert plan.steps
    assert verdict.fixed
    assert "bytes_per_tuple" in verdict.figures


async def test_what_cannot_be_built_so_is_refused(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await sql.execute("create extension btree_gist")
    await sql.execute("create table rooms (room int, constraint one_each exclude using gist (room with =))")
    async with at_work(make_environment()) as job:
        with pytest.raises(ActionError, match="one_each backs an exclusion constraint"):
            await ACTION.plan(job, Parameters(indexrelname="one_each"))
        with pytest.raises(ActionError, match="no index gone"):
            await ACTION.plan(job, Parameters(indexrelname="gone"))
        with pytest.raises(ActionError, match="only an index that is named"):
            await ACTION.plan(job, Parameters(force=True))


async def test_of_others_it_touches_nothing(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await sql.execute(NOTES)
    await bloat(sql)
    await sql.execute(
        f"drop role if exists guest; create role guest login; grant connect on database {database} to guest"
    )
    try:
        environment = make_environment(dsn=SecretText(server.dsn(database, "guest")))
        async with at_work(environment) as job:
            assert not (await ACTION.plan(job, Parameters(least_bytes=0))).steps
            with pytest.raises(ActionError, match="is not ours"):
                await ACTION.plan(job, Parameters(indexrelname="by_text"))
    finally:
        await sql.execute("drop owned by guest; drop role guest")


async def cancelled_in_the_middle(
    environment: Environment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> tuple[Plan, Parameters]:
    """An old snapshot makes the build wait; there it is cancelled."""
    parameters = Parameters(indexrelname="by_text", least_bytes=0)
    reader = await asyncpg.connect(server.dsn(database))
    await reader.execute("begin isolation level repeatable read; select count(*) from planted_elsewhere")
    async with at_work(environment) as job:
        plan = await ACTION.plan(job, parameters)
        step = asyncio.ensure_future(ACTION.steps(job, parameters, plan)[0].run())

        async def waiting() -> bool:
            phases = "select count(*) from pg_stat_progress_create_index where phase = 'waiting for old snapshots'"
            return bool(await sql.fetchval(phases) == 1)

        await until(waiting, "the build waits for the old snapshot")
        step.cancel()
        await asyncio.wait([step])
    await reader.close()
    return plan, parameters


async def test_an_old_snapshot_and_then_a_cancel_leave_nothing_that_is_not_known(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await sql.execute(NOTES)
    await sql.execute("create table planted_elsewhere ()")
    await bloat(sql)
    plan, parameters = await cancelled_in_the_middle(make_environment(), sql, server, database)
    assert [index.indexrelname for index in await left_overs(sql, plan.objects[0])] == ["by_text_ccnew"]
    async with at_work(make_environment()) as job:
        verdict = await ACTION.verify(job, parameters, plan)
        assert not verdict.fixed
        assert "is left of a build that failed" in verdict.reason
        await ACTION.undo(job, parameters, plan)
        assert await left_overs(sql, plan.objects[0]) == []
    plan, parameters = await cancelled_in_the_middle(make_environment(), sql, server, database)
    async with at_work(make_environment()) as job:
        await run_all(ACTION, job, parameters, plan)
        assert (await ACTION.verify(job, parameters, plan)).fixed
    assert await left_overs(sql, plan.objects[0]) == []


async def test_a_lock_of_others_ends_it_soon_and_holds_up_nobody(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await sql.execute(NOTES)
    await bloat(sql)
    holder = await asyncpg.connect(server.dsn(database))
    parameters = Parameters(indexrelname="by_text", least_bytes=0)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
        async with holder.transaction():
            await holder.execute("lock table notes in share update exclusive mode")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await run_all(ACTION, job, parameters, plan)
        assert await left_overs(sql, plan.objects[0]) == []
        await run_all(ACTION, job, parameters, plan)
        assert (await ACTION.verify(job, parameters, plan)).fixed
    await holder.close()


@pytest.mark.parametrize("change", ["drop table notes", "alter index by_text rename to other"], ids=["drop", "rename"])
async def test_what_changed_since_the_plan_is_told_and_left_alone(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, change: str
) -> None:
    await sql.execute(NOTES)
    await bloat(sql)
    parameters = Parameters(indexrelname="by_text", least_bytes=0)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
        await sql.execute(change)
        (figures,) = await run_all(ACTION, job, parameters, plan)
        assert "since the plan" in str(figures["skipped"])
        verdict = await ACTION.verify(job, parameters, plan)
        await ACTION.undo(job, parameters, plan)
    assert not verdict.fixed


def limit_files(pid: int, most: str) -> None:
    """How large a file another user's process may write; only that user may say so."""
    user = Path(f"/proc/{pid}").stat().st_uid
    subprocess.run(["prlimit", f"--pid={pid}", f"--fsize={most}:"], user=user, check=True)


async def test_a_disk_that_is_full_in_the_middle_of_a_build(make_environment: MakeEnvironment, scratch: Path) -> None:
    """The server's process may write no file larger than this: to it, that is a full disk. WAL files are smaller."""
    apart = EmbeddedServer.start(scratch / "full", settings=FAST)
    try:
        sql = await asyncpg.connect(apart.dsn())
        await sql.execute("""
            create table notes (id int, text text) with (autovacuum_enabled = false);
            insert into notes select i, md5(i::text) || md5(i::text) from generate_series(1, 250000) i;
            create index by_text on notes (text)
        """)
        environment = make_environment(dsn=SecretText(apart.dsn()), databases=("postgres",))
        parameters = Parameters(indexrelname="by_text", force=True)
        async with at_work(environment) as job:
            plan = await ACTION.plan(job, parameters)
            async with job.changes.acquire("postgres") as connection:
                pid = connection.get_server_pid()
            limit_files(pid, "17000000")
            with pytest.raises(ActionError, match="the disk of the server is full"):
                await run_all(ACTION, job, parameters, plan)
            assert await left_overs(sql, plan.objects[0]) == [], "the room is free at once"
            assert await sql.fetchval("select indisvalid from pg_index where indexrelid = 'by_text'::regclass")
            limit_files(pid, "unlimited")
            await run_all(ACTION, job, parameters, plan)
            assert (await ACTION.verify(job, parameters, plan)).fixed
        await sql.close()
    finally:
        apart.stop()
