"""Indexes that take too much room, and indexes that nobody uses: planted, and what was done about them counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.actions_kit import Ground

# nine rows of ten are gone, and the indexes are as large as before
_BLOATED = """
    create table notes (id int primary key, text text) with (autovacuum_enabled = false);
    insert into notes select i, 'text ' || i from generate_series(1, 40000) i;
    create index "by ""text" on notes (text);
    delete from notes where id % 10 <> 0
"""
_COUNTED = """
    create table planted as select relname, oid from pg_class where oid in
        (select indexrelid from pg_index where indrelid = 'notes'::regclass);
    create table rebuilt (tag text);
    create function count_rebuilt() returns event_trigger language plpgsql as $$ begin
        insert into rebuilt select tg_tag;
    end $$;
    create event trigger count_rebuilt on ddl_command_end when tag in ('REINDEX') execute function count_rebuilt()
"""
_UNUSED = """
    create table notes (id int primary key, text text, kind int);
    insert into notes select i, 'text ' || i, i % 7 from generate_series(1, 1000) i;
    create index by_kind on notes (kind);
    create index "by ""text" on notes (text);
    create table dropped_objects (identity text);
    create function count_dropped() returns event_trigger language plpgsql as $$ begin
        insert into dropped_objects select object_identity from pg_event_trigger_dropped_objects()
            where object_type = 'index';
    end $$;
    create event trigger count_dropped on sql_drop execute function count_dropped()
"""


async def plant_bloated(ground: Ground) -> Mapping[str, Any]:
    await ground.sql.execute(_BLOATED)
    await ground.sql.execute("vacuum analyze notes")
    await ground.sql.execute(_COUNTED)
    return {"datname": ground.database, "schemaname": "public", "relname": "notes", "least_bytes": 0}


async def count_rebuilt(ground: Ground) -> int:
    """Each gives the index another id. Twice the same shows in the trigger, which a killed session does not reach."""
    return int(
        await ground.sql.fetchval("""
            select greatest((select count(*) from rebuilt), (select count(*) from planted p
                where not exists (select from pg_class c join pg_index x on x.indexrelid = c.oid
                    where c.oid = p.oid and c.relname = p.relname and x.indisvalid)))
        """)
    )


async def count_invalid(ground: Ground) -> int:
    return int(await ground.sql.fetchval("select count(*) from pg_index where not indisvalid"))


async def plant_unused(ground: Ground) -> Mapping[str, Any]:
    await ground.sql.execute(_UNUSED)
    names = {"datname": ground.database, "schemaname": "public", "relname": "notes"}
    return {**names, "window": "0s", "least_bytes": 0, "vouched": True}
