"""Renew the planner's statistics of tables where they are missing or stale."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._session import alone
from actions._tables import GONE, Table, TableParameters, choose, name_of, read_again, started
from fleet.policy import Risk

# Due as autovacuum decides, which looks after the catalogues alone; and what holds rows and was never analyzed, as
# after a restore.
_FACTS = """
    select changed::float8 as modified, analyzed_at,
        user_table and (analyzed_at is null and filled
            or changed > {analyze_threshold}
                + {analyze_scale_factor} * greatest(c.reltuples, 0)) as due,
        changed > 0 or analyzed_at is null as some
    from (select
        pg_stat_get_mod_since_analyze(c.oid) as changed,
        pg_stat_get_live_tuples(c.oid) > 0 or c.reltuples > 0 as filled,
        n.nspname not in ('pg_catalog', 'information_schema') as user_table,
        extract(epoch from greatest(
            pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid)))::float8 as analyzed_at
    ) r
"""
_DONE = "select extract(epoch from pg_stat_get_last_analyze_time($1)) > $2::float8"


class Parameters(TableParameters):
    pass


class Analyze(Action[Parameters]):
    name = "analyze"
    summary = "renew the planner's statistics of tables where they are missing or stale"
    risk = Risk.SAFE
    subjects: ClassVar[tuple[str, ...]] = ("tables",)

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return parameters.target

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        choice = await choose(job, parameters, _FACTS, "modified")
        tables = choice.tables
        if not tables:
            return Plan(f"the statistics are fresh{choice.remark}", (), _figures(tables))
        return Plan(
            f"ANALYZE of {len(tables)} table(s){choice.remark}",
            tuple(f"analyze {table.datname}: {table.quoted}" for table in tables),
            _figures(tables),
            tuple(table.object for table in tables),
            tuple(f"ANALYZE {table.quoted}" for table in tables),
            "the planner knows the tables as they are now; reads a sample of each, and blocks neither reads nor writes",
        )

    def steps(self, job: Job, _parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_analyze, job, one, started(plan)))
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        tables = await read_again(job, plan.objects, _FACTS)
        late = [table for table in tables if (table.facts["analyzed_at"] or 0) <= started(plan)]
        stale = [table for table in tables if table.facts["due"]]
        if late:
            return Verdict(False, f"{late[0].quoted} was not analyzed since", _figures(tables))
        if stale:
            return Verdict(False, f"{stale[0].quoted} has changed so much that it is due again", _figures(tables))
        return Verdict(True, f"{len(tables)} table(s) were analyzed, none is due", _figures(tables))


async def _analyze(job: Job, planned: Object, since: float) -> Figures:
    async with (
        job.changes.acquire(planned["datname"]) as connection,
        alone(connection, job, f"analyze {planned['oid']}"),
    ):
        quoted = await name_of(connection, planned)
        if quoted is None:
            return {"skipped": GONE}
        if await connection.fetchval(_DONE, planned["oid"], since):
            return {"skipped": "done by an earlier attempt"}
        await connection.execute(f"analyze {quoted}")
    return {"analyzed": quoted}


def _figures(tables: Sequence[Table]) -> Figures:
    facts = [table.facts for table in tables]
    return {
        "tables": len(tables),
        "modified_since_analyze": sum(fact["modified"] for fact in facts),
        "never_analyzed": sum(fact["analyzed_at"] is None for fact in facts),
    } | ({"read_timestamp_seconds": min(fact["read_at"] for fact in facts)} if facts else {})
