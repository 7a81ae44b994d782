"""Whether the planner uses a vector index for the query that it is there for, and why not. Nothing is executed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet.connections import Connection
from fleet.vectors.catalogue import VectorIndex
from fleet.vectors.recommended import Method

FEW_ROWS = 10_000  # below, to read the whole table may well be right
_CHANGED = 0.2  # of the rows, since they were counted
NEAREST = 10

_CANONICAL = """
    select 1 from {index.quoted_table} {index.condition} order by {index.expression} {index.operator}
        (select {index.expression} from {index.quoted_table} {index.condition} limit 1) limit {k}
"""
# what makes the planner take an index wherever it can
_FAVOUR = (("enable_indexscan", "on"), ("enable_seqscan", "off"), ("enable_sort", "off"), ("ivfflat.probes", "1"))

# settings of this session, and what other roles have for theirs in this database
_SETTINGS = """
    select null::text as role, name, setting as value from pg_catalog.pg_settings
    where name in ('enable_indexscan', 'random_page_cost')
    union all
    select null, 'ivfflat.probes', current_setting('ivfflat.probes', true)
    union all
    select coalesce(r.rolname, 'every role'), split_part(said, '=', 1), substr(said, strpos(said, '=') + 1)
    from pg_catalog.pg_db_role_setting s
        left join pg_catalog.pg_roles r on r.oid = s.setrole
        cross join lateral unnest(s.setconfig) said
    where s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
        and r.rolname is distinct from current_user
        and split_part(said, '=', 1) in ('enable_indexscan', 'ivfflat.probes')
"""
_STATISTICS = """
    select greatest(pg_stat_get_last_analyze_time($1), pg_stat_get_last_autoanalyze_time($1)) is not null as analyzed,
        pg_stat_get_mod_since_analyze($1)::float8 as modified,
        (select reltuples from pg_catalog.pg_class where oid = $1)::float8 as counted
"""


class Cause(StrEnum):
    INVALID = "invalid"
    SETTINGS = "settings"
    STATISTICS = "statistics"
    COST = "cost"
    SIBLING = "another index"
    SHAPE = "shape of the query"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an index is not used; `remedy` is empty where nothing is wrong."""

    cause: Cause
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """How the planner answers the canonical query of `index`: with the index `served_by` (None: with none), at `cost`.

    `index_cost` is what it expects of the index where that is not its choice. `reasons` are empty where it is.
    """

    index: str
    served_by: str | None
    cost: float
    index_cost: float | None = None
    reasons: tuple[Reason, ...] = ()

    @property
    def used(self) -> bool:
        return self.served_by == self.index


def canonical_query(index: VectorIndex, k: int = NEAREST) -> str:
    """The query that the index is there for: the `k` nearest rows, of one that is in the table."""
    return _CANONICAL.format(index=index, k=k)


async def explain_use(connection: Connection, index: VectorIndex) -> Use:
    """Ask the planner, as things are and with everything in favour of the index; the session stays as it was.

    Raises:
        asyncpg.InsufficientPrivilegeError: the role may not read the table.
        asyncpg.LockNotAvailableError: somebody holds the table.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        chosen = await _plan(connection, index)
        if index.indexrelname in chosen.indexes:
            return Use(index.indexrelname, index.indexrelname, chosen.cost)
        settings = [(r["role"], r["name"], r["value"]) for r in await connection.fetch(_SETTINGS)]
        statistics = await connection.fetchrow(_STATISTICS, index.table_oid)
        for name, value in _FAVOUR:
            await connection.execute("select set_config($1, $2, true)", name, value)
        favoured = await _plan(connection, index)
    finally:
        await transaction.rollback()
    fits = index.indexrelname in favoured.indexes
    served_by = next(iter(sorted(chosen.indexes)), None)
    reasons = _reasons(index, chosen, favoured, settings, dict(statistics or {}))
    return Use(index.indexrelname, served_by, chosen.cost, favoured.cost if fits else None, tuple(reasons))


@dataclass(frozen=True, slots=True)
class _Plan:
    """Vector indexes (those whose scan is ordered by an operator), and the cost of all."""

    indexes: frozenset[str]
    cost: float


def _reasons(
    index: VectorIndex,
    chosen: _Plan,
    favoured: _Plan,
    settings: list[tuple[str | None, str, str | None]],
    statistics: dict[str, Any],
) -> Iterator[Reason]:
    name = index.indexrelname
    if not index.valid:
        yield Reason(Cause.INVALID, f"{name} is invalid: its build failed, or goes on", "drop it and build it again")
        return
    if chosen.indexes:
        others = ", ".join(sorted(chosen.indexes))
        yield Reason(Cause.SIBLING, f"{others} serves the same query", "drop the one that is worse")
        return
    yield from _settings(index, settings)
    if name not in favoured.indexes:
        others = ", ".join(sorted(favoured.indexes))
        if others:
            yield Reason(Cause.SIBLING, f"{others} serves the same query", "drop the one that is worse")
        else:
            yield Reason(Cause.SHAPE, f"no query for the nearest rows can use {name}", "build it again")
        return
    yield from _statistics(index, statistics)
    costs = f"the planner expects {favoured.cost:,.0f} of {name}, and {chosen.cost:,.0f} without it"
    if (index.rows or 0) < FEW_ROWS:
        yield Reason(Cause.COST, f"the table is small: {costs}")
    elif chosen.cost < favoured.cost:
        page = next((value for role, setting, value in settings if role is None and setting == "random_page_cost"), "?")
        remedy = f"random_page_cost is {page}: 1.1 is right for SSDs; fewer probes or a lower ef_search cost less"
        yield Reason(Cause.COST, costs, remedy)


def _settings(index: VectorIndex, settings: list[tuple[str | None, str, str | None]]) -> Iterator[Reason]:
    for role, name, value in settings:
        where = "here" if role is None else f"for {role}"
        if name == "enable_indexscan" and value == "off":
            yield Reason(Cause.SETTINGS, f"enable_indexscan is off {where}", "reset enable_indexscan")
        elif name == "ivfflat.probes" and index.method is Method.IVFFLAT and (value or "").isdigit():
            lists = index.options["lists"]
            if int(value or 0) >= lists:
                text = f"ivfflat.probes is {value} {where}, and there are {lists} lists: all would be searched"
                yield Reason(Cause.SETTINGS, text, "set fewer probes")


def _statistics(index: VectorIndex, statistics: dict[str, Any]) -> Iterator[Reason]:
    counted = statistics["counted"]
    if not statistics["analyzed"] and counted <= 0:
        yield Reason(Cause.STATISTICS, f"{index.relname} was never analyzed", f"analyze {index.quoted_table}")
    elif (statistics["modified"] or 0) > _CHANGED * max(counted, 1):
        text = f"{statistics['modified']:,.0f} rows of {index.relname} changed since it was analyzed"
        yield Reason(Cause.STATISTICS, text, f"analyze {index.quoted_table}")


async def _plan(connection: Connection, index: VectorIndex) -> _Plan:
    said = await connection.fetchval(f"explain (format json) {canonical_query(index)}")
    root = json.loads(said)[0]["Plan"]
    return _Plan(frozenset(_vector_scans(root)), float(root["Total Cost"]))


def _vector_scans(node: dict[str, Any]) -> Iterator[str]:
    if "Index Name" in node and "Order By" in node:
        yield node["Index Name"]
    for child in node.get("Plans", ()):
        yield from _vector_scans(child)
