"""The collectors of an environment, as Prometheus's page of targets shows its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collectors import Collector
from daemon.views.samples import Question, Samples, flag

SCRAPES = Question(
    (
        "up",
        "collector_success",
        "collector_duration_seconds",
        "collector_last_success_timestamp_seconds",
        "collector_series",
        "collector_series_dropped",
        "collector_gap_info",
    ),
    {"collector_run_at": "timestamp(custode_collector_success{environment=$environment})"},
)


@dataclass(frozen=True, slots=True)
class Gap:
    """What a collector cannot see, and why not."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scrape:
    """A collector and its last run. `success` is None where it has not run; moments are unix seconds."""

    collector: str
    enabled: bool
    interval_seconds: float
    success: bool | None
    run_at: float | None
    last_success_at: float | None
    duration_seconds: float | None
    series: float | None
    series_dropped: float | None
    error: str | None
    gaps: tuple[Gap, ...]


def scrapes(samples: Samples, options: Mapping[str, Collector.Options], errors: Mapping[str, str]) -> list[Scrape]:
    """Every configured collector, those that fail first. `errors` says of the last runs what went wrong."""
    by = {name: samples.by(name, "collector") for name in (*SCRAPES.metrics, *(SCRAPES.figures or {}))}
    gaps: dict[str, list[Gap]] = {}
    for labels in samples.infos("collector_gap_info"):
        gaps.setdefault(labels.get("collector", ""), []).append(Gap(labels.get("what", ""), labels.get("reason", "")))

    def scrape(name: str) -> Scrape:
        key = (name,)
        return Scrape(
            name,
            options[name].enabled,
            options[name].interval.total_seconds(),
            flag(by["collector_success"].get(key)),
            by["collector_run_at"].get(key),
            by["collector_last_success_timestamp_seconds"].get(key),
            by["collector_duration_seconds"].get(key),
            by["collector_series"].get(key),
            by["collector_series_dropped"].get(key),
            errors.get(name),
            tuple(sorted(gaps.get(name, ()), key=lambda gap: gap.what)),
        )

    return sorted(map(scrape, options), key=lambda one: (not one.enabled, one.success is not False, one.collector))
