"""The backup action with its engine of chunks: what goes wrong in the middle, and what the next run makes of it."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from actions import Job, Verdict
from actions.backup import Backup, Parameters
from fleet.backups import Manifest, read_manifests
from fleet.backups.damage import find_damage
from fleet.backups.pool import list_pool, read_damaged, read_inventory, write_damaged
from fleet.embedded import EmbeddedServer
from fleet.errors import ActionError
from fleet.stores.local import LocalStore
from tests.integration.backups import NO_PLAN, MakeJob, back_up

SNAPSHOT = Parameters()
ROWS = """
    create table documents (id int primary key, body text);
    insert into documents
        select i, (select string_agg(md5(i::text || j), '') from generate_series(1, 60) j)
        from generate_series(1, 9000) i;
    analyze
"""


class Gated(LocalStore):
    """Takes `free` objects of tables, then waits until `go` is set; refuses all while `full`."""

    def __init__(self, options: LocalStore.Options) -> None:
        super().__init__(options)
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.full = False
        self.free = 1

    async def put_new(self, key: str, content: bytes | bytearray) -> bool:
        if self.full:
            raise OSError(28, "No space left on device")
        if self.free <= 0:
            self.begun.set()
            await self.go.wait()
        self.free -= 1
        return await super().put_new(key, content)


def open_store(path: Path, free: int = 1_000_000) -> Gated:
    store = Gated(LocalStore.Options(path=path))
    store.free = free
    return store


@pytest.fixture
async def documents(sql: asyncpg.Connection) -> None:
    await sql.execute(ROWS)


async def snapshot(job: Job) -> Manifest:
    return await back_up(job, SNAPSHOT)


async def verified(job: Job) -> Verdict:
    return await Backup().verify(job, SNAPSHOT, NO_PLAN)


@pytest.mark.usefixtures("documents")
async def test_the_second_backup_costs_what_changed(make_job: MakeJob, sql: asyncpg.Connection, tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    ratios: list[float] = []
    job = make_job(stores={"local": store}, progress=lambda ratio, _text: ratios.append(ratio))
    plan = await Backup().plan(job, SNAPSHOT)
    assert plan.steps == tuple(step.name for step in Backup().steps(job, SNAPSHOT, plan))
    first = await snapshot(job)
    verdict = await verified(job)
    assert verdict.fixed, verdict.reason
    assert ratios == sorted(ratios)
    assert 0 < ratios[-1] < 1
    assert first.parent is None
    assert first.added_bytes > first.size_bytes
    assert first.inventory is not None
    kept = await read_inventory(store, first.inventory)
    assert await list_pool(store, "qa") == kept

    await sql.execute("update documents set body = 'x' where id = 4711")
    second = await snapshot(make_job(run_id="second", stores={"local": store}))
    assert second.parent == first.id
    assert second.added_bytes < 0.1 * first.added_bytes
    assert [manifest.id for manifest in await read_manifests(store, "qa")] == [first.id, second.id]
    for manifest in (first, second):
        assert await find_damage(store, manifest, read_data=True) == []


@pytest.mark.usefixtures("documents")
async def test_a_disk_that_fills_up_is_a_failure_on_record_and_the_next_run_succeeds(
    make_job: MakeJob, tmp_path: Path
) -> None:
    store = open_store(tmp_path / "s", free=0)
    job = make_job(stores={"local": store})
    async with asyncio.TaskGroup() as group:
        failing = group.create_task(fails(job, "No space left"))
        await store.begun.wait()
        store.full, store.free = True, 1_000_000
        store.go.set()
    await failing
    (failure,) = await read_manifests(store, "qa")
    assert not failure.succeeded
    store.full = False
    assert (await snapshot(job)).succeeded
    assert (await verified(job)).fixed
    assert [manifest.succeeded for manifest in await read_manifests(store, "qa")] == [True]


async def fails(job: Job, said: str) -> None:
    with pytest.raises(ActionError, match=said):
        await snapshot(job)


@pytest.mark.usefixtures("documents")
async def test_a_server_that_ends_our_sessions_is_a_failure_on_record(
    make_job: MakeJob, sql: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.backups.packer.PACK_BYTES", 1 << 18)  # so that the store holds the readers back
    store = open_store(tmp_path / "s", free=0)
    job = make_job(stores={"local": store})
    async with asyncio.TaskGroup() as group:
        group.create_task(fails(job, "the backup failed"))
        await store.begun.wait()
        await sql.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        store.free = 1_000_000
        store.go.set()
    assert [manifest.succeeded for manifest in await read_manifests(store, "qa")] == [False]
    assert (await snapshot(make_job(run_id="next", stores={"local": store}))).succeeded


@pytest.mark.usefixtures("documents")
async def test_two_daemons_at_once_both_succeed(make_job: MakeJob, tmp_path: Path) -> None:
    jobs = [make_job(run_id=f"run{number}", stores={"local": open_store(tmp_path / "s")}) for number in range(2)]
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(snapshot(job))
    store = open_store(tmp_path / "s")
    manifests = await read_manifests(store, "qa")
    assert [manifest.succeeded for manifest in manifests] == [True, True]
    for manifest in manifests:
        assert await find_damage(store, manifest, read_data=True) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "noticed"), [(Path.unlink, True), (lambda path: os.truncate(path, 1000), True), (flip, False)]
)
@pytest.mark.usefixtures("documents")
async def test_a_damaged_object_is_told_and_the_next_backup_mends_it(
    make_job: MakeJob, tmp_path: Path, change: Callable[[Path], None], *, noticed: bool
) -> None:
    store = open_store(tmp_path / "s")
    job = make_job(stores={"local": store})
    first = await snapshot(job)
    (victim, *_) = [stat.key for stat in await store.list("objects/") if stat.size_bytes > 1 << 20]
    change(tmp_path / "s" / victim)
    assert bool(await find_damage(store, first)) is noticed
    assert await find_damage(store, first, read_data=True)
    if not noticed:  # by its size; whoever reads it notes it
        await write_damaged(store, "qa", [victim])
    second = await snapshot(make_job(run_id="second", stores={"local": store}))
    assert await find_damage(store, second, read_data=True) == []
    assert await find_damage(store, first, read_data=True) == [], "the same rows have the same name"


@pytest.mark.usefixtures("documents")
async def test_damage_that_is_noted_while_a_backup_runs_stays_on_record(make_job: MakeJob, tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    await snapshot(make_job(stores={"local": store}))
    mended, *_, found = [stat.key for stat in await store.list("objects/")]
    later = "objects/qa/ab/abcd"
    await write_damaged(store, "qa", [mended])
    store.free = 0
    running = asyncio.ensure_future(snapshot(make_job(run_id="second", stores={"local": store})))
    await store.begun.wait()
    await write_damaged(store, "qa", [mended, found, later])  # by a verify beside it; it may use `found` as it is
    store.free = 1_000_000
    store.go.set()
    await running
    assert {found, later} <= await read_damaged(store, "qa")


@pytest.mark.usefixtures("documents")
async def test_kill_9_in_the_middle_leaves_no_success_and_work_that_is_used_again(
    make_job: MakeJob, server: EmbeddedServer, database: str, tmp_path: Path
) -> None:
    script = """
        import asyncio, sys
        from pathlib import Path
        from fleet.environment import Environment
        from tests.integration.actions_kit import job_for
        from tests.integration.test_action_backup_snapshot import open_store, snapshot

        async def main(dsn, path):
            environment = Environment(name="qa", tier="qa", dsn=dsn, tls={"mode": "disable"}, databases=[sys.argv[3]])
            store = open_store(Path(path), free=1)
            async with asyncio.TaskGroup() as group:
                group.create_task(snapshot(job_for(environment, stores={"local": store})))
                await store.begun.wait()
                print("begun", flush=True)

        asyncio.run(main(*sys.argv[1:3]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), server.dsn(database), str(tmp_path / "k"), database]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    store = open_store(tmp_path / "k")
    assert await read_manifests(store, "qa") == []
    left = {stat.key for stat in await store.list("objects/")}
    assert left, "the kill came too early to prove anything"
    job = make_job(stores={"local": store})
    manifest = await snapshot(job)
    assert (await verified(job)).fixed
    assert manifest.inventory is not None
    assert left & set(await read_inventory(store, manifest.inventory)), "stored once"


@pytest.mark.usefixtures("documents")
async def test_a_backup_is_given_up_while_the_store_takes_nothing_more(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.backups.packer.PACK_BYTES", 1 << 18)  # both readers wait for the store
    store = open_store(tmp_path / "s", free=0)
    task = asyncio.create_task(snapshot(make_job(stores={"local": store})))
    await store.begun.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=30)
    assert done
    assert task.cancelled()
    assert await read_manifests(store, "qa") == []


@pytest.mark.usefixtures("documents")
async def test_many_backups_at_once_do_not_wait_for_each_other_s_threads(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.backups.packer.PACK_BYTES", 1 << 18)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(2))
    jobs = [make_job(run_id=f"run{number}", stores={"local": open_store(tmp_path / "s")}) for number in range(3)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(snapshot(job))
    assert [one.succeeded for one in await read_manifests(open_store(tmp_path / "s"), "qa")] == [True] * 3


@pytest.mark.usefixtures("documents")
async def test_a_cancelled_backup_leaves_no_record_and_undo_takes_a_finished_one_back(
    make_job: MakeJob, tmp_path: Path
) -> None:
    store = open_store(tmp_path / "s", free=0)
    job = make_job(stores={"local": store})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(snapshot(job))
        await store.begun.wait()
        task.cancel()
    assert await read_manifests(store, "qa") == []
    store.free = 1_000_000
    store.go.set()
    await snapshot(job)
    await Backup().undo(job, SNAPSHOT, NO_PLAN)
    assert await store.list("backups/") == []


async def test_sql_in_gzip_is_what_people_know(make_job: MakeJob, tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    job = make_job(stores={"local": store})
    plain = Parameters(engine="plain")
    manifest = await back_up(job, plain)
    (dump,) = manifest.databases
    name = dump.key.rpartition("/")[2]
    assert name.startswith("qa_backup_2")
    assert name.endswith(".sql.gz")
    said = await asyncio.to_thread(gunzip, tmp_path / "s" / dump.key)
    assert "CREATE TABLE public.empty_one" in said
    verdict = await Backup().verify(job, plain, NO_PLAN)
    assert verdict.fixed, verdict.reason
    flip(tmp_path / "s" / dump.key)
    assert not (await Backup().verify(job, plain, NO_PLAN)).fixed


def gunzip(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()
