"""Whether the planner uses a vector index, and why not, as a real server answers."""

from __future__ import annotations

import asyncpg
import pytest

from fleet.embedded import EmbeddedServer
from fleet.vectors import VectorIndex, vector_indexes
from fleet.vectors.plans import Cause, Use, explain_use

_FILL = """
    insert into t (e, tenant)
    select (select array_agg(random()) from generate_series(1, 64) where n > 0)::vector, n % 10
    from generate_series(1, {rows}) n
"""
_SHOWN = "select name, setting from pg_settings where name ~ '^enable_|^ivfflat|^hnsw' order by 1"


@pytest.fixture
async def table(sql: asyncpg.Connection) -> asyncpg.Connection:
    """A table `t` of 2,000 vectors, analyzed."""
    await sql.execute("create table t (id bigserial, e vector(64), tenant int)")
    await sql.execute(_FILL.format(rows=2000))
    await sql.execute("analyze t")
    return sql


async def only(connection: asyncpg.Connection, name: str) -> VectorIndex:
    (index,) = await vector_indexes(connection, (None, None, name))
    return index


async def asked(connection: asyncpg.Connection, name: str = "i") -> Use:
    return await explain_use(connection, await only(connection, name))


def causes(use: Use) -> list[Cause]:
    return [reason.cause for reason in use.reasons]


@pytest.mark.parametrize(
    "definition",
    [
        "using hnsw (e vector_cosine_ops)",
        "using ivfflat (e vector_l2_ops) with (lists = 10)",
        "using hnsw (e vector_l1_ops)",
        "using hnsw ((e::halfvec(64)) halfvec_ip_ops)",
        "using hnsw ((binary_quantize(e)::bit(64)) bit_hamming_ops)",
        "using hnsw (e vector_cosine_ops) where tenant = 3",
    ],
)
async def test_every_kind_of_index_serves_its_own_query(table: asyncpg.Connection, definition: str) -> None:
    await table.execute(f"create index i on t {definition}")
    await table.execute("analyze t; set random_page_cost = 1.1; set enable_seqscan = off")
    use = await asked(table)
    assert use.used
    assert use.served_by == "i"
    assert use.reasons == ()


async def test_odd_names_are_quoted_by_the_server(sql: asyncpg.Connection) -> None:
    await sql.execute("""
        create schema "S;--"; create table "S;--"."T{}' %s" (id bigserial, "E""'" vector(3));
        create index "I'{0}" on "S;--"."T{}' %s" using hnsw ("E""'" vector_l2_ops);
        set enable_seqscan = off
    """)
    assert (await asked(sql, "I'{0}")).used


async def test_a_small_table_is_nothing_to_mend(table: asyncpg.Connection) -> None:
    await table.execute("create index i on t using ivfflat (e vector_l2_ops) with (lists = 2)")
    for statement in ("delete from t where id > 20", "vacuum full t", "analyze t"):
        await table.execute(statement)
    use = await asked(table)
    assert use.served_by is None
    assert causes(use) == [Cause.COST]
    assert "the table is small" in use.reasons[0].text
    assert use.reasons[0].remedy == ""
    assert use.index_cost is not None
    assert use.index_cost > use.cost


async def test_a_setting_of_the_session_or_of_a_role(table: asyncpg.Connection) -> None:
    await table.execute("create index i on t using ivfflat (e vector_l2_ops) with (lists = 10)")
    await table.execute("set enable_indexscan = off")
    use = await asked(table)
    assert causes(use)[0] is Cause.SETTINGS
    assert use.reasons[0].text == "enable_indexscan is off here"
    await table.execute("reset enable_indexscan; set ivfflat.probes = 10")
    use = await asked(table)
    assert causes(use)[0] is Cause.SETTINGS
    assert use.reasons[0].text == "ivfflat.probes is 10 here, and there are 10 lists: all would be searched"


async def test_what_another_role_sets_is_told_where_it_is_not_used(table: asyncpg.Connection, database: str) -> None:
    role = f"{database}_app"
    await table.execute(f"create role {role}")
    try:
        await table.execute(f"alter role {role} in database {database} set enable_indexscan = off")
        await table.execute("create index i on t using hnsw (e vector_l2_ops); set enable_indexscan = off")
        texts = [reason.text for reason in (await asked(table)).reasons]
        assert texts[:2] == ["enable_indexscan is off here", f"enable_indexscan is off for {role}"]
    finally:
        await table.execute(f"drop owned by {role}; drop role {role}")


async def test_a_table_that_was_never_analyzed(sql: asyncpg.Connection) -> None:
    await sql.execute("create table t (id bigserial, e vector(64), tenant int) with (autovacuum_enabled = off)")
    await sql.execute("create index i on t using hnsw (e vector_l2_ops); set enable_indexscan = off")
    await sql.execute(_FILL.format(rows=20))
    assert Cause.STATISTICS in causes(await asked(sql))
    await sql.execute("analyze t")
    assert Cause.STATISTICS not in causes(await asked(sql))


async def test_two_indexes_for_one_query(table: asyncpg.Connection) -> None:
    await table.execute("create index a on t using hnsw (e vector_l2_ops)")
    await table.execute("create index b on t using hnsw (e vector_l2_ops) with (m = 32)")
    await table.execute("set enable_seqscan = off")
    uses = [await asked(table, name) for name in ("a", "b")]
    (taken,) = {use.served_by for use in uses}
    (other,) = [use for use in uses if not use.used]
    assert causes(other) == [Cause.SIBLING]
    assert other.reasons[0].text == f"{taken} serves the same query"


async def test_an_invalid_index(table: asyncpg.Connection) -> None:
    await table.execute("create index i on t using hnsw (e vector_l2_ops)")
    await table.execute("update pg_index set indisvalid = false where indexrelid = 'i'::regclass")
    assert causes(await asked(table)) == [Cause.INVALID]


async def test_the_session_stays_as_it_was(table: asyncpg.Connection) -> None:
    await table.execute("create index i on t using hnsw (e vector_l2_ops)")
    await table.execute("set ivfflat.probes = 3; set enable_indexscan = off")
    await asked(table)  # loads pgvector
    before = await table.fetch(_SHOWN)
    async with table.transaction():
        await asked(table)
        assert await table.fetch(_SHOWN) == before
    assert await table.fetch(_SHOWN) == before


async def test_who_may_not_read_the_table_is_told(
    table: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await table.execute("create index i on t using hnsw (e vector_l2_ops)")
    role = f"{database}_watcher"
    await table.execute(f"create role {role} login")
    watcher = await asyncpg.connect(server.dsn(database, role))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asked(watcher)
        assert not watcher.is_in_transaction()
    finally:
        await watcher.close()
        await table.execute(f"drop role {role}")
