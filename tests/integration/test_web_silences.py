"""The API of silences, over real sockets and on a real state database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.actions.ledger import Ledger
from daemon.actions.operators import Operators
from daemon.actions.views import LedgerFilter
from daemon.config import OperatorSettings
from daemon.exposition import Page
from daemon.silences import Silences
from daemon.state import StateDatabase
from daemon.telemetry import Telemetry
from daemon.web.identity import Identity
from daemon.web.server import WebServer
from daemon.web.silences import silence_routes
from fleet.secrets import SecretText
from tests.integration.action_site import make_access

ASK = {"labels": {"alertname": "A", "environment": "qa"}, "seconds": 7200, "comment": "città"}


class Site:
    def __init__(self, session: aiohttp.ClientSession, ledger: Ledger) -> None:
        self.session = session
        self.ledger = ledger

    async def post(self, path: str, body: object, token: str = "of-ada") -> tuple[int, Any]:  # noqa: S107 - of nobody
        headers = {"Authorization": f"Bearer {token}"}
        async with self.session.post(f"/api/v1/silences{path}", json=body, headers=headers) as answer:
            told = await answer.json()
            return answer.status, told.get("data", told.get("error"))

    async def listed(self) -> list[dict[str, Any]]:
        async with self.session.get("/api/v1/silences", headers={"Authorization": "Bearer of-ada"}) as answer:
            found: list[dict[str, Any]] = (await answer.json())["data"]
            return found


@pytest.fixture
async def site(state: StateDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setenv("ADA", "of-ada")
    monkeypatch.setenv("BOB", "of-bob")
    people = {
        "Ada": OperatorSettings(token=SecretText("env:ADA")),
        "Bob": OperatorSettings(token=SecretText("env:BOB"), environments=("qa",), actions=(), may=("request",)),
    }
    operators = Operators(people, "root")
    ledger = Ledger(state, tmp_path, time.time)
    silences = Silences(state, ledger, lambda: operators, now=time.time)

    async def reload() -> None:
        return

    routes = [silence_routes(silences, Identity())]
    server = WebServer(
        Page(Telemetry().render), not_ready=lambda: None, reload=reload, register=routes, access=make_access(operators)
    )
    await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(server.address) as session:
        yield Site(session, ledger)
    await server.stop()


async def test_made_extended_ended_and_listed(site: Site) -> None:
    status, made = await site.post("", ASK, "of-bob")
    assert (status, made["created_by"], made["comment"], made["remote"]) == (200, "Bob", "città", None)
    assert made["ends_at"] - made["starts_at"] == pytest.approx(7200)
    status, longer = await site.post(f"/{made['id']}/extend", {"seconds": 86_400})
    assert (status, longer["ends_at"] > made["ends_at"]) == (200, True)
    status, ended = await site.post(f"/{made['id']}/expire", {})
    assert (status, ended["expired_by"]) == (200, "Ada")
    assert await site.listed() == [ended]
    status, told = await site.post(f"/{made['id']}/expire", {})
    assert (status, told) == (409, f"the silence {made['id']} has ended")
    entries = await site.ledger.entries(LedgerFilter(entry="silence"))
    assert [(entry.person, entry.facts["via"]) for entry in entries] == [("Ada", "http")] * 2 + [("Bob", "http")]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({**ASK, "labels": {}}, 400),
        ({**ASK, "labels": {"alertname": ""}}, 400),
        ({**ASK, "labels": {"alertname": "a\0b"}}, 400),
        ({**ASK, "comment": "\0"}, 400),
        ({**ASK, "more": 1}, 400),
        ({**ASK, "seconds": "7200"}, 400),
        ({**ASK, "seconds": -1}, 400),
        ({**ASK, "seconds": 1}, 409),
        ({**ASK, "seconds": 1e12}, 409),
    ],
)
async def test_nonsense_is_refused(site: Site, body: object, status: int) -> None:
    answered, _ = await site.post("", body)
    assert answered == status
    assert await site.listed() == []


async def test_who_is_not_known_or_may_not_is_refused(site: Site) -> None:
    assert (await site.post("", ASK, "wrong"))[0] == 401
    assert (await site.post("", {**ASK, "labels": {"environment": "production"}}, "of-bob"))[0] == 403
    assert (await site.post("", {**ASK, "labels": {"alertname": "A"}}, "of-bob"))[0] == 403
    for path in ("/0123/expire", "/..%2f..%2fx/expire", "/x'y/extend"):
        status, _ = await site.post(path, {"seconds": 3600} if path.endswith("extend") else {})
        assert status == 404, path
    assert await site.listed() == []
