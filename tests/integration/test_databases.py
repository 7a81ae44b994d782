"""Collectors and backups see the same databases."""

from collections.abc import Callable

import asyncpg

from collectors import Target
from fleet.backups.facts import databases_of
from fleet.environment import Environment


async def test_what_a_failed_drop_leaves_is_neither_read_nor_dumped(
    make_environment: Callable[..., Environment],
    make_target: Callable[..., Target],
    sql: asyncpg.Connection,
    database: str,
) -> None:
    await sql.execute(f"create database {database}_half_dropped")
    target = make_target(make_environment(databases=None))
    assert f"{database}_half_dropped" in await databases_of(target.environment, target.connections)
    # as DROP DATABASE marks it before it removes the files
    await sql.execute("update pg_database set datconnlimit = -2 where datname = $1", f"{database}_half_dropped")
    seen = await target.databases()
    assert database in seen
    assert f"{database}_half_dropped" not in seen
    assert await databases_of(target.environment, target.connections) == seen
    await sql.execute(f"drop database {database}_half_dropped")
