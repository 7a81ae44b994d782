"""A vector index as the catalogue would tell of it."""

from __future__ import annotations

from typing import Any

from fleet.vectors import Method, VectorIndex

MIB = 2**20


def vector_index(method: Method = Method.IVFFLAT, **fields: Any) -> VectorIndex:
    """100,000 embeddings of 1,536 dimensions by cosine distance; keywords override its fields."""
    values: dict[str, Any] = {
        "datname": "app",
        "schemaname": "public",
        "relname": "knowledge_chunks",
        "indexrelname": "idx_embedding",
        "oid": 2,
        "table_oid": 1,
        "method": method,
        "opclass": "vector_cosine_ops",
        "type_name": "vector",
        "dimensions": 1536,
        "column": "embedding",
        "expression": "(embedding)",
        "operator": "operator(public.<=>)",
        "distance": "<=>",
        "predicate": None,
        "options": {"lists": 100} if method is Method.IVFFLAT else {"m": 16, "ef_construction": 64},
        "definition": "CREATE INDEX idx_embedding ON public.knowledge_chunks USING ...",
        "quoted": "public.idx_embedding",
        "quoted_table": "public.knowledge_chunks",
        "valid": True,
        "size_bytes": 820_000_000,
        "table_bytes": 850_000_000,
        "rows": 100_000.0,
        "owned": True,
    }
    return VectorIndex(**values | fields)
