"""Vector indexes to be built anew: planted, and how often one took another's place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.actions_kit import Ground

INDEX = 'by "meaning'
# what is dropped from now on is counted by its object id
_COUNTED = """
    create table dropped_objects (oid oid);
    create function count_dropped() returns event_trigger language plpgsql as $$ begin
        insert into dropped_objects select objid from pg_event_trigger_dropped_objects() where object_type = 'index';
    end $$;
    create event trigger count_dropped on sql_drop execute function count_dropped();
    create table planted as select 'by "meaning'::text as name, '"by ""meaning"'::regclass::oid as oid
"""


def chunks(rows: int, method: str = "ivfflat", options: str = "lists = 4") -> str:
    """A table of vectors of 8 dimensions in four clouds, of which each list of an index has one, and its index."""
    return f"""
        create table chunks (id int primary key, embedding vector(8)) with (autovacuum_enabled = false);
        select setseed(0.5);
        insert into chunks
            select i, (select array_agg(random() + 2 * (i % 4) + 0 * d) from generate_series(1, 8) d)::vector
            from generate_series(1, {rows}) i;
        create index "by ""meaning" on chunks using {method} (embedding vector_l2_ops) with ({options});
        comment on index "by ""meaning" is 'as found';
        analyze chunks
    """  # noqa: S608


async def plant_vectors(ground: Ground) -> Mapping[str, Any]:
    await ground.sql.execute("create extension if not exists vector")
    await ground.sql.execute(chunks(400))
    await ground.sql.execute(_COUNTED)
    return {"datname": ground.database, "schemaname": "public", "relname": "chunks", "indexrelname": INDEX}


async def count_exchanged(ground: Ground) -> int:
    """Old indexes that are gone."""
    return int(await ground.sql.fetchval("select count(*) from dropped_objects join planted using (oid)"))


async def count_left(ground: Ground) -> int:
    """Indexes of the run, and invalid ones."""
    return int(
        await ground.sql.fetchval("""
            select count(*) from pg_index x join pg_class c on c.oid = x.indexrelid
            where c.relname ~ '^custode_' or not x.indisvalid
        """)
    )


async def index_stands(ground: Ground) -> bool:
    """The name has a valid index, whichever."""
    return bool(
        await ground.sql.fetchval(
            "select exists (select from pg_index x join pg_class c on c.oid = x.indexrelid where relname = $1 "
            "and indisvalid)",
            INDEX,
        )
    )
