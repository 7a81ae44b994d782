"""What has to be waited for: the maintenance window, and a turn among what runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from daemon.actions.guard._facts import Case, Ground, History, Running, Situation, Wait
from daemon.actions.guard._window import described, is_open, opens_next
from daemon.actions.guard._words import lasting
from fleet.policy import Risk

_WINDOWED = {Risk.GUARDED, Risk.DANGEROUS}  # a way back from disaster does not wait for Sunday
_Databases = frozenset[str] | None
_InTheWay = tuple[Ground, str, Sequence[Running]]


def window(case: Case, situation: Situation) -> Iterator[Wait]:
    opening = situation.policy.window
    if not case.windowed or case.risk not in _WINDOWED or opening is None or is_open(opening, situation.now):
        return
    until = opens_next(opening, situation.now)
    reason = f"waits for the maintenance window: {described(opening)}; opens in {lasting(until - situation.now)}"
    yield Wait(Ground.OUTSIDE_WINDOW, reason, until)


def turn(case: Case, history: History, situation: Situation) -> Iterator[Wait]:
    """Everything that runs and stands in the way."""
    found = (*_same(case, history), *_conflict(case, history, situation), *_room(case, history, situation))
    for ground, reason, runs in found:
        yield Wait(ground, reason, None, tuple(run.run_id for run in runs))


def _same(case: Case, history: History) -> Iterator[_InTheWay]:
    wanted = (case.request.environment, case.request.action, case.target.object)
    for run in history.running:
        if (run.environment, run.action, run.object) == wanted:
            yield Ground.RUNNING, f"waits until {run.what} has ended, which is the same", (run,)


def _conflict(case: Case, history: History, situation: Situation) -> Iterator[_InTheWay]:
    for run in history.running:
        if (
            run.environment == case.request.environment
            and _conflicting(case.request.action, run.action, situation)
            and _overlap(case.target.databases, run.databases)
        ):
            barred = f"{case.request.action} must not run on {_where(case, run)} meanwhile"
            yield Ground.CONFLICT, f"waits until {run.what} has ended: {barred}", (run,)


def _conflicting(one: str, other: str, situation: Situation) -> bool:
    nothing: frozenset[str] = frozenset()
    return other in situation.conflicts.get(one, nothing) or one in situation.conflicts.get(other, nothing)


def _overlap(one: _Databases, other: _Databases) -> bool:
    """None is any database, so it meets whatever touches one at all."""
    if one is None or other is None:
        return one != frozenset() and other != frozenset()
    return bool(one & other)


def _where(case: Case, run: Running) -> str:
    named = [databases for databases in (case.target.databases, run.databases) if databases is not None]
    return ", ".join(sorted(frozenset.intersection(*named))) if named else "the same databases"


def _room(case: Case, history: History, situation: Situation) -> Iterator[_InTheWay]:
    """Whether as many run as may, with the store, on the environment, in the fleet."""
    limits, environment, store = situation.limits, case.request.environment, case.target.store
    with_store = [run for run in history.running if store is not None and run.store == store]
    here = [run for run in history.running if run.environment == environment]
    for ground, runs, most, where in (
        (Ground.STORE_BUSY, with_store, limits.at_once_store, f"with the store {store}"),
        (Ground.ENVIRONMENT_BUSY, here, limits.at_once_environment, f"on {environment}"),
        (Ground.FLEET_BUSY, history.running, limits.at_once, "in the fleet"),
    ):
        if len(runs) >= most:
            verb = "runs" if len(runs) == 1 else "run"
            yield ground, f"waits for its turn {where}: {len(runs)} of {most} {verb}, such as {runs[0].what}", runs
