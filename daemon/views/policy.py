"""The policy in force in an environment, as figures and words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from daemon.actions.operators import Operators
from fleet.durations import format_duration
from fleet.environment import Environment
from fleet.policy import MaintenanceWindow, Retention, Risk


@dataclass(frozen=True, slots=True)
class ConsentView:
    """What an action of this risk, or this action, needs before it may run."""

    what: str
    consent: str


@dataclass(frozen=True, slots=True)
class RowsKept:
    table: str
    column: str
    keep_seconds: float


@dataclass(frozen=True, slots=True)
class ScheduleView:
    name: str
    action: str
    cron: str
    timezone: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class PolicyView:
    """Durations in seconds, None: not promised. `window` None: any time; `retention` by how often, `last` a count.

    `approvers` are the operators who may approve something here.
    """

    backup_interval: float | None
    backup_engine: str
    retention: Mapping[str, float]
    recovery_point: float | None
    recovery_time: float | None
    restore_test_interval: float | None
    test_every_backup: bool
    pii_allowed: bool
    refresh_interval: float | None
    scan_interval: float | None
    rows_kept: tuple[RowsKept, ...]
    tls_required: bool
    same_schema: bool
    disk_free_ratio: float
    recall: Mapping[str, float]
    window: str | None
    consents: tuple[ConsentView, ...]
    schedules: tuple[ScheduleView, ...]
    approvers: tuple[str, ...]
    operators_configured: bool


def policy_view(environment: Environment, operators: Operators) -> PolicyView:
    policy = environment.policy
    backup, data, consent = policy.backup, policy.data, policy.consent
    promised = {method: policy.vectors.promised(method) for method in ("hnsw", "ivfflat")}
    return PolicyView(
        _seconds(backup.interval),
        backup.engine,
        _retention(backup.retention),
        _seconds(backup.recovery_point),
        _seconds(backup.recovery_time),
        _seconds(backup.restore_test_interval),
        backup.test_every_backup,
        data.pii_allowed,
        _seconds(data.refresh_interval),
        _seconds(data.scan_interval),
        tuple(RowsKept(".".join(one.qualified), one.column, one.keep.total_seconds()) for one in data.row_retention),
        policy.tls.required,
        policy.same_schema,
        policy.disk_free_ratio,
        {method: ratio for method, ratio in promised.items() if ratio is not None},
        None if policy.window is None else window_text(policy.window),
        (
            *(ConsentView(f"{risk.value} actions", consent.of(risk).value) for risk in Risk),
            *(ConsentView(name, needs.value) for name, needs in sorted(consent.actions.items())),
        ),
        tuple(
            ScheduleView(name, one.action, one.cron, one.timezone, one.enabled)
            for name, one in sorted(policy.schedules.items())
        ),
        tuple(
            name for name in operators.configured if operators.refusal_for(name, "approve", environment.name) is None
        ),
        bool(operators.configured),
    )


def window_text(window: MaintenanceWindow) -> str:
    """Such as `mon, tue from 02:00 for 4h (UTC)`."""
    days = "every day" if len(set(window.days)) == len(_DAYS) else ", ".join(window.days)
    return f"{days} from {window.start:%H:%M} for {format_duration(window.length)} ({window.timezone})"


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _retention(kept: Retention) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in type(kept).model_fields:
        value = getattr(kept, name)
        if value is not None:
            found[name] = value.total_seconds() if isinstance(value, timedelta) else float(value)
    return found


def _seconds(value: timedelta | None) -> float | None:
    return None if value is None else value.total_seconds()
