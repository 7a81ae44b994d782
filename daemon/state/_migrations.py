"""Which revision the state database is at, and bringing it to ours."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from importlib import resources

import asyncpg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from daemon.state._sessions import MIGRATION_SETTINGS, open_session, plain, says_away
from fleet.errors import StateAwayError, StateError
from migrations import running
from migrations.state import HEAD, REVISIONS, SCHEMA

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Revision:
    """`current` is None where there are no tables yet."""

    current: str | None
    head: str = HEAD

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head

    @property
    def newer(self) -> bool:
        """Made by a newer Custode, whose revisions this one does not know."""
        return self.current is not None and self.current not in REVISIONS

    def refuse_newer(self) -> None:
        """Raise StateError where it is newer."""
        if self.newer:
            raise StateError(
                f"the state database is at revision {self.current}, newer than this Custode knows (it has {self.head})",
                hint="upgrade Custode, or restore a copy of the state database from before",
            )


async def read_revision(session: asyncpg.Connection) -> Revision:
    """Raises what asyncpg raises."""
    if await session.fetchval("select to_regclass($1)::oid", f"{SCHEMA}.alembic_version") is None:
        return Revision(None)
    return Revision(await session.fetchval("select version_num from alembic_version"))


async def migrate(dsn: str) -> None:
    """Bring the database to the newest revision; whoever comes second waits, and finds it done.

    Raises:
        StateError: it is newer, or the role may not change it.
        StateAwayError: it cannot be reached (any more).
    """
    await asyncio.to_thread(_migrate, dsn)


def _migrate(dsn: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    place = resources.files("migrations") / "state"
    config.set_main_option("script_location", str(place).replace("%", "%%"))
    config.attributes["connect"] = partial(open_session, dsn, MIGRATION_SETTINGS)
    try:
        with running:
            command.upgrade(config, HEAD)
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, CommandError, OSError) as error:
        reason = f"the state database cannot be migrated: {plain(error)}"
        waited = isinstance(getattr(error, "orig", None), asyncpg.LockNotAvailableError)
        if waited or says_away(error) or isinstance(error, OSError):
            raise StateAwayError(reason) from error
        raise StateError(reason, hint="may the role of state.url create a schema and tables there?") from error
    log.info("state_database_migrated", revision=HEAD)
