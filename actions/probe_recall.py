"""Measure the recall of a vector index, and how it changes with the setting that searches are made with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from math import ceil
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Job, Measure, Plan, Step, Target, Verdict
from actions._probe import chosen_index, read_part, search_cheaply, search_exact
from fleet.errors import ActionError
from fleet.policy import Risk, Strict
from fleet.vectors import VectorIndex
from fleet.vectors.allowance import Cost, cost_of
from fleet.vectors.exact import copy_query, refusal
from fleet.vectors.recall import K
from fleet.vectors.recommended import search_setting
from fleet.vectors.search import search_sql

_PART_BYTES = 4 << 30  # of a table, read in one step: a run that is broken off goes on with the next part
_RANGE_READS = 14  # the server's version since when rows can be read by a range of ctid
_TIMEOUT = timedelta(hours=2)


class Parameters(Strict):
    datname: str | None = Field(None, description="the database; null: any")
    schemaname: str | None = Field(None, description="the schema; null: any")
    relname: str | None = Field(None, description="the table; null: any")
    indexrelname: str | None = Field(None, description="the vector index; null: the only one there")
    exact: bool = Field(
        True, description="compare with the rows that are nearest; false: with what the index finds at a high setting"
    )
    queries: int = Field(100, ge=10, le=1000, description="how many searches are made")
    settings: tuple[int, ...] = Field(
        (), max_length=20, description="hnsw.ef_search or ivfflat.probes to try as well; none: the usual ones"
    )
    target: float | None = Field(
        None, gt=0, le=1, description="the recall to find a setting for; null: what the policy promises"
    )
    may_evict: bool = Field(
        False, description="it may push out of shared_buffers what others work with, whatever the policy says"
    )


class ProbeRecall(Action[Parameters]):
    """Reads the whole table once. With the leave to evict it counts as guarded: it waits for window and approval."""

    name = "probe_recall"
    summary = "measure how many of the nearest rows searches through a vector index find, and at which setting"
    risk = Risk.READ
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure(
            "vector_index_exact_recall_ratio",
            "Share of the 10 nearest rows that searches through this index found when all rows were compared, 0 to 1.",
            "recall_ratio",
        ),
        Measure(
            "vector_index_exact_recall_low_ratio", "Lower bound of this share, with 95 % certainty.", "recall_low_ratio"
        ),
        Measure(
            "vector_index_exact_recall_high_ratio",
            "Upper bound of this share, with 95 % certainty.",
            "recall_high_ratio",
        ),
        Measure(
            "vector_index_exact_search_seconds",
            "Time of one search that compared all rows, on the server, in seconds.",
            "exact_search_seconds",
        ),
    )

    def parameters(self) -> type[Parameters]:
        return Parameters

    def risk_of(self, parameters: Parameters) -> Risk:
        return Risk.GUARDED if parameters.may_evict else Risk.READ

    def target(self, parameters: Parameters) -> Target:
        names = (parameters.datname, parameters.schemaname, parameters.indexrelname)
        whole = ".".join(name for name in names if name) if all(names) else ""
        return Target(whole, None if parameters.datname is None else frozenset({parameters.datname}))

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        names = (parameters.schemaname, parameters.relname, parameters.indexrelname)
        index = await chosen_index(job, parameters.datname, names)
        async with job.connections.acquire(index.datname) as connection:
            cost = await cost_of(connection, index)
            ranges = connection.get_server_version().major >= _RANGE_READS
        if cost is None:
            raise ActionError(f"{index.quoted_table} is gone")
        figures = {"rows": index.rows or 0.0, "size_bytes": index.size_bytes, "table_bytes": index.table_bytes}
        which = f"{index.datname}: {index.quoted}"
        if not parameters.exact:
            return Plan(
                f"estimate the recall of {which} by {parameters.queries} searches",
                ("search",),
                figures,
                (index.object,),
                (search_sql(index, K),),
                _effect(index, "the index is searched at a high setting as well"),
            )
        if (why := refusal(index)) is not None:
            raise ActionError(why, hint="exact: false compares with what the index finds at a high setting")
        _may_read(job, index, cost, parameters)
        parts = ceil(index.table_bytes / _PART_BYTES) if ranges and index.table_bytes else 1
        return Plan(
            f"measure the recall of {which} by {parameters.queries} searches and one pass over {index.quoted_table}",
            (*(f"compare part {part} of {parts}" for part in range(1, parts + 1)), "search"),
            figures,
            ({**index.object, "parts": parts},),
            (f"copy ({copy_query(index)}) to stdout (format binary)", search_sql(index, K)),
            _effect(index, f"{index.table_bytes / 1e6:,.0f} MB are read"),
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        one, count = plan.objects[0], parameters.queries
        if "parts" not in one:
            run = partial(search_cheaply, job, one, count, may_evict=parameters.may_evict)
            return [Step("search", run, _TIMEOUT)]
        parts = [
            Step(name, partial(read_part, job, one, count, part), _TIMEOUT) for part, name in enumerate(plan.steps[:-1])
        ]
        run = partial(search_exact, job, one, count, settings=parameters.settings, target=parameters.target)
        return [*parts, Step("search", run, _TIMEOUT)]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        found = job.data.get("found")
        if found is None:
            return Verdict(False, "nothing was measured", plan.figures)
        ratio = found.get("recall_ratio", found.get("estimated_recall_ratio"))
        reason = f"recall@{K} is {ratio:.3f} at setting {found['setting']}, by {found['queries']} searches"
        return Verdict(True, reason, {**plan.figures, **found})


def _may_read(job: Job, index: VectorIndex, cost: Cost, parameters: Parameters) -> None:
    share = job.environment.policy.vectors.probe_share
    if parameters.may_evict or cost.pass_fits(share):
        return
    raise ActionError(
        f"a pass over {index.quoted_table} puts {cost.pass_bytes / 1e6:,.0f} MB into shared_buffers, of which it may "
        f"fill {share or 0:.0%} of {cost.shared_bytes / 1e6:,.0f} MB: others would have to read again what they need",
        hint="may_evict: true asks for leave, probe_share in the policy gives it for good; exact: false needs little",
    )


def _effect(index: VectorIndex, costs: str) -> str:
    return f"nothing is changed, {costs}; {search_setting(index.method)} is told that reaches the recall wanted"
