"""Makes Slack show what is known of a thread: its first message, its replies, how far the run is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from daemon.actions.views import Run, RunState
from daemon.notifiers import Permanent, Retryable
from daemon.slack import blocks, routing
from daemon.slack._api import GONE, NO_CHANNEL, REFUSED_BLOCKS, SlackApi, SlackError
from daemon.slack._digests import digest, storm
from daemon.slack._replies import progress, reply
from daemon.slack.blocks import Shown
from daemon.slack.news import run_fact
from daemon.slack.settings import SlackSettings
from daemon.slack.store import Row, Threads
from daemon.slack.thread import Facts, Progress, Reply, Stage, answered, changed_reply, doing
from fleet.durations import format_duration
from fleet.errors import ActionError, StateAwayError

log = structlog.get_logger()

PROGRESS_SECONDS = 5.0  # between two edits of the reply about progress
QUEUED_SECONDS = 30.0  # between two looks at what does not run: mostly news comes first
SHOW_SECONDS = 30.0
_PAUSE = 5.0  # seconds after what failed and said no time
_GONE_THREAD = GONE | {"thread_not_found"}
_AT_WORK = frozenset({Stage.ACTING, Stage.VERIFYING})


@dataclass(slots=True)
class Speaker:
    """`look` gives a run as it stands, `address` that of our pages, `now` unix seconds."""

    api: SlackApi
    threads: Threads
    settings: SlackSettings
    look: Callable[[str], Awaitable[Run]]
    address: Callable[[], str]
    now: Callable[[], float]

    async def show(self, thread: str) -> str:
        """Bring Slack up to date, unless somebody else is about to; where the first message is, once it is posted.

        Raises:
            Retryable, Permanent: Slack does not take it, not now or never.
            StateAwayError: the state database is away.
        """
        if not await self.threads.claim(thread):
            return ""
        try:
            async with asyncio.timeout(SHOW_SECONDS):
                return await self._show(thread)
        except (Retryable, TimeoutError) as error:
            after = (error.after if isinstance(error, Retryable) else None) or _PAUSE
            await self.threads.release(thread, due_at=self.now() + after)
            raise
        except Permanent:
            await self.threads.release(thread)
            raise
        except asyncio.CancelledError:
            await self._hand_back(thread)
            raise

    async def _hand_back(self, thread: str) -> None:
        """Somebody else need not wait until the claim runs out."""
        with suppress(StateAwayError, TimeoutError):
            async with asyncio.timeout(2.0):
                await self.threads.release(thread, due_at=self.now())

    async def _show(self, thread: str) -> str:
        while True:
            row = await self.threads.load(thread)
            if row is None:
                return ""
            held, due = self._held(row)
            if not held:
                settled, due = await self._speak(row)
                if not settled:
                    continue
            if await self.threads.release(thread, shown=row.revision, due_at=due):
                return f"{row.place}/{row.ts}"

    def _held(self, row: Row) -> tuple[bool, float | None]:
        """Whether nothing of it is said, and until when (None: not before there is news)."""
        if row.folded is not None:
            return True, None
        if row.ts is not None:
            return False, None
        began_in = routing.quiet_until(row.facts, self.settings, row.opened_at)
        if began_in is not None and row.facts.over and not row.facts.runs:
            return True, None  # it began and ended while nobody wanted to hear of it
        until = routing.quiet_until(row.facts, self.settings, self.now())
        return until is not None, until

    async def _speak(self, row: Row) -> tuple[bool, float | None]:
        """Show it. Whether nothing is left of that, and when there may be more to tell."""
        try:
            if row.ts is None:
                await self._post(row)
                return False, None
            if row.shown < row.revision:
                await self._edit(row)
            for told in row.facts.replies:
                await self._reply(row, told)
            return True, await self._progress(row)
        except SlackError as error:
            if error.reason in _GONE_THREAD and row.ts is not None:
                log.warning("slack_message_gone", thread=row.id, reason=error.reason)
                await self.threads.set(row.id, ts=None, posting_at=None)
                return False, None
            if error.reason in NO_CHANNEL and row.channel != self.settings.channel:
                log.error("slack_channel_refused", channel=row.channel, reason=error.reason)  # noqa: TRY400
                await self.threads.set(row.id, ts=None, posting_at=None, place=None, channel=self.settings.channel)
                return False, None
            raise

    async def _post(self, row: Row) -> None:
        place = await self._posted(row.channel, row.id, row.posting_at)
        shown = 0
        if place is None:
            await self.threads.set(row.id, posting_at=self.now())
            place = await self._send(row.channel, await self._shown(row), mark=row.id)
            shown = row.revision
        channel, ts = place
        await self.threads.set(row.id, place=channel, ts=ts, posting_at=None, shown=shown, shown_at=self.now())

    async def _posted(
        self, channel: str, mark: str, since: float | None, ts: str | None = None
    ) -> tuple[str, str] | None:
        """Where the message is whose posting began at `since`, if it came through."""
        if since is None:
            return None
        try:
            known = await self.api.channel_id(channel)
            return None if known is None else await self.api.find(known, mark, since, ts)
        except SlackError as error:  # twice is better than not at all
            log.warning("slack_cannot_look", channel=channel, reason=error.reason)
            return None

    async def _send(self, channel: str, shown: Shown, *, mark: str) -> tuple[str, str]:
        try:
            return await self.api.post(channel, shown.text, shown.attachments, mark=mark)
        except SlackError as error:
            if error.reason not in REFUSED_BLOCKS:
                raise
            log.error("slack_blocks_refused", mark=mark, reason=error.reason)  # noqa: TRY400
            return await self.api.post(channel, shown.text, (), mark=mark)

    async def _edit(self, row: Row) -> None:
        shown = await self._shown(row)
        try:
            await self.api.edit(row.place, row.ts or "", shown.text, shown.attachments)
        except SlackError as error:
            if error.reason not in REFUSED_BLOCKS:
                raise
            log.error("slack_blocks_refused", mark=row.id, reason=error.reason)  # noqa: TRY400
            await self.api.edit(row.place, row.ts or "", shown.text, ())
        await self.threads.set(row.id, shown=row.revision, shown_at=self.now())

    async def _shown(self, row: Row) -> Shown:
        if row.facts.digest is not None:
            return digest(row.facts.digest)
        if row.facts.storm:
            return storm(row.facts, await self.threads.folded(row.id))
        call = routing.owners(row.facts, self.settings)
        earlier = await self._earlier(row.facts)
        return blocks.root(row.id, row.facts, call=call, link=self.address(), now=self.now(), earlier=earlier)

    async def _earlier(self, facts: Facts) -> str | None:
        """The address of the thread of the last occurrence."""
        last = None if facts.previous is None else await self.threads.load(facts.previous)
        if last is None or last.ts is None:
            return None
        try:
            return await self.api.permalink(last.place, last.ts)
        except SlackError:  # it may have been deleted
            return None

    async def _reply(self, row: Row, told: Reply) -> None:
        place = await self._posted(row.place, told.id, told.posting, row.ts)
        if place is None:
            began = self.now()
            await self.threads.edit(row.id, lambda facts: changed_reply(facts, told.id, posting=began))
            call = routing.owners(row.facts, self.settings)
            text = reply(told, row.facts, call=call, link=self.address())
            broadcast = True if told.broadcast else None
            await self.api.post(row.place, text, (), mark=told.id, thread_ts=row.ts, reply_broadcast=broadcast)
        await self.threads.edit(row.id, lambda facts: changed_reply(facts, told.id))

    async def _progress(self, row: Row) -> float | None:
        """When there may be more to tell of the run at work; None: not before there is news."""
        run = row.facts.focus
        pause: float | None = None
        if run is not None and row.facts.stage in _AT_WORK:
            row, pause = await self._refreshed(row, run.id)
        told = row.facts.progress
        if told is not None and told.text != told.shown:
            wait = told.shown_at + PROGRESS_SECONDS - self.now()
            if wait > 0 and pause is not None:
                return self.now() + wait
            await self._tell_progress(row, told)
        return None if pause is None else self.now() + pause

    async def _tell_progress(self, row: Row, told: Progress) -> None:
        text = progress(told)
        ts = told.ts
        if ts is None:
            ts = (await self.api.post(row.place, text, (), mark=f"progress:{told.run}", thread_ts=row.ts))[1]
        else:
            await self.api.edit(row.place, ts, text, ())
        shown = {"ts": ts, "shown": told.text, "shown_at": self.now()}
        await self.threads.edit(row.id, lambda facts: _progressed(facts, told.run, shown))

    async def _refreshed(self, row: Row, run_id: str) -> tuple[Row, float]:
        """With what the run does now, also where it moved on without news of it; and the seconds to the next look."""
        try:
            run = await self.look(run_id)
        except ActionError:
            return row, PROGRESS_SECONDS
        if run.state is not RunState.RUNNING:
            moved = await self.threads.change(row.id, lambda facts: answered(facts, run_fact(run), "", approved=False))
            return moved or row, QUEUED_SECONDS
        if run.progress is None:
            return row, PROGRESS_SECONDS
        left = run.progress.left_seconds
        more = "" if left is None else f", about {format_duration(timedelta(seconds=int(left)))} left"
        text = f"{run.step or run.action}: {run.progress.ratio:.0%}, {run.progress.doing}{more}"
        return await self.threads.edit(row.id, lambda facts: doing(facts, run_id, text)), PROGRESS_SECONDS


def _progressed(facts: Facts, run: str, shown: dict[str, object]) -> Facts:
    told = facts.progress
    if told is None or told.run != run:
        return facts
    return facts.model_copy(update={"progress": told.model_copy(update=shown)})
