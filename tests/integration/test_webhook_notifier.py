"""Webhooks out and signs of life, taken by a real server that answers as it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import formatdate

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from daemon.config import HeartbeatSettings
from daemon.heartbeat import Heartbeat
from daemon.notifiers import Message, Permanent, Retryable, Severity
from daemon.notifiers.webhook import WebhookNotifier
from daemon.webhooks import verify
from fleet.secrets import Secrets, SecretText

MESSAGE = Message("alert:città:firing:1", "alert", Severity.CRITICAL, "Città \ud800", 1_800_000_000.0, "qa")


@dataclass
class Peer:
    url: str = ""
    answers: list[web.Response] = field(default_factory=list)
    heard: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.append((request.method, request.path, dict(request.headers), await request.read()))
        return self.answers.pop(0) if self.answers else web.Response(status=204)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    found = Peer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", found.hear)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@pytest.fixture
async def notifier(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebhookNotifier]:
    monkeypatch.setenv("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setenv("HOOK_KEY", "hunter2")
    options = WebhookNotifier.Options(
        url=SecretText(f"{peer.url}/hook/${{env:HOOK_KEY}}"),
        secret=SecretText("env:HOOK_SECRET"),
        token=SecretText("env:HOOK_KEY"),
        timeout=timedelta(seconds=1),
    )
    made = WebhookNotifier(options, Secrets(time.monotonic))
    yield made
    await made.close()


async def test_a_message_is_posted_signed_with_the_same_id_each_time(peer: Peer, notifier: WebhookNotifier) -> None:
    await notifier.send(MESSAGE)
    await notifier.send(MESSAGE)
    (method, path, headers, body), (_, _, again, _) = peer.heard
    assert (method, path, headers["Authorization"]) == ("POST", "/hook/hunter2", "Bearer hunter2")
    lowered = {name.lower(): value for name, value in headers.items()}
    assert verify("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", lowered, body, time.time()) == lowered["webhook-id"]
    assert again["webhook-id"] == headers["webhook-id"]
    assert '"title": "Città ?"'.encode() in body


@pytest.mark.parametrize(
    ("status", "header", "after"),
    [
        (503, None, None),
        (429, "17", 17.0),
        (500, "soon", None),
        (429, "99999999", 3600.0),
        (401, None, None),
        (404, None, None),
    ],
)
async def test_what_may_help_later_is_tried_again(
    peer: Peer, notifier: WebhookNotifier, status: int, header: str | None, after: float | None
) -> None:
    peer.answers = [web.Response(status=status, headers={"Retry-After": header} if header else {})]
    with pytest.raises(Retryable, match=f"answers {status}") as raised:
        await notifier.send(MESSAGE)
    assert raised.value.after == after


async def test_a_date_to_come_again(peer: Peer, notifier: WebhookNotifier) -> None:
    peer.answers = [web.Response(status=503, headers={"Retry-After": formatdate(time.time() + 100, usegmt=True)})]
    with pytest.raises(Retryable) as raised:
        await notifier.send(MESSAGE)
    assert raised.value.after == pytest.approx(100, abs=5)


@pytest.mark.parametrize("status", [400, 410, 302])
async def test_what_cannot_help_is_not_and_nothing_is_sent_elsewhere(
    peer: Peer, notifier: WebhookNotifier, status: int
) -> None:
    peer.answers = [web.Response(status=status, headers={"Location": f"{peer.url}/elsewhere"})]
    with pytest.raises(Permanent):
        await notifier.send(MESSAGE)
    assert len(peer.heard) == 1


async def test_errors_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_KEY", "hunter2")
    for url, kind in (("http://127.0.0.1:9/${env:HOOK_KEY}", Retryable), ("http://[/${env:HOOK_KEY}", Permanent)):
        made = WebhookNotifier(WebhookNotifier.Options(url=SecretText(url)), Secrets(time.monotonic))
        with pytest.raises(kind) as raised:
            await made.send(MESSAGE)
        assert "hunter2" not in str(raised.value)
        await made.close()
    made = WebhookNotifier(WebhookNotifier.Options(url=SecretText("env:NOWHERE")), Secrets(time.monotonic))
    with pytest.raises(Retryable, match="NOWHERE"):
        await made.send(MESSAGE)
    await made.close()


async def test_the_daemon_says_that_it_lives_and_what_keeps_it_from_its_work(peer: Peer) -> None:
    trouble: list[str | None] = [None]
    settings = HeartbeatSettings(url=SecretText(f"{peer.url}/ping/1/"), interval=timedelta(milliseconds=50))
    heartbeat = Heartbeat(settings, Secrets(time.monotonic), lambda: trouble[0])
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(heartbeat.run())
            async with asyncio.timeout(60):
                while len(peer.heard) < 2:  # noqa: ASYNC110 - the peer tells nobody
                    await asyncio.sleep(0.01)
                trouble[0] = "no environment was read yet"
                while peer.heard[-1][0] != "POST":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                peer.answers = [web.Response(status=500), web.Response(status=500)]
                while peer.answers:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            task.cancel()
    assert [(method, path) for method, path, _, _ in peer.heard[:2]] == [("GET", "/ping/1/")] * 2
    last = next(one for one in peer.heard if one[0] == "POST")
    assert (last[1], last[3]) == ("/ping/1/fail", b"no environment was read yet")
    assert [entry["error"] for entry in logs if entry["event"] == "heartbeat_failed"] == ["it answers 500"]


async def test_without_an_address_it_says_nothing() -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(Heartbeat(HeartbeatSettings(), Secrets(time.monotonic), lambda: None).run(), 1)
