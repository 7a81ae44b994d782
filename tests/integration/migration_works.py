"""An application at work on a database: the guide's migrations, and whoever stands in their way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from actions import Action, Job, Plan, Verdict
from actions.migrate import Migrate
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.policy import Tier
from fleet.stores.local import LocalStore
from tests.integration.actions_kit import close, job_for, until
from tests.integration.migration_trouble import ENV_PY, script, settings, write_application

MIGRATE = Migrate()
BASE = script(
    "start",
    None,
    'op.execute("create table knowledge_items (id int primary key, old_name text, unused_field text)")',
    'op.drop_table("knowledge_items")',
)
ADD = """
op.add_column("knowledge_items", sa.Column("publication_date", sa.Date(), nullable=True))
op.create_index("idx_ki_publication_date", "knowledge_items", ["publication_date"])
"""
ADD_BACK = """
op.drop_index("idx_ki_publication_date")
op.drop_column("knowledge_items", "publication_date")
"""
CONCURRENT = """
with op.get_context().autocommit_block():
    op.execute("CREATE INDEX CONCURRENTLY idx_old_name ON knowledge_items (old_name);")
"""
CONCURRENT_BACK = """
with op.get_context().autocommit_block():
    op.execute("DROP INDEX CONCURRENTLY idx_old_name;")
"""
RENAME_1 = """
op.add_column("knowledge_items", sa.Column("new_name", sa.Text(), nullable=True))
op.execute("UPDATE knowledge_items SET new_name = old_name;")
"""
RENAME_1_BACK = 'op.drop_column("knowledge_items", "new_name")'
DROP = 'op.drop_column("knowledge_items", "{0}")'
DROP_BACK = 'op.add_column("knowledge_items", sa.Column("{0}", sa.Text(), nullable=True))'


class Works:
    """An application and its database, at the revision `start`."""

    def __init__(self, folder: Path, sql: asyncpg.Connection, make: Callable[..., Environment], database: str) -> None:
        self.folder, self.sql, self.database = folder / "application", sql, database
        self.store = LocalStore(LocalStore.Options(path=folder / "store"))
        self._make = make
        self.jobs: list[Job] = []
        self.plan = Plan("", ())

    def ship(self, up: str, back: str, *, env: str = ENV_PY, **more: str) -> None:
        """A release with one more revision, `next`, and others."""
        scripts = {"0_base": BASE, "1_next": script("next", "start", up, back)} | more
        write_application(self.folder, scripts, env=env)

    def job(self, data: Mapping[str, Any] | None = None, *, tier: Tier = Tier.QA, **fields: Any) -> Job:
        named = {name: fields.pop(name) for name in ("elsewhere", "check", "now") if name in fields}
        environment = self._make(tier=tier, migrations=settings(self.folder, **fields))
        self.jobs.append(job_for(environment, stores={"local": self.store}, data=dict(data or {}), **named))
        return self.jobs[-1]

    async def run(
        self, job: Job | None = None, action: Action[Any] = MIGRATE, until: str | None = None, **said: Any
    ) -> Verdict:
        """Plan, then the steps (up to `until`), as the engine does."""
        job = job or self.job()
        parameters = action.parameters().model_validate(said)
        self.plan = await action.plan(job, parameters)
        for step in action.steps(job, parameters, self.plan):
            if step.name == until:
                break
            await step.run()
        return await action.verify(job, parameters, self.plan)

    async def at(self) -> list[str]:
        return [row[0] for row in await self.sql.fetch("select version_num from alembic_version order by 1")]

    async def columns(self) -> set[str]:
        return {
            row[0]
            for row in await self.sql.fetch(
                "select attname from pg_attribute where attrelid = 'knowledge_items'::regclass and attnum > 0"
                " and not attisdropped"
            )
        }

    async def indexes(self) -> dict[str, bool]:
        rows = await self.sql.fetch(
            "select indexrelid::regclass::text, indisvalid from pg_index where indrelid = 'knowledge_items'::regclass"
        )
        return dict(tuple(row) for row in rows)


OLD = {"id", "old_name", "unused_field"}


@pytest.fixture
async def works(
    tmp_path: Path, sql: asyncpg.Connection, make_environment: Callable[..., Environment], database: str
) -> AsyncIterator[Works]:
    await sql.execute("""
        create table knowledge_items (id int primary key, old_name text, unused_field text);
        insert into knowledge_items select i, 'name ' || i % 100, 'x' from generate_series(1, 1000) i;
        create table alembic_version (version_num varchar(32) not null constraint alembic_version_pkc primary key);
        insert into alembic_version values ('start'); analyze
    """)
    works = Works(tmp_path, sql, make_environment, database)
    yield works
    for job in works.jobs:
        await close(job)


@pytest.fixture
async def blocker(server: EmbeddedServer, database: str) -> AsyncIterator[asyncpg.Connection]:
    """A client of the application."""
    connection = await asyncpg.connect(server.dsn(database))
    yield connection
    await connection.close()


@pytest.fixture
async def second(server: EmbeddedServer, database: str, sql: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """Another database, empty."""
    name = f"{database}_second"
    await sql.execute(f'create database "{name}"')
    connection = await asyncpg.connect(server.dsn(name))
    yield connection
    await connection.close()
    await sql.execute(f'drop database "{name}" with (force)')


async def waits(sql: asyncpg.Connection, *, seconds: float = 0.0) -> None:
    """Until a session of Alembic has waited so long for a transaction."""

    async def waiting() -> bool:
        return bool(await sql.fetchval(_WAITING, seconds))

    await until(waiting, "a session of Alembic waits")


_WAITING = """
    select exists (select from pg_locks l join pg_stat_activity a using (pid)
        where not granted and locktype in ('virtualxid', 'transactionid') and application_name like '%/alembic'
          and clock_timestamp() - waitstart > make_interval(secs => $1))
"""
