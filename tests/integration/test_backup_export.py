"""A snapshot as a file of pg_dump, as `custode backups export` makes it, read by PostgreSQL's own programs."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import asyncpg
import pytest

from actions._export import export_snapshot
from actions._restore_source import SourceParameters, choose
from fleet.client_tools import find_tool
from fleet.embedded import EmbeddedServer
from fleet.errors import ActionError
from fleet.process import run
from tests.integration.backups import DIGEST, MakeJob, back_up
from tests.integration.test_action_backup_snapshot import ROWS, SNAPSHOT, open_store

INDEXES = "select string_agg(indexdef, ' ' order by indexdef) from pg_indexes where schemaname = 'public'"


@pytest.mark.parametrize("name", ["qa_backup_20261120_080000.sql.gz", "qa.dump"])
async def test_an_export_is_what_postgresql_reads(
    make_job: MakeJob, sql: asyncpg.Connection, server: EmbeddedServer, tmp_path: Path, name: str
) -> None:
    database = str(await sql.fetchval("select current_database()"))
    await sql.execute(ROWS)
    job = make_job(stores={"local": open_store(tmp_path / "s")})
    manifest = await back_up(job, SNAPSHOT)
    assert manifest.snapshots[0].copies
    target = tmp_path / name
    size = await export_snapshot(job, await choose(job, SourceParameters()), target)
    assert size == target.stat().st_size
    into = f"{database}_again"
    await sql.execute(f'create database "{into}"')
    try:
        await _read(server, target, into)
        again = await asyncpg.connect(server.dsn(into))
        try:
            assert await again.fetchrow(DIGEST) == await sql.fetchrow(DIGEST)
            assert await again.fetchval("select sum(length(body)) from documents") == 9000 * 60 * 32
            assert await again.fetchval(INDEXES) == await sql.fetchval(INDEXES)
            assert not await again.fetchval("select count(*) from pg_namespace where nspname ~ 'custode'")
        finally:
            await again.close()
    finally:
        await sql.execute(f'drop database "{into}"')
    with pytest.raises(ActionError, match="exists already"):
        await export_snapshot(job, await choose(job, SourceParameters()), target)
    with pytest.raises(ActionError, match="tells no format"):
        await export_snapshot(job, await choose(job, SourceParameters()), tmp_path / "qa.tar")


async def _read(server: EmbeddedServer, file: Path, database: str) -> None:
    if file.suffix == ".dump":
        pg_restore = await find_tool("pg_restore", None)
        await run([pg_restore.path, "--exit-on-error", "--dbname", server.dsn(database), file])
        return
    plain = file.with_suffix("")
    await asyncio.to_thread(lambda: plain.write_bytes(gzip.decompress(file.read_bytes())))
    psql = await find_tool("psql", None)
    await run([psql.path, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.dsn(database), "-f", plain])
