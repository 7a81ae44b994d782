"""pgvector's indexes: what they are, what pgvector advises for them, and how well they find."""

from __future__ import annotations

from fleet.vectors.catalogue import VectorIndex, vector_indexes
from fleet.vectors.recommended import Method

__all__ = ["Method", "VectorIndex", "vector_indexes"]
