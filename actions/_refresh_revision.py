"""Which revision a new database gets in the end, and the way there by the application's Alembic."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from actions._action import Figures, Job
from actions._migration_place import application_of, graph_of, rows_of
from actions._migration_run import label
from actions._restore_place import Place
from actions._session import alone
from fleet.errors import ActionError, ProcessError

TIMEOUT = timedelta(hours=12)
_LOCK_TIMEOUT = {"lock_timeout": "60s"}  # nobody else is in the new database


async def own_revision(job: Job, datname: str, copied: Sequence[str], source: str) -> list[str]:
    """The rows of the version table that the database has now, if a copy at the rows `copied` can be upgraded to them.

    Raises:
        ActionError: it cannot: the database is behind its source, or its Alembic is not run from here.
    """
    async with job.connections.acquire(datname) as connection:
        own = await rows_of(connection, job.environment.migrations, datname)
    if set(own) == set(copied) or not own:
        return sorted(copied)
    name, at, theirs = job.environment.name, ", ".join(own), ", ".join(copied) or "base"
    where = f"{name} is at {at}, and {source} at {theirs}"
    if job.environment.migrations.directory is None:
        raise ActionError(
            f"{where}: the copy could not be upgraded from here",
            hint="set migrations.directory, or bring both to one revision first",
        )
    application_of(job)
    graph = await graph_of(job.environment.migrations)
    if not {*own, *copied} <= graph.parents.keys() or not graph.applied(copied) <= graph.applied(own):
        raise ActionError(
            f"{where}, which it cannot be upgraded from", hint=f"bring {name} there first: custode migrate {name}"
        )
    return sorted(own)


async def head_revision(job: Job) -> list[str]:
    """The heads of the scripts; none where no scripts are configured. Raises ActionError: they cannot be run."""
    if not job.environment.migrations.has_scripts:
        return []
    application_of(job)
    return sorted((await graph_of(job.environment.migrations)).heads)


async def bring_to(place: Place, revisions: Sequence[str]) -> Figures:
    """Upgrade the new database, unless it is there.

    Raises:
        ActionError: Alembic fails, or leads elsewhere.
    """
    job, settings = place.job, place.job.environment.migrations
    async with job.changes.acquire(place.database) as connection, alone(connection, job, "alembic"):
        rows = await rows_of(connection, settings, place.database)
        if set(rows) != set(revisions):
            application = application_of(job)
            access = await application.access(
                job.environment, job.secrets, place.database, name=label(job), settings=_LOCK_TIMEOUT
            )
            for revision in revisions:
                try:
                    await application.upgrade(revision, access)
                except ProcessError as error:
                    raise ActionError(f"the new database cannot be upgraded to {revision}: {error.message}") from error
            rows = await rows_of(connection, settings, place.database)
        if set(rows) != set(revisions):
            raise ActionError(
                f"alembic said that all was well, and the new database is at {', '.join(rows) or 'base'}",
                hint="does its env.py use the URL that it is given?",
            )
    return {"revision": ", ".join(rows) or "base"}
