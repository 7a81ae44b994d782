"""Keeps Alertmanager's silences as ours are, and learns what was silenced or is inhibited there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from daemon.alertmanager import Client, moment, page_labels
from daemon.notifiers import Permanent, Retryable
from daemon.silences._silences import Silences
from daemon.silences._views import Muting, SilenceView
from fleet.errors import StateError
from rules import AlertView, Labels, State

log = structlog.get_logger()

LOOK_SECONDS = 15.0
_MARK = re.compile(r"\[custode ([0-9a-f]+) until (\d+)\]$")
_SLACK = 1.5  # seconds by which moments may differ, as they are written with milliseconds
_FAILURES = (StateError, TimeoutError, Retryable, Permanent)

Muted = Callable[[AlertView, Muting | None, Muting | None], None]


@dataclass(frozen=True, slots=True)
class _Remote:
    """A silence in Alertmanager: `ours` is the id of the one it was made for, `meant` until when that was to last."""

    id: str
    ended: bool
    ends_at: float
    by: str
    comment: str
    ours: str | None
    meant: float

    @property
    def muting(self) -> Muting:
        return Muting(self.ours or self.id, self.by, self.comment, self.ends_at)


class SilenceKeeper:
    """`alerts` gives those that may be muted, from a thread; `extra` the labels that they have in Alertmanager besides.

    `muted` is told of each whose muting has changed, how it was and how it is; None: not muted. `now` is unix seconds.
    """

    def __init__(
        self,
        silences: Silences,
        clients: Sequence[Client],
        *,
        alerts: Callable[[], Iterable[AlertView]],
        extra: Mapping[str, str],
        now: Callable[[], float],
        muted: Muted = lambda _alert, _before, _after: None,
    ) -> None:
        self._silences = silences
        self._clients = clients
        self._alerts = alerts
        self._extra = extra
        self._now = now
        self._tell = muted
        self._wake = asyncio.Event()
        self._ours: list[SilenceView] = []
        self._known: dict[str, _Remote] = {}
        self._gone: set[str] = set()  # ended here, and nothing of it is left there
        self._muting: dict[Labels, Muting] = {}
        silences.listen(self._wake.set)

    def muting(self, labels: Mapping[str, str]) -> Muting | None:
        """Why an alert with these labels does not page, as far as it is known."""
        now = self._now()
        for silence in self._ours:
            if silence.active(now) and silence.silences(labels):
                return Muting(silence.id, silence.created_by, silence.comment, silence.ends_at)
        return self._muting.get(Labels(labels))

    async def run(self) -> None:
        """Keep and look, until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self.turn()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._wake.wait()
        finally:
            for client in self._clients:
                await client.close()

    async def turn(self) -> None:
        """Once. While the state database is away, ours are taken as they were."""
        with suppress(*_FAILURES):
            self._ours = await self._silences.recent()
        with suppress(*_FAILURES):
            await self._read()
            for silence in self._ours:
                with suppress(*_FAILURES):
                    await self._keep(silence)
        with suppress(*_FAILURES):
            await self._look()

    async def _read(self) -> None:
        """What the Alertmanagers know; they tell each other, so what one knows is known. Raises Retryable."""
        known: dict[str, _Remote] = {}
        answered = False
        for client in self._clients:
            with suppress(Retryable, Permanent):
                for written in await client.silences():
                    one = _read_remote(written)
                    if one.id not in known or known[one.id].ended:
                        known[one.id] = one
                answered = True
        if not answered:
            raise Retryable("no Alertmanager answers")
        self._known = known

    async def _keep(self, silence: SilenceView) -> None:
        there = self._find(silence)
        if not silence.active(self._now()):
            if silence.expired_at is not None and silence.id not in self._gone:
                for one in there:
                    if not one.ended:
                        await self._expire(one.id)
                self._gone.add(silence.id)
            return
        lasting = [one for one in there if not one.ended]
        if lasting:
            await self._adjust(silence, lasting[0])
        elif early := [one for one in there if one.ends_at < one.meant - _SLACK]:
            if await self._silences.note_ended(silence, early[0].by or "Alertmanager"):
                log.info("silence_ended_elsewhere", silence=silence.id)
        else:
            await self._make(silence)

    async def _adjust(self, silence: SilenceView, there: _Remote) -> None:
        """It lasts there; as long as it should, and under the id that we know?"""
        remote = there.id
        if abs(there.ends_at - silence.ends_at) > _SLACK:
            remote = await self._any(lambda client: client.post_silence({**_body(silence), "id": there.id}))
        if remote != silence.remote:
            await self._silences.note_remote(silence, remote)

    async def _make(self, silence: SilenceView) -> None:
        """It is not there: nobody has made it yet, or an Alertmanager that was killed has lost it."""
        made = await self._any(lambda client: client.post_silence(_body(silence)))
        log.info("silence_made", silence=silence.id, alertmanager=made, again=silence.remote is not None)
        if not await self._silences.note_remote(silence, made):  # another daemon was faster, or it was ended meanwhile
            await self._expire(made)

    async def _expire(self, remote: str) -> None:
        """They tell each other, but some may not have heard of it yet."""

        async def expire(client: Client) -> None:
            if not await client.expire_silence(remote):
                raise Retryable(f"{client.url} does not know the silence {remote}")

        await self._any(expire)

    def _find(self, silence: SilenceView) -> list[_Remote]:
        """What there is of it there, even if we never heard its id: an answer may have been lost."""
        found = [one for one in self._known.values() if one.id == silence.remote or one.ours == silence.id]
        return sorted(found, key=lambda one: one.id != silence.remote)

    async def _any(self, ask: Callable[[Client], Any]) -> Any:
        """The answer of the first Alertmanager that gives one. Raises Retryable, Permanent."""
        last: Retryable | Permanent | None = None
        for client in self._clients:
            try:
                return await ask(client)
            except (Retryable, Permanent) as error:
                last = error
        raise last or Retryable("no Alertmanager is configured")

    async def _look(self) -> None:
        """Which of our alerts are muted, by whom."""
        alerts = await asyncio.to_thread(self._alerts)
        firing = [alert for alert in alerts if alert.state is State.FIRING]
        muting = await self._muted_there(firing) if self._clients and firing else {}
        now = self._now()
        for alert in firing:
            for silence in self._ours:
                if silence.active(now) and silence.silences(dict(alert.labels)):
                    found = Muting(silence.id, silence.created_by, silence.comment, silence.ends_at)
                    muting[alert.labels] = found
        before, self._muting = self._muting, muting
        for alert in firing:
            if before.get(alert.labels) != muting.get(alert.labels):
                self._tell(alert, before.get(alert.labels), muting.get(alert.labels))

    async def _muted_there(self, firing: Sequence[AlertView]) -> dict[Labels, Muting]:
        by_labels = {frozenset((page_labels(alert, self._extra) or {}).items()): alert.labels for alert in firing}
        found: dict[Labels, Muting] = {}
        for alert in await self._any(lambda client: client.alerts()):
            labels = by_labels.pop(frozenset(alert.get("labels", {}).items()), None)
            status = alert.get("status", {})
            if labels is None:
                continue
            if silenced := status.get("silencedBy"):
                one = self._known.get(silenced[0])
                found[labels] = Muting(silenced[0]) if one is None else one.muting
            elif status.get("inhibitedBy"):
                found[labels] = Muting(inhibited=True)
        # an Alertmanager that was started anew knows its silences at once, but not yet the alerts
        lasting = self._lasting_there()
        for labels in by_labels.values():
            before = self._muting.get(labels)
            if before is not None and before.silence in lasting:
                found[labels] = lasting[before.silence]
        return found

    def _lasting_there(self) -> dict[str, Muting]:
        """How the silences that are active there mute, by id; without ours, of which we know better."""
        now, ours = self._now(), {silence.id for silence in self._ours}
        return {
            one.ours or one.id: one.muting
            for one in self._known.values()
            if not one.ended and now < one.ends_at and one.ours not in ours
        }


def _body(silence: SilenceView) -> dict[str, object]:
    mark = f"[custode {silence.id} until {silence.ends_at:.0f}]"
    return {
        "matchers": [one.json() for one in silence.matchers],
        "startsAt": moment(silence.starts_at),
        "endsAt": moment(silence.ends_at),
        "createdBy": silence.created_by,
        "comment": f"{silence.comment} {mark}".strip(),
    }


def _read_remote(written: Mapping[str, Any]) -> _Remote:
    comment, ends_at = str(written.get("comment", "")), _unix(written["endsAt"])
    mark = _MARK.search(comment)
    return _Remote(
        id=str(written["id"]),
        ended=written.get("status", {}).get("state") == "expired",
        ends_at=ends_at,
        by=str(written.get("createdBy", "")),
        comment=_MARK.sub("", comment).strip(),
        ours=None if mark is None else mark[1],
        meant=ends_at if mark is None else float(mark[2]),
    )


def _unix(written: object) -> float:
    return datetime.fromisoformat(str(written)).timestamp()
