"""Whether vector indexes serve the queries that they are there for."""

from __future__ import annotations

import json
from typing import Any

from fleet.connections import Connection

# per index: its name, and a nearest-neighbour query that it should serve
_QUERIES = """
    select n.nspname::text as schemaname, c.relname::text as name, t.relname::text as relname, format(
        'explain (format json) select 1 from %1$I.%2$I %3$s
            order by %4$s operator(%5$I.%6$s) (select %4$s from %1$I.%2$I %3$s limit 1) limit 1',
        n.nspname, t.relname, condition, expression, o_n.nspname, o.oprname) as query
    from pg_catalog.pg_index x
        join pg_catalog.pg_class c on c.oid = x.indexrelid
        join pg_catalog.pg_class t on t.oid = x.indrelid and t.relkind in ('r', 'm')
        join pg_catalog.pg_namespace n on n.oid = t.relnamespace
        join pg_catalog.pg_am a on a.oid = c.relam and a.amname in ('hnsw', 'ivfflat')
        join pg_catalog.pg_opclass k on k.oid = x.indclass[0]
        join pg_catalog.pg_amop p on p.amopfamily = k.opcfamily and p.amoppurpose = 'o'
        join pg_catalog.pg_operator o on o.oid = p.amopopr
        join pg_catalog.pg_namespace o_n on o_n.oid = o.oprnamespace
        cross join lateral (select
            format('(%s)', pg_get_indexdef(c.oid, 1, false)) as expression,
            coalesce('where ' || pg_get_expr(x.indpred, x.indrelid), '') as condition) said
    where x.indisvalid
    order by 1, 2
"""


async def unused_vector_indexes(connection: Connection) -> list[str]:
    """What is wrong with each that the planner does not use even where nothing else is left."""
    async with connection.transaction(readonly=True):
        await connection.execute("set local enable_seqscan = off; set local enable_sort = off")
        queries = await connection.fetch(_QUERIES)
        siblings: dict[tuple[str, str], set[str]] = {}
        for query in queries:
            siblings.setdefault((query["schemaname"], query["relname"]), set()).add(query["name"])
        problems = []
        for query in queries:
            plan = json.loads(await connection.fetchval(query["query"]))
            # of several on one column the planner takes one
            if not siblings[query["schemaname"], query["relname"]] & _indexes(plan[0]["Plan"]):
                problems.append(f"the vector index {query['name']} serves no query")
    return problems


def _indexes(node: dict[str, Any]) -> set[str]:
    own = {node["Index Name"]} if "Index Name" in node else set()
    return own.union(*(_indexes(child) for child in node.get("Plans", ())))
