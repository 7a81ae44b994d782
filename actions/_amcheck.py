"""Whether heaps and B-tree indexes are sound, by PostgreSQL's own pg_amcheck."""

from __future__ import annotations

from pathlib import Path

from actions._restore_place import Place
from fleet.backups.libpq import client_environment
from fleet.client_tools import find_tool
from fleet.errors import ProcessError
from fleet.process import check_exit, running

_AVAILABLE = "select exists (select from pg_catalog.pg_available_extensions where name = 'amcheck')"
_MAY = "select rolsuper from pg_catalog.pg_roles where rolname = current_user"
_DAMAGE = 2  # the exit status where something was found
_TOLD_BYTES = 500


async def find_corruption(place: Place) -> tuple[list[str], list[str]]:
    """What is wrong in a database of ours, into which the extension is put; and why nothing is known, if so.

    Raises:
        ProcessError: pg_amcheck is there, and did not go to its end.
    """
    job = place.job
    try:
        tool = await find_tool("pg_amcheck", job.client_tools)
    except ProcessError:
        return [], ["integrity was not looked at: there is no pg_amcheck"]
    async with job.connections.acquire(place.database) as connection:
        if not await connection.fetchval(_AVAILABLE) or not await connection.fetchval(_MAY):
            return [], ["integrity was not looked at: amcheck is not there for us"]
    label = f"custode/{job.run_id}/{job.attempt}"
    variables = await client_environment(job.environment, job.secrets, place.database, application_name=label)
    command: list[str | Path] = [tool.path, "--no-password", "--install-missing", "--jobs=2"]
    command.append(f"--database={place.database}")
    async with running(command, env=variables) as process:
        stdout, stderr = await process.communicate()
        if process.returncode == _DAMAGE and stdout:
            return [f"pg_amcheck: {stdout[:_TOLD_BYTES].decode(errors='replace').strip()}"], []
        check_exit(command, process, stderr)
    return [], []
