"""All routes of the page."""

from __future__ import annotations

from aiohttp import web

from daemon.page import (
    actions,
    alerts,
    backups,
    configuration,
    environment,
    ledger,
    live,
    login,
    overview,
    rules,
    silences,
    static,
    stop,
)
from daemon.page.errors import error_pages
from daemon.page.frame import Frame
from daemon.page.sources import Sources
from daemon.stored import StoredBackups
from daemon.web.backups import backup_routes
from daemon.web.routes import Register, add_routes


def page_routes(sources: Sources) -> Register:
    frame, stored = Frame(sources), StoredBackups(sources.stores, sources.now)
    routes = [
        *static.routes(),
        *live.routes(sources.live),
        *login.routes(sources, frame),
        *overview.routes(sources, frame),
        *actions.routes(sources, frame),
        *stop.routes(sources, frame),
        *silences.routes(sources, frame),
        *ledger.routes(sources, frame),
        *configuration.routes(sources, frame),
        *environment.routes(sources, frame),
        *backups.routes(sources, frame, stored),
        *backup_routes(sources, stored),
        *alerts.routes(sources, frame),
        *rules.routes(sources, frame),
    ]

    def register(application: web.Application) -> None:
        add_routes(application, routes)
        application.middlewares.insert(0, error_pages(frame))
        application.on_shutdown.append(sources.live.end)

    return register
