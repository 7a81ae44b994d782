"""What a request says of a vector index that is built anew, and which index it means."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from actions._action import Job, Target
from actions._session import writable_databases
from fleet.durations import Duration
from fleet.errors import ActionError
from fleet.policy import Strict
from fleet.vectors import Method, VectorIndex, vector_indexes

# IVFFlat's k-means begins at random: of 15 builds on the same 100,000 rows, with 100 lists and one probe, most found
# between 0.87 and 0.94 of what there was, one 0.86 and one 0.97
_LOSS = {Method.HNSW: 0.02, Method.IVFFLAT: 0.1}


class VectorParameters(Strict):
    datname: str | None = Field(None, description="the database; null: the one that has such an index")
    schemaname: str | None = Field(None, description="the schema; null: any")
    relname: str | None = Field(None, description="the table; null: any")
    indexrelname: str = Field(description="the index")
    maintenance_mb: int | None = Field(
        None,
        ge=1,
        le=1 << 20,
        description="memory of the build in megabytes; null: by what it needs and the machine has",
    )
    queries: int = Field(100, ge=0, le=1000, description="searches that recall is measured by; 0: it is not measured")
    recall_loss: float | None = Field(
        None,
        ge=0,
        le=1,
        description="most recall that the new index may find less, as a ratio; null: 0.02 for HNSW, 0.1 for IVFFlat",
    )
    patience: Duration = Field(
        timedelta(hours=1), gt=timedelta(0), description="how long to wait for transactions of others before giving up"
    )

    def most_loss(self, method: Method) -> float:
        """Of recall, as a ratio: more than that is not by chance."""
        return _LOSS[method] if self.recall_loss is None else self.recall_loss

    @property
    def names(self) -> tuple[str | None, str | None, str]:
        return self.schemaname, self.relname, self.indexrelname

    @property
    def target(self) -> Target:
        names = [self.datname, self.schemaname, self.indexrelname]
        whole = ".".join(name for name in names if name) if all(names) else ""
        return Target(whole, None if self.datname is None else frozenset({self.datname}))


async def find_index(job: Job, parameters: VectorParameters) -> VectorIndex:
    """The one that is meant. Raises ActionError where there is none, several, or one that cannot be worked on."""
    found: list[VectorIndex] = []
    for database in await writable_databases(job, parameters.datname):
        async with job.connections.acquire(database) as connection:
            found += await vector_indexes(connection, parameters.names)
    named = ".".join(name for name in parameters.names if name)
    if not found:
        raise ActionError(
            f"{job.environment.name} has no vector index {named}",
            hint="name schema, table and index as the catalogue does; was it dropped or renamed?",
        )
    if len(found) > 1:
        where = ", ".join(f"{index.datname}: {index.quoted}" for index in found)
        raise ActionError(f"{named} means {len(found)} indexes: {where}", hint="name the database and the schema too")
    (index,) = found
    if not index.owned:
        raise ActionError(
            f"the role of {job.environment.name} may not build indexes of {index.quoted_table}",
            hint="let it be a member of the role that owns the table",
        )
    if not index.valid:
        raise ActionError(f"{index.quoted} is invalid", hint="its build failed or goes on: see drop_invalid_index")
    return index
