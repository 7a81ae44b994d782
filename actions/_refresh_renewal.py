"""A new database beside the old one: filled, checked, swapped. What refreshing and resetting have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import asyncpg
import structlog
from pydantic import Field

from actions._action import Figures, Job, Object, Plan, Step, Target, Verdict
from actions._left_overs import drop_left_overs
from actions._refresh_copy import QUOTING, without_rows
from actions._refresh_definitions import forget_definitions, noted_definitions
from actions._refresh_guard import forbid_production
from actions._refresh_load import load
from actions._refresh_revision import TIMEOUT, bring_to
from actions._refresh_rights import take_over_rights
from actions._refresh_scan import scan_new
from actions._refresh_source import people_of_backup
from actions._refresh_swap import drop_old, is_swapped, names_of, record, swap
from actions._restore_indexes import Build, analyze, build_keys, build_vectors
from actions._restore_load import Wanted
from actions._restore_place import Place
from actions._restore_vectors import unused_vector_indexes
from actions._switch import identity
from fleet.backups import DatabaseSnapshot
from fleet.backups.facts import read_facts
from fleet.backups.manifest import Blob
from fleet.data.scan import People
from fleet.errors import ActionError, StoreError
from fleet.policy import DataPolicy, Strict

log = structlog.get_logger()

COPY_STEPS = ("load", "keys", "vectors", "migrate", "finish", "check", "scan", "swap", "clean")
EMPTY_STEPS = ("create", "migrate", "finish", "check", "swap", "clean")
# what must not run on the database that is replaced
CONFLICTS = frozenset(
    {
        *("refresh", "reset", "restore", "recover", "backup", "migrate", "downgrade", "stamp", "vacuum", "analyze"),
        *("reindex", "rebuild_vector_index", "upgrade_vector_index", "drop_unused_index", "drop_invalid_index"),
        *("scan_data", "cleanup"),
    }
)
_INVALID = """
    select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_index x
        join pg_catalog.pg_class c on c.oid = x.indexrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where not x.indisvalid and n.nspname !~ '^pg_' order by 1
"""
_NOTHING = Blob(key="", size_bytes=0, plain_bytes=0)


class RenewalParameters(Strict):
    datname: str | None = Field(None, description="the database; null: the only one of the environment")
    source: str | None = Field(None, description="where the data comes from; null: the only production environment")
    source_datname: str | None = Field(None, description="its database there; null: the only one")
    keep_old: bool = Field(False, description="keep the old database beside, closed, until somebody drops it")
    jobs: int = Field(2, ge=1, le=32, description="tables copied, or indexes built, at once")
    maintenance_mb: int | None = Field(None, ge=64, description="memory for index builds in all; null: by the server")

    @property
    def target(self) -> Target:
        return Target(self.datname or "", None if self.datname is None else frozenset({self.datname}))


class Renewal:
    """One run, or what another process has left of it; each step begins by asking whether the target is production."""

    def __init__(self, job: Job, parameters: RenewalParameters, plan: Plan) -> None:
        (self._planned,) = plan.objects
        self._job, self._plan = job, plan
        self._names = names_of(job, self._planned)
        self._place = Place(job, self._names.new)
        self._workers = max(1, min(parameters.jobs, job.environment.connections - 1))
        self._people: People | None = None  # of a backup, never kept on record: read again by another process
        self._build = Build(Wanted(workers=self._workers), parameters.maintenance_mb)

    def steps(self) -> Sequence[Step]:
        return [Step(name, partial(self._run, name), timeout=TIMEOUT) for name in self._plan.steps]

    async def verify(self) -> Verdict:
        oid, _ = await identity(self._job, self._names.database)
        data = self._job.data
        figures: dict[str, float | str] = {"database_oid": oid, "rows": data.get("rows", 0)}
        if not await is_swapped(self._job, self._names):
            return Verdict(False, f"{self._names.database} has its old data", figures)
        async with self._job.connections.acquire(self._names.database) as connection:
            problems = await _problems(connection)
        if problems:
            return Verdict(False, f"{self._names.database} is new, but {'; '.join(problems)}", figures)
        figures["seconds_to_swap"] = data.get("swapped_at", self._job.now()) - self._job.started_at
        came = (
            f"{figures['rows']} rows came from {self._planned['source']}" if self._planned["source"] else "it is empty"
        )
        proof = "; no personal data was found in it" if data.get("scanned_at") else ""
        note = f"; this is not on record: {data['not_on_record']}" if data.get("not_on_record") else ""
        return Verdict(True, f"{self._names.database} is new: {came}{proof}{note}", figures)

    async def _run(self, name: str) -> Figures:
        await forbid_production(self._job, self._names.database)
        if digest(self._job.environment.policy.data) != self._planned["policy"]:
            raise ActionError("the data policy has changed since this was planned", hint="ask again")
        works: dict[str, Callable[[], Awaitable[Figures]]] = {
            "load": self._load,
            "create": self._create,
            "keys": self._keys,
            "vectors": self._vectors,
            "migrate": partial(bring_to, self._place, self._planned["revision"]),
            "finish": self._finish,
            "check": self._check,
            "scan": self._scan,
            "swap": partial(swap, self._job, self._names, self._old_oid),
            "clean": self._clean,
        }
        return await works[name]()

    @property
    def _old_oid(self) -> int:
        return int(self._plan.figures["database_oid"])

    async def _load(self) -> Figures:
        await drop_left_overs(self._job)
        people = People()
        figures = await load(self._place, await self._own(), self._planned, self._workers, people)
        self._people = people
        return figures

    async def _create(self) -> Figures:
        """Empty, with the extensions of the old one: they may need more than what migrates it may do."""
        await drop_left_overs(self._job)
        own = await self._own()
        await self._place.create(own, closed=True)
        await self._place.forget_progress()
        return {"extensions": await self._add_extensions(own)}

    async def _add_extensions(self, own: DatabaseSnapshot) -> int:
        """Those that the old database has and the new one does not; how many."""
        async with self._job.changes.acquire(self._names.new) as connection:
            there = {row[0] for row in await connection.fetch("select extname::text from pg_catalog.pg_extension")}
            for extension in (missing := sorted(own.extensions.keys() - there)):
                sql = "select format('create extension if not exists %I', $1::text)"
                await connection.execute(await connection.fetchval(sql, extension))
        return len(missing)

    async def _keys(self) -> Figures:
        async with noted_definitions(self._place, await self._own()) as source:
            return await build_keys(self._place, source, self._build)

    async def _vectors(self) -> Figures:
        async with noted_definitions(self._place, await self._own()) as source:
            return await build_vectors(self._place, source, self._build, concurrently=False)

    async def _finish(self) -> Figures:
        """Extensions, rights, test data once, statistics."""
        own = await self._own()
        await self._add_extensions(own)
        rights = await take_over_rights(self._place, self._names.database, own.owner)
        data = self._job.environment.policy.data.test_data
        async with self._place.session() as connection, connection.transaction():
            await connection.execute("create schema if not exists custode_finished")
            await connection.execute(
                "create table if not exists custode_finished.test_data (statement int primary key)"
            )
            for number, statement in enumerate(data):
                done = "insert into custode_finished.test_data values ($1) on conflict do nothing returning true"
                if await connection.fetchval(done, number):
                    await _run_test_data(connection, statement)
        await analyze(self._place)
        return {**rights, "test_statements": len(data)}

    async def _check(self) -> Figures:
        """What was only for us goes; then all must be ready to be used."""
        await forget_definitions(self._place)
        async with self._job.changes.acquire(self._names.new) as connection:
            await connection.execute("drop schema if exists custode_finished cascade")
        async with self._job.connections.acquire(self._names.new) as connection:
            problems = await _problems(connection)
        if problems:
            raise ActionError(f"the new database is not ready: {'; '.join(problems)}")
        return {"problems": 0}

    async def _scan(self) -> Figures:
        if self._people is None:
            self._people = await people_of_backup(self._job, self._planned)
        return await scan_new(self._place, self._planned, self._people)

    async def _clean(self) -> Figures:
        if self._planned["source"] is not None:
            await self._record(self._planned["source"])
        if self._planned["keep_old"]:
            return {"dropped": 0}
        return await drop_old(self._job, self._names, self._old_oid)

    async def _record(self, source: str) -> None:
        """What is done is done: where the store takes no note of it, that is told."""
        try:
            await record(self._job, self._names.database, source)
        except StoreError as error:
            log.warning("refresh_not_on_record", database=self._names.database, error=error.message)
            self._job.data["not_on_record"] = error.message

    async def _own(self) -> DatabaseSnapshot:
        """What the new database takes over from the old one: owner, encoding, locale."""
        async with self._job.connections.acquire(self._names.database) as connection:
            facts = await read_facts(connection, self._job.environment)
        return DatabaseSnapshot(
            name=self._names.database,
            owner=facts.owner,
            encoding=facts.encoding,
            collate=facts.collate,
            ctype=facts.ctype,
            extensions=facts.extensions,
            revisions=facts.revisions,
            fingerprint="",
            roles=(),
            identity="",
            xid=0,
            pre_data=_NOTHING,
            data=_NOTHING,
            post_data=_NOTHING,
            tables=(),
            copies=(),
        )


def digest(policy: DataPolicy) -> str:
    """Of what is decided on data: an approval is bound to it. The key is not in it, only where it is kept."""
    written = {name: each.written() for name, each in policy.columns.items()}
    told = [written, policy.email_domain, policy.test_data, repr(policy.mask_key)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def commands(planned: Object) -> tuple[str, ...]:
    """What is done to databases, in words of the server."""
    name = planned["datname"]
    return (
        f"CREATE DATABASE {name}_new_RUN",
        f"ALTER DATABASE {name} RENAME TO {name}_old_RUN",
        f"ALTER DATABASE {name}_new_RUN RENAME TO {name}",
        *(() if planned["keep_old"] else (f"DROP DATABASE {name}_old_RUN",)),
    )


async def _problems(connection: asyncpg.Connection) -> list[str]:
    invalid = [f"the index {row[0]} is invalid" for row in await connection.fetch(_INVALID)]
    return invalid + await unused_vector_indexes(connection)


async def _run_test_data(connection: asyncpg.Connection, statement: str) -> None:
    try:
        await connection.execute(statement)
    except QUOTING as error:
        raise ActionError(f"test_data is not taken: {without_rows(error)}") from None
    except asyncpg.SyntaxOrAccessError as error:
        raise ActionError(f"test_data is not taken: {error.args[0]}", hint="see policy.data.test_data") from None
