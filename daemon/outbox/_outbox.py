"""From a notice to its receipt: written down, claimed, sent, tried again, given up."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.notifiers import Message, Permanent, Receipt, Retryable
from daemon.outbox import _rows as rows
from daemon.outbox._messages import message_notice
from daemon.outbox._metrics import OutboxMetrics
from daemon.outbox._notice import Notice, Sender
from daemon.outbox._spool import Spool, Spooled
from daemon.state import StateDatabase
from fleet.errors import StateError, StateRefusedError

log = structlog.get_logger()

SEND_SECONDS = 30.0
POLL_SECONDS = 2.0  # until rows are looked at again that another daemon wrote, or whose wait is over
SWEEP_SECONDS = 10.0
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds between two tries
DEFECTS = 8  # tries of what fails in a way that nobody foresaw
_BATCH = 500
_FAILURES = (StateError, TimeoutError)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of a sending: a receipt, an error that is final, or one after which it waits."""

    receipt: Receipt | None = None
    error: str = ""
    wait: float | None = None


class Outbox:
    """Gives every notice to its sender, one sender never delaying another.

    `put` at any time; `run` writes and sends until it is cancelled, and `drain` waits for what is on its way. `spool`
    is the file for what a process could not write down before it ended.
    """

    def __init__(
        self, state: StateDatabase, senders: Mapping[str, Sender], metrics: OutboxMetrics, *, spool: Path | None = None
    ) -> None:
        self._state = state
        self._senders = senders
        self._metrics = metrics
        self._path = spool
        self._spool = Spool()
        self._claim = uuid.uuid4().hex
        self._put, self._moved = asyncio.Event(), asyncio.Event()
        self._wakes = {name: asyncio.Event() for name in senders}
        self._paused: dict[str, float] = {}  # until when, by the loop's time
        self._sending = 0
        metrics.attach(senders)

    def post(self, message: Message, *, muted: bool = False) -> None:
        """Tell a message to everybody; one about what is `muted`, only to those who keep a record."""
        for name, sender in self._senders.items():
            if sender.hears_muted or not muted:
                self.put(message_notice(name, message))

    def put(self, notice: Notice) -> None:
        """Take it. What is for nobody that is configured is not taken. Never blocks, raises only what JSON refuses."""
        if notice.to in self._senders:
            self._spool.add(notice)
            self._metrics.spooled, self._metrics.dropped = len(self._spool), self._spool.dropped
            self._put.set()

    async def run(self) -> None:
        """Write and send, until cancelled."""
        self._load()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._write())
                group.create_task(self._sweep())
                for name, sender in self._senders.items():
                    for number in range(sender.parallel):
                        group.create_task(self._serve(name, sender), name=f"notifier {name} {number}")
        finally:
            self._save()
            await self._release()
            for sender in self._senders.values():
                await sender.close()

    async def drain(self, seconds: float) -> None:
        """Wait until all that was put is written down and what can be sent was sent, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                while await self._busy():
                    self._moved.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            await self._moved.wait()
        except TimeoutError:
            log.info("notices_left", in_memory=len(self._spool), being_sent=self._sending)

    async def _busy(self) -> bool:
        try:
            async with self._state.begin() as connection:
                return bool(self._spool or self._sending) or await rows.any_due(connection, list(self._senders))
        except StateError:
            direct = (one for one in self._spool if not self._senders[one.notice.to].needs_state)
            return bool(self._sending) or any(not one.ended for one in direct)

    async def _write(self) -> None:
        while True:
            self._put.clear()
            while batch := self._spool.to_write(_BATCH):
                if not await self._written(batch):
                    break
            wait = POLL_SECONDS if self._spool else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._put.wait()

    async def _written(self, batch: list[Spooled]) -> bool:
        """Whether there is reason to go on."""
        with _held(batch):
            try:
                async with self._state.begin() as connection:
                    await rows.insert(connection, [(one.notice, one.reference, one.error) for one in batch])
            except StateRefusedError as error:
                if len(batch) == 1:
                    log.error("notice_unwritable", key=batch[0].notice.key, error=error.message)  # noqa: TRY400
                    self._metrics.count(batch[0].notice.to, "dead")
                    self._spool.remove(batch[0])
                    return True
            except (StateError, TimeoutError):
                self._wake_all()  # some can do without
                return False
            else:
                for one in batch:
                    self._spool.remove(one)
                self._metrics.spooled = len(self._spool)
                self._moved.set()
                self._wake_all()
                return True
        return all([await self._written([one]) for one in batch])

    def _wake_all(self) -> None:
        for wake in self._wakes.values():
            wake.set()

    async def _serve(self, name: str, sender: Sender) -> None:
        loop, wake = asyncio.get_running_loop(), self._wakes[name]
        while True:
            wake.clear()
            pause = self._paused.get(name, 0.0) - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
            elif await self._busily(self._turn(name, sender)):
                continue
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await wake.wait()

    async def _busily(self, turn: Coroutine[Any, Any, bool]) -> bool:
        """The answer of a turn; until it is recorded what came of it, there is something to wait for."""
        self._sending += 1
        try:
            return await turn
        finally:
            self._sending -= 1
            self._moved.set()

    async def _turn(self, name: str, sender: Sender) -> bool:
        """Send one notice; whether there was one."""
        try:
            async with self._state.begin(durable=False) as connection:
                claimed = await rows.claim(connection, name, self._claim, 1)
        except _FAILURES:
            return not sender.needs_state and await self._turn_in_memory(name, sender)
        for one in claimed:
            answer = await self._sent(name, sender, one.notice, one.attempts)
            try:
                async with self._state.begin(durable=False) as connection:
                    await _record(connection, one, answer)
            except _FAILURES:
                if answer.receipt is not None:  # else its claim runs out, and it goes again
                    self._spool.add(one.notice).reference = answer.receipt.reference
                    self._put.set()
        return bool(claimed)

    async def _turn_in_memory(self, name: str, sender: Sender) -> bool:
        now = asyncio.get_running_loop().time
        one = self._spool.to_send(name, now())
        if one is None:
            return False
        with _held([one]):
            one.attempts += 1
            answer = await self._sent(name, sender, one.notice, one.attempts)
        if answer.receipt is not None:
            one.reference = answer.receipt.reference
        elif answer.wait is not None:
            one.not_before = now() + answer.wait
        else:
            one.error = answer.error
        self._put.set()
        return True

    async def _sent(self, name: str, sender: Sender, notice: Notice, attempt: int) -> _Answer:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                receipt = await sender.send(notice)
        except (Retryable, StateError, TimeoutError) as error:
            after = error.after if isinstance(error, Retryable) else None
            if after is not None:
                self._paused[name] = asyncio.get_running_loop().time() + after
            answer = _Answer(error=_said(error), wait=backoff(attempt) if after is None else after)
        except Permanent as error:
            answer = _Answer(error=_said(error))
        except Exception as error:  # a notifier's defect must not silence the others, nor itself for ever
            log.exception("notifier_failed", notifier=name)
            answer = _Answer(error=_said(error), wait=backoff(attempt) if attempt < DEFECTS else None)
        else:
            answer = _Answer(receipt)
        self._tell(name, notice, attempt, answer)
        return answer

    def _tell(self, name: str, notice: Notice, attempt: int, answer: _Answer) -> None:
        if answer.receipt is not None:
            self._metrics.count(name, "sent")
            return
        self._metrics.count(name, "failed")
        if answer.wait is None:
            self._metrics.count(name, "dead")
            log.error("message_not_sent", notifier=name, message=notice.key, error=answer.error)
        elif attempt == 1:
            log.warning("message_delayed", notifier=name, message=notice.key, error=answer.error)

    async def _sweep(self) -> None:
        while True:
            with suppress(*_FAILURES):
                async with self._state.begin() as connection:
                    given_up, self._metrics.standing = await rows.sweep(connection)
                for name in given_up:
                    self._metrics.count(name, "dead")
                    log.error("message_not_sent", notifier=name, error="not sent within a day")
            await asyncio.sleep(SWEEP_SECONDS)

    async def _release(self) -> None:
        """What was being sent need not wait until the claim runs out."""
        with suppress(*_FAILURES):
            async with asyncio.timeout(2.0), self._state.begin() as connection:
                await rows.release(connection, self._claim)

    def _load(self) -> None:
        if self._path is not None:
            try:
                self._spool.load(self._path)
                self._path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("spool_unreadable", path=str(self._path), error=str(error))

    def _save(self) -> None:
        if self._path is not None:
            try:
                self._spool.save(self._path)
            except OSError as error:
                log.error("notices_lost", path=str(self._path), error=str(error), count=len(self._spool))  # noqa: TRY400


def backoff(attempt: int) -> float:
    """Seconds to wait after the attempt of this number."""
    return min(FIRST_WAIT * 2.0 ** min(attempt - 1, 20), LONGEST_WAIT)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


@contextmanager
def _held(spooled: list[Spooled]) -> Iterator[None]:
    for one in spooled:
        one.held = True
    try:
        yield
    finally:
        for one in spooled:
            one.held = False


async def _record(connection: AsyncConnection, claimed: rows.Claimed, answer: _Answer) -> None:
    if answer.receipt is not None:
        await rows.note_sent(connection, claimed, answer.receipt.reference)
    elif answer.wait is not None:
        await rows.put_off(connection, claimed, answer.error, answer.wait)
    else:
        await rows.bury(connection, claimed, answer.error)
