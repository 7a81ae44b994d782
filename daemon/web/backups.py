"""The API of backups: how each environment can be recovered, and what is stored of one."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from daemon.page.sources import Sources
from daemon.stored import StoredBackups
from daemon.views.backups import Backups, backups_of
from daemon.views.environment import Environments
from daemon.views.recovery import Recovery, look
from daemon.web._actions_input import Nothing, read_query
from daemon.web._actions_reply import Answers, answering
from daemon.web.access import Role
from daemon.web.routes import Route


def backup_routes(sources: Sources, stored: StoredBackups) -> list[Route]:
    """The routes /api/v1/backups."""
    environments = Environments(sources)

    async def recoveries(request: web.Request) -> object:
        read_query(request, Nothing)
        first = next(iter(sources.stores()), None)
        return await look(sources.settings().environments, first, sources.queries, sources.port)

    async def backups(request: web.Request) -> object:
        """The same as `custode backups list --json`."""
        read_query(request, Nothing)
        return backups_of(await stored.of(environments.known(request.match_info["environment"])))

    def reads(path: str, answers: Answers, summary: str, answer: Any) -> Route:
        return Route("GET", path, answering(answers), Role.VIEWER, summary, query=Nothing, answer=answer)

    path = "/api/v1/backups"
    return [
        reads(path, recoveries, "How far back and how fast each environment can be recovered", list[Recovery]),
        reads(f"{path}/{{environment}}", backups, "What every store holds of an environment, and why", Backups),
    ]
