"""Make an HNSW index of an IVFFlat index: it finds more in less time, and does not age as rows are added.

Sources: pgvector's README, "HNSW" (dimensions, parameters), "Half-Precision Indexing", "Index Build Time".
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from actions._vector_exchange import Exchange
from actions._vector_parameters import VectorParameters
from actions._vector_plan import Design, Facts, as_halfvec, to_hnsw
from fleet.policy import Risk
from fleet.vectors import Method, VectorIndex
from fleet.vectors.recommended import DEFAULT_EF_CONSTRUCTION, DEFAULT_M, HALFVEC_SINCE


class Parameters(VectorParameters):
    m: int = Field(DEFAULT_M, ge=2, le=100, description="most connections of an element in a layer")
    ef_construction: int = Field(
        DEFAULT_EF_CONSTRUCTION, ge=4, le=1000, description="candidates looked at for each row; at least twice m"
    )
    halfvec: bool | None = Field(
        None,
        description="index half precision: half the size, but it serves only queries that cast to halfvec; null: "
        "where vectors have more than 2,000 dimensions",
    )
    keep_old: bool | None = Field(
        None, description="keep the old index, renamed; null: where queries must be changed to use the new one"
    )

    @model_validator(mode="after")
    def _candidates_suffice(self) -> Parameters:
        if self.ef_construction < 2 * self.m:
            raise ValueError("ef_construction must be at least twice m")
        return self


class UpgradeVectorIndex(Exchange[Parameters]):
    name = "upgrade_vector_index"
    summary = "replace an IVFFlat index with HNSW, without downtime, where recall is not lower"
    risk = Risk.DANGEROUS
    conflicts: ClassVar[frozenset[str]] = frozenset({"backup", "reindex", "rebuild_vector_index", "drop_unused_index"})

    def parameters(self) -> type[Parameters]:
        return Parameters

    def keeps_old(self, parameters: Parameters) -> bool:
        return bool(parameters.halfvec) if parameters.keep_old is None else parameters.keep_old

    def design(self, index: VectorIndex, facts: Facts, parameters: Parameters) -> Design | None:
        if index.method is Method.HNSW:
            return None
        halfvec = as_halfvec(index, facts, parameters.halfvec, HALFVEC_SINCE)
        return to_hnsw(index, facts, parameters.m, parameters.ef_construction, halfvec=halfvec)

    def remarks(self, index: VectorIndex, design: Design, parameters: Parameters) -> list[str]:
        said = ["say so in a migration too: the index is another one than in the environments beside it"]
        if design.index.type_name != index.type_name:
            said.append(f"only queries that order by {design.index.expression} {design.index.distance} use it")
        if self.keeps_old(parameters):
            said.append("the old index stays beside it, and writes pay for both until somebody drops it")
        return said
