"""`custode schema` on a real server: what people see of revisions, drift and its causes, without a daemon."""

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
from tests.integration.migration_trouble import KIT, settings, write_application

_VERSION_TABLE = "create table alembic_version (version_num varchar(32) constraint alembic_version_pkc primary key)"
_ONE = "create table notes (id serial primary key, text text); create table migrated (what text)"
_TWO = "alter table notes add at date"
_THREE = "create index notes_at on notes (at)"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(
    server: EmbeddedServer, database: str, second: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """`qa` is the database of `sql`, `production` that of `second`; nobody answers in `preprod`."""
    folder = write_application(tmp_path / "application", KIT)
    migrations = json.loads(json.dumps(settings(folder), default=str))

    def environment(tier: str, name: str, **more: Any) -> dict[str, Any]:
        tls = {"mode": "disable"}
        return {"tier": tier, "dsn": server.dsn(name), "databases": [name], "tls": tls, "migrations": migrations} | more

    environments = {
        "production": environment("production", f"{database}_second"),
        "qa": environment("qa", database),
        "bare": environment("qa", database, migrations={}),
        "preprod": {"tier": "preprod", "dsn": "postgresql://nobody@127.0.0.1:1/x"},
    }
    config = tmp_path / "custode.yml"
    config.write_text(yaml.safe_dump({"environments": environments, "schema_reference": "production"}))
    for module in ("_runs", "_schema", "_console"):
        monkeypatch.setattr(f"daemon.cli.{module}.out", Console(width=200))

    def command(*words: str) -> tuple[int, str]:
        words = ("schema", *words, "--config", str(config))
        result = CliRunner().invoke(build(words), words)
        return result.exit_code, result.output or repr(result.exception)

    return command


@pytest.fixture
async def both(sql: asyncpg.Connection, second: asyncpg.Connection) -> None:
    """Production is at the head; qa is at the first revision."""
    await second.execute("create extension vector; create extension unaccent")
    for connection, revision, parts in ((sql, "one", (_ONE,)), (second, "three", (_ONE, _TWO, _THREE))):
        for part in (_VERSION_TABLE, *parts):
            await connection.execute(part)
        await connection.execute("insert into alembic_version values ($1)", revision)


async def at_once(run: Run, *words: str) -> tuple[int, str]:
    """The command has an event loop of its own."""
    return await asyncio.to_thread(run, *words)


async def parsed(run: Run, *words: str) -> tuple[int, Any]:
    status, output = await at_once(run, *words, "--json")
    return status, json.loads(output)


@pytest.mark.usefixtures("both")
async def test_status_shows_revisions_and_schemas_side_by_side(run: Run) -> None:
    status, output = await at_once(run, "status")
    assert status == 1
    lines = {words[1]: line for line in output.splitlines() if len(words := line.split()) > 2}
    assert "two" not in lines["qa"]
    assert "2 behind" in lines["qa"]
    assert "2 differences" in lines["qa"]
    assert "at head" in lines["production"]
    assert "preprod cannot be read" in output
    status, found = await parsed(run, "status", "production")
    assert status == 0
    assert found[0]["databases"][0]["scripts"] == {"heads": ["three"], "unknown": [], "behind": [], "ahead": None}


@pytest.mark.usefixtures("both")
async def test_diff_names_what_differs_and_says_how_to_mend_it(run: Run, sql: asyncpg.Connection) -> None:
    status, output = await at_once(run, "diff", "qa")
    assert status == 1
    assert "+ column public.notes.at: missing" in output
    assert "+ index public.notes_at: missing" in output
    status, output = await at_once(run, "diff", "qa", "--sql")
    statements = [line for line in output.splitlines() if not line.startswith("--")]
    assert statements == [
        "ALTER TABLE public.notes ADD COLUMN at date;",
        "CREATE INDEX CONCURRENTLY notes_at ON public.notes USING btree (at);",
    ]
    status, (found,) = await parsed(run, "diff", "qa", "--against", "bare")
    assert (status, found["differences"], found["sql"]) == (0, [], [])
    for statement in statements:
        await sql.execute(statement)
    assert (await at_once(run, "diff", "qa"))[0] == 0


@pytest.mark.usefixtures("both")
async def test_diff_with_the_scripts(run: Run, sql: asyncpg.Connection) -> None:
    assert (await at_once(run, "diff", "qa", "--scripts"))[0] == 0
    await sql.execute("drop table migrated")
    status, (found,) = await parsed(run, "diff", "qa", "--scripts")
    assert (status, found["against"]) == (1, None)
    assert [(one["kind"], one["object"], one["change"]) for one in found["differences"]] == [
        ("table", "public.migrated", "missing")
    ]


@pytest.mark.usefixtures("both")
async def test_a_migration_under_way_is_no_difference(
    run: Run, sql: asyncpg.Connection, second: asyncpg.Connection
) -> None:
    async with second.transaction():
        await second.execute("update alembic_version set version_num = 'three'")
        status, output = await at_once(run, "diff", "qa")
        assert status == 1
        assert "a migration is under way in production" in output
        assert "missing" not in output


@pytest.mark.usefixtures("both")
async def test_fingerprints_are_equal_where_schemas_are(run: Run, sql: asyncpg.Connection) -> None:
    async def read(name: str) -> str:
        status, (found,) = await parsed(run, "fingerprint", name)
        assert status == 0
        return str(found["fingerprint"])

    assert await read("qa") != await read("production")
    await sql.execute(_TWO)
    await sql.execute(_THREE)
    assert await read("qa") == await read("production")
    assert (await at_once(run, "fingerprint", "qa"))[1].split()[0] == await read("production")


@pytest.mark.usefixtures("both")
async def test_explain_offers_to_stamp_a_column_that_exists_already(
    run: Run, sql: asyncpg.Connection, database: str
) -> None:
    status, (found,) = await parsed(run, "explain", "qa")
    assert (status, found["sound"], found["remedies"]) == (0, True, [])
    await sql.execute(_TWO)
    status, (found,) = await parsed(run, "explain", "qa")
    assert (status, found["recorded"], found["in_fact"]) == (1, ["one"], ["two"])
    assert {one["revision"]: one["verdict"] for one in found["revisions"]} == {
        "one": "present",
        "two": "present",
        "three": "missing",
    }
    assert [one["kind"] for one in found["remedies"]] == ["stamp", "reset"]
    status, output = await at_once(run, "explain", "qa")
    assert "on record one, in fact two" in output
    assert "has column public.notes.at" in output
    assert f"$ custode act stamp qa -p revision=two -p datname={database}" in output
    assert f"$ custode reset qa --database {database} --dry-run" in output


@pytest.mark.usefixtures("both")
async def test_explain_drafts_a_repair_of_what_is_on_record_and_not_there(run: Run, second: asyncpg.Connection) -> None:
    await second.execute("drop table migrated")
    status, output = await at_once(run, "explain", "production")
    assert status == 1
    assert "lacks table public.migrated" in output
    assert "CREATE TABLE IF NOT EXISTS public.migrated (" in output
    assert "reset" not in output
    status, output = await at_once(run, "explain", "production", "--draft")
    assert "down_revision = 'three'" in output
    assert "op.execute('CREATE TABLE IF NOT EXISTS public.migrated" in output


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("diff", "nowhere"), "'nowhere' is no environment"),
        (("diff", "production"), "production is compared with whom?"),
        (("diff", "qa", "--scripts", "--against", "qa"), "not both"),
        (("diff", "preprod"), "preprod cannot be read"),
        (("explain", "bare"), "bare does not say where the application's scripts are"),
    ],
    ids=["no_environment", "with_itself", "both", "away", "no_scripts"],
)
async def test_what_cannot_be_answered_is_said(run: Run, words: tuple[str, ...], why: str) -> None:
    status, output = await at_once(run, *words)
    assert status != 0
    assert why in " ".join(output.replace("│", " ").split())
