"""GET /rules: what is watched, how often it is evaluated, and whether that works."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from aiohttp import web
from pydantic import StringConstraints

from daemon.alerting import FOR_MACHINES
from daemon.page.forms import read_filters
from daemon.page.frame import Frame
from daemon.page.sources import Sources
from daemon.views.alerts import anchor, runbook
from daemon.web._actions_input import Input
from daemon.web.access import Role
from daemon.web.routes import Route
from rules import AlertView, GroupView, RuleView, State

_ACTIVE = (State.FIRING, State.PENDING)


class Filters(Input):
    """`name` is a part of the rule's name."""

    name: Annotated[str, StringConstraints(max_length=200)] | None = None
    health: Literal["ok", "err", "unknown"] | None = None
    state: Literal["firing", "pending", "inactive"] | None = None

    def wants(self, rule: Line) -> bool:
        return (
            (self.name or "").lower() in rule.view.name.lower()
            and self.health in {None, rule.view.health}
            and (self.state is None or (rule.view.kind == "alert" and self.state == rule.state))
        )


@dataclass(frozen=True, slots=True)
class Line:
    """A rule; `counts` are its alerts by state."""

    view: RuleView
    anchor: str
    runbook: str | None
    counts: Counter[str]

    @property
    def state(self) -> str:
        return next((state.value for state in _ACTIVE if self.counts[state.value]), "inactive")


@dataclass(frozen=True, slots=True)
class Shown:
    """A group with those of its rules that are wanted."""

    view: GroupView
    rules: list[Line]

    @property
    def failing(self) -> int:
        return sum(line.view.health == "err" for line in self.rules)

    @property
    def firing(self) -> int:
        """How many people should hear of."""
        return sum(line.state == "firing" and line.view.labels.get("severity") != FOR_MACHINES for line in self.rules)


def routes(sources: Sources, frame: Frame) -> list[Route]:
    async def rules(request: web.Request) -> web.Response:
        asked = read_filters(request, Filters)
        groups = await asyncio.to_thread(sources.judged.groups)
        shown = [Shown(group, [line for line in _lines(group) if asked.wants(line)]) for group in groups]
        files: dict[str, list[Shown]] = {}
        for one in shown:
            if one.rules:
                files.setdefault(one.view.file, []).append(one)
        return await frame.page(
            request,
            "rules.html",
            asked=asked,
            filtered=bool(asked.model_dump(exclude_none=True)),
            files=files,
            count=sum(len(one.rules) for one in shown),
            failing=sum(one.failing for one in shown),
        )

    return [Route("GET", "/rules", rules, Role.VIEWER, "Rules, and whether their evaluation works", query=Filters)]


def _lines(group: GroupView) -> Iterable[Line]:
    for rule, alerts in group.rules:
        yield Line(rule, anchor(rule), runbook(rule.annotations), _counts(alerts))


def _counts(alerts: Iterable[AlertView]) -> Counter[str]:
    return Counter(alert.state.value for alert in alerts)
