"""The migration on a copy of the schema: up, down, up again, with what came of it compared each time."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from actions._action import Figures, Job
from actions._migration_copy import Copy, copied
from actions._migration_effect import Effect, listed
from actions._migration_place import Place
from actions._migration_run import downgrade_target
from fleet.errors import ActionError, ProcessError
from fleet.migrating import Application
from fleet.schema import Catalogue, compare

_ENV_PY = (
    "psycopg takes PGOPTIONS and PGAPPNAME by itself; of SQLAlchemy with asyncpg, env.py must hand them on: "
    "connect_args={'server_settings': {'application_name': os.environ['PGAPPNAME'], "
    "'options': os.environ['PGOPTIONS']}}; of asyncpg.connect(url), set migrations.session_options: url"
)


async def rehearse_upgrade(
    job: Job, place: Place, application: Application, revisions: Sequence[str], accepted: Collection[str]
) -> Figures:
    """Upgrade, downgrade, upgrade; the effect is left in the run's data, for the check afterwards.

    Raises:
        ActionError: a step fails, or leads elsewhere; the environment was not touched.
    """
    start = place.position.current
    targets = place.graph.tips(place.graph.applied([*start, *revisions]))
    async with copied(job, place, application) as copy:
        _tell(job, 0.1, "upgrading the copy")
        before = await copy.catalogue()
        async with copy.watched() as sessions:
            await _up(copy, revisions[-1:] if len(targets) == 1 else revisions)
        await _check_rows(copy, targets, "the upgrade")
        check_sessions(copy, sessions)
        after = await copy.catalogue()
        effect = Effect.between(before.without(_own(application)), after.without(_own(application)))
        job.data["effect"] = effect.as_json()
        if "downgrade" not in accepted:
            _tell(job, 0.4, "taking the copy back")
            await _down(copy, place, revisions)
            await _check_rows(copy, start, "the downgrade")
            _same(await copy.catalogue(), before, application, "the downgrade does not lead back")
            _tell(job, 0.7, "upgrading the copy again")
            await _up(copy, revisions[-1:] if len(targets) == 1 else revisions)
            _same(await copy.catalogue(), after, application, "the second upgrade does not lead where the first did")
    return {"objects_made": len(effect.made), "objects_removed": len(effect.gone)}


async def rehearse_downgrade(job: Job, place: Place, application: Application, revisions: Sequence[str]) -> Figures:
    """Downgrade and upgrade again, `revisions` in the order in which they are taken back."""
    start = place.position.current
    remaining = place.graph.tips(place.graph.applied(start) - set(revisions))
    async with copied(job, place, application) as copy:
        _tell(job, 0.2, "taking the copy back")
        before = await copy.catalogue()
        async with copy.watched() as sessions:
            await _down(copy, place, list(reversed(revisions)))
        await _check_rows(copy, remaining, "the downgrade")
        check_sessions(copy, sessions)
        after = await copy.catalogue()
        effect = Effect.between(before.without(_own(application)), after.without(_own(application)))
        job.data["effect"] = effect.as_json()
        _tell(job, 0.6, "upgrading the copy again")
        await _up(copy, list(reversed(revisions)))
        _same(await copy.catalogue(), before, application, "the upgrade does not lead back to where it was")
    return {"objects_made": len(effect.made), "objects_removed": len(effect.gone)}


def check_sessions(copy: Copy, sessions: Sequence[tuple[str, str]]) -> None:
    """The application's sessions must be known by their name, and must not wait for locks for ever."""
    strange = sorted({name for name, _ in sessions if name != copy.label})
    if strange or not sessions:
        told = repr(strange[0]) if strange else "nothing"
        raise ActionError(
            f"its sessions call themselves {told}, not {copy.label}: they could not be ended", hint=_ENV_PY
        )
    if any(timeout == "0" for _, timeout in sessions):
        raise ActionError("lock_timeout does not reach its sessions: everybody would queue behind it", hint=_ENV_PY)


async def _up(copy: Copy, revisions: Sequence[str]) -> None:
    access = await copy.access()
    for revision in revisions:
        try:
            await copy.application.upgrade(revision, access)
        except ProcessError as error:
            raise ActionError(f"on a copy of the schema the upgrade fails: {error.message}") from error


async def _down(copy: Copy, place: Place, revisions: Sequence[str]) -> None:
    """One by one, so that it is known which of them cannot be taken back."""
    access = await copy.access()
    for revision in reversed(revisions):
        try:
            await copy.application.downgrade(downgrade_target(place, revision, await copy.rows()), access)
        except ProcessError as error:
            raise ActionError(
                f"on a copy of the schema the downgrade of {revision} fails: {error.message}",
                hint="write its downgrade, or accept that there is no way back but the backup: accept=downgrade",
            ) from error


async def _check_rows(copy: Copy, expected: Collection[str], what: str) -> None:
    found = set(await copy.rows())
    if found != set(expected):
        raise ActionError(
            f"on a copy of the schema {what} leads to {', '.join(sorted(found)) or 'base'},"
            f" not to {', '.join(sorted(expected)) or 'base'}",
            hint="are the scripts that are read those that its alembic runs?",
        )


def _same(found: Catalogue, wanted: Catalogue, application: Application, what: str) -> None:
    differences = compare(found, wanted, ignore=_own(application))
    if differences:
        told = listed(f"{one.kind.replace('_', ' ')} {one.object} is {one.change}" for one in differences)
        raise ActionError(f"on a copy of the schema {what}: {told}", hint="see to its downgrade, or accept=downgrade")


def _own(application: Application) -> tuple[str, ...]:
    """Alembic's own table comes with the first upgrade and stays."""
    schema, _, table = application.settings.version_table.rpartition(".")
    return (f"table:{schema or 'public'}.{table}",)


def _tell(job: Job, ratio: float, what: str) -> None:
    job.progress(ratio, what)
