"""Names of what is restored: the new database, the tables that are wanted."""

from __future__ import annotations

from collections.abc import Sequence

from actions._action import Job
from actions._restore_place import marks, upstairs
from actions._restore_source import Source
from fleet.backups.data_text import TableName
from fleet.errors import ActionError

_LONGEST = 63  # bytes of a name in PostgreSQL


def beside(name: str, suffix: str) -> str:
    """A name for a database beside `name`, shortened to what PostgreSQL takes."""
    room = _LONGEST - len(suffix.encode()) - 1
    return f"{name.encode()[:room].decode(errors='ignore')}_{suffix}"


async def new_name(job: Job, source: Source, into: str | None) -> str:
    """What was asked for, or a free one that tells of when the snapshot is.

    Raises:
        ActionError: a database of the name that was asked for exists.
    """
    async with upstairs(job.connections) as connection:
        if into is not None:
            if into in await marks(connection, into):
                raise ActionError(
                    f"there is a database {into!r} already: nothing is restored over it", hint="name another one (into)"
                )
            return into
        for number in range(1, 100):
            last = "" if number == 1 else f"_{number}"
            name = beside(source.snapshot.name, f"restored_{source.stamp}{last}")
            if name not in await marks(connection, name):
                return name
    raise ActionError(f"there are 99 restored copies of {source.snapshot.name} already", hint="drop some of them")


def chosen_tables(source: Source, tables: Sequence[str] | None) -> list[TableName] | None:
    """Schema and name of each; None is all. Raises ActionError where the snapshot has no such table."""
    if tables is None:
        return None
    known = {(table.schema_name, table.name) for table in source.snapshot.tables}
    found = []
    for wanted in tables:
        same = [one for one in known if wanted in (one[1], ".".join(one))]
        exact = [one for one in same if one in {("public", wanted), tuple(wanted.split("."))}]
        if len(exact or same) != 1:
            what = f"several tables {wanted!r}: name the schema" if same else f"no table {wanted!r}"
            raise ActionError(f"{source.manifest.id} has {what}", hint="as schema.name")
        found += exact or same
    return sorted(set(found))
