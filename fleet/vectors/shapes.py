"""Why searches that are really made do not fit a vector index, by their text in pg_stat_statements."""

from __future__ import annotations

import re
from collections.abc import Iterator

import asyncpg

from fleet.connections import Connection
from fleet.vectors.catalogue import VectorIndex
from fleet.vectors.plans import Cause, Reason

_DISTANCES = re.compile(r"<->|<=>|<#>|<\+>|<~>|<%>")
_MOST = 20

_WHERE = """
    select format('%I.pg_stat_statements', n.nspname) from pg_catalog.pg_extension e
        join pg_catalog.pg_namespace n on n.oid = e.extnamespace
    where e.extname = 'pg_stat_statements'
"""
# the texts of others are hidden from who has no pg_read_all_stats
_SEARCHES = """
    select query from {view}
    where dbid = (select oid from pg_catalog.pg_database where datname = current_database())
        and query ~ '<->|<=>|<#>|<[+]>|<~>|<%>' and query ~* '^\\s*(select|with|prepare|declare)\\M'
        and strpos(lower(query), lower($1)) > 0
    order by calls desc limit {most}
"""


async def misfits(connection: Connection, index: VectorIndex) -> list[Reason]:
    """What is wrong with the most frequent searches of the table, each kind once; empty where nobody counts them."""
    view = await connection.fetchval(_WHERE)
    if view is None:
        return []
    try:
        searches = await connection.fetch(_SEARCHES.format(view=view, most=_MOST), index.relname)
    except (asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.InsufficientPrivilegeError):
        return []  # it is installed and not loaded, or not for us
    found = [misfit(record["query"], index) for record in searches]
    return list(dict.fromkeys(reason for reason in found if reason is not None))


def misfit(query: str, index: VectorIndex) -> Reason | None:
    """Why a search by distance cannot use the index; None where it seems that it can, or is about something else."""
    text = " ".join(query.lower().split())
    if not all(_mentions(text, name) for name in (index.relname, index.column) if name is not None):
        return None
    return next(_faults(text, index), None)


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", text) is not None


def _faults(text: str, index: VectorIndex) -> Iterator[Reason]:
    used = sorted(set(_DISTANCES.findall(text)))
    order, limit, _ = text.rpartition(" order by ")[2].partition(" limit ")
    if index.distance not in used:
        said = f"searches use {', '.join(used)}, the index serves {index.distance}"
        yield _reason(said, "build it with the operator class of the distance that is searched by")
    if " order by " not in text or not _DISTANCES.search(order):
        said = "searches do not order by the distance itself"
        yield _reason(said, f"order by column {index.distance} value, not by an alias of something computed from it")
    if re.search(r"\bdesc\b", order):
        yield _reason("searches order by distance downwards", "order by distance upwards, with a limit")
    if re.match(r"\(*\s*[\d$]+\S*\s*-\s*\(", order):
        yield _reason("searches order by something computed from the distance", "order by the distance itself")
    if not limit and " fetch first " not in order:
        yield _reason("searches have no limit", "add a limit")
    if index.column is None and not _has_cast(order, index.type_name):
        yield _reason(f"searches lack the index's expression {index.expression}", "order by that expression")
    if index.predicate and " where " not in text:
        yield _reason(f"searches lack the index's condition {index.predicate}", "add the condition to them")


def _has_cast(order: str, type_name: str) -> bool:
    return f"::{type_name}" in order or f"as {type_name}" in order or f"{type_name}(" in order or "quantize(" in order


def _reason(text: str, remedy: str) -> Reason:
    return Reason(Cause.SHAPE, text, remedy)
