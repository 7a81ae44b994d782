"""`custode index probe` on a real server: what it measures without a daemon, and what it needs leave for."""

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
from tests.integration.index_trouble_recall import vectors

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(server: EmbeddedServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    where = {"dsn": server.dsn(database), "databases": [database], "tls": {"mode": "disable"}}
    bound = {"tier": "qa", "policy": {"vectors": {"probe_share": 0.000001}}, **where}
    config = tmp_path / "custode.yml"
    config.write_text(yaml.safe_dump({"environments": {"qa": {"tier": "qa", **where}, "bound": bound}}))
    monkeypatch.setattr("daemon.cli._index_probe.out", Console(width=160))

    def command(*words: str) -> tuple[int, str]:
        words = ("index", "probe", *words, "--config", str(config))
        result = CliRunner().invoke(build(words), words)
        return result.exit_code, result.output

    return command


@pytest.fixture
async def indexed(sql: asyncpg.Connection) -> None:
    await sql.execute(vectors(rows=2000))
    await sql.execute("""
        create index poor on chunks using ivfflat (e vector_cosine_ops) with (lists = 50);
        create index good on chunks using hnsw (e vector_l2_ops);
        analyze chunks
    """)


async def at_once(run: Run, *words: str) -> tuple[int, str]:
    """The command has an event loop of its own."""
    return await asyncio.to_thread(run, *words)


async def parsed(run: Run, *words: str) -> tuple[int, dict[str, Any]]:
    status, output = await at_once(run, *words, "--json")
    return status, {one["index"]["indexrelname"]: one for one in json.loads(output)}


@pytest.mark.usefixtures("indexed")
async def test_every_index_is_estimated_and_less_than_promised_is_wrong(run: Run) -> None:
    status, found = await parsed(run, "qa")
    assert status == 1
    assert found.keys() == {"poor", "good"}
    poor, good = found["poor"], found["good"]
    assert poor["own"]["recall"]["ratio"] < poor["promised"] == 0.85
    assert poor["own"]["recall"]["queries"] == 100
    assert good["own"]["recall"]["ratio"] > 0.95
    assert (poor["exact"], poor["curve"], poor["reaching"], poor["problem"]) == (False, [], None, None)
    assert good["reaching"]["setting"] == 40
    status, output = await at_once(run, "qa", "public.good")
    assert status == 0
    assert "hnsw.ef_search = 40 reaches 0.90" in output
    assert "40 (as sessions have it)" in output
    assert "poor" not in output


@pytest.mark.usefixtures("indexed")
async def test_the_exact_probe_finds_the_setting_for_a_target(run: Run) -> None:
    status, found = await parsed(run, "qa", "poor", "--settings", "5,50", "--target", "0.99", "--queries", "30")
    poor = found["poor"]
    assert status == 1
    assert poor["exact"] is True
    assert [point["setting"] for point in (poor["own"], *poor["curve"])] == [1, 5, 50]
    assert poor["curve"][1]["recall"] == {
        "ratio": 1.0,
        "low": pytest.approx(0.987, abs=0.001),
        "high": 1.0,
        "queries": 30,
    }
    assert poor["reaching"]["setting"] in {5, 50}
    _, output = await at_once(run, "qa", "poor", "--exact")
    assert "compared with all rows; ivfflat.probes = " in output


@pytest.mark.usefixtures("indexed")
async def test_memory_of_others_is_left_alone_without_leave(run: Run) -> None:
    status, found = await parsed(run, "bound", "poor", "--exact")
    assert status == 1
    assert "--may-evict" in found["poor"]["problem"]
    status, found = await parsed(run, "bound", "poor", "--exact", "--may-evict")
    assert found["poor"]["own"]["recall"]["ratio"] > 0


async def test_what_cannot_be_probed_says_why(run: Run, sql: asyncpg.Connection) -> None:
    assert await at_once(run, "qa") == (0, "no vector index\n")
    await sql.execute("create table t (e vector(3)); create index i on t using hnsw (e vector_l2_ops)")
    status, found = await parsed(run, "qa")
    assert (status, found["i"]["problem"]) == (1, "its table has no rows to search for")
    _, output = await at_once(run, "qa")
    assert "✗ its table has no rows to search for" in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "no environment"),
        (("qa", "nothing"), "no vector index"),
        (("qa", "--settings", "1,x"), "no numbers"),
        (("qa", "--settings", "0"), "1 at least"),
    ],
    ids=["environment", "index", "numbers", "zero"],
)
async def test_what_is_asked_wrongly_is_refused(run: Run, words: tuple[str, ...], said: str) -> None:
    status, output = await at_once(run, *words)
    assert status == 2
    assert said in output
