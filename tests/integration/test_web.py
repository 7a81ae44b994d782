"""The HTTP server, spoken to over a real socket."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from collectors import Family, gauge
from daemon.exposition import Page
from daemon.telemetry import Telemetry
from daemon.web._metrics import metrics_handler
from daemon.web.server import WebServer
from fleet.errors import ConfigError, DaemonError

FAMILY = Family(("n",), (gauge("served", "Served."),))
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


class Daemon:
    """What the server asks of the rest of the daemon."""

    def __init__(self) -> None:
        self.page = Page(Telemetry().render)
        self.reason: str | None = "not tried yet: qa (tables)"
        self.error: Exception | None = None
        self.reloads = 0

    def not_ready(self) -> str | None:
        return self.reason

    async def reload(self) -> None:
        self.reloads += 1
        if self.error:
            raise self.error


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
async def url(daemon: Daemon) -> AsyncIterator[str]:
    def register(application: web.Application) -> None:
        async def status(_request: web.Request) -> web.Response:
            return web.json_response({"green": True})

        application.router.add_get("/api/v1/status", status)

    server = WebServer(
        daemon.page,
        not_ready=daemon.not_ready,
        reload=daemon.reload,
        register=[register],
    )
    await server.start("127.0.0.1", 0)
    yield server.address
    await server.stop()


@pytest.fixture
async def client(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(url, auto_decompress=False) as session:
        yield session


async def land(page: Page, count: int) -> None:
    await page.land({"environment": "qa", "tier": "qa"}, "x", [FAMILY.rows([(n, n / 7) for n in range(count)])])


@pytest.mark.parametrize(
    ("accept", "content_type", "last"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", b"custode_event_loop_lag_seconds 0.0\n"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8", b"# EOF\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_metrics_in_the_format_asked_for(  # noqa: PLR0917 - two matrices and two fixtures
    daemon: Daemon, client: aiohttp.ClientSession, accept: str, content_type: str, last: bytes, encoding: str
) -> None:
    await land(daemon.page, 3000)
    async with client.get("/metrics", headers={"Accept": accept, "Accept-Encoding": encoding}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == content_type
        assert response.headers["Vary"] == "Accept, Accept-Encoding"
        body = await response.read()
    assert response.headers.get("Content-Encoding") == ("gzip" if encoding == "gzip" else None)
    text = gzip.decompress(body) if encoding == "gzip" else body
    assert text.count(b"custode_served{") == 3000
    assert b'custode_build_info{version="' in text
    assert b"_created" not in text
    assert text.endswith(last)


async def test_head_gives_headers_only(client: aiohttp.ClientSession) -> None:
    for _ in range(2):  # the connection stays usable
        async with client.head("/metrics") as response:
            assert response.status == 200
            assert int(response.headers["Content-Length"]) > 500
            assert await response.read() == b""


async def test_healthy_at_once_and_ready_with_a_reason(daemon: Daemon, client: aiohttp.ClientSession) -> None:
    async with client.get("/-/healthy") as response:
        assert response.status == 200
    async with client.get("/-/ready") as response:
        assert response.status == 503
        assert "qa (tables)" in await response.text()
    daemon.reason = None
    async with client.get("/-/ready") as response:
        assert response.status == 200


async def test_reload_tells_all_problems(daemon: Daemon, client: aiohttp.ClientSession) -> None:
    async with client.post("/-/reload") as response:
        assert response.status == 200
    daemon.error = ConfigError("line 1: bad\nline 7: worse", hint="try custode check")
    async with client.post("/-/reload") as response:
        assert response.status == 400
        assert await response.text() == "line 1: bad\nline 7: worse\ntry custode check\n"
    daemon.error = DaemonError("stopping")
    async with client.post("/-/reload") as response:
        assert response.status == 500
        assert await response.text() == "stopping\n"
    async with client.get("/-/reload") as response:
        assert response.status == 405
    assert daemon.reloads == 3


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "{url}"}, True),
    ],
)
async def test_a_page_of_another_site_cannot_reload(
    daemon: Daemon, client: aiohttp.ClientSession, url: str, headers: dict[str, str], allowed: bool
) -> None:
    filled = {name: value.format(url=url) for name, value in headers.items()}
    async with client.post("/-/reload", headers=filled) as response:
        assert response.status == (200 if allowed else 403)
    assert daemon.reloads == allowed


async def test_every_answer_is_careful_with_browsers(client: aiohttp.ClientSession) -> None:
    for path in ("/metrics", "/-/ready", "/api/v1/status", "/nowhere"):
        async with client.get(path) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff", path
            assert response.headers["X-Frame-Options"] == "DENY", path
            assert "default-src 'none'" in response.headers["Content-Security-Policy"], path
            assert "Server" not in response.headers, path


async def test_readers_that_do_not_read_keep_nobody_waiting(
    daemon: Daemon, client: aiohttp.ClientSession, url: str
) -> None:
    await land(daemon.page, 100_000)
    host, port = url.removeprefix("http://").split(":")
    idle = [await asyncio.open_connection(host, int(port), limit=1024) for _ in range(5)]
    for _, writer in idle:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()
    async with asyncio.timeout(60), client.get("/metrics", headers={"Accept-Encoding": "identity"}) as response:
        assert (await response.read()).count(b"custode_served{") == 100_000
    for _, writer in idle:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_reader_that_takes_too_long_is_dropped(daemon: Daemon) -> None:
    await land(daemon.page, 200_000)
    serve = metrics_handler(daemon.page, send_seconds=0.2)
    served = asyncio.Event()

    async def metrics(request: web.Request) -> web.StreamResponse:
        response = await serve(request)
        served.set()
        return response

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2], limit=1024)
    with capture_logs() as logs:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            await served.wait()
            received = await reader.read()
    assert [(entry["event"], entry["seconds"]) for entry in logs] == [("metrics_reader_too_slow", 0.2)]
    assert 0 < len(received) < len(daemon.page.render(openmetrics=False, gzip=False))
    writer.close()
    await writer.wait_closed()
    await runner.cleanup()


async def test_the_lag_of_the_event_loop_is_shown() -> None:
    telemetry = Telemetry()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(telemetry.watch_event_loop(time.monotonic, every=0.02))
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 - blocking the loop is what is tested
        await asyncio.sleep(0.01)
        watching.cancel()
    shown = dict(
        line.split(" ") for line in telemetry.render(openmetrics=False).decode().splitlines() if line[0] != "#"
    )
    assert 0.1 < float(shown["custode_event_loop_lag_seconds"]) < 5


async def test_a_taken_port_is_told(daemon: Daemon, url: str) -> None:
    server = WebServer(daemon.page, not_ready=daemon.not_ready, reload=daemon.reload)
    with pytest.raises(DaemonError, match=r"cannot listen on 127\.0\.0\.1") as caught:
        await server.start("127.0.0.1", int(url.rpartition(":")[2]))
    assert "another Custode" in str(caught.value.hint)


async def test_an_ipv6_address_is_a_url(daemon: Daemon) -> None:
    server = WebServer(daemon.page, not_ready=daemon.not_ready, reload=daemon.reload)
    try:
        await server.start("::1", 0)
    except DaemonError:
        pytest.skip("this machine has no IPv6 loopback")
    async with aiohttp.ClientSession() as session, session.get(f"{server.address}/-/healthy") as response:
        assert response.status == 200
    await server.stop()


async def test_what_is_no_http_leaves_no_trace(url: str, caplog: pytest.LogCaptureFixture) -> None:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX\x00: y\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    assert caplog.records == []
