"""The outbox on a real state database: at least once, in order, once a key, later, never, and without a database."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from daemon.notifiers import Message, Permanent, Receipt, Retryable, Severity
from daemon.notifiers.jsonl import JsonLinesNotifier
from daemon.outbox import MessageSender, Notice, Outbox, OutboxMetrics
from daemon.outbox import _rows as rows
from daemon.state import StateDatabase, raw
from fleet.secrets import Secrets, SecretText
from tests.integration.states import StateOpener

AT = 1_800_000_000.0


class Scripted:
    """Fails as it is told, then succeeds; `hold` keeps it sending."""

    hears_muted = False

    def __init__(self, *errors: Exception, parallel: int = 1, needs_state: bool = False) -> None:
        self.errors = list(errors)
        self.parallel, self.needs_state = parallel, needs_state
        self.hold: dict[str, asyncio.Event] = {}
        self.begun: list[str] = []
        self.sent: list[str] = []
        self.payloads: dict[str, Mapping[str, Any]] = {}
        self.closed = False

    async def send(self, notice: Notice) -> Receipt:
        self.begun.append(notice.key)
        if notice.thread in self.hold:
            await self.hold[notice.thread].wait()
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(notice.key)
        self.payloads[notice.key] = notice.payload
        return Receipt(f"at {notice.key}")

    async def close(self) -> None:
        self.closed = True


def notice(key: str, thread: str = "t", *, to: str = "s", slot: str | None = None, **payload: object) -> Notice:
    return Notice(to, thread, key, payload, AT, slot)


@asynccontextmanager
async def running(outbox: Outbox) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(outbox.run())
        await asyncio.sleep(0)  # a task that is cancelled before it has begun does nothing at its end
        try:
            yield
        finally:
            task.cancel()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - whoever makes it true tells nobody
            await asyncio.sleep(0.01)


async def table(state: StateDatabase) -> list[asyncpg.Record]:
    async with state.begin() as connection:
        return await (await raw(connection)).fetch("select * from outbox order by id")


def counted(metrics: OutboxMetrics) -> dict[str, float]:
    return {sample.name: sample.value for family in metrics.collect() for sample in family.samples}


async def test_sent_once_in_order_with_a_receipt_however_often_it_is_put(state: StateDatabase) -> None:
    sender, metrics = Scripted(), OutboxMetrics()
    outbox = Outbox(state, {"s": sender}, metrics)
    async with running(outbox):
        for number in range(50):
            outbox.put(notice(f"k{number:02}", f"t{number % 3}", text="città\0\ud800", figure=math.nan))
            outbox.put(notice(f"k{number:02}", f"t{number % 3}"))
        outbox.put(notice("x", to="nobody"))
        await outbox.drain(20)
        outbox.put(notice("k07"))
        await outbox.drain(20)
    assert sender.sent == [f"k{number:02}" for number in range(50)]
    assert sender.payloads["k00"] == {"text": "città\ufffd?", "figure": "NaN"}
    assert sender.closed
    written = await table(state)
    assert [row["reference"] for row in written] == [f"at k{number:02}" for number in range(50)]
    assert all(row["sent_at"] for row in written)
    assert counted(metrics)["custode_outbox_sent_total"] == 50


async def test_a_thread_waits_for_its_first_and_others_do_not(state: StateDatabase) -> None:
    sender = Scripted(Retryable("busy"))
    outbox = Outbox(state, {"s": sender}, OutboxMetrics())
    async with running(outbox):
        for key, thread in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")):
            outbox.put(notice(key, thread))
        await until(lambda: len(sender.sent) == 4)
    assert sender.sent == ["b1", "b2", "a1", "a2"]
    assert sender.begun == ["a1", "b1", "b2", "a1", "a2"]


async def test_a_sender_that_was_asked_to_wait_is_left_alone_so_long(state: StateDatabase) -> None:
    sender, other = Scripted(Retryable("429", after=1.0)), Scripted()
    outbox = Outbox(state, {"s": sender, "o": other}, OutboxMetrics())
    begun = asyncio.get_running_loop().time()
    async with running(outbox):
        for key in ("a", "b"):
            outbox.put(notice(key, key))
            outbox.put(notice(key, key, to="o"))
        await until(lambda: len(other.sent) == 2)
        assert sender.begun == ["a"]
        await until(lambda: len(sender.sent) == 2)
    assert asyncio.get_running_loop().time() - begun >= 1.0


async def test_what_hangs_delays_no_other_thread_that_has_a_place_nor_another_sender(state: StateDatabase) -> None:
    sender, other = Scripted(parallel=2), Scripted()
    sender.hold["a"] = asyncio.Event()
    outbox = Outbox(state, {"s": sender, "o": other}, OutboxMetrics())
    async with running(outbox):
        for number in range(3):
            outbox.put(notice(f"a{number}", "a"))
            outbox.put(notice(f"b{number}", "b"))
            outbox.put(notice(f"o{number}", "a", to="o"))
        await until(lambda: len(sender.sent) + len(other.sent) == 6)
        assert sender.sent == ["b0", "b1", "b2"]
        sender.hold["a"].set()
        await until(lambda: len(sender.sent) == 6)
    assert sender.sent[3:] == ["a0", "a1", "a2"]


async def test_of_a_slot_only_the_newest_is_sent(state: StateDatabase) -> None:
    sender = Scripted()
    sender.hold["t"] = asyncio.Event()
    outbox = Outbox(state, {"s": sender}, OutboxMetrics())
    async with running(outbox):
        outbox.put(notice("r1", slot="root"))
        await until(lambda: sender.begun)
        for key, slot in (("r2", "root"), ("reply", None), ("r3", "root"), ("p1", "progress"), ("r4", "root")):
            outbox.put(notice(key, slot=slot))
        await until(lambda: len(outbox._spool) == 0)
        sender.hold["t"].set()
        await until(lambda: "r4" in sender.sent)
    assert sender.sent == ["r1", "reply", "p1", "r4"]
    assert [row["key"] for row in await table(state) if row["error"]] == ["r2", "r3"]


@pytest.mark.parametrize(("error", "tries"), [(Permanent("no such channel"), 1), (RuntimeError("a defect"), 2)])
async def test_what_never_goes_is_a_dead_letter_and_the_thread_goes_on(
    state: StateDatabase, error: Exception, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.outbox._outbox.DEFECTS", 2)
    sender, metrics = Scripted(*[error] * tries), OutboxMetrics()
    outbox = Outbox(state, {"s": sender}, metrics)
    with capture_logs() as logs:
        async with running(outbox):
            outbox.put(notice("a"))
            outbox.put(notice("b"))
            await until(lambda: sender.sent)
            await outbox.drain(10)
    assert (sender.begun, sender.sent) == (["a"] * tries + ["b"], ["b"])
    assert [entry["message"] for entry in logs if entry["event"] == "message_not_sent"] == ["a"]
    (dead, sent) = await table(state)
    assert dead["dead_at"] is not None
    assert dead["error"] == str(error)
    assert sent["sent_at"] is not None
    assert counted(metrics)["custode_outbox_dead_total"] == 1
    async with state.begin() as connection:
        _, standing = await rows.sweep(connection)
    assert (standing["s"].waiting, standing["s"].dead) == (0, 1)


async def test_what_waits_for_a_day_is_given_up_and_what_is_a_week_old_forgotten(state: StateDatabase) -> None:
    async with state.begin() as connection:
        await rows.insert(connection, [(notice(key), None, None) for key in ("day", "new")])
        await rows.insert(connection, [(notice("week"), "there", None)])
        session = await raw(connection)
        await session.execute("update outbox set created_at = now()")
        await session.execute("update outbox set created_at = now() - interval '25 hours' where key = 'day'")
        await session.execute("update outbox set created_at = now() - interval '8 days' where key = 'week'")
        given_up, standing = await rows.sweep(connection)
        assert given_up == ["s"]
        assert (standing["s"].waiting, standing["s"].dead) == (1, 1)
    assert [(row["key"], row["dead_at"] is None) for row in await table(state)] == [("day", False), ("new", True)]


async def test_two_daemons_send_once_and_in_order(state: StateDatabase, open_state: StateOpener) -> None:
    sent: list[str] = []

    class Shared(Scripted):
        async def send(self, notice: Notice) -> Receipt:
            sent.append(notice.key)
            await asyncio.sleep(0)
            return Receipt()

    outboxes = [Outbox(one, {"s": Shared(parallel=2)}, OutboxMetrics()) for one in (state, await open_state())]
    async with running(outboxes[0]), running(outboxes[1]):
        for number in range(60):
            outboxes[number // 3 % 2].put(notice(f"{number // 3:02}.{number % 3}", f"t{number // 3}"))
        await until(lambda: len(sent) >= 60)
        await outboxes[0].drain(10)
    assert len(sent) == 60
    for thread in range(20):
        assert [key for key in sent if key.startswith(f"{thread:02}.")] == [f"{thread:02}.{n}" for n in range(3)]


async def test_what_a_process_was_sending_when_it_died_goes_again(state: StateDatabase) -> None:
    async with state.begin() as connection:
        await rows.insert(connection, [(notice("a"), None, None), (notice("b"), None, None)])
        assert [one.notice.key for one in await rows.claim(connection, "s", "dead", 5)] == ["a"]
    sender = Scripted()
    outbox = Outbox(state, {"s": sender}, OutboxMetrics())
    async with running(outbox):
        await asyncio.sleep(0.2)
        assert sender.begun == []  # its claim holds
        async with state.begin() as connection:
            await (await raw(connection)).execute("update outbox set not_before = now() where key = 'a'")
        await until(lambda: sender.sent == ["a", "b"])


async def test_a_process_that_stops_gives_back_what_it_was_sending(state: StateDatabase) -> None:
    sender = Scripted()
    sender.hold["t"] = asyncio.Event()
    with suppress(asyncio.CancelledError):
        outbox = Outbox(state, {"s": sender}, OutboxMetrics())
        async with running(outbox):
            outbox.put(notice("a"))
            await until(lambda: sender.begun)
    (row,) = await table(state)
    assert (row["claim"], row["not_before"], row["sent_at"]) == (None, None, None)


async def test_with_the_state_database_away_who_can_is_told_from_memory_and_all_is_written_down_later(
    state: StateDatabase, state_url: SecretText, sql: asyncpg.Connection
) -> None:
    direct, stateful, metrics = Scripted(Retryable("once")), Scripted(needs_state=True), OutboxMetrics()
    outbox = Outbox(state, {"d": direct, "s": stateful}, metrics)
    state._lose("it was unplugged")
    async with running(outbox):
        for number in range(4):
            outbox.put(notice(f"k{number}", to="d", slot="root" if number in {1, 3} else None))
            outbox.put(notice(f"k{number}", to="s"))
        await until(lambda: len(direct.sent) == 3)
        assert direct.sent == ["k0", "k2", "k3"]
        assert stateful.begun == []
        assert counted(metrics)["custode_outbox_spooled"] == 8
        await state.open()
        await until(lambda: len(stateful.sent) == 4)
        await outbox.drain(10)
    assert direct.sent == ["k0", "k2", "k3"]
    assert stateful.sent == ["k0", "k1", "k2", "k3"]
    assert all(row["sent_at"] is not None for row in await table(state))


async def test_what_was_sent_while_the_state_database_went_away_does_not_go_again(state: StateDatabase) -> None:
    class Unplugging(Scripted):
        async def send(self, notice: Notice) -> Receipt:
            state._lose("it was unplugged")
            return await super().send(notice)

    sender = Unplugging(needs_state=True)
    outbox = Outbox(state, {"s": sender}, OutboxMetrics())
    async with running(outbox):
        outbox.put(notice("a"))
        await until(lambda: len(outbox._spool) == 1 and sender.sent)
        await state.open()
        await until(lambda: len(outbox._spool) == 0)
    (row,) = await table(state)
    assert (sender.begun, row["reference"], row["sent_at"] is not None) == (["a"], "at a", True)


async def test_a_process_that_ends_without_the_state_database_leaves_a_file(
    state: StateDatabase, tmp_path: Path
) -> None:
    path, sender = tmp_path / "outbox.jsonl", Scripted(needs_state=True)
    state._lose("it was unplugged")
    outbox = Outbox(state, {"s": sender}, OutboxMetrics(), spool=path)
    async with running(outbox):
        outbox.put(notice("a", text="x"))
        outbox.put(notice("b"))
        await outbox.drain(0.05)
    assert [json.loads(line)[2] for line in path.read_text().splitlines()] == ["a", "b"]
    assert path.stat().st_mode & 0o777 == 0o600
    await state.open()
    again = Scripted(needs_state=True)
    async with running(Outbox(state, {"s": again}, OutboxMetrics(), spool=path)):
        await until(lambda: again.sent == ["a", "b"])
    assert again.payloads["a"] == {"text": "x"}
    assert not path.exists()


async def test_a_full_spool_drops_the_oldest_and_says_so(state: StateDatabase) -> None:
    metrics = OutboxMetrics()
    outbox = Outbox(state, {"s": Scripted()}, metrics)
    outbox._spool._size = 3
    for number in range(5):
        outbox.put(notice(f"k{number}"))
    assert [one.notice.key for one in outbox._spool] == ["k2", "k3", "k4"]
    assert counted(metrics)["custode_outbox_dropped_total"] == 2


async def test_a_message_goes_to_everybody_and_what_is_muted_to_those_who_keep_a_record(state: StateDatabase) -> None:
    mail, record = Scripted(), Scripted()
    record.hears_muted = True
    outbox = Outbox(state, {"mail": mail, "record": record}, OutboxMetrics())
    message = Message("m1", "alert", Severity.CRITICAL, "A firing", AT, "qa", thread="a", facts={"kind": "x"})
    async with running(outbox):
        outbox.post(message)
        outbox.post(replace(message, id="m2"), muted=True)
        await outbox.drain(10)
    assert (mail.sent, record.sent) == (["m1"], ["m1", "m2"])
    written = await table(state)
    assert {row["thread"] for row in written} == {"a"}
    assert Message(**record.payloads["m1"]) == message


async def test_a_message_as_another_version_wrote_it_is_a_dead_letter(state: StateDatabase, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    notifier = JsonLinesNotifier(JsonLinesNotifier.Options(path=path), Secrets(time.monotonic))
    outbox = Outbox(state, {"jsonl": MessageSender(notifier)}, OutboxMetrics())
    async with running(outbox):
        outbox.put(notice("old", to="jsonl", text="x"))
        outbox.post(Message("new", "alert", Severity.GOOD, "A resolved", AT))
        await outbox.drain(10)
    assert [json.loads(line)["severity"] for line in path.read_text().splitlines()] == ["good"]
    assert [row["dead_at"] is not None for row in await table(state)] == [True, False]


async def test_names_of_any_length_are_kept_apart(state: StateDatabase) -> None:
    sender = Scripted()
    outbox = Outbox(state, {"s": sender}, OutboxMetrics())
    async with running(outbox):
        for end in "abb":
            outbox.put(notice("é" * 5000 + end, "t" * 5000 + end))
        await outbox.drain(10)
    assert len(sender.sent) == 2
