"""Delete rows past their time, as the policy's retention rules say, in small batches beside the traffic.

Where nothing in particular is named, databases go, too, that ended runs have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._left_overs import LeftOver, drop_left_over, left_over_databases
from actions._retention import RowTable, Rules, read_rules
from actions._retention_count import Expired, count_expired
from actions._retention_delete import Pace, delete_expired, refuse_unknown_lag
from actions._session import alone, writable_databases
from actions._tables import GONE
from fleet.connections import Connection
from fleet.errors import ActionError
from fleet.policy import Risk, Strict

_TIMEOUT = timedelta(hours=12)


class Parameters(Strict):
    datname: str | None = Field(None, description="the database; null: all of the environment")
    schemaname: str | None = Field(None, description="the schema; null: any")
    relname: str | None = Field(None, description="the table; null: every one with a retention rule")
    share: float = Field(0.5, gt=0, le=1, description="part of the time at work, the rest is left to others (0 to 1)")
    most_lag_bytes: int = Field(64 * 2**20, ge=0, description="where a standby is further behind, it is waited for")


class Cleanup(Action[Parameters]):
    """Never a row that is younger than its rule says, nor one that a younger row of an undecided table refers to."""

    name = "cleanup"
    summary = "delete rows past their retention in small batches, then VACUUM; drop what ended runs left"
    risk = Risk.GUARDED
    subjects: ClassVar[tuple[str, ...]] = ("freshness", "tables", "sizes")
    conflicts: ClassVar[frozenset[str]] = frozenset({"backup"})  # the snapshot of a dump keeps what is deleted

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return Target("", None if parameters.datname is None else frozenset({parameters.datname}))

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        found = await _look(job, parameters, job.now())
        due = [one for one in found if one.rows]
        left = await _left_overs(job, parameters)
        if not due and not left:
            return Plan(f"no row is past its time{_kept(found)}", (), _figures(found))
        return Plan(
            _summary(due, left) + _kept(found),
            (
                *(f"clean up {one.table.datname}: {one.table.quoted}" for one in due),
                *(f"drop database {one.quoted}" for one in left),
            ),
            _figures(found),
            (*(one.table.object for one in due), *(one.object for one in left)),
            (
                *(text for one in due for text in (_command(one.table), f"VACUUM (ANALYZE) {one.table.quoted}")),
                *(one.command for one in left),
            ),
            _effect(due),
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_clean_up, job, parameters, one), timeout=_TIMEOUT, tries=5)
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        planned = {(one["datname"], one["oid"]) for one in plan.objects if "datname" in one}
        if there := [one for one in await _left_overs(job, parameters) if one.object in plan.objects]:
            return Verdict(False, f"the database {there[0].quoted} is still there")
        found = [
            one for one in await _look(job, parameters, job.started_at) if (one.table.datname, one.table.oid) in planned
        ]
        left = [one for one in found if one.rows]
        if left:
            return Verdict(
                False,
                f"{left[0].rows:,.0f} row(s) of {left[0].table.quoted} are past their time still: in use, new, or "
                "too many rows belong to one",
                _figures(found),
            )
        return Verdict(True, f"no row of {len(found)} table(s) is past its time{_kept(found)}", _figures(found))


async def _left_overs(job: Job, parameters: Parameters) -> list[LeftOver]:
    if (parameters.datname, parameters.schemaname, parameters.relname) != (None, None, None):
        return []
    return [one for one in await left_over_databases(job) if one.ended and one.owned]


def _summary(due: Sequence[Expired], left: Sequence[LeftOver]) -> str:
    parts = []
    if due:
        rows, size = sum(one.rows for one in due), sum(one.bytes for one in due)
        about = "" if all(one.exact for one in due) else "about "
        parts += [f"delete {about}{rows:,.0f} row(s) of {len(due)} table(s), about {size / 2**20:.1f} MiB"]
    if left:
        parts += [f"drop {len(left)} database(s) that ended runs left, {sum(x.bytes for x in left) / 2**20:.1f} MiB"]
    return "; ".join(parts)


def _command(table: RowTable) -> str:
    kept = timedelta(seconds=table.keep)
    old = f"{table.column} < now() - interval '{kept.total_seconds() / 86400:g} days'"
    return f"DELETE FROM {table.quoted} WHERE {old}"  # noqa: S608 - for people


def _effect(due: Sequence[Expired]) -> str:
    younger = [f"{rows:,.0f} of {name}" for one in due for name, rows in one.younger.items() if rows]
    more = f" Younger rows go with those that they belong to: {', '.join(younger)}." if younger else ""
    if not due:
        return "nobody needs them: the runs that made them have ended."
    return (
        "the rows are gone for good, but for backups; their room is free for new rows of the table, rarely for the "
        f"disk. Reads and writes go on.{more}"
    )


def _kept(found: Sequence[Expired]) -> str:
    kept = [one for one in found if one.kept]
    return "".join(
        f"; {one.kept:,.0f} of {one.table.quoted} stay, as rows that are kept longer refer to them" for one in kept
    )


async def _look(job: Job, parameters: Parameters, now: float) -> list[Expired]:
    """What is past its time, what refers before what is referred to.

    Raises:
        ActionError: rows of a table that is meant may not be deleted, or nobody can tell which.
    """
    found: list[Expired] = []
    chosen = _chosen(job, parameters)
    for database in await writable_databases(job, parameters.datname):
        async with job.connections.acquire(database) as connection:
            rules = await _rules(job, connection, database, now)
            tables = [table for table in rules.in_order() if table.rule in chosen]
            for table in tables:
                _refuse(rules, table)
            if tables:
                await refuse_unknown_lag(connection)
            found += [await count_expired(connection, rules, table) for table in tables]
    return found


async def _rules(job: Job, connection: Connection, database: str, now: float) -> Rules:
    ago = max(0.0, job.now() - now)
    return await read_rules(connection, database, job.environment.policy.data.row_retention, now, ago)


def _refuse(rules: Rules, table: RowTable) -> None:
    why = rules.obstacle(table)
    if why is not None:
        raise ActionError(why, hint="nothing is deleted as long as that is so; name another table (relname)")


def _chosen(job: Job, parameters: Parameters) -> set[tuple[str, str]]:
    """The tables of the rules that are meant. Raises ActionError where what is named has none."""
    rules = job.environment.policy.data.row_retention
    meant = {
        (schema, name)
        for schema, name in (rule.qualified for rule in rules)
        if parameters.schemaname in {None, schema} and parameters.relname in {None, name}
    }
    if parameters.relname is not None and not meant:
        raise ActionError(
            f"the policy of {job.environment.name} has no retention rule for {parameters.relname}",
            hint="add one under data: row_retention",
        )
    return meant


async def _clean_up(job: Job, parameters: Parameters, planned: Object) -> Figures:
    """All that is past its time since the run began; what an earlier attempt deleted is not there to be deleted."""
    if "left_over" in planned:
        return await drop_left_over(job, planned)
    async with (
        job.changes.acquire(planned["datname"]) as connection,
        alone(connection, job, f"cleanup {planned['oid']}"),
    ):
        rules = await _rules(job, connection, planned["datname"], job.started_at)
        table = rules.tables.get(planned["oid"])
        if table is None:
            return {"skipped": GONE}
        if table.object != planned:
            raise ActionError(f"{table.quoted} has another name or another rule by now", hint="plan it again")
        _refuse(rules, table)
        pace = Pace(parameters.share, parameters.most_lag_bytes)
        deleted = await delete_expired(job, connection, rules, table, pace)
        await connection.execute(f"vacuum (analyze) {table.quoted}")
    return {"deleted_rows": deleted, "vacuumed": table.quoted}


def _figures(found: Sequence[Expired]) -> Figures:
    return {
        "expired_rows": sum(one.rows for one in found),
        "expired_bytes": sum(one.bytes for one in found),
        "kept_rows": sum(one.kept for one in found),
    }
