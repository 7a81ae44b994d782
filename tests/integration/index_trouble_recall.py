"""A vector index that searches find little through, for the case of `probe_recall`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.actions_kit import Ground

# in clusters, as embeddings are; where the row is only makes its vector another one
VECTORS = """
    create table {table} (id int primary key, kind int, e {type}({dimensions}));
    select setseed(0.5);
    insert into {table} select i, i % 3, (
        select array_agg(sin(i % {clusters} * 7.7 + d * d) + {noise} * random())::{array}
        from generate_series(1, {dimensions}) d where i is not null
    )::{type}({dimensions}) from generate_series(1, {rows}) i
"""


def vectors(
    table: str = "chunks", *, rows: int = 3000, dimensions: int = 16, clusters: int = 40, noise: float = 2.0
) -> str:
    """Statements that make a table of vectors; the same ones each time."""
    return VECTORS.format(
        table=table, rows=rows, dimensions=dimensions, clusters=clusters, noise=noise, type="vector", array="real[]"
    )


async def plant_poor_index(ground: Ground) -> Mapping[str, Any]:
    await ground.sql.execute("create extension if not exists vector")
    await ground.sql.execute(vectors(rows=1000))
    await ground.sql.execute("create index by_vector on chunks using ivfflat (e vector_cosine_ops) with (lists = 30)")
    await ground.sql.execute("analyze chunks")
    names = {"schemaname": "public", "relname": "chunks", "indexrelname": "by_vector"}
    return {"datname": ground.database, **names, "queries": 20}
