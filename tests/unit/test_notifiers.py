"""Notifiers and the messages that they get."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from daemon.actions import ActionEvent, Happened, Result, Run, RunState, Source
from daemon.notifiers import Message, Notifier, Permanent, Retryable, Severity
from daemon.notifiers.console import ConsoleNotifier
from daemon.notifiers.jsonl import JsonLinesNotifier
from daemon.notify import action_message, alert_message, muting_message, told_before
from daemon.silences import Muting
from fleet.secrets import Secrets
from rules import AlertView, Labels, State

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
SECRETS = Secrets(time.monotonic)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def printed(*messages: Message, **options: Any) -> str:
    out = io.StringIO()
    notifier = ConsoleNotifier(Notifier.Options(), SECRETS, Console(file=out, highlight=False, width=80, **options))

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
    notifier = JsonLinesNotifier(JsonLinesNotifier.Options(path=path), SECRETS)
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
        await JsonLinesNotifier(JsonLinesNotifier.Options(path=tmp_path / "full"), SECRETS).send(FIRING)
    with pytest.raises(Permanent):
        await JsonLinesNotifier(JsonLinesNotifier.Options(path=tmp_path), SECRETS).send(FIRING)
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent):
        await JsonLinesNotifier(JsonLinesNotifier.Options(path=tmp_path / "file" / "below"), SECRETS).send(FIRING)


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


ALERT = AlertView(
    "A", Labels({"alertname": "A", "environment": "qa"}), {}, 1.0, State.FIRING, 900.0, 1000.0, None, None
)


def test_what_changed_within_a_day_is_told_again_with_the_same_id() -> None:
    resolved = replace(ALERT, state=State.RESOLVED, resolved_at=2000.0)
    old, waiting = replace(ALERT, fired_at=-90_000.0), replace(ALERT, state=State.PENDING, fired_at=None)
    again = [alert_message(change) for change in told_before([ALERT, resolved, old, waiting], 3000.0)]
    first = [
        alert_message(Change("firing", ALERT.labels, {}, at=1000.0)),
        alert_message(Change("resolved", ALERT.labels, {}, at=2000.0)),
    ]
    assert [one and one.id for one in again] == [one and one.id for one in first]


def test_a_silence_is_news_and_an_inhibition_is_not() -> None:
    silenced = Muting("s1", "Ada", "known", 5000.0)
    message = muting_message(ALERT, None, silenced, 1000.0)
    over = muting_message(ALERT, silenced, None, 2000.0)
    assert message is not None
    assert over is not None
    assert (message.title, message.text, over.title) == ("A silenced by Ada", "known", "A is silenced no longer")
    assert message.thread == over.thread
    assert len({message.id, over.id}) == 2
    other = muting_message(replace(ALERT, labels=Labels({"alertname": "B"})), None, silenced, 1000.0)
    assert other is not None
    assert other.id != message.id
    assert muting_message(ALERT, None, Muting(inhibited=True), 1000.0) is None
