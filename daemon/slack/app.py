"""Slack as a part of the daemon: takes messages, shows threads, hears clicks, tells once a day how the fleet is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from aiohttp import web
from pydantic import ValidationError

from actions import Action
from daemon.actions.ledger import Ledger
from daemon.actions.operators import Operators
from daemon.actions.port import ActionsPort
from daemon.actions.views import Run
from daemon.config import OperatorSettings
from daemon.notifiers import Message, Permanent, Receipt, Retryable, Severity
from daemon.silences import Silences
from daemon.slack._api import SlackApi
from daemon.slack._directory import Directory
from daemon.slack._handler import Handler
from daemon.slack._http import Interactions
from daemon.slack._socket import Socket
from daemon.slack._speaker import SHOW_SECONDS, Speaker
from daemon.slack.metrics import SlackMetrics
from daemon.slack.news import digest_news, read_news, write_news
from daemon.slack.settings import SlackSettings
from daemon.slack.store import Threads
from daemon.slack.text import escape
from daemon.state import StateDatabase
from daemon.status import Board
from fleet.errors import StateAwayError
from fleet.secrets import Secrets

log = structlog.get_logger()

LOOK_SECONDS = 1.0
_FORGET_SECONDS = 3600.0
_DIGEST_LATE = timedelta(hours=1)  # a daemon that was down at the time still tells
_DIGEST_LOOK_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What Slack needs of the daemon. `operators` and `permissions` are asked each time; `now` gives unix seconds.

    `post` puts a message for Slack alone into the outbox, `address` is where people reach our pages.
    """

    state: StateDatabase
    secrets: Secrets
    port: ActionsPort
    ledger: Ledger
    silences: Silences
    operators: Callable[[], Mapping[str, OperatorSettings]]
    permissions: Callable[[], Operators]
    actions: Mapping[str, Action[Any]]
    metrics: SlackMetrics
    board: Callable[[], Awaitable[Board]]
    post: Callable[[Message], None]
    address: Callable[[], str]
    now: Callable[[], float]


class Slack:
    """`send` takes messages in order within a thread; `serve` does all the rest, until it is cancelled."""

    def __init__(self, settings: SlackSettings, around: Surroundings) -> None:
        self._settings = settings
        self._around = around
        self._team = settings.team
        self.threads = Threads(around.state, settings, around.now)
        self._api = SlackApi(settings.token, around.secrets, settings.api_url, around.now)
        self._speaker = Speaker(self._api, self.threads, settings, self._look, around.address, around.now)
        self._handler = Handler(
            api=self._api,
            threads=self.threads,
            speaker=self._speaker,
            directory=Directory(self._api, around.operators, around.now),
            port=around.port,
            permissions=around.permissions,
            actions=around.actions,
            silences=around.silences,
            ledger=around.ledger,
            metrics=around.metrics,
            now=around.now,
            team=self._our_team,
            app=settings.app_id,
        )
        self._interactions = (
            Interactions(settings.signing_secret, around.secrets, self._handler.handle, around.now)
            if settings.signing_secret is not None
            else None
        )
        around.metrics.used = True

    def register(self, application: web.Application) -> None:
        """Add the address for clicks over HTTP, where they are wanted."""
        if self._interactions is not None:
            self._interactions.register(application)

    async def send(self, message: Message) -> Receipt:
        """Take a message into its thread, and show that. Raises Retryable, Permanent, StateAwayError."""
        if not message.facts:
            text = f"*{escape(message.title, 300)}*\n{escape(message.text, 2000)}"
            channel, ts = await self._api.post(self._settings.channel, text, (), mark=message.id)
            return Receipt(f"{channel}/{ts}")
        try:
            news = read_news(message.facts)
        except ValidationError as error:  # as another version of Custode wrote it
            raise Permanent(f"the message cannot be read: {error.error_count()} problems") from error
        row, urgent = await self.threads.receive(news)
        if row is None or row.folded is not None or not urgent:
            return Receipt("" if row is None else f"{row.place}/{row.ts or ''}")
        return Receipt(await self._speaker.show(row.id))

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._show_what_is_due(), name="slack threads")
            if self._settings.digest_at is not None:
                group.create_task(self._tell_daily(), name="slack digest")
            if self._interactions is not None:
                group.create_task(self._interactions.serve(), name="slack clicks")
            if self._settings.app_token is not None:
                socket = Socket(
                    self._api,
                    self._settings.app_token,
                    secrets=self._around.secrets,
                    handle=self._handler.handle,
                    metrics=self._around.metrics,
                    now=self._around.now,
                )
                group.create_task(socket.serve(), name="slack socket")

    async def close(self) -> None:
        await self._api.close()

    async def _look(self, run_id: str) -> Run:
        return (await self._around.port.run(run_id)).run

    async def _our_team(self) -> str | None:
        """The workspace of the token; None while Slack does not say."""
        if self._team is None:
            with suppress(Retryable, Permanent):
                self._team = str((await self._api.call("auth.test"))["team_id"])
        return self._team

    async def _show_what_is_due(self) -> None:
        """Progress, edits that were put off, the end of quiet hours, and what a process left that ended in between."""
        forgotten_at = 0.0
        while True:
            pause = LOOK_SECONDS
            try:
                if self._around.now() - forgotten_at > _FORGET_SECONDS:
                    await self.threads.forget()
                    forgotten_at = self._around.now()
                for thread in await self.threads.due():
                    async with asyncio.timeout(SHOW_SECONDS):
                        await self._speaker.show(thread)
                self._around.metrics.waiting = await self.threads.waiting()
            except StateAwayError:
                await self._around.state.returned()
            except Retryable as error:
                log.info("slack_not_now", error=error.message)
                pause = error.after or pause
            except Permanent as error:
                log.error("slack_never", error=error.message)  # noqa: TRY400 - no trace is needed
            except TimeoutError:
                log.info("slack_slow")
            except Exception:  # the boundary of the loop: one thread that cannot be shown must not silence the others
                log.exception("slack_show_broke")
            await asyncio.sleep(pause)

    async def _tell_daily(self) -> None:
        told = ""
        while True:
            day = digest_day(self._settings, self._around.now())
            if day is not None and day != told:
                news = digest_news(await self._around.board(), day)
                if news.rows:
                    self._around.post(
                        Message(
                            id=news.id,
                            kind="daemon",
                            severity=Severity.INFO,
                            title="the promises today",
                            at=news.at,
                            thread=news.id,
                            facts=write_news(news),
                        )
                    )
                    told = day
            await asyncio.sleep(_DIGEST_LOOK_SECONDS)


def digest_day(settings: SlackSettings, now: float) -> str | None:
    """The day whose digest is to be told at `now` (unix seconds); None: it is not the time."""
    if settings.digest_at is None:
        return None
    local = datetime.fromtimestamp(now, settings.timezone)
    at = datetime.combine(local.date(), settings.digest_at, settings.timezone)
    return local.date().isoformat() if at <= local < at + _DIGEST_LATE else None
