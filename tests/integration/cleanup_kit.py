"""What tests of cleanup share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg

from actions import Plan, Verdict
from actions.cleanup import Cleanup, Parameters
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Policy, RowRetention, Tier
from tests.integration.actions_kit import at_work, run_all
from tests.integration.cleanup_trouble import with_retention

MakeEnvironment = Callable[..., Environment]
DAY = timedelta(days=1)
OLD = "now() - interval '100 days'"
POLICY = with_retention(TIER_DEFAULTS[Tier.QA])


def policy(*rules: tuple[str, int] | tuple[str, int, str]) -> Policy:
    """Tables, with the days that their rows are kept and the column that tells their age."""
    made = tuple(RowRetention(table=rule[0], keep=rule[1] * DAY, column=(*rule, "created_at")[2]) for rule in rules)
    return POLICY.model_copy(update={"data": POLICY.data.model_copy(update={"row_retention": made})})


async def clean(environment: Environment, **parameters: Any) -> tuple[Plan, Verdict]:
    asked = Parameters.model_validate(parameters)
    async with at_work(environment) as job:
        plan = await Cleanup().plan(job, asked)
        await run_all(Cleanup(), job, asked, plan)
        return plan, await Cleanup().verify(job, asked, plan)


async def count(sql: asyncpg.Connection, table: str) -> int:
    return int(await sql.fetchval(f"select count(*) from {table}"))  # noqa: S608


@asynccontextmanager
async def transaction(server: EmbeddedServer, database: str, statement: str) -> AsyncIterator[asyncpg.Connection]:
    other = await asyncpg.connect(server.dsn(database))
    await other.execute(f"begin; {statement}")
    yield other
    await other.close()


# what each transaction has deleted
DELETED = """
    create table deleted (xid xid8, rows bigint);
    create function note() returns trigger language plpgsql as $$ begin
        insert into deleted select pg_current_xact_id(), count(*) from gone; return null;
    end $$;
    create trigger note after delete on messages referencing old table as gone
        for each statement execute function note();
"""
