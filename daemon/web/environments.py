"""GET /api/v1/environments: the fleet in short, and all that is known of one environment."""

from __future__ import annotations

from aiohttp import web

from daemon.views.environment import Environments, EnvironmentSummary, EnvironmentView
from daemon.views.schema_diff import ComparisonView, SchemaDiffs
from daemon.web._actions_input import Nothing, read_query
from daemon.web._actions_reply import answering
from daemon.web.access import Role
from daemon.web.routes import Register, Route, registering


def environment_routes(environments: Environments, diffs: SchemaDiffs) -> Register:
    async def everyone(request: web.Request) -> list[EnvironmentSummary]:
        read_query(request, Nothing)
        return await environments.all()

    async def one(request: web.Request) -> EnvironmentView:
        read_query(request, Nothing)
        return await environments.one(request.match_info["name"])

    async def differences(request: web.Request) -> list[ComparisonView]:
        read_query(request, Nothing)
        return await diffs.of(request.match_info["name"])

    path = "/api/v1/environments"

    return registering(
        Route(
            "GET",
            path,
            answering(everyone),
            Role.VIEWER,
            "Every environment: its tier, whether it is up, which promises are broken",
            query=Nothing,
            answer=list[EnvironmentSummary],
        ),
        Route(
            "GET",
            f"{path}/{{name}}",
            answering(one),
            Role.VIEWER,
            "All that is known of one environment",
            query=Nothing,
            answer=EnvironmentView,
        ),
        Route(
            "GET",
            f"{path}/{{name}}/schema",
            answering(differences),
            Role.VIEWER,
            "What differs from the reference environment's schema, read from both servers now",
            query=Nothing,
            answer=list[ComparisonView],
        ),
    )
