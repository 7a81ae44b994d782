"""VACUUM FULL of one table: written anew without its empty room, while everybody who wants it waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._horizon import oldest_holder
from actions._session import alone, writable_databases
from actions._table_bloat import BloatedTable, find_tables
from actions._tables import GONE
from fleet.durations import Duration
from fleet.errors import ActionError
from fleet.migrating.forecast import Size, forecast, table_names
from fleet.migrating.statements import Statement
from fleet.policy import Risk, Strict

_TIMEOUT = timedelta(hours=12)
_LOCK_TIMEOUT = "3s"  # everybody else queues behind who waits for this lock
_LEAST_GAIN = 0.1  # of the table: less is not worth the wait
_TRIES = 5


class Parameters(Strict):
    datname: str = Field(description="the database")
    schemaname: str = Field("public", description="the schema")
    relname: str = Field(description="the table")
    longest_block: Duration = Field(
        timedelta(minutes=10), gt=timedelta(0), description="refused where everybody would have to wait longer"
    )


class VacuumFull(Action[Parameters]):
    """Never of more than one table, and never where nobody can tell how long it takes."""

    name = "vacuum_full"
    summary = "write one bloated table anew (VACUUM FULL); nobody can read or write it meanwhile"
    risk = Risk.DANGEROUS
    subjects: ClassVar[tuple[str, ...]] = ("sizes", "tables", "disks")
    conflicts: ClassVar[frozenset[str]] = frozenset({"backup"})  # it would wait for the dump's lock, and all behind it

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        whole = ".".join((parameters.datname, parameters.schemaname, parameters.relname))
        return Target(whole, frozenset({parameters.datname}))

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        await writable_databases(job, parameters.datname)
        async with job.connections.acquire(parameters.datname) as connection:
            found = await find_tables(connection, parameters.datname, parameters.schemaname, parameters.relname)
            holder = await oldest_holder(connection)
        table = _judged(job, parameters, found)
        expected, gain = table.expected_bytes or 0.0, table.gain_bytes or 0.0
        if gain < _LEAST_GAIN * table.bytes:
            sizes = f"{_mib(table.bytes)}, about {_mib(expected)} if new"
            return Plan(f"{table.quoted} is not bloated: {sizes}", (), _figures(table))
        seconds = block_seconds(table)
        if seconds > parameters.longest_block.total_seconds():
            raise ActionError(
                f"everybody would wait about {_words(seconds)} for {table.quoted}",
                hint="let them in a quiet hour (longest_block), or rebuild it beside the traffic (pg_repack)",
            )
        held = f" But {holder}: those stay." if holder is not None else ""
        return Plan(
            f"write {table.quoted} anew: {_mib(table.bytes)}, about {_mib(expected)} when new",
            (f"rewrite {table.datname}: {table.quoted}",),
            _figures(table),
            (table.object,),
            (f"VACUUM (FULL, ANALYZE) {table.quoted}",),
            f"ACCESS EXCLUSIVE lock: reads and writes of {table.quoted} wait about {_words(seconds)}. It takes the "
            f"room of a copy with its indexes meanwhile; then about {_mib(gain)} are free on the disk.{held}",
            disk_bytes=expected + table.index_bytes,
        )

    def steps(self, job: Job, _parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_rewrite, job, one), timeout=_TIMEOUT, tries=_TRIES)
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        async with job.connections.acquire(parameters.datname) as connection:
            found = await find_tables(connection, parameters.datname, parameters.schemaname, parameters.relname)
        table = next((one for one in found if one.oid == plan.objects[0]["oid"]), None)
        if table is None:
            return Verdict(False, f"{parameters.relname} was {GONE}")
        if table.filenode == plan.objects[0]["filenode"]:
            return Verdict(False, f"{table.quoted} was not written anew", _figures(table))
        before = float(plan.figures["table_bytes"])
        if table.bytes >= before:
            return Verdict(False, f"{table.quoted} was written anew and takes as much again", _figures(table))
        return Verdict(True, f"{table.quoted} takes {_mib(before - table.bytes)} less", _figures(table))


def block_seconds(table: BloatedTable) -> float:
    """How long everybody has to wait: for the rows, and for each of its indexes, in seconds."""
    written = [Statement(f"alter table {table.quoted} set logged", 0)]  # which writes the rows as well
    written += [Statement(definition, 0) for definition in table.indexes]
    size = Size(table.expected_bytes or table.bytes, rows=table.rows or 0.0)
    estimates = forecast(written, dict.fromkeys(table_names(written), size))
    return sum(estimate.seconds for estimate in estimates)


def _judged(job: Job, parameters: Parameters, found: Sequence[BloatedTable]) -> BloatedTable:
    if not found:
        raise ActionError(
            f"{job.environment.name} has no table {parameters.schemaname}.{parameters.relname}",
            hint="name it as the catalogue does, a partition by its own name; was it dropped or renamed?",
        )
    table = found[0]
    if table.obstacle is not None:
        raise ActionError(f"{table.quoted} {table.obstacle}", hint="it stays as it is")
    if table.expected_bytes is None:
        raise ActionError(f"nobody can tell what {table.quoted} would take", hint="analyze it first")
    return table


async def _rewrite(job: Job, planned: Object) -> Figures:
    """Look once more; what an earlier attempt wrote is another file."""
    async with (
        job.changes.acquire(planned["datname"]) as connection,
        alone(connection, job, f"rewrite {planned['oid']}"),
    ):
        found = await find_tables(connection, planned["datname"], planned["schemaname"], planned["relname"])
        table = next((one for one in found if one.oid == planned["oid"]), None)
        if table is None:
            return {"skipped": GONE}
        if table.filenode != planned["filenode"]:
            return {"skipped": "written anew since the plan"}
        await connection.execute(f"set lock_timeout = '{_LOCK_TIMEOUT}'; set statement_timeout = 0")
        try:
            await connection.execute(f"vacuum (full, analyze) {table.quoted}")
        finally:
            if not connection.is_closed():
                await connection.execute("reset lock_timeout; reset statement_timeout")
    return {"rewritten": table.quoted, "bytes_before": table.bytes}


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


def _words(seconds: float) -> str:
    return f"{max(1.0, seconds):.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _figures(table: BloatedTable) -> Figures:
    return {
        "table_bytes": table.bytes,
        "index_bytes": table.index_bytes,
        "expected_bytes": table.expected_bytes or table.bytes,
    }
