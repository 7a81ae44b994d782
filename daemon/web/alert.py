"""GET /api/v1/alerts/FINGERPRINT: one alert, as Alertmanager's pages and the page of the alert name it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from aiohttp import web

from daemon.views.alerts import Shown, UnknownAlertError, shown_alerts
from daemon.web._actions_input import Nothing, read_query
from daemon.web._actions_reply import answering
from daemon.web.access import Role
from daemon.web.routes import Register, Route, registering
from rules import GroupView

FINGERPRINT = "{fingerprint:[0-9a-f]{16}}"


def alert_routes(groups: Callable[[], Iterable[GroupView]]) -> Register:
    async def show(request: web.Request) -> object:
        read_query(request, Nothing)
        wanted = request.match_info["fingerprint"]
        for alert in shown_alerts(await asyncio.to_thread(groups)):
            if alert.fingerprint == wanted:
                return alert
        raise UnknownAlertError("this alert is neither pending nor firing, nor was it resolved just now")

    summary = "An alert that is pending or firing, or was resolved just now"
    path = f"/api/v1/alerts/{FINGERPRINT}"
    return registering(Route("GET", path, answering(show), Role.VIEWER, summary, query=Nothing, answer=Shown))
