"""The stream that tells browsers what kind of thing has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from daemon.actions import RunState
from daemon.actions.ledger import Entry, Subject
from daemon.page import Live, Topic, live
from tests.integration.engines import MakeDaemon, request, until
from tests.integration.scripted import Gate, Scripted

PATIENCE = 60.0


class Stream:
    """What one browser hears."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def line(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return (await self.response.content.readline()).decode()

    async def event(self) -> str | None:
        """The topic of the next event; None once the stream has ended."""
        while line := await self.line():
            if line.startswith("event: "):
                assert await self.line() == line.replace("event", "data"), "without data, browsers drop an event"
                return line.removeprefix("event: ").strip()
        return None


@asynccontextmanager
async def serving(one: Live) -> AsyncIterator[tuple[aiohttp.ClientSession, web.AppRunner]]:
    application = web.Application()
    application.router.add_get("/live", one.follow)
    application.on_shutdown.append(one.end)
    runner = web.AppRunner(application, shutdown_timeout=60)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
            yield session, runner
    finally:
        await runner.cleanup()


@asynccontextmanager
async def following(session: aiohttp.ClientSession) -> AsyncIterator[Stream]:
    async with session.get("/live") as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        stream = Stream(response)
        assert await stream.line() == "retry: 2000\n"
        yield stream
        response.close()


async def test_all_who_follow_hear_of_it() -> None:
    one = Live()
    async with serving(one) as (session, _), following(session) as first, following(session) as second:
        for topic in (Topic.ALERTS, Topic.SILENCES):
            one.publish(topic)
            assert await first.event() == topic.value
            assert await second.event() == topic.value


async def test_what_comes_in_a_rush_is_told_once_and_the_end_of_it_is_not_lost() -> None:
    one = Live()
    async with serving(one) as (session, _), following(session) as stream:
        for _ in range(1000):
            one.publish(Topic.ALERTS)
        assert await stream.event() == "alerts"
        begun = time.monotonic()
        one.publish(Topic.ALERTS)
        one.publish(Topic.ACTIONS)
        assert [await stream.event(), await stream.event()] == ["actions", "alerts"]
        assert time.monotonic() - begun >= 0.9 * Topic.ALERTS.spacing


async def test_there_is_a_most_and_who_has_gone_makes_room() -> None:
    one = Live(clients=2)
    async with serving(one) as (session, _):
        async with following(session), following(session), session.get("/live") as refused:
            assert refused.status == 503
            assert refused.headers["Retry-After"]

        async def admitted() -> bool:
            async with session.get("/live") as response:
                return response.status == 200

        await until(admitted)


async def test_one_visitor_does_not_take_the_place_of_all() -> None:
    one = Live(clients=10, each=1)
    async with serving(one) as (session, _), following(session), session.get("/live") as refused:
        assert refused.status == 503
        elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        async with aiohttp.ClientSession(session._base_url, connector=elsewhere) as other, following(other):
            pass


async def test_a_quiet_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PING_SECONDS", 0.05)
    async with serving(Live()) as (session, _), following(session) as stream:
        assert [await stream.event(), await stream.event()] == ["ping", "ping"]


async def test_it_ends_with_the_session_of_who_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PING_SECONDS", 0.05)
    known = True

    async def still_may(_request: web.Request) -> bool:
        return known

    async with serving(Live(still_may=still_may)) as (session, _), following(session) as stream:
        assert await stream.event() == "ping"
        known = False
        while (event := await stream.event()) is not None:
            assert event == "ping"


async def test_the_server_stops_at_once_though_somebody_follows() -> None:
    async with serving(Live()) as (session, runner), following(session) as stream:
        begun = time.monotonic()
        await runner.cleanup()
        assert await stream.event() is None
        assert time.monotonic() - begun < 30  # of the 60 that it would wait


@pytest.mark.parametrize(("entry", "topic"), [(Entry.REQUESTED, "actions"), (Entry.SILENCE, "silences")])
async def test_what_another_daemon_does_is_heard_of(
    make_daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch, entry: Entry, topic: str
) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)
    daemon, one = await make_daemon(), Live()

    async def go_on() -> None:
        while True:
            await daemon.engine.means.ledger.note(entry, Subject(person="anna"))
            await asyncio.sleep(0.05)

    async with serving(one) as (session, _), following(session) as stream, asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.watch(daemon.people)), group.create_task(go_on())]
        assert await stream.event() == topic
        for task in tasks:
            task.cancel()


async def test_how_far_an_action_is_is_followed(make_daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)
    gate, one = Gate(), Live()
    daemon = await make_daemon(Scripted(second=gate))
    await daemon.until(await daemon.ask(request()), RunState.RUNNING)
    await gate.until_reached()
    async with serving(one) as (session, _), following(session) as stream, asyncio.TaskGroup() as group:
        watching = group.create_task(one.watch(daemon.people))
        assert [await stream.event(), await stream.event()] == ["actions", "actions"]
        watching.cancel()
    gate.go.set()
