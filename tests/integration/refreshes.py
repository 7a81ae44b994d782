"""A qa and a production with people in every hiding place, for tests of what copies data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from actions import Job, Plan, Verdict
from actions.refresh import Parameters, Refresh
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, ConsentPolicy, DataPolicy, Tier
from fleet.stores.local import LocalStore
from tests.integration.actions_kit import close, job_for
from tests.integration.data_trouble import write_key

ACTION = Refresh()
# a person, in every form and place that a copy might take along
PLANTED = (
    *("mario.rossi", "rossi.it", "Mario Rossi", "4539578763621486", "IT60X0542811101000000123456"),
    *("RSSMRA85T10A562S", "3471234567", "via Garibaldi 12", "6d6172696f2e726f737369"),
)
SHARED = """
    create extension if not exists vector;
    create extension if not exists citext;
    create schema if not exists crm;
    create domain mail as citext check (value like '%@%');
    create type mood as enum ('well', 'ill');
    create table users (
        id bigint generated always as identity primary key, email mail not null unique, others mail[],
        phone varchar(20), full_name text, iban text, fiscal char(16), born date, profile jsonb, photo bytea,
        mood mood default 'well', moods mood[], shown text generated always as ('user ' || (id::text)) stored
    );
    create table notes (
        id int primary key, owner bigint not null references users, title text not null, body text,
        length int, price money default 1, near vector(3)
    );
    create index notes_near on notes using hnsw (near vector_l2_ops) with (m = 4, ef_construction = 16);
    create index notes_title on notes using gin (to_tsvector('simple', title));
    create table crm.calls (id int, at timestamptz not null, who bigint references users, text text)
        partition by range (at);
    create table crm.calls_2026 partition of crm.calls for values from ('2026-01-01') to ('2027-01-01');
    create table messages (id serial primary key, owner bigint references users, text text);
    create table rates (id serial primary key, rate numeric);
    create materialized view per_owner as select owner, count(*) as notes from notes group by owner;
    create unique index on per_owner (owner);
    create view titles as select id, title from notes;
    create function touched() returns trigger language plpgsql as $$ begin new.title := new.title; return new; end $$;
    create trigger touched before update on notes for each row execute function touched();
"""
PEOPLE = """
    insert into users (email, others, phone, full_name, iban, fiscal, born, profile, photo, moods)
        select 'Mario.Rossi' || n || '@rossi.it', array['mario.rossi@rossi.it']::mail[], '+39 3471234567',
            'Mario Rossi', 'IT60X0542811101000000123456', 'RSSMRA85T10A562S', '1985-12-10',
            '{"address": "via Garibaldi 12", "theme": "dark"}', 'mario.rossi@rossi.it'::bytea, '{ill,well}'
        from generate_series(1, 60) n;
    insert into notes select n, 1 + n % 60, 'articolo ' || n, 'carta 4539578763621486, via Garibaldi 12', 0, n,
        array[n, -n, 1]::vector from generate_series(1, 500) n;
    insert into crm.calls select n, '2026-05-01', n, 'mario.rossi@rossi.it chiama' from generate_series(1, 60) n;
    insert into messages (owner, text) select n, 'Mario Rossi, 3471234567' from generate_series(1, 60) n;
    insert into rates (rate) select n / 10.0 from generate_series(1, 30) n;
    comment on table notes is 'ask mario.rossi@rossi.it';
    refresh materialized view per_owner;
    analyze
"""
COLUMNS: Mapping[str, Any] = {
    "users": {
        **dict.fromkeys(("id", "mood", "moods"), "keep"),
        **dict.fromkeys(("email", "others"), "mask:email"),
        "phone": "mask:phone",
        "full_name": "mask:name",
        "iban": "mask:iban",
        "fiscal": "mask:codice_fiscale",
        "born": "mask:date_shift",
        "profile": {"mask": "json", "paths": {"theme": "keep"}},
        "photo": "mask:bytes",
    },
    "notes": {
        **dict.fromkeys(("id", "owner", "title", "price"), "keep"),
        "body": "mask:text",
        "length": {"regenerate": "length(title)"},
        "near": "mask:vector",
    },
    "crm.calls": {"id": "keep", "at": "keep", "who": "keep", "text": "mask:text"},
    "rates": {"id": "keep", "rate": "keep"},
    "messages": "empty",
}
_BESIDE = """
    select datname::text from pg_database where starts_with(datname, $1 || '_') or datname = 'custode_new_0123456789ab'
"""


@dataclass
class Fleet:
    """qa and production, each a database of the same server; `others` are the environments beside qa."""

    server: EmbeddedServer
    qa: Environment
    others: dict[str, Environment]
    stores: Mapping[str, LocalStore]
    jobs: list[Job] = field(default_factory=list)

    @property
    def database(self) -> str:
        return str((self.qa.databases or ())[0])

    @property
    def source(self) -> str:
        return f"{self.database}_production"

    def decide(self, **columns: Any) -> None:
        """Other decisions on tables of qa; None: nobody has decided."""
        merged = {name: each for name, each in {**COLUMNS, **columns}.items() if each is not None}
        self.use(data={"columns": merged})

    def use(self, data: Mapping[str, Any]) -> None:
        old = self.qa.policy.data
        changed = DataPolicy.model_validate({**old.model_dump(exclude=set(data)), "mask_key": old.mask_key, **data})
        self.qa = self.qa.model_copy(update={"policy": self.qa.policy.model_copy(update={"data": changed})})

    def job(self, **fields: Any) -> Job:
        """Another process on qa."""
        environments = {self.qa.name: self.qa, **self.others}
        more: dict[str, Any] = {"run_id": "0123456789ab", "stores": self.stores}

        def elsewhere(name: str) -> Job:
            self.jobs.append(job_for(environments[name], **more))
            return self.jobs[-1]

        tiers = {name: each.tier for name, each in environments.items()}
        self.jobs.append(job_for(self.qa, **({"elsewhere": elsewhere, "tiers": tiers} | more | fields)))
        return self.jobs[-1]

    async def refresh(self, **parameters: Any) -> tuple[Plan, Verdict]:
        """The whole of it."""
        asked = Parameters(**parameters)
        plan = await ACTION.plan(self.job(), asked)
        return plan, await ACTION.verify(await self.run(plan, asked), asked, plan)

    async def run(self, plan: Plan, parameters: Parameters) -> Job:
        """Each step in a process of its own; the last one."""
        job = self.job()
        for number in range(len(plan.steps)):
            job = self.job(data=job.data)
            await ACTION.steps(job, parameters, plan)[number].run()
        return job

    async def connect(self, database: str | None = None) -> asyncpg.Connection:
        return await asyncpg.connect(self.server.dsn(database or self.database))

    async def fetchval(self, query: str, database: str | None = None) -> Any:
        connection = await self.connect(database)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def execute(self, statements: str, database: str | None = None) -> None:
        connection = await self.connect(database)
        try:
            await connection.execute(statements)
        finally:
            await connection.close()

    async def beside(self) -> list[str]:
        """Databases of the run beside qa's."""
        connection = await self.connect("postgres")
        try:
            names = await connection.fetch(_BESIDE, self.database)
        finally:
            await connection.close()
        return sorted({row["datname"] for row in names} - {self.source})


@pytest.fixture
async def fleet(
    server: EmbeddedServer,
    database: str,
    make_environment: Callable[..., Environment],
    store: LocalStore,
    tmp_path: Path,
) -> AsyncIterator[Fleet]:
    """Both have the same tables; production has people, and qa has nothing."""
    write_key(tmp_path / "mask.key")
    data = DataPolicy.model_validate({"columns": COLUMNS, "mask_key": f"file:{tmp_path / 'mask.key'}"})
    policy = TIER_DEFAULTS[Tier.QA].model_copy(update={"data": data, "consent": ConsentPolicy()})
    source = f"{database}_production"
    production = make_environment(
        "production",
        Tier.PRODUCTION,
        dsn=server.dsn(source),
        databases=(source,),
        policy=TIER_DEFAULTS[Tier.PRODUCTION],
    )
    made = Fleet(server, make_environment(policy=policy), {"production": production}, {"local": store})
    await made.execute(f'create database "{source}"', "postgres")
    await made.execute(SHARED + PEOPLE, source)
    await made.execute(SHARED)
    yield made
    for job in made.jobs:
        await close(job)
    for name in [*await made.beside(), source]:
        await made.execute(f'drop database if exists "{name}" with (force)', "postgres")
