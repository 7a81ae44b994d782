"""A backup that was cut off and goes on, its left-overs, and one that wakes after its run was taken over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from actions import Job
from actions.backup import Backup, Parameters
from fleet.backups import read_manifests
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.stores import Store
from tests.integration.backups import (
    EVERYTHING,
    NO_PLAN,
    GatedStore,
    MakeJob,
    assert_only_a_failure_is_on_record,
    back_up,
    stored,
)

RUN = "0123456789abcdef"
BEGAN = 1_785_312_900.0  # long ago


def dumps(keys: list[str]) -> list[str]:
    return [key for key in keys if key.endswith(".dump.zst")]


async def dump(job: Job) -> None:
    plan = await Backup().plan(job, EVERYTHING)
    await Backup().steps(job, EVERYTHING, plan)[0].run()


async def test_the_next_attempt_dumps_anew_and_sweeps(make_job: MakeJob, store: Store) -> None:
    await dump(make_job(run_id=RUN, attempt=1, started_at=BEGAN))  # killed before that was on record
    (first,) = await stored(store)
    assert f"/{RUN}.1/" in first
    await dump(make_job(run_id="another", attempt=1))
    job = make_job(run_id=RUN, attempt=2, started_at=BEGAN)
    manifest = await back_up(job)
    (mine,) = [dump.key for dump in manifest.databases]
    assert f"/{RUN}.2/" in mine
    assert first not in await stored(store)
    assert len(dumps(await stored(store))) == 2, "another run's dump is none of ours"
    assert (await Backup().verify(job, EVERYTHING, NO_PLAN)).fixed


async def test_a_run_that_goes_on_later_is_as_old_as_its_data(make_job: MakeJob, store: Store) -> None:
    job = make_job(run_id=RUN, attempt=2, started_at=BEGAN)
    before = job.now()
    manifest = await back_up(job)
    assert before <= manifest.started_at <= manifest.finished_at <= job.now()
    assert await read_manifests(store, "qa") == [manifest]
    assert not manifest.id.startswith("20260729T081500Z")


async def test_the_record_is_written_once_and_replaces_the_failure_of_an_earlier_try(
    make_job: MakeJob, store: GatedStore
) -> None:
    job = make_job(run_id=RUN, started_at=BEGAN)
    plan = await Backup().plan(job, EVERYTHING)
    dump_step, record_step = Backup().steps(job, EVERYTHING, plan)
    job.data["manifest"] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fleet.backups.archive._STALL_SECONDS", 0.0)
        with pytest.raises(ActionError, match="gave nothing"):
            await dump_step.run()
    assert [manifest.succeeded for manifest in await read_manifests(store, "qa")] == [False]
    await dump_step.run()
    await record_step.run()
    (manifest,) = await read_manifests(store, "qa")
    assert manifest.succeeded
    (stat,) = [stat for stat in await store.list() if stat.key.endswith("manifest.json")]
    await record_step.run()
    assert await store.stat(stat.key) == stat


async def test_one_that_wakes_after_its_run_was_taken_over_leaves_the_successor_alone(
    make_job: MakeJob, store: GatedStore
) -> None:
    async def taken_over() -> None:
        raise ActionError("the run is in other hands")

    woken = make_job(run_id=RUN, attempt=1, started_at=BEGAN, check=taken_over)
    plan = await Backup().plan(woken, EVERYTHING)
    store.go.clear()
    async with asyncio.TaskGroup() as group:
        zombie = group.create_task(fail(Backup().steps(woken, EVERYTHING, plan)[0].run()))
        await store.begun.wait()
        successor = GatedStore(GatedStore.Options(path=store._root))
        successor.go.set()
        manifest = await back_up(make_job(run_id=RUN, attempt=2, started_at=BEGAN, stores={"local": successor}))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fleet.backups.archive.Archive._finish", broken)
            store.go.set()
            await zombie
    assert await read_manifests(store, "qa") == [manifest], "its failure is not the run's"
    assert dumps(await stored(store)) == [dump.key for dump in manifest.databases]
    await dump(woken)  # it even tries once more
    assert manifest.databases[0].key in await stored(store)


async def fail(step: Awaitable[object]) -> None:
    with pytest.raises(ActionError):
        await step


def broken(_archive: object) -> bytes:
    raise OSError(5, "the disk is gone")


async def test_of_two_databases_none_is_kept_when_one_fails(
    make_job: MakeJob,
    make_environment: Callable[..., Environment],
    store: Store,
    sql: asyncpg.Connection,
    database: str,
) -> None:
    other = f"{database}_x"
    await sql.execute(f'create database "{other}"')
    job = make_job(make_environment(databases=(database, other)))
    plan = await Backup().plan(job, EVERYTHING)
    await sql.execute(f'drop database "{other}" with (force)')
    with pytest.raises(ActionError):
        await back_up(job, plan=plan)
    await assert_only_a_failure_is_on_record(store, other)


async def test_undo_takes_back_what_is_complete_and_keeps_the_record_of_a_failure(
    make_job: MakeJob, store: Store
) -> None:
    kept = await back_up(make_job(run_id="another"))
    job = make_job(run_id=RUN)
    await back_up(job)
    for data in (job.data, job.data, {}):
        await Backup().undo(make_job(run_id=RUN, attempt=2, data=data), EVERYTHING, NO_PLAN)
        assert await read_manifests(store, "qa") == [kept]
        assert dumps(await stored(store)) == [kept.databases[0].key]


def test_the_target_is_databases_and_store() -> None:
    target = Backup().target(Parameters(databases=("a", "b"), store="local"))
    assert target.databases == frozenset({"a", "b"})
    assert target.store == "local"
    assert Backup().target(Parameters()).databases is None
