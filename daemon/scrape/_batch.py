"""What one run of one collector gave, and the series that tell about the run itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collectors import Family, Rows, gauge, info

_ENVIRONMENT = Family((), (gauge("up", "Whether the server of the environment could be reached (1) or not (0)."),))
_RUN = Family(
    ("collector",),
    (
        gauge("collector_success", "Whether the last run of the collector read all it should (1) or not (0)."),
        gauge("collector_duration_seconds", "Duration of the last run of the collector, in seconds."),
        gauge(
            "collector_last_success_timestamp_seconds",
            "Unix time of the start of the last run that succeeded, in seconds.",
        ),
        gauge("collector_series", "Series that the last run of the collector gave."),
        gauge("collector_series_dropped", "Series left out of the last run: beyond max_series, or repeated."),
    ),
)
_GAP = Family(
    ("collector", "what", "reason"), (info("collector_gap_info", "What the collector cannot see, and why not."),)
)


@dataclass(frozen=True, slots=True)
class Batch:
    """One run. `started` is in unix seconds, `duration` in seconds, `series` and `dropped` count samples.

    `rows` is what the collector gave, `meta` what is known of the run. `reached` is whether the server answered;
    None where the run did not tell, as with a collector that asks no server.
    """

    environment: str
    labels: Mapping[str, str]
    collector: str
    started: float
    duration: float
    rows: tuple[Rows, ...] = ()
    error: str | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    gaps: Mapping[str, str] = field(default_factory=dict)
    series: int = 0
    dropped: int = 0
    reached: bool | None = None
    meta: tuple[Rows, ...] = ()

    @property
    def success(self) -> bool:
        return self.error is None and not self.failures

    @property
    def problem(self) -> str | None:
        """Why the run did not succeed, in one line, the same whatever failed first."""
        parts = [self.error] if self.error else []
        parts += [f"{what}: {why}" for what, why in sorted(self.failures.items())]
        return "; ".join(parts) or None


def about_environment(up: bool | None) -> tuple[Rows, ...]:
    """custode_up, absent as long as nobody has tried to reach the server."""
    return () if up is None else (_ENVIRONMENT.rows([(up,)]),)


def about_run(batch: Batch, last_success: float | None) -> tuple[Rows, ...]:
    """custode_collector_*: what the core adds, so that a collector holds only what is particular to it."""
    name = batch.collector
    figures = (name, batch.success, batch.duration, last_success, batch.series, batch.dropped)
    gaps = [(name, what, reason, 1) for what, reason in batch.gaps.items()]
    return (_RUN.rows([figures]), _GAP.rows(gaps))
