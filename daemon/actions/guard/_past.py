"""What follows from what was done before: the circuit breaker, the wait after failures, the limits of an hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daemon.actions.guard._facts import Case, Ended, Ground, History, Refused, Situation
from daemon.actions.guard._words import lasting, times
from daemon.actions.request import Result
from daemon.config import Limits
from fleet.policy import Risk

# a person is refused only what cannot be meant
_PEOPLE = 10
# what can do no harm may be tried again when the trouble has had time to pass
_HARMLESS = {Risk.READ, Risk.SAFE}


def breaker_open(ended: Sequence[Ended], limits: Limits) -> bool:
    """Whether the circuit breaker is open, `ended` being the runs of one action on one object, newest first.

    It opens when too many runs did not help, or failed, since one last did; runs that were cancelled do not count.
    """
    streak = _streak(ended)
    return _open_for_good(streak, limits) or _count(streak, Result.FAILED) >= limits.breaker_failures


def from_the_past(case: Case, history: History, situation: Situation) -> Iterator[Refused]:
    """Every refusal, the most final one first. People may always try what did not work before."""
    if case.automatic:
        yield from _breaker(case, history, situation)
        yield from _cooldown(case, history, situation)
    yield from _rate(case, history, situation.limits)


def _streak(ended: Sequence[Ended]) -> list[Ended]:
    """The runs that failed or did not help since one last did, newest first."""
    streak = []
    for run in ended:
        if run.result is Result.FIXED:
            break
        if run.result in {Result.FAILED, Result.NOT_FIXED}:
            streak.append(run)
    return streak


def _count(streak: Sequence[Ended], result: Result) -> int:
    return sum(run.result is result for run in streak)


def _open_for_good(streak: Sequence[Ended], limits: Limits) -> bool:
    """An action that can be done and does not help will not help the next time either; a failure may pass."""
    return _count(streak, Result.NOT_FIXED) >= limits.breaker_not_fixed


def _breaker(case: Case, history: History, situation: Situation) -> Iterator[Refused]:
    limits, streak = situation.limits, _streak(history.ended)
    if not breaker_open(history.ended, limits):
        return
    for_good, retry = _open_for_good(streak, limits), limits.breaker_retry
    again = ""
    if not for_good and retry is not None and case.risk in _HARMLESS:
        left = streak[0].at + retry.total_seconds() - situation.now
        if left <= 0:
            return
        again = f"; Custode tries once more in {lasting(left)}"
    said = "did not help" if for_good else "failed"
    count = _count(streak, Result.NOT_FIXED if for_good else Result.FAILED)
    yield Refused(
        Ground.BREAKER_OPEN,
        f"{case.what} {said} {times(count)}, the last run {lasting(situation.now - streak[0].at)} ago "
        f"(run {streak[0].run_id}), so it is left to people{again}. Find out why, then run it by hand "
        f"(custode act {case.request.action} {case.request.environment}); once it helps, Custode runs it again",
    )


def _cooldown(case: Case, history: History, situation: Situation) -> Iterator[Refused]:
    streak, limits = _streak(history.ended), situation.limits
    if not streak:
        return
    # 2 ** 30 times any wait that is worth its name is longer than the longest; more would overflow
    wait = limits.cooldown.total_seconds() * 2 ** min(len(streak) - 1, 30)
    left = streak[0].at + min(wait, limits.longest_cooldown.total_seconds()) - situation.now
    if left > 0:
        yield Refused(
            Ground.COOLING_DOWN,
            f"{case.what} failed or did not help {times(len(streak))} (run {streak[0].run_id}); "
            f"Custode does not try again for {lasting(left)}, a person may",
        )


def _rate(case: Case, history: History, limits: Limits) -> Iterator[Refused]:
    factor, who = (1, "for what no person asks for") if case.automatic else (_PEOPLE, "for people")
    for begun, limit, where in (
        (history.begun_here, limits.per_hour, f"on {case.request.environment}"),
        (history.begun_fleet, limits.per_hour_fleet, "in the fleet"),
    ):
        if begun >= limit * factor:
            yield Refused(
                Ground.RATE_LIMITED,
                f"{begun} actions began {where} within the last hour; the limit {who} is {limit * factor}",
            )
