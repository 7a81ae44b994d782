"""`custode index` on a real server: what people see of its vector indexes, without a daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from daemon.cli._main import build
from fleet.embedded import EmbeddedServer

# each in a transaction of its own: rows that are as old as an index were there at its build
_SETUP = (
    """
    create table chunks (id bigserial, e vector(32));
    create table empty (id bigserial, e vector(32));
    create table bare (e vector(32));
    create index idx_early on empty using ivfflat (e vector_l2_ops) with (lists = 50);
    """,
    """
    insert into chunks (e)
    select (select array_agg(random()) from generate_series(1, 32) where n > 0)::vector
    from generate_series(1, 12000) n;
    insert into empty (e) select e from chunks limit 11000;
    insert into bare select e from chunks;
    """,
    "create index idx_good on chunks using hnsw (e vector_cosine_ops)",
    "select pg_stat_force_next_flush()",
    "analyze",
)
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(server: EmbeddedServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    environment = {
        "tier": "production",
        "dsn": server.dsn(database),
        "databases": [database],
        "tls": {"mode": "disable"},
    }
    away = {"tier": "qa", "dsn": "postgresql://nobody@127.0.0.1:1/x"}
    config = tmp_path / "custode.yml"
    config.write_text(yaml.safe_dump({"environments": {"production": environment, "qa": away}}))
    monkeypatch.setattr("daemon.cli._index.out", Console(width=220))

    def command(*words: str) -> tuple[int, str]:
        words = ("index", *words, "--config", str(config))
        result = CliRunner().invoke(build(words), words)
        return result.exit_code, result.output

    return command


async def at_once(run: Run, *words: str) -> tuple[int, str]:
    """The command has an event loop of its own."""
    return await asyncio.to_thread(run, *words)


async def parsed(run: Run, *words: str) -> tuple[int, Any]:
    status, output = await at_once(run, *words, "--json")
    return status, json.loads(output)


async def test_list_shows_every_index_on_one_line(run: Run, sql: asyncpg.Connection) -> None:
    for statements in _SETUP:
        await sql.execute(statements)
    status, output = await at_once(run, "list", "production")
    assert status == 0
    (good,) = [line for line in output.splitlines() if "idx_good" in line]
    assert "public.chunks" in good
    assert "hnsw 16/64 <=>" in good
    assert "12,000" in good
    assert "ef_search 40" in good
    assert "uses it" in good
    (early,) = [line for line in output.splitlines() if "idx_early" in line]
    assert "100%" in early  # of its rows are new
    assert "lists" in output


async def test_list_tells_what_cannot_be_reached(run: Run, sql: asyncpg.Connection) -> None:
    status, told = await parsed(run, "list")
    assert status == 1
    here, away = told
    assert (here["environment"], here["problems"]) == ("production", {})
    assert (away["environment"], away["databases"]) == ("qa", [])
    assert "cannot connect" in away["problems"][""]
    assert "nobody" not in json.dumps(away)


async def test_advise_says_what_to_do_and_what_to_expect(run: Run, sql: asyncpg.Connection, database: str) -> None:
    for statements in _SETUP:
        await sql.execute(statements)
    status, told = await parsed(run, "advise", "production")
    assert status == 1  # idx_early is of no use
    (found,) = told["databases"]
    early, good = sorted(found["indexes"], key=lambda one: str(one["index"]["indexrelname"]))
    lists = next(one for one in early["advice"] if one["subject"] == "lists")
    assert (lists["level"], lists["action"]) == ("mend", "rebuild_vector_index")
    assert lists["expected"].keys() == {"size_bytes", "build_memory_bytes", "build_seconds"}
    assert [point["setting"] for point in good["curve"]] == [20, 40, 80, 160]
    assert 0.3 < good["curve"][0]["recall"]["ratio"] <= 1
    assert good["promised_recall"] == 0.90
    assert [(one["relname"], one["column"]) for one in found["unindexed"]] == [("bare", "e")]

    status, output = await at_once(run, "advise", "production", "idx_early", "--no-measure")
    assert status == 1
    assert "idx_good" not in output
    assert "built on 0 rows, fewer than its 50 lists" in output
    names = f"-p datname={database} -p schemaname=public -p relname=empty -p indexrelname=idx_early -p lists=11"
    assert f"custode act rebuild_vector_index production {names}" in output


async def test_a_name_that_a_terminal_would_obey(run: Run, sql: asyncpg.Connection) -> None:
    await sql.execute(r"""create table t (e vector(3)); create index U&"i\001b[2J" on t using hnsw (e vector_l2_ops)""")
    for words in (["list", "production"], ["advise", "production", "--no-measure"]):
        _, output = await at_once(run, *words)
        assert "i\N{REPLACEMENT CHARACTER}[2J" in output
        assert "\x1b" not in output


async def test_a_database_without_vectors(run: Run, sql: asyncpg.Connection) -> None:
    await sql.execute("drop extension vector")
    for words in (["list", "production"], ["advise", "production"]):
        status, output = await at_once(run, *words)
        assert status == 0
        assert "no vector index" in output


async def test_an_index_that_is_not_there(run: Run) -> None:
    status, output = await at_once(run, "advise", "production", "idx_none")
    assert status == 2
    assert "custode index list production" in output
    status, output = await at_once(run, "list", "nowhere")
    assert status == 2
    assert "production, qa" in output
