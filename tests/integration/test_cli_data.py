"""`custode data` on a real server: what is undecided, what is proposed, how masked rows look; never whose they are."""

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
from daemon.config import parse
from fleet.embedded import EmbeddedServer

SCHEMA = """
    create table users (
        id bigint generated always as identity primary key, email text not null unique, hashed_password text not null,
        full_name text, phone text, address text, is_active boolean, created_at timestamptz);
    create table messages (id bigint primary key, user_id bigint references users, content text);
    insert into users (email, hashed_password, full_name, phone, address)
        select 'mario' || n || '@rossi.it', 'secret', 'Mario Rossi', '347 1234567', 'via Garibaldi 1'
        from generate_series(1, 60) as n;
"""
NEW = """
    create table invoices (
        id bigint primary key, "partitaIva" text, payer text, state text not null, "odd: name" jsonb);
    insert into invoices
        select n, '00743110157', 'mario' || n || '@rossi.it', 'paid', '{}' from generate_series(1, 60) n;
"""
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(server: EmbeddedServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    tls = {"mode": "disable"}
    production = {"tier": "production", "dsn": server.dsn(database), "databases": [database], "tls": tls}
    bare = {"tier": "preprod", "dsn": "env:PREPROD"}
    away = {"tier": "qa", "dsn": "postgresql://nobody@127.0.0.1:1/x", "policy": {"data": {"mask_key": "env:MASK_KEY"}}}
    config = tmp_path / "custode.yml"
    config.write_text(yaml.safe_dump({"environments": {"production": production, "qa": away, "preprod": bare}}))
    monkeypatch.setattr("daemon.cli._data.out", Console(width=200))
    monkeypatch.setattr("daemon.cli._console.out", Console(width=200))
    monkeypatch.setenv("MASK_KEY", "k" * 32)

    def command(*words: str) -> tuple[int, str]:
        words = ("data", *words, "--config", str(config))
        result = CliRunner().invoke(build(words), words)
        return result.exit_code, result.output

    return command


async def at_once(run: Run, *words: str) -> tuple[int, str]:
    """The command has an event loop of its own."""
    return await asyncio.to_thread(run, *words)


async def parsed(run: Run, *words: str) -> tuple[int, Any]:
    status, output = await at_once(run, *words, "--json")
    return status, json.loads(output)


async def test_the_guides_tables_are_decided_on(run: Run, sql: asyncpg.Connection) -> None:
    await sql.execute(SCHEMA)
    status, output = await at_once(run, "plan", "qa")
    assert status == 0, output
    assert "email mask:email, hashed_password mask:hash, full_name mask:name, phone null, address null" in output
    assert "emptied" in output
    status, output = await at_once(run, "classify", "qa")
    assert (status, "everything is decided on for qa" in output) == (0, True)


async def test_nothing_can_be_masked_without_a_key(run: Run, sql: asyncpg.Connection) -> None:
    await sql.execute(SCHEMA)
    status, output = await at_once(run, "plan", "preprod")
    assert (status, "the policy names no key" in output) == (1, True)
    status, output = await at_once(run, "mask", "preprod", "users", "--preview")
    assert (status, "rossi" in output) == (1, False)


async def test_a_new_table_is_told_of_and_proposed_as_the_configuration_takes_it(
    run: Run, sql: asyncpg.Connection
) -> None:
    await sql.execute(SCHEMA + NEW)
    status, answer = await parsed(run, "plan", "qa")
    assert (status, answer["lacks_key"]) == (1, False)
    (planned,) = answer["databases"]
    assert planned["undecided"] == [{"table": "invoices", "column": None, "reason": "nobody decided on this table"}]
    assert "public.conversations" in planned["unused"]
    status, output = await at_once(run, "classify", "qa")
    assert status == 1
    assert "rossi" not in output
    proposed = yaml.safe_load(output)["environments"]["qa"]["policy"]["data"]["columns"]
    assert proposed == {
        "invoices": {
            "id": "keep",
            "partitaIva": "mask:partita_iva",
            "payer": "mask:email",
            "state": "keep",
            "odd: name": "null",
        }
    }
    text = yaml.safe_dump(
        {"environments": {"qa": {"tier": "qa", "dsn": "env:QA", "policy": {"data": {"columns": proposed}}}}}
    )
    assert parse(text, Path("custode.yml")).environments["qa"].policy.data.columns["invoices"].columns is not None


async def test_a_preview_shows_masks_and_nothing_that_was_there(run: Run, sql: asyncpg.Connection) -> None:
    await sql.execute(SCHEMA)
    status, rows = await parsed(run, "mask", "qa", "users", "--preview", "--rows", "3")
    assert status == 0
    assert len(rows) == 3
    assert all(row["email"].endswith("@qa.invalid") for row in rows)
    assert {(row["id"], row["phone"]) for row in rows} == {("(keep)", "(null)")}
    status, output = await at_once(run, "mask", "qa", "users", "--preview")
    assert (status, "ossi" in output, "347" in output) == (0, False, False)


async def test_nothing_but_a_preview_is_made_here(run: Run, sql: asyncpg.Connection) -> None:
    await sql.execute(SCHEMA + NEW)
    assert (await at_once(run, "mask", "qa", "users"))[0] == 2
    assert (await at_once(run, "mask", "qa", "nothing", "--preview"))[0] == 2
    for table in ("messages", "invoices"):
        status, output = await at_once(run, "mask", "qa", table, "--preview")
        assert status != 0
        assert "rossi" not in output


@pytest.mark.parametrize("words", [("plan", "production"), ("plan", "nowhere"), ("plan", "qa", "--source", "qa")])
async def test_production_is_never_a_target(run: Run, words: tuple[str, ...]) -> None:
    status, output = await at_once(run, *words)
    assert status == 2
    assert "never copied into" in output or "is no environment" in output
