"""What collectors stand on: sessions that cannot write, databases that come and go, few connections."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from collectors import Session, Target
from fleet.connections import Connection, Record
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ConnectError
from fleet.secrets import SecretText

MakeEnvironment = Callable[..., Environment]
MakeTarget = Callable[..., Target]


async def test_a_session_cannot_write(make_environment: MakeEnvironment, make_target: MakeTarget) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await make_target(make_environment()).fetch("create table t (id int)")


async def test_the_server_is_known(make_environment: MakeEnvironment, make_target: MakeTarget) -> None:
    async with make_target(make_environment()).session() as session:
        assert session.server.version >= 180000
        assert session.server.in_recovery is False


async def test_every_database_that_accepts_us_is_read(
    make_environment: MakeEnvironment, make_target: MakeTarget, database: str
) -> None:
    target = make_target(make_environment(databases=None))
    names = [record["datname"] for record in await target.fetch_each("select current_database() as datname")]
    assert {database, "postgres"} <= set(names)
    assert "template1" not in names


async def test_a_database_dropped_meanwhile_is_no_failure(
    make_environment: MakeEnvironment, make_target: MakeTarget, server: EmbeddedServer
) -> None:
    admin = await asyncpg.connect(server.dsn())
    await admin.execute("create database passing_by")
    target = make_target(make_environment(databases=None))

    async def drop_and_read(session: Session) -> list[Record]:
        return await session.fetch("select current_database()")

    names = await target.databases()
    await admin.execute("drop database passing_by")
    await admin.close()
    assert "passing_by" in names
    assert await target._read("passing_by", drop_and_read) == []
    assert target.failures == {}


async def test_a_configured_database_that_is_missing_is_a_failure_and_the_others_are_read(
    make_environment: MakeEnvironment, make_target: MakeTarget, database: str
) -> None:
    target = make_target(make_environment(databases=(database, "no_such_database")))
    records = await target.fetch_each("select current_database()")
    assert [record[0] for record in records] == [database]
    assert list(target.failures) == ["no_such_database"]


async def test_a_query_past_its_deadline_loses_that_database_only(
    make_environment: MakeEnvironment, make_target: MakeTarget, database: str
) -> None:
    target = make_target(make_environment(databases=(database, "postgres")))

    async def read(session: Session) -> list[Record]:
        if session.database == database:
            await session.connection.execute("set statement_timeout = 50")
            return await session.fetch("select pg_sleep(60)")
        return await session.fetch("select 1")

    assert len(await target.each(read)) == 1
    assert isinstance(target.failures[database], asyncpg.QueryCanceledError)


async def test_an_unreachable_host_is_a_clear_error(make_environment: MakeEnvironment, make_target: MakeTarget) -> None:
    target = make_target(make_environment(dsn=SecretText("postgresql://u:hidden@127.0.0.1:1/d")))
    with pytest.raises(ConnectError, match="qa: cannot connect") as raised:
        await target.fetch("select 1")
    assert "hidden" not in str(raised.value)


async def test_connections_are_kept_and_bounded(
    make_environment: MakeEnvironment, make_target: MakeTarget, sql: asyncpg.Connection, database: str
) -> None:
    target = make_target(make_environment(databases=None, connections=2))
    for _ in range(5):
        await target.fetch_each("select 1")
    count = (
        "select count(*) from (select pg_stat_clear_snapshot()) s, pg_stat_activity where application_name = 'custode'"
    )
    for _ in range(100):  # the server takes its moment to forget a closed one
        if await sql.fetchval(count) <= 2:
            break
        await sql.execute("select pg_sleep(0.02)")
    assert 1 <= await sql.fetchval(count) <= 2


async def test_the_dsn_s_database_is_the_same_by_name(
    make_environment: MakeEnvironment, make_target: MakeTarget
) -> None:
    target = make_target(make_environment())
    async with target.session() as session:
        pid = session.connection.get_server_pid()
        name = await session.connection.fetchval("select current_database()")
    async with target.session(name) as session:
        assert session.connection.get_server_pid() == pid


async def test_a_lent_connection_is_waited_for_before_another_database_s_is_closed(
    make_environment: MakeEnvironment, make_target: MakeTarget
) -> None:
    target = make_target(make_environment(connections=2))
    async with target.session("template1") as session:
        other = session.connection
    async with asyncio.TaskGroup() as group, target.session("postgres") as session:
        first = session.connection
        second = group.create_task(_lent(target, "postgres"))
        await asyncio.sleep(0)
    assert second.result() is first
    assert not other.is_closed()
    async with target.session("postgres"):
        assert await _lent(target, "postgres") is not first  # not returned in time: room is made
    assert other.is_closed()


async def _lent(target: Target, database: str) -> Connection:
    async with target.session(database) as session:
        return session.connection


async def test_a_broken_connection_is_replaced(
    make_environment: MakeEnvironment, make_target: MakeTarget, sql: asyncpg.Connection
) -> None:
    target = make_target(make_environment())
    pid = (await target.fetch("select pg_backend_pid()"))[0][0]
    await sql.fetchval("select pg_terminate_backend($1, 5000)", pid)
    try:
        again = (await target.fetch("select pg_backend_pid()"))[0][0]
    except (asyncpg.PostgresError, asyncpg.InterfaceError):
        again = (await target.fetch("select pg_backend_pid()"))[0][0]
    assert again != pid


async def test_what_asyncpg_says_of_a_session_that_was_ended_a_moment_ago_is_that_it_is_lost(
    make_environment: MakeEnvironment, make_target: MakeTarget
) -> None:
    target = make_target(make_environment())
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        async with target.connections.acquire() as connection:
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
    assert connection.is_closed()
    assert (await target.fetch("select 1"))[0][0] == 1
