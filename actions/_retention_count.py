"""How many rows are past their time, and how much room they take."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import asyncpg

from actions._retention import RowTable, Rules
from fleet.connections import Connection

_PLANNED = "select (x->0->'Plan'->>'Plan Rows')::float8 from (select $1::json x) p"


@dataclass(frozen=True, slots=True)
class Expired:
    """Rows of a table past their time: those that may go, and those that others keep.

    `younger` rows of other tables go with them. What is not `exact` is what the planner expects.
    """

    table: RowTable
    rows: float
    kept: float = 0.0
    younger: Mapping[str, float] = field(default_factory=dict)
    exact: bool = False

    @property
    def bytes(self) -> float:
        return self.rows * self.table.bytes / max(self.table.rows, self.rows, 1.0)


async def count_expired(connection: Connection, rules: Rules, table: RowTable) -> Expired:
    """Exactly, where that is a matter of seconds."""
    expired, free = table.expired("t", rules.now), rules.may_go(table, "t")
    with suppress(asyncpg.QueryCanceledError):
        rows, kept = await connection.fetchrow(
            f"select count(*) filter (where {free}), count(*) filter (where not ({free})) "  # noqa: S608
            f"from only {table.quoted} t where {expired}"
        ) or (0, 0)
        younger = {}
        for one in rules.clearing(table, f"{expired} and {free}") if rows else ():
            name, young = one.table.quoted, f"not ({one.table.expired(one.alias, rules.now)})"
            younger[name] = await connection.fetchval(
                f"select count(*) from {name} {one.alias} where {one.belongs} and {young}"  # noqa: S608
            )
        return Expired(table, rows, kept, younger, exact=True)
    plan = await connection.fetchval(f"explain (format json) select from only {table.quoted} t where {expired}")
    return Expired(table, await connection.fetchval(_PLANNED, plan))
