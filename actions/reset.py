"""Begin an environment's database anew: at the head of the application's scripts, with test data or a refresh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from actions._action import Action, Job, Plan, Step, Target, Verdict
from actions._refresh_guard import forbid_production, only_database, source_of
from actions._refresh_plan import look_at_source
from actions._refresh_renewal import CONFLICTS, COPY_STEPS, EMPTY_STEPS, Renewal, RenewalParameters, commands, digest
from actions._refresh_revision import head_revision
from actions._refresh_swap import take_back
from actions._switch import identity
from fleet.errors import ActionError
from fleet.policy import Risk


class Parameters(RenewalParameters):
    data: Literal["fixtures", "refresh"] = Field(
        "fixtures", description="what it begins with: the policy's test_data alone, or masked data of the source, too"
    )


class Reset(Action[Parameters]):
    """Made beside the old database and swapped, so that a reset that fails leaves what was there. Never production."""

    name = "reset"
    summary = "begin a database anew: migrated to head, with test data, or refreshed"
    risk = Risk.DESTRUCTIVE
    windowed = False
    subjects: ClassVar[tuple[str, ...]] = ("databases", "freshness", "schema")
    conflicts: ClassVar[frozenset[str]] = CONFLICTS

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return parameters.target

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        database = await only_database(job, parameters.datname)
        await forbid_production(job, database)
        name, revision = job.environment.name, await head_revision(job)
        test_data = len(job.environment.policy.data.test_data)
        planned: dict[str, Any] = {
            "datname": database,
            "source": None,
            "source_datname": None,
            "backup": None,
            "revision": revision,
            "policy": digest(job.environment.policy.data),
            "keep_old": parameters.keep_old,
        }
        size = 0.0
        holds = f"empty, at {', '.join(revision)}, with {test_data} statements of test data"
        if parameters.data == "refresh":
            source = source_of(job, parameters.source)
            found = await look_at_source(job, source, parameters.source_datname, None)
            revision = revision or sorted(found.revision)
            planned |= {"source": source, "source_datname": found.database, "revision": revision}
            size, holds = found.size_bytes, f"masked data of {source} at {', '.join(revision) or 'base'}"
        elif not revision:
            raise ActionError(
                f"{name} has no scripts to make its tables by", hint="set migrations.scripts and migrations.directory"
            )
        oid, _ = await identity(job, database)
        return Plan(
            f"reset {database} of {name}: {holds}",
            COPY_STEPS if parameters.data == "refresh" else EMPTY_STEPS,
            {"database_oid": oid, "rows": 0},
            (planned,),
            (*commands(planned), *(f"alembic upgrade {one}" for one in revision)),
            f"all that {name} holds in {database} is lost, its sessions are ended",
            size,
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return Renewal(job, parameters, plan).steps()

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        return await Renewal(job, parameters, plan).verify()

    async def undo(self, job: Job, _parameters: Parameters, plan: Plan) -> None:
        """Before the swap the new database is dropped; from then on it stays."""
        await take_back(job, plan, int(plan.figures["database_oid"]))
