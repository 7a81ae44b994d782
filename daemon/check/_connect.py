"""What can be seen of the environments by reaching them: rights, extensions, versions, TLS, clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import asyncpg

import collectors
from collectors import Collector, Target
from daemon import clock
from daemon.check._report import Notes, Report
from daemon.check._server import check_server
from daemon.config import Settings
from daemon.scrape import run_collector
from fleet.client_tools import find_tool
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.errors import ConnectError, ProcessError, SecretError
from fleet.plugins import load_plugins
from fleet.secrets import Secrets

OLDEST_MAJOR, NEWEST_MAJOR = 13, 18  # of the servers that the tests run against
MOST_SKEW_SECONDS = 2.0

_SERVER = """
    select current_setting('server_version') as version, current_user as role, r.rolsuper as superuser,
           pg_catalog.pg_has_role('pg_monitor', 'usage') as monitor,
           pg_catalog.pg_is_in_recovery() as recovery,
           pg_catalog.inet_server_addr() is null or pg_catalog.inet_client_addr() <<= inet '127.0.0.0/8'
           or pg_catalog.inet_client_addr() = inet '::1' as local,
           s.ssl, s.version as tls_version, s.cipher,
           extract(epoch from pg_catalog.clock_timestamp())::float8 as clock,
           pg_catalog.format('grant pg_monitor to %I', current_user) as grant
    from pg_catalog.pg_roles r left join pg_catalog.pg_stat_ssl s on s.pid = pg_catalog.pg_backend_pid()
    where r.rolname = current_user
"""
_VECTOR = "select extversion from pg_catalog.pg_extension where extname = 'vector'"
_FAILURES = (ConnectError, SecretError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


async def check_connect(settings: Settings, *, deep: bool = False, now: Callable[[], float] = clock.now) -> Report:
    """Reach every environment, all at the same time, and run every enabled collector once for what it may not see.

    `deep`: look at the servers' settings, too. `now` gives unix seconds.
    """
    secrets = Secrets(clock.monotonic)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_check_environment(settings, environment, secrets, now, deep=deep))
            for environment in settings.environments.values()
        ]
    return Report(tuple(finding for task in tasks for finding in task.result().findings))


async def _check_environment(
    settings: Settings, environment: Environment, secrets: Secrets, now: Callable[[], float], *, deep: bool
) -> Notes:
    notes = Notes(environment.name)
    connections = Connections(environment, secrets)
    target = Target(environment, connections, now())
    try:
        major = await _check_server(target, notes, now)
        await _check_databases(target, notes)
        if deep:
            await check_server(target, notes)
        await _check_tool(settings, major, notes)
        await _check_collectors(settings.collectors, target, notes)
    except _FAILURES as error:
        hint = getattr(error, "hint", None)
        notes.error("connection", str(error).removeprefix(f"{environment.name}: ") or type(error).__name__, hint)
    finally:
        await connections.close()
    return notes


async def _check_server(target: Target, notes: Notes, now: Callable[[], float]) -> int:
    """What one query tells; returns the server's major version."""
    async with target.session() as session:
        before = now()
        server = (await session.fetch(_SERVER))[0]
        after = now()
        major = session.server.version // 10000
    place = "standby" if server["recovery"] else "server"
    if OLDEST_MAJOR <= major <= NEWEST_MAJOR:
        notes.ok("server", f"PostgreSQL {server['version']}, {place}")
    elif major < OLDEST_MAJOR:
        notes.error("server", f"PostgreSQL {server['version']} is too old", f"{OLDEST_MAJOR} is the oldest supported")
    else:
        notes.warning("server", f"PostgreSQL {server['version']} is newer than {NEWEST_MAJOR}, the newest tested")
    if server["superuser"]:
        notes.ok("role", f"{server['role']} is a superuser; membership of pg_monitor is enough to watch")
    elif server["monitor"]:
        notes.ok("role", f"{server['role']} is a member of pg_monitor")
    else:
        notes.warning("role", f"{server['role']} is no member of pg_monitor", server["grant"])
    _check_tls(target.environment, server, notes)
    # the true moment lies somewhere in the round trip
    skew = max(before - server["clock"], server["clock"] - after, 0.0)
    if skew > MOST_SKEW_SECONDS:
        notes.warning("clock", f"the server's clock and ours are {skew:.1f} s apart", "is NTP running on both?")
    else:
        notes.ok("clock", "the server's clock and ours agree")
    return major


def _check_tls(environment: Environment, server: Mapping[str, object], notes: Notes) -> None:
    if server["ssl"]:
        notes.ok("tls", f"{server['tls_version']}, {server['cipher']}")
    elif server["local"]:
        notes.ok("tls", "not in use, and the connection does not leave this machine")
    elif environment.policy.tls.required:
        notes.error("tls", "not in use, although the policy requires it", "set tls.mode: require, and ssl = on there")
    else:
        notes.ok("tls", "not in use, and not required")


async def _check_databases(target: Target, notes: Notes) -> None:
    async def version(session: collectors.Session) -> list[tuple[str, str | None]]:
        found = await session.fetch(_VECTOR)
        return [(session.database, found[0][0] if found else None)]

    versions = dict(await target.each(version))
    for name, reason in target.gaps.items():
        notes.warning(name, reason)
    for name, error in target.failures.items():
        notes.error(f"database {name}", str(error), getattr(error, "hint", None))
    target.gaps.clear()
    target.failures.clear()
    for name, found in versions.items():
        if found is not None:
            notes.ok(f"database {name}", f"pgvector {found}")
        elif any(versions.values()):
            notes.ok(f"database {name}", "without pgvector")
        else:
            notes.warning(f"database {name}", "the extension vector is not installed", "create extension vector")
    if not versions:
        notes.warning("databases", "there is none that we may connect to")


async def _check_tool(settings: Settings, major: int, notes: Notes) -> None:
    try:
        tool = await find_tool("pg_dump", settings.client_tools)
    except ProcessError:
        return  # told once, for this machine
    if tool.version[0] >= major:
        notes.ok("pg_dump", f"{tool.version[0]} reads PostgreSQL {major}")
    else:
        hint = f"install postgresql-client-{major}, or set client_tools"
        notes.error("pg_dump", f"{tool.version[0]} cannot read PostgreSQL {major}", hint)


async def _check_collectors(options: Mapping[str, Collector.Options], target: Target, notes: Notes) -> None:
    """What each collector may not see, told by the collectors themselves."""
    complete = []
    for name, kind in load_plugins(collectors, Collector).items():
        if not options[name].enabled:
            continue
        run = Target(target.environment, target.connections, target.now)
        batch = await run_collector(kind(options[name]), run, options[name].timeout)
        if batch.error is not None:
            notes.error(f"collector {name}", batch.error)
        for what, failure in batch.failures.items():
            notes.error(f"collector {name}", f"{what}: {failure}")
        for what, reason in batch.gaps.items():
            notes.warning(f"collector {name}", f"{what}: {reason}")
        if not (batch.error or batch.failures or batch.gaps):
            complete.append(name)
    if complete:
        notes.ok("collectors", f"see everything: {', '.join(complete)}")
