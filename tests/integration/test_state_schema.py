"""The migrated schema: what the models say, nothing more, and a ledger that nobody can change."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, insert
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import SchemaItem

from daemon.state import Revision, StateDatabase, raw
from daemon.state.models import SCHEMA, Base, LedgerEntry
from fleet.embedded import EmbeddedServer
from fleet.errors import StateError, StateRefusedError
from fleet.secrets import Secrets, SecretText

WRITTEN = {"uid": "a", "at": 1_800_000_000.0, "entry": "requested", "facts": {"città": "Forlì"}}


def at(server: EmbeddedServer, database: str, scratch: Path) -> StateDatabase:
    return StateDatabase(SecretText(server.dsn(database)), scratch, Secrets(time.monotonic))


def differences(connection: Connection) -> list[object]:
    def ours(thing: SchemaItem, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        del thing
        return not (kind == "table" and str(name).startswith(("pgqueuer", "alembic_version")))

    options = {
        "include_schemas": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
        "include_object": ours,
        "compare_server_default": True,
    }
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


async def test_the_migrated_schema_is_that_of_the_models(state_url: SecretText) -> None:
    # with a search_path of its own, under which the schema has its name
    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda **_: asyncpg.connect(state_url.raw)
    )
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        await connection.exec_driver_sql(f"alter table {SCHEMA}.silence drop column comment")
        assert len(await connection.run_sync(differences)) == 1
        await connection.rollback()


async def test_nothing_lands_outside_the_schema(state: StateDatabase) -> None:
    async with state.begin() as connection:
        places = await (await raw(connection)).fetch(
            "select distinct relnamespace::regnamespace::text from pg_class"
            " where oid >= 16384 and relkind in ('r', 'S')"
        )
    assert [row[0] for row in places] == [SCHEMA]


@pytest.mark.parametrize(
    "change", ["update ledger set entry = 'x'", "delete from ledger where id < 0", "truncate ledger"]
)
async def test_the_ledger_only_grows(state: StateDatabase, change: str) -> None:
    async with state.begin() as connection:
        await connection.execute(insert(LedgerEntry).values(**WRITTEN))
    with pytest.raises(StateRefusedError, match="ledger is append-only"):
        async with state.begin() as connection:
            await (await raw(connection)).execute(change)
    async with state.begin() as connection:
        (row,) = await (await raw(connection)).fetch("select uid, at, facts::text from ledger")
    assert (row["uid"], row["at"].timestamp(), row["facts"]) == ("a", WRITTEN["at"], '{"città": "Forlì"}')


async def test_an_empty_database_is_migrated_once_however_many_start(
    server: EmbeddedServer, database: str, scratch: Path
) -> None:
    states = [at(server, database, scratch) for _ in range(3)]
    assert await states[0].revision() == Revision(None)
    assert states[0].away is not None
    await asyncio.gather(*(state.open() for state in states))
    assert [state.away for state in states] == [None] * 3
    assert (await states[1].revision()).up_to_date
    for state in states:
        await state.close()


async def test_a_newer_schema_is_refused(
    server: EmbeddedServer, state_url: SecretText, sql: asyncpg.Connection
) -> None:
    state = StateDatabase(state_url, Path("/nowhere"), Secrets(time.monotonic))
    await state.open()
    async with state.begin() as connection:
        await (await raw(connection)).execute("update alembic_version set version_num = '9999'")
    with pytest.raises(StateError, match="revision 9999, newer than this Custode knows") as refused:
        await state.open()
    assert refused.value.hint is not None
    assert "upgrade Custode" in refused.value.hint
    assert (await state.revision()).newer
    await state.close()


async def test_a_role_that_may_not_create_is_refused_and_one_with_a_schema_of_its_own_is_not(
    server: EmbeddedServer, database: str, sql: asyncpg.Connection, scratch: Path
) -> None:
    role = f"r_{database}"
    await sql.execute(f"create role {role} login")
    state = StateDatabase(SecretText(server.dsn(database, role)), scratch, Secrets(time.monotonic))
    try:
        with pytest.raises(StateError, match="permission denied for database") as refused:
            await state.open()
        assert refused.value.code == "CU610"
        await sql.execute(f"create schema {SCHEMA} authorization {role}")
        await state.open()
        assert state.away is None
    finally:
        await state.close()
        await sql.execute(f"drop owned by {role} cascade; drop role {role}")
