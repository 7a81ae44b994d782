"""VACUUM tables with many dead rows, and freeze those that come near wraparound. Never VACUUM FULL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._horizon import Holder, oldest_holder
from actions._session import alone
from actions._tables import GONE, Table, TableParameters, choose, name_of, read_again, started
from fleet.policy import Risk

# Due as autovacuum decides. Any table, a catalogue too, can be the oldest of its database.
_FACTS = """
    select dead, xid_age, vacuumed_at, aged as freeze,
        aged or user_table and dead > {vacuum_threshold}
            + {vacuum_scale_factor} * greatest(c.reltuples, 0) as due,
        aged or dead > 0 as some,
        dead + case when aged then 1e15 + xid_age else 0 end as weight
    from (select *,
        xid_age > coalesce($4::float8, least({freeze_max_age},
                current_setting('autovacuum_freeze_max_age')::float8))
            or multixact_age > least({multixact_freeze_max_age},
                current_setting('autovacuum_multixact_freeze_max_age')::float8) as aged
        from (select
            pg_stat_get_dead_tuples(c.oid)::float8 as dead,
            greatest(age(c.relfrozenxid), age(t.relfrozenxid))::float8 as xid_age,
            greatest(mxid_age(c.relminmxid), mxid_age(t.relminmxid))::float8 as multixact_age,
            n.nspname not in ('pg_catalog', 'information_schema') as user_table,
            extract(epoch from greatest(
                pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid)))::float8 as vacuumed_at
        ) r
    ) r
"""
_DONE = "select extract(epoch from pg_stat_get_last_vacuum_time($1)) > $2::float8"
_COMMANDS = {False: "VACUUM", True: "VACUUM (FREEZE)"}


class Parameters(TableParameters):
    freeze_age: int | None = Field(
        None, ge=1, description="freeze what is older, in transactions; null: where autovacuum would be forced to"
    )


class Vacuum(Action[Parameters]):
    name = "vacuum"
    summary = "VACUUM tables with many dead rows, freeze those near wraparound; never FULL"
    risk = Risk.SAFE
    subjects: ClassVar[tuple[str, ...]] = ("tables", "databases")
    conflicts: ClassVar[frozenset[str]] = frozenset({"backup"})  # the snapshot of a dump keeps what is dead

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return parameters.target

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        choice = await choose(job, parameters, _FACTS, "weight", parameters.freeze_age)
        tables = choice.tables
        if not tables:
            return Plan(f"no table needs VACUUM{choice.remark}", (), _figures(tables))
        objects = tuple({**table.object, "freeze": table.facts["freeze"]} for table in tables)
        held = [f" But {holder}: those stay." for holder in await _holders(job, objects)]
        return Plan(
            f"VACUUM of {len(tables)} table(s){choice.remark}",
            tuple(f"vacuum {table.datname}: {table.quoted}" for table in tables),
            _figures(tables),
            objects,
            tuple(f"{_COMMANDS[table.facts['freeze']]} {table.quoted}" for table in tables),
            "the room of dead rows can be used again, old rows are frozen; blocks neither reads nor writes."
            + "".join(held),
        )

    def steps(self, job: Job, _parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_vacuum, job, one, started(plan)))
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        tables = await read_again(job, plan.objects, _FACTS, parameters.freeze_age)
        figures = _figures(tables)
        late = [table for table in tables if (table.facts["vacuumed_at"] or 0) <= started(plan)]
        if late:
            return Verdict(False, f"{late[0].quoted} was not vacuumed since", figures)
        before, after = float(plan.figures["dead_rows"]), float(figures["dead_rows"])
        due = [table for table in tables if table.facts["due"]]
        if not due and (after < before or after == 0):
            return Verdict(True, f"{len(tables)} table(s) were vacuumed, none is due", figures)
        what = "has old rows that are not frozen" if due and due[0].facts["freeze"] else "has its dead rows still"
        reason = f"{(due or tables)[0].quoted} was vacuumed and {what}"
        held = [f"; {holder}" for holder in await _holders(job, plan.objects)]
        return Verdict(False, reason + "".join(held), figures)


async def _vacuum(job: Job, planned: Object, since: float) -> Figures:
    async with (
        job.changes.acquire(planned["datname"]) as connection,
        alone(connection, job, f"vacuum {planned['oid']}"),
    ):
        quoted = await name_of(connection, planned)
        if quoted is None:
            return {"skipped": GONE}
        if await connection.fetchval(_DONE, planned["oid"], since):
            return {"skipped": "done by an earlier attempt"}
        await connection.execute(f"{_COMMANDS[planned['freeze']]} {quoted}")
    return {"vacuumed": quoted}


async def _holders(job: Job, objects: Iterable[Object]) -> list[Holder]:
    """Who holds VACUUM back the most, in each database that is worked in."""
    found = []
    for database in sorted({one["datname"] for one in objects}):
        async with job.connections.acquire(database) as connection:
            found.append(await oldest_holder(connection))
    return [holder for holder in found if holder is not None]


def _figures(tables: Sequence[Table]) -> Figures:
    facts = [table.facts for table in tables]
    return {
        "tables": len(tables),
        "dead_rows": sum(fact["dead"] for fact in facts),
        "oldest_xid_age": max((fact["xid_age"] or 0.0 for fact in facts), default=0.0),
    } | ({"read_timestamp_seconds": min(fact["read_at"] for fact in facts)} if facts else {})
