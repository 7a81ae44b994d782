"""Putting a new index in the place of an old one, dropping the old one, and taking it back.

Both are renamed in one transaction, so that the name never is without an index; a rename stops neither reads nor
writes. Until the old index begins to be dropped it can take its place again; from then on only forward leads out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from actions._action import Figures, Job, Object
from actions._vector_build import Standing, at_work, drop, kept_name, new_name, old_name, standing
from fleet.connections import Connection
from fleet.errors import ActionError

_UNDO_PATIENCE = timedelta(seconds=200)
_RENAME = """
    select format('alter index %1$I.%2$I rename to %3$I; alter index %1$I.%4$I rename to %2$I;
        comment on index %1$I.%2$I is %5$L; comment on index %1$I.%3$I is %6$L',
        $1::text, $2::text, $3::text, $4::text, $5::text, $6::text)
"""
_BACK = "select format('alter index %I.%I rename to %I', $1::text, $2::text, $3::text)"


def place_of_old(job: Job, *, keep: bool) -> str:
    """What the old index is called once the new one has its name."""
    return kept_name(job) if keep else old_name(job)


async def swap(job: Job, planned: Object, *, keep: bool) -> Figures:
    """Give the new index the name of the old one. Raises ActionError where either is not as it was."""
    async with at_work(job, planned) as connection:
        old, new = await _both(job, connection, planned)
        if new is None:
            raise ActionError("the new index was dropped, or its table")
        name = planned["indexrelname"]
        if new.name == name:
            return {"skipped": "done by an earlier attempt"}
        if old is None or old.name != name:
            raise ActionError(f"{name} was renamed, dropped or made anew since the plan", hint="ask for a new plan")
        aside = place_of_old(job, keep=keep)
        remark = f"taken over by {name}, kept by run {job.run_id}" if keep else None
        await _exchange(connection, planned, aside, new.name, remark)
    return {"renamed": name, "old": aside}


async def drop_old(job: Job, planned: Object, patience: timedelta) -> Figures:
    """Drop the old index; what an earlier attempt dropped is done.

    Raises:
        ActionError: the new one is not in its place, or the old one not where it was put; others did not let it end.
    """
    async with at_work(job, planned) as connection:
        old, new = await _both(job, connection, planned)
        if old is None:
            return {"skipped": "done by an earlier attempt"}
        if new is None or not new.valid or new.name != planned["indexrelname"] or old.name != old_name(job):
            raise ActionError(
                f"{planned['indexrelname']} was dropped or renamed since it was put in place", hint="ask for a new plan"
            )
        await drop(job, connection, planned, old.name, patience)
    return {"dropped": planned["indexrelname"], "definition": planned["definition"], "bytes": old.bytes}


async def take_back(job: Job, planned: Object) -> None:
    """The old index has its name again and the new one is gone; or all is done, once the old one is half dropped."""
    name = planned["indexrelname"]
    async with at_work(job, planned) as connection:
        old, new = await _both(job, connection, planned)
        in_place = new is not None and new.name == name
        if old is not None and not old.valid and in_place:
            await drop(job, connection, planned, old.name, _UNDO_PATIENCE)
        elif old is not None and in_place:
            await _exchange(connection, planned, new_name(job), old.name)
        elif old is not None and old.name == old_name(job) and name not in await standing(connection, planned):
            await _format(connection, _BACK, planned["schemaname"], old.name, name)
        await drop(job, connection, planned, new_name(job), _UNDO_PATIENCE)


async def _exchange(connection: Connection, planned: Object, aside: str, other: str, remark: str | None = None) -> None:
    """In one transaction: who has the name is called `aside`, with `remark` as a comment, and `other` has the name."""
    names = (planned["schemaname"], planned["indexrelname"], aside, other)
    await _format(connection, _RENAME, *names, planned["comment"], remark)


async def _format(connection: Connection, query: str, *values: str | None) -> None:
    """Run the statement that the server makes of names and values."""
    await connection.execute(await connection.fetchval(query, *values))


async def _both(job: Job, connection: Connection, planned: Object) -> tuple[Standing | None, Standing | None]:
    """The old index by its object id, the new one by its own, or by its name where that is all that is known of it."""
    found: Mapping[str, Standing] = await standing(connection, planned)
    by_oid = {one.oid: one for one in found.values()}
    new = by_oid.get(job.data["new_oid"]) if "new_oid" in job.data else found.get(new_name(job))
    return by_oid.get(planned["oid"]), new
