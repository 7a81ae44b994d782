"""Keys, indexes, triggers and policies of a restored database: in parallel where they can be, vector indexes last."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import asyncpg
import structlog

from actions._action import Figures
from actions._restore_load import Wanted
from actions._restore_memory import MEMORY_TROUBLE, Budget, budget, needed, ways
from actions._restore_place import Place, note, note_sql
from actions._restore_psql import feed, fit, known_settings
from actions._restore_source import Source
from actions._together import together
from fleet.backups.post_data import Entry, Phase, Script, SplitError, by_phase, parse
from fleet.backups.reader import read_text
from fleet.connections import Connection
from fleet.errors import ActionError

log = structlog.get_logger()

# slowest first: nobody waits for the last one alone
_WEIGHTS = {"CONSTRAINT": 3}
_SLOW = (" USING gin ", " USING gist ", " USING spgist ")
# an index may be of a view that stands further down
_NOT_YET = (asyncpg.UndefinedTableError, asyncpg.UndefinedObjectError, asyncpg.UndefinedFunctionError)
_INDEX_STATE = """
    select x.indisvalid or c.relkind = 'I' from pg_catalog.pg_index x
        join pg_catalog.pg_class c on c.oid = x.indexrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2
"""


@dataclass(frozen=True, slots=True)
class Build:
    """How indexes are built: `megabytes` of memory in all (None: by the machine)."""

    wanted: Wanted
    megabytes: int | None = None


async def build_keys(place: Place, source: Source, build: Build) -> Figures:
    """All but the vector indexes. What an earlier attempt did is not done again.

    Raises:
        ActionError, asyncpg.PostgresError: an entry fails. A foreign key that lacks rows does not where only some
            tables were wanted: it is left out.
    """
    done = await place.done()
    if done is None:
        return {}
    script = await read_script(place, source)
    most = await budget(place, build.megabytes)
    if script is None:
        if "post_data" not in done:
            log.warning("restore_in_one_piece", database=place.database)
            await feed(place, _whole(source), settings=_variables(most))
        skipped: list[str] = []
    else:
        runner = _Runner(place, script, most, build.wanted, done)
        skipped = await runner.run_all()
    await place.make_durable()
    await place.forget_progress()
    return {"skipped_foreign_keys": ", ".join(skipped)} if skipped else {}


async def analyze(place: Place, *, target: int | None = None) -> None:
    """Make the planner's statistics, of indexed expressions too; from 300 rows a table for each unit of `target`.

    Expressions are computed for every row of the sample: full text makes it slow. A small target is for the time until
    all indexes are there, as in the stages of vacuumdb --analyze-in-stages.
    """
    async with place.session() as connection:
        if target is not None:
            await connection.execute(f"set default_statistics_target = {target:d}")
        await connection.execute("analyze")


async def build_vectors(place: Place, source: Source, build: Build, *, concurrently: bool) -> Figures:
    """The vector indexes that are not there, one at a time with all the memory; `concurrently` with others' writes."""
    script = await read_script(place, source)
    entries = vector_entries(script)
    most = await budget(place, build.megabytes)
    for number, entry in enumerate(entries):
        place.job.progress(number / len(entries), f"building {entry.name}")
        await _build_vector(place, script, entry, most, concurrently=concurrently)
    return {"vector_indexes": len(entries)}


def vector_entries(script: Script | None) -> list[Entry]:
    return [] if script is None else by_phase(script.entries)[Phase.VECTOR_INDEX]


async def read_script(place: Place, source: Source) -> Script | None:
    """The entries of post-data; None where it is not known where one ends: then it is run as a whole."""
    text = b"".join([part async for part in read_text(source.pool, source.snapshot.post_data)])
    if b"SET client_encoding = 'UTF8';" not in text:
        return None
    known = await known_settings(place)
    try:
        return parse(fit(text, known).decode())
    except (SplitError, UnicodeDecodeError) as error:
        log.warning("post_data_not_split", database=place.database, problem=str(error))
        return None


class _Runner:
    def __init__(self, place: Place, script: Script, most: Budget, wanted: Wanted, done: frozenset[str]) -> None:
        self._place, self._script, self._most, self._wanted = place, script, most, wanted
        self._left = [entry for entry in script.entries if entry.key not in done]
        self._total = len(script.entries)
        self._postponed: list[Entry] = []
        self._skipped: list[str] = []

    async def run_all(self) -> list[str]:
        """Returns the foreign keys that were left out, for the rows that they need were not asked for."""
        phases = by_phase(self._left)
        await self._side_by_side(phases[Phase.INDEX])
        late = [entry for entry in self._left if entry in self._postponed]
        for entries in (phases[Phase.ATTACH], phases[Phase.FOREIGN_KEY]):
            late += [entry for entry in entries if not await self._run(entry, may_wait=True)]
        rest = [entry for entry in self._left if entry in late or entry in phases[Phase.REST]]  # as in the file
        for entry in rest:
            await self._run(entry, may_wait=False)
        return self._skipped

    async def _side_by_side(self, entries: Sequence[Entry]) -> None:
        queue = sorted(entries, key=_weight)

        async def work() -> None:
            while queue:
                entry = queue.pop()
                if not await self._run(entry, may_wait=True):
                    self._postponed.append(entry)

        await together(*(work() for _ in range(self._wanted.workers)))

    async def _run(self, entry: Entry, *, may_wait: bool) -> bool:
        """Whether it was run; False where it needs what comes later."""
        self._place.job.progress(1 - len(self._left) / max(1, self._total), entry.label)
        share = self._most.shared(self._wanted.workers)
        try:
            await build_entry(self._place, self._script, entry, share)
        except _NOT_YET:
            if not may_wait:
                raise
            return False
        except asyncpg.ForeignKeyViolationError:
            if self._wanted.tables is None:
                raise
            self._skipped.append(entry.name)
        return True


async def build_entry(place: Place, script: Script, entry: Entry, most: Budget) -> None:
    """Run an entry and note it, in one transaction; with less memory or fewer workers where there is too little."""
    last: Exception | None = None
    for settings in ways(most):
        try:
            async with place.session() as connection:
                await _prepare(connection, script, entry, settings)
                async with connection.transaction():
                    await connection.execute(entry.sql)
                    await note(connection, entry.key)
        except MEMORY_TROUBLE as error:
            log.warning("build_needs_other_memory", entry=entry.key, error=str(error))
            last = error
        else:
            return
    raise ActionError(f"{entry.label}: {last}") from last


async def _build_vector(place: Place, script: Script | None, entry: Entry, most: Budget, *, concurrently: bool) -> None:
    if script is None:
        return
    sql = (entry.concurrently() if concurrently else None) or entry.sql
    last: Exception | None = None
    tries = list(ways(most))
    while tries:
        settings = tries.pop(0)
        try:
            async with place.session() as connection:
                if entry.kind == "INDEX" and await _is_built(connection, entry):
                    return
                await _prepare(connection, script, entry, settings)
                await connection.execute(sql)
        except MEMORY_TROUBLE as error:
            log.warning("build_needs_other_memory", entry=entry.key, error=str(error))
            more = needed(error)
            if more is not None and (last is None or str(last) != str(error)):
                tries.insert(0, more.settings)
            last = error
        else:
            return
    raise ActionError(f"{entry.label}: {last}", hint="give it more memory: maintenance_mb") from last


async def _is_built(connection: Connection, entry: Entry) -> bool:
    """Whether it is there; what a failed concurrent build left is taken away."""
    valid = await connection.fetchval(_INDEX_STATE, entry.schema, entry.name)
    if valid is False:
        drop = await connection.fetchval(
            "select format('drop index %I.%I', $1::text, $2::text)", entry.schema, entry.name
        )
        await connection.execute(drop)
    return valid is True


async def _prepare(connection: Connection, script: Script, entry: Entry, settings: Sequence[str]) -> None:
    await connection.execute(script.preamble)
    await connection.execute(";".join([*entry.settings, *settings, "set synchronous_commit = off"]).replace(";;", ";"))


def _weight(entry: Entry) -> int:
    if any(method in entry.sql for method in _SLOW):
        return 2
    return _WEIGHTS.get(entry.kind, 1)


def _variables(most: Budget) -> dict[str, str]:
    return {
        "maintenance_work_mem": f"{most.megabytes}MB",
        "max_parallel_maintenance_workers": str(most.workers),
        "synchronous_commit": "off",
        "statement_timeout": "0",
        "lock_timeout": "0",
    }


async def _whole(source: Source) -> AsyncGenerator[bytes, None]:
    async for part in read_text(source.pool, source.snapshot.post_data):
        yield part
    yield note_sql("post_data")
