"""/ledger: what was asked, allowed, refused and done, with filters; all of it as JSON lines."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import structlog
from aiohttp import web
from pydantic import Field
from pydantic_core import to_json

from daemon.actions.ledger import Entry
from daemon.actions.views import LedgerFilter
from daemon.page.forms import Name, filters, validated
from daemon.page.frame import Frame
from daemon.page.notes import query_of
from daemon.page.sentences import sentence
from daemon.page.sources import Sources
from daemon.web._actions_input import Input
from daemon.web.access import Role
from daemon.web.routes import Route
from fleet.durations import Duration
from fleet.errors import CustodeError

log = structlog.get_logger()

_PAGE = 100
_CHUNK = 1000


class Filters(Input):
    """`since` is how long ago; `before` the id of an entry."""

    run: Name | None = None
    environment: Name | None = None
    action: Name | None = None
    person: Name | None = None
    entry: Name | None = None
    since: Duration | None = None
    before: Annotated[int, Field(ge=1, lt=2**63)] | None = None


def routes(sources: Sources, frame: Frame) -> list[Route]:
    frame.filters["sentence"] = sentence

    async def wanted(asked: Filters) -> LedgerFilter:
        run = asked.run if asked.run is None else (await sources.port.run(asked.run)).run.id
        since = None if asked.since is None else max(0.0, sources.now() - asked.since.total_seconds())
        return LedgerFilter(
            run, asked.environment, asked.action, asked.person, asked.entry, since, asked.before, _PAGE + 1
        )

    async def show(request: web.Request) -> web.Response:
        said = filters(request)
        asked = validated(Filters, said)
        filter_ = await wanted(asked)
        entries = await sources.port.entries(filter_)
        whole = {name: value for name, value in said.items() if name != "before"}
        api = whole | ({"since": f"{filter_.since:.0f}"} if filter_.since is not None else {})
        return await frame.page(
            request,
            "ledger.html",
            asked=asked,
            since=said.get("since", ""),
            filtered=bool(said),
            entries=entries[:_PAGE],
            older=query_of(whole, before=entries[_PAGE - 1].id) if len(entries) > _PAGE else None,
            newest=query_of(whole),
            api=query_of(api | ({"run": filter_.run_id} if filter_.run_id else {})),
            kinds=[kind.value for kind in Entry],
            environments=list(sources.settings().environments),
            actions=list(sources.actions),
        )

    async def download(request: web.Request) -> web.StreamResponse:
        filter_ = replace(await wanted(validated(Filters, filters(request))), limit=_CHUNK)
        entries = await sources.port.entries(filter_)
        response = web.StreamResponse(headers={"Content-Disposition": 'attachment; filename="ledger.jsonl"'})
        response.content_type = "application/x-ndjson"
        await response.prepare(request)
        try:
            while entries:
                lines = (to_json(asdict(entry), inf_nan_mode="strings", fallback=str) for entry in entries)
                await response.write(b"\n".join(lines) + b"\n")
                if len(entries) < _CHUNK:
                    break
                entries = await sources.port.entries(replace(filter_, before=entries[-1].id))
        except CustodeError as error:  # it has begun: only an end in the middle says that it is not all
            log.warning("ledger_download_broken_off", error=error.message)
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response

    return [
        Route("GET", "/ledger", show, Role.VIEWER, "What was asked, allowed, refused and done", query=Filters),
        Route("GET", "/ledger/download", download, Role.VIEWER, "The same as JSON lines", query=Filters),
    ]
