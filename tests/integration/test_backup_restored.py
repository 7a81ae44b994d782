"""From a backup to a restored database: taken while others write, and from an older server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from actions.restore import Parameters, Restore
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.secrets import SecretText
from tests.integration.actions_kit import at_work, run_all
from tests.integration.backups import back_up
from tests.integration.debian_server import DebianServer
from tests.integration.test_action_backup_snapshot import SNAPSHOT, open_store

ACCOUNTS = """
    create table accounts (id int primary key, balance bigint not null, filler text default repeat('x', 900));
    insert into accounts (id, balance) select i, 1000 from generate_series(1, 9000) i;
    create table moves (id bigint generated always as identity primary key, a int, b int, amount int, note text);
    insert into moves (a, b, amount, note)
        select 1, 2, 0, (select string_agg(md5(i::text || j), '') from generate_series(1, 30) j)
        from generate_series(1, 9000) i
"""
# money is only moved, and each move is on record: what is not of one moment breaks one or the other
SUMS = """
    select (select sum(balance) from accounts) as total,
        (select bool_and(balance = 1000 + coalesce(got, 0) - coalesce(gave, 0)) from accounts
            left join (select b, sum(amount) as got from moves group by b) g on g.b = id
            left join (select a, sum(amount) as gave from moves group by a) h on h.a = id) as explained
"""


async def restore(environment: Environment, folder: Path, database: str, into: str) -> None:
    async with at_work(environment, stores={"local": open_store(folder)}) as job:
        parameters = Parameters(database=database, into=into, create_roles=True)
        plan = await Restore().plan(job, parameters)
        await run_all(Restore(), job, parameters, plan)
        verdict = await Restore().verify(job, parameters, plan)
        assert verdict.fixed, verdict.reason


async def take(environment: Environment, folder: Path, run_id: str) -> None:
    async with at_work(environment, stores={"local": open_store(folder)}, run_id=run_id) as job:
        await back_up(job, SNAPSHOT)


async def write_on(dsn: str, stop: asyncio.Event) -> int:
    connection = await asyncpg.connect(dsn)
    moves = 0
    try:
        while not stop.is_set():
            async with connection.transaction():
                a, b = 1 + moves * 7919 % 9000, 1 + moves * 104_729 % 9000
                await connection.execute("update accounts set balance = balance - 5 where id = $1", a)
                await connection.execute("update accounts set balance = balance + 5 where id = $1", b)
                await connection.execute("insert into moves (a, b, amount) values ($1, $2, 5)", a, b)
            moves += 1
            if moves % 200 == 0:
                await connection.execute("vacuum accounts")
    finally:
        await connection.close()
    return moves


async def test_backups_of_a_database_that_is_written_to_are_each_of_one_moment(
    server: EmbeddedServer, sql: asyncpg.Connection, database: str, tmp_path: Path
) -> None:
    await sql.execute(ACCOUNTS)
    dsn = server.dsn(database)
    environment = Environment.model_validate(
        {"name": "qa", "tier": "qa", "dsn": SecretText(dsn), "databases": [database], "tls": {"mode": "disable"}}
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write_on(dsn, stop))
        for number in range(3):  # the later ones leave out what has not changed
            await take(environment, tmp_path, f"run{number}")
        stop.set()
    assert writing.result() > 100
    into = f"{database}_x"
    try:
        await restore(environment, tmp_path, database, into)
        again = await asyncpg.connect(server.dsn(into))
        try:
            sums = await again.fetchrow(SUMS)
            assert sums is not None
            assert dict(sums) == {"total": 9_000_000, "explained": True}
            assert await again.fetchval("select count(*) from moves") > 9000
        finally:
            await again.close()
    finally:
        await sql.execute(f'drop database if exists "{into}"')


@pytest.mark.peer
async def test_a_backup_of_an_older_server_is_restored_on_a_newer_one(
    debian: DebianServer, server: EmbeddedServer, sql: asyncpg.Connection, database: str, tmp_path: Path
) -> None:
    source = f"{database}_old"
    admin = await asyncpg.connect(debian.dsn())
    await admin.execute(f'create database "{source}"')
    old = await asyncpg.connect(debian.dsn(source))
    into = f"{database}_new"
    try:
        await old.execute(ACCOUNTS)
        values = {"name": "qa", "tier": "qa", "databases": [source], "tls": {"mode": "disable"}}
        await take(Environment.model_validate({**values, "dsn": SecretText(debian.dsn(source))}), tmp_path, "run")
        newer = Environment.model_validate({**values, "dsn": SecretText(server.dsn(database))})
        await restore(newer, tmp_path, source, into)
        again = await asyncpg.connect(server.dsn(into))
        try:
            digest = "select md5(string_agg(a::text, '' order by id)) from accounts a"
            assert await again.fetchval(digest) == await old.fetchval(digest)
        finally:
            await again.close()
    finally:
        await old.close()
        await admin.execute(f'drop database "{source}"')
        await admin.close()
        await sql.execute(f'drop database if exists "{into}"')
