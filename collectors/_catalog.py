"""SQL that several collectors share: which relations are the user's, and which of them must not be touched."""

from __future__ import annotations

_FRAGMENTS = {
    # condition on `pg_namespace n`
    "user_schemas": "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp_)'",
    # pgvector's access methods, as names in pg_am
    "vector_methods": "('hnsw', 'ivfflat')",
    # CTE of the relations that an exclusive lock is held on or waited for: whoever opens one now has to queue
    "locked": """locked as materialized (
        select distinct l.relation
        from pg_catalog.pg_locks l join pg_catalog.pg_database d on d.oid = l.database
        where l.mode = 'AccessExclusiveLock' and l.relation is not null and d.datname = current_database()
    )""",
}


def fill(sql: str, **fragments: str) -> str:
    """Put shared fragments, and those given, into the braces of `sql`. Constants of the collectors only, no values."""
    return sql.format_map(_FRAGMENTS | fragments)
