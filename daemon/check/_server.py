"""What is usually wrong with a server beside what the collectors tell: settings, rights, versions on its disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collectors import Session, Target
from daemon.check._report import Notes
from fleet.vectors.hazards import hazards_of

SOON_SECONDS = 30 * 86_400.0  # a password that expires
FEW_CONNECTIONS = 5
SLOT_BYTES = 2**30

_SERVER = """
    select current_setting('server_version_num')::int as version,
        r.rolconnlimit as limit, r.rolsuper as superuser, extract(epoch from r.rolvaliduntil)::float8 as until,
        (select count(*) from pg_catalog.pg_stat_activity where usename = current_user) as ours,
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - (select count(*) from pg_catalog.pg_stat_activity where backend_type = 'client backend') as free,
        (select array_agg(name order by name) from pg_catalog.pg_settings where pending_restart) as pending,
        current_setting('archive_mode') <> 'off' as archives,
        coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false) as archiving_fails,
        a.last_failed_wal as failed_wal,
        (select array_agg(slot_name::text) from pg_catalog.pg_replication_slots
            where not active and not pg_catalog.pg_is_in_recovery()
            and pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), restart_lsn) > $1) as slots,
        (select count(*) from pg_catalog.pg_prepared_xacts where prepared < now() - interval '1 hour') as prepared,
        (select array_agg(option) from pg_catalog.pg_db_role_setting s, unnest(s.setconfig) option
            where s.setrole in (0, r.oid)
            and split_part(option, '=', 1) in ('statement_timeout', 'transaction_timeout', 'idle_session_timeout',
                'idle_in_transaction_session_timeout', 'session_replication_role')) as options
    from pg_catalog.pg_roles r, pg_catalog.pg_stat_archiver a where r.rolname = current_user
"""
_SETTINGS = "select name, setting from pg_catalog.pg_settings where name = any($1)"
# what a setting should be, and what it costs when it is not
_SAFE: Mapping[str, tuple[str, str]] = {
    "fsync": ("on", "a crash of the machine destroys the databases"),
    "full_page_writes": ("on", "a crash of the machine may destroy pages"),
    "autovacuum": ("on", "tables bloat, and the server stops at transaction id wraparound"),
    "track_counts": ("on", "autovacuum does not know what to do"),
    "zero_damaged_pages": ("off", "damaged pages are emptied without a word"),
    "ignore_checksum_failure": ("off", "damage is read as if it were sound"),
}
_WANTED: Mapping[str, tuple[str, str]] = {
    "data_checksums": ("on", "damage by the disk is not noticed; pg_checksums --enable, while the server is stopped"),
    "track_io_timing": ("on", "nobody knows how long reading takes"),
    "password_encryption": ("scram-sha-256", "new passwords are stored as MD5"),
}
_EXTENSIONS = """
    select e.extname as name, e.extversion as installed, a.default_version as there
    from pg_catalog.pg_extension e left join pg_catalog.pg_available_extensions a on a.name = e.extname order by 1
"""
# since PostgreSQL 15
_COLLATION = """
    select datcollversion as recorded, pg_catalog.pg_database_collation_actual_version(oid) as actual
    from pg_catalog.pg_database where datname = pg_catalog.current_database()
"""


async def check_server(target: Target, notes: Notes) -> None:
    """A look at one environment. Raises what its session raises."""
    async with target.session() as session:
        (server,) = await session.fetch(_SERVER, SLOT_BYTES)
        settings = dict(await session.fetch(_SETTINGS, [*_SAFE, *_WANTED]))
    _check_settings(settings, notes)
    _check_role(server, target.now, notes)
    _check_archiving(server, notes)
    if pending := server["pending"]:
        notes.warning("settings", f"wait for a restart of the server: {', '.join(pending)}")
    if server["free"] < FEW_CONNECTIONS:
        notes.warning(
            "connections", f"{max(server['free'], 0)} are left", "raise max_connections, or find who has them"
        )
    if slots := server["slots"]:
        hint = "bring the reader back, or: select pg_drop_replication_slot('NAME')"
        notes.error(
            "replication slots", f"nobody reads {', '.join(slots)}: the log is kept until the disk is full", hint
        )
    if server["prepared"]:
        hint = "select gid, prepared from pg_prepared_xacts; then: rollback prepared 'GID'"
        notes.error(
            "prepared transactions", f"{server['prepared']} are older than an hour: vacuum cannot clean up", hint
        )
    databases = dict(await target.each(_look_inside))
    for name, error in target.failures.items():
        notes.error(f"database {name}", str(error), getattr(error, "hint", None))
    target.failures.clear()
    target.gaps.clear()  # told by the look at the databases
    for name, seen in databases.items():
        _check_database(name, server["version"], *seen, notes)
    if databases and not any(e["name"] == "pg_stat_statements" for found, _ in databases.values() for e in found):
        hint = "shared_preload_libraries = 'pg_stat_statements', restart, create extension pg_stat_statements"
        notes.warning("pg_stat_statements", "is nowhere installed: nobody sees which searches no index serves", hint)


async def _look_inside(session: Session) -> list[tuple[str, tuple[list[Any], Any]]]:
    extensions = await session.fetch(_EXTENSIONS)
    (collation,) = await session.fetch(_COLLATION) if session.server.version >= 150_000 else (None,)
    return [(session.database, (extensions, collation))]


def _check_settings(settings: Mapping[str, str], notes: Notes) -> None:
    wrong = False
    for expected, tell in ((_SAFE, notes.error), (_WANTED, notes.warning)):
        for name, (value, cost) in expected.items():
            if settings.get(name, value) != value:
                wrong = True
                tell(f"setting {name}", f"is {settings[name]}: {cost}", f"{name} = {value}")
    if not wrong:
        notes.ok("settings", "nothing that loses data or hides damage")


def _check_role(server: Mapping[str, Any], now: float, notes: Notes) -> None:
    if 0 <= server["limit"] <= server["ours"] + 1 and not server["superuser"]:
        hint = "alter role ... connection limit -1"
        notes.error("role", f"may open {server['limit']} sessions, and has {server['ours']}", hint)
    left = None if server["until"] is None else server["until"] - now
    if left is not None and left < SOON_SECONDS:
        said = "has expired" if left < 0 else f"expires in {left / 86_400:.0f} days"
        notes.warning("role", f"its password {said}", "alter role ... password '...' valid until '...'")
    if options := server["options"]:
        hint = "may end a backup in the middle; alter role ... reset NAME"
        notes.warning("role", f"its sessions begin with {'; '.join(sorted(options))}", hint)


def _check_archiving(server: Mapping[str, Any], notes: Notes) -> None:
    if server["archiving_fails"]:
        hint = "look for archive command in the server's log; the write-ahead log stays until it works"
        notes.error("archiving", f"fails, last with {server['failed_wal']}", hint)
    elif server["archives"]:
        notes.ok("archiving", "works")


def _check_database(name: str, version: int, extensions: list[Any], collation: Any, notes: Notes) -> None:
    subject = f"database {name}"
    for each in extensions:
        if each["there"] is None:
            hint = f"install the package of {each['name']} on the server, or drop the extension"
            notes.error(subject, f"the files of the extension {each['name']} are gone from the server", hint)
        elif each["installed"] != each["there"]:
            said = f"{each['name']} is {each['installed']}, and {each['there']} is installed on the server"
            notes.warning(subject, said, f"alter extension {each['name']} update")
    vector = next((each["installed"] for each in extensions if each["name"] == "vector"), None)
    for hazard in hazards_of(version, vector):
        note = notes.error if hazard.grave else notes.warning
        note(subject, f"{hazard.name}: {hazard.trouble}", hazard.remedy)
    if collation is not None and collation["recorded"] != collation["actual"]:
        said = f"was made with collation version {collation['recorded']}, and the system has {collation['actual']}"
        notes.error(
            subject,
            f"{said}: indexes on text may be broken",
            "reindex, then alter database ... refresh collation version",
        )
