"""Actions: what is Custode doing, does it help, what waits for people?"""

from __future__ import annotations

from dashboards._builder.frame import dashboard
from dashboards._builder.panels import Column, Json, Query, row, series, stat, table

_RUNS = "max by (environment, state) (custode_action_runs{$ENV})"  # all daemons of a fleet tell of the same runs
_ENDED = "sum by (action, outcome) (increase(custode_actions_total{$SELF}[$__range]))"
_OUTCOMES = ("fixed", "not_fixed", "failed", "refused", "cancelled")
_BAD = {"not_fixed": ((1, "orange"),), "failed": ((1, "red"),)}


def build() -> Json:
    return dashboard(
        "actions",
        "actions",
        "What Custode does by itself: what is under way, what came of it, and what it leaves to people.",
        [*_now(), *_results(), *_people()],
    )


def _state(title: str, description: str, state: str, color: str) -> Json:
    return stat(
        title,
        description,
        f'sum(max by (environment) (custode_action_runs{{$ENV,state="{state}"}})) or vector(0)',
        steps=((1, color),),
        base="text",
        width=3,
        page="/actions",
    )


def _now() -> list[Json]:
    return [
        _state("Running", "Actions at work.", "running", "blue"),
        _state(
            "Queued",
            "Actions that wait for their turn, for a maintenance window, or for others to end.",
            "queued",
            "blue",
        ),
        _state("Paused", "Actions that people have paused.", "paused", "yellow"),
        _state("Waiting for people", "Actions that somebody has to approve or reject.", "waiting", "yellow"),
        stat(
            "Longest question",
            "Since when the oldest question to people is unanswered.",
            "max(time() - custode_action_approval_asked_timestamp_seconds{$ENV}) or vector(0)",
            unit="s",
            steps=((4 * 3600, "yellow"), (24 * 3600, "red")),
            width=4,
            page="/actions",
        ),
        stat(
            "Left to people",
            "Actions that did not help too often on an environment, and are not tried again until somebody says so.",
            "sum(max by (environment, action) (custode_action_breaker_open{$ENV})) or vector(0)",
            steps=((1, "red"),),
            width=4,
            page="/actions",
        ),
        stat(
            "Stop switch",
            "Whether somebody has stopped all actions.",
            "max(custode_actions_stopped{$SELF})",
            unit="none",
            words={0: ("off", "green"), 1: ("actions are stopped", "red")},
            width=4,
            page="/actions",
        ),
    ]


def _results() -> list[Json]:
    return [
        series(
            "Under way",
            "Actions that have not ended, by state. A queue that only grows is stuck.",
            Query(f"sum by (state) ({_RUNS})", "{{state}}"),
            stacked=True,
            page="/actions",
        ),
        series(
            "Ended, by outcome",
            "Actions that ended. Fixed: the world was looked at again, and it was as the action meant it.",
            Query("sum by (outcome) (increase(custode_actions_total{$SELF}[$__rate_interval]))", "{{outcome}}"),
            stacked=True,
            bars=True,
            page="/ledger",
        ),
        stat(
            "Helped",
            "Actions that fixed what they were to fix, of those that were done in the time shown. Empty if none was.",
            """sum(increase(custode_actions_total{$SELF,outcome="fixed"}[$__range]))
            / (sum(increase(custode_actions_total{$SELF,outcome=~"fixed|not_fixed|failed"}[$__range])) > 0)""",
            unit="percentunit",
            steps=((0.5, "yellow"), (0.9, "green")),
            base="red",
            width=6,
            page="/ledger",
        ),
        stat(
            "Did not help",
            "Actions that failed, or ended without the world being better, in the time shown.",
            'round(sum(increase(custode_actions_total{$SELF,outcome=~"not_fixed|failed"}[$__range])))',
            steps=((1, "orange"),),
            width=6,
            page="/ledger",
        ),
        stat(
            "Refused",
            "Actions that the guard or people refused, in the time shown. That is their work, and no failure.",
            'round(sum(increase(custode_actions_total{$SELF,outcome="refused"}[$__range])))',
            base="text",
            width=6,
            page="/ledger",
        ),
        stat(
            "State database",
            "Whether the state database can be used. Without it nothing is done.",
            "min(custode_state_up{$SELF})",
            unit="none",
            words={0: ("away", "red"), 1: ("up", "green")},
            width=6,
        ),
        table(
            "By action",
            "How each action ended in the time shown.",
            {"action": "Action"},
            *(
                Column(
                    outcome.replace("_", " ").capitalize(),
                    f'round(sum by (action) (increase(custode_actions_total{{$SELF,outcome="{outcome}"}}[$__range])))',
                    steps=_BAD.get(outcome, ()),
                    base="text",
                )
                for outcome in _OUTCOMES
            ),
            worst="Fixed",
            page="/ledger",
        ),
    ]


def _people() -> list[Json]:
    return [
        row("People"),
        table(
            "Breakers",
            "Actions that ran on an environment, and whether they are left to people there because they did not help.",
            {"environment": "Environment", "action": "Action"},
            Column(
                "Left to people",
                "max by (environment, action) (custode_action_breaker_open{$ENV})",
                "none",
                words={0: ("no", "green"), 1: ("yes", "red")},
            ),
            worst="Left to people",
            width=12,
            page="/actions",
        ),
        table(
            "Questions",
            "Environments where an action waits for people, and since when. Empty when nothing waits.",
            {"environment": "Environment"},
            Column(
                "Waiting for",
                "max by (environment) (time() - custode_action_approval_asked_timestamp_seconds{$ENV})",
                "s",
                ((4 * 3600, "yellow"), (24 * 3600, "red")),
            ),
            worst="Waiting for",
            width=12,
            page="/actions",
        ),
        series(
            "Clicks in Slack",
            "Clicks on buttons by what came of them. Empty before the first one.",
            Query(
                "sum by (button, decision) (increase(custode_slack_clicks_total{$SELF}[$__rate_interval]))",
                "{{button}}: {{decision}}",
            ),
            bars=True,
        ),
        series(
            "Asked for by others",
            "Events that others sent to the webhooks, by what became of them. Empty before the first one.",
            Query(
                "sum by (kind, result) (increase(custode_webhook_events_total{$SELF}[$__rate_interval]))",
                "{{kind}}: {{result}}",
            ),
            bars=True,
        ),
    ]
