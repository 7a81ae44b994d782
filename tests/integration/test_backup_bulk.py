"""The connections by which a backup reads, where the server does not let them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from fleet.backups.bulk import Bulk
from fleet.errors import ActionError, ConnectError

_WELCOME = b"R" + struct.pack("!ii", 8, 0) + b"Z" + struct.pack("!ic", 5, b"I")  # authenticated, ready
_PLAIN = {"sslmode": "disable", "gssencmode": "disable"}


def to(port: int) -> dict[str, str]:
    return {"host": "127.0.0.1", "port": str(port), "user": "u", "dbname": "d"} | _PLAIN


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a server that ends each session as soon as there is one, as a takeover may."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        writer.write(_WELCOME)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def test_a_session_that_is_ended_at_once_is_told(port: int) -> None:
    with pytest.raises((ActionError, ConnectError), match=r"lost|closed"):
        await asyncio.to_thread(Bulk, to(port))


async def test_a_server_that_does_not_answer_holds_up_nobody_else() -> None:
    """libpq's own waiting holds the interpreter's lock, and so the event loop."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connecting = asyncio.create_task(
            asyncio.to_thread(Bulk, to(silent.getsockname()[1]) | {"connect_timeout": "2"})
        )
        turns = 0
        while not connecting.done():
            await asyncio.sleep(0.01)
            turns += 1
        with pytest.raises(ConnectError, match="timeout"):
            connecting.result()
    assert turns > 20
