"""Prometheus's HTTP API over samples and rules: what Grafana's data source and `promtool query` ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from importlib.metadata import version
from typing import Protocol

from aiohttp import web

from collectors import Metric
from daemon.queries import BadQueryError, Queries
from daemon.web._prometheus_form import FIRST, LAST, BadParameterError, Form, label_name
from daemon.web._prometheus_json import Reply, answer_reply, list_reply
from daemon.web._prometheus_parameters import PARAMETERS
from daemon.web._prometheus_reply import Failures, send
from daemon.web._prometheus_rules import alerts_data, rules_data
from daemon.web.access import Role
from daemon.web.routes import Register, Route, registering
from rules import AlertView, GroupView
from rules.files.names import is_label_name
from rules.promql.query import MOST_STEPS

_POSTED = frozenset({"query", "query_range", "series", "labels", "format_query", "query_exemplars"})
_SUMMARIES = {
    "query": "An expression at one moment, as Prometheus answers",
    "query_range": "An expression over a range of time, as Prometheus answers",
    "series": "The series that selectors find",
    "labels": "The names of labels",
    "label/{name}/values": "The values of a label",
    "format_query": "An expression, written well",
    "query_exemplars": "Exemplars, of which there are none",
    "rules": "Rules and their alerts, as Prometheus tells them",
    "alerts": "Alerts that are pending or firing, as Prometheus tells them",
    "metadata": "Help and type of metrics",
    "status/buildinfo": "Which Prometheus this speaks like",
}
_SPOKEN = {2: "2.42.0", 3: "3.0.0"}  # the version by which clients tell what they can ask
_TOO_FINE = (
    "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
)


class Views(Protocol):
    """What is known of the rules now."""

    def groups(self) -> list[GroupView]: ...

    def alerts(self) -> list[AlertView]: ...


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Reads = Callable[[web.Request, Form, float], Awaitable[Reply]]  # samples, until a time on the timer of the queries
Shows = Callable[[Form], Awaitable[Reply]]


def prometheus_routes(queries: Queries, views: Views, *, metadata: Callable[[], Iterable[Metric]] = tuple) -> Register:
    """The routes under /api/v1. `metadata` gives the metrics whose help and type are known."""
    api = _Api(queries, views, metadata)
    reads: dict[str, Reads] = {
        "query": api.query,
        "query_range": api.query_range,
        "series": api.series,
        "labels": api.labels,
        "label/{name}/values": api.label_values,
    }
    shows: dict[str, Shows] = {
        "format_query": api.format_query,
        "query_exemplars": api.query_exemplars,
        "rules": api.rules,
        "alerts": api.alerts,
        "metadata": api.metadata,
        "status/buildinfo": api.build_info,
    }
    handlers = {path: api.reading(read) for path, read in reads.items()}
    handlers |= {path: api.showing(show) for path, show in shows.items()}

    def route(method: str, path: str) -> Route:
        asked = PARAMETERS[path]
        return Route(
            method, f"/api/v1/{path}", handlers[path], Role.VIEWER, _SUMMARIES[path], query=asked, forgeable=False
        )

    return registering(
        *(route("GET", path) for path in handlers), *(route("POST", path) for path in handlers if path in _POSTED)
    )


class _Api:
    def __init__(self, queries: Queries, views: Views, metadata: Callable[[], Iterable[Metric]]) -> None:
        self._queries = queries
        self._views = views
        self._metadata = metadata

    def reading(self, read: Reads) -> Handler:
        """A handler that waits for its turn to read samples, and holds it until the answer is sent."""

        async def handler(request: web.Request) -> web.StreamResponse:
            async with AsyncExitStack() as held:
                with Failures(request) as failures:
                    form = await Form.read(request)
                    turn = self._queries.turn(form.duration("timeout", default=LAST))
                    reply = await read(request, form, await held.enter_async_context(turn))
                return failures.response or await send(request, reply)

        return handler

    @staticmethod
    def showing(show: Shows) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            with Failures(request) as failures:
                reply = await show(await Form.read(request))
            return failures.response or await send(request, reply)

        return handler

    async def query(self, _request: web.Request, form: Form, until: float) -> Reply:
        limit = form.limit()
        at = form.time("time", self._queries.now())
        _refuse_lookback(form)
        with _naming("query"):
            answer = await self._queries.instant(form.text("query"), at, until)
        return answer_reply(answer, at, limit)

    async def query_range(self, request: web.Request, form: Form, until: float) -> Reply:
        limit = form.limit()
        start, end = form.required_time("start"), form.required_time("end")
        if end < start:
            raise BadParameterError.of("end", "end timestamp must not be before start time")
        step = form.duration("step")
        if step <= 0:
            raise BadParameterError.of(
                "step", "zero or negative query resolution step widths are not accepted. Try a positive integer"
            )
        if (end - start) / step > MOST_STEPS:
            raise BadParameterError(_TOO_FINE)
        _refuse_lookback(form)
        with _naming("query"):
            answer = await self._queries.range(
                form.text("query"),
                start,
                end,
                step,
                until,
                wanted=lambda: request.transport is not None,
            )
        return answer_reply(answer, end, limit)

    async def series(self, _request: web.Request, form: Form, until: float) -> Reply:
        limit, start, end = _span(form)
        selectors = form.texts("match[]")
        if not selectors:
            raise BadParameterError("no match[] parameter provided")
        with _naming("match[]"):
            found = await self._queries.series(selectors, start, end, until)
        return list_reply(found, limit)

    async def labels(self, _request: web.Request, form: Form, until: float) -> Reply:
        limit, start, end = _span(form)
        with _naming("match[]"):
            found = await self._queries.label_names(form.texts("match[]"), start, end, until)
        return list_reply(found, limit)

    async def label_values(self, request: web.Request, form: Form, until: float) -> Reply:
        limit, start, end = _span(form)
        name = label_name(request.match_info["name"])
        if not is_label_name(name, self._queries.dialect):
            raise BadParameterError(f'invalid label name: "{name}"')
        with _naming("match[]"):
            found = await self._queries.label_values(name, form.texts("match[]"), start, end, until)
        return list_reply(found, limit)

    async def format_query(self, form: Form) -> Reply:
        with _naming("query"):
            return Reply.of(await self._queries.formatted(form.text("query")))

    async def query_exemplars(self, form: Form) -> Reply:
        """There are no exemplars."""
        with _naming("query"):
            await self._queries.formatted(form.text("query"))
        return Reply.of([])

    async def rules(self, form: Form) -> Reply:
        return Reply.of(rules_data(await asyncio.to_thread(self._views.groups), form, self._queries.dialect))

    async def alerts(self, _form: Form) -> Reply:
        return Reply.of(alerts_data(await asyncio.to_thread(self._views.alerts)))

    async def metadata(self, form: Form) -> Reply:
        wanted, limit = form.text("metric"), form.limit()
        found = {metric.name: metric for metric in self._metadata() if wanted in {"", metric.name}}
        data = {
            name: [{"type": "gauge" if one.kind == "info" else one.kind, "help": one.help, "unit": ""}]
            for name, one in list(found.items())[:limit]
        }
        return Reply.of(data)

    async def build_info(self, _form: Form) -> Reply:
        return Reply.of(
            {
                "version": _SPOKEN[self._queries.dialect.compat],
                "revision": "",
                "branch": "",
                "buildUser": f"custode {version('custode')}",
                "buildDate": "",
                "goVersion": "",
            }
        )


def _span(form: Form) -> tuple[int | None, float, float]:
    return form.limit(), form.time("start", FIRST), form.time("end", LAST)


def _refuse_lookback(form: Form) -> None:
    if form.text("lookback_delta"):
        raise BadParameterError.of("lookback_delta", "it is not supported: each series says how long its samples count")


@contextmanager
def _naming(parameter: str) -> Iterator[None]:
    """Tell in which parameter the bad expression was."""
    try:
        yield
    except BadQueryError as error:
        raise BadParameterError.of(parameter, error.message) from error
