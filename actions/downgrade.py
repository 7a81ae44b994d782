"""Take revisions of the application's Alembic scripts back: the way back from a migration that was wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._migration_after import check_after, undo_builds
from actions._migration_backup import back_up
from actions._migration_checks import Checklist, check_backup, wants_backup
from actions._migration_place import CONFLICTS, Place, application_of, look, read_place
from actions._migration_print import Printed, forecast_lines, print_downgrades, room, statement_lines
from actions._migration_rehearsal import rehearse_downgrade
from actions._migration_run import downgrade, make_move, reopen
from fleet.errors import ActionError, ConfigError
from fleet.policy import Risk, Strict

_TIMEOUT = timedelta(hours=12)
_REHEARSAL = timedelta(hours=1)


class Parameters(Strict):
    revision: str = Field(description="where back to: an id, -1, base")
    datname: str | None = Field(None, description="the database; null: the only one with a version table")
    store: str | None = Field(None, description="store of the backup before it; null: the first")
    accept: tuple[str, ...] = Field((), description="checks that need not pass: backup, rehearsal")


class Downgrade(Action[Parameters]):
    """One call of Alembic for each revision. Rows of columns and tables that go are lost but for the backup."""

    name = "downgrade"
    summary = "take revisions of the application's Alembic back, rehearsed and backed up"
    risk = Risk.DANGEROUS
    windowed = False  # it is the way out of trouble
    subjects: ClassVar[tuple[str, ...]] = ("schema", "indexes", "tables")
    conflicts: ClassVar[frozenset[str]] = CONFLICTS

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        databases = None if parameters.datname is None else frozenset({parameters.datname})
        return Target(parameters.datname or "", databases, parameters.store)

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        application = application_of(job)
        place = await read_place(job, parameters.datname)
        revisions = _unwanted(place, parameters.revision)
        applied = len(place.graph.applied(place.position.current))
        figures: Figures = {"revisions_applied": applied, "revision": place.at}
        if not revisions:
            return Plan(f"{place.datname} is at {place.at}: nothing has to be taken back", (), figures)
        checklist = Checklist([await check_backup(job, place, parameters.store)], parameters.accept)
        checklist.enforce(f"the downgrade of {place.datname}")
        printed = await print_downgrades(job, application, place, revisions)
        names = [] if "rehearsal" in parameters.accept else ["rehearse"]
        names += ["backup"] if wants_backup(job) and "backup" not in parameters.accept else []
        return Plan(
            f"take back {len(revisions)} revision(s) of {place.datname}, from {place.at} to {_after(place, revisions)}",
            (*names, *(f"downgrade {one}" for one in revisions), "check"),
            figures,
            tuple(_object(place, one) for one in printed),
            tuple(line for one in printed for line in (f"alembic downgrade {one.revision}", *statement_lines(one))),
            "\n".join([str(checklist), *forecast_lines(printed), *_rest(job, revisions)]),
            room(printed),
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        made = {
            "rehearse": Step("rehearse", partial(_rehearse, job, plan), timeout=_REHEARSAL),
            "backup": Step("backup", partial(_back_up, job, parameters, plan), timeout=_TIMEOUT),
            "check": Step("check", partial(check_after, job, plan)),
        }
        tries = job.environment.migrations.lock_tries
        for one in plan.objects:
            name = f"downgrade {one['revision']}"
            made[name] = Step(name, partial(_downgrade, job, one), timeout=_TIMEOUT, tries=tries)
        return [made[name] for name in plan.steps]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        place = await look(job, plan.objects[0]["datname"])
        applied = place.graph.applied(place.position.current)
        figures: Figures = {"revisions_applied": len(applied), "revision": place.at}
        left = [one["revision"] for one in plan.objects if one["revision"] in applied]
        if left or place.position.unknown:
            return Verdict(False, f"{place.datname} is at {place.at}: {', '.join(left)} is not taken back", figures)
        if problems := job.data.get("problems"):
            return Verdict(False, f"{place.datname} is at {place.at}, but {'; '.join(problems)}", figures)
        how = "as it was rehearsed" if "effect" in job.data else "unrehearsed"
        return Verdict(True, f"{place.datname} is at {place.at}, {how}", figures)

    async def undo(self, job: Job, _parameters: Parameters, plan: Plan) -> None:
        """End what is still at work; what was committed stays."""
        await undo_builds(job, plan)


def _unwanted(place: Place, revision: str) -> list[str]:
    """The revisions to take back, in order. Raises ActionError where there is no such revision below."""
    graph, current = place.graph, place.position.current
    try:
        targets = graph.resolve(revision, current)
        applied = graph.applied(current)
        if not targets <= applied:
            raise ActionError(f"{', '.join(targets - applied)} is not applied: there is no way back to it")
        return list(reversed(graph.ordered(applied - graph.applied(targets))))
    except ConfigError as error:
        raise ActionError(error.message, hint=error.hint) from error


def _after(place: Place, revisions: Sequence[str]) -> str:
    left = place.graph.tips(place.graph.applied(place.position.current) - set(revisions))
    return ", ".join(sorted(left)) or "base"


def _object(place: Place, one: Printed) -> Object:
    found = place.graph.revisions[one.revision]
    named = {"datname": place.datname, "revision": one.revision, "title": found.title, "sha256": found.sha256}
    # where nothing is known of its SQL, the watch alone sees to what queues
    return {**named, "builds": one.builds, "concurrently": one.concurrently or bool(one.trouble)}


def _rest(job: Job, revisions: Sequence[str]) -> list[str]:
    lost = "what columns and tables that go hold is lost, but for the backup"
    return [lost, f"way back: custode migrate {job.environment.name} {revisions[0]}"]


async def _rehearse(job: Job, plan: Plan) -> Figures:
    place = await reopen(job, plan.objects[0])
    revisions = [one["revision"] for one in plan.objects]
    if not set(revisions) <= place.graph.applied(place.position.current):
        return {"skipped": "the downgrade has begun already"}
    return await rehearse_downgrade(job, place, application_of(job), revisions)


async def _back_up(job: Job, parameters: Parameters, plan: Plan) -> Figures:
    return await back_up(job, plan.objects[0]["datname"], parameters.store)


async def _downgrade(job: Job, planned: Object) -> Figures:
    place = await reopen(job, planned)
    return await make_move(job, place, downgrade(place, planned))
