"""The backup action on a real server: what it stores restores, and what fails is never taken for a backup."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
import zstandard

from actions import Job, Verdict
from actions.backup import Backup, Parameters
from fleet.backups import Table, read_manifests, write_manifest
from fleet.client_tools import find_tool
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError, CustodeError
from fleet.process import run
from fleet.stores import Stat, Store
from fleet.stores.local import LocalStore
from tests.integration.backups import (
    DIGEST,
    EVERYTHING,
    NO_PLAN,
    GatedStore,
    MakeJob,
    assert_only_a_failure_is_on_record,
    back_up,
    fake_pg_dump,
    stored,
)


async def test_a_backup_restores_to_equal_rows(
    make_job: MakeJob, store: Store, sql: asyncpg.Connection, server: EmbeddedServer, scratch: Path
) -> None:
    ratios: list[float] = []
    job = make_job(progress=lambda ratio, _text: ratios.append(ratio))
    plan = await Backup().plan(job, EVERYTHING)
    assert plan.steps == tuple(step.name for step in Backup().steps(job, EVERYTHING, plan))
    manifest = await back_up(job)

    assert await read_manifests(store, "qa") == [manifest]
    assert ratios == sorted(ratios)
    assert 0 < ratios[-1] < 1
    (dump,) = manifest.databases
    assert manifest.server_version is not None
    assert manifest.server_version.startswith("18")
    assert dump.revisions == ("c0ffee",)
    assert set(dump.extensions) == {"plpgsql", "unaccent", "vector"}
    rows = {table.name: table.rows for table in dump.tables}
    assert rows == {"alembic_version": 1, 'odd " name': 6000, "empty_one": 0}

    path = scratch / f"{job.run_id}.dump"
    stream = zstandard.ZstdDecompressor().decompressobj()
    path.write_bytes(b"".join([stream.decompress(part) async for part in store.get(dump.key)]))
    pg_restore = await find_tool("pg_restore", None)
    restored = f"r_{job.run_id}"
    await sql.execute(f'create database "{restored}"')
    await run([pg_restore.path, "--exit-on-error", "--dbname", server.dsn(restored), path])
    connection = await asyncpg.connect(server.dsn(restored))
    assert await connection.fetchrow(DIGEST) == await sql.fetchrow(DIGEST)
    await connection.close()
    await sql.execute(f'drop database "{restored}"')


async def test_verification_reads_back_what_was_stored(make_job: MakeJob) -> None:
    job = make_job()
    manifest = await back_up(job)
    verdict = await Backup().verify(job, EVERYTHING, NO_PLAN)
    assert verdict.fixed, verdict.reason
    assert verdict.figures["bytes"] == manifest.size_bytes
    assert verdict.figures["tables"] == 3


async def verify_after(job: Job, change: Callable[[Path], None], store_path: Path) -> Verdict:
    manifest = await back_up(job)
    change(store_path / manifest.databases[0].key)
    return await Backup().verify(job, EVERYTHING, NO_PLAN)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (flip, "another checksum"),
        (lambda path: os.truncate(path, 1000), "has 1000 bytes instead of"),
        (Path.unlink, "is missing"),
    ],
)
async def test_damage_is_found_and_no_longer_counts_as_a_backup(
    make_job: MakeJob, store: Store, tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    verdict = await verify_after(make_job(), change, tmp_path / "store")
    assert not verdict.fixed
    assert said in verdict.reason
    assert [manifest.succeeded for manifest in await read_manifests(store, "qa")] == [False]


async def test_a_table_that_the_archive_lacks_is_found(make_job: MakeJob, store: Store) -> None:
    job = make_job()
    manifest = await back_up(job)
    dump = manifest.databases[0]
    more = dump.model_copy(update={"tables": (*dump.tables, Table(schema_name="public", name="lost", rows=1))})
    await write_manifest(store, manifest.model_copy(update={"databases": (more,)}))
    verdict = await Backup().verify(job, EVERYTHING, NO_PLAN)
    assert not verdict.fixed
    assert "lacks the table public.lost" in verdict.reason


async def test_a_verification_that_cannot_run_is_no_pass(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job()
    await back_up(job)
    (tmp_path / "nothing").mkdir()
    without_tools = make_job(run_id=job.run_id, data=job.data, client_tools=tmp_path / "nothing")
    verdict = await Backup().verify(without_tools, EVERYTHING, NO_PLAN)
    assert not verdict.fixed
    assert "could not be verified" in verdict.reason


async def pg_dump_process() -> psutil.Process:
    (child,) = [child for child in psutil.Process().children() if child.name() == "pg_dump"]
    return child


async def interrupt(job: Job, store: GatedStore, act: Callable[[], Any]) -> str:
    """Run a backup, do `act` in the middle of its dump, and return what it failed with."""
    store.go.clear()

    async def meddle() -> None:
        await store.begun.wait()
        await act()
        store.go.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(meddle())
        with pytest.raises(ActionError) as caught:
            await back_up(job)
    return caught.value.message


async def test_pg_dump_killed_in_the_middle_is_a_failure_on_record(make_job: MakeJob, store: GatedStore) -> None:
    async def kill() -> None:
        (await pg_dump_process()).kill()

    message = await interrupt(make_job(), store, kill)
    assert "status -9" in message
    await assert_only_a_failure_is_on_record(store, "status -9")


async def test_a_session_ended_by_the_server_is_a_failure_on_record(
    make_job: MakeJob, store: GatedStore, sql: asyncpg.Connection
) -> None:
    async def terminate() -> None:
        ended = await sql.fetchval(
            """with ours as materialized (
                select pid from pg_stat_activity
                where datname = current_database() and application_name like 'custode/%/1')
            select count(*) from ours where pg_terminate_backend(pid)"""
        )
        assert ended == 1

    message = await interrupt(make_job(), store, terminate)
    assert "pg_dump ended with status 1" in message
    await assert_only_a_failure_is_on_record(store, "status 1")


async def test_our_own_snapshot_is_let_go_once_pg_dump_has_it(
    make_job: MakeJob, store: GatedStore, sql: asyncpg.Connection
) -> None:
    store.go.clear()
    job = make_job()
    async with asyncio.TaskGroup() as group:
        group.create_task(back_up(job))
        await store.begun.wait()
        open_ones = await sql.fetch(
            """select application_name from pg_stat_activity
            where datname = current_database() and backend_xmin is not null and pid <> pg_backend_pid()"""
        )
        store.go.set()
    assert [record[0] for record in open_ones] == [f"custode/{job.run_id}/1"]


async def test_a_locked_table_fails_in_time(
    make_job: MakeJob, store: Store, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.backups.archive._LOCK_WAIT", "200ms")
    async with sql.transaction():
        await sql.execute("lock table empty_one in access exclusive mode")
        with pytest.raises(ActionError, match="LOCK TABLE"):
            await back_up(make_job())
    await assert_only_a_failure_is_on_record(store, "LOCK TABLE")


async def test_a_role_that_may_not_read_everything_is_a_failure(
    make_job: MakeJob, log_in_as: Callable[[str], Environment], store: Store, sql: asyncpg.Connection, database: str
) -> None:
    role = f"r_{database}"
    await sql.execute(f"create role {role} login")
    try:
        with pytest.raises(ActionError, match="permission denied"):
            await back_up(make_job(log_in_as(role)))
        await assert_only_a_failure_is_on_record(store, "permission denied")
    finally:
        await sql.execute(f"drop role {role}")


async def test_a_cancelled_dump_leaves_nothing_and_no_process(make_job: MakeJob, store: GatedStore) -> None:
    store.go.clear()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(back_up(make_job()))
        await store.begun.wait()
        process = await pg_dump_process()
        task.cancel()
    assert not process.is_running()
    assert await stored(store) == []


async def test_the_password_is_on_no_command_line(
    make_job: MakeJob, log_in_as: Callable[[str], Environment], store: GatedStore
) -> None:
    store.go.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(back_up(make_job(log_in_as("postgres:ge%20heim-4711"))))
        await store.begun.wait()
        process = await pg_dump_process()
        command, variables = process.cmdline(), process.environ()
        store.go.set()
    assert variables["PGPASSWORD"] == "ge heim-4711"
    assert not any("heim-4711" in argument for argument in command)


async def test_what_a_tool_says_of_the_password_is_masked(
    make_job: MakeJob, log_in_as: Callable[[str], Environment], store: Store, tmp_path: Path
) -> None:
    answer = 'echo "pg_dump (PostgreSQL) 99.0" && exit'
    fake_pg_dump(tmp_path, f'[ "$1" = --version ] && {answer}; echo "$PGPASSWORD" >&2; exit 3')
    job = make_job(log_in_as("postgres:geheim-4711"), client_tools=tmp_path)
    with pytest.raises(ActionError, match=r"status 3: \*\*\*"):
        await back_up(job)
    await assert_only_a_failure_is_on_record(store, "***")


async def test_a_pg_dump_older_than_the_server_is_refused_in_the_plan(make_job: MakeJob, tmp_path: Path) -> None:
    fake_pg_dump(tmp_path, 'echo "pg_dump (PostgreSQL) 12.22"')
    with pytest.raises(ActionError, match="pg_dump refuses newer servers"):
        await Backup().plan(make_job(client_tools=tmp_path), EVERYTHING)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [({"store": "offsite"}, "no store is called 'offsite'"), ({"databases": ["nope"]}, "no database 'nope'")],
)
async def test_what_does_not_exist_is_refused_in_the_plan(
    make_job: MakeJob, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(ActionError, match=said):
        await Backup().plan(make_job(), Parameters.model_validate(parameters))


async def test_an_environment_without_a_store_is_refused_in_the_plan(make_job: MakeJob) -> None:
    with pytest.raises(ActionError, match="no store"):
        await Backup().plan(make_job(stores={}), EVERYTHING)


async def test_a_store_without_room_is_refused_in_the_plan(make_job: MakeJob, tmp_path: Path) -> None:
    class Small(LocalStore):
        free: int | None = 1000

        async def free_bytes(self) -> int | None:
            return self.free

    small = Small(LocalStore.Options(path=tmp_path / "small"))
    job = make_job(stores={"small": small})
    with pytest.raises(ActionError, match="MB free, the backup may need"):
        await Backup().plan(job, EVERYTHING)
    small.free = None
    manifest = await back_up(job)
    small.free = int(manifest.size_bytes * 1.21)  # less than the tables, enough by what the last backup took
    assert (await Backup().plan(make_job(stores={"small": small}), EVERYTHING)).steps
    small.free = int(manifest.size_bytes * 1.19)
    with pytest.raises(ActionError, match="MB free, the backup may need"):
        await Backup().plan(make_job(stores={"small": small}), EVERYTHING)


async def test_a_disk_that_fills_up_leaves_no_object(make_job: MakeJob, tmp_path: Path) -> None:
    class Filling(LocalStore):
        """Refuses what is larger than a manifest, as a nearly full disk does."""

        async def put(self, key: str, content: AsyncIterator[bytes]) -> Stat:
            return await super().put(key, self._limit(content))

        async def _limit(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            taken = 0
            async for part in content:
                taken += len(part)
                if taken > 10_000:
                    raise OSError(28, "No space left on device")
                yield part

    filling = Filling(LocalStore.Options(path=tmp_path / "filling"))
    with pytest.raises(ActionError, match="No space left"):
        await back_up(make_job(stores={"filling": filling}))
    await assert_only_a_failure_is_on_record(filling, "No space left")


async def test_a_store_that_takes_nothing_is_told(make_job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    broken = LocalStore(LocalStore.Options(path=tmp_path / "file" / "store"))
    with pytest.raises(CustodeError, match="cannot"):
        await back_up(make_job(stores={"broken": broken}))


async def test_two_databases_with_odd_names(
    make_job: MakeJob,
    make_environment: Callable[..., Environment],
    store: Store,
    sql: asyncpg.Connection,
    database: str,
) -> None:
    odd = f"../città {database}"
    await sql.execute(f'create database "{odd}"')
    try:
        job = make_job(make_environment(databases=(database, odd)))
        manifest = await back_up(job)
        verdict = await Backup().verify(job, EVERYTHING, NO_PLAN)
        assert verdict.fixed, verdict.reason
        assert [dump.name for dump in manifest.databases] == [database, odd]
        assert len(await stored(store)) == 3
    finally:
        await sql.execute(f'drop database "{odd}" with (force)')


async def test_kill_9_in_the_middle_leaves_no_success_and_no_pg_dump(
    make_job: MakeJob, server: EmbeddedServer, database: str, tmp_path: Path
) -> None:
    make_job()
    script = """
        import asyncio, sys
        from actions.backup import Parameters
        from fleet.environment import Environment
        from tests.integration.actions_kit import job_for
        from tests.integration.backups import GatedStore, back_up

        async def main(dsn, path):
            environment = Environment(name="qa", tier="qa", dsn=dsn, tls={"mode": "disable"})
            store = GatedStore(GatedStore.Options(path=path))
            job = job_for(environment, stores={"local": store})
            async with asyncio.TaskGroup() as group:
                group.create_task(back_up(job, Parameters(databases=sys.argv[3:], engine='custom')))
                await store.begun.wait()
                print("begun", flush=True)

        asyncio.run(main(*sys.argv[1:3]))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), server.dsn(database), str(tmp_path / "killed"), database]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    (pg_dump,) = [child for child in psutil.Process(process.pid).children() if child.name() == "pg_dump"]
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await asyncio.to_thread(psutil.wait_procs, [pg_dump], 10)

    assert not pg_dump.is_running()
    store = LocalStore(LocalStore.Options(path=tmp_path / "killed"))
    assert await read_manifests(store, "qa") == []
    assert await stored(store) == []
    assert list((tmp_path / "killed/.unfinished").iterdir()), "the kill came too early to prove anything"
