"""The action `probe_recall`: what it measures, what it needs leave for, and that it goes on where it was broken off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

import actions.probe_recall as module
from actions import Job
from actions.probe_recall import Parameters, ProbeRecall
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.policy import TIER_DEFAULTS, Risk, Tier, VectorQueries
from tests.integration.actions_kit import at_work, run_all
from tests.integration.index_trouble_recall import vectors

ACTION = ProbeRecall()


@pytest.fixture
async def job(sql: asyncpg.Connection, make_environment: Callable[..., Environment]) -> AsyncIterator[Job]:
    await sql.execute(vectors(rows=2000))
    await sql.execute("create index by_vector on chunks using ivfflat (e vector_cosine_ops) with (lists = 50)")
    await sql.execute("analyze chunks")
    async with at_work(make_environment()) as job:
        yield job


def policy(**fields: Any) -> Any:
    known = TIER_DEFAULTS[Tier.QA]
    return known.model_copy(update={"vectors": known.vectors.model_copy(update=fields)})


async def probed(job: Job, **parameters: Any) -> dict[str, Any]:
    """The figures after a whole run."""
    asked = Parameters(**parameters)
    plan = await ACTION.plan(job, asked)
    await run_all(ACTION, job, asked, plan)
    verdict = await ACTION.verify(job, asked, plan)
    assert verdict.fixed
    return dict(verdict.figures)


async def test_the_curve_and_the_setting_that_reaches_what_is_promised(job: Job) -> None:
    found = await probed(job, settings=(2, 10, 50))
    ratios = [found["recall_ratio"], *(found[f"recall_at_{setting}_ratio"] for setting in (2, 10, 50))]
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.8
    assert ratios[-1] == 1.0, "all lists are all rows"
    assert found["recall_low_ratio"] < found["recall_ratio"] < found["recall_high_ratio"]
    assert (found["setting"], found["queries"], found["wanted_recall_ratio"]) == (1, 100, 0.85)
    least = min(s for s, ratio in zip((1, 2, 10, 50), ratios, strict=True) if ratio >= 0.85)
    assert found["wanted_setting"] == least
    assert 0 < found["search_seconds"] < 1
    assert 0 < found["exact_search_seconds"] < 1
    assert {measure.figure for measure in ACTION.measures} <= found.keys()


async def test_the_estimate_needs_no_pass_and_is_no_exact_figure(job: Job) -> None:
    found = await probed(job, exact=False)
    exactly = await probed(job)
    assert found["estimated_recall_ratio"] == pytest.approx(exactly["recall_ratio"], abs=0.02)
    assert not {measure.figure for measure in ACTION.measures} & found.keys()


async def test_a_pass_in_parts_goes_on_where_it_was_broken_off(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await probed(job)
    job.data.clear()
    monkeypatch.setattr(module, "_PART_BYTES", 100_000)
    asked = Parameters()
    plan = await ACTION.plan(job, asked)
    assert len(plan.steps) > 2
    steps = ACTION.steps(job, asked, plan)
    rows = [await steps[0].run()]
    assert await steps[0].run() == {"skipped": "done by an earlier attempt"}
    rows += [await step.run() for step in steps[1:-1]]
    await steps[-1].run()
    assert sum(float(part["rows"]) for part in rows) == 2000
    assert job.data["found"]["recall_ratio"] == whole["recall_ratio"]


async def test_rows_that_are_gone_in_the_middle_are_no_queries_any_more(job: Job, sql: asyncpg.Connection) -> None:
    asked = Parameters()
    plan = await ACTION.plan(job, asked)
    read, search = ACTION.steps(job, asked, plan)
    await read.run()
    rows = [(block, offset) for block, offset, _ in job.data["queries"]]
    await sql.execute("delete from chunks where ctid = any($1)", rows[:60])
    await search.run()
    assert job.data["found"]["queries"] == 40
    await sql.execute("delete from chunks")
    with pytest.raises(ActionError, match="is gone"):
        await search.run()


async def test_an_index_that_is_another_one_by_now_is_left_alone(job: Job, sql: asyncpg.Connection) -> None:
    asked = Parameters()
    plan = await ACTION.plan(job, asked)
    await sql.execute("alter index by_vector rename to by_other")
    with pytest.raises(ActionError, match="by_vector was dropped, renamed"):
        await ACTION.steps(job, asked, plan)[0].run()
    assert not (await ACTION.verify(job, asked, plan)).fixed


async def test_it_pushes_nothing_out_of_memory_without_leave(
    job: Job, make_environment: Callable[..., Environment]
) -> None:
    async with at_work(make_environment(policy=policy(probe_share=1e-6))) as bound:
        with pytest.raises(ActionError, match="shared_buffers") as refused:
            await ACTION.plan(bound, Parameters())
        assert "may_evict" in (refused.value.hint or "")
        assert (await ACTION.plan(bound, Parameters(may_evict=True))).steps
        assert (await probed(bound, may_evict=True))["recall_ratio"] < 1
    assert ACTION.risk_of(Parameters()) is Risk.READ
    assert ACTION.risk_of(Parameters(may_evict=True)) is Risk.GUARDED


async def test_what_is_meant_must_be_clear(job: Job, sql: asyncpg.Connection) -> None:
    await sql.execute("create index other on chunks using hnsw (e vector_l2_ops)")
    with pytest.raises(ActionError, match="2 vector index") as two:
        await ACTION.plan(job, Parameters())
    assert "by_vector" in (two.value.hint or "")
    assert (await ACTION.plan(job, Parameters(indexrelname="other"))).objects[0]["indexrelname"] == "other"
    with pytest.raises(ActionError, match="no vector index"):
        await ACTION.plan(job, Parameters(indexrelname="chunks_pkey"))
    with pytest.raises(ActionError, match="no database 'elsewhere'"):
        await ACTION.plan(job, Parameters(datname="elsewhere"))
    await sql.execute("update pg_index set indisvalid = false where indexrelid = 'other'::regclass")
    with pytest.raises(ActionError, match="is invalid"):
        await ACTION.plan(job, Parameters(indexrelname="other"))


async def test_a_role_that_may_not_read_is_told_so(
    job: Job, sql: asyncpg.Connection, make_environment: Callable[..., Environment]
) -> None:
    await sql.execute("create role probe_stranger login")
    dsn = job.environment.dsn.raw.replace("postgres@", "probe_stranger@")
    try:
        async with at_work(make_environment(dsn=dsn)) as stranger:
            with pytest.raises(ActionError, match=r"may not read public\.chunks"):
                await ACTION.plan(stranger, Parameters())
    finally:
        await sql.execute("drop role probe_stranger")


async def test_a_table_without_rows_has_nothing_to_search_for(job: Job, sql: asyncpg.Connection) -> None:
    await sql.execute("truncate chunks")
    asked = Parameters()
    plan = await ACTION.plan(job, asked)
    with pytest.raises(ActionError, match="no rows to search for"):
        await ACTION.steps(job, asked, plan)[0].run()


async def test_real_searches_count_where_they_are_configured(
    job: Job, make_environment: Callable[..., Environment]
) -> None:
    real = VectorQueries(index="by_vector", sql="select e from chunks where id <= 30 order by id")
    async with at_work(make_environment(policy=policy(queries=(real,)))) as configured:
        assert (await probed(configured))["queries"] == 30
