"""`custode backups`: what people see of a store, read without a daemon."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from daemon import clock
from daemon.cli._main import build
from fleet.backups import (
    Blob,
    DatabaseSnapshot,
    Manifest,
    Pin,
    Proof,
    Table,
    TableCopy,
    backup_id,
    write_manifest,
    write_pin,
    write_proof,
)
from fleet.stores.local import LocalStore

HOUR = 3600.0
DAY = 24 * HOUR
BLOB = Blob(key="objects/production/aa/aa", size_bytes=10, plain_bytes=30)
CONFIG = """
environments:
  production:
    tier: production
    dsn: env:PROD
    policy: {{backup: {{files: ["{folder}/*.sql.gz"], copies: {{offsite: {{retention: {{monthly: 365d}}}}}}}}}}
  development: {{tier: development, dsn: env:DEV}}
stores:
  local: {{type: local, path: "{folder}/local"}}
  offsite: {{type: local, path: "{folder}/offsite"}}
"""


def snapshot(rows: int) -> DatabaseSnapshot:
    copy = TableCopy(
        schema_name="public", name="knowledge_chunks", rows=rows, plain_bytes=3000, stored_bytes=1000, chunks=BLOB
    )
    return DatabaseSnapshot(
        name="app",
        owner="app",
        encoding="UTF8",
        collate="C",
        ctype="C",
        extensions={"vector": "0.8.6"},
        revisions=("c0ffee",),
        fingerprint="f",
        roles=("app",),
        identity="1/1/1",
        xid=1,
        pre_data=BLOB,
        data=BLOB,
        post_data=BLOB,
        tables=(
            Table(schema_name="public", name="knowledge_chunks", rows=rows),
            Table(schema_name="public", name="users", rows=7),
        ),
        copies=(copy,),
    )


def manifest(age: float, number: int, *, succeeded: bool = True, added: int = 50) -> Manifest:
    at = clock.now() - age
    return Manifest(
        id=backup_id(at, f"{number:08x}"),
        environment="production",
        started_at=at,
        finished_at=at + 3,
        succeeded=succeeded,
        error=None if succeeded else "the disk is full",
        server_version="18.1",
        tool_version="18.1",
        snapshots=(snapshot(100_000),) if succeeded else (),
        added_bytes=added,
        parent=None if number == 0 else "before",
    )


AGES = [40 * DAY, 3 * DAY, 3 * DAY - HOUR, 2 * HOUR, HOUR / 2]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    (tmp_path / "custode.yml").write_text(CONFIG.format(folder=tmp_path))
    empty = tmp_path / "prod_backup_20251120_080000.sql.gz"
    empty.touch()
    os.utime(empty, (1_763_625_600, 1_763_625_600))

    monkeypatch.setattr("daemon.cli._backups.out", Console(width=200))

    def command(*words: str) -> tuple[int, str]:
        words = (*words, "--config", str(tmp_path / "custode.yml"))
        result = CliRunner().invoke(
            build(words),
            words,
        )
        return result.exit_code, result.output

    return command


@pytest.fixture
def manifests(tmp_path: Path) -> list[Manifest]:
    made = [manifest(age, number) for number, age in enumerate(AGES)]
    asyncio.run(
        _fill(
            LocalStore(LocalStore.Options(path=tmp_path / "local")),
            LocalStore(LocalStore.Options(path=tmp_path / "offsite")),
            made,
        )
    )
    return made


async def _fill(local: LocalStore, offsite: LocalStore, made: list[Manifest]) -> None:
    for one in made:
        await write_manifest(local, one)
    await write_pin(local, made[1], Pin(at=1.0, by="anna", reason="before the migration"))
    await write_proof(local, made[-1], Proof(at=clock.now() - 60, seconds=42.0))
    await write_manifest(offsite, made[0])


def test_every_store_is_listed_with_what_it_keeps(
    run: Callable[..., tuple[int, str]], manifests: list[Manifest]
) -> None:
    status, said = run("backups", "list", "production")
    assert status == 0
    for word in ("local", "offsite", "hourly", "daily", "pinned: before the migration", "prod_backup_20251120"):
        assert word in said
    listed = json.loads(run("backups", "list", "production", "--json")[1])
    backups = {one["id"]: one for one in listed["stores"][0]["backups"]}
    assert set(backups) == {one.id for one in manifests}
    assert backups[manifests[-1].id]["tiers"] == ["hourly", "daily", "weekly", "monthly"]
    assert backups[manifests[-1].id]["proof"]["seconds"] == 42.0
    assert listed["files"][0]["problem"] == "it is empty"


def test_one_is_shown_by_the_beginning_of_its_id(
    run: Callable[..., tuple[int, str]], manifests: list[Manifest]
) -> None:
    status, said = run("backups", "show", "production", manifests[-1].id[:18])
    assert status == 0
    for word in ("100,000", "public.knowledge_chunks", "c0ffee", "vector 0.8.6", "restored in 42s"):
        assert word in said
    assert manifests[-1].id in run("backups", "show", "production", "latest")[1]
    assert json.loads(run("backups", "show", "production", "latest", "--json")[1])["id"] == manifests[-1].id
    status, said = run("backups", "show", "production", "2")
    assert status == 2
    assert "backups begin so" in said


def test_a_dry_prune_says_of_each_why(run: Callable[..., tuple[int, str]], manifests: list[Manifest]) -> None:
    decisions = json.loads(run("backups", "prune", "production", "--dry-run", "--json")[1])
    why = {one["id"]: one for one in decisions["local"]}
    assert "pinned: before the migration" in why[manifests[1].id]["reasons"]
    assert why[manifests[0].id]["keep"], "the month of it"
    removed = [one["id"] for one in decisions["local"] if not one["keep"]]
    status, said = run("backups", "prune", "production", "--dry-run")
    assert status == 0
    assert f"{len(removed)} of 5 would be removed" in said


def test_nothing_stored_is_a_failure(run: Callable[..., tuple[int, str]]) -> None:
    status, said = run("backups", "list", "production")
    assert status == 1
    assert "0 good backups" in said


@pytest.mark.usefixtures("manifests")
def test_the_calendar_has_a_mark_a_day(run: Callable[..., tuple[int, str]]) -> None:
    status, said = run("backups", "calendar", "production", "--days", "60")
    assert status == 0
    marks = [
        line[4:].split() for line in said.splitlines() if line[:3] in {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}
    ]
    assert len(marks) == 14, "two stores of seven weekdays"
    assert sum(mark != "·" for row in marks[:7] for mark in row) in {3, 4, 5}


@pytest.mark.usefixtures("manifests")
def test_a_year_of_the_policy_is_forecast(run: Callable[..., tuple[int, str]]) -> None:
    told = json.loads(run("backups", "simulate", "production", "--days", "400", "--change", "0.01", "--json")[1])
    last = told["days"][-1]
    assert last["series"]["hourly"] == 24
    assert last["series"]["daily"] in {30, 31}
    assert last["series"]["monthly"] in {12, 13}
    assert last["stored_bytes"] <= told["peak_bytes"]
    status, said = run("backups", "simulate", "production", "--days", "400")
    assert status == 0
    assert "400 d" in said


def test_what_does_not_exist_is_told(run: Callable[..., tuple[int, str]]) -> None:
    for words, expected in (
        (("list", "nowhere"), "is no environment"),
        (("simulate", "development"), "is promised no backups"),
        (("show", "production", "latest"), "there is none"),
    ):
        status, said = run("backups", *words)
        assert status == 2
        assert expected in said
