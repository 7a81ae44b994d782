"""Events in, over real sockets: a real Alertmanager's webhook, forged, replayed and huge ones, our own alerts."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daemon.actions.operators import Operators
from daemon.actions.request import Source
from daemon.config import OperatorSettings
from daemon.exposition import Page
from daemon.telemetry import Telemetry
from daemon.web import WebServer
from daemon.web.identity import Identity
from daemon.web.webhooks import MAX_BODY, MOST_ALERTS, webhook_routes
from daemon.webhooks import signed
from fleet.secrets import Secrets, SecretText
from tests.integration.action_site import MemoryActions
from tests.integration.alertmanagers import alertmanagers, needs_alertmanager, until

FIRING: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "TableGrew", "environment": "qa", "action": "analyze", "relname": "docs"},
    "annotations": {"summary": "it grew"},
    "startsAt": "2026-11-24T15:24:43.752Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus.example/graph",
    "fingerprint": "568f406be8c75513",
}
BEARER = {"Authorization": "Bearer of-am"}


@dataclass
class Site:
    port: MemoryActions
    session: aiohttp.ClientSession
    url: str
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def alerts(self, *alerts: Mapping[str, Any], version: str = "4", **options: Any) -> tuple[int, Any]:
        body = {"receiver": "custode", "status": "firing", "version": version, "alerts": list(alerts), "groupKey": "{}"}
        return await self.post("alertmanager", json.dumps(body).encode(), **{"headers": BEARER, **options})

    async def signed(self, body: object, name: str = "ci", **headers: str) -> tuple[int, Any]:
        written = json.dumps(body).encode()
        proof = signed("of-ci", "m1", time.time(), written)
        return await self.post(f"from/{name}", written, headers={**proof, **headers})

    async def post(self, path: str, body: bytes | io.BytesIO, **options: Any) -> tuple[int, Any]:
        async with self.session.post(f"{self.url}/api/v1/webhooks/{path}", data=body, **options) as answer:
            told = await answer.json()
            return answer.status, told.get("data", told.get("error"))

    @property
    def runs(self) -> list[Any]:
        return [detail.run for detail in self.port.details.values()]


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setenv("AM_TOKEN", "of-am")
    monkeypatch.setenv("CI_SECRET", "of-ci")
    secrets, port = Secrets(time.monotonic), MemoryActions(frozen=True)
    operators = Operators(
        {
            "am": OperatorSettings(token=SecretText("env:AM_TOKEN"), environments=("qa",), actions=("analyze",)),
            "ci": OperatorSettings(webhook_secret=SecretText("env:CI_SECRET")),
            "Ada": OperatorSettings(),
        },
        "root",
    )
    counted: Counter[tuple[str, str]] = Counter()
    routes = webhook_routes(
        port,
        Identity(lambda: operators, secrets),
        lambda: operators,
        secrets,
        parameters=lambda action: {"relname"} if action in {"analyze", "vacuum"} else None,
        address=lambda: "http://custode.example",
        now=time.time,
        count=lambda kind, result: counted.update([(kind, result)]),
    )
    page = Page(Telemetry().render)

    async def reload() -> None:
        return

    server = WebServer(page, not_ready=lambda: None, reload=reload, register=[routes])
    await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as session:
        yield Site(port, session, server.address, counted)
    await server.stop()


async def test_an_alert_that_names_an_action_asks_for_it_once(site: Site) -> None:
    assert await site.alerts(FIRING, FIRING) == (200, {"asked": 1, "known": 1})
    assert await site.alerts(FIRING) == (200, {"known": 1})
    (run,) = site.runs
    assert (run.environment, run.action, run.parameters, run.reason) == (
        "qa",
        "analyze",
        {"relname": "docs"},
        "it grew",
    )
    assert (run.source, run.requested_by, run.alert) == (Source.ALERT, "alert TableGrew of am", None)
    later = {**FIRING, "startsAt": "2026-11-24T16:00:00Z"}
    assert await site.alerts(later) == (200, {"asked": 1})
    assert site.counted == {("alertmanager", "asked"): 2, ("alertmanager", "known"): 2}


@pytest.mark.parametrize(
    ("changed", "result"),
    [
        ({"status": "resolved"}, "resolved"),
        ({"annotations": {"sent_by": "custode"}}, "ours"),
        ({"generatorURL": "http://custode.example/alerts/0123456789abcdef"}, "ours"),
        ({"labels": {**FIRING["labels"], "action": "drop_everything"}}, "no_action"),
        ({"labels": {"alertname": "A", "action": "analyze"}}, "no_action"),
        ({"labels": {**FIRING["labels"], "environment": "production"}}, "refused"),
        ({"labels": {**FIRING["labels"], "action": "vacuum"}}, "refused"),
    ],
)
async def test_what_asks_for_nothing_is_taken_and_nothing_happens(
    site: Site, changed: Mapping[str, Any], result: str
) -> None:
    assert await site.alerts({**FIRING, **changed}) == (200, {result: 1})
    assert site.runs == []


async def test_who_sends_must_be_known(site: Site) -> None:
    for headers in ({}, {"Authorization": "Bearer of-ci"}, {"Authorization": "Basic b2YtYW0="}):
        status, _ = await site.alerts(FIRING, headers=headers)
        assert status == 401
    assert site.runs == []


async def test_what_is_no_webhook_of_alertmanager_is_refused(site: Site) -> None:
    assert await site.alerts(FIRING, version="5") == (400, "only version 4 of Alertmanager's webhook is known, not '5'")
    for body in (b"", b"[]", b"\xff", b'{"version": "4"}', b'{"version": "4", "alerts": [1]}'):
        status, told = await site.post("alertmanager", body, headers=BEARER)
        assert (status, told.startswith("this is no webhook of Alertmanager")) == (400, True), body
    status, told = await site.post("alertmanager", io.BytesIO(b" " * (MAX_BODY + 1)), headers=BEARER)
    assert (status, told) == (400, f"the body is too large: more than {MAX_BODY} bytes")
    assert site.runs == []


async def test_of_very_many_alerts_the_first_count(site: Site) -> None:
    several = [{**FIRING, "fingerprint": f"{number:016x}"} for number in range(MOST_ALERTS + 5)]
    assert await site.alerts(*several) == (200, {"asked": MOST_ALERTS, "too_many": 5})


async def test_while_the_state_database_is_away_it_is_to_come_again(site: Site) -> None:
    site.port.away = True
    status, _ = await site.alerts(FIRING)
    assert status == 503
    site.port.away = False
    assert await site.alerts(FIRING) == (200, {"asked": 1})


ASK = {"action": "analyze", "environment": "qa", "parameters": {"relname": "docs"}, "reason": "import done"}


async def test_a_signed_webhook_asks_as_its_operator_and_again_it_is_the_same(site: Site) -> None:
    status, made = await site.signed(ASK)
    assert (status, made["new"]) == (200, True)
    status, again = await site.signed(ASK)
    assert (status, again["new"], again["run"]["id"]) == (200, False, made["run"]["id"])
    (run,) = site.runs
    assert (run.requested_by, run.source, run.reason) == ("ci", Source.PERSON, "import done")


async def test_who_did_not_sign_is_refused_and_learns_nothing(site: Site) -> None:
    told = set()
    for name in ("Ada", "nobody", "am"):
        status, said = await site.signed(ASK, name)
        told.add((status, said))
        forged = signed("nobody", "m1", time.time(), json.dumps(ASK).encode())
        told.add(await site.post(f"from/{name}", json.dumps(ASK).encode(), headers=forged))
    told.add(await site.signed(ASK, **{"webhook-id": "m2"}))
    assert told == {(401, "webhook-signature is wrong")}
    old = signed("of-ci", "m1", time.time() - 400, json.dumps(ASK).encode())
    status, said = await site.post("from/ci", json.dumps(ASK).encode(), headers=old)
    assert (status, said) == (401, "webhook-timestamp is more than 5 minutes away from now")
    assert site.runs == []


async def test_a_signed_webhook_that_says_nonsense_is_refused(site: Site) -> None:
    for body in ({"action": "analyze"}, {**ASK, "more": 1}, {**ASK, "environment": "\0"}, [1]):
        status, _ = await site.signed(body)
        assert status == 400, body
    assert site.runs == []


@needs_alertmanager
async def test_a_real_alertmanager_is_understood(site: Site, tmp_path: Path) -> None:
    async with alertmanagers(tmp_path, 1) as (hook, (one,)):
        await one.post("alerts", [{"labels": FIRING["labels"], "annotations": {"summary": "it grew"}}])
        await until(lambda: hook.heard)
    status, result = await site.post("alertmanager", json.dumps(hook.heard[0]).encode(), headers=BEARER)
    assert (status, result) == (200, {"asked": 1})
    assert site.runs[0].parameters == {"relname": "docs"}
