"""How many are connected, and for how long somebody may be who asks for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from daemon.web import server
from daemon.web.access.access import Access
from daemon.web.control_socket import socket_path
from tests.access_site import Site, access_of, made, settings_with

PATIENCE = 60.0
HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return access_of(settings_with(tmp_path, {}))


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def healthy(self) -> bool:
        """Whether this one is served; False: it was turned away."""
        try:
            self.writer.write(HEALTHY)
            return await self.rest_of(1) == b"H"
        except ConnectionError:
            return False

    async def rest_of(self, size: int = -1) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read(size)


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[Client]:
    host, _, port = site.server.address.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def at_socket(folder: Path) -> AsyncIterator[Client]:
    with socket_path(folder) as path:
        reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /-/healthy HTTP/1.1\r\nHost: ", HEALTHY, HEALTHY + HEALTHY[:9]])
async def test_who_asks_for_nothing_is_let_go(access: Access, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    async with made(access) as site, connected(site) as client:
        client.writer.write(sent)
        assert (await client.rest_of()).count(b"healthy.") == sent.count(HEALTHY)


async def test_connections_are_bounded(access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those over the control socket apart from the others."""
    counted: list[str] = []
    access.count = counted.append
    monkeypatch.setattr(server, "most_connections", lambda _wanted=0: 2)
    async with made(access, control=tmp_path) as site:
        async with AsyncExitStack() as stack:
            for opened in (connected(site), connected(site), at_socket(tmp_path), at_socket(tmp_path)):
                assert await (await stack.enter_async_context(opened)).healthy()
            for opened in (connected(site), at_socket(tmp_path)):
                assert not await (await stack.enter_async_context(opened)).healthy()
            assert counted == ["connections"] * 2
        async with asyncio.timeout(PATIENCE):
            while True:  # whoever has gone makes room
                async with connected(site) as client, at_socket(tmp_path) as local:
                    if await client.healthy() and await local.healthy():
                        break


async def test_of_one_address_are_so_many(tmp_path: Path) -> None:
    """But of a proxy that is trusted, and of this machine."""
    access = access_of(settings_with(tmp_path, {"trusted_proxies": ["192.0.2.0/24"]}))
    hosts = ("127.0.0.1", "::ffff:127.0.0.1", "192.0.2.7", "203.0.113.7", "2001:db8::7")
    assert [access.place_of(host) for host in hosts] == [None, None, None, "203.0.113.7", "2001:db8::/64"]


async def test_strangers_are_told_no_names_of_what_is_not_ready(tmp_path: Path) -> None:
    closed = access_of(settings_with(tmp_path, {"tokens": {"t": {"token": "env:T"}}}))
    async with made(closed, control=tmp_path) as site:
        site.server._not_ready, site.server._waiting = lambda: "not tried yet: qa (tables)", lambda: 3
        async with site.session.get("/-/ready") as answer:
            assert answer.status == 503
            assert await answer.text() == "Custode is not ready: environments that were not looked at yet: 3\n"
        with socket_path(tmp_path) as path:
            connector = aiohttp.UnixConnector(path)
            async with (
                aiohttp.ClientSession("http://custode", connector=connector) as local,
                local.get("/-/ready") as answer,
            ):
                assert "qa (tables)" in await answer.text()
