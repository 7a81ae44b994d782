"""What pages of actions say: figures and what became of them, entries of the ledger, what can be done with a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actions import Plan
from daemon.actions.operators import Operators
from daemon.actions.request import Result, Source
from daemon.actions.views import Answer, LedgerView, Run, RunState
from daemon.config import OperatorSettings, parse
from daemon.page.figures import changes, figure, figures_line, words
from daemon.page.sentences import sentence
from daemon.page.standing import Rules, place, standing
from daemon.parts import make_actions
from fleet.policy import Risk

SETTINGS = parse(
    "environments: {qa: {tier: qa, dsn: postgresql://u@h/d}, prod: {tier: production, dsn: postgresql://u@h/e}}",
    Path("/nowhere/custode.yml"),
)
OPERATORS = {
    "anna": OperatorSettings(),
    "bruno": OperatorSettings(),
    "carla": OperatorSettings(may=("request",)),
    "dora": OperatorSettings(environments=("qa",), risks=(Risk.SAFE,)),
}


def rules(**operators: OperatorSettings) -> Rules:
    return Rules(SETTINGS, Operators(operators or OPERATORS, "root"), make_actions())


def run(state: RunState, **fields: Any) -> Run:
    values: dict[str, Any] = {
        "id": "r1",
        "key": "k1",
        "source": Source.PERSON,
        "environment": "prod",
        "action": "analyze",
        "object": "",
        "parameters": {},
        "requested_by": "anna",
        "requested_at": 1.0,
        "reason": "",
        "alert": None,
        "state": state,
        "digest": "d1",
    }
    return Run(**(values | fields))


def entry(kind: str, **facts: Any) -> LedgerView:
    return LedgerView(1, 1.0, kind, "r1", "qa", "analyze", "anna", facts)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("size_bytes", 1536.0, "1.5 KiB"),
        ("build_seconds", 90.0, "1m30s"),
        ("recall_ratio", 0.5, "50%"),
        ("rows", 1234567, "1,234,567"),
        ("last_timestamp_seconds", 60.0, "1970-01-01 00:01:00 UTC"),
        ("last_timestamp_seconds", 0.0, "never"),
        ("index", "<b>", "<b>"),
        ("good", True, "True"),
        ("far_seconds", 1e12, "1,000,000,000,000"),
        ("free_bytes", math.inf, "inf TiB"),
    ],
)
def test_a_figure_is_in_the_unit_of_its_name(name: str, value: object, said: str) -> None:
    assert figure(value, name) == said


def test_figures_stand_side_by_side_with_what_became_of_them() -> None:
    before: Mapping[str, float | str] = {
        "size_bytes": 2048.0,
        "recall_ratio": 0.6,
        "name": "a",
        "same": 1.0,
        "gone": 1.0,
        "zero": 0.0,
    }
    after: Mapping[str, float | str] = {
        "size_bytes": 1024.0,
        "recall_ratio": 0.95,
        "name": "b",
        "same": 1.0,
        "new": 2.0,
        "zero": 5.0,
    }
    assert [(one.name, one.before, one.after, one.difference) for one in changes(before, after)] == [
        ("size_bytes", "2 KiB", "1 KiB", "−1 KiB (−50%)"),
        ("recall_ratio", "60%", "95%", "+35 points"),
        ("name", "a", "b", "changed"),
        ("same", "1", "1", "the same"),
        ("gone", "1", "", ""),
        ("zero", "0", "5", "+5"),
        ("new", "", "2", ""),
    ]
    assert changes({"x": math.nan}, {"x": 1.0})[0].difference == ""
    assert changes({"at_timestamp_seconds": 10.0}, {"at_timestamp_seconds": 70.0})[0].difference == "1m later"
    assert [words(name) for name in ("size_bytes", "_bytes", "seconds", "dead_rows")] == [
        "size",
        " bytes",
        "seconds",
        "dead rows",
    ]
    assert figures_line({"size_bytes": 10.0, "rows": 2}) == "size 10 B, rows 2"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (entry("requested", requested_by="alert A", parameters={"n": 1}), "asked for by alert A (with n=1)"),
        (entry("requested", decision="refused", reason="no"), "asked for it and was refused: no"),
        (entry("guard", decision="waits", reason="busy", until=0.0), "waits: busy, not before 1970-01-01 00:00:00 UTC"),
        (entry("plan", summary="s", changed=True, digest="d"), "planned anew, as the plan has changed: s"),
        (entry("asked", needed=2), "people were asked: 2 approvals needed"),
        (entry("answer", approved=False, via="slack", reason="no"), "rejected in Slack: no"),
        (
            entry("answer", approved=True, via="cli", decision="refused", because="late"),
            "approved on the daemon's machine; that does not count: late",
        ),
        (entry("taken_over", owner="b", attempt=2, deaths=1), "taken over by b, attempt 2 (1 ended without a word)"),
        (entry("step", name="one", state="begun", tries=2, attempt=1), "step one begun, try 2"),
        (entry("step", name="one", state="failed", error="e", again=True), "step one failed: e (it is tried again)"),
        (entry("undo", error=None), "what it left was taken back"),
        (entry("undo", error="e"), "what it left could not be taken back: e"),
        (entry("verdict", fixed=False, reason="r"), "it did not help: r"),
        (entry("outcome", result="not_fixed", reason="r", seconds=90.0), "ended as not fixed after 1m30s: r"),
        (entry("escalated", reason="r"), "left to people: r"),
        (entry("control", what="cancel", via="page", reason="r"), "asked to cancel it on the page: r"),
        (entry("switch", stopped=False, via="http"), "let actions begin again over HTTP"),
        (
            entry("click", what="approve", user="U1", decision="refused", because="n"),
            "pressed approve in Slack, refused: n",
        ),
        (entry("silence", what="expire", via="http", matchers={"a": "b"}), "ended the silence of a=b over HTTP"),
        (entry("new_kind", some="thing", n=1), "some=thing, n=1"),
        (entry("escalated", reason="r", more={"x": [1]}), 'left to people: r. more={"x": [1]}'),
    ],
)
def test_an_entry_is_a_sentence_and_nothing_in_it_is_left_out(told: LedgerView, said: str) -> None:
    assert sentence(told) == said


def test_what_can_be_done_follows_state_and_person() -> None:
    judge = rules()
    offered = {state: judge.verbs(run(state, result=Result.FIXED), "bruno") for state in RunState}
    assert offered == {
        RunState.QUEUED: {"pause", "cancel"},
        RunState.WAITING: {"approve", "reject", "cancel"},
        RunState.RUNNING: {"pause", "cancel"},
        RunState.PAUSED: {"resume", "cancel"},
        RunState.ENDED: {"retry"},
    }
    waiting = run(RunState.WAITING)
    assert judge.verbs(waiting, "carla") == {"cancel"}
    assert judge.verbs(waiting, "dora") == frozenset()
    assert judge.verbs(waiting, "nobody") == frozenset()
    assert judge.verbs(waiting, None) == frozenset()
    assert judge.verbs(run(RunState.RUNNING, asked="cancel"), "anna") == frozenset()
    assert judge.verbs(run(RunState.RUNNING, asked="pause"), "anna") == {"cancel"}


def test_two_approvals_are_of_others_and_each_counts_once() -> None:
    judge = rules()
    twice = run(RunState.WAITING, action="recover", approvals_needed=2)
    assert judge.refusal(twice, "anna", "approve") == "anna asked for this, and two other people must approve it"
    assert judge.refusal(twice, "anna", "reject") is None
    assert judge.approvers(twice, ()) == ["bruno"]
    mine = Answer("bruno", True, "", "page", 2.0, "d1")
    assert judge.approvers(twice, (mine,)) == []
    assert judge.approvers(twice, (replace(mine, digest="d0"),)) == ["bruno"]


def test_who_sent_an_alert_does_not_approve_it() -> None:
    judge = rules()
    sent = run(RunState.WAITING, source=Source.ALERT, requested_by="alert A of anna", sender="anna", action="recover")
    assert judge.refusal(sent, "anna", "approve") == "anna asked for this, and two other people must approve it"
    assert judge.approvers(sent, ()) == ["bruno"]
    assert judge.refusal(replace(sent, sender=None), "anna", "approve") is None


def test_what_nobody_knows_counts_as_dangerous() -> None:
    judge = rules()
    assert not judge.harmful(run(RunState.WAITING))
    assert judge.harmful(run(RunState.WAITING, action="recover"))
    assert judge.harmful(run(RunState.WAITING, action="gone"))
    assert judge.harmful(run(RunState.WAITING, parameters={"limit": "many"}))
    assert judge.consent(run(RunState.WAITING, environment="gone")) is None


def test_where_a_run_stands() -> None:
    plan = Plan("s", ("one", "two"))
    assert place(run(RunState.RUNNING, plan=plan, step="two")) == (2, 2)
    assert place(run(RunState.RUNNING, plan=plan, step="undo")) is None
    assert place(run(RunState.RUNNING)) is None
    assert [standing(run(state)) for state in (RunState.QUEUED, RunState.ENDED)] == ["queued", "failed"]
    assert standing(run(RunState.ENDED, result=Result.NOT_FIXED)) == "not_fixed"
