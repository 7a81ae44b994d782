"""What becomes of a thread with each piece of news, and where it is told: pure functions, time passed in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.actions import Result, RunState, Source
from daemon.actions.events import Happened
from daemon.slack import routing
from daemon.slack.app import digest_day
from daemon.slack.blocks import root
from daemon.slack.news import AlertNews, News, RunFact, RunNews, read_news, silence_news, thread_of, write_news
from daemon.slack.settings import SlackSettings
from daemon.slack.thread import Facts, Stage, advance, answered, opened

AT = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
LABELS = {"alertname": "IndexBloat", "environment": "prod", "severity": "warning", "tier": "production"}


def settings(**options: Any) -> SlackSettings:
    return SlackSettings.model_validate({"token": "env:T", "channel": "#ops"} | options)


def alert(firing: bool = True, at: float = AT, **labels: str) -> AlertNews:
    carried = LABELS | labels
    return AlertNews(id=f"{sorted(carried.items())}{firing}{at}", at=at, labels=carried, firing=firing, value=1.0)


def run(happened: Happened, state: RunState, at: float = AT + 10, **fields: Any) -> RunNews:
    fact = RunFact(
        id="r1",
        action="reindex",
        environment="prod",
        source=Source.ALERT,
        requested_by="alert IndexBloat",
        state=state,
        digest="d1",
        needed=1,
        alert=",".join(f"{name}={LABELS[name]}" for name in sorted(LABELS)),
    ).model_copy(update=fields)
    return RunNews(id=f"r1:{happened}:{at}", at=at, happened=happened, run=fact, alert=LABELS)


def told(*news: News) -> Facts:
    facts = opened(news[0], AT)
    for each in news:
        facts = advance(facts, each)
    return facts


ASKED = run(Happened.ASKED, RunState.WAITING)
BEGUN = run(Happened.BEGUN, RunState.RUNNING, AT + 20)
FIXED = run(Happened.DONE, RunState.ENDED, AT + 30, result=Result.FIXED, ended_at=AT + 30)
NOT_FIXED = run(Happened.DONE, RunState.ENDED, AT + 30, result=Result.NOT_FIXED, ended_at=AT + 30)
SILENCED = silence_news(LABELS, until=AT + 7200, by="anna", at=AT + 5, id="s1")


@pytest.mark.parametrize(
    ("news", "stage", "buttons"),
    [
        ([alert()], Stage.FIRING, {"silence", "silence_for", "details"}),
        ([alert(action="reindex")], Stage.FIRING, {"run", "silence", "silence_for", "details"}),
        ([alert(), ASKED], Stage.ASKING, {"approve", "reject", "silence", "silence_for", "details"}),
        ([alert(), ASKED, BEGUN], Stage.ACTING, {"cancel", "silence", "silence_for", "details"}),
        ([alert(), BEGUN, FIXED], Stage.FIXED, {"silence", "silence_for", "details"}),
        ([alert(), BEGUN, FIXED, alert(False, AT + 40)], Stage.FIXED, {"details"}),
        ([alert(), BEGUN, NOT_FIXED], Stage.NOT_FIXED, {"silence", "silence_for", "details"}),
        ([alert(), SILENCED], Stage.SILENCED, {"unsilence", "details"}),
        ([alert(), alert(False, AT + 40)], Stage.RESOLVED, set()),
        ([alert(), alert(relname="b"), alert(False, AT + 40)], Stage.FIRING, {"silence", "silence_for", "details"}),
    ],
)
def test_stages_and_what_can_be_done_at_each(news: list[News], stage: Stage, buttons: set[str]) -> None:
    facts = told(*news)
    assert facts.stage is stage
    shown = root("0123456789ab", facts, now=AT + 50).attachments[0]["blocks"]
    elements = [element for block in shown if block["type"] == "actions" for element in block["elements"]]
    assert {element["action_id"].removeprefix("custode.") for element in elements} == buttons
    values = {element["value"] for element in elements if "value" in element}
    assert values <= {f"0123456789ab:{facts.version}"}


def test_another_plan_makes_old_buttons_stale_and_one_of_two_approvals_does_not() -> None:
    facts = told(alert(), ASKED)
    again = advance(facts, run(Happened.ANSWERED, RunState.WAITING, AT + 11))
    assert again.version == facts.version
    replanned = advance(facts, run(Happened.ASKED, RunState.WAITING, AT + 12, digest="d2"))
    assert replanned.version > facts.version


def test_news_that_comes_twice_or_late_changes_nothing() -> None:
    facts = told(alert(), ASKED, BEGUN, NOT_FIXED)
    assert advance(facts, BEGUN) == facts
    late = advance(facts, run(Happened.STEP, RunState.RUNNING, AT + 25))
    assert (late.stage, late.replies) == (facts.stage, facts.replies)


REJECTED = run(Happened.REFUSED, RunState.ENDED, AT + 12, result=Result.REFUSED, ended_at=AT + 12, attempt=1)
SEEN = ASKED.run.model_copy(update={"attempt": 1})  # by whoever looked before the news came


def test_an_answer_that_was_overtaken_by_a_rejection_opens_nothing_again() -> None:
    facts = told(alert(), run(Happened.ASKED, RunState.WAITING, attempt=1, needed=2), REJECTED)
    late = answered(facts, SEEN, "anna", approved=True)
    assert (late.stage, late.runs["r1"].result, late.version) == (Stage.FIRING, Result.REFUSED, facts.version)
    again = advance(late, run(Happened.ASKED, RunState.WAITING, AT + 50, id="r2"))
    assert again.focus is not None
    assert again.focus.id == "r2"
    assert advance(late, alert(False, AT + 60)).over


@pytest.mark.parametrize(
    ("known", "seen", "state"),
    [
        ((1, RunState.WAITING), (1, RunState.QUEUED), RunState.QUEUED),
        ((1, RunState.QUEUED), (1, RunState.WAITING), RunState.QUEUED),  # somebody else's was the last approval
        ((2, RunState.RUNNING), (1, RunState.WAITING), RunState.RUNNING),
        ((2, RunState.RUNNING), (1, RunState.QUEUED), RunState.RUNNING),
        ((1, RunState.RUNNING), (1, RunState.WAITING), RunState.WAITING),
        ((2, RunState.QUEUED), (3, RunState.WAITING), RunState.WAITING),  # the plan is another one
        ((2, RunState.QUEUED), (2, RunState.PAUSED), RunState.PAUSED),
        ((2, RunState.PAUSED), (2, RunState.QUEUED), RunState.QUEUED),
        ((0, RunState.ENDED), (2, RunState.RUNNING), RunState.ENDED),  # by a Custode that tells no attempt
        ((2, RunState.RUNNING), (2, RunState.ENDED), RunState.ENDED),
    ],
)
def test_a_look_counts_unless_it_is_older_than_what_is_known(
    known: tuple[int, RunState], seen: tuple[int, RunState], state: RunState
) -> None:
    facts = told(alert(), run(Happened.PARKED, known[1], attempt=known[0]))
    look = ASKED.run.model_copy(update={"attempt": seen[0], "state": seen[1]})
    found = answered(facts, look, "anna", approved=True).runs["r1"]
    assert (found.state, found.approved_by) == (state, ("anna",))


def test_a_run_that_parks_again_is_nothing_new_to_show() -> None:
    facts = told(alert(), run(Happened.PARKED, RunState.QUEUED, attempt=2))
    look = facts.runs["r1"].model_copy(update={"attempt": 3})
    assert answered(facts, look, "", approved=False) == facts
    assert answered(facts, look, "anna", approved=True) != facts


@given(
    st.lists(st.sampled_from([alert(), alert(False, AT + 40), ASKED, BEGUN, FIXED, NOT_FIXED, SILENCED]), min_size=1)
)
def test_whatever_comes_in_whatever_order_it_can_be_shown_and_stored(news: list[News]) -> None:
    facts = told(*news)
    assert Facts.model_validate(facts.model_dump(mode="json")) == facts
    assert root("0123456789ab", facts, now=AT).text
    assert len({reply.id for reply in facts.replies}) == len(facts.replies)
    versions = [told(*news[:count]).version for count in range(1, len(news) + 1)]
    assert versions == sorted(versions)


@pytest.mark.parametrize("news", [alert(), ASKED, SILENCED])
def test_news_survives_as_json_and_belongs_to_one_thread(news: News) -> None:
    assert read_news(write_news(news)) == news
    assert thread_of(news) == "alert:prod:IndexBloat"


def test_many_alerts_and_long_names_stay_within_the_limits() -> None:
    facts = opened(alert(), AT)
    for number in range(200):
        facts = advance(facts, alert(relname=f"<{number}>" * 100))
    (attachment,) = root("0123456789ab", facts, now=AT).attachments
    assert "and 190 more" in str(attachment)
    assert len(facts.alerts) == 100


@pytest.mark.parametrize(
    ("labels", "channel", "owners"),
    [
        ({}, "#ops", ("U0PRIMO",)),
        ({"environment": "qa"}, "#qa", ("U0PRIMO",)),
        ({"severity": "critical"}, "#pages", ("U0PRIMO",)),
        ({"severity": "critical", "promise": "reachable", "alertname": "EnvironmentDown"}, "#red", ("S0OPS", "U0ALL")),
        ({"promise": "backup", "alertname": "BackupTooOld"}, "#ops", ("U0DARIO",)),
    ],
)
def test_where_and_to_whom(labels: Mapping[str, str], channel: str, owners: tuple[str, ...]) -> None:
    options = settings(
        channels={"qa": "#qa"},
        severities={"critical": "#pages"},
        emergency={"channel": "#red", "mention": ["S0OPS"]},
        owners={"IndexBloat": ["U0PRIMO"], "backup": ["U0DARIO"], "default": ["U0ALL"]},
    )
    facts = told(alert(True, AT, **labels))
    assert (routing.channel_for(facts, options), routing.owners(facts, options)) == (channel, owners)


@pytest.mark.parametrize(
    ("clock", "severity", "until"),
    [
        ("21:59", "warning", None),
        ("22:00", "warning", "2026-12-01 07:00"),
        ("23:59", "critical", None),
        ("06:59", "warning", "2026-11-30 07:00"),
        ("07:00", "warning", None),
    ],
)
def test_quiet_hours_over_midnight_in_the_team_s_own_time(clock: str, severity: str, until: str | None) -> None:
    options = settings(quiet={"begin": "22:00", "end": "07:00"}, timezone="Europe/Rome")
    now = datetime.fromisoformat(f"2026-11-30 {clock}").replace(tzinfo=options.timezone).timestamp()
    found = routing.quiet_until(told(alert(severity=severity)), options, now)
    expected = None if until is None else datetime.fromisoformat(until).replace(tzinfo=options.timezone).timestamp()
    assert found == expected


@pytest.mark.parametrize(
    ("news", "opens"),
    [
        (alert(), True),
        (alert(severity="info"), False),
        (alert(False), False),
        (ASKED, True),
        (BEGUN, False),
        (NOT_FIXED, True),
        (FIXED, False),
        (SILENCED, False),
        (run(Happened.BEGUN, RunState.RUNNING, source=Source.PERSON), True),
    ],
)
def test_what_is_worth_a_thread(news: News, opens: bool) -> None:
    assert routing.opens(news, settings()) is opens


@pytest.mark.parametrize(
    ("clock", "day"), [("07:59", None), ("08:00", "2026-11-30"), ("08:59", "2026-11-30"), ("09:00", None)]
)
def test_when_the_day_s_promises_are_told(clock: str, day: str | None) -> None:
    options = settings(digest_at="08:00", timezone="Europe/Rome")
    now = datetime.fromisoformat(f"2026-11-30 {clock}").replace(tzinfo=options.timezone).timestamp()
    assert digest_day(options, now) == day


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "xoxb-plain"},
        {"quiet": {"begin": "25:00", "end": "7"}},
        {"timezone": "Mars"},
        {"channel": "#a b"},
        {"storm": 1},
    ],
)
def test_options_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"validation error"):
        settings(**wrong)
