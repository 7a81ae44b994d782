"""Invalid indexes, and why each of them may or may not be dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from actions._action import Object
from fleet.connections import Connection

# Who builds an index concurrently, or drops one, holds SHARE UPDATE EXCLUSIVE or more on its table from the beginning
# to the end, and everybody may see that; of another role's progress and query only members of pg_read_all_stats.
_SQL = """
    select i.oid::int8 as oid, t.oid::int8 as table_oid, n.nspname as schemaname, t.relname, i.relname as indexrelname,
        format('%I.%I', n.nspname, i.relname) as quoted, pg_get_indexdef(i.oid) as definition,
        pg_relation_size(i.oid)::float8 as bytes,
        case
            when exists (select from pg_catalog.pg_inherits where inhrelid = i.oid)
                then 'belongs to a partitioned index'
            when x.indisprimary or x.indisexclusion
                or exists (select from pg_catalog.pg_constraint where conindid = i.oid) then 'backs a constraint'
            when x.indisreplident then 'is the replica identity of its table'
            when exists (select from pg_catalog.pg_depend
                where classid = 'pg_catalog.pg_class'::regclass and objid in (i.oid, t.oid) and deptype = 'e')
                then 'belongs to an extension'
            when not (pg_has_role(i.relowner, 'usage') or pg_has_role(n.nspowner, 'usage')) then 'is not ours'
            when exists (select from pg_catalog.pg_stat_progress_create_index p
                where p.datid = d.oid and (p.relid = t.oid or p.relid is null)) then 'is being built'
            when exists (select from pg_catalog.pg_stat_activity a
                where a.datid = d.oid and a.state = 'active' and a.pid <> pg_backend_pid()
                    and a.query ~* '\\m(create\\s+(unique\\s+)?index|reindex)\\M'
                    and (strpos(a.query, t.relname) > 0 or strpos(a.query, i.relname) > 0)) then 'is being built'
            when exists (select from pg_catalog.pg_locks l
                where l.database = d.oid and l.relation in (i.oid, t.oid) and l.pid <> pg_backend_pid()
                    and l.mode in ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                        'AccessExclusiveLock')) then 'may be being built: somebody holds a lock on its table'
        end as obstacle
    from pg_catalog.pg_index x
        join pg_catalog.pg_class i on i.oid = x.indexrelid
        join pg_catalog.pg_class t on t.oid = x.indrelid
        join pg_catalog.pg_namespace n on n.oid = i.relnamespace
        join pg_catalog.pg_database d on d.datname = current_database()
    where i.relkind = 'i' and not x.indisvalid and i.relpersistence <> 't'
        and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp_)'
        and ($1::text is null or n.nspname = $1) and ($2::text is null or t.relname = $2)
        and ($3::text is null or i.relname = $3) and ($4::oid[] is null or i.oid = any($4))
    order by 1
"""
_KNOWN = """
    select exists (
        select from pg_catalog.pg_index x
            join pg_catalog.pg_class i on i.oid = x.indexrelid
            join pg_catalog.pg_class t on t.oid = x.indrelid
            join pg_catalog.pg_namespace n on n.oid = i.relnamespace
        where ($1::text is null or n.nspname = $1) and ($2::text is null or t.relname = $2)
            and ($3::text is null or i.relname = $3))
"""


@dataclass(frozen=True, slots=True)
class InvalidIndex:
    """An invalid index; `obstacle` says why it must stay, None that it may go. `quoted` is its name by the server."""

    datname: str
    schemaname: str
    relname: str
    indexrelname: str
    oid: int
    table_oid: int
    quoted: str
    definition: str
    bytes: float
    obstacle: str | None

    @property
    def object(self) -> Object:
        names = {"datname": self.datname, "schemaname": self.schemaname, "relname": self.relname}
        ids = {"indexrelname": self.indexrelname, "oid": self.oid, "table_oid": self.table_oid}
        return {**names, **ids, "definition": self.definition}


async def invalid_indexes(
    connection: Connection,
    datname: str,
    names: Sequence[str | None] = (None, None, None),
    oids: Sequence[int] | None = None,
) -> list[InvalidIndex]:
    """Those of these names (schema, table, index) and object ids, as far as they are given."""
    records: list[asyncpg.Record] = await connection.fetch(_SQL, *names, oids)
    return [InvalidIndex(datname, **dict(record)) for record in records]


async def has_index(connection: Connection, names: Sequence[str | None]) -> bool:
    """Whether there is any index, valid or not, of these names."""
    found: bool = await connection.fetchval(_KNOWN, *names)
    return found
