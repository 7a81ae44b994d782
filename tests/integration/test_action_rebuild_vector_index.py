"""Rebuilding vector indexes: what comes of it, and what others do meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import asyncpg
import pytest

from actions import Plan, Verdict
from actions.rebuild_vector_index import Parameters, RebuildVectorIndex
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.secrets import SecretText
from tests.integration.actions_kit import at_work, run_all
from tests.integration.index_trouble_build import INDEX, chunks

MakeEnvironment = Callable[..., Environment]
ACTION = RebuildVectorIndex()
ALL = Parameters(indexrelname=INDEX)
DEFINITION = """select pg_get_indexdef('"by ""meaning"'::regclass)"""


async def rebuild(environment: Environment, parameters: Parameters) -> tuple[Plan, Verdict]:
    async with at_work(environment) as job:
        plan = await ACTION.plan(job, parameters)
        await run_all(ACTION, job, parameters, plan)
        return plan, await ACTION.verify(job, parameters, plan)


async def indexes(sql: asyncpg.Connection) -> dict[str, int]:
    records = await sql.fetch(
        "select c.relname, c.oid from pg_index x join pg_class c on c.oid = indexrelid "
        "where indrelid = 'chunks'::regclass and indisvalid and not indisprimary"
    )
    return {record["relname"]: record["oid"] for record in records}


async def test_lists_follow_the_rows_and_all_else_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute("set maintenance_work_mem = '256MB'")
    await sql.execute(chunks(3000, options="lists = 4000"))
    before = await indexes(sql)
    plan, verdict = await rebuild(make_environment(), ALL)
    assert verdict.fixed, verdict.reason
    assert "ivfflat with lists = 3" in plan.summary
    assert "Lists = 3 is new: say so in a migration" in plan.effect
    assert "lists='4000'" in plan.objects[0]["definition"], "the old one is kept with the plan"
    assert "WITH (lists='3')" in await sql.fetchval(DEFINITION)
    after = await indexes(sql)
    assert after.keys() == {INDEX}
    assert after != before
    comment = await sql.fetchval("""select obj_description('"by ""meaning"'::regclass)""")
    assert comment == "as found"
    assert float(verdict.figures["proven_recall_ratio"]) > float(plan.figures["recall_ratio"]), "of one list in 4000"
    assert "recall" in verdict.reason
    assert float(verdict.figures["size_bytes"]) < float(plan.figures["size_bytes"]), "fewer lists, of a page each"


@pytest.mark.parametrize(
    ("method", "made"),
    [
        ("hnsw", "using hnsw (embedding vector_l2_ops)"),
        ("hnsw", "using hnsw (embedding vector_cosine_ops) with (m = 12, ef_construction = 90) where id > 100"),
        ("ivfflat", "using ivfflat ((embedding::halfvec(8)) halfvec_ip_ops) with (lists = 1)"),
        ("hnsw", "using hnsw ((binary_quantize(embedding)::bit(8)) bit_hamming_ops)"),
        ("hnsw", "using hnsw ((subvector(embedding, 1, 4)::vector(4)) vector_l1_ops) tablespace pg_default"),
    ],
    ids=["plain", "partial", "halfvec", "bits", "subvector"],
)
async def test_a_definition_without_reason_to_change_is_what_it_was(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, method: str, made: str
) -> None:
    await sql.execute(chunks(500))
    await sql.execute(f'drop index "by ""meaning"; create index "by ""meaning" on chunks {made}; analyze chunks')
    definition, before = await sql.fetchval(DEFINITION), await indexes(sql)
    plan, verdict = await rebuild(make_environment(), ALL)
    assert verdict.fixed, verdict.reason
    assert await sql.fetchval(DEFINITION) == definition
    assert await indexes(sql) != before
    assert f"as {method}" in plan.summary
    assert "new: say so" not in plan.effect


async def test_parameters_are_taken_and_checked(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await sql.execute(chunks(300, "hnsw", "m = 4, ef_construction = 8"))
    async with at_work(make_environment()) as job:
        with pytest.raises(ActionError, match="it has no lists"):
            await ACTION.plan(job, Parameters(indexrelname=INDEX, lists=3))
        with pytest.raises(ActionError, match="at least twice m"):
            await ACTION.plan(job, Parameters(indexrelname=INDEX, m=5))
        with pytest.raises(ActionError, match="has no vector index"):
            await ACTION.plan(job, Parameters(indexrelname='chunks"; drop table chunks; --'))
    await rebuild(make_environment(), Parameters(indexrelname=INDEX, m=5, ef_construction=30))
    assert "WITH (m='5', ef_construction='30')" in await sql.fetchval(DEFINITION)


async def test_an_empty_table_has_nothing_to_measure(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(0, "hnsw", "m = 4"))
    plan, verdict = await rebuild(make_environment(), ALL)
    assert verdict.fixed, verdict.reason
    assert "recall_ratio" not in plan.figures


async def test_a_second_index_on_the_column_does_not_stand_for_the_new_one(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(1000, "hnsw", "m = 12, ef_construction = 90"))
    await sql.execute("create index sibling on chunks using hnsw (embedding vector_l2_ops)")
    _, verdict = await rebuild(make_environment(), ALL)
    assert (await indexes(sql)).keys() == {INDEX, "sibling"}
    assert verdict.figures["proven_recall_ratio"]


async def test_names_that_two_indexes_bear_are_refused(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(100))
    await sql.execute("""
        create schema other; create table other.chunks as select * from chunks;
        create index "by ""meaning" on other.chunks using hnsw ((embedding::vector(8)) vector_l2_ops)
    """)
    async with at_work(make_environment()) as job:
        with pytest.raises(ActionError, match="means 2 indexes"):
            await ACTION.plan(job, ALL)
        plan = await ACTION.plan(job, Parameters(indexrelname=INDEX, schemaname="other"))
        assert "ON other.chunks USING hnsw" in plan.objects[0]["create"]


async def test_an_index_of_a_partitioned_one_and_an_invalid_one_are_refused(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute("""
        create table events (id int, e vector(3)) partition by range (id);
        create table events_1 partition of events for values from (0) to (10);
        create index by_e on events using hnsw (e vector_l2_ops)
    """)
    await sql.execute(chunks(100))
    await sql.execute("""update pg_index set indisvalid = false where indexrelid = '"by ""meaning"'::regclass""")
    async with at_work(make_environment()) as job:
        with pytest.raises(ActionError, match="belongs to a partitioned index"):
            await ACTION.plan(job, Parameters(indexrelname="events_1_e_idx"))
        with pytest.raises(ActionError, match="is invalid"):
            await ACTION.plan(job, ALL)


async def test_a_role_that_does_not_own_the_table_is_refused(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await sql.execute(chunks(100))
    role = f"r_{database}"
    await sql.execute(f"create role {role} login")
    try:
        async with at_work(make_environment(dsn=SecretText(server.dsn(database, role)))) as job:
            with pytest.raises(ActionError, match=r"may not build indexes of public\.chunks"):
                await ACTION.plan(job, ALL)
    finally:
        await sql.execute(f"drop role {role}")


async def test_what_a_run_that_was_given_up_left_is_dropped(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(300))
    await sql.execute("""
        create index custode_new_aaaaaaaaaaaa on chunks using hnsw (embedding vector_l2_ops);
        create index custode_kept_aaaaaaaaaaaa on chunks using hnsw (embedding vector_ip_ops)
    """)
    plan, _ = await rebuild(make_environment(), ALL)
    assert plan.commands[0] == "DROP INDEX CONCURRENTLY public.custode_new_aaaaaaaaaaaa"
    assert plan.objects[1]["left_over"] == "public.custode_new_aaaaaaaaaaaa"
    assert (await indexes(sql)).keys() == {INDEX, "custode_kept_aaaaaaaaaaaa"}


async def test_a_reader_and_a_writer_never_wait(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, server: EmbeddedServer, database: str
) -> None:
    await sql.execute(chunks(3000, "hnsw", "m = 8, ef_construction = 100"))
    over = asyncio.Event()
    waited: dict[str, list[float]] = {"reader": [], "writer": []}

    async def work(who: str, statement: str) -> None:
        connection = await asyncpg.connect(server.dsn(database))
        await connection.execute("set lock_timeout = '200ms'")  # a wait for a lock is an error, whatever the machine
        while not over.is_set():
            begun = time.perf_counter()
            await connection.execute(statement)
            waited[who].append(time.perf_counter() - begun)
            await asyncio.sleep(0.002)
        await connection.close()

    search = "select id from chunks order by embedding <-> (select embedding from chunks where id = 7) limit 10"
    insert = "insert into chunks select max(id) + 1, (array_agg(embedding))[1] from chunks"
    async with asyncio.TaskGroup() as group:
        group.create_task(work("reader", search))
        group.create_task(work("writer", insert))
        _, verdict = await rebuild(make_environment(), ALL)
        over.set()
    assert verdict.fixed, verdict.reason
    assert all(len(times) > 20 for times in waited.values())
    await sql.execute("set enable_seqscan = off; set enable_sort = off; set hnsw.ef_search = 1000")
    found = await sql.fetch("""
        select id from chunks order by embedding <-> (select embedding from chunks order by id desc limit 1) limit 1000
    """)
    assert max(record["id"] for record in found) > 3000, "what was written meanwhile is found"
