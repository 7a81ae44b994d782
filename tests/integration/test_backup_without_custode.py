"""The script of the README restores a snapshot with psql, zstd and jq alone."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import asyncpg
import pytest

from fleet.client_tools import find_tool
from fleet.embedded import EmbeddedServer
from fleet.process import run
from tests.integration.backups import MakeJob, back_up
from tests.integration.test_action_backup_snapshot import ROWS, SNAPSHOT, open_store
from tests.integration.test_backup_snapshot import ODD

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        not all(map(shutil.which, ("jq", "zstd"))), reason="jq or zstd is not installed (Debian packages of that name)"
    ),
]
LARGE_TEXT = r"""
    insert into by_text select 1000 + i, row(i, repeat(E'a\t\\.\n', 150))::pair, null, null
    from generate_series(1, 9000) i
"""
DIGEST = """
    select (select md5(string_agg(t::text, '' order by id)) from documents t),
        (select md5(string_agg(t::text, '' order by id)) from by_text t),
        (select count(*) from parted), (select count(*) from no_columns),
        (select md5(string_agg(t::text, '' order by id)) from "odd "" schema"."ta ble" t),
        (select string_agg(i, ' ' order by i) from (select indexrelid::regclass::text i from pg_index
            where indrelid > 16384 and indrelid::regclass::text !~ 'pg_toast') named),
        nextval('"odd "" schema"."ta ble_id_seq"')
"""


def script() -> str:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (found,) = re.findall(r"```bash\n(#!/usr/bin/env bash\n# restore-snapshot.*?)```", readme, re.DOTALL)
    return str(found)


async def test_the_readme_restores_a_snapshot(
    make_job: MakeJob, sql: asyncpg.Connection, server: EmbeddedServer, database: str, tmp_path: Path
) -> None:
    await sql.execute(f"{ROWS}; {ODD}; {LARGE_TEXT}")
    job = make_job(stores={"local": open_store(tmp_path / "s")})
    manifest = await back_up(job, SNAPSHOT)
    assert [copy.name for copy in manifest.snapshots[0].copies] == ["documents", 'odd " name', "by_text"]
    psql = await find_tool("psql", None)
    into = f"{database}_again"
    host = re.search(r"host=([^&]+)", server.dsn(database))
    assert host is not None
    (tmp_path / "restore").write_text(script())
    try:
        await run(
            ["bash", tmp_path / "restore", tmp_path / "s", "qa", manifest.id, database, into],
            env={
                "PATH": f"{psql.path.parent}:{os.environ['PATH']}",
                "PGHOST": host[1].replace("%2F", "/"),
                "PGUSER": "postgres",
            },
        )
        restored = await asyncpg.connect(server.dsn(into))
        try:
            assert await restored.fetchrow(DIGEST) == await sql.fetchrow(DIGEST)
        finally:
            await restored.close()
    finally:
        await sql.execute(f'drop database if exists "{into}"')
