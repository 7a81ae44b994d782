"""How far back and how fast each environment can be recovered, beside what it is promised."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from daemon.actions.port import ActionsPort
from daemon.actions.request import Result
from daemon.actions.views import Run, RunFilter, RunState
from daemon.queries import Queries
from daemon.views.samples import Sample, answer
from fleet.backups.retention import SERIES
from fleet.environment import Environment
from fleet.errors import StateError

TEST, VERIFY = "restore_test", "verify_backups"
FILES = "files"  # the copy that other programs make
_COPY = (
    "backup_recovery_point_timestamp_seconds",
    "backup_last_size_bytes",
    "backup_last_duration_seconds",
    "backup_stored",
    "backup_stored_size_bytes",
)
_WHOLE = (
    "backup_last_failure_timestamp_seconds",
    "restore_test_last_success_timestamp_seconds",
    "restore_test_last_duration_seconds",
    "restore_test_recovery_point_timestamp_seconds",
)
_RUNS = 500  # of each action, the newest
_TELLING = frozenset({Result.FIXED, Result.NOT_FIXED, Result.FAILED})
_UNSEEN = "collector_gap_info"
# one selector, so that all is of one moment
QUERY = f'{{__name__=~"custode_({"|".join((*_COPY, *_WHOLE))})"}} or custode_{_UNSEEN}{{collector="backups"}}'


@dataclass(frozen=True, slots=True)
class CopyState:
    """A copy as last seen. Moments in unix seconds; None is not known.

    `behind_seconds`: how much older its newest backup is than the newest one elsewhere, of which `interval_seconds` are
    promised at most. `problem`: why it cannot be seen.
    """

    name: str
    recovery_point_at: float | None
    behind_seconds: float | None
    interval_seconds: float | None
    stored: float | None
    stored_bytes: float | None
    last_bytes: float | None
    last_seconds: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class RestoreTest:
    """A test that ran to its end: `seconds` until all indexes stood, `queryable_seconds` until all keys did."""

    run_id: str
    at: float
    result: str
    outcome: str
    backup: str | None
    seconds: float | None
    queryable_seconds: float | None

    @property
    def proven(self) -> bool:
        return self.result == Result.FIXED


@dataclass(frozen=True, slots=True)
class Verification:
    """A look whether what is stored is whole. `backups` are the ids looked at; `read_data`: every byte was read."""

    run_id: str
    at: float
    result: str
    outcome: str
    read_data: bool
    backups: frozenset[str]

    @property
    def sound(self) -> bool:
        return self.result == Result.FIXED


@dataclass(frozen=True, slots=True)
class Recovery:
    """What is promised (seconds; None: not promised) and what is there. Moments in unix seconds; None is not known.

    `retention` is by series in seconds, of `last` in backups. `recovery_point_at` is the moment whose state the newest
    good backup of any copy holds. `tests` and `verifications` are oldest first, as far as the last runs reach; None
    while the state database is away.
    """

    environment: str
    tier: str
    interval_seconds: float | None
    recovery_point_seconds: float | None
    recovery_time_seconds: float | None
    test_interval_seconds: float | None
    retention: Mapping[str, float]
    recovery_point_at: float | None
    copies: tuple[CopyState, ...]
    failed_at: float | None
    tested_at: float | None
    tested_seconds: float | None
    tests: tuple[RestoreTest, ...] | None
    verifications: tuple[Verification, ...] | None


async def look(
    environments: Mapping[str, Environment], first_store: str | None, queries: Queries, port: ActionsPort
) -> list[Recovery]:
    """One for each of `environments`; `first_store` is where backups are taken. Raises SamplesError."""
    (samples,) = await answer(queries, [QUERY])
    only = next(iter(environments)) if len(environments) == 1 else None
    runs: list[Run] | None = []
    try:
        for action in (TEST, VERIFY):
            runs = [*(runs or ()), *await port.runs(RunFilter(only, action, (RunState.ENDED,), limit=_RUNS))]
    except StateError:
        runs = None
    # of a large fleet it takes longer than the event loop may be held up
    return await asyncio.to_thread(recoveries, environments, first_store, samples, runs)


def recoveries(
    environments: Mapping[str, Environment],
    first_store: str | None,
    samples: Iterable[Sample],
    runs: Iterable[Run] | None,
) -> list[Recovery]:
    """`samples` answer QUERY, `runs` are ended ones of TEST and VERIFY in any order; None is not known. Pure."""
    figures: dict[str, dict[tuple[str, str], float]] = {}
    unseen: dict[str, dict[str, str]] = {}
    for labels, value in samples:
        name, environment = labels.get("__name__", "").removeprefix("custode_"), labels.get("environment", "")
        if name == _UNSEEN:
            unseen.setdefault(environment, {})[labels.get("what", "")] = labels.get("reason", "")
        else:
            figures.setdefault(environment, {})[name, labels.get("copy", "")] = value
    by_environment: dict[str, list[Run]] = {}
    for run in sorted(runs or (), key=lambda run: run.ended_at or 0.0):
        by_environment.setdefault(run.environment, []).append(run)
    return [
        _recovery(
            one,
            first_store,
            figures.get(name, {}),
            unseen.get(name, {}),
            None if runs is None else by_environment.get(name, []),
        )
        for name, one in environments.items()
    ]


def _recovery(
    environment: Environment,
    first_store: str | None,
    figures: Mapping[tuple[str, str], float],
    unseen: Mapping[str, str],
    runs: Sequence[Run] | None,
) -> Recovery:
    backup = environment.policy.backup
    points = {copy: at for (name, copy), at in figures.items() if name == _COPY[0]}
    return Recovery(
        environment=environment.name,
        tier=environment.tier.value,
        interval_seconds=_seconds(backup.interval),
        recovery_point_seconds=_seconds(backup.recovery_point),
        recovery_time_seconds=_seconds(backup.recovery_time),
        test_interval_seconds=_seconds(backup.restore_test_interval),
        retention={
            series: kept.total_seconds() if isinstance(kept, timedelta) else float(kept)
            for series in SERIES
            if (kept := getattr(backup.retention, series)) is not None
        },
        recovery_point_at=max(points.values(), default=None),
        copies=_copies(environment, first_store, points, figures, unseen),
        failed_at=figures.get((_WHOLE[0], "")),
        tested_at=figures.get((_WHOLE[1], "")),
        tested_seconds=figures.get((_WHOLE[2], "")),
        tests=None if runs is None else tuple(_test(run) for run in _looked(runs, TEST)),
        verifications=None if runs is None else tuple(_verification(run) for run in _looked(runs, VERIFY)),
    )


def _copies(
    environment: Environment,
    first_store: str | None,
    points: Mapping[str, float],
    figures: Mapping[tuple[str, str], float],
    unseen: Mapping[str, str],
) -> tuple[CopyState, ...]:
    backup = environment.policy.backup
    meant = [first_store] if first_store is not None and (backup.interval is not None or points) else []
    names = dict.fromkeys((*meant, *backup.copies, *points))
    newest = max((at for name, at in points.items() if name != FILES), default=None)
    copies = []
    for name in names:
        at, promised = points.get(name), backup.copies.get(name)
        behind = newest - at if at is not None and newest is not None and name != FILES else None
        stored, stored_bytes, last_bytes, last_seconds = (
            figures.get((metric, name)) for metric in (_COPY[3], _COPY[4], _COPY[1], _COPY[2])
        )
        interval = None if promised is None else _seconds(promised.interval)
        copies.append(
            CopyState(name, at, behind, interval, stored, stored_bytes, last_bytes, last_seconds, unseen.get(name))
        )
    return tuple(copies)


def _looked(runs: Iterable[Run], action: str) -> Iterator[Run]:
    """Those that ran to an end that tells something of the backups."""
    for run in runs:
        if run.action == action and run.ended_at is not None and run.result in _TELLING:
            yield run


def _test(run: Run) -> RestoreTest:
    objects = run.plan.objects if run.plan is not None else ()
    after = run.after or {}
    return RestoreTest(
        run_id=run.id,
        at=run.ended_at or 0.0,
        result=str(run.result),
        outcome=run.outcome or "",
        backup=str(objects[0]["backup"]) if objects and "backup" in objects[0] else None,
        seconds=_figure(after.get("ready_seconds")),
        queryable_seconds=_figure(after.get("queryable_seconds")),
    )


def _verification(run: Run) -> Verification:
    objects = run.plan.objects if run.plan is not None else ()
    ids = frozenset(str(one["id"]) for one in objects if "id" in one)
    read_data = bool(run.parameters.get("read_data"))
    return Verification(run.id, run.ended_at or 0.0, str(run.result), run.outcome or "", read_data, ids)


def _figure(value: float | str | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
