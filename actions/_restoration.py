"""One restore from beginning to end: what the actions that restore have in common."""

from __future__ import annotations

from dataclasses import dataclass

from actions._action import Figures, Job
from actions._restore_check import check
from actions._restore_indexes import Build, analyze, build_keys, build_vectors
from actions._restore_load import load
from actions._restore_place import Place, upstairs
from actions._restore_roles import make_roles, missing_roles
from actions._restore_source import Source
from actions._thaw import thaw
from fleet.errors import ActionError

_FIRST_STATISTICS = 10  # the planner's statistics target until the vector indexes are built
_DISK = 3.0  # bytes on the server's disk per byte of rows: TOAST, indexes, and vector indexes as large as their table
_EXTENSIONS = """
    select name from unnest($1::text[]) name
    where name not in (select name from pg_catalog.pg_available_extensions) order by 1
"""
_MAY_CREATE = "select rolcreatedb or rolsuper from pg_catalog.pg_roles where rolname = current_user"


@dataclass(frozen=True, slots=True)
class Restoration:
    """`job` is the run; `place.job` the same on the server that is restored to.

    What it finds is in `job.data`: `begun_at`, `queryable_at`, `ready_at` (unix seconds), `problems`, `notes`, `rows`,
    `tables`.
    """

    job: Job
    place: Place
    source: Source
    build: Build
    create_roles: bool = False
    any_locale: bool = False

    async def load(self) -> Figures:
        self.job.data.setdefault("begun_at", self.job.now())
        await thaw(self.job, self.source)
        missing = await missing_roles(self.place.job, self.source.snapshot)
        if missing and not self.create_roles:
            raise roles_missing(self.place.job, missing)
        await make_roles(self.place.job, missing)
        await self.place.create(self.source.snapshot, any_locale=self.any_locale)
        return await load(self.place, self.source, self.build.wanted)

    async def keys(self) -> Figures:
        figures = await build_keys(self.place, self.source, self.build)
        if skipped := figures.get("skipped_foreign_keys"):
            self.job.data["skipped"] = skipped
        moment = self._moment("queryable")
        await analyze(self.place, target=_FIRST_STATISTICS)
        return {**figures, **moment}

    async def vectors(self, *, concurrently: bool = False) -> Figures:
        figures = await build_vectors(self.place, self.source, self.build, concurrently=concurrently)
        moment = self._moment("ready")
        await analyze(self.place)
        return {**figures, **moment}

    async def check(self, *, vectors: bool = True) -> Figures:
        findings = await check(
            self.place,
            self.source,
            self.build.wanted,
            smoke=self.job.environment.policy.backup.smoke_queries,
            vectors=vectors,
            skipped=self.job.data.get("skipped", ""),
        )
        said = {"problems": findings.problems, "notes": findings.notes}
        self.job.data.update(said, rows=findings.rows, tables=findings.tables)
        return {"rows": findings.rows, "tables": findings.tables, "problems": len(findings.problems)}

    def _moment(self, what: str) -> Figures:
        self.job.data[f"{what}_at"] = self.job.now()
        return {f"{what}_seconds": seconds_until(self.job, what)}


def seconds_until(job: Job, what: str) -> float:
    """From the beginning of the restore until it was `queryable`, or `ready`."""
    begun, until = job.data.get("begun_at", job.started_at), job.data.get(f"{what}_at")
    return 0.0 if until is None else float(until - begun)


def disk_bytes(source: Source) -> float:
    return source.snapshot.plain_bytes * _DISK


def roles_missing(job: Job, missing: list[str]) -> ActionError:
    return ActionError(
        f"the server of {job.environment.name} lacks roles that own or may use what is in it: {', '.join(missing)}",
        hint="make them, or let them be made without login: create_roles",
    )


async def look_ahead(site: Job, source: Source, *, create_roles: bool) -> list[str]:
    """Whether the server of `site` can take the snapshot at all; the roles that it lacks.

    Raises:
        ActionError: it cannot.
    """
    snapshot = source.snapshot
    async with upstairs(site.connections) as connection:
        major = connection.get_server_version().major
        may_create = await connection.fetchval(_MAY_CREATE)
        unknown = [row["name"] for row in await connection.fetch(_EXTENSIONS, list(snapshot.extensions))]
    name = site.environment.name
    written = int((source.manifest.server_version or str(major)).split(".")[0])
    if major < written:
        raise ActionError(f"the server of {name} is of version {major}, the snapshot of {written}: that is no way back")
    if unknown:
        raise ActionError(f"the server of {name} has no extension {', '.join(unknown)}", hint="install its package")
    if not may_create:
        raise ActionError(f"the role of {name} may not make databases", hint="grant it CREATEDB")
    missing = await missing_roles(site, snapshot)
    if missing and not create_roles:
        raise roles_missing(site, missing)
    return missing
