"""Notifiers, the messages that they get, and the fan-out between."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from daemon.actions import ActionEvent, Happened, Result, Run, RunState, Source
from daemon.notifiers import Message, Notifier, Permanent, Receipt, Retryable, Severity
from daemon.notifiers.console import ConsoleNotifier
from daemon.notifiers.jsonl import JsonLinesNotifier
from daemon.notify import ATTEMPTS, Fanout, action_message, alert_message

FIRING = Message(
    "m1",
    "alert",
    Severity.CRITICAL,
    "BackupTooOld firing: no backup for 3h",
    1_785_312_900.0,
    "production",
    "the last one is of 05:00",
    {"copy": "local"},
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def printed(*messages: Message, **options: Any) -> str:
    out = io.StringIO()
    notifier = ConsoleNotifier(Notifier.Options(), Console(file=out, highlight=False, width=80, **options))

    async def send() -> None:
        for message in messages:
            await notifier.send(message)

    asyncio.run(send())
    return out.getvalue()


def test_one_line_and_its_details_below() -> None:
    first, *details = printed(replace(FIRING, kind="action")).splitlines()
    assert re.fullmatch(r"\d\d:\d\d:00 ✖ production  BackupTooOld firing: no backup for 3h", first)
    assert [line.strip() for line in details] == ["the last one is of 05:00", "copy=local"]


def test_an_alert_is_told_in_words_or_by_its_labels() -> None:
    assert [line.strip() for line in printed(FIRING).splitlines()[1:]] == ["the last one is of 05:00"]
    assert [line.strip() for line in printed(replace(FIRING, text="")).splitlines()[1:]] == ["copy=local"]


@pytest.mark.parametrize(
    ("message", "sign", "colour"),
    [
        (FIRING, "✖", "31"),
        (replace(FIRING, severity=Severity.WARNING), "▲", "31"),
        (replace(FIRING, severity=Severity.GOOD), "✔", "32"),
        (replace(FIRING, kind="action", severity=Severity.INFO), "▶", "34"),
        (replace(FIRING, kind="action", severity=Severity.CRITICAL), "✖", "31"),
        (replace(FIRING, kind="config", severity=Severity.INFO), "●", "36"),
    ],
)
def test_sign_and_colour_tell_how_it_is_meant(message: Message, sign: str, colour: str) -> None:
    text = printed(message, force_terminal=True, color_system="standard")
    assert re.search(rf"\x1b\[(1;)?{colour}m{sign}", text)


def test_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not COLOUR.search(printed(FIRING))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", printed(FIRING, force_terminal=True))


@pytest.mark.parametrize(
    "name", ["[red]x[/red]", "[/]", "a\nb", "a\x1b[31mb", "a\x07b", "a\u202eb", "[link=http://x]y[/link]", "\ud800"]
)
def test_names_out_of_databases_cannot_draw_on_the_terminal(name: str) -> None:
    text = printed(replace(FIRING, kind="action", title=name, environment=name, text=name, fields={name: name}))
    assert len(text.splitlines()) == 3
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[" not in name or "[" in text


def test_a_long_line_is_not_broken() -> None:
    assert len(printed(replace(FIRING, title="x " * 200)).splitlines()) == 2


async def test_json_lines_are_appended_and_follow_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.jsonl"
    notifier = JsonLinesNotifier(JsonLinesNotifier.Options(path=path))
    await notifier.send(FIRING)
    await notifier.send(replace(FIRING, id="m2", title="città\n"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["m1", "m2"]
    assert lines[0] == {
        "id": "m1",
        "kind": "alert",
        "severity": "critical",
        "title": FIRING.title,
        "at": FIRING.at,
        "environment": "production",
        "text": FIRING.text,
        "fields": {"copy": "local"},
    }
    path.rename(tmp_path / "old.jsonl")
    await notifier.send(replace(FIRING, id="m3"))
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["m3"]


async def test_a_full_disk_is_worth_another_try_a_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(Retryable, match="No space left"):
        await JsonLinesNotifier(JsonLinesNotifier.Options(path=tmp_path / "full")).send(FIRING)
    with pytest.raises(Permanent):
        await JsonLinesNotifier(JsonLinesNotifier.Options(path=tmp_path)).send(FIRING)
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent):
        await JsonLinesNotifier(JsonLinesNotifier.Options(path=tmp_path / "file" / "below")).send(FIRING)


class Scripted(Notifier):
    """Fails as it is told, then succeeds."""

    name = "scripted"
    summary = "for tests"

    def __init__(self, *errors: Exception, hold: asyncio.Event | None = None) -> None:
        self.errors = list(errors)
        self.hold = hold
        self.sent: list[str] = []
        self.attempts = 0
        self.closed = False

    async def send(self, message: Message) -> Receipt:
        self.attempts += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(message.id)
        return Receipt()

    async def close(self) -> None:
        self.closed = True


@dataclass
class Waits:
    """A sleep that only notes how long it was asked to be."""

    asked: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


async def fan_out(notifiers: Mapping[str, Notifier], *messages: Message, **options: Any) -> None:
    fanout = Fanout(notifiers, **options)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(fanout.run())
        for message in messages:
            fanout.post(message)
        await fanout.drain(5)
        serving.cancel()


async def test_retries_wait_longer_each_time_or_as_long_as_asked() -> None:
    waits = Waits()
    scripted = Scripted(Retryable("a"), Retryable("b"), Retryable("c", after=17), TimeoutError(), Retryable("d"))
    await fan_out({"s": scripted}, FIRING, sleep=waits)
    assert waits.asked == [1, 2, 17, 8, 16]
    assert scripted.sent == ["m1"]
    assert scripted.closed


async def test_tries_are_bounded_and_the_next_message_goes_out() -> None:
    waits = Waits()
    scripted = Scripted(*[Retryable("down")] * ATTEMPTS)
    with capture_logs() as logs:
        await fan_out({"s": scripted}, FIRING, replace(FIRING, id="m2"), sleep=waits)
    assert scripted.sent == ["m2"]
    assert max(waits.asked) == 60
    assert [entry["event"] for entry in logs] == ["message_not_sent"]


@pytest.mark.parametrize("error", [Permanent("no such channel"), RuntimeError("a bug")])
async def test_what_cannot_help_is_not_tried_again(error: Exception) -> None:
    scripted, other = Scripted(error), Scripted()
    with capture_logs() as logs:
        await fan_out({"s": scripted, "o": other}, FIRING, replace(FIRING, id="m2"), sleep=Waits())
    assert (scripted.attempts, scripted.sent) == (2, ["m2"])
    assert other.sent == ["m1", "m2"]
    assert [entry["event"] for entry in logs] == ["message_not_sent"]


async def test_a_notifier_that_hangs_delays_no_other_and_its_queue_is_bounded() -> None:
    hold = asyncio.Event()
    hanging, other = Scripted(hold=hold), Scripted()
    fanout = Fanout({"h": hanging, "o": other}, size=3)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(fanout.run())
            for number in range(10):
                fanout.post(replace(FIRING, id=f"m{number}"))
                await asyncio.wait_for(fanout._queues["o"].join(), 5)
            assert len(other.sent) == 10
            hold.set()
            await fanout.drain(5)
            serving.cancel()
    assert hanging.sent == ["m0", "m1", "m2", "m3"]
    assert [entry["message"] for entry in logs if entry["event"] == "message_dropped"] == [
        f"m{n}" for n in range(4, 10)
    ]


async def test_drain_gives_up_in_time() -> None:
    fanout = Fanout({"h": Scripted(hold=asyncio.Event())})
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(fanout.run())
            fanout.post(FIRING)
            fanout.post(FIRING)
            await fanout.drain(0.01)
            serving.cancel()
    assert logs[0] == {"event": "messages_left_unsent", "log_level": "warning", "queued": {"h": 1}}


@dataclass(frozen=True)
class Change:
    """As the rule engine tells it."""

    after: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=lambda: {"summary": "no backup for 3h", "description": "d"})
    value: float = 10800.0
    at: float = 1000.0


LABELS = {"alertname": "BackupTooOld", "environment": "qa", "severity": "critical", "copy": "local", "tier": "qa"}


def test_an_alert_becomes_a_message() -> None:
    message = alert_message(Change("firing", LABELS))
    assert message is not None
    assert message.title == "BackupTooOld firing: no backup for 3h"
    assert (message.severity, message.environment, message.kind) == (Severity.CRITICAL, "qa", "alert")
    assert message.fields == {"copy": "local", "value": "10800"}
    resolved = alert_message(Change("resolved", LABELS, at=2000.0))
    assert resolved is not None
    assert (resolved.severity, resolved.fields, resolved.text) == (Severity.GOOD, {"copy": "local"}, "")
    assert resolved.id != message.id
    assert message == alert_message(Change("firing", dict(reversed(LABELS.items()))))


@pytest.mark.parametrize("after", ["pending", "inactive"])
def test_other_changes_are_no_news(after: str) -> None:
    assert alert_message(Change(after, LABELS)) is None


def test_a_severity_that_we_do_not_know_is_a_warning() -> None:
    message = alert_message(Change("firing", {"alertname": "X", "severity": "page"}, {}))
    assert message is not None
    assert (message.severity, message.title) == (Severity.WARNING, "X firing")


RUN = Run(
    id="r1",
    key="k",
    source=Source.ALERT,
    environment="qa",
    action="backup",
    object="",
    parameters={},
    requested_by="alert TooOld",
    requested_at=1.0,
    reason="",
    alert=None,
    state=RunState.RUNNING,
    approvals_needed=1,
)


@pytest.mark.parametrize(
    ("kind", "result", "title", "severity"),
    [
        (Happened.REQUESTED, None, "backup requested", Severity.INFO),
        (Happened.PLANNED, None, "backup planned", Severity.INFO),
        (Happened.PARKED, None, "backup waits", Severity.INFO),
        (Happened.ASKED, None, "backup waits for an approval", Severity.WARNING),
        (Happened.ANSWERED, None, "backup answered", Severity.INFO),
        (Happened.TAKEN_OVER, None, "backup taken over", Severity.INFO),
        (Happened.STEP, None, "backup t done", Severity.INFO),
        (Happened.REFUSED, Result.REFUSED, "backup refused", Severity.INFO),
        (Happened.DONE, Result.FIXED, "backup fixed", Severity.GOOD),
        (Happened.DONE, Result.NOT_FIXED, "backup not fixed", Severity.WARNING),
        (Happened.DONE, Result.FAILED, "backup failed", Severity.CRITICAL),
        (Happened.DONE, Result.CANCELLED, "backup cancelled", Severity.INFO),
        (Happened.ESCALATED, None, "backup needs a person", Severity.CRITICAL),
    ],
)
def test_an_event_of_an_action_becomes_a_message(
    kind: Happened, result: Result | None, title: str, severity: Severity
) -> None:
    message = action_message(ActionEvent(kind, RUN, 2.0, "t", {"bytes": 1234567, "seconds": 1.25, "a": "b"}, result))
    assert (message.title, message.severity, message.environment, message.kind) == (title, severity, "qa", "action")
    assert message.fields == {"bytes": "1,234,567", "seconds": "1.25", "a": "b"}
    assert message.id == f"action:r1:{kind.value}:2.000000"


def test_who_is_asked_is_told_how_to_answer() -> None:
    asked = ActionEvent(Happened.ASKED, replace(RUN, approvals_needed=2), 2.0, "the plan")
    message = action_message(asked)
    assert message.title == "backup waits for two approvals"
    assert message.text == "the plan\ncustode actions approve r1, or reject"
    assert action_message(replace(asked, kind=Happened.STEP)).text == ""
    assert action_message(replace(asked, at=3.0)).id != message.id
