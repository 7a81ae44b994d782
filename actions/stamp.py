"""Write into the version table what is true in fact: of a schema that got its changes by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Plan, Step, Target, Verdict
from actions._migration_copy import Copy, empty
from actions._migration_effect import Effect, listed
from actions._migration_place import CONFLICTS, Place, application_of, look
from actions._migration_run import Move, make_move
from fleet.errors import ActionError, ConfigError, ProcessError
from fleet.migrating import does_nothing
from fleet.policy import Risk, Strict
from fleet.revisions import read_scripts
from fleet.schema import read_catalogue

_PROOF = timedelta(hours=1)


class Parameters(Strict):
    revision: str = Field(description="what is to be on record as applied: an id, head, heads, base")
    datname: str | None = Field(None, description="the database; null: the only one with a version table")
    unproven: bool = Field(False, description="also where the schema does not have what the revisions make")


class Stamp(Action[Parameters]):
    """The evidence: what the scripts make of an empty database between the two revisions is there in fact.

    Of a revision that changes rows alone there is none.
    """

    name = "stamp"
    summary = "put a revision on record as applied, once the schema is proven to have its effects"
    risk = Risk.DANGEROUS
    windowed = False  # it changes one row, and blocks nobody
    subjects: ClassVar[tuple[str, ...]] = ("schema",)
    conflicts: ClassVar[frozenset[str]] = CONFLICTS

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        databases = None if parameters.datname is None else frozenset({parameters.datname})
        return Target(parameters.datname or "", databases)

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        application_of(job)
        place = await look(job, parameters.datname)
        target = _target(place, parameters.revision)
        figures: Figures = {"revision": place.at}
        to = ", ".join(target) or "base"
        if list(place.position.current) == target:
            return Plan(f"{place.datname} is at {place.at}: nothing has to be stamped", (), figures)
        proof = "nobody looks whether the schema has it" if parameters.unproven else "only if the schema has it in fact"
        return Plan(
            f"put {to} on record in {place.datname}, which says {place.at}; {proof}",
            ("stamp",) if parameters.unproven else ("prove", "stamp"),
            figures,
            ({"datname": place.datname, "from": list(place.position.current), "to": target},),
            (f"alembic stamp --purge {to}",),
            f"the next migration goes on from there; no object changes\n"
            f"way back: custode act stamp {job.environment.name} -p revision={place.at} -p unproven=true",
        )

    def steps(self, job: Job, _parameters: Parameters, plan: Plan) -> Sequence[Step]:
        made = {
            "prove": Step("prove", partial(_prove, job, plan), timeout=_PROOF),
            "stamp": Step("stamp", partial(_stamp, job, plan), tries=job.environment.migrations.lock_tries),
        }
        return [made[name] for name in plan.steps]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        place = await look(job, plan.objects[0]["datname"])
        figures: Figures = {"revision": place.at}
        if list(place.position.current) != plan.objects[0]["to"]:
            return Verdict(False, f"{place.datname} is at {place.at}", figures)
        return Verdict(True, f"{place.datname} is at {place.at}; {job.data.get('proof', 'unproven')}", figures)


def _target(place: Place, revision: str) -> list[str]:
    try:
        found = place.graph.resolve(revision, place.position.current)
    except ConfigError as error:
        raise ActionError(error.message, hint=error.hint) from error
    return sorted(place.graph.tips(place.graph.applied(found)))


async def _prove(job: Job, plan: Plan) -> Figures:
    """Build both revisions from the scripts, and look for what is between them. Raises ActionError: no evidence."""
    planned = plan.objects[0]
    place = await look(job, planned["datname"])
    known = [one for one in planned["from"] if one in place.graph.parents]
    async with empty(job, place, application_of(job), ("custode_from", "custode_to")) as (before, after):
        ignore = (f"table:*.{job.environment.migrations.version_table.rpartition('.')[2]}",)
        await _build(before, known)
        silent = await _build_on(after, place, known, planned["to"], ignore)
        effect = Effect.between((await before.catalogue()).without(ignore), (await after.catalogue()).without(ignore))
    async with job.connections.acquire(place.datname) as connection:
        problems = effect.problems(await read_catalogue(connection))
    if problems:
        raise ActionError(
            f"{place.datname} is not at {', '.join(planned['to']) or 'base'} in fact: {listed(problems)}",
            hint="custode schema explain tells more; stamp it all the same with unproven=true",
        )
    if silent:
        raise ActionError(
            f"of {listed(silent)} there is nothing in the schema to prove it by",
            hint="look whether the rows are as its script would leave them; then stamp it with unproven=true",
        )
    job.data["proof"] = f"the schema has it in fact: it {effect.told()}"
    return {"objects_found": len(effect.made), "objects_gone": len(effect.gone)}


async def _build_on(
    copy: Copy, place: Place, start: Sequence[str], to: Sequence[str], ignore: tuple[str, ...]
) -> list[str]:
    """Build `to`; which of those that come on record do something, and leave the schema as it was."""
    graph, settings = place.graph, copy.application.settings
    added = graph.applied(to) - graph.applied(start)
    await _build(copy, sorted(graph.tips(graph.applied(to) - added)))
    scripts = await read_scripts(settings)
    silent = []
    was = (await copy.catalogue()).without(ignore)
    for revision in graph.ordered(added):
        await _build(copy, [revision])
        is_ = (await copy.catalogue()).without(ignore)
        if Effect.between(was, is_).is_empty and not does_nothing(scripts.get(graph.revisions[revision].file, b"")):
            silent.append(revision)
        was = is_
    return silent


async def _build(copy: Copy, revisions: Sequence[str]) -> None:
    access = await copy.access()
    for revision in revisions:
        try:
            await copy.application.upgrade(revision, access)
        except ProcessError as error:
            raise ActionError(f"the scripts do not build {revision} from nothing: {error.message}") from error


async def _stamp(job: Job, plan: Plan) -> Figures:
    planned = plan.objects[0]
    place = await look(job, planned["datname"])
    target = list(planned["to"])
    move = Move(
        "stamp",
        ", ".join(target) or "base",
        place.datname,
        lambda application, access: application.stamp(target, access),
        lambda rows: list(rows) == target,
        lambda rows: list(rows) == list(planned["from"]),
    )
    return await make_move(job, place, move)
