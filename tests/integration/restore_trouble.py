"""The kit's cases of what restores: a snapshot to restore, and what came of it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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

_ROWS = "create table notes as select i as id, repeat(md5(i::text), 100) as t from generate_series(1, 2000) i"
_FINISHED = "select to_regnamespace('custode_restore') is null and (select count(*) from notes) = 2000"


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


async def count_restored(ground: Ground) -> int:
    """Databases beside it that are complete."""
    return sum([await _is_finished(ground, name) for name in await _copies(ground)])


async def count_unfinished(ground: Ground) -> int:
    return len(await _copies(ground)) - await count_restored(ground) + await _count(ground, "custode_new_")


async def count_switches(ground: Ground) -> int:
    """Whether a restored one has taken its place."""
    async with _upstairs(ground) as connection:
        mark = await connection.fetchval(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = $1", ground.database
        )
    return int(str(mark).startswith("custode restore "))


async def count_copies(ground: Ground) -> int:
    return len(await _copies(ground)) + await _count(ground, "custode_new_")


async def count_proofs(ground: Ground) -> int:
    return sum(manifest.proof is not None for manifest in await read_manifests(_store(ground), "qa"))


async def count_scratch(ground: Ground) -> int:
    """Scratch servers whose files are left."""
    return len(_scratches()) + await count_copies(ground)


def _scratches() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("custode-scratch-0123456789ab*"))


async def drop_copies(ground: Ground) -> None:
    async with _upstairs(ground) as connection:
        for row in await connection.fetch(
            "select datname from pg_database where starts_with(datname, $1)", f"{ground.database}_"
        ):
            await connection.execute(f'drop database "{row["datname"]}" with (force)')


async def _copies(ground: Ground) -> list[str]:
    async with _upstairs(ground) as connection:
        rows = await connection.fetch(
            "select datname from pg_database where starts_with(datname, $1)", f"{ground.database}_restored"
        )
    return [row["datname"] for row in rows]


async def _count(ground: Ground, like: str) -> int:
    async with _upstairs(ground) as connection:
        return int(await connection.fetchval("select count(*) from pg_database where starts_with(datname, $1)", like))


async def _is_finished(ground: Ground, name: str) -> bool:
    connection = await asyncpg.connect(ground.dsn, database=name)
    try:
        return bool(await connection.fetchval(_FINISHED))
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
