"""IVFFlat to HNSW: what is gained, what is refused, and what stays."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import pytest

from actions import Plan, Verdict
from actions.upgrade_vector_index import Parameters, UpgradeVectorIndex
from fleet.environment import Environment
from fleet.errors import ActionError
from tests.integration.actions_kit import at_work, run_all
from tests.integration.index_trouble_build import INDEX, chunks

MakeEnvironment = Callable[..., Environment]
ACTION = UpgradeVectorIndex()
ALL = Parameters(indexrelname=INDEX)
DEFINITIONS = """
    select c.relname, pg_get_indexdef(c.oid) from pg_index x join pg_class c on c.oid = indexrelid
    where indrelid = 'chunks'::regclass and indisvalid and not indisprimary
"""


async def upgrade(environment: Environment, parameters: Parameters) -> tuple[Plan, Verdict]:
    async with at_work(environment) as job:
        plan = await ACTION.plan(job, parameters)
        await run_all(ACTION, job, parameters, plan)
        return plan, await ACTION.verify(job, parameters, plan)


async def definitions(sql: asyncpg.Connection) -> dict[str, str]:
    return {record[0]: record[1] for record in await sql.fetch(DEFINITIONS)}


async def test_recall_is_better_and_the_planner_uses_it(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(12_000, options="lists = 100"))
    plan, verdict = await upgrade(make_environment(), ALL)
    assert verdict.fixed, verdict.reason
    (definition,) = (await definitions(sql)).values()
    assert definition.endswith("USING hnsw (embedding vector_l2_ops) WITH (m='16', ef_construction='64')")
    assert float(verdict.figures["proven_recall_ratio"]) > float(plan.figures["recall_ratio"]), "of one list in 100"
    told = await sql.fetch(
        "explain select 1 from chunks order by embedding <-> (select embedding from chunks where id = 1) limit 10"
    )
    assert any('Index Scan using "by ""meaning"' in row[0] for row in told)
    assert plan.disk_bytes > 12_000 * 2 * 8 * 4
    async with at_work(make_environment()) as job:
        again = await ACTION.plan(job, ALL)
    assert again.steps == ()
    assert "is hnsw already" in again.summary


async def test_halfvec_is_an_index_for_other_queries_so_the_old_one_stays(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(1000))
    parameters = Parameters(indexrelname=INDEX, halfvec=True)
    async with at_work(make_environment(), run_id="0123456789ab") as job:
        plan = await ACTION.plan(job, parameters)
        assert "the old index stays beside it" in plan.effect.lower()
        assert "Only queries that order by" in plan.effect
        await run_all(ACTION, job, parameters, plan)
        verdict = await ACTION.verify(job, parameters, plan)
    assert verdict.fixed, verdict.reason
    found = await definitions(sql)
    assert "USING hnsw (((embedding)::halfvec(8)) halfvec_l2_ops)" in found[INDEX]
    assert "USING ivfflat (embedding)" in found["custode_kept_0123456789ab"]
    assert "kept by run 0123456789ab" in await sql.fetchval(
        "select obj_description('custode_kept_0123456789ab'::regclass)"
    )


async def test_halfvec_may_take_the_place_alone(make_environment: MakeEnvironment, sql: asyncpg.Connection) -> None:
    await sql.execute(chunks(1000))
    _, verdict = await upgrade(make_environment(), Parameters(indexrelname=INDEX, halfvec=True, keep_old=False))
    assert verdict.fixed, verdict.reason
    assert list(await definitions(sql)) == [INDEX]


@pytest.mark.parametrize(
    ("made", "parameters", "why"),
    [
        ("((embedding)::halfvec(8)) halfvec_l2_ops", {"halfvec": True}, "only vectors of known dimensions"),
        ("embedding vector_l2_ops", {"maintenance_mb": 1, "m": 60, "ef_construction": 200}, None),
    ],
    ids=["halfvec of halfvec", "little memory"],
)
async def test_what_cannot_be_is_refused(
    make_environment: MakeEnvironment,
    sql: asyncpg.Connection,
    made: str,
    parameters: dict[str, object],
    why: str | None,
) -> None:
    await sql.execute(chunks(1000))
    await sql.execute(f'drop index "by ""meaning"; create index "by ""meaning" on chunks using ivfflat ({made})')
    asked = Parameters.model_validate({"indexrelname": INDEX, **parameters})
    async with at_work(make_environment()) as job:
        if why is None:
            assert "would make it many times faster" in (await ACTION.plan(job, asked)).effect
            return
        with pytest.raises(ActionError, match=why):
            await ACTION.plan(job, asked)


async def test_an_older_pgvector_is_told_first_of_all(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(100))
    async with at_work(make_environment()) as job:
        for version, parameters, why in (
            ("0.4.4", ALL, "has no HNSW indexes: they came with 0.5.0"),
            ("0.6.2", Parameters(indexrelname=INDEX, halfvec=True), "has no halfvec"),
        ):
            await sql.execute("update pg_extension set extversion = $1 where extname = 'vector'", version)
            with pytest.raises(ActionError, match=why):
                await ACTION.plan(job, parameters)
        assert "No workers help" in (await ACTION.plan(job, ALL)).effect, "CVE-2026-3172"


def test_candidates_must_suffice() -> None:
    with pytest.raises(ValueError, match="at least twice m"):
        Parameters(indexrelname=INDEX, m=40)


async def test_a_new_index_that_finds_less_is_given_up(
    make_environment: MakeEnvironment, sql: asyncpg.Connection
) -> None:
    await sql.execute(chunks(3000, options="lists = 1"))
    before = await definitions(sql)
    parameters = Parameters(indexrelname=INDEX, m=2, ef_construction=4, recall_loss=0)
    async with at_work(make_environment()) as job:
        plan = await ACTION.plan(job, parameters)
        with pytest.raises(ActionError, match="the new index is not as good: recall is"):
            await run_all(ACTION, job, parameters, plan)
        assert "custode_new_" in " ".join(await definitions(sql)), "both are there"
        await ACTION.undo(job, parameters, plan)
    assert await definitions(sql) == before
