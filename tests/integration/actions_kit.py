"""Trouble for every action: how to plant it in a database, and how to count what an action did about it.

A case holds no state of its own: planted by one process, it can be counted by another (`Ground.held` keeps what must
stay open, and is needed where the case says so). `effects` counts in the database or the store, so that "exactly once"
can be told from "at least once".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg

from actions import Action, Job, Plan
from actions._action import Figures
from fleet.backups import read_manifests
from fleet.backups.damage import find_damage
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.secrets import Secrets
from fleet.stores.local import LocalStore
from tests.integration import cleanup_trouble as cleaned
from tests.integration import data_scanned as scanned
from tests.integration import data_trouble as renewed
from tests.integration import index_trouble_build as rebuilt
from tests.integration import index_trouble_other as indexed
from tests.integration import index_trouble_recall as searched
from tests.integration import migration_trouble as migrated
from tests.integration import restore_trouble as restored
from tests.integration import stored_trouble as stored

DEADLINE = 60.0


async def anybody() -> None:
    return


def job_for(environment: Environment, **fields: Any) -> Job:
    """A job as the daemon makes it; `check` is asked of the sessions that can write, before they are lent."""
    values: dict[str, Any] = {"run_id": uuid4().hex[:12], "attempt": 1, "stores": {}} | fields
    secrets = Secrets(time.monotonic)
    changes = Connections(
        environment,
        secrets,
        statement_seconds=3600,
        read_only=False,
        application_name=f"custode/{values['run_id']}/{values['attempt']}",
        check=values.pop("check", anybody),
    )
    common: dict[str, Any] = {"started_at": time.time(), "now": time.time, "progress": lambda _ratio, _text: None}
    reading = Connections(environment, secrets)
    made: dict[str, Any] = {"environment": environment, "secrets": secrets, "connections": reading, "changes": changes}
    return Job(**(common | made | values))


async def close(job: Job) -> None:
    await job.connections.close()
    await job.changes.close()


@asynccontextmanager
async def at_work(environment: Environment, **fields: Any) -> AsyncIterator[Job]:
    job = job_for(environment, **fields)
    try:
        yield job
    finally:
        await close(job)


async def run_all(action: Action[Any], job: Job, parameters: Any, plan: Plan) -> list[Figures]:
    """Run the steps of a plan; what each of them returned."""
    return [await step.run() for step in action.steps(job, parameters, plan)]


@dataclass(frozen=True, slots=True)
class Ground:
    """Where trouble is planted: a database of its own, as its superuser, and a store; `run_id` is the run's.

    Where an action puts another database in the place of this one, `sql` is closed from then on.
    """

    dsn: str
    database: str
    sql: asyncpg.Connection
    store: Path
    held: list[asyncpg.Connection] = field(default_factory=list)
    run_id: str = field(default_factory=lambda: uuid4().hex[:12])  # others test the same action at the same time

    @property
    def copy(self) -> Path:
        """A second store, called `offsite`, for copies of the backups."""
        return self.store.with_name("offsite")

    async def open(self, application_name: str) -> asyncpg.Connection:
        """A client's session, open until the end of the test."""
        connection = await asyncpg.connect(self.dsn, server_settings={"application_name": application_name})
        self.held.append(connection)
        return connection

    async def close(self) -> None:
        for connection in self.held:
            if not connection.is_closed():
                await connection.close(timeout=2)
        await restored.drop_copies(self)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until it holds. Raises AssertionError after DEADLINE seconds."""
    end = time.monotonic() + DEADLINE
    while not await condition():
        assert time.monotonic() < end, f"not within {DEADLINE:g} s: {what}"
        await asyncio.sleep(0.02)


async def none_ever(_ground: Ground) -> int:
    return 0


async def always(_ground: Ground) -> bool:
    return True


def nothing(_directory: Path) -> Mapping[str, Any]:
    return {}


def alone(_dsn: str, _database: str) -> Mapping[str, Environment]:
    return {}


@dataclass(frozen=True, slots=True)
class Case:
    """`plant` makes the trouble and returns the parameters; a whole run then has `expected` effects.

    `left_overs` counts what must not be there once a run has ended, whether it went through or was undone; `stands`
    tells whether there is what must be there at any moment, in the middle of it too. `settings` are fields of the
    environment, where the store is in that directory; `others` are environments beside it, where its database is.
    """

    plant: Callable[[Ground], Awaitable[Mapping[str, Any]]]
    effects: Callable[[Ground], Awaitable[int]]
    expected: int
    left_overs: Callable[[Ground], Awaitable[int]] = none_ever
    stands: Callable[[Ground], Awaitable[bool]] = always
    settings: Callable[[Path], Mapping[str, Any]] = nothing
    others: Callable[[str, str], Mapping[str, Environment]] = alone
    repeats: bool = False  # there is always something to do, so that a second run has its effects again
    fenced: bool = True  # its effects are in a database, written through `Job.changes`
    works_in: bool = True  # it works in the database


# two tables, one of a name to be quoted, that autovacuum leaves to us
_TABLES = """
    create table notes (id int primary key, text text) with (autovacuum_enabled = false);
    create table "Odd "" name" (like notes including all) with (autovacuum_enabled = false);
    insert into notes select i, 'text ' || i from generate_series(1, 5000) i;
    insert into "Odd "" name" select * from notes
"""


async def plant_stale(ground: Ground) -> Mapping[str, Any]:
    await ground.sql.execute(_TABLES)
    await until(lambda: _counted(ground, "n_mod_since_analyze = 5000"), "changes are counted")
    return {"datname": ground.database}


async def count_analyzes(ground: Ground) -> int:
    return await _sum(ground, "analyze_count")


async def plant_dead_rows(ground: Ground) -> Mapping[str, Any]:
    await ground.sql.execute(_TABLES)
    await ground.sql.execute('delete from notes where id % 2 = 0; delete from "Odd "" name" where id % 2 = 0')
    await until(lambda: _counted(ground, "n_dead_tup = 2500"), "dead rows are counted")
    return {"datname": ground.database}


async def count_vacuums(ground: Ground) -> int:
    return await _sum(ground, "vacuum_count")


async def plant_invalid_indexes(ground: Ground) -> Mapping[str, Any]:
    """What a failed CREATE and a failed REINDEX leave; what is dropped from now on is counted by an event trigger."""
    await ground.sql.execute("""
        create table notes (id int, text text);
        insert into notes select i / 2, 'text ' || i from generate_series(1, 1000) i;
        create index by_text on notes (text);
        create table dropped_objects (identity text);
        create function count_dropped() returns event_trigger language plpgsql as $$ begin
            insert into dropped_objects select object_identity from pg_event_trigger_dropped_objects()
                where object_type = 'index';
        end $$;
        create event trigger count_dropped on sql_drop execute function count_dropped()
    """)
    for statement in (
        'create unique index concurrently "by ""id" on notes (id)',
        'reindex index concurrently "by ""id"',
    ):
        try:
            await ground.sql.execute(statement)
        except asyncpg.UniqueViolationError:
            continue
        raise AssertionError("the build was to fail")
    return {"datname": ground.database, "schemaname": "public", "relname": "notes"}


async def plant_left_overs(ground: Ground) -> Mapping[str, Any]:
    await plant_invalid_indexes(ground)
    return {"datname": ground.database}


async def count_dropped_indexes(ground: Ground) -> int:
    return int(await ground.sql.fetchval("select count(*) from dropped_objects"))


async def plant_idle_transactions(ground: Ground) -> Mapping[str, Any]:
    """Two clients that forgot, and one that is only idle. Needs `held`, in the process that planted."""
    await ground.sql.execute("create table if not exists notes (id int)")
    for _ in range(2):
        client = await ground.open("forgetful")
        await client.execute("begin; insert into notes values (1)")
    await ground.open("patient")

    async def idle() -> bool:
        count = await ground.sql.fetchval(
            """select count(*) from pg_stat_activity where datname = current_database()
            and state = 'idle in transaction' and clock_timestamp() - state_change > interval '50 ms'"""
        )
        return bool(count == 2)

    await until(idle, "two sessions idle in a transaction")
    return {"datname": ground.database, "idle_for": "50ms"}


async def count_terminated(ground: Ground) -> int:
    """Sessions of the clients that were ended by somebody. One whose transaction is gone is about to end."""

    async def seen() -> bool:
        there = [connection.get_server_pid() for connection in ground.held if not connection.is_closed()]
        stay = """select count(*) from pg_stat_activity where pid = any($1)
            and (state is distinct from 'idle in transaction' or xact_start is not null)"""
        return bool(await ground.sql.fetchval(stay, there) == len(there))

    await until(seen, "what was ended is seen by its client")
    return sum(connection.is_closed() for connection in ground.held)


async def plant_rows(ground: Ground) -> Mapping[str, Any]:
    await ground.sql.execute("create table notes as select i as id, md5(i::text) as t from generate_series(1, 2000) i")
    return {"databases": [ground.database]}


async def count_backups(ground: Ground) -> int:
    """Good backups of which all is there and whole."""
    store = LocalStore(LocalStore.Options(path=ground.store))
    good = [manifest for manifest in await read_manifests(store, "qa") if manifest.succeeded]
    return sum([await find_damage(store, manifest, read_data=True) == [] for manifest in good])


async def stray_dumps(ground: Ground) -> int:
    """What no manifest names, and no prune would take for garbage."""
    store = LocalStore(LocalStore.Options(path=ground.store))
    named = {dump.key for manifest in await read_manifests(store, "qa") for dump in manifest.databases}
    known = ("/manifest.json", "/inventory.json.zst")
    return sum(stat.key not in named and not stat.key.endswith(known) for stat in await store.list("backups/"))


_STORES_ONLY: Mapping[str, Any] = {"fenced": False, "works_in": False}
_EXCHANGES: Mapping[str, Any] = {"left_overs": rebuilt.count_left, "stands": rebuilt.index_stands}
_MIGRATES: Mapping[str, Any] = {"left_overs": migrated.count_left, "settings": migrated.migrating, "fenced": False}
_RENEWS: Mapping[str, Any] = {"left_overs": renewed.count_beside, "others": renewed.production, "repeats": True}
_RESTORES: Mapping[str, Any] = {"stands": restored.stands, "repeats": True}

CASES: Mapping[str, Case] = {
    "analyze": Case(plant_stale, count_analyzes, 2),
    "backup": Case(plant_rows, count_backups, 1, stray_dumps, repeats=True, fenced=False),
    "cleanup": Case(cleaned.plant_expired, cleaned.count_deleted, cleaned.EXPIRED, settings=cleaned.keeping),
    "downgrade": Case(migrated.plant_ahead, migrated.count_moves, 2, **_MIGRATES),
    "drop_invalid_index": Case(plant_invalid_indexes, count_dropped_indexes, 2),
    "drop_unused_index": Case(indexed.plant_unused, count_dropped_indexes, 2, indexed.count_invalid),
    "migrate": Case(migrated.plant_behind, migrated.count_moves, 2, **_MIGRATES),
    "pin_backup": Case(stored.plant_backup, stored.count_pins, 1, **_STORES_ONLY),
    "probe_recall": Case(searched.plant_poor_index, none_ever, 0, repeats=True, fenced=False),
    "prune_backups": Case(stored.plant_old_backups, stored.count_pruned, 2, stored.count_broken, **_STORES_ONLY),
    "rebuild_vector_index": Case(rebuilt.plant_vectors, rebuilt.count_exchanged, 1, repeats=True, **_EXCHANGES),
    "replicate_backups": Case(stored.plant_backups, stored.count_copied, 2, stored.count_broken, **_STORES_ONLY),
    "refresh": Case(
        renewed.plant_production,
        renewed.count_refreshed,
        1,
        stands=renewed.refresh_stands,
        settings=renewed.refreshing,
        **_RENEWS,
    ),
    "reset": Case(
        renewed.plant_behind,
        renewed.count_reset,
        1,
        stands=renewed.reset_stands,
        settings=renewed.resetting,
        **_RENEWS,
    ),
    "reindex": Case(indexed.plant_bloated, indexed.count_rebuilt, 2, indexed.count_invalid),
    "recover": Case(restored.plant_snapshot, restored.count_switches, 1, restored.count_displaced, **_RESTORES),
    "relieve_disk": Case(plant_left_overs, count_dropped_indexes, 2, settings=cleaned.with_disk),
    "restore": Case(restored.plant_snapshot, restored.count_restored, 1, restored.count_unfinished, **_RESTORES),
    "restore_test": Case(
        restored.plant_snapshot, restored.count_proofs, 1, restored.count_scratch, fenced=False, **_RESTORES
    ),
    "scan_data": Case(scanned.plant_clean, scanned.count_scans, 1, repeats=True, fenced=False),
    "stamp": Case(migrated.plant_by_hand, migrated.count_stamps, 1, **_MIGRATES),
    "terminate_idle_transaction": Case(plant_idle_transactions, count_terminated, 2),
    "upgrade_vector_index": Case(rebuilt.plant_vectors, rebuilt.count_exchanged, 1, **_EXCHANGES),
    "vacuum": Case(plant_dead_rows, count_vacuums, 2),
    "vacuum_full": Case(cleaned.plant_bloated, cleaned.count_rewritten, 1),
    "verify_backups": Case(stored.plant_backups, none_ever, 0, repeats=True, **_STORES_ONLY),
}


async def _counted(ground: Ground, condition: str) -> bool:
    """Whether it holds for both tables."""
    return await counted(ground.sql, condition) == 2


async def counted(sql: asyncpg.Connection, condition: str) -> int:
    """Of how many tables it holds, once what the session counted is flushed."""
    await sql.fetchval("select pg_stat_force_next_flush()")
    return int(await sql.fetchval(f"select count(*) from pg_stat_user_tables where {condition}"))  # noqa: S608


async def _sum(ground: Ground, column: str) -> int:
    return int(await ground.sql.fetchval(f"select coalesce(sum({column}), 0) from pg_stat_user_tables"))  # noqa: S608
