"""Unused indexes are dropped on a real server; whatever enforces something, is used or may be, stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from actions._index_use import index_uses
from actions.drop_unused_index import DropUnusedIndex, Parameters
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError
from tests.integration.actions_kit import at_work, run_all

MakeEnvironment = Callable[..., Environment]
ACTION = DropUnusedIndex()
KNOWN: dict[str, Any] = {"window": "0s", "least_bytes": 0, "vouched": True}
NOTES = """
    create table owners (id int primary key);
    create table notes (id int primary key, owner int references owners, text text not null, unique (owner, id));
    insert into owners values (1);
    insert into notes select i, 1, 'text ' || i from generate_series(1, 1000) i;
    create index by_text on notes (text)
"""


async def planned(environment: Environment, **said: Any) -> list[str]:
    async with at_work(environment) as job:
        plan = await ACTION.plan(job, Parameters.model_validate(KNOWN | said))
        return [one["indexrelname"] for one in plan.objects]


async def indexes(sql: asyncpg.Connection) -> list[str]:
    return [record[0] for record in await sql.fetch("select indexname from pg_indexes where tablename = 'notes'")]


async def test_the_definition_is_kept_with_the_plan_and_the_outcome(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(NOTES)
    parameters = Parameters.model_validate(KNOWN)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
        (figures,) = await run_all(ACTION, job, parameters, plan)
        verdict = await ACTION.verify(job, parameters, plan)
    definition = "CREATE INDEX by_text ON public.notes USING btree (text)"
    assert plan.commands == ("DROP INDEX CONCURRENTLY public.by_text",)
    assert plan.objects[0]["definition"] == figures["definition"] == definition
    assert "will differ from the reference" in plan.effect
    assert verdict.fixed
    assert sorted(await indexes(sql)) == ["notes_owner_id_key", "notes_pkey"]


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("create unique index i on notes (text, id)", "enforces a constraint"),
        ("create unique index i on notes (text); alter table notes replica identity using index i", "enforces"),
        ("create index i on notes (text); cluster notes using i", "clustered by"),
        (
            "alter table notes drop constraint notes_owner_id_key; create index i on notes (owner)",
            "the only index on the columns of a foreign key",
        ),
    ],
    ids=["unique", "replica identity", "clustered", "foreign key"],
)
async def test_what_is_needed_without_scans_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, statement: str, why: str
) -> None:
    await sql.execute(NOTES)
    await sql.execute(statement)
    assert await planned(make_environment()) == ["by_text"]
    with pytest.raises(ActionError, match=f"i .*{why}"):
        await planned(make_environment(), indexrelname="i")


async def test_a_second_index_on_the_columns_of_a_foreign_key_may_go(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(NOTES)
    await sql.execute("create index by_owner on notes (owner)")
    assert sorted(await planned(make_environment())) == ["by_owner", "by_text"]


async def test_an_index_that_is_used_stays_even_where_it_was_not_when_it_was_planned(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(NOTES)
    parameters = Parameters.model_validate(KNOWN)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
        await sql.execute("set enable_seqscan = off; select * from notes where text = 'text 7'")
        await sql.execute("select pg_stat_force_next_flush()")
        with pytest.raises(ActionError, match="by_text is used"):
            await run_all(ACTION, job, parameters, plan)
        verdict = await ACTION.verify(job, parameters, plan)
    assert not verdict.fixed
    assert "by_text" in await indexes(sql)
    assert await planned(make_environment()) == []


async def test_an_unknown_age_and_new_statistics_are_a_no(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(NOTES)
    environment = make_environment()
    with pytest.raises(ActionError, match="was not watched for long enough"):
        await planned(environment, indexrelname="by_text", window="14d")
    with pytest.raises(ActionError, match="may be young"):
        await planned(environment, indexrelname="by_text", vouched=False)
    # the alert has watched the index that it names, and no other
    watched = {"vouched": False, "alertname": "IndexUnusedForLong"}
    assert await planned(environment, indexrelname="by_text", **watched) == ["by_text"]
    assert await planned(environment, **watched) == []
    with pytest.raises(ActionError, match="may be young"):
        await planned(environment, indexrelname="by_text", vouched=False, alertname="IndexUnused")


async def test_small_ones_stay_unless_they_are_named(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(NOTES)
    assert await planned(make_environment(), least_bytes=10**6) == []
    assert await planned(make_environment(), least_bytes=10**6, indexrelname="by_text") == ["by_text"]


async def test_a_drop_that_was_ended_half_way_is_finished(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await sql.execute(NOTES)
    parameters = Parameters.model_validate(KNOWN)
    holder = await asyncpg.connect(server.dsn(database))
    await holder.execute("begin; select count(*) from notes")
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
        await sql.execute("set lock_timeout = '100ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await sql.execute("drop index concurrently by_text")
        await holder.close()
        (index,) = await index_uses(sql, database, (None, None, "by_text"))
        assert not index.valid
        await ACTION.undo(job, parameters, plan)
        await ACTION.undo(job, parameters, plan)
    assert "by_text" not in await indexes(sql)
