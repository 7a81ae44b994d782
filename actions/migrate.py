"""Bring an environment to a revision of the application's Alembic scripts, behind a gate."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._migration_after import check_after, undo_builds
from actions._migration_backup import back_up
from actions._migration_checks import (
    Checklist,
    check_backup,
    check_below,
    check_effect_below,
    check_forecast,
    check_lint,
    wants_backup,
)
from actions._migration_effect import Effect
from actions._migration_place import CONFLICTS, Place, application_of, look, read_place
from actions._migration_print import Printed, forecast_lines, print_upgrades, room, statement_lines
from actions._migration_rehearsal import rehearse_upgrade
from actions._migration_run import make_move, reopen, upgrade, way_back
from fleet.errors import ActionError, ConfigError
from fleet.policy import Risk, Strict

_TIMEOUT = timedelta(hours=12)
_REHEARSAL = timedelta(hours=1)


class Parameters(Strict):
    revision: str = Field("head", description="where to, as Alembic reads it: head, heads, an id, a label@head, +1")
    datname: str | None = Field(None, description="the database; null: the only one with a version table")
    store: str | None = Field(None, description="store of the backup before it; null: the first")
    accept: tuple[str, ...] = Field(
        (), description="checks that need not pass: below, sql, block, backup, rehearsal, downgrade, a rule of squawk"
    )


class Migrate(Action[Parameters]):
    """One call of Alembic for each revision, so that a run that is continued goes on behind the last one.

    What failed is never taken back by itself: a downgrade can lose rows. The message says what is there, and the way
    back.
    """

    name = "migrate"
    summary = "upgrade a database by the application's Alembic, rehearsed, backed up and checked"
    risk = Risk.DANGEROUS
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
        revisions = wanted(place, parameters.revision)
        figures: Figures = {"revisions_behind": len(place.position.behind or ()), "revision": place.at}
        if not revisions:
            return Plan(f"{place.datname} is at {place.at}: nothing has to be done", (), figures)
        printed = await print_upgrades(job, application, place, revisions)
        checklist = Checklist(
            [
                *await check_below(job, place, revisions),
                *check_lint(job, printed),
                *check_forecast(job, printed),
                await check_backup(job, place, parameters.store),
            ],
            parameters.accept,
        )
        checklist.enforce(f"the migration of {place.datname} to {', '.join(revisions)}")
        return Plan(
            f"upgrade {place.datname} from {place.at} by {len(revisions)} revision(s): {place.title(revisions[-1])}",
            _step_names(job, parameters, revisions),
            figures,
            tuple(_object(place, one) for one in printed),
            tuple(line for one in printed for line in (f"alembic upgrade {one.revision}", *statement_lines(one))),
            "\n".join([str(checklist), *forecast_lines(printed), *_rest(job, place, parameters)]),
            room(printed),
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        revisions = {f"upgrade {one['revision']}": one for one in plan.objects}
        made = {
            "rehearse": Step("rehearse", partial(_rehearse, job, parameters, plan), timeout=_REHEARSAL),
            "backup": Step("backup", partial(_back_up, job, parameters, plan), timeout=_TIMEOUT),
            "check": Step("check", partial(check_after, job, plan)),
        }
        tries = job.environment.migrations.lock_tries
        made |= {
            name: Step(name, partial(_upgrade, job, planned), timeout=_TIMEOUT, tries=tries)
            for name, planned in revisions.items()
        }
        return [made[name] for name in plan.steps]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        place = await look(job, plan.objects[0]["datname"])
        behind = place.position.behind
        figures: dict[str, float | str] = {"revisions_behind": -1 if behind is None else len(behind)}
        figures["revision"] = place.at
        applied = place.graph.applied(place.position.current)
        missing = [one["revision"] for one in plan.objects if one["revision"] not in applied]
        if missing:
            return Verdict(False, f"{place.datname} is at {place.at} and lacks {', '.join(missing)}", figures)
        if problems := job.data.get("problems"):
            return Verdict(False, f"{place.datname} is at {place.at}, but {'; '.join(problems)}", figures)
        how = "as it was rehearsed" if "effect" in job.data else "unrehearsed"
        return Verdict(True, f"{place.datname} is at {place.at}, {how}; {way_back(job)}", figures)

    async def undo(self, job: Job, _parameters: Parameters, plan: Plan) -> None:
        """Drop invalid indexes that a build left; what was committed stays, for a downgrade can lose rows."""
        await undo_builds(job, plan)


def wanted(place: Place, revision: str) -> list[str]:
    """The revisions to apply, in order. Raises ActionError where there is no such revision."""
    graph, current = place.graph, place.position.current
    try:
        targets = graph.resolve(revision, current)
        return graph.ordered(graph.applied(targets) - graph.applied(current))
    except ConfigError as error:
        raise ActionError(error.message, hint=error.hint) from error


def _step_names(job: Job, parameters: Parameters, revisions: Sequence[str]) -> tuple[str, ...]:
    names = [] if "rehearsal" in parameters.accept else ["rehearse"]
    names += ["backup"] if wants_backup(job) and "backup" not in parameters.accept else []
    return (*names, *(f"upgrade {one}" for one in revisions), "check")


def _object(place: Place, one: Printed) -> dict[str, Any]:
    found = place.graph.revisions[one.revision]
    return {
        "datname": place.datname,
        "revision": one.revision,
        "title": found.title,
        "sha256": found.sha256,
        "start": list(place.position.current),
        "builds": one.builds,
        "concurrently": one.concurrently,
    }


def _rest(job: Job, place: Place, parameters: Parameters) -> list[str]:
    settings = job.environment.migrations
    lines = ["then: window and approvals as the policy says; the run is announced wherever notices go"]
    if "rehearsal" not in parameters.accept:
        back = "" if "downgrade" in parameters.accept else ", downgrade, upgrade"
        lines.append(f"first: upgrade{back} on a scratch server with this schema; it ends there where that fails")
    wait, tries = settings.lock_timeout.total_seconds(), settings.lock_tries
    lines.append(f"locks: it waits {wait:g} s for one, and is tried {tries} times in all")
    to = place.at if len(place.position.current) < 2 else "ID"
    lines.append(f"way back: custode act downgrade {job.environment.name} -p revision={to}")
    lines.append(f"  else the backup: custode recover {job.environment.name}")
    return lines


async def _rehearse(job: Job, parameters: Parameters, plan: Plan) -> Figures:
    place = await reopen(job, plan.objects[0])
    revisions = [one["revision"] for one in plan.objects]
    applied = place.graph.applied(place.position.current)
    if applied & set(revisions):
        return {"skipped": "the migration has begun already"}
    figures = await rehearse_upgrade(job, place, application_of(job), revisions, parameters.accept)
    if "below" not in parameters.accept:
        targets = place.graph.tips(place.graph.applied([*place.position.current, *revisions]))
        await check_effect_below(job, targets, Effect.from_json(job.data["effect"]))
    return figures


async def _back_up(job: Job, parameters: Parameters, plan: Plan) -> Figures:
    return await back_up(job, plan.objects[0]["datname"], parameters.store)


async def _upgrade(job: Job, planned: Object) -> Figures:
    job.data["start"] = planned["start"]
    place = await reopen(job, planned)
    return await make_move(job, place, upgrade(place, planned))
