"""What would free how much of a disk, at what risk: found on the server and in the stores, and ranked."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from actions._action import Job
from actions._copies import all_stores, first_store, readable, retention_of
from actions._index_bloat import find_indexes
from actions._index_use import index_uses
from actions._invalid_indexes import InvalidIndex, invalid_indexes
from actions._left_overs import LeftOver, left_over_databases
from actions._retention import read_rules
from actions._retention_count import count_expired
from actions._session import writable_databases
from actions._table_bloat import find_tables
from fleet.backups.garbage import survey
from fleet.backups.manifest import ROOT, pool_prefixes
from fleet.backups.retention import decide, newest_failed
from fleet.connections import Connection
from fleet.errors import CustodeError
from fleet.policy import Risk
from fleet.stores import Stat, Store

_UNUSED_SECONDS = 14 * 86400.0  # as drop_unused_index means it
_BLOATED = 0.25  # of a table: less is not worth its lock
# the log before what a slot holds is kept for it; an active one is on its way
_SLOTS = """
    select slot_name::text as name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 as bytes,
        format('SELECT pg_drop_replication_slot(%L)', slot_name) as command
    from pg_catalog.pg_replication_slots where not active and restart_lsn is not null
"""
# autovacuum does not come to all of them, nor at once
_DEAD_ROWS = """
    select n.nspname::text as schemaname, c.relname::text as relname, format('%I.%I', n.nspname, c.relname) as quoted,
        (pg_table_size(c.oid) * d.share)::float8 as bytes
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        cross join lateral (
            select pg_stat_get_dead_tuples(c.oid)::float8 / greatest(1,
                pg_stat_get_dead_tuples(c.oid) + pg_stat_get_live_tuples(c.oid)) as share
        ) d
    where c.relkind in ('r', 'm') and c.relpersistence <> 't' and d.share >= $1
        and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' and pg_has_role(c.relowner, 'usage')
    order by 1, 2
"""
_LOGS = """
    select count(*), coalesce(sum(size), 0)::float8, case
        when current_setting('log_directory') ~ '^/' then current_setting('log_directory')
        else current_setting('data_directory') || '/' || current_setting('log_directory') end
    from pg_catalog.pg_ls_logdir() where modification < now() - $1::interval
"""
_OLD_LOG = timedelta(days=7)
_UNSURE = Risk.DESTRUCTIVE  # nobody can tell whether it is needed

Request = tuple[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Relief:
    """Something that can be done: what it would free, in bytes, and how; `risk` is that of the action, or of the deed.

    `at_once` tells whether the disk has the room then; else the database uses it for what is to come. `index` and
    `database` are such that nobody needs, to be dropped without further ado. `request` is the action, with its
    parameters, that can be asked for where room is short: it needs none itself.
    """

    what: str
    bytes: float
    risk: Risk
    command: str
    at_once: bool = True
    index: InvalidIndex | None = None
    database: LeftOver | None = None
    request: Request | None = None

    @property
    def own(self) -> InvalidIndex | LeftOver | None:
        """What nobody needs."""
        return self.index or self.database

    def __str__(self) -> str:
        room = "" if self.at_once else ", for new rows only"
        return f"{self.bytes / 2**20:,.1f} MiB{room}: {self.what} ({self.risk.value}): {self.command}"


async def find_relief(job: Job, datname: str | None, least_bytes: float) -> tuple[list[Relief], list[str]]:
    """What frees at least so many bytes, the least risky and then the largest first; and what nobody could look at.

    `datname` is the database to look at, None all of them.
    """
    found: list[Relief] = []
    unknown: list[str] = []
    for database in await writable_databases(job, datname):
        try:
            async with job.connections.acquire(database) as connection:
                found += [one async for one in _indexes(job, connection, database)]
                found += [one async for one in _tables(job, connection, database)]
        except (CustodeError, asyncpg.PostgresError) as error:
            unknown.append(f"{database}: {error}")
    try:
        found += [one async for one in _in_stores(job)]
    except CustodeError as error:
        unknown.append(f"backups: {error}")
    found += [one async for one in _on_server(job, datname)]
    worth = [one for one in found if one.bytes >= least_bytes or one.own is not None]
    return sorted(worth, key=lambda one: (list(Risk).index(one.risk), not one.at_once, -one.bytes, one.what)), unknown


async def _on_server(job: Job, datname: str | None) -> AsyncIterator[Relief]:
    async with job.connections.acquire() as connection:
        for name, size, command in await connection.fetch(_SLOTS):
            what = f"write-ahead log for the slot {name!r}, which nobody reads"
            yield Relief(what, size, Risk.DESTRUCTIVE, command)
        with suppress(asyncpg.PostgresError):  # not everybody may see them, and not every server writes them
            count, size, folder = await connection.fetchrow(_LOGS, _OLD_LOG) or (0, 0.0, "")
            if count:
                command = f"find {shlex.quote(folder)} -type f -mtime +{_OLD_LOG.days} -delete"
                yield Relief(f"{count} server log(s) older than {_OLD_LOG.days} days", size, Risk.SAFE, command)
    for left in await left_over_databases(job) if datname is None else ():
        if left.ended and left.owned:
            what = f"database {left.quoted}, left by the run {left.run}, which has ended"
            yield Relief(what, left.bytes, Risk.GUARDED, left.command, database=left)
        else:
            why = "which is another role's" if left.ended else "which may be under way"
            command = f"-- once nobody needs it: {left.command}"
            yield Relief(f"database {left.quoted} of the run {left.run}, {why}", left.bytes, _UNSURE, command)


async def _indexes(job: Job, connection: Connection, database: str) -> AsyncIterator[Relief]:
    for left in await invalid_indexes(connection, database):
        if left.obstacle is None:
            command = f"DROP INDEX CONCURRENTLY {left.quoted}"
            yield Relief(f"invalid index {left.quoted}", left.bytes, Risk.GUARDED, command, index=left)
    for index in await find_indexes(connection, database):
        if index.obstacle is None and index.is_bloated(0) and index.expected_bytes is not None:
            gain = index.bytes - index.expected_bytes
            names = _names(index, "indexrelname")
            yield Relief(f"bloated index {index.quoted}", gain, Risk.GUARDED, _act(job, "reindex", names))
    for used in await index_uses(connection, database):
        if used.valid and used.reason_to_stay(_UNUSED_SECONDS, vouched=False) is None:
            request = "drop_unused_index", _names(used, "indexrelname")
            what = f"unused index {used.quoted}"
            yield Relief(what, used.bytes, Risk.DANGEROUS, _act(job, *request), request=request)


async def _tables(job: Job, connection: Connection, database: str) -> AsyncIterator[Relief]:
    for table in await find_tables(connection, database, None, None):
        if table.obstacle is None and (table.gain_bytes or 0.0) > _BLOATED * table.bytes:
            command = _act(job, "vacuum_full", _names(table))
            yield Relief(f"bloated table {table.quoted}", table.gain_bytes or 0.0, Risk.DANGEROUS, command)
    request: Request
    for row in await connection.fetch(_DEAD_ROWS, _BLOATED):
        request = "vacuum", {"datname": database, "schemaname": row["schemaname"], "relname": row["relname"]}
        what = f"dead rows of {row['quoted']}"
        yield Relief(what, row["bytes"], Risk.SAFE, _act(job, *request), False, request=request)
    rules = await read_rules(connection, database, job.environment.policy.data.row_retention, job.now())
    for rows in rules.in_order():
        if rules.obstacle(rows) is None:
            expired = await count_expired(connection, rules, rows)
            request = "cleanup", _names(rows)
            yield Relief(
                f"old rows of {rows.quoted}", expired.bytes, Risk.GUARDED, _act(job, *request), False, request=request
            )


async def _in_stores(job: Job) -> AsyncIterator[Relief]:
    """Backups past the policy, as prune_backups would decide."""
    if not job.stores:
        return
    stores = all_stores(job)
    manifests, _ = await readable(job, stores)
    first, _ = first_store(job)
    if first not in manifests or newest_failed(manifests[first], job.now()):
        return  # nothing is removed then
    for name, there in manifests.items():
        decisions = decide(there, retention_of(job, name), job.now(), after_failure=False)
        removed = [one.id for one in decisions if not one.keep]
        looked = await survey(stores[name], job.environment.name, job.now(), removed)
        what = f"{len(removed)} backup(s) past the policy in {name}, if it is on this disk"
        freed = await _bytes(stores[name], job.environment.name, removed, looked.garbage)
        request = "prune_backups", {"store": name}
        yield Relief(what, freed, Risk.SAFE, _act(job, *request), request=request)


async def _bytes(store: Store, environment: str, backups: Collection[str], garbage: Collection[str]) -> float:
    """Of the folders of these backups, and of these objects of the pool."""
    own = f"{ROOT}/{environment}/"
    folders = [stat async for stat in _listed(store, (own,)) if stat.key[len(own) :].split("/")[0] in backups]
    objects = [stat async for stat in _listed(store, pool_prefixes(environment)) if stat.key in garbage]
    return float(sum(stat.size_bytes for stat in (*folders, *objects)))


async def _listed(store: Store, prefixes: Sequence[str]) -> AsyncIterator[Stat]:
    for prefix in prefixes:
        for stat in await store.list(prefix):
            yield stat


def _names(one: object, *more: str) -> Mapping[str, str]:
    return {name: getattr(one, name) for name in ("datname", "schemaname", "relname", *more)}


def _act(job: Job, action: str, parameters: Mapping[str, str]) -> str:
    said = [word for name, value in parameters.items() for word in ("-p", f"{name}={_scalar(value)}")]
    return shlex.join(["custode", "act", action, job.environment.name, *said])


def _scalar(value: str) -> str:
    """As YAML reads it: a text, whatever it looks like."""
    plain = value.replace("_", "a").isalnum() and value[0].isalpha() and value not in _WORDS
    return value if plain else "'" + value.replace("'", "''") + "'"


_WORDS: Sequence[str] = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
