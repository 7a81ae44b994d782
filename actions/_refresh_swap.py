"""The new database into the place of the old one, which is dropped then, or kept closed; and the way back."""

from __future__ import annotations

import json
from dataclasses import dataclass

from actions._action import Figures, Job, Object, Plan
from actions._restore_names import beside
from actions._restore_place import Place, mark_of, upstairs
from actions._session import alone
from actions._switch import Renaming, copy_settings, identity, name_of, rename
from fleet.backups.catalogue import put_bytes
from fleet.data.refused import forget_refused
from fleet.data.scan.records import ScanRecord, write_record
from fleet.errors import ActionError
from fleet.stores import Store

_OPEN = """
    select format('grant connect, temporary on database %I to public', $2::text)
    from pg_catalog.pg_database where datname = $1 and datacl is null
"""


@dataclass(frozen=True, slots=True)
class Names:
    """Of the database, of the new one beside it, and of the old one from the swap on."""

    database: str
    new: str
    old: str


def names_of(job: Job, planned: Object) -> Names:
    database = planned["datname"]
    return Names(database, beside(database, f"new_{job.run_id}"), beside(database, f"old_{job.run_id}"))


async def is_swapped(job: Job, names: Names) -> bool:
    return (await identity(job, names.database))[1] == mark_of(job)


async def swap(job: Job, names: Names, old_oid: int) -> Figures:
    """Rename both in one transaction; the sessions of both are ended.

    Raises:
        ActionError: the database is another one than when this was planned, or somebody cannot be made to leave.
    """
    oid, mark = await identity(job, names.database)
    if mark != mark_of(job):
        if oid != old_oid:
            raise ActionError(f"{names.database} is another database than when this was planned", hint="ask again")
        await copy_settings(job, names.database, names.new)
        await _open_to_all(job, names)
        aside = Renaming(names.database, names.old, is_open=False)
        await rename(job, [aside, Renaming(names.new, names.database)])
    job.data.setdefault("swapped_at", job.now())
    return {"swapped_timestamp_seconds": job.data["swapped_at"]}


async def _open_to_all(job: Job, names: Names) -> None:
    """Let everybody into the new database, which was closed to them, where they may use the old one by default."""
    async with upstairs(job.changes) as connection:
        if statement := await connection.fetchval(_OPEN, names.database, names.new):
            await connection.execute(statement)


async def drop_old(job: Job, names: Names, old_oid: int) -> Figures:
    """Drop what was replaced, and nothing else."""
    async with upstairs(job.changes) as connection, alone(connection, job, "drop database"):
        if not await is_swapped(job, names) or await name_of(job, old_oid) != names.old:
            return {"dropped": 0}
        sql = await connection.fetchval("select format('drop database if exists %I with (force)', $1::text)", names.old)
        await connection.execute(sql)
    return {"dropped": 1}


async def record(job: Job, datname: str, source: str) -> None:
    """Note in the first store when data was refreshed, from where, and that nobody is in it. Raises StoreError."""
    name = job.environment.name
    said = {
        "environment": name,
        "finished_at": job.data["swapped_at"],
        "source": source,
        "run": job.run_id,
        "rows": job.data.get("rows", 0),
    }
    for store in _records(job):
        await put_bytes(store, _key(job), json.dumps(said).encode())
        await forget_refused(store, name, datname)
        if scanned_at := job.data.get("scanned_at"):
            await write_record(
                store, ScanRecord(environment=name, datname=datname, finished_at=scanned_at, sampled=False)
            )


async def take_back(job: Job, plan: Plan, old_oid: int) -> None:
    """Drop the new database, unless it serves: what was written to it since the swap would be lost.

    Raises:
        ActionError: it serves, and the old one is there, closed.
    """
    names = names_of(job, plan.objects[0])
    if not await is_swapped(job, names):
        await Place(job, names.new).drop()
    elif await name_of(job, old_oid) == names.old:
        raise ActionError(
            f"{names.database} has its new data, which may have been written to, and is not taken back",
            hint=f"its old data is kept, closed, in {names.old}: drop it once nobody needs it",
        )


def _records(job: Job) -> list[Store]:
    """The first store, where there is one."""
    return list(job.stores.values())[:1]


def _key(job: Job) -> str:
    return f"refreshes/{job.environment.name}/{job.run_id}.json"
