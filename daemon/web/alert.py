"""The page of one alert, to which a page in Alertmanager links: what is known of it now, as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiohttp import web
from pydantic_core import to_json

from daemon.alertmanager import fingerprint
from daemon.web.access import Role
from daemon.web.routes import Register, Route, registering
from rules import AlertView


def alert_routes(alerts: Callable[[], Iterable[AlertView]]) -> Register:
    """The route /alerts/FINGERPRINT."""

    async def show(request: web.Request) -> web.Response:
        wanted = request.match_info["fingerprint"]
        found = next((alert for alert in alerts() if fingerprint(alert.labels) == wanted), None)
        if found is None:
            raise web.HTTPNotFound(text="This alert is neither firing nor was it resolved just now.\n")
        shown = {
            "labels": dict(found.labels),
            "annotations": dict(found.annotations),
            "state": found.state.value,
            "value": found.value,
            "active_at": found.active_at,
            "fired_at": found.fired_at,
            "resolved_at": found.resolved_at,
        }
        body = to_json(shown, indent=2, inf_nan_mode="strings", fallback=str)
        return web.Response(body=body, content_type="application/json")

    path = "/alerts/{fingerprint:[0-9a-f]{16}}"
    return registering(Route("GET", path, show, Role.VIEWER, "An alert that is firing or was resolved just now"))
