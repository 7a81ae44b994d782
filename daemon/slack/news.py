"""What happened, as JSON that can wait: changes of alerts, steps in the life of runs, silences, the daily digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from daemon.actions.events import ActionEvent, Happened
from daemon.actions.request import Result, Source
from daemon.actions.views import Run, RunState
from daemon.alerting import FOR_MACHINES
from daemon.status import Board

LONG = 500  # characters of a text that is kept


class Fact(BaseModel):
    """A newer Custode may have written more than this one knows."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PlanFact(Fact):
    summary: str
    steps: tuple[str, ...] = ()
    effect: str = ""


class RunFact(Fact):
    """A run as people see it. Times in unix seconds; `attempt` is 0 where an older Custode told it."""

    id: str
    action: str
    environment: str
    object: str = ""
    source: Source
    requested_by: str
    reason: str = ""
    state: RunState
    attempt: int = 0
    digest: str | None = None
    needed: int = 0
    approved_by: tuple[str, ...] = ()
    expires_at: float | None = None
    begun_at: float | None = None
    plan: PlanFact | None = None
    steps_done: int = 0
    doing: str = ""
    ratio: float = 0.0
    parked: str | None = None
    result: Result | None = None
    outcome: str | None = None
    escalated: bool = False
    ended_at: float | None = None
    alert: str = ""  # the identity of the one that asked


class AlertNews(Fact):
    kind: Literal["alert"] = "alert"
    id: str
    at: float
    labels: dict[str, str]
    firing: bool
    value: float
    summary: str = ""
    description: str = ""
    runbook: str = ""


class RunNews(Fact):
    kind: Literal["run"] = "run"
    id: str
    at: float
    happened: Happened
    run: RunFact
    alert: dict[str, str] | None = None
    text: str = ""
    before: Mapping[str, float | str] = Field({})
    after: Mapping[str, float | str] = Field({})


class SilenceNews(Fact):
    """`until` None: the silence has ended."""

    kind: Literal["silence"] = "silence"
    id: str
    at: float
    labels: dict[str, str]
    until: float | None
    by: str


class CellFact(Fact):
    promise: str
    state: str
    text: str


class DigestNews(Fact):
    kind: Literal["digest"] = "digest"
    id: str
    at: float
    rows: dict[str, tuple[CellFact, ...]]
    firing: int


News = AlertNews | RunNews | SilenceNews | DigestNews
_NEWS: TypeAdapter[News] = TypeAdapter(Annotated[News, Field(discriminator="kind")])


class AlertChange(Protocol):
    """An alert that changed its state at `at` (unix seconds), as the rule engine tells it."""

    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def annotations(self) -> Mapping[str, str]: ...
    @property
    def value(self) -> float: ...
    @property
    def after(self) -> str: ...
    @property
    def at(self) -> float: ...


def read_news(payload: Mapping[str, Any]) -> News:
    """Raises pydantic.ValidationError."""
    return _NEWS.validate_python(dict(payload))


def write_news(news: News) -> dict[str, Any]:
    return news.model_dump(mode="json")


def identity(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={labels[name]}" for name in sorted(labels))


def thread_of(news: News) -> str:
    """What is told in one thread: all alerts of one name in one environment, and what is done about them."""
    match news:
        case AlertNews(labels=labels) | SilenceNews(labels=labels) | RunNews(alert=dict() as labels):
            return f"alert:{labels.get('environment', '')}:{labels.get('alertname', '')}"
        case RunNews(run=run):
            return f"run:{run.id}"
        case DigestNews(id=told):
            return told


def alert_news(change: AlertChange) -> AlertNews | None:
    """None for changes that are no news, and for alerts that are for machines."""
    labels = dict(change.labels)
    if change.after not in {"firing", "resolved"} or labels.get("severity") == FOR_MACHINES:
        return None
    said = change.annotations
    return AlertNews(
        id=f"alert:{identity(labels)}:{change.after}:{change.at:.3f}",
        at=change.at,
        labels=labels,
        firing=change.after == "firing",
        value=change.value,
        summary=said.get("summary", "")[:LONG],
        description=said.get("description", "")[:LONG],
        runbook=said.get("runbook_url", "")[:LONG],
    )


def run_news(event: ActionEvent) -> RunNews:
    run = event.run
    return RunNews(
        id=f"run:{event.id}",
        at=event.at,
        happened=event.kind,
        run=run_fact(run, event.result, event.at),
        alert=None if run.alert is None else dict(run.alert),
        text=event.text[:LONG],
        before=dict(run.before or {}),
        after=dict(run.after or {}),
    )


def run_fact(run: Run, result: Result | None = None, at: float | None = None) -> RunFact:
    plan, result = run.plan, result or run.result
    return RunFact(
        id=run.id,
        action=run.action,
        environment=run.environment,
        object=run.object,
        source=run.source,
        requested_by=run.requested_by,
        reason=run.reason[:LONG],
        state=run.state,
        attempt=run.attempt,
        digest=run.digest,
        needed=run.approvals_needed,
        expires_at=run.expires_at,
        begun_at=run.begun_at,
        plan=None
        if plan is None
        else PlanFact(summary=plan.summary[:LONG], steps=plan.steps, effect=plan.effect[:LONG]),
        doing="" if run.progress is None else run.progress.doing[:LONG],
        ratio=0.0 if run.progress is None else run.progress.ratio,
        parked=run.parked,
        result=result,
        ended_at=run.ended_at or (at if result is not None else None),
        alert="" if run.alert is None else identity(run.alert),
        outcome=None if run.outcome is None else run.outcome[:LONG],
    )


def silence_news(labels: Mapping[str, str], *, until: float | None, by: str, at: float, id: str) -> SilenceNews:  # noqa: A002
    """Alerts with these labels were silenced, or are heard again. `id` is that of the silence."""
    ended = "over" if until is None else f"{until:.0f}"
    return SilenceNews(id=f"silence:{id}:{ended}", at=at, labels=dict(labels), until=until, by=by)


def digest_news(board: Board, day: str) -> DigestNews:
    """The promises of the environments that this daemon looks after, on one day."""
    rows = {
        row.environment: tuple(CellFact(promise=c.promise, state=c.state.value, text=c.text[:200]) for c in row.cells)
        for row in board.rows
    }
    names = ",".join(sorted(rows))
    return DigestNews(
        id=f"digest:{day}:{names}", at=board.at, rows=rows, firing=sum(alert.firing for alert in board.alerts)
    )
