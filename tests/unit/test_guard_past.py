"""The guard as a table: what follows from what was done before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from actions import Target
from daemon.actions.guard import Ended, Ground, History, Limits, breaker_open
from daemon.actions.request import Result, Source
from fleet.policy import Risk
from tests.deciding import MONDAY_NOON_UTC, case, ended, ground, reason

HOUR = 3600.0
FIXED, NOT_FIXED, FAILED, REFUSED, CANCELLED = Result
PATIENT = Limits(breaker_not_fixed=10, breaker_failures=10)
OPEN, COOLING = Ground.BREAKER_OPEN, Ground.COOLING_DOWN


@pytest.mark.parametrize("result", [FAILED, NOT_FIXED])
@pytest.mark.parametrize(
    ("count", "age", "expected"),
    [
        (0, 0, None),
        (1, 0, COOLING),
        (1, 59, COOLING),
        (1, 60, None),
        (2, 119, COOLING),
        (2, 120, None),
        (5, 959, COOLING),
        (5, 960, None),
        (7, 3599, COOLING),  # 3840 s would be next: the longest wait is an hour
        (7, 3600, None),
    ],
)
def test_the_wait_after_failures_doubles_up_to_a_bound(
    result: Result, count: int, age: float, expected: Ground | None
) -> None:
    history = ended(*[result] * count, age=age)
    for source in (Source.ALERT, Source.SCHEDULE):
        assert ground(case(source=source), history=history, limits=PATIENT) == expected
    assert ground(case(source=Source.PERSON), history=history, limits=PATIENT) is None


def test_so_many_failures_are_counted_without_overflow() -> None:
    history = ended(*[FAILED] * 5000, age=HOUR - 1)
    limits = Limits.model_validate({"breaker_retry": "1s"})
    assert ground(history=history, limits=limits) is COOLING


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ((FIXED, FAILED), None),
        ((CANCELLED, FIXED), None),
        ((FAILED, FIXED, FAILED), COOLING),
    ],
)
def test_a_success_ends_the_wait(results: Sequence[Result], expected: Ground | None) -> None:
    assert ground(history=ended(*results), limits=PATIENT) == expected


def test_a_run_that_was_cancelled_does_not_count() -> None:
    runs = [Ended("r2", CANCELLED, MONDAY_NOON_UTC), Ended("r1", FAILED, MONDAY_NOON_UTC - 59)]
    assert "for 1s, a person may" in reason(history=History(ended=runs))
    assert ground(history=History(ended=[*runs[:1], Ended("r1", FAILED, MONDAY_NOON_UTC - 60)])) is None


def test_the_wait_is_told() -> None:
    said = reason(case(target=Target("app.log")), history=ended(NOT_FIXED, age=10))
    assert said == (
        "backup of app.log on qa failed or did not help once (run r0); Custode does not try again for 50s, a person may"
    )


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        pytest.param((), False, id="nothing-yet"),
        pytest.param((NOT_FIXED,), False, id="did-not-help-once"),
        pytest.param((NOT_FIXED, NOT_FIXED), True, id="did-not-help-twice"),
        pytest.param((FAILED, FAILED), False, id="failed-twice"),
        pytest.param((FAILED, FAILED, FAILED), True, id="failed-three-times"),
        pytest.param((NOT_FIXED, FAILED, NOT_FIXED), True, id="a-failure-between-is-no-help"),
        pytest.param((FAILED, NOT_FIXED, FAILED), False, id="two-failures-and-one"),
        pytest.param((FAILED, NOT_FIXED, FAILED, FAILED), True, id="three-failures-and-one"),
        pytest.param((NOT_FIXED, CANCELLED, NOT_FIXED), True, id="cancelled-between"),
        pytest.param((CANCELLED, CANCELLED, CANCELLED), False, id="cancelled-only"),
        pytest.param((FIXED, NOT_FIXED, NOT_FIXED), False, id="helped-since"),
        pytest.param((NOT_FIXED, FIXED, NOT_FIXED), False, id="helped-between"),
        pytest.param((NOT_FIXED, NOT_FIXED, FIXED), True, id="helped-before"),
        pytest.param((CANCELLED, FIXED, NOT_FIXED, NOT_FIXED), False, id="helped-and-cancelled-since"),
    ],
)
def test_the_breaker(results: Sequence[Result], expected: bool) -> None:
    history = ended(*results, age=2 * HOUR)  # no wait any more
    assert breaker_open(history.ended, Limits()) is expected
    for source in (Source.ALERT, Source.SCHEDULE):
        assert ground(case(source=source), history=history) == (OPEN if expected else None)
    assert ground(case(source=Source.PERSON), history=history) is None


@pytest.mark.parametrize(
    ("limits", "results", "expected"),
    [
        ({"breaker_not_fixed": 1}, (NOT_FIXED,), True),
        ({"breaker_not_fixed": 3}, (NOT_FIXED, NOT_FIXED), False),
        ({"breaker_failures": 1}, (FAILED,), True),
        ({"breaker_failures": 4}, (FAILED, FAILED, FAILED), False),
        ({"breaker_failures": 2}, (NOT_FIXED, FAILED), False),
    ],
)
def test_how_soon_it_opens_can_be_set(limits: dict[str, Any], results: Sequence[Result], expected: bool) -> None:
    assert breaker_open(ended(*results).ended, Limits.model_validate(limits)) is expected


@pytest.mark.parametrize(
    ("risk", "results", "hours", "limits", "expected"),
    [
        pytest.param(Risk.SAFE, (FAILED,) * 3, 5.9, {}, OPEN, id="too-soon"),
        pytest.param(Risk.SAFE, (FAILED,) * 3, 6, {}, None, id="harmless-is-tried-once-more"),
        pytest.param(Risk.READ, (FAILED,) * 9, 6, {}, None, id="again-and-again"),
        pytest.param(Risk.GUARDED, (FAILED,) * 3, 1000, {}, OPEN, id="guarded-never"),
        pytest.param(Risk.SAFE, (NOT_FIXED,) * 2, 1000, {}, OPEN, id="what-does-not-help-never"),
        pytest.param(Risk.SAFE, (*(FAILED,) * 3, *(NOT_FIXED,) * 2), 1000, {}, OPEN, id="nor-if-it-failed-too"),
        pytest.param(Risk.SAFE, (FAILED,) * 3, 1000, {"breaker_retry": None}, OPEN, id="switched-off"),
        pytest.param(Risk.SAFE, (FAILED,) * 3, 1, {"breaker_retry": "1h"}, None, id="sooner"),
    ],
)
def test_a_failure_that_may_have_passed_is_tried_once_more(
    risk: Risk, results: Sequence[Result], hours: float, limits: dict[str, Any], expected: Ground | None
) -> None:
    history = ended(*results, age=hours * HOUR)
    assert breaker_open(history.ended, Limits()), "people are told of it all the same"
    assert ground(case(risk), history=history, limits=Limits.model_validate(limits)) == expected


def test_the_breaker_tells_people_what_to_do() -> None:
    what = case(target=Target("app.log"))
    assert reason(what, history=ended(NOT_FIXED, NOT_FIXED, age=2 * HOUR)) == (
        "backup of app.log on qa did not help 2 times in a row, the last run 2h ago (run r0), so it is left to people. "
        "Find out why, then run it by hand (custode act backup qa); once it helps, Custode runs it again"
    )
    assert "failed 3 times in a row" in reason(history=ended(FAILED, FAILED, FAILED, age=2 * HOUR))
    assert "Custode tries once more in 4h" in reason(history=ended(FAILED, FAILED, FAILED, age=2 * HOUR))


@pytest.mark.parametrize(
    ("source", "here", "fleet", "expected"),
    [
        pytest.param(Source.ALERT, 2, 2, None, id="below"),
        pytest.param(Source.ALERT, 3, 3, "3 actions began on qa within the last hour; the limit", id="here"),
        pytest.param(Source.SCHEDULE, 3, 3, "for what no person asks for is 3", id="by-schedule"),
        pytest.param(Source.ALERT, 2, 5, "5 actions began in the fleet within the last hour", id="fleet"),
        pytest.param(Source.ALERT, 2, 4, None, id="fleet-below"),
        pytest.param(Source.PERSON, 29, 49, None, id="people-may-ten-times-as-much"),
        pytest.param(Source.PERSON, 30, 30, "30 actions began on qa within the last hour; the limit for people is 30",
                     id="people-here"),
        pytest.param(Source.PERSON, 0, 50, "the limit for people is 50", id="people-fleet"),
    ],
)  # fmt: skip
def test_so_many_in_an_hour(source: Source, here: int, fleet: int, expected: str | None) -> None:
    fields = {"history": History((), (), here, fleet), "limits": Limits(per_hour=3, per_hour_fleet=5)}
    assert ground(case(source=source), **fields) == (Ground.RATE_LIMITED if expected else None)
    if expected:
        assert expected in reason(case(source=source), **fields)
