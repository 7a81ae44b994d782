"""Back up the databases of an environment into one of its stores."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

import asyncpg
import structlog
from pydantic import Field

from actions._action import Action, Figures, Job, Plan, Step, Target, Verdict
from actions._backup_engines import Begun, take
from actions._backup_objects import delete_attempt, delete_run, sweep
from fleet.backups import (
    Manifest,
    backup_id,
    manifest_key,
    read_manifest,
    read_manifests,
    write_manifest,
)
from fleet.backups.damage import find_damage
from fleet.backups.facts import databases_of, table_bytes
from fleet.backups.libpq import client_environment
from fleet.backups.manifest import Engine
from fleet.backups.scrub import scrub
from fleet.client_tools import Tool, find_tool
from fleet.errors import ActionError, ConnectError, CustodeError
from fleet.policy import Risk, Strict
from fleet.stores import Store

log = structlog.get_logger()

_GROWTH = 1.2  # a backup may be this much larger than the one before
_COPY_TIMEOUT = timedelta(hours=12)  # less than garbage waits to be removed
_PLAIN_RATIO = 2.0  # vectors are twice as long as text than as stored
_HOW: dict[Engine, str] = {"snapshot": "a snapshot", "custom": "pg_dump", "plain": "pg_dump as SQL"}
_COMMANDS: dict[Engine, str] = {
    "snapshot": "pg_dump --snapshot; COPY ... TO STDOUT (FORMAT binary):",
    "custom": "pg_dump --format=custom",
    "plain": "pg_dump --format=plain",
}
_PROVEN: dict[Engine, str] = {
    "snapshot": "every object is in the store with its size",
    "custom": "read back, checksums agree, pg_restore lists its tables",
    "plain": "read back, checksums agree, pg_dump's last line is there",
}
_SERVER_TROUBLE = (ConnectError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_TROUBLE = (CustodeError, *_SERVER_TROUBLE)


class Parameters(Strict):
    databases: tuple[str, ...] | None = Field(None, min_length=1, description="null: all of the environment")
    store: str | None = Field(None, description="name of the store to fill; null: the first")
    engine: Engine | None = Field(None, description="snapshot, custom or plain; null: what the policy says")


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Bytes of the archives to expect: uncompressed by database, and stored in all."""

    plain: Mapping[str, float]
    stored: float


class Backup(Action[Parameters]):
    """Chunks that are stored once, or files of pg_dump, compressed on the way into the store.

    The manifest is written last, so that objects without one are an unfinished backup, never a success. A run that
    is continued copies anew, and finds the chunks that it stored before; dumps are under keys of its own. The backup
    is called after the moment when the attempt began.
    """

    name = "backup"
    summary = "copy the databases of an environment into a store, check what was written"
    risk = Risk.SAFE
    subjects: ClassVar[tuple[str, ...]] = ("backups",)

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        databases = None if parameters.databases is None else frozenset(parameters.databases)
        return Target(databases=databases, store=parameters.store)

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        store_name, store = _store(job, parameters)
        databases = await _databases(job, parameters)
        tool = await find_tool("pg_dump", job.client_tools)
        await _server_version(job, tool)
        engine = _engine(job, parameters)
        sizes = await _expect(job, store, databases, engine)
        free = await store.free_bytes()
        if free is not None and free <= sizes.stored:
            raise ActionError(
                f"the store {store_name!r} has {free / 1e6:.1f} MB free, the backup may need {sizes.stored / 1e6:.1f}",
                hint="free some space, or shorten the retention",
            )
        return Plan(
            f"{_HOW[engine]} of {', '.join(databases)} into the store {store_name!r}",
            ("copy", "record"),
            await _figures(job, store),
            tuple({"datname": name, "store": store_name} for name in databases),
            tuple(f"{_COMMANDS[engine]} {name}" for name in databases),
            f"one more backup, of {sizes.stored / 1e6:.1f} MB at most; a snapshot is held while it is copied",
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        async def copy() -> Figures:
            return await _copy(job, parameters, [one["datname"] for one in plan.objects])

        async def record() -> Figures:
            return await _record(job, parameters)

        return Step("copy", copy, timeout=_COPY_TIMEOUT), Step("record", record)

    async def verify(self, job: Job, parameters: Parameters, _plan: Plan) -> Verdict:
        _, store = _store(job, parameters)
        if "manifest" not in job.data:
            return Verdict(False, "no dump was finished", await _figures(job, store))
        try:
            manifest = await read_manifest(store, job.environment.name, job.data["manifest"]["id"])
            damage = await find_damage(store, manifest, job.client_tools)
        except (*_TROUBLE, ValueError) as error:
            return Verdict(False, f"the backup could not be verified: {error}")
        if not manifest.succeeded:
            return Verdict(False, manifest.error or "the backup is on record as failed", await _figures(job, store))
        if damage:
            # it is on record as a success, and must not count as one
            await write_manifest(store, manifest.model_copy(update={"succeeded": False, "error": damage[0]}))
            return Verdict(False, "; ".join(damage), await _figures(job, store))
        tables = sum(len(one.tables) for one in manifest.contents)
        return Verdict(
            True,
            f"{manifest.id}: {_PROVEN[manifest.engine]}; it holds {tables} tables",
            {
                **await _figures(job, store),
                "bytes": manifest.size_bytes,
                "added_bytes": manifest.added_bytes,
                "tables": tables,
                "backup_seconds": manifest.seconds,
            },
        )

    async def undo(self, job: Job, parameters: Parameters, _plan: Plan) -> None:
        """Remove all that the run stored, also what is complete; that it failed stays on record."""
        _, store = _store(job, parameters)
        await delete_run(store, job)


def _store(job: Job, parameters: Parameters) -> tuple[str, Store]:
    if not job.stores:
        raise ActionError(f"{job.environment.name} has no store for backups", hint="add one under stores:")
    name = parameters.store or next(iter(job.stores))
    if name not in job.stores:
        raise ActionError(f"no store is called {name!r}", hint=f"known are: {', '.join(job.stores)}")
    return name, job.stores[name]


async def _databases(job: Job, parameters: Parameters) -> list[str]:
    known = await databases_of(job.environment, job.connections)
    wanted = known if parameters.databases is None else list(parameters.databases)
    if strange := sorted(set(wanted) - set(known)):
        raise ActionError(
            f"{job.environment.name} has no database {strange[0]!r} for us", hint=f"known are: {', '.join(known)}"
        )
    if not wanted:
        raise ActionError(f"{job.environment.name} has no database that accepts us")
    return wanted


async def _server_version(job: Job, tool: Tool) -> str:
    """The server's version in its own words. Raises ActionError where it is newer than the tool."""
    async with job.connections.acquire() as connection:
        major = connection.get_server_version().major
        version: str = await connection.fetchval("show server_version")
    if tool.version[0] < major:
        raise ActionError(
            f"{tool.path} is of version {tool.version[0]}, the server of {major}: pg_dump refuses newer servers",
            hint=f"install postgresql-client-{major}, or set client_tools",
        )
    return version


async def _expect(job: Job, store: Store, databases: Sequence[str], engine: Engine) -> _Sizes:
    """By the last good backup of the same engine where there is one, else by the size of the tables."""
    manifests = await read_manifests(store, job.environment.name)
    done = [manifest for manifest in manifests if manifest.succeeded and manifest.engine == engine]
    last = {one.name: (one, manifest) for manifest in done for one in manifest.contents}
    plain: dict[str, float] = {}
    stored = 0.0
    for name in databases:
        if name in last:
            one, manifest = last[name]
            plain[name] = one.plain_bytes
            share = manifest.added_bytes / manifest.size_bytes if manifest.parent is not None else 1.0
            stored += one.size_bytes * min(1.0, share * 2) * _GROWTH
        else:
            async with job.connections.acquire(name) as connection:
                size = await table_bytes(connection)
            plain[name] = size * _PLAIN_RATIO
            stored += size
    return _Sizes(plain, stored)


async def _figures(job: Job, store: Store) -> Figures:
    """The good backups in the store; the room left in it, where it can tell."""
    good = [manifest for manifest in await read_manifests(store, job.environment.name) if manifest.succeeded]
    figures: dict[str, float | str] = {
        "backups": len(good),
        "newest_backup": max((manifest.id for manifest in good), default="none"),
    }
    free = await store.free_bytes()
    return figures if free is None else figures | {"free_bytes": free}


async def _copy(job: Job, parameters: Parameters, databases: Sequence[str]) -> Figures:
    _, store = _store(job, parameters)
    await sweep(store, job)
    at = job.now()
    begun = await _begin(job, parameters, store, databases, at)
    try:
        manifest, told = await take(job, databases, begun)
    except asyncio.CancelledError:
        await _discard(job, store)
        raise
    except _TROUBLE as error:
        raise await _failed(job, error, store, at) from error
    job.data["manifest"] = manifest.model_dump(mode="json")
    figures = {"bytes": manifest.size_bytes, "plain_bytes": manifest.plain_bytes, "added_bytes": manifest.added_bytes}
    return figures | dict(told)


async def _begin(job: Job, parameters: Parameters, store: Store, databases: Sequence[str], at: float) -> Begun:
    engine = _engine(job, parameters)
    try:
        tool = await find_tool("pg_dump", job.client_tools)
        version = await _server_version(job, tool)
        sizes = await _expect(job, store, databases, engine)
    except _TROUBLE as error:
        raise await _failed(job, error, store, at) from error
    id_ = backup_id(at, job.run_id)
    return Begun(at, id_, store, engine, tool, version, dict(sizes.plain))


def _engine(job: Job, parameters: Parameters) -> Engine:
    return parameters.engine or job.environment.policy.backup.engine


async def _record(job: Job, parameters: Parameters) -> Figures:
    _, store = _store(job, parameters)
    manifest = Manifest.model_validate(job.data["manifest"])
    if job.now() - manifest.started_at > _COPY_TIMEOUT.total_seconds():
        # by then its objects may have been taken for garbage: nothing said that they are needed
        raise ActionError(f"{manifest.id} was copied too long ago to be put on record", hint="take another backup")
    if not await _is_recorded(store, manifest):
        await write_manifest(store, manifest)
    if manifest.id != _failure_id(job):
        await store.delete(manifest_key(manifest.environment, _failure_id(job)))  # of an earlier try
    return {"bytes": manifest.size_bytes, "seconds": manifest.seconds}


async def _is_recorded(store: Store, manifest: Manifest) -> bool:
    """An attempt that was killed after it wrote the manifest wrote this very one."""
    if await store.stat(manifest_key(manifest.environment, manifest.id)) is None:
        return False
    try:
        return await read_manifest(store, manifest.environment, manifest.id) == manifest
    except ValueError:
        return False


async def _discard(job: Job, store: Store) -> None:
    """Remove what this attempt stored: of several databases the first may be complete."""
    try:
        await delete_attempt(store, job)
    except CustodeError as error:
        log.warning("backup_left_over", environment=job.environment.name, run=job.run_id, error=error.message)


async def _failed(job: Job, error: Exception, store: Store, at: float) -> ActionError:
    """Put the failure on record, once a run, as far as the store lets us, and return it as an error to raise."""
    said = scrub(str(error) or type(error).__name__, await _passwords(job))
    await _discard(job, store)
    manifest = Manifest(
        id=_failure_id(job),
        environment=job.environment.name,
        started_at=at,
        finished_at=job.now(),
        succeeded=False,
        error=said,
    )
    try:
        if await _is_ours(job):
            await write_manifest(store, manifest)
    except CustodeError as second:
        log.warning("backup_failure_not_recorded", environment=job.environment.name, error=second.message)
    return ActionError(f"the backup failed: {said}", hint=getattr(error, "hint", None))


def _failure_id(job: Job) -> str:
    """What the record of a failure is called: the same in all tries of a run."""
    return backup_id(job.started_at, job.run_id)


async def _is_ours(job: Job) -> bool:
    """Whether nobody has taken the run over meanwhile: a run that goes on has not failed. Unknown counts as yes."""
    try:
        async with job.changes.acquire():
            return True
    except _SERVER_TROUBLE:
        return True
    except CustodeError:
        return False


async def _passwords(job: Job) -> list[str]:
    try:
        return [(await client_environment(job.environment, job.secrets, "")).get("PGPASSWORD", "")]
    except (CustodeError, ValueError):  # it was never known, so nobody can have said it
        return []
