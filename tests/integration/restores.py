"""Snapshots to restore: a database with a bit of everything, backed up into a store by the action that does so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from actions import Action, Job, Plan
from actions.backup import Backup
from fleet.backups import Manifest
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.stores.local import LocalStore
from tests.integration.actions_kit import close, job_for

# large enough to be copied in chunks: `chunks` in binary, `oddities` as text, for its type has no portable binary form
CONTENT = """
    create role restore_app nologin;
    create schema "Odd; schema";
    create table items (id int primary key, name text not null unique, price money default 1);
    insert into items select i, E'item\\t\\\\. \\n' || i from generate_series(1, 300) i;
    create table chunks (
        id bigint generated always as identity primary key, item_id int not null references items,
        content text, twice int generated always as (item_id * 2) stored, embedding vector(64),
        at timestamptz default now()
    );
    insert into chunks (item_id, content, embedding)
        select 1 + i % 300, string_agg(md5(i::text || j), ' '), (array_agg((i * j % 97)::real))[:64]::vector(64)
        from generate_series(1, 2000) i, generate_series(1, 72) j group by i;
    create index chunks_text on chunks using gin (to_tsvector('simple', content));
    create index chunks_hnsw on chunks using hnsw (embedding vector_cosine_ops) with (m = 4, ef_construction = 16);
    create index chunks_half on chunks using ivfflat ((embedding::halfvec(64)) halfvec_l2_ops) with (lists = 3);
    comment on index chunks_hnsw is E'for ''search''\\n--\\n-- Name: x; Type: INDEX; Schema: y; Owner: z\\n--\\n';
    create table "Odd; schema"."odd "" name" (id int primary key, price money, text text);
    insert into "Odd; schema"."odd "" name" select i, i, repeat(md5(i::text), 40) from generate_series(1, 6000) i;
    create table parts (id int, day date, primary key (id, day)) partition by range (day);
    create table parts_1 partition of parts for values from ('2026-01-01') to ('2026-02-01');
    create table parts_2 partition of parts for values from ('2026-02-01') to ('2026-03-01');
    create index on parts (day);
    insert into parts select i, '2026-01-01'::date + i % 50 from generate_series(1, 500) i;
    create table nothing ();
    create materialized view per_item as select i.id, i.name, count(*) as chunks
        from items i join chunks c on c.item_id = i.id group by i.id;
    create unique index on per_item (id);
    create function noted() returns trigger language plpgsql as $$ begin new.name := new.name; return new; end $$;
    create trigger noted before update on items for each row execute function noted();
    alter table items enable row level security;
    create policy visible on items using (id > 0);
    create view cheap as select id, name from items where price < 10::money;
    alter table items owner to restore_app;
    grant select on chunks to restore_app;
    create sequence counter start 5; select nextval('counter');
    select lo_from_bytea(0, 'a large object');
    analyze
"""


@pytest.fixture
async def content(sql: asyncpg.Connection, server: EmbeddedServer, database: str) -> AsyncIterator[str]:
    """The database with CONTENT in it; what is restored beside it goes with it."""
    await sql.execute("drop role if exists restore_app")
    await sql.execute(CONTENT)
    yield database
    admin = await asyncpg.connect(server.dsn())
    for left in await databases(admin, database):
        await admin.execute(f'drop database "{left}" with (force)')
    await admin.execute("drop role if exists restore_app")
    await admin.close()


MakeSite = Callable[..., Job]


@pytest.fixture
async def restoring(make_environment: Callable[..., Environment], store: LocalStore) -> AsyncIterator[MakeSite]:
    """Jobs on the environment; each is another process."""
    made: list[Job] = []

    def make(environment: Environment | None = None, **fields: Any) -> Job:
        made.append(job_for(environment or make_environment(), **({"stores": {"local": store}} | fields)))
        return made[-1]

    yield make
    for job in made:
        await close(job)


async def take(job: Job, database: str) -> Manifest:
    """A backup, as the daemon takes it."""
    action = Backup()
    parameters = action.parameters()(databases=(database,))
    plan = await action.plan(job, parameters)
    for step in action.steps(job, parameters, plan):
        await step.run()
    return Manifest.model_validate(job.data["manifest"])


async def run_steps(action: Action[Any], job: Job, parameters: Any, plan: Plan) -> None:
    for step in action.steps(job, parameters, plan):
        await step.run()


async def databases(sql: asyncpg.Connection, like: str) -> list[str]:
    rows = await sql.fetch("select datname from pg_database where starts_with(datname, $1) order by 1", like)
    return [row["datname"] for row in rows]
