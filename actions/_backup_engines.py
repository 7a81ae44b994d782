"""How a backup is taken: a snapshot in chunks, or files of pg_dump; the manifest is left to be stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from actions._action import Job
from actions._backup_objects import attempt_of
from fleet.backups import DatabaseDump, DatabaseSnapshot, Manifest, dump_key, read_manifests
from fleet.backups.archive import PLAIN_SUFFIX, Archive
from fleet.backups.facts import read_facts
from fleet.backups.garbage import read_garbage
from fleet.backups.libpq import client_environment
from fleet.backups.manifest import Engine, backup_prefix
from fleet.backups.pool import Pool, list_pool, read_damaged, read_inventory, write_damaged, write_inventory
from fleet.backups.writer import Parent, SnapshotWriter
from fleet.client_tools import Tool, find_tool
from fleet.errors import ActionError, StoreError
from fleet.stores import Store

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Begun:
    """When this attempt began, in unix seconds, what the backup is called after it, where it goes.

    `expected` are the bytes to read of each database, uncompressed.
    """

    at: float
    id: str
    store: Store
    engine: Engine
    pg_dump: Tool
    server_version: str
    expected: dict[str, float]


async def take(job: Job, databases: Sequence[str], begun: Begun) -> tuple[Manifest, Counter[str]]:
    """The manifest, and figures of how it went.

    Raises CustodeError, asyncpg.PostgresError, OSError: nothing that was stored counts then.
    """
    told = Counter[str]()
    manifest = Manifest(
        id=begun.id,
        environment=job.environment.name,
        started_at=begun.at,
        finished_at=begun.at,
        succeeded=True,
        engine=begun.engine,
        server_version=begun.server_version,
        tool_version=".".join(map(str, begun.pg_dump.version)),
    )
    if begun.engine == "snapshot":
        update = await _take_snapshots(job, databases, begun, told)
    else:
        update = await _take_dumps(job, databases, begun)
    return manifest.model_copy(update={**update, "finished_at": job.now()}), told


async def _take_snapshots(job: Job, databases: Sequence[str], begun: Begun, told: Counter[str]) -> dict[str, object]:
    name = job.environment.name
    condemned = frozenset(await read_garbage(begun.store, name))  # before anything that may be on it is referred to
    damaged = await read_damaged(begun.store, name)
    pool = Pool(begun.store, name, condemned, damaged)
    parents = await _parents(begun.store, name, condemned | damaged)
    pg_restore = await find_tool("pg_restore", job.client_tools)
    snapshots: list[DatabaseSnapshot] = []
    for database in databases:
        writer = SnapshotWriter(
            job.environment,
            job.connections,
            job.secrets,
            pool,
            begun.pg_dump,
            pg_restore,
            parents.get(database),
            job.now,
            _teller(job, begun, database, sum(one.plain_bytes for one in snapshots)),
            f"custode/{job.run_id}/{job.attempt}",
        )
        snapshots.append(await writer.write(database))
        # tables with chunks that were wrongly taken for unchanged: none is expected, and people must see it
        told.update(read_bytes=writer.read_bytes, unchanged_bytes=writer.skipped_bytes, mismatches=writer.mismatches)
    there = await list_pool(begun.store, name)
    if gone := sorted(key for key, size in pool.used.items() if there.get(key) != size):
        raise ActionError(
            f"{len(gone)} objects that the backup needs are not in the store, the first is {gone[0]}",
            hint="did somebody remove them? The next try does without",
        )
    if mended := damaged & pool.used.keys():  # who verifies may have noted more meanwhile
        await write_damaged(begun.store, name, await read_damaged(begun.store, name) - mended)
    inventory = await write_inventory(begun.store, name, begun.id, pool.used)
    return {
        "snapshots": tuple(snapshots),
        "inventory": inventory,
        "added_bytes": pool.added_bytes + inventory.size_bytes,
        "parent": next(iter(parents.values())).id if parents else None,
    }


async def _parents(store: Store, environment: str, unusable: frozenset[str]) -> dict[str, Parent]:
    """The newest good snapshot of each database, with those of its objects that are there and may be used again."""
    found: dict[str, Parent] = {}
    there = await list_pool(store, environment)
    for manifest in reversed(await read_manifests(store, environment)):
        if not manifest.succeeded or manifest.inventory is None:
            continue
        wanted = [one for one in manifest.snapshots if one.name not in found]
        if wanted:
            try:
                inventory = await read_inventory(store, manifest.inventory)
            except StoreError as error:
                log.warning("inventory_unreadable", backup=manifest.id, error=error.message)
                continue
            sizes = {key: size for key, size in inventory.items() if there.get(key) == size}
            found |= {one.name: Parent(manifest.id, one, sizes, unusable) for one in wanted}
    return found


async def _take_dumps(job: Job, databases: Sequence[str], begun: Begun) -> dict[str, object]:
    dumps: list[DatabaseDump] = []
    for database in databases:
        tell = _teller(job, begun, database, sum(dump.plain_bytes for dump in dumps))
        dumps.append(await _dump(job, begun, database, _dump_key(job, begun, databases, database), tell))
    return {"databases": tuple(dumps), "added_bytes": sum(dump.size_bytes for dump in dumps)}


def _dump_key(job: Job, begun: Begun, databases: Sequence[str], database: str) -> str:
    """SQL is called as people's own scripts call it."""
    name = job.environment.name
    folder = f"{begun.id}/{attempt_of(job)}"
    if begun.engine == "custom":
        return dump_key(name, folder, database)
    stamp = f"{datetime.fromtimestamp(begun.at, UTC):%Y%m%d_%H%M%S}"
    if len(databases) == 1:
        return f"{backup_prefix(name, folder)}{name}_backup_{stamp}{PLAIN_SUFFIX}"
    return dump_key(name, folder, database, f"{name}_backup_{stamp}{PLAIN_SUFFIX}")


async def _dump(job: Job, begun: Begun, database: str, key: str, tell: Callable[[int], None]) -> DatabaseDump:
    async with AsyncExitStack() as held:
        # what the manifest says of the tables and what pg_dump sees are one snapshot; once pg_dump has it, we let go
        connection = await held.enter_async_context(job.connections.acquire(database))
        await held.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
        await connection.execute("set local idle_in_transaction_session_timeout = 0")
        snapshot = await connection.fetchval("select pg_export_snapshot()")
        facts = await read_facts(connection, job.environment)
        label = f"custode/{job.run_id}/{job.attempt}"
        variables = await client_environment(job.environment, job.secrets, database, application_name=label)
        archive = Archive(begun.pg_dump, variables, snapshot, progress=tell, plain=begun.engine == "plain")
        await archive.store(begun.store, key, on_first=held.aclose)
    return DatabaseDump(
        name=database,
        key=key,
        size_bytes=archive.size_bytes,
        plain_bytes=archive.plain_bytes,
        sha256=archive.sha256,
        extensions=facts.extensions,
        revisions=facts.revisions,
        tables=facts.tables,
    )


def _teller(job: Job, begun: Begun, database: str, done: float) -> Callable[[int], None]:
    total = sum(begun.expected.values())

    def tell(plain_bytes: int) -> None:
        ratio = (done + plain_bytes) / total if total else 0.0
        job.progress(min(ratio, 0.99), f"copying {database}")

    return tell
