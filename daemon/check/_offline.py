"""What can be seen without reaching an environment: files, client programs, local secrets."""

from __future__ import annotations

import asyncio

from daemon import clock
from daemon.check._access import check_access
from daemon.check._files import check_environment_files, check_files
from daemon.check._report import Notes, Report
from daemon.config import Settings
from fleet.client_tools import find_tool
from fleet.errors import ProcessError, SecretError
from fleet.secrets import Secrets

TOOLS = ("pg_dump", "pg_restore")
_LOCAL_SCHEMES = frozenset({"env", "file"})


async def check_offline(settings: Settings) -> Report:
    """Look at this machine: rule files, folders, client programs, certificates, migration scripts, local secrets."""
    machine = Notes()
    machine.ok("configuration", f"{settings.source} is valid, with {len(settings.environments)} environment(s)")
    by_environment = {name: Notes(name) for name in settings.environments}
    await asyncio.to_thread(check_files, settings, machine)
    await asyncio.to_thread(check_access, settings, machine)
    await _check_tools(settings, machine)
    if settings.schema_reference is None and any(e.policy.same_schema for e in settings.environments.values()):
        machine.warning(
            "schema_reference",
            "no environment sets the schema that the others are to match",
            "name one, or same_schema: false",
        )
    await _check_secrets(settings, machine, by_environment)
    for name, environment in settings.environments.items():
        await asyncio.to_thread(check_environment_files, environment, by_environment[name])
    findings = [finding for notes in by_environment.values() for finding in notes.findings]
    return Report(tuple(machine.findings + findings))


async def _check_tools(settings: Settings, notes: Notes) -> None:
    for name in TOOLS:
        try:
            tool = await find_tool(name, settings.client_tools)
        except ProcessError as error:
            notes.error(name, error.message, error.hint)
        else:
            notes.ok(name, f"{tool.version[0]}.{tool.version[1]} ({tool.path})")


async def _check_secrets(settings: Settings, machine: Notes, by_environment: dict[str, Notes]) -> None:
    """Resolve what this machine itself holds; the other sources are reached with the environments."""
    secrets = Secrets(clock.monotonic)
    for at, text in settings.secrets():
        if not text.references or any(scheme not in _LOCAL_SCHEMES for scheme, _ in text.references):
            continue
        notes = by_environment[str(at[1])] if at[0] == "environments" else machine
        subject = ".".join(map(str, at[2:] if at[0] == "environments" else at))
        try:
            await secrets.fill(text)
        except SecretError as error:
            notes.error(subject, error.message, error.hint)
        else:
            notes.ok(subject, "its secrets are there")
