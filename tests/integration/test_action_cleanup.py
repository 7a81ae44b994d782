"""Which rows go, which stay, and that nobody is held up meanwhile."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from actions import Verdict
from actions.cleanup import Cleanup, Parameters
from fleet.embedded import EmbeddedServer
from fleet.errors import ActionError
from tests.integration.actions_kit import at_work, run_all
from tests.integration.cleanup_kit import DAY, DELETED, OLD, POLICY, MakeEnvironment, clean, count, policy, transaction
from tests.integration.cleanup_trouble import SCHEMA


async def test_old_conversations_go_with_all_that_belongs_to_them(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(SCHEMA)
    await sql.execute(f"insert into conversations values (1, {OLD}), (2, now())")  # noqa: S608
    await sql.execute(f"insert into messages (conversation_id, created_at) values (1, {OLD}), (1, now()), (2, {OLD})")  # noqa: S608
    await sql.execute("insert into messages (conversation_id) select 2 from generate_series(1, 7)")
    plan, verdict = await clean(make_environment(policy=POLICY))
    assert [name.split(": ")[1] for name in plan.steps] == ["public.messages", "public.conversations"]
    deletes = "DELETE FROM public.messages WHERE created_at < now() - interval '90 days'"
    assert plan.commands[:2] == (deletes, "VACUUM (ANALYZE) public.messages")
    assert plan.figures["expired_rows"] == 3
    assert "1 of public.messages" in plan.effect, "the one that is younger"
    assert verdict.fixed, verdict.reason
    assert (await count(sql, "conversations"), await count(sql, "messages")) == (1, 7)


@pytest.mark.parametrize("rules", [(), (("files", 3650),)], ids=["undecided", "kept longer"])
async def test_what_younger_rows_of_other_tables_need_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, rules: tuple[tuple[str, int], ...]
) -> None:
    await sql.execute(SCHEMA)
    await sql.execute("""create table files (conversation_id int references conversations on delete cascade,
        created_at timestamptz default now())""")
    await sql.execute(f"insert into conversations values (1, {OLD}), (2, {OLD})")  # noqa: S608
    await sql.execute("insert into files values (1)")
    environment = make_environment(policy=policy(("messages", 90), ("conversations", 90), *rules))
    plan, verdict = await clean(environment)
    assert "1 of public.conversations stay" in plan.summary
    assert verdict.fixed, verdict.reason
    assert [row["id"] for row in await sql.fetch("select id from conversations")] == [1]
    assert await count(sql, "files") == 1
    plan, _ = await clean(environment)
    assert not plan.steps
    assert plan.figures["kept_rows"] == 1


@pytest.mark.parametrize("deletes", ["no action", "restrict", "cascade"])
async def test_rows_that_refer_go_first_where_they_are_old_too(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, deletes: str
) -> None:
    await sql.execute("create table a (id int primary key, at date not null)")
    await sql.execute(f"create table b (id int references a on delete {deletes}, at timestamp not null)")
    await sql.execute("""
        insert into a select i, now() - interval '400 days' from generate_series(1, 4) i;
        insert into b values (1, now() - interval '50 days'), (2, now())
    """)
    environment = make_environment(policy=policy(("a", 10, "at"), ("b", 30, "at")))
    plan, verdict = await clean(environment)
    assert verdict.fixed, verdict.reason
    assert plan.figures["expired_rows"] == 4, "three of a, one of b"
    assert [row["id"] for row in await sql.fetch("select id from a")] == [2], "b keeps its rows longer than a"
    assert await count(sql, "b") == 1


async def test_keys_that_are_set_to_null_are_left_to_the_server(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute("create table a (id int primary key, at timestamptz)")
    await sql.execute("create table b (id int references a on delete set null)")
    await sql.execute(f"insert into a values (1, {OLD}), (2, null); insert into b values (1)")  # noqa: S608
    _, verdict = await clean(make_environment(policy=policy(("a", 90, "at"))))
    assert verdict.fixed, verdict.reason
    assert [row["id"] for row in await sql.fetch("select id from a")] == [2], "of no age at all"
    assert await sql.fetchval("select id is null from b")


async def test_a_thread_goes_from_its_end(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await sql.execute("create table posts (id int primary key, parent int references posts, created_at timestamptz)")
    await sql.execute("create index on posts (parent)")
    await sql.execute(
        f"insert into posts select i, nullif(i - 1, 0), {OLD} + i * interval '1 hour' from generate_series(1, 30) i"  # noqa: S608
    )
    await sql.execute(f"insert into posts values (101, null, {OLD}), (102, 101, now())")  # noqa: S608
    plan, verdict = await clean(make_environment(policy=policy(("posts", 90))))
    assert verdict.fixed, verdict.reason
    assert plan.figures["kept_rows"] == 1
    assert [row["id"] for row in await sql.fetch("select id from posts order by 1")] == [101, 102]


@pytest.mark.parametrize("indexed", [True, False])
async def test_partitions_and_odd_names(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, indexed: bool
) -> None:
    await sql.execute("""
        create schema "Odd "" s";
        create table "Odd "" s"."l;og" ("At " timestamptz, note text) partition by range ("At ");
        create table old partition of "Odd "" s"."l;og" for values from ('2000-01-01') to ('2020-01-01');
        create table "Young'" partition of "Odd "" s"."l;og" default;
        insert into "Odd "" s"."l;og" select timestamptz '2010-01-01' + i * interval '1 second', repeat('x', 500)
            from generate_series(1, 12000) i;
        insert into "Odd "" s"."l;og" values (now()), ('2021-01-01'), (null), ('infinity'), ('-infinity')
    """)
    if indexed:
        await sql.execute('create index on "Odd "" s"."l;og" ("At ")')
    environment = make_environment(policy=policy(('Odd " s.l;og', 90, "At ")))
    plan, verdict = await clean(environment, relname="l;og", share=1.0)
    assert verdict.fixed, verdict.reason
    assert {one["relname"] for one in plan.objects} == {"old", "Young'"}
    assert plan.figures["expired_rows"] == 12002
    assert await count(sql, '"Odd "" s"."l;og"') == 3


async def test_many_rows_of_one_moment(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await sql.execute("create table a (id int primary key, at date); create index on a (at)")
    await sql.execute("create table b (id int primary key references a)")
    await sql.execute(f"insert into a select i, {OLD} from generate_series(1, 5000) i")  # noqa: S608
    await sql.execute("insert into a select i, now() - interval '95 days' from generate_series(5001, 6000) i")
    await sql.execute("insert into b select i from generate_series(1, 700) i")
    _, verdict = await clean(make_environment(policy=policy(("a", 90, "at"))))
    assert verdict.fixed, verdict.reason
    assert await count(sql, "a") == 700


async def test_what_cannot_be_told_deletes_nothing(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await sql.execute("create table a (id int primary key, at timestamptz, name text)")
    await sql.execute("create table c (id int primary key, at timestamptz, a int references a)")
    await sql.execute("alter table a add c int references c")
    for rules, why in (
        ([("a", 1, "gone")], "no such column"),
        ([("a", 1, "name")], "no timestamp or date"),
        ([("a", 1, "at"), ("c", 1, "at")], "refer to each other"),
    ):
        async with at_work(make_environment(policy=policy(*rules))) as job:
            with pytest.raises(ActionError, match=why):
                await Cleanup().plan(job, Parameters())
    async with at_work(make_environment(policy=POLICY)) as job:
        with pytest.raises(ActionError, match="no retention rule"):
            await Cleanup().plan(job, Parameters(relname="a"))


async def test_a_key_without_an_index_is_refused(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await sql.execute(SCHEMA)
    await sql.execute(f"insert into conversations values (1, {OLD})")  # noqa: S608
    await sql.execute("create table files (conversation_id int references conversations, data text)")
    await sql.execute("alter table files alter data set storage plain")
    await sql.execute("insert into files select null, repeat('x', 7000) from generate_series(1, 1200)")
    async with at_work(make_environment(policy=POLICY)) as job:
        with pytest.raises(ActionError, match=r"public\.files refers to public\.conversations through columns without"):
            await Cleanup().plan(job, Parameters())
    await sql.execute("create index on files (conversation_id)")
    _, verdict = await clean(make_environment(policy=POLICY))
    assert verdict.fixed, verdict.reason


async def test_rows_in_use_are_not_waited_for(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await sql.execute(SCHEMA)
    await sql.execute(f"insert into conversations select i, {OLD} from generate_series(1, 50) i")  # noqa: S608
    environment = make_environment(policy=POLICY)
    async with transaction(server, database, "insert into messages (conversation_id) values (7)") as writer:
        _, verdict = await clean(environment)
        assert not verdict.fixed
        assert "1 row(s) of public.conversations are past their time still" in verdict.reason
        await writer.execute("commit")
    assert await count(sql, "messages") == 1, "what was written meanwhile was not taken away"
    _, verdict = await clean(environment)
    assert verdict.fixed, "with its conversation, once it is there to be seen"


async def test_a_row_that_cannot_be_deleted_in_time_is_left(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    """The server would set the key of a row to null that somebody else has locked."""
    await sql.execute("create table a (id int primary key, at timestamptz)")
    await sql.execute("create table b (id int references a on delete set null)")
    await sql.execute(f"insert into a select i, {OLD} from generate_series(1, 300) i; insert into b values (7)")  # noqa: S608
    environment = make_environment(policy=policy(("a", 90, "at")))
    async with transaction(server, database, "select from b for update"):
        _, verdict = await clean(environment)
        assert "1 row(s) of public.a are past their time still" in verdict.reason
    assert [row["id"] for row in await sql.fetch("select id from a")] == [7]
    _, verdict = await clean(environment)
    assert verdict.fixed, verdict.reason


async def test_writers_are_not_held_up(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    """A conversation that goes, with all its young messages, is written to all the time."""
    await sql.execute(SCHEMA)
    await sql.execute(DELETED)
    await sql.execute(f"insert into conversations select i, {OLD} from generate_series(1, 500) i")  # noqa: S608
    await sql.execute("""insert into messages (conversation_id, created_at) select 1 + i % 500,
        now() - interval '1 day' * (i % 200) from generate_series(1, 60000) i""")
    await sql.execute("analyze")
    done, written = asyncio.Event(), 0
    writer = await asyncpg.connect(server.dsn(database))
    await writer.execute("set lock_timeout = '5s'")  # a transaction locks its rows for hundredths of a second

    async def write() -> None:
        nonlocal written
        while not done.is_set():
            written += 1
            try:
                await writer.execute("insert into messages (conversation_id) values ($1)", 1 + written % 500)
            except asyncpg.ForeignKeyViolationError:  # gone
                await writer.execute("insert into conversations values ($1) on conflict do nothing", 1000 + written)
            await asyncio.sleep(0.001)

    async def delete() -> Verdict:
        try:
            return (await clean(make_environment(policy=POLICY)))[1]
        finally:
            done.set()

    await asyncio.gather(delete(), write())
    await writer.close()
    verdict = await delete()  # of what was written to until then
    assert verdict.fixed, verdict.reason
    assert await sql.fetchval("select count(*) from conversations where created_at < now() - interval '90 days'") == 0
    assert written > 50
    rows = [record[0] for record in await sql.fetch("select sum(rows)::int from deleted group by xid")]
    assert sum(rows) >= 60_000
    assert max(rows) <= 10_000, "however many there are, a transaction is small"


@pytest.mark.parametrize("days", [10, -10], ids=["ahead", "behind"])
async def test_a_wrong_clock_deletes_nothing_early(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, days: int
) -> None:
    await sql.execute("create table a (id int primary key, at timestamptz)")
    await sql.execute("insert into a select i, now() - i * interval '1 day' from generate_series(80, 110, 5) i")

    def now() -> float:
        return time.time() + days * DAY.total_seconds()

    async with at_work(make_environment(policy=policy(("a", 90, "at"))), started_at=now(), now=now) as job:
        plan = await Cleanup().plan(job, Parameters())
        await run_all(Cleanup(), job, Parameters(), plan)
        verdict = await Cleanup().verify(job, Parameters(), plan)
    assert verdict.fixed, verdict.reason
    left = [row["id"] for row in await sql.fetch("select id from a order by 1")]
    assert left == [80, 85] if days > 0 else [80, 85, 90, 95, 100]
