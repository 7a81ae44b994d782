"""What stands around the daemon in `notify`: a real Prometheus and Alertmanager, and when they were told what."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web

from tests.integration.alertmanagers import Alertmanager, free_ports
from tests.slack_fake import FakeSlack

PROMETHEUS = shutil.which("prometheus")


class TimedSlack(FakeSlack):
    """Hands on the text of each message that comes to a channel, as it comes."""

    heard: Callable[[str], None]

    def _chat_postMessage(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - Slack's name
        self.heard(given.get("text", ""))
        return super()._chat_postMessage(given)

    def _chat_update(self, given: dict[str, Any]) -> dict[str, Any]:
        self.heard(given.get("text", ""))
        return super()._chat_update(given)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was told of one alert since now."""

    peers: Peers
    alert: str
    since: float

    async def page(self, status: str) -> float:
        """When Alertmanager had accepted it."""
        return await self._first(self.peers.pages, status)

    async def received(self) -> float:
        """When Alertmanager told its receiver that it fires."""
        return await self._first(self.peers.told, "firing")

    async def message(self) -> float:
        """When a message that names it had come to Slack."""
        return await self._first(self.peers.messages, "firing")

    async def _first(self, events: list[tuple[str, str, float]], status: str) -> float:
        while True:
            for alert, told, at in events:
                if (alert, told) == (self.alert, status) and at > self.since:
                    return at
            self.peers.changed.clear()
            await self.peers.changed.wait()


@dataclass
class Peers:
    """`pages_url` is where the daemon sends pages: it hands them on to Alertmanager, and notes when that took them."""

    folder: Path
    pages_url: str = ""
    pages: list[tuple[str, str, float]] = field(default_factory=list)
    told: list[tuple[str, str, float]] = field(default_factory=list)
    messages: list[tuple[str, str, float]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _said: asyncio.Event = field(default_factory=asyncio.Event)
    _alertmanager: Alertmanager | None = None
    _prometheus: asyncio.subprocess.Process | None = None

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path, slack: TimedSlack) -> AsyncIterator[Self]:
        folder.mkdir()
        peers = cls(folder)
        application = web.Application(client_max_size=2**24)
        application.router.add_post("/hook", peers._hear)
        application.router.add_route("*", "/{path:.*}", peers._hand_on)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        peers.pages_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        slack.heard = peers._read
        try:
            await peers._page()
            yield peers
        finally:
            if peers._prometheus is not None:
                peers._prometheus.terminate()
                await peers._prometheus.wait()
            if peers._alertmanager is not None:
                await peers._alertmanager.stop()
            await runner.cleanup()

    def seen(self, alert: str) -> Seen:
        return Seen(self, alert, time.perf_counter())

    async def watch(self, target: str, rule: str, name: str) -> None:
        """Let a Prometheus at its defaults scrape the daemon at `target`, and evaluate the rule."""
        assert PROMETHEUS is not None, "needs the Debian package prometheus"
        alert = {"alert": name, "expr": rule, "labels": {"severity": "critical"}}
        (self.folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "bench", "rules": [alert]}]}))
        there = self.pages_url.removeprefix("http://")
        configuration = {
            "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [there]}]}]},
            "scrape_configs": [{"job_name": "custode", "static_configs": [{"targets": [target]}]}],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        (port,) = free_ports(1)
        self._prometheus = await asyncio.create_subprocess_exec(
            PROMETHEUS,
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def _page(self) -> None:
        """An Alertmanager whose waits are its defaults."""
        receiver = {"name": "people", "webhook_configs": [{"url": f"{self.pages_url}/hook"}]}
        route = {"receiver": "people", "group_by": ["alertname", "environment"], "group_wait": "30s"}
        (self.folder / "am.yml").write_text(yaml.safe_dump({"route": route, "receivers": [receiver]}))
        (port,) = free_ports(1)
        self._alertmanager = Alertmanager(
            port,
            [
                f"--config.file={self.folder / 'am.yml'}",
                f"--storage.path={self.folder / 'am'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
        )
        await self._alertmanager.start()

    async def _hand_on(self, request: web.Request) -> web.Response:
        assert self._alertmanager is not None
        body = await request.read()
        headers = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        url = f"{self._alertmanager.url}{request.rel_url}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, url, data=body or None, headers=headers) as answer,
        ):
            told = await answer.read()
        if request.method == "POST" and request.path == "/api/v2/alerts" and answer.status == 200:
            self._note(self.pages, await request.json())
        return web.Response(status=answer.status, body=told, content_type=answer.content_type)

    async def _hear(self, request: web.Request) -> web.Response:
        self._note(self.told, (await request.json())["alerts"])
        return web.Response()

    def _note(self, events: list[tuple[str, str, float]], alerts: list[dict[str, Any]]) -> None:
        at, now = time.perf_counter(), time.time()
        for alert in alerts:
            ended = alert.get("status", "") == "resolved" or _ended(alert, now)
            events.append((alert["labels"]["alertname"], "resolved" if ended else "firing", at))
        self.changed.set()

    async def until_quiet(self, seconds: float) -> None:
        """Until Slack was told nothing for so long: what is told at the start waits in line, a message a second."""
        with suppress(TimeoutError):
            while True:
                self._said.clear()
                await asyncio.wait_for(self._said.wait(), seconds)

    def _read(self, text: str) -> None:
        """Note what a message to Slack says of an alert."""
        self._said.set()
        words = (word.strip("*`.,:") for word in text.split())
        name = next((word for word in words if word.startswith("Bench")), None)
        if name is not None:
            state = "resolved" if "resolved" in text else "firing"
            self.messages.append((name, state, time.perf_counter()))
            self.changed.set()


def _ended(alert: dict[str, Any], now: float) -> bool:
    ends = alert.get("endsAt", "")
    return bool(ends) and not ends.startswith("0001") and datetime.fromisoformat(ends).timestamp() <= now
