"""Real Alertmanagers, alone or as a pair that tell each other, and somebody whom they notify."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from rules import AlertView, Labels, State

PROGRAM = shutil.which("prometheus-alertmanager")
needs_alertmanager = pytest.mark.skipif(PROGRAM is None, reason="needs the Debian package prometheus-alertmanager")
CONFIGURATION = """
route:
  receiver: hook
  group_by: ['...']
  group_wait: 100ms
  group_interval: 500ms
  repeat_interval: 1h
receivers:
- name: hook
  webhook_configs:
  - url: {url}
    send_resolved: true
inhibit_rules:
- source_matchers: [alertname="ServerDown"]
  target_matchers: [severity="warning"]
  equal: [environment]
"""


@dataclass
class Hook:
    """Whom the Alertmanagers notify."""

    url: str = ""
    heard: list[dict[str, Any]] = field(default_factory=list)

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.append(await request.json())
        return web.Response()

    def told(self, status: str, name: str = "alertname") -> list[str]:
        """The alerts of a status that it was notified of, in order of their names."""
        alerts = [alert for one in self.heard for alert in one["alerts"] if alert["status"] == status]
        return sorted(alert["labels"][name] for alert in alerts)


@dataclass
class Alertmanager:
    port: int
    arguments: Sequence[str]
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        assert PROGRAM is not None
        self.process = await asyncio.create_subprocess_exec(
            PROGRAM, *self.arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            while True:
                try:
                    async with session.get(f"{self.url}/-/ready") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    async def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            await self.process.wait()
            self.process = None

    async def get(self, path: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/api/v2/{path}") as answer:
            return await answer.json()

    async def told_by_its_peer(self) -> float:
        """How often its peer has told it that somebody was notified."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as answer:
            page = await answer.text()
        (count,) = re.findall(r"^alertmanager_nflog_gossip_messages_propagated_total (\S+)", page, re.MULTILINE)
        return float(count)

    async def post(self, path: str, body: object) -> Any:
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/api/v2/{path}", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json() if answer.content_type == "application/json" else None


@asynccontextmanager
async def alertmanagers(folder: Path, count: int) -> AsyncIterator[tuple[Hook, list[Alertmanager]]]:
    """So many of them, that know each other."""
    hook = Hook()
    application = web.Application()
    application.router.add_post("/", hook.hear)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    configuration = folder / "alertmanager.yml"
    configuration.write_text(CONFIGURATION.format(url=hook.url))
    ports = free_ports(2 * count)
    there = []
    for number in range(count):
        arguments = [
            f"--config.file={configuration}",
            f"--storage.path={folder / str(number)}",
            f"--web.listen-address=127.0.0.1:{ports[2 * number]}",
            f"--cluster.listen-address={f'127.0.0.1:{ports[2 * number + 1]}' if count > 1 else ''}",
            "--cluster.settle-timeout=1s",
            "--cluster.gossip-interval=50ms",
            "--cluster.peer-timeout=2s",  # the second waits so long for the first; 15 s by default
            *(f"--cluster.peer=127.0.0.1:{ports[2 * n + 1]}" for n in range(count) if n != number),
        ]
        there.append(Alertmanager(ports[2 * number], arguments))
    try:
        await asyncio.gather(*(one.start() for one in there))
        yield hook, there
    finally:
        for one in there:
            await one.stop(signal.SIGKILL)
        await runner.cleanup()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


async def until(true: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - whoever makes it true tells nobody
            await asyncio.sleep(0.02)


def view(
    name: str,
    state: State = State.FIRING,
    *,
    at: float | None = None,
    resolved_at: float | None = None,
    labels: Mapping[str, str] | None = None,
) -> AlertView:
    """An alert that began to fire at `at` (unix seconds), by default now."""
    at = time.time() if at is None else at
    return AlertView(
        name,
        Labels({"alertname": name, "environment": "qa", **(labels or {})}),
        {"summary": f"{name} it is"},
        1.0,
        state,
        at,
        at,
        resolved_at,
        None,
    )
