"""A damaged database replaced by its newest snapshot: fenced, whole, and taken back when asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from actions import Job, Plan, Step
from actions.recover import Parameters, Recover
from fleet.backups import manifest_key
from fleet.embedded import EmbeddedServer
from fleet.errors import ActionError
from fleet.policy import Risk
from fleet.stores.local import LocalStore
from tests.integration.engines import until
from tests.integration.restores import MakeSite, databases, run_steps, take

ACTION = Recover()
# what a client may hear when its session is ended
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


@pytest.fixture
async def admin(server: EmbeddedServer) -> AsyncIterator[asyncpg.Connection]:
    admin = await asyncpg.connect(server.dsn())
    yield admin
    await admin.close()


async def items(server: EmbeddedServer, database: str) -> int:
    connection = await asyncpg.connect(server.dsn(database))
    try:
        return int(await connection.fetchval("select count(*) from items"))
    finally:
        await connection.close()


@pytest.mark.parametrize("deferred", [False, True])
async def test_it_is_back_and_the_damaged_one_is_kept(
    restoring: MakeSite,
    content: str,
    server: EmbeddedServer,
    sql: asyncpg.Connection,
    admin: asyncpg.Connection,
    *,
    deferred: bool,
) -> None:
    await take(restoring(), content)
    await sql.execute("insert into items select i, 'later ' || i from generate_series(1001, 1010) i; analyze items")
    await sql.execute(f"alter database \"{content}\" set work_mem = '7MB'")
    await sql.execute(f'grant connect on database "{content}" to restore_app')
    job, parameters = restoring(), Parameters(database=content, defer_vector_indexes=deferred)
    plan = await ACTION.plan(job, parameters)
    assert plan.steps[-1] == ("vectors" if deferred else "switch")
    clients = asyncio.Event()
    busy = asyncio.ensure_future(keep_connecting(server, content, clients))
    await clients.wait()
    await run_steps(ACTION, job, parameters, plan)
    busy.cancel()
    verdict = await ACTION.verify(job, parameters, plan)
    assert verdict.fixed, verdict.reason
    assert plan.figures["database_oid"] != verdict.figures["database_oid"]
    assert verdict.figures["lost_rows"] == 10
    assert 0 < float(verdict.figures["lost_seconds"]) < 600
    await until(sql.is_closed)  # whoever was there was sent away
    assert await items(server, content) == 300
    connection = await asyncpg.connect(server.dsn(content))
    assert await connection.fetchval("show work_mem") == "7MB"
    assert await connection.fetchval("select indisvalid from pg_index where indexrelid = 'chunks_hnsw'::regclass")
    await connection.close()
    (damaged,) = await databases(admin, f"{content}_damaged")
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
        await asyncpg.connect(server.dsn(damaged))
    assert await databases(admin, f"{content}_restored") == []

    for _ in range(2):
        await ACTION.undo(restoring(run_id=job.run_id, attempt=2, started_at=job.started_at), parameters, plan)
        assert await items(server, content) == 310
        assert len(await databases(admin, f"{content}_restored")) == 1, "what was written since the switch is kept"
        assert await databases(admin, f"{content}_damaged") == []


async def keep_connecting(server: EmbeddedServer, database: str, connected: asyncio.Event) -> None:
    """Clients that come again as soon as they are sent away."""
    while True:
        try:
            connection = await asyncpg.connect(server.dsn(database))
        except LOST:
            await asyncio.sleep(0.01)
            continue
        connected.set()
        try:
            while not connection.is_closed():
                await connection.fetchval("select count(*) from items")
                await asyncio.sleep(0.01)
        except LOST:
            continue
        finally:
            connection.terminate()


async def test_a_drill_switches_nothing(
    restoring: MakeSite, content: str, sql: asyncpg.Connection, admin: asyncpg.Connection
) -> None:
    await take(restoring(), content)
    job, parameters = restoring(), Parameters(database=content, drill=True)
    assert ACTION.risk_of(parameters) is Risk.GUARDED
    assert ACTION.risk_of(Parameters()) is Risk.DESTRUCTIVE
    plan = await ACTION.plan(job, parameters)
    await run_steps(ACTION, job, parameters, plan)
    verdict = await ACTION.verify(job, parameters, plan)
    assert verdict.fixed, verdict.reason
    assert verdict.figures["database_oid"] == plan.figures["database_oid"]
    assert await databases(admin, content) == [content]
    assert await sql.fetchval("select count(*) from items") == 300


async def test_one_that_is_gone_comes_back(
    restoring: MakeSite, content: str, server: EmbeddedServer, sql: asyncpg.Connection, admin: asyncpg.Connection
) -> None:
    await take(restoring(), content)
    await sql.close()
    await admin.execute(f'drop database "{content}" with (force)')
    job, parameters = restoring(), Parameters(database=content)
    plan = await ACTION.plan(job, parameters)
    await run_steps(ACTION, job, parameters, plan)
    verdict = await ACTION.verify(job, parameters, plan)
    assert verdict.fixed, verdict.reason
    assert await items(server, content) == 300
    assert await databases(admin, content) == [content]


async def test_a_copy_that_is_not_right_is_not_switched_to(
    restoring: MakeSite, content: str, server: EmbeddedServer, admin: asyncpg.Connection
) -> None:
    await take(restoring(), content)
    job, parameters = restoring(), Parameters(database=content)
    plan = await ACTION.plan(job, parameters)
    steps = {step.name: step for step in ACTION.steps(job, parameters, plan)}
    for name in ("load", "keys", "vectors"):
        await steps[name].run()
    copy = await asyncpg.connect(server.dsn(plan.objects[0]["copy"]))
    await copy.execute("delete from chunks where id = 5")
    await copy.close()
    with pytest.raises(ActionError, match="1999 rows"):
        await steps["check"].run()
    await ACTION.undo(job, parameters, plan)
    assert await databases(admin, content) == [content]


DEFERRED = Parameters(defer_vector_indexes=True)


async def switched(job: Job) -> tuple[Plan, Step]:
    """What was planned, up to the switch; and the step that is left."""
    plan = await ACTION.plan(job, DEFERRED)
    *done, left = ACTION.steps(job, DEFERRED, plan)
    for step in done:
        await step.run()
    return plan, left


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("a column is gone", 'column "embedding" does not exist'),
        ("the backup is gone", "manifest.json"),
        ("it takes too long", "not built in time"),
    ],
)
async def test_what_goes_wrong_after_the_switch_takes_nothing_back(
    restoring: MakeSite,
    content: str,
    store: LocalStore,
    server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    *,
    trouble: str,
    said: str,
) -> None:
    taken = await take(restoring(), content)
    job = restoring()
    plan, vectors = await switched(job)
    people = await asyncpg.connect(server.dsn(content))
    await people.execute("insert into items values (1001, 'after the switch')")
    match trouble:
        case "a column is gone":
            await people.execute("alter table chunks drop column embedding")
        case "the backup is gone":
            await store.delete(manifest_key(job.environment.name, taken.id))
        case _:
            monkeypatch.setattr("actions.recover._LATE", timedelta(0))
    await people.close()
    await vectors.run()
    verdict = await ACTION.verify(job, DEFERRED, plan)
    assert not verdict.fixed
    assert "is back, but not its vector indexes" in verdict.reason
    assert said in verdict.reason
    again = restoring(run_id=job.run_id, attempt=2, started_at=job.started_at, data=job.data)
    with pytest.raises(ActionError, match="stays") as raised:  # however it fails after that
        await ACTION.undo(again, DEFERRED, plan)
    assert f"{content}_damaged" in (raised.value.hint or "")
    assert await items(server, content) == 301


async def test_a_person_who_cancels_after_the_switch_gets_the_damaged_one_back(
    restoring: MakeSite, content: str, server: EmbeddedServer, sql: asyncpg.Connection, admin: asyncpg.Connection
) -> None:
    await take(restoring(), content)
    await sql.execute("insert into items values (1001, 'after the backup')")
    job = restoring()
    plan, vectors = await switched(job)
    people = await asyncpg.connect(server.dsn(content))
    async with people.transaction():
        await people.execute("lock table chunks")
        building = asyncio.ensure_future(vectors.run())

        async def waits() -> bool:
            return bool(
                await people.fetchval(
                    "select count(*) from pg_locks where not granted and relation = 'chunks'::regclass"
                )
            )

        await until(waits)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
    await people.close()
    await ACTION.undo(replace(job, cancelled=True), DEFERRED, plan)
    assert await items(server, content) == 301
    assert await databases(admin, f"{content}_damaged") == []
