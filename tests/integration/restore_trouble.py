"""The kit's cases of what restores: a snapshot to restore, and what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from actions.backup import Backup
from fleet.backups import read_manifests
from fleet.environment import Environment
from fleet.secrets import SecretText
from fleet.stores.local import LocalStore

if TYPE_CHECKING:
    from tests.integration.actions_kit import Ground

# a table that is copied in parts, one in pg_dump's SQL; keys, a foreign one too, and a vector index
_ROWS = """
    create extension if not exists vector;
    create table notes (id int primary key, t text storage external, near vector(2));
    insert into notes select i, repeat(md5(i::text), 100), array[i, -i] from generate_series(1, 2000) i;
    create index on notes using hnsw (near vector_l2_ops) with (m = 4, ef_construction = 16);
    create table readers (note int references notes, name text);
    insert into readers values (1, 'anna'), (2000, null)
"""
_WHOLE = """
    select to_regnamespace('custode_restore') is null
        and (select count(*) = 2000 from notes) and (select count(*) = 2 from readers)
        and (select count(*) = 2 from pg_index where indrelid = 'notes'::regclass and indisvalid)
        and (select count(*) = 2 from pg_constraint
            where conrelid in ('notes'::regclass, 'readers'::regclass) and contype in ('p', 'f'))
"""
_DATABASES = """
    select datname::text, coalesce(shobj_description(oid, 'pg_database'), ''), datallowconn from pg_database
    where datname in ($1, $2) or starts_with(datname, $1 || '_')
"""


async def plant_snapshot(ground: Ground) -> Mapping[str, Any]:
    from tests.integration.actions_kit import at_work

    await ground.sql.execute(_ROWS)
    environment = Environment(name="qa", tier="qa", dsn=SecretText(ground.dsn), tls={"mode": "disable"})
    async with at_work(environment, stores={"local": _store(ground)}) as job:
        action = Backup()
        parameters = action.parameters()(databases=(ground.database,))
        for step in action.steps(job, parameters, await action.plan(job, parameters)):
            await step.run()
    return {"database": ground.database}


async def stands(ground: Ground) -> bool:
    """Whether there is a database of that name, open: the old one or the one that took its place."""
    return any(one.name == ground.database and one.is_open for one in await _databases(ground))


async def count_restored(ground: Ground) -> int:
    """Databases beside it that are complete."""
    return sum([await _is_whole(ground, one.name) for one in await _databases(ground) if _is_copy(ground, one)])


async def count_unfinished(ground: Ground) -> int:
    """Databases beside it that are not; one more where the one that was there is not as it was."""
    beside = [one for one in await _databases(ground) if one.name != ground.database]
    return len(beside) - await count_restored(ground) + (not await _is_whole(ground, ground.database))


async def count_switches(ground: Ground) -> int:
    """Whether a restored one has taken its place, complete."""
    return int(await _is_switched(ground) and await _is_whole(ground, ground.database))


async def count_displaced(ground: Ground) -> int:
    """Databases that should not be, or are missing.

    Beside the switched one there is the damaged one, closed, and no other; where it was switched back, there may be
    what is kept of it; whichever it is, the one of that name is complete.
    """
    found = await _databases(ground)
    damaged = [one for one in found if one.name.startswith(f"{ground.database}_damaged_")]
    kept = [one for one in found if _is_copy(ground, one) and one.mark.startswith("custode: was ")]
    due = int(await _is_switched(ground))
    strays = len(found) - 1 - len(kept) - due
    wrong = abs(len(damaged) - due) + sum(one.is_open for one in damaged)
    return abs(strays) + wrong + (not await _is_whole(ground, ground.database))


async def count_proofs(ground: Ground) -> int:
    return sum(manifest.proof is not None for manifest in await read_manifests(_store(ground), "qa"))


async def count_scratch(ground: Ground) -> int:
    """Scratch servers whose files are left, and databases beside it."""
    return len(_scratches(ground)) + len(await _databases(ground)) - 1


def _scratches(ground: Ground) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"custode-scratch-{ground.run_id}-*"))


async def drop_copies(ground: Ground) -> None:
    """Drop all but the database itself."""
    async with _upstairs(ground) as connection:
        for one in await _databases(ground):
            if one.name != ground.database:
                await connection.execute(f'drop database "{one.name}" with (force)')


@dataclass(frozen=True, slots=True)
class _Database:
    name: str
    mark: str
    is_open: bool


async def _databases(ground: Ground) -> list[_Database]:
    """The one of the ground, those named after it, and the one that its run has not finished."""
    async with _upstairs(ground) as connection:
        rows = await connection.fetch(_DATABASES, ground.database, f"custode_new_{ground.run_id}")
    return [_Database(*row) for row in rows]


def _is_copy(ground: Ground, one: _Database) -> bool:
    return one.name.startswith(f"{ground.database}_restored_")


async def _is_switched(ground: Ground) -> bool:
    marks = {one.name: one.mark for one in await _databases(ground)}
    return marks.get(ground.database, "").startswith("custode restore ")


async def _is_whole(ground: Ground, name: str) -> bool:
    try:
        connection = await asyncpg.connect(ground.dsn, database=name)
    except asyncpg.InvalidCatalogNameError:
        return False
    try:
        return bool(await connection.fetchval(_WHOLE))
    except asyncpg.UndefinedTableError:
        return False
    finally:
        await connection.close()


@asynccontextmanager
async def _upstairs(ground: Ground) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(ground.dsn, database="postgres")
    try:
        yield connection
    finally:
        await connection.close()


def _store(ground: Ground) -> LocalStore:
    return LocalStore(LocalStore.Options(path=ground.store))
