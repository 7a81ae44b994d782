"""Jobs that back up a database into a store whose writes can be held back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from actions import Job, Plan
from actions.backup import Backup, Parameters
from fleet.backups import Manifest, read_manifests
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.secrets import SecretText
from fleet.stores import Stat, Store
from fleet.stores.local import LocalStore
from tests.integration.actions_kit import close, job_for

EVERYTHING = Parameters(engine="custom")
NO_PLAN = Plan("", ())  # what a backup did is in the data of its job
ROWS = """
    create table alembic_version (version_num text);
    insert into alembic_version values ('c0ffee');
    create table "odd "" name" (id int primary key, t text, v vector(3));
    create table empty_one ();
    insert into "odd "" name"
        select i, string_agg(md5(i::text || j::text), ' '), array[i, i + 1, 0.5]::vector(3)
        from generate_series(1, 6000) i, generate_series(1, 40) j group by i;
    create index on "odd "" name" using ivfflat (v vector_l2_ops) with (lists = 2);
    analyze
"""
DIGEST = """select count(*), md5(string_agg(md5(t || v::text), '' order by id)) from "odd "" name" """


class GatedStore(LocalStore):
    """Takes the first part of a dump, then waits until `go` is set."""

    def __init__(self, options: LocalStore.Options) -> None:
        super().__init__(options)
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def put(self, key: str, content: AsyncIterator[bytes]) -> Stat:
        return await super().put(key, self._gate(content) if key.endswith(".zst") else content)

    async def _gate(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for part in content:
            yield part
            self.begun.set()
            await self.go.wait()


@pytest.fixture
def store(tmp_path: Path) -> GatedStore:
    gated = GatedStore(LocalStore.Options(path=tmp_path / "store"))
    gated.go.set()
    return gated


MakeJob = Callable[..., Job]


@pytest.fixture
async def make_job(
    make_environment: Callable[..., Environment], store: GatedStore, sql: asyncpg.Connection
) -> AsyncIterator[MakeJob]:
    await sql.execute(ROWS)
    made: list[Job] = []

    def make(environment: Environment | None = None, **fields: Any) -> Job:
        made.append(job_for(environment or make_environment(), **({"stores": {"local": store}} | fields)))
        return made[-1]

    yield make
    for job in made:
        await close(job)


@pytest.fixture
def log_in_as(
    make_environment: Callable[..., Environment], server: EmbeddedServer, database: str
) -> Callable[[str], Environment]:
    """An environment whose DSN holds this login (`user` or `user:password`)."""

    def make(login: str) -> Environment:
        return make_environment(dsn=SecretText(server.dsn(database).replace("postgres@", f"{login}@")))

    return make


async def back_up(job: Job, parameters: Parameters = EVERYTHING, plan: Plan | None = None) -> Manifest:
    action = Backup()
    for step in action.steps(job, parameters, plan or await action.plan(job, parameters)):
        await step.run()
    return Manifest.model_validate(job.data["manifest"])


async def stored(store: Store) -> list[str]:
    return [stat.key for stat in await store.list()]


async def assert_only_a_failure_is_on_record(store: Store, said: str) -> None:
    (manifest,) = await read_manifests(store, "qa")
    assert not manifest.succeeded
    assert manifest.error is not None
    assert said in manifest.error
    assert await stored(store) == [f"backups/qa/{manifest.id}/manifest.json"]


def fake_pg_dump(folder: Path, script: str) -> None:
    path = folder / "pg_dump"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
