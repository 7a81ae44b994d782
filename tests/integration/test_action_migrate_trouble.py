"""Migrations among traffic, locks and failures: they wait, give up or fail with a clear end."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from actions.migrate import Parameters
from fleet.errors import ActionError
from tests.integration.migration_works import (
    ADD,
    ADD_BACK,
    CONCURRENT,
    CONCURRENT_BACK,
    DROP,
    MIGRATE,
    OLD,
    RENAME_1,
    RENAME_1_BACK,
    Works,
    waits,
)


async def test_an_index_beside_the_traffic_waits_for_it(works: Works, blocker: asyncpg.Connection) -> None:
    """A concurrent build waits for transactions, longer than a lock may be waited for."""
    works.ship(CONCURRENT, CONCURRENT_BACK)
    job = works.job(lock_timeout="200ms")
    async with blocker.transaction():
        await blocker.execute("update knowledge_items set old_name = old_name where id = 1")
        run = asyncio.ensure_future(works.run(job, accept=["rehearsal", "backup"]))
        await waits(works.sql, seconds=1.5)
    verdict = await run
    assert verdict.fixed, verdict.reason
    assert (await works.indexes())["idx_old_name"] is True


async def test_a_queue_behind_a_lock_does_not_grow(works: Works) -> None:
    """Somebody reads for a long time: the migration gives up at once, and goes through later."""
    works.ship(RENAME_1, RENAME_1_BACK)
    job = works.job(lock_timeout="200ms")
    plan = await MIGRATE.plan(job, Parameters())
    _, _, upgrade, check = MIGRATE.steps(job, Parameters(), plan)
    assert upgrade.tries == 10
    async with works.sql.transaction():
        await works.sql.execute("select count(*) from knowledge_items")
        with pytest.raises(asyncpg.LockNotAvailableError, match=r"lock timeout.*nothing of it is left"):
            await upgrade.run()
    assert await works.at() == ["start"]
    await upgrade.run()
    await check.run()
    assert (await MIGRATE.verify(job, Parameters(), plan)).fixed


async def test_what_was_done_in_part_is_told_with_the_way_back(works: Works) -> None:
    """The unique index cannot be built, for rows that no rehearsal has; what was committed before it stays."""
    up = """
op.add_column("knowledge_items", sa.Column("n", sa.Text(), nullable=True))
with op.get_context().autocommit_block():
    op.execute("CREATE UNIQUE INDEX CONCURRENTLY idx_unique ON knowledge_items (old_name)")
"""
    back = """
op.execute("DROP INDEX idx_unique")
op.drop_column("knowledge_items", "n")
"""
    works.ship(up, back)
    job = works.job()
    with pytest.raises(ActionError) as caught:
        await works.run(job)
    said = caught.value.message
    assert 'could not create unique index "idx_unique"' in said
    assert "it is done in part" in said
    assert "still at start: column public.knowledge_items.n" in said
    assert "what takes that back:\n  ALTER TABLE public.knowledge_items DROP COLUMN IF EXISTS n;" in said
    assert "dropped the invalid public.idx_unique" in said
    assert f"--backup {job.data['backup']}" in (caught.value.hint or "")
    assert "name 1" not in said, "no rows in messages"
    assert "idx_unique" not in await works.indexes()


async def test_what_failed_whole_leaves_nothing(works: Works) -> None:
    up = """
op.add_column("knowledge_items", sa.Column("n", sa.Integer()))
op.execute("INSERT INTO knowledge_items VALUES (1)")
"""
    works.ship(up, 'op.drop_column("knowledge_items", "n")')
    with pytest.raises(ActionError, match=r"duplicate key .*nothing of it is left, \w+ is at start"):
        await works.run(accept=["rehearsal", "backup"])
    assert await works.columns() == OLD


async def test_what_changed_since_it_was_planned_is_not_run(works: Works) -> None:
    works.ship(ADD, ADD_BACK)
    job = works.job()
    plan = await MIGRATE.plan(job, Parameters())
    upgrade = MIGRATE.steps(job, Parameters(), plan)[2]
    works.ship(DROP.format("unused_field"), "pass")
    with pytest.raises(ActionError, match="not the one that was planned"):
        await upgrade.run()
    works.ship(ADD, ADD_BACK)
    await works.sql.execute("delete from alembic_version")
    with pytest.raises(ActionError, match="is at base by now: upgrade next does not fit"):
        await upgrade.run()
    assert await works.columns() == OLD


async def test_who_has_lost_the_run_changes_nothing(works: Works) -> None:
    async def nobody() -> None:
        raise ActionError("nothing may be changed now")

    works.ship(ADD, ADD_BACK)
    job = works.job(check=nobody)
    plan = await MIGRATE.plan(job, Parameters())
    with pytest.raises(ActionError, match="nothing may be changed now"):
        await MIGRATE.steps(job, Parameters(), plan)[2].run()
    assert await works.at() == ["start"]


async def test_a_cancelled_build_ends_on_the_server_too(works: Works, blocker: asyncpg.Connection) -> None:
    works.ship(CONCURRENT, CONCURRENT_BACK)
    job = works.job()
    plan = await MIGRATE.plan(job, Parameters())
    upgrade = MIGRATE.steps(job, Parameters(), plan)[2]
    async with blocker.transaction():
        await blocker.execute("update knowledge_items set old_name = old_name where id = 1")
        run = asyncio.ensure_future(upgrade.run())
        await waits(works.sql)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    await MIGRATE.undo(works.job(), Parameters(), plan)
    assert set(await works.indexes()) == {"knowledge_items_pkey"}
    assert not await works.sql.fetchval("select count(*) from pg_stat_activity where application_name like '%/alembic'")


async def test_a_schema_that_is_not_as_rehearsed_is_told(works: Works) -> None:
    works.ship(ADD, ADD_BACK)
    job = works.job()
    plan = await MIGRATE.plan(job, Parameters())
    *steps, check = MIGRATE.steps(job, Parameters(), plan)
    for step in steps:
        await step.run()
    await works.sql.execute("drop index idx_ki_publication_date")
    await check.run()
    verdict = await MIGRATE.verify(job, Parameters(), plan)
    assert not verdict.fixed
    assert "index public.idx_ki_publication_date is missing" in verdict.reason
