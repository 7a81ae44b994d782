"""What a click does. It is a request: whether it counts is decided by the engine, in the state database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from actions import Action
from daemon.actions.ledger import Entry, Ledger, Subject
from daemon.actions.port import ActionsPort
from daemon.actions.request import Request, Source
from daemon.actions.views import RunDetail, RunState
from daemon.config import Verb
from daemon.notifiers import Permanent, Retryable
from daemon.silences import Silences, matchers_for
from daemon.slack._api import SlackApi
from daemon.slack._details import details, reject_modal
from daemon.slack._directory import Directory, UnknowableError
from daemon.slack._speaker import Speaker
from daemon.slack.clicks import Click, ClickError, read_click
from daemon.slack.metrics import SlackMetrics
from daemon.slack.news import run_fact
from daemon.slack.store import Row, Threads
from daemon.slack.text import escape
from daemon.slack.thread import Facts, answered, silenced
from fleet.errors import ActionError, CustodeError, StateAwayError

log = structlog.get_logger()

VIA = "slack"
_GROUPED_BY: tuple[str, ...] = ("alertname", "environment")  # what a thread is about, and is silenced by


class Permissions(Protocol):
    def refusal_for(self, person: str, verb: Verb, environment: str | None) -> str | None:
        """Why this person may not; None: may."""


class RefusedError(Exception):
    """What the person is told; nothing was done."""


@dataclass(slots=True)
class Handler:
    """For Socket Mode and HTTP. `team` tells the id of the workspace; as long as nobody knows it, nothing counts."""

    api: SlackApi
    threads: Threads
    speaker: Speaker
    directory: Directory
    port: ActionsPort
    permissions: Callable[[], Permissions]
    actions: Mapping[str, Action[Any]]
    silences: Silences
    ledger: Ledger
    metrics: SlackMetrics
    now: Callable[[], float]
    team: Callable[[], Awaitable[str | None]]
    app: str | None = None

    async def handle(self, payload: object) -> None:
        """Do what a click asks, tell the person what came of it, write it down. Raises nothing."""
        try:
            click = read_click(payload)
        except ClickError as error:
            log.warning("slack_click_malformed", error=str(error))
            self.metrics.count("unknown", "refused")
            return
        if click is None:
            return
        try:
            await self._handle(click)
        except Exception:  # the boundary: a click must not end the socket
            log.exception("slack_click_failed", kind=click.kind)
            self.metrics.count(click.kind, "failed")

    async def _handle(self, click: Click) -> None:
        if click.team != await self.team() or (self.app is not None and click.app != self.app):
            await self._note(click, None, None, "a click from another workspace or app")
            return
        row: Row | None = None
        person: str | None = None
        refusal: str | None = None
        try:
            row = await self._row(click)
            person = await self._person(click)
            await self._do(click, row, person)
        except RefusedError as error:
            refusal = str(error)
        except UnknowableError:
            refusal = "Slack does not say who you are right now. Nothing was done; try again in a moment."
        except StateAwayError:
            refusal = "The state database is away. Nothing was done; try again in a moment."
        except CustodeError as error:  # the engine said no
            refusal = error.message + (f"\n{error.hint}" if error.hint else "")
        await self._note(click, row, person, refusal)
        if refusal is not None:
            await self._say(click, row, refusal)
        if row is not None and click.kind != "details":
            await self._show(row.id)

    async def _row(self, click: Click) -> Row:
        row = await self.threads.load(click.thread)
        if row is None:
            raise RefusedError("What this button was about is not known any more. Nothing was done.")
        posted = row.ts is not None  # else somebody was faster than the note of where it is
        if posted and click.ts is not None and (click.channel, click.ts) != (row.place, row.ts):
            raise RefusedError("This button belongs to another message. Nothing was done.")
        if click.kind != "details" and click.version != row.facts.version:
            raise RefusedError(f"This has changed meanwhile: it is {row.facts.stage.value} now. Nothing was done.")
        return row

    async def _person(self, click: Click) -> str:
        if click.kind == "details":  # reading is open to whoever is in the channel
            return f"slack:{click.user}"
        person = await self.directory.operator(click.user)
        if person is None:
            raise RefusedError(
                f"You ({click.user}) are no operator here, so nothing was done. Operators are named in custode.yml, "
                f"with their Slack ids under operators.NAME.slack."
            )
        return person

    async def _do(self, click: Click, row: Row, person: str) -> None:
        match click.kind:
            case "approve":
                await self._answer(row, person, approved=True)
            case "reject":
                await self._ask_why(click, row, person)
            case "rejected":
                await self._answer(row, person, approved=False, reason=click.reason)
            case "run":
                await self._run(row, person)
            case "cancel":
                await self._cancel(row, person)
            case "silence" | "silence_for":
                await self._silence(row, person, click.seconds)
            case "unsilence":
                await self._unsilence(row, person)
            case "details":
                await self._details(click, row)

    async def _answer(self, row: Row, person: str, *, approved: bool, reason: str = "") -> None:
        asked = row.facts.focus
        if asked is None or asked.state is not RunState.WAITING:
            raise RefusedError("Nothing waits for an approval here. Nothing was done.")
        run = await self.port.answer(asked.id, person, approved=approved, via=VIA, reason=reason, digest=asked.digest)
        await self.threads.change(row.id, lambda facts: answered(facts, run_fact(run), person, approved=approved))

    async def _ask_why(self, click: Click, row: Row, person: str) -> None:
        asked = row.facts.focus
        if asked is None or asked.state is not RunState.WAITING:
            raise RefusedError("Nothing waits for an approval here. Nothing was done.")
        refusal = self.permissions().refusal_for(person, "approve", asked.environment)
        if refusal is not None:
            raise RefusedError(f"{refusal}. Nothing was done.")
        view = reject_modal(f"{row.id}:{row.facts.version}", f"{asked.action} on {asked.environment}")
        await self.api.call("views.open", trigger_id=click.trigger, view=view)

    async def _run(self, row: Row, person: str) -> None:
        alert = row.facts.suggested
        action = self.actions.get(alert.labels["action"]) if alert is not None else None
        if alert is None or action is None:
            raise RefusedError("There is nothing to run here now. Nothing was done.")
        known = action.parameters().model_fields
        request = Request(
            environment=row.facts.environment,
            action=action.name,
            # one button is one run, however many people click it
            key=f"person:slack:{row.id}:{row.facts.version}",
            requested_by=person,
            at=self.now(),
            source=Source.PERSON,
            reason=alert.summary or row.facts.title,
            parameters={name: value for name, value in alert.labels.items() if name in known},
            alert=alert.labels,
        )
        submitted = await self.port.submit(request)
        if not submitted.new:
            raise RefusedError(f"{submitted.run.requested_by} was faster: {submitted.note or 'it was asked for'}.")
        await self.threads.change(
            row.id, lambda facts: answered(facts, run_fact(submitted.run), person, approved=False)
        )

    async def _cancel(self, row: Row, person: str) -> None:
        asked = row.facts.focus
        if asked is None or asked.state is RunState.ENDED:
            raise RefusedError("Nothing is at work here any more.")
        found = (await self.port.run(asked.id)).run
        if found.asked == "cancel":
            raise RefusedError(f"{found.asked_by} has cancelled it already.")
        run = await self.port.cancel(asked.id, person, via=VIA, reason="")
        await self.threads.change(row.id, lambda facts: answered(facts, run_fact(run), "", approved=False))

    async def _silence(self, row: Row, person: str, seconds: float) -> None:
        labels = _what_fires(row)
        known = row.facts.silenced_until
        if known is not None and known > self.now():
            raise RefusedError(f"{row.facts.silenced_by} has silenced it already.")
        grouped = {name: labels[name] for name in _GROUPED_BY if name in labels}
        made = await self.silences.create(
            matchers_for(grouped), seconds, person, via=VIA, comment=f"{row.facts.title}, from Slack", thread=row.id
        )
        await self.threads.change(row.id, lambda facts: silenced(facts, made.ends_at, person, self.now()))

    async def _unsilence(self, row: Row, person: str) -> None:
        labels = _what_fires(row)
        ours = [one for one in await self.silences.recent() if one.active(self.now()) and one.silences(labels)]
        if not ours:
            raise RefusedError("It was silenced in Alertmanager; end it there. Nothing was done.")
        for one in ours:
            await self.silences.expire(one.id, person, via=VIA)
        await self.threads.change(row.id, lambda facts: silenced(facts, None, person, self.now()))

    async def _details(self, click: Click, row: Row) -> None:
        asked = row.facts.focus
        detail: RunDetail | None = None
        if asked is not None:
            try:
                detail = await self.port.run(asked.id)
            except ActionError as error:
                log.info("slack_details_without_run", run=asked.id, error=error.message)
        shown = details(row.facts, detail)
        await self.api.whisper(row.place, click.user, escape(row.facts.title, 200), blocks=shown, thread_ts=row.ts)

    async def _note(self, click: Click, row: Row | None, person: str | None, refusal: str | None) -> None:
        decision = "allowed" if refusal is None else "refused"
        self.metrics.count(click.kind, decision)
        facts: Facts | None = None if row is None else row.facts
        run = None if facts is None else facts.focus
        subject = Subject(
            run_id=None if run is None else run.id,
            environment=None if facts is None else facts.environment or None,
            action=None if run is None else run.action,
            person=person or f"slack:{click.user}",
        )
        said = {} if refusal is None else {"because": refusal}
        what = {"what": click.kind, "via": VIA, "user": click.user, "team": click.team, "thread": click.thread}
        await self.ledger.note(Entry.CLICK, subject, decision=decision, **what, **said)

    async def _say(self, click: Click, row: Row | None, text: str) -> None:
        """To the person alone; where Slack does not take that either, the message shows how it stands."""
        channel = click.channel or (None if row is None else row.place)
        if channel is None:
            return
        try:
            await self.api.whisper(channel, click.user, escape(text, 2000))
        except (Retryable, Permanent) as error:
            log.warning("slack_whisper_failed", error=str(error))

    async def _show(self, thread: str) -> None:
        try:
            await self.speaker.show(thread)
        except (Retryable, Permanent, StateAwayError, TimeoutError) as error:
            log.info("slack_shown_later", thread=thread, error=str(error))


def _what_fires(row: Row) -> Mapping[str, str]:
    if not row.facts.firing:
        raise RefusedError("Nothing fires here any more. Nothing was done.")
    return row.facts.firing[0].labels
