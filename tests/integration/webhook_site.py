"""The doors for events, before an engine of the test's choice."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from daemon.actions.operators import Operators
from daemon.actions.port import ActionsPort
from daemon.config import AccessSettings, OperatorSettings
from daemon.exposition import Page
from daemon.telemetry import Telemetry
from daemon.web.access.access import Access
from daemon.web.access.policy import AccessPolicy
from daemon.web.identity import Identity
from daemon.web.server import WebServer
from daemon.web.webhooks import webhook_routes
from daemon.webhooks import signed
from fleet.secrets import Secrets
from tests.integration.action_site import make_access

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
    session: aiohttp.ClientSession
    url: str
    counted: Counter[tuple[str, str]]
    access: Access

    async def alerts(self, *alerts: object, version: str = "4", **options: Any) -> tuple[int, Any]:
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


@asynccontextmanager
async def webhook_site(
    port: ActionsPort,
    people: Mapping[str, OperatorSettings],
    parameters: Callable[[str], Collection[str] | None],
    **access: Any,
) -> AsyncIterator[Site]:
    """`access` as the configuration has it."""
    secrets, operators = Secrets(time.monotonic), Operators(people, "root")
    counted: Counter[tuple[str, str]] = Counter()
    guard = make_access(operators, AccessPolicy(AccessSettings(**access)))
    routes = webhook_routes(
        port,
        Identity(),
        guard,
        lambda: operators,
        secrets,
        parameters=parameters,
        address=lambda: "http://custode.example",
        now=time.time,
        count=lambda kind, result: counted.update([(kind, result)]),
    )

    async def reload() -> None:
        return

    page = Page(Telemetry().render)
    server = WebServer(page, not_ready=lambda: None, reload=reload, register=[routes], access=guard)
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            yield Site(session, server.address, counted, guard)
    finally:
        await server.stop()
