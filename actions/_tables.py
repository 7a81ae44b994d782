"""Tables as the catalogue knows them: found by name, quoted by the server, known again by their object id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from actions._action import Job, Object, Plan, Target
from actions._session import writable_databases
from fleet.connections import Connection
from fleet.errors import ActionError
from fleet.policy import Strict

# `{facts}` is a query about the table `c` and its TOAST table `t`; it must name `due` (by the server's own measure) and
# `some` (there is anything to do). It may use $4 and on, and autovacuum's settings, each by name in braces
_SQL = """
    select c.oid::int8 as oid, n.nspname, c.relname, format('%I.%I', n.nspname, c.relname) as quoted,
        {permitted} as permitted, extract(epoch from clock_timestamp())::float8 as read_at, facts.*
    from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        join pg_catalog.pg_database d on d.datname = current_database()
        left join pg_catalog.pg_class t on t.oid = c.reltoastrelid and t.relkind = 't'
        cross join lateral ({facts}) facts
    where c.relkind in ('r', 'm') and c.relpersistence <> 't' and n.nspname !~ '^pg_(toast|temp_)'
        and ($1::text is null or n.nspname = $1) and ($2::text is null or c.relname = $2)
        and ($3::oid[] is null or c.oid = any($3))
"""
# as it holds for the table `c`: its storage parameter, else the server's
_SETTING = """coalesce(
    (select option_value::float8 from pg_options_to_table(c.reloptions) where option_name = 'NAME'),
    current_setting('NAME')::float8)"""
_SETTINGS = {
    name: _SETTING.replace("NAME", f"autovacuum_{name}")
    for name in (
        "analyze_threshold",
        "analyze_scale_factor",
        "vacuum_threshold",
        "vacuum_scale_factor",
        "freeze_max_age",
        "multixact_freeze_max_age",
    )
}
_OWNER = "(pg_has_role(c.relowner, 'usage') or (not c.relisshared and pg_has_role(d.datdba, 'usage')))"
_MAINTAINER = f"({_OWNER} or has_table_privilege(c.oid, 'maintain'))"  # since PostgreSQL 17
_NAME_OF = """
    select format('%I.%I', n.nspname, c.relname)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.oid = $1 and n.nspname = $2 and c.relname = $3
"""

GONE = "dropped, renamed or made anew since the plan"


class TableParameters(Strict):
    datname: str | None = Field(None, description="the database; null: all of the environment")
    schemaname: str | None = Field(None, description="the schema; null: any")
    relname: str | None = Field(None, description="the table; null: every one that is due")
    limit: int = Field(50, ge=1, le=500, description="most tables in one run, the worst first")

    @property
    def target(self) -> Target:
        names = (self.datname, self.schemaname, self.relname)
        whole = ".".join(name for name in names if name) if all(names) else ""
        return Target(whole, None if self.datname is None else frozenset({self.datname}))


@dataclass(frozen=True, slots=True)
class Table:
    """A table with what was asked about it; `quoted` is its name as the server writes it."""

    datname: str
    schemaname: str
    relname: str
    oid: int
    quoted: str
    permitted: bool
    facts: Mapping[str, Any]

    @property
    def object(self) -> Object:
        return {"datname": self.datname, "schemaname": self.schemaname, "relname": self.relname, "oid": self.oid}


@dataclass(frozen=True, slots=True)
class Choice:
    """`tables` to work on, the worst first; `more` are due as well, `forbidden` are due and not ours to touch."""

    tables: tuple[Table, ...]
    more: int
    forbidden: tuple[Table, ...]

    @property
    def remark(self) -> str:
        """What a summary adds about those that are left out."""
        said = f"; {self.more} more are left to the next run" if self.more else ""
        return said + (f"; {len(self.forbidden)} more are not ours" if self.forbidden else "")


async def choose(job: Job, parameters: TableParameters, facts: str, weight: str, *arguments: Any) -> Choice:
    """Every table that is due, or those of the name that is given where anything is to do; by `weight`, a fact.

    Raises:
        ActionError: what is named does not exist, or the role may not touch any of what is due.
    """
    found: list[Table] = []
    for database in await writable_databases(job, parameters.datname):
        found += await _read(job, database, facts, (parameters.schemaname, parameters.relname, None, *arguments))
    named = [name for name in (parameters.schemaname, parameters.relname) if name is not None]
    if named and not found:
        raise ActionError(
            f"{job.environment.name} has no table {'.'.join(named)}",
            hint="name it as the catalogue does, a partition by its own name; was it dropped or renamed?",
        )
    measure = "due" if parameters.relname is None else "some"
    due = sorted((t for t in found if t.facts[measure]), key=lambda table: -table.facts[weight])
    ours, forbidden = [t for t in due if t.permitted], tuple(t for t in due if not t.permitted)
    if forbidden and not ours:
        raise ActionError(
            f"the role of {job.environment.name} may not maintain {forbidden[0].quoted}",
            hint="let it own the table, or grant it MAINTAIN or pg_maintain (PostgreSQL 17)",
        )
    return Choice(tuple(ours[: parameters.limit]), max(0, len(ours) - parameters.limit), forbidden)


async def read_again(job: Job, objects: Iterable[Object], facts: str, *arguments: Any) -> list[Table]:
    """What is left of the planned tables, as it is now."""
    planned: dict[str, dict[int, Object]] = {}
    for one in objects:
        planned.setdefault(one["datname"], {})[one["oid"]] = one
    found: list[Table] = []
    for database, by_oid in planned.items():
        tables = await _read(job, database, facts, (None, None, list(by_oid), *arguments))
        found += [table for table in tables if table.object.items() <= by_oid[table.oid].items()]
    return found


async def name_of(connection: Connection, planned: Object) -> str | None:
    """The quoted name of a planned table or index; None where it is another one by now."""
    name: str | None = await connection.fetchval(_NAME_OF, planned["oid"], planned["schemaname"], planned["relname"])
    return name


def started(plan: Plan) -> float:
    """When the plan read the world, in unix seconds of the server's clock."""
    return float(plan.figures["read_timestamp_seconds"])


async def _read(job: Job, database: str, facts: str, arguments: Sequence[Any]) -> list[Table]:
    async with job.connections.acquire(database) as connection:
        maintain = connection.get_server_version().major >= 17
        sql = _SQL.format(facts=facts.format_map(_SETTINGS), permitted=_MAINTAINER if maintain else _OWNER)
        records = await connection.fetch(sql, *arguments)
    return [
        Table(database, r["nspname"], r["relname"], r["oid"], r["quoted"], r["permitted"], dict(r)) for r in records
    ]
