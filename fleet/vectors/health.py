"""What a server tells of its vector indexes beside what they are: use, rows, settings, and what a build has there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.connections import Connection
from fleet.vectors.catalogue import VectorIndex, vector_indexes
from fleet.vectors.costs import shape_of
from fleet.vectors.recommended import default_search, search_setting

_SERVER = """
    select current_setting('server_version_num')::int as version, e.extversion as vector_version,
        (select default_version from pg_catalog.pg_available_extensions where name = 'vector') as installed_version,
        pg_size_bytes(current_setting('maintenance_work_mem')) as maintenance_bytes,
        current_setting('max_parallel_maintenance_workers')::int as workers
    from pg_catalog.pg_extension e where e.extname = 'vector'
"""
_USE = """
    select x.indexrelid::int8 as oid, pg_stat_get_numscans(x.indexrelid) as scans,
        pg_stat_get_numscans(x.indrelid) as table_scans,
        coalesce(pg_stat_get_dead_tuples(x.indrelid), 0)::float8 as dead_rows
    from pg_catalog.pg_index x where x.indexrelid = any($1::oid[])
"""
# what the roles have in this database; '' is every role, a role's own is stronger
_SEARCH_SETTINGS = """
    select coalesce(r.rolname, '')::text as role, split_part(said, '=', 1) as name,
        substr(said, strpos(said, '=') + 1) as value
    from pg_catalog.pg_db_role_setting s
        left join pg_catalog.pg_roles r on r.oid = s.setrole
        cross join lateral unnest(s.setconfig) said
    where s.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = current_database()))
        and split_part(said, '=', 1) in ('hnsw.ef_search', 'ivfflat.probes')
    order by s.setdatabase
"""
# by text, as a value from the table is fetched and decompressed again for each distance
_DISTANCE = """
    explain (analyze, timing off, summary on, format json)
    with two as materialized (
        select ({index.expression})::text::{index.type_name}({index.dimensions}) as value
        from {index.quoted_table} where {index.expression} is not null limit 2
    )
    select count(a.value {index.operator} b.value) from two a, two b, generate_series(1, {rounds})
"""
_ROUNDS = 5000
_UNINDEXED = """
    select n.nspname::text as schemaname, t.relname::text as relname, a.attname::text as column,
        y.typname::text as type_name, nullif(a.atttypmod, -1) as dimensions, t.reltuples::float8 as rows
    from pg_catalog.pg_attribute a
        join pg_catalog.pg_type y on y.oid = a.atttypid and y.typname in ('vector', 'halfvec')
        join pg_catalog.pg_class t on t.oid = a.attrelid and t.relkind in ('r', 'm') and t.relpersistence <> 't'
        join pg_catalog.pg_namespace n on n.oid = t.relnamespace
    where a.attnum > 0 and not a.attisdropped and t.reltuples >= $1
        and not exists (
            select from pg_catalog.pg_index x
                join pg_catalog.pg_class i on i.oid = x.indexrelid
                join pg_catalog.pg_am m on m.oid = i.relam and m.amname in ('hnsw', 'ivfflat')
                left join pg_catalog.pg_depend d on d.objid = i.oid and d.refobjid = t.oid
            where x.indrelid = t.oid and (a.attnum = any(x.indkey) or d.refobjsubid = a.attnum)
        )
    order by 1, 2, 3
"""
MANY_ROWS = 10_000  # from which a search without an index is slow


@dataclass(frozen=True, slots=True)
class Server:
    """`version` as server_version_num; `installed_version` is what pgvector's files are, None where nobody tells.

    `maintenance_bytes` is maintenance_work_mem, `workers` are those that may help a build.
    """

    version: int
    vector_version: str
    installed_version: str | None
    maintenance_bytes: int
    workers: int


@dataclass(frozen=True, slots=True)
class Health:
    """An index and its use. `scans` of it and `table_scans`, from end to end, since the statistics began.

    `search` is what searches set, by role ('' is every other one). `build_rows` are those that were there at the build.
    `distance_seconds` is what one distance takes on the server.
    """

    index: VectorIndex
    scans: int
    table_scans: int
    dead_rows: float
    search: Mapping[str, int] = field(default_factory=dict)
    build_rows: float | None = None
    distance_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Unindexed:
    """A column of vectors that no vector index is on, in a table of many rows."""

    schemaname: str
    relname: str
    column: str
    type_name: str
    dimensions: int | None
    rows: float


async def read_server(connection: Connection) -> Server | None:
    """None where the database has no pgvector."""
    record = await connection.fetchrow(_SERVER)
    return None if record is None else Server(**dict(record))


async def read_health(connection: Connection) -> list[Health]:
    """Of every vector index of the database, by schema, table and name."""
    indexes = await vector_indexes(connection)
    use = {record["oid"]: record for record in await connection.fetch(_USE, [index.oid for index in indexes])}
    settings = await connection.fetch(_SEARCH_SETTINGS)
    found = []
    for index in indexes:
        if (record := use.get(index.oid)) is None:
            continue  # dropped meanwhile
        name = search_setting(index.method)
        search = {"": default_search(index.method)}
        search |= {one["role"]: int(one["value"]) for one in settings if one["name"] == name and one["value"].isdigit()}
        found.append(Health(index, record["scans"], record["table_scans"], record["dead_rows"], search))
    return found


async def read_unindexed(connection: Connection) -> list[Unindexed]:
    return [Unindexed(**dict(record)) for record in await connection.fetch(_UNINDEXED, MANY_ROWS)]


async def measure_distance(connection: Connection, index: VectorIndex) -> float | None:
    """Seconds of one distance between two vectors of the table, by some thousand; None where there are no two.

    Raises:
        asyncpg.InsufficientPrivilegeError: the role may not read the table.
    """
    if shape_of(index) is None:
        return None
    plan = json.loads(await connection.fetchval(_DISTANCE.format(index=index, rounds=_ROUNDS)))[0]
    # the aggregate's child: the pairs, each round
    pairs = float(plan["Plan"]["Plans"][-1]["Actual Rows"])
    return float(plan["Execution Time"]) / 1000 / pairs if pairs >= 2 * _ROUNDS else None
