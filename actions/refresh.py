"""Give an environment the data of production, without anybody's personal data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from actions._action import Action, Job, Plan, Step, Target, Verdict
from actions._refresh_guard import forbid_production, only_database, source_of
from actions._refresh_plan import look_at_source
from actions._refresh_renewal import CONFLICTS, COPY_STEPS, Renewal, RenewalParameters, commands, digest
from actions._refresh_revision import own_revision
from actions._refresh_swap import take_back
from actions._switch import identity
from fleet.policy import Risk


class Parameters(RenewalParameters):
    rows_from: Literal["live", "backup"] = Field(
        "live", description="the source itself, or a backup of it on a scratch server: its own server has no work then"
    )
    backup: str | None = Field(None, description="id of that backup; null: the newest good one")
    store: str | None = Field(None, description="name of the store to read it from; null: the first that has it whole")


class Refresh(Action[Parameters]):
    """Masked in the daemon, out of one snapshot of the source, into a new database that is scanned, then swapped.

    Until the swap the old data serves, from then on the new. A production environment is never the target.
    """

    name = "refresh"
    summary = "load production's data, masked by the policy, beside the old data; scan it, then swap"
    risk = Risk.DANGEROUS
    subjects: ClassVar[tuple[str, ...]] = ("databases", "freshness", "data", "schema")
    conflicts: ClassVar[frozenset[str]] = CONFLICTS

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return parameters.target

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        database = await only_database(job, parameters.datname)
        await forbid_production(job, database)
        source = source_of(job, parameters.source)
        backup = (parameters.backup, parameters.store) if parameters.rows_from == "backup" else None
        found = await look_at_source(job, source, parameters.source_datname, backup)
        revision = await own_revision(job, database, found.revision, source)
        oid, _ = await identity(job, database)
        planned = {
            "datname": database,
            "source": source,
            "source_datname": found.database,
            "backup": found.backup,
            "revision": revision,
            "policy": digest(job.environment.policy.data),
            "keep_old": parameters.keep_old,
        }
        name = job.environment.name
        return Plan(
            f"refresh {database} of {name} from {found.database} of {source}{found.taken}: {found.told},"
            f" about {found.size_bytes / 1e6:.1f} MB",
            COPY_STEPS,
            {"database_oid": oid, "rows": 0},
            (planned,),
            # without sizes: who has approved is not asked anew because the source has grown
            (*commands(planned), "COPY of the rows, masked"),
            f"what {name} holds now is lost, its sessions are ended; all that is copied is masked as the policy says,"
            " and scanned first",
            found.size_bytes,
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return Renewal(job, parameters, plan).steps()

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        return await Renewal(job, parameters, plan).verify()

    async def undo(self, job: Job, _parameters: Parameters, plan: Plan) -> None:
        """Before the swap the new one is dropped, with whatever a scan found in it; from then on it stays."""
        await take_back(job, plan, int(plan.figures["database_oid"]))
