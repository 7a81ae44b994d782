"""The kit's cases of what replaces data: a production beside the environment, and what came of a refresh or a reset."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, ConsentPolicy, DataPolicy, Policy, Tier
from fleet.secrets import SecretText
from tests.integration import migration_trouble as migrated

if TYPE_CHECKING:
    from tests.integration.actions_kit import Ground

_TABLES = """
    create extension if not exists vector;
    create table users (id serial primary key, email text not null unique, name text);
    create table notes (id int primary key, owner int not null references users, text text, near vector(2));
    create index on notes using hnsw (near vector_l2_ops) with (m = 4, ef_construction = 16);
    create table messages (id serial primary key, owner int references users, text text);
"""
_PRODUCTION = """
    insert into users (email, name) select format('mario%s@rossi.it', i), 'Mario Rossi' from generate_series(1, 40) i;
    insert into notes select i, 1 + i % 40, 'articolo ' || i, array[i, -i] from generate_series(1, 300) i;
    insert into messages (owner, text) select i, 'scrivimi a mario@rossi.it' from generate_series(1, 40) i
"""
_OLD = "insert into users (email) values ('old@qa.invalid'); insert into notes values (1, 1, 'old', '[1,2]')"
_IS_OLD = """
    select (select array_agg(email) from users) = array['old@qa.invalid'] and (select count(*) from notes) = 1
"""
# masked, whole, with its keys, its index and its test user
_IS_NEW = """
    select (select count(*) = 41 and bool_and(email like '%@qa.invalid') and not bool_or(name ~ 'Mario|Rossi')
                from users)
        and (select count(*) from notes) = 300 and (select count(*) from messages) = 0
        and (select count(*) from pg_index where indisvalid and indrelid in ('users'::regclass, 'notes'::regclass)) = 4
        and (select count(*) from pg_constraint where contype = 'f') = 2
        and nextval('users_id_seq') > 40
        and not exists (select from pg_namespace where nspname ~ '^custode')
"""
_IS_BEHIND = "select (select count(*) from notes) = 500 and (select version_num = 'one' from alembic_version)"
_IS_RESET = """
    select (select array_agg(text) from notes) = array['a test'] and (select version_num = 'three' from alembic_version)
        and to_regclass('notes_at') is not null and not exists (select from pg_namespace where nspname ~ '^custode')
"""
_BESIDE = "select datname::text from pg_database where starts_with(datname, $1 || '_') or datname = $2"
_DATA: Mapping[str, Any] = {
    "columns": {
        "users": {"id": "keep", "email": "mask:email", "name": "mask:name"},
        "notes": {"id": "keep", "owner": "keep", "text": "keep", "near": "keep"},
        "messages": "empty",
    },
    "test_data": ["insert into users (email, name) values ('tester@qa.invalid', 'tester')"],
}


def policy(mask_key: Path, data: Mapping[str, Any] = _DATA) -> Policy:
    """Of a qa that asks nobody."""
    decided = DataPolicy.model_validate({**data, "mask_key": f"file:{mask_key}"})
    return TIER_DEFAULTS[Tier.QA].model_copy(update={"data": decided, "consent": ConsentPolicy()})


def refreshing(directory: Path) -> Mapping[str, Any]:
    """Of the environment of the kit's case, whose store is in `directory`."""
    return {"policy": policy(directory / "mask.key")}


def resetting(directory: Path) -> Mapping[str, Any]:
    data = {"test_data": ["insert into notes (text) values ('a test')"]}
    return {"policy": policy(directory / "mask.key", data), **migrated.migrating(directory)}


def production(dsn: str, database: str) -> Mapping[str, Environment]:
    """The environments beside the one at work: production, on the same server."""
    name = _production(database)
    environment = Environment(
        name="production",
        tier=Tier.PRODUCTION,
        dsn=SecretText(dsn.replace(database, name)),
        databases=(name,),
        tls={"mode": "disable"},
    )
    return {"production": environment}


async def plant_production(ground: Ground) -> Mapping[str, Any]:
    """Old data here, people's data there."""
    write_key(ground.store.parent / "mask.key")
    await ground.sql.execute(_TABLES + _OLD)
    async with connected(ground, "postgres") as connection:
        await connection.execute(f'create database "{_production(ground.database)}"')
    async with connected(ground, _production(ground.database)) as connection:
        await connection.execute(_TABLES + _PRODUCTION)
    return {"datname": ground.database}


async def plant_behind(ground: Ground) -> Mapping[str, Any]:
    """What migrations have to be begun anew for; production is there, and is not asked for data."""
    await migrated.plant_behind(ground)
    async with connected(ground, "postgres") as connection:
        await connection.execute(f'create database "{_production(ground.database)}"')
    return {"datname": ground.database}


def write_key(path: Path) -> None:
    path.write_text("k" * 32)


async def count_refreshed(ground: Ground) -> int:
    return int(await _holds(ground, _IS_NEW))


async def count_reset(ground: Ground) -> int:
    return int(await _holds(ground, _IS_RESET))


async def refresh_stands(ground: Ground) -> bool:
    """Whether the database of that name has the old data or the new, whole."""
    return await _holds(ground, _IS_OLD) or await _holds(ground, _IS_NEW)


async def reset_stands(ground: Ground) -> bool:
    return await _holds(ground, _IS_BEHIND) or await _holds(ground, _IS_RESET)


async def count_beside(ground: Ground) -> int:
    """Databases that no run should leave."""
    async with connected(ground, "postgres") as connection:
        names = await connection.fetch(_BESIDE, ground.database, f"custode_new_{ground.run_id}")
    return len({row["datname"] for row in names} - {_production(ground.database)})


@asynccontextmanager
async def connected(ground: Ground, database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(ground.dsn, database=database)
    try:
        yield connection
    finally:
        await connection.close()


def _production(database: str) -> str:
    return f"{database}_production"


async def _holds(ground: Ground, query: str) -> bool:
    try:
        async with connected(ground, ground.database) as connection:
            return bool(await connection.fetchval(query))
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        return False
