"""The checklist before a migration: what is asked, what was found, and what people may accept all the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import asyncpg

from actions._action import Job
from actions._migration_backup import fresh_backup
from actions._migration_effect import Effect, listed
from actions._migration_place import Place, rows_of
from actions._migration_print import Printed
from fleet.errors import ActionError, ConnectError, CustodeError
from fleet.schema import read_catalogue

_SIGNS = {True: "✓", False: "✗"}
_AWAY = (ConnectError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


@dataclass(frozen=True, slots=True)
class Check:
    """One item. Where it has not passed, `name` is what `accept` must say."""

    name: str
    passed: bool
    said: str

    def told(self, accepted: Collection[str]) -> str:
        if not self.passed and self.name in accepted:
            return f"! {self.name}, accepted: {self.said}"
        return f"{_SIGNS[self.passed]} {self.name}: {self.said}"


@dataclass(frozen=True, slots=True)
class Checklist:
    """All items; `accepted` are the names of those that people take upon themselves."""

    checks: Sequence[Check]
    accepted: Collection[str]

    @property
    def failed(self) -> list[Check]:
        return [one for one in self.checks if not one.passed and one.name not in self.accepted]

    def __str__(self) -> str:
        return "\n".join(one.told(self.accepted) for one in self.checks)

    def enforce(self, what: str) -> None:
        """Raises ActionError, with the whole list, where an item is neither passed nor accepted."""
        if failed := self.failed:
            names = list(dict.fromkeys(one.name for one in failed))
            raise ActionError(
                f"{what} may not run: {len(failed)} of {len(self.checks)} checks say no\n{self}",
                hint=f"put it right, or accept it with a reason: accept={','.join(names)}",
            )


async def check_below(job: Job, place: Place, revisions: Sequence[str]) -> list[Check]:
    """Whether each environment that comes first has them all applied, by its own version table."""
    names = job.environment.migrations.tried_on
    if names is None:
        return [Check("below", False, "nobody tells which environments come first: set migrations.tried_on")]
    if not names:
        return [Check("below", True, "no environment comes first")]
    return [await _check_one(job, place, revisions, name) for name in names]


async def _check_one(job: Job, place: Place, revisions: Sequence[str], name: str) -> Check:
    if job.elsewhere is None:
        return Check("below", False, f"{name} is out of reach")
    other = job.elsewhere(name)
    try:
        rows = await rows_below(other)
    except (*_AWAY, CustodeError) as error:
        return Check("below", False, f"{name} cannot be asked: {error}")
    finally:
        await other.connections.close()
    applied = place.graph.applied(rows)
    missing = [one for one in revisions if one not in applied]
    if missing:
        at = ", ".join(rows) or "base"
        return Check("below", False, f"{name} is at {at} and lacks {', '.join(missing)}")
    return Check("below", True, f"{name} has all of them, it is at {', '.join(rows)}")


async def check_effect_below(job: Job, targets: Collection[str], effect: Effect) -> None:
    """Whether what the migration does is there in fact wherever it is on record.

    Only an environment at these very revisions can be asked: a later one may have changed it again.

    Raises:
        ActionError: an environment says that it is applied, and lacks its effect.
    """
    for name in job.environment.migrations.tried_on or ():
        if job.elsewhere is None:
            raise ActionError(f"{name} is out of reach")
        other = job.elsewhere(name)
        try:
            problems = await _lacks(other, targets, effect)
        finally:
            await other.connections.close()
        if problems:
            raise ActionError(
                f"{name} says that it has {', '.join(sorted(targets))}, but {listed(problems)}",
                hint=f"custode schema explain {name} tells what is there; accept=below goes on all the same",
            )


async def _lacks(other: Job, targets: Collection[str], effect: Effect) -> list[str]:
    for database in other.environment.databases or (None,):
        async with other.connections.acquire(database) as connection:
            rows = await rows_of(connection, other.environment.migrations, database or other.environment.name)
            if set(rows) == set(targets):
                return effect.problems(await read_catalogue(connection))
    return []


async def rows_below(other: Job) -> Sequence[str]:
    """The rows of another environment's version tables, all databases together."""
    settings = other.environment.migrations
    found: set[str] = set()
    for database in other.environment.databases or (None,):
        async with other.connections.acquire(database) as connection:
            found.update(await rows_of(connection, settings, database or other.environment.name))
    return sorted(found)


def check_lint(job: Job, printed: Iterable[Printed]) -> list[Check]:
    """A check for each rule that refuses; the others are told in one."""
    refused = job.environment.migrations.refused_rules
    checks, remarks = [], []
    for one in printed:
        if one.trouble:
            checks.append(Check("sql", False, f"{one.revision} cannot be printed as SQL: {one.trouble}"))
        for finding in one.findings:
            if finding.rule in refused:
                checks.append(Check(finding.rule, False, f"{one.revision}: {finding.message}"))
            else:
                remarks.append(f"{one.revision} {finding.rule}")
    said = "squawk finds nothing that refuses" + (
        f"; it remarks {', '.join(dict.fromkeys(remarks))}" if remarks else ""
    )
    return checks or [Check("lint", True, said)]


def check_forecast(job: Job, printed: Iterable[Printed]) -> list[Check]:
    """Whom it will hold up, and how long, against what the configuration allows; what cannot be told has not passed."""
    limit = job.environment.migrations.longest_block.total_seconds()
    checks = []
    for one in printed:
        checks += [
            Check("block", False, f"{one.revision}: {each} ({each.statement.short})")
            for each in one.estimates
            if each.lock is None
        ]
        held = one.held
        if held is not None and held.held > limit:
            what = f"{one.revision}: {held} ({held.statement.short})"
            checks.append(Check("block", False, f"{what}; at most {limit:g} s are allowed"))
    if checks:
        return checks
    longest = max((one.held.held for one in printed if one.held is not None), default=0.0)
    unknown = [one.revision for one in printed if one.trouble]
    but = f"; of {listed(unknown)} nothing is known" if unknown else ""
    return [Check("block", True, f"others will wait {longest:.1f} s at most, once it has its locks{but}")]


def wants_backup(job: Job) -> bool:
    """Whether the policy promises backups, so that data is worth one."""
    return job.environment.policy.backup.interval is not None


async def check_backup(job: Job, place: Place, store: str | None) -> Check:
    """A fresh one, or room to take one now; where the policy promises no backups, none is asked for."""
    if not wants_backup(job):
        return Check("backup", True, "the policy promises none here, and none is taken")
    if not job.stores:
        return Check("backup", False, f"{job.environment.name} has no store for backups")
    try:
        found = await fresh_backup(job, place.datname, store)
    except CustodeError as error:
        return Check("backup", False, error.message)
    if found is None:
        return Check("backup", True, "one is taken and verified first")
    age = (job.now() - found.started_at) / 60
    return Check("backup", True, f"{found.id} is {age:.0f} minutes old and whole")
