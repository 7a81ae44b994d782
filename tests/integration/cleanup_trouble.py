"""Rows past their time, as the guide's policy of production has them: planted, and what is gone of them counted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.policy import TIER_DEFAULTS, Policy, Tier

if TYPE_CHECKING:
    from tests.integration.actions_kit import Ground

# 20 of 40 conversations are past their time; half of their 200 messages are younger, and go with them
SCHEMA = """
    create table conversations (id int primary key, created_at timestamptz not null default now());
    create table messages (
        id int primary key generated always as identity, content text,
        conversation_id int not null references conversations on delete cascade,
        created_at timestamptz not null default now()
    ) with (autovacuum_enabled = false);
    create index on messages (conversation_id);
    create index on messages (created_at)
"""
_ROWS = """
    insert into conversations select i, now() - interval '1 day' * case when i <= 20 then 100 else 10 end
        from generate_series(1, 40) i;
    insert into messages (content, conversation_id, created_at)
        select 'text ' || j, c.id, c.created_at + case when j > 5 then interval '0' else interval '20 days' end
        from conversations c, generate_series(1, 10) j where c.id <= 20;
    insert into messages (content, conversation_id, created_at)
        select 'text', c.id, c.created_at from conversations c where c.id > 20
"""
CONVERSATIONS, MESSAGES = 40, 220
EXPIRED = 20 + 200


def with_retention(policy: Policy) -> Policy:
    """The policy, and production's row retention."""
    rules = TIER_DEFAULTS[Tier.PRODUCTION].data.row_retention
    return policy.model_copy(update={"data": policy.data.model_copy(update={"row_retention": rules})})


def with_disk(folder: Path) -> Mapping[str, Any]:
    """A disk with much room."""
    return {"disks": {"quota": {"path": str(folder), "limit": 10**10}}}


def keeping(_folder: object) -> Mapping[str, Any]:
    return {"policy": with_retention(TIER_DEFAULTS[Tier.QA])}


async def plant_expired(ground: Ground) -> Mapping[str, Any]:
    await ground.sql.execute(SCHEMA)
    await ground.sql.execute(_ROWS)
    return {"datname": ground.database}


async def count_deleted(ground: Ground) -> int:
    """All that is gone, what should have stayed as well."""
    left = await ground.sql.fetchval("select (select count(*) from conversations) + (select count(*) from messages)")
    return CONVERSATIONS + MESSAGES - int(left)


# nine rows of ten are gone, and the table is as large as before
BLOATED = """
    create table notes (id int primary key, text text) with (autovacuum_enabled = false);
    insert into notes select i, repeat('text ', 20) || i from generate_series(1, 20000) i;
    delete from notes where id % 10 <> 0
"""


async def plant_bloated(ground: Ground) -> Mapping[str, Any]:
    await ground.sql.execute(BLOATED)
    await ground.sql.execute("vacuum analyze notes")
    await ground.sql.execute("create table planted as select pg_relation_filenode('notes') as filenode")
    return {"datname": ground.database, "relname": "notes"}


async def count_rewritten(ground: Ground) -> int:
    return int(
        await ground.sql.fetchval("select count(*) from planted where filenode <> pg_relation_filenode('notes')")
    )
