"""The backup before a migration: a fresh one that is whole, or one taken now."""

from __future__ import annotations

from actions._action import Figures, Job
from actions._backup_engines import Begun, take
from actions._backup_objects import sweep
from fleet.backups import Manifest, backup_id, read_manifests, write_manifest
from fleet.backups.damage import find_damage
from fleet.backups.facts import table_bytes
from fleet.client_tools import find_tool
from fleet.errors import ActionError
from fleet.stores import Store

_PLAIN_RATIO = 2.0  # vectors are twice as long text than as stored


def store_of(job: Job, name: str | None) -> tuple[str, Store]:
    """Raises ActionError where there is none of that name."""
    if not job.stores:
        raise ActionError(f"{job.environment.name} has no store for backups", hint="add one under stores:")
    wanted = name or next(iter(job.stores))
    if wanted not in job.stores:
        raise ActionError(f"no store is called {wanted!r}", hint=f"known are: {', '.join(job.stores)}")
    return wanted, job.stores[wanted]


async def fresh_backup(job: Job, datname: str, store_name: str | None) -> Manifest | None:
    """The newest good backup of the database that is fresh enough, and whole as far as a look tells.

    Raises:
        StoreError: the store cannot be read.
    """
    _, store = store_of(job, store_name)
    oldest = job.now() - job.environment.migrations.backup_age.total_seconds()
    for manifest in reversed(await read_manifests(store, job.environment.name)):
        usable = manifest.succeeded and manifest.started_at >= oldest and datname in manifest.names
        if usable and not await find_damage(store, manifest, job.client_tools):
            return manifest
    return None


async def back_up(job: Job, datname: str, store_name: str | None) -> Figures:
    """Take one and verify it, unless a fresh one is there; its name is left in the run's data.

    Raises:
        ActionError: it is damaged.
        StoreError, ProcessError: it could not be taken.
    """
    _, store = store_of(job, store_name)
    manifest = await fresh_backup(job, datname, store_name)
    if manifest is not None:
        job.data["backup"] = manifest.id
        return {"backup": manifest.id, "taken": 0}
    await sweep(store, job)
    at = job.now()
    tool = await find_tool("pg_dump", job.client_tools)
    async with job.connections.acquire(datname) as connection:
        version = await connection.fetchval("show server_version")
        expected = {datname: await table_bytes(connection) * _PLAIN_RATIO}
    engine = job.environment.policy.backup.engine
    begun = Begun(at, backup_id(at, job.run_id), store, engine, tool, version, expected)
    manifest, _ = await take(job, [datname], begun)
    if damage := await find_damage(store, manifest, job.client_tools):
        raise ActionError(f"the backup before the migration is not whole: {damage[0]}", hint="nothing was changed")
    await write_manifest(store, manifest)
    job.data["backup"] = manifest.id
    return {"backup": manifest.id, "taken": 1, "bytes": manifest.size_bytes}
