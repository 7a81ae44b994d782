"""GET /alerts: what is wrong now, and what is done about it; /alerts/FINGERPRINT: one alert and what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from aiohttp import web
from pydantic import StringConstraints

from daemon.actions.ledger import Entry
from daemon.actions.views import LedgerFilter, LedgerView, Run, RunFilter, RunState
from daemon.alerting import FOR_MACHINES
from daemon.page.figures import changes
from daemon.page.forms import read_filters
from daemon.page.frame import Frame
from daemon.page.notes import query_of
from daemon.page.sentences import sentence
from daemon.page.sources import Sources
from daemon.page.standing import SIGNS, standing
from daemon.silences import Muting, SilenceView, matchers_for
from daemon.views.alerts import SEVERITIES, KnownRuns, Shown, doing, shown_alerts, timeline
from daemon.web._actions_input import Input
from daemon.web.access import Role
from daemon.web.alert import FINGERPRINT
from daemon.web.routes import Route
from fleet.errors import StateError
from rules import State

_MOST = 500  # alerts on the page; filters find the others
_LATE = 200  # runs that have ended lately
_ENTRIES = 1000
_LASTING = tuple(state for state in RunState if state is not RunState.ENDED)
_OF_FORM = frozenset({"labels", "duration", "comment", "note"})  # what the form of silences calls its own fields
_Text = Annotated[str, StringConstraints(max_length=200)]


class Filters(Input):
    group: Literal["environment", "alert"] = "environment"
    environment: _Text | None = None
    severity: _Text | None = None
    alertname: _Text | None = None
    state: Literal["firing", "pending"] | None = None

    def wants(self, alert: Shown) -> bool:
        if self.severity is None and alert.severity == FOR_MACHINES:
            return False
        return (
            self.environment in {None, alert.environment}
            and self.severity in {None, alert.severity}
            and self.alertname in {None, alert.name}
            and self.state in {None, alert.state.value}
        )


@dataclass(frozen=True, slots=True)
class Line:
    """An alert on the page; `run` is what does something about it, `muting` why it does not page."""

    alert: Shown
    doing: str
    run: Run | None
    muting: Muting | None


def routes(sources: Sources, frame: Frame) -> list[Route]:
    frame.filters.update(sentence=sentence, standing=standing, silence=_silence_address)
    pages = _Pages(sources, frame)
    return [
        Route("GET", "/alerts", pages.all, Role.VIEWER, "Alerts that are pending or firing", query=Filters),
        Route("GET", f"/alerts/{FINGERPRINT}", pages.one, Role.VIEWER, "An alert, and what happened"),
    ]


class _Pages:
    def __init__(self, sources: Sources, frame: Frame) -> None:
        self._sources = sources
        self._frame = frame

    async def all(self, request: web.Request) -> web.Response:
        asked = read_filters(request, Filters)
        every = await self._alerts()
        active = [one for one in every if one.state is not State.RESOLVED]
        for_people = [one for one in active if one.severity != FOR_MACHINES]
        found = [one for one in active if asked.wants(one)]
        resolved = [one for one in every if one.state is State.RESOLVED and asked.wants(one)]
        known = await self._runs(RunFilter(states=_LASTING, limit=_MOST), RunFilter(limit=_LATE))
        lines = [self._line(one, known) for one in found[:_MOST]]
        return await self._frame.page(
            request,
            "alerts.html",
            asked=asked,
            filtered=bool(asked.model_dump(exclude_defaults=True, exclude={"group"})),
            groups=_grouped(lines, asked.group),
            firing=sum(one.state is State.FIRING for one in found),
            pending=sum(one.state is State.PENDING for one in found),
            beyond=max(0, len(found) - _MOST),
            resolved=[self._line(one, known) for one in resolved[:_MOST]],
            environments=sorted({one.environment for one in active if one.environment}),
            names=sorted({one.name for one in for_people}),
            severities=_severities(active),
            runs_known=known is not None,
            signs=SIGNS,
        )

    async def one(self, request: web.Request) -> web.Response:
        wanted = request.match_info["fingerprint"]
        alert = next((one for one in await self._alerts() if one.fingerprint == wanted), None)
        if alert is None:
            return await self._frame.page(request, "alert_unknown.html", status=404, fingerprint=wanted)
        known = await self._runs(RunFilter(alert.environment or None, alert.action, limit=_LATE))
        runs = [] if known is None else known.of(alert)
        try:
            silences = [one for one in await self._sources.silences.recent() if one.silences(alert.labels)]
            entries = await self._entries(alert, runs, silences)
        except StateError:
            silences, entries = [], []
        said, run = doing(alert, known)
        return await self._frame.page(
            request,
            "alert.html",
            alert=alert,
            doing=said,
            run=run,
            earlier=runs[1:6],
            evidence=changes(runs[0].before or {}, runs[0].after or {}) if runs else [],
            silences=silences,
            muting=self._sources.muting(alert.labels),
            events=timeline(alert, entries),
            runs_known=known is not None,
            signs=SIGNS,
        )

    async def _alerts(self) -> list[Shown]:
        return await asyncio.to_thread(lambda: shown_alerts(self._sources.judged.groups()))

    async def _runs(self, *wanted: RunFilter) -> KnownRuns | None:
        """None while nobody knows."""
        try:
            return KnownRuns([run for one in wanted for run in await self._sources.port.runs(one)])
        except StateError:
            return None

    def _line(self, alert: Shown, known: KnownRuns | None) -> Line:
        said, run = doing(alert, known)
        return Line(alert, said, run, self._sources.muting(alert.labels))

    async def _entries(
        self, alert: Shown, runs: Iterable[Run], silences: Iterable[SilenceView]
    ) -> Sequence[LedgerView]:
        """What the ledger holds of its runs and its silences."""
        wanted = LedgerFilter(environment=alert.environment or None, since=alert.active_at - 1.0, limit=_ENTRIES)
        ids, muted = {run.id for run in runs}, {one.id for one in silences}
        return [
            entry
            for entry in await self._sources.port.entries(wanted)
            if entry.run_id in ids or (entry.entry == Entry.SILENCE and entry.facts.get("silence") in muted)
        ]


def _grouped(lines: Iterable[Line], by: str) -> dict[str, list[Line]]:
    """In order of the worst of each group."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        name = line.alert.environment if by == "environment" else line.alert.name
        groups.setdefault(name, []).append(line)
    return groups


def _severities(alerts: Iterable[Shown]) -> list[str]:
    there = {one.severity for one in alerts if one.severity}
    return [*SEVERITIES, *sorted(there - set(SEVERITIES))]


def _silence_address(alert: Shown) -> str:
    """The form of a silence, filled in with what identifies the alert."""
    matchers = matchers_for(alert.labels)
    return f"/silences{query_of({one.name: one.value for one in matchers if one.name not in _OF_FORM})}#new"
