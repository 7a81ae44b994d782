"""Sessions that are lent, where their users are cancelled or the server does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from fleet.connections import Connection, Connections
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.secrets import Secrets, SecretText
from tests.integration.engines import until


class Line:
    """A proxy before the server, which can keep to itself what the server says."""

    port: int

    def __init__(self, dsn: str) -> None:
        [directory] = parse_qs(urlsplit(dsn).query)["host"]
        self._socket = f"{directory}/.s.PGSQL.5432"
        self._gates: list[asyncio.Event] = []

    def hold(self) -> None:
        """On the connections of the moment: the server still hears them, and later ones work."""
        for gate in self._gates:
            gate.clear()

    def release(self) -> None:
        for gate in self._gates:
            gate.set()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        self._gates.append(gate := asyncio.Event())
        gate.set()

        async def forth() -> None:
            with suppress(OSError), closing(back):
                while part := await reader.read(65536):
                    back.write(part)

        async def answer() -> None:
            with suppress(OSError), closing(writer):
                while part := await there.read(65536):
                    await gate.wait()
                    writer.write(part)
                await gate.wait()

        await asyncio.gather(forth(), answer())


@pytest.fixture
async def line(server: EmbeddedServer) -> AsyncIterator[Line]:
    line = Line(server.dsn())
    async with await asyncio.start_server(line.relay, "127.0.0.1", 0) as listening:
        line.port = listening.sockets[0].getsockname()[1]
        yield line
        line.release()


@pytest.fixture
async def connections(
    line: Line, server: EmbeddedServer, database: str, make_environment: Callable[..., Environment]
) -> AsyncIterator[Connections]:
    """One connection, over the line."""
    dsn = f"postgresql://{urlsplit(server.dsn()).username}@127.0.0.1:{line.port}/{database}"
    environment = make_environment(dsn=SecretText(dsn), connections=1)
    made = Connections(environment, Secrets(time.monotonic), statement_seconds=600)
    yield made
    await made.close()


@pytest.fixture
async def first(connections: Connections) -> int:
    """The process of the session that is kept, before anything happens to it."""
    async with connections.acquire() as connection:
        return connection.get_server_pid()


async def _begin(connection: Connection) -> None:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        raise AssertionError("the answer was to be held back")


async def _read(connections: Connections) -> None:
    async with connections.acquire() as connection:
        await _begin(connection)


async def _sleep(connections: Connections) -> None:
    async with connections.acquire() as connection:
        await connection.execute("select pg_sleep(60)")


def _is(sql: asyncpg.Connection, pid: int, state: str | None) -> Callable[[], Awaitable[bool]]:
    """Asks whether the session of that process is in that state; None: whether it has ended."""

    async def told() -> bool:
        return bool(await sql.fetchval("select state from pg_stat_activity where pid = $1", pid) == state)

    return told


def _holds_a_lock(sql: asyncpg.Connection, pid: int) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        query = "select count(*) from pg_locks where pid = $1 and locktype = 'advisory' and granted"
        return bool(await sql.fetchval(query, pid))

    return told


@pytest.mark.parametrize("answers", [True, False], ids=["late", "never"])
async def test_a_begin_that_is_broken_off_leaves_no_session_in_a_transaction(
    connections: Connections, first: int, line: Line, sql: asyncpg.Connection, answers: bool
) -> None:
    line.hold()
    reading = asyncio.create_task(_read(connections))
    await until(_is(sql, first, "idle in transaction"))
    reading.cancel()
    await asyncio.sleep(0)  # it is told
    if answers:
        line.release()
    await asyncio.wait({reading})
    assert reading.cancelled()
    async with connections.acquire() as connection:
        assert connection.get_server_pid() != first
        assert not connection.is_in_transaction()
        await connection.execute("select 1")
        assert not connection.is_in_transaction()
    await until(_is(sql, first, None))


async def test_a_statement_that_is_broken_off_ends_on_the_server_too(
    connections: Connections, first: int, sql: asyncpg.Connection
) -> None:
    sleeping = asyncio.create_task(_sleep(connections))
    await until(_is(sql, first, "active"))
    sleeping.cancel()
    await asyncio.wait({sleeping})
    assert sleeping.cancelled()
    await until(_is(sql, first, None))


async def test_a_lock_that_is_broken_off_is_not_kept_by_the_session(
    connections: Connections, first: int, line: Line, sql: asyncpg.Connection
) -> None:
    async def lock() -> None:
        async with connections.acquire() as connection:
            await connection.execute("select pg_advisory_lock(1)")

    line.hold()
    locking = asyncio.create_task(lock())
    await until(_holds_a_lock(sql, first))
    locking.cancel()
    await asyncio.wait({locking})
    await until(_is(sql, first, None))


async def test_a_begin_that_is_told_once_the_session_is_back_has_it_ended(
    connections: Connections, first: int, line: Line, sql: asyncpg.Connection
) -> None:
    async with connections.acquire() as connection:
        line.hold()
        beginning = asyncio.create_task(_begin(connection))
        await until(_is(sql, first, "idle in transaction"))
        beginning.cancel()
        await asyncio.wait({beginning})
    assert not connection.is_in_transaction()  # as far as anybody knows here
    line.release()
    await until(connection.is_in_transaction)
    async with connections.acquire() as another:
        assert another.get_server_pid() != first
    await until(_is(sql, first, None))


async def test_a_session_that_comes_back_in_a_transaction_is_ended(
    connections: Connections, first: int, sql: asyncpg.Connection
) -> None:
    async with connections.acquire() as connection:
        await connection.execute("begin")
    assert connection.is_closed()
    await until(_is(sql, first, None))


async def test_an_error_of_sql_keeps_the_session(connections: Connections, first: int) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        async with connections.acquire() as connection, connection.transaction():
            await connection.execute("select * from nowhere")
    async with connections.acquire() as connection:
        assert connection.get_server_pid() == first


async def test_a_session_of_another_database_that_is_dead_is_no_error_of_who_needs_the_room(
    connections: Connections, first: int, line: Line
) -> None:
    line.hold()
    async with connections.acquire("template1") as connection:
        assert await connection.fetchval("select current_database()") == "template1"
        assert connection.get_server_pid() != first
