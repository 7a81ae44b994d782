"""What goes with a row that is past its time: however young, but never before that row itself."""

from __future__ import annotations

import asyncpg
import pytest

from fleet.embedded import EmbeddedServer
from tests.integration.cleanup_kit import DELETED, OLD, POLICY, MakeEnvironment, clean, count, policy, transaction
from tests.integration.cleanup_trouble import SCHEMA

# ten conversations past their time, each with three messages that are not, and what belongs to these
YOUNG = f"""
    {SCHEMA};
    create table attachments (id int primary key generated always as identity,
        message_id int not null references messages on delete cascade, created_at timestamptz default now());
    create table files (conversation_id int references conversations on delete cascade);
    create table notes (conversation_id int references conversations on delete set null);
    insert into conversations select i, {OLD} from generate_series(1, 10) i;
    insert into messages (conversation_id) select c.id from conversations c, generate_series(1, 3);
    insert into attachments (message_id) select id from messages
"""  # noqa: S608
YOUNG_RULES = policy(("attachments", 30), ("messages", 60), ("conversations", 90))
SEVENTH = """
    select array_agg((c.id, (select count(*) from messages m where m.conversation_id = c.id),
        (select count(*) from messages m join attachments a on a.message_id = m.id where m.conversation_id = c.id)))
    from conversations c
"""


@pytest.mark.parametrize(
    "statement",
    [
        "insert into messages (conversation_id) values (7)",
        "update conversations set created_at = now() where id = 7",
        "insert into files values (7)",
        "select from messages where id = (select max(id) from messages where conversation_id = 7) for update",
        """insert into attachments (message_id)
            select max(id) from messages where conversation_id = 7""",
        """select from attachments where id = (select max(a.id) from attachments a
            join messages m on m.id = a.message_id where m.conversation_id = 7) for update""",
    ],
    ids=["written to", "taken up", "referred to", "message in use", "attachment written", "attachment in use"],
)
async def test_a_row_that_stays_keeps_all_that_is_younger(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str, statement: str
) -> None:
    await sql.execute(YOUNG)
    async with transaction(server, database, statement) as writer:
        _, verdict = await clean(make_environment(policy=YOUNG_RULES))
        assert "1 row(s) of public.conversations are past their time still" in verdict.reason
        assert await sql.fetchval(SEVENTH) == [(7, 3, 3)]
        await writer.execute("rollback")
    _, verdict = await clean(make_environment(policy=YOUNG_RULES))
    assert verdict.fixed, verdict.reason
    assert await count(sql, "conversations") + await count(sql, "messages") + await count(sql, "attachments") == 0


SLOW = """
    create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.4); return old; end $$;
    create trigger slow before delete on messages for each row when (old.conversation_id = 7) execute function slow();
"""


@pytest.mark.parametrize("trouble", ["", SLOW], ids=["delete waits", "slow"])
async def test_what_takes_too_long_is_left_whole(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str, trouble: str
) -> None:
    await sql.execute(YOUNG)
    await sql.execute(trouble or "insert into notes values (7)")
    async with transaction(server, database, "select from notes for update"):
        _, verdict = await clean(make_environment(policy=YOUNG_RULES))
    assert "1 row(s) of public.conversations are past their time still" in verdict.reason
    assert await sql.fetchval(SEVENTH) == [(7, 3, 3)]


async def test_a_key_to_a_single_partition_keeps_what_it_refers_to(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(f"""
        create table conversations (id int primary key, created_at timestamptz);
        create table messages (id int, conversation_id int references conversations on delete cascade,
            created_at timestamptz default now()) partition by range (id);
        create index on messages (conversation_id);
        create table first_hundred partition of messages (primary key (id)) for values from (0) to (100);
        create table files (message_id int references first_hundred on delete cascade);
        insert into conversations values (1, {OLD});
        insert into messages values (1, 1), (2, 1);
        insert into files values (2)
    """)  # noqa: S608
    plan, _ = await clean(make_environment(policy=policy(("messages", 90), ("conversations", 90))))
    assert plan.figures["kept_rows"] == 1
    assert (await count(sql, "messages"), await count(sql, "files")) == (2, 1)


@pytest.mark.parametrize("age", ["100 days", "0 days"], ids=["old", "young"])
async def test_very_many_rows_of_one(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, age: str
) -> None:
    """Old ones go before it, in batches; younger ones with it, at once, however busy the machine is."""
    monkeypatch.setattr("actions._retention_delete._SINGLE_MS", 60_000)
    await sql.execute(SCHEMA)
    await sql.execute(DELETED)
    await sql.execute(f"insert into conversations select i, {OLD} from generate_series(1, 5) i")  # noqa: S608
    await sql.execute(f"""insert into messages (conversation_id, created_at)
        select 1 + i / 12000, now() - interval '{age}' from generate_series(1, 12003) i""")  # noqa: S608
    _, verdict = await clean(make_environment(policy=POLICY), relname="conversations", share=1.0)
    assert verdict.fixed, verdict.reason
    assert (await count(sql, "conversations"), await count(sql, "messages")) == (0, 0)
    most = max(record[0] for record in await sql.fetch("select sum(rows)::int from deleted group by xid"))
    assert most <= 10_000 if age == "100 days" else most == 11_999
