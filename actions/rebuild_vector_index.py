"""Build a vector index anew beside itself, and put the new one in its place without anybody waiting.

An IVFFlat index learns its lists from the rows that are there, and an HNSW index gathers dead elements: both find less,
or take longer, the more the table changes. Sources: pgvector's README, "IVFFlat" (lists by rows), "Vacuuming".
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from actions._vector_exchange import Exchange
from actions._vector_parameters import VectorParameters
from actions._vector_plan import Design, Facts, redesign
from fleet.errors import ActionError
from fleet.policy import Risk
from fleet.vectors import Method, VectorIndex
from fleet.vectors.recommended import MOST_LISTS, lists_for

_FEW_ROWS = 100_000  # up to so many pgvector's rule gives few lists, and it hardly matters: the schema stays the same


class Parameters(VectorParameters):
    lists: int | None = Field(
        None, ge=1, le=MOST_LISTS, description="of an IVFFlat index; null: by its rows, where it is off by a quarter"
    )
    m: int | None = Field(None, ge=2, le=100, description="of an HNSW index; null: as it is")
    ef_construction: int | None = Field(None, ge=4, le=1000, description="of an HNSW index; null: as it is")


class RebuildVectorIndex(Exchange[Parameters]):
    name = "rebuild_vector_index"
    summary = "build a vector index anew, with lists by the rows there are, without downtime"
    risk = Risk.GUARDED
    conflicts: ClassVar[frozenset[str]] = frozenset({"backup", "reindex", "upgrade_vector_index", "drop_unused_index"})

    def parameters(self) -> type[Parameters]:
        return Parameters

    def keeps_old(self, _parameters: Parameters) -> bool:
        return False

    def design(self, index: VectorIndex, facts: Facts, parameters: Parameters) -> Design:
        asked = parameters.model_dump(include={"lists", "m", "ef_construction"}, exclude_none=True)
        if unknown := asked.keys() - index.options.keys():
            raise ActionError(f"{index.quoted} is {index.method}: it has no {', '.join(sorted(unknown))}")
        if index.method is Method.IVFFLAT and "lists" not in asked and index.rows is not None:
            asked["lists"] = steady_lists(index.options["lists"], index.rows)
        if index.method is Method.HNSW:
            m, ef_construction = ({**index.options, **asked}[name] for name in ("m", "ef_construction"))
            if ef_construction < 2 * m:
                raise ActionError(f"ef_construction is {ef_construction}: it must be at least twice m, which is {m}")
        return redesign(index, facts, asked)

    def remarks(self, index: VectorIndex, design: Design, _parameters: Parameters) -> list[str]:
        changed = [f"{name} = {value}" for name, value in design.index.options.items() if index.options[name] != value]
        return [f"{', '.join(changed)} is new: say so in a migration too, or the next one differs"] if changed else []


def steady_lists(present: int, rows: float) -> int:
    """Lists by pgvector's rule; the present ones where they are half to twice that, as VectorIndexListsOff has it.

    In steps, so that a table that grows while people are asked does not need to be asked about again.
    """
    lists = lists_for(rows)
    if lists / 2 <= present <= lists * 2 or present <= rows <= _FEW_ROWS:
        return present
    step = max(1, int(10 ** (len(str(lists)) - 1)) // 2)
    return max(1, round(lists / step) * step)
