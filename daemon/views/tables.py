"""The tables of an environment, and whether they keep rows for too long."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.views.samples import OBJECT, Question, Samples, latest, ratio

TABLES = Question(
    (
        "table_size_bytes",
        "table_toast_size_bytes",
        "table_indexes_size_bytes",
        "table_live_tuples",
        "table_dead_tuples",
        "table_last_vacuum_timestamp_seconds",
        "table_last_autovacuum_timestamp_seconds",
        "table_last_analyze_timestamp_seconds",
        "table_last_autoanalyze_timestamp_seconds",
        "table_oldest_row_timestamp_seconds",
        "policy_row_retention_seconds",
    )
)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows are estimates; moments are unix seconds. `size_bytes` is all of it, its indexes among it.

    `keep_seconds` is how long rows are kept, None: for ever; `past_retention` is None where that cannot be known.
    """

    datname: str
    schemaname: str
    name: str
    size_bytes: float | None
    indexes_size_bytes: float | None
    rows: float | None
    dead_rows: float | None
    dead_ratio: float | None
    last_vacuum_at: float | None
    last_analyze_at: float | None
    oldest_row_at: float | None
    keep_seconds: float | None
    past_retention: bool | None


def tables(samples: Samples, now: float) -> list[Table]:
    """The largest first."""
    (heap, toast, indexes, live, dead, vacuum, autovacuum, analyze, autoanalyze, oldest) = (
        samples.by(metric, *OBJECT) for metric in TABLES.metrics[:-1]
    )
    kept = samples.by("policy_row_retention_seconds", "schemaname", "relname")

    def table(key: tuple[str, ...]) -> Table:
        rows, gone, keep, first = live.get(key), dead.get(key), kept.get(key[1:]), oldest.get(key)
        parts = [part for part in (heap.get(key), toast.get(key), indexes.get(key)) if part is not None]
        datname, schemaname, name = key
        return Table(
            datname,
            schemaname,
            name,
            sum(parts) if parts else None,
            indexes.get(key),
            rows,
            gone,
            None if rows is None or gone is None else ratio(gone, rows + gone),
            latest(vacuum.get(key), autovacuum.get(key)),
            latest(analyze.get(key), autoanalyze.get(key)),
            first,
            keep,
            None if keep is None or first is None else now - first > keep,
        )

    found = map(table, {*heap, *live})
    return sorted(found, key=lambda one: (-(one.size_bytes or 0.0), one.datname, one.schemaname, one.name))
