"""The databases of an environment."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.views.samples import Question, Samples

DATABASES = Question(
    (
        "database_size_bytes",
        "database_sessions",
        "database_connection_limit",
        "database_xid_age",
        "database_deadlocks_total",
        "database_checksum_failures_total",
        "vector_extension_info",
    ),
    {
        "commits_per_second": "sum by (datname) (rate(custode_database_commits_total{environment=$environment}[5m]))",
        "cache_hit_ratio": (
            "sum by (datname) (rate(custode_database_blocks_hit_total{environment=$environment}[5m])) / ("
            "sum by (datname) (rate(custode_database_blocks_hit_total{environment=$environment}[5m]))"
            " + sum by (datname) (rate(custode_database_blocks_read_total{environment=$environment}[5m])) > 0)"
        ),
    },
)


@dataclass(frozen=True, slots=True)
class Database:
    """`cache_hit_ratio` is what of the blocks of the last five minutes was found in memory, 0 to 1.

    `xid_age` are transactions since the oldest unfrozen one; wraparound is at 2^31.
    """

    name: str
    size_bytes: float | None
    sessions: float | None
    connection_limit: float | None
    commits_per_second: float | None
    cache_hit_ratio: float | None
    xid_age: float | None
    deadlocks: float | None
    checksum_failures: float | None
    pgvector: str | None


def databases(samples: Samples) -> list[Database]:
    """The largest first."""
    columns = {name: samples.by(name, "datname") for name in (*DATABASES.metrics, *(DATABASES.figures or {}))}
    names = {*samples.by("database_size_bytes", "datname"), *samples.by("database_sessions", "datname")}
    pgvector = {labels.get("datname", ""): labels.get("version") for labels in samples.infos("vector_extension_info")}

    def database(key: tuple[str, ...]) -> Database:
        def figure(name: str) -> float | None:
            return columns[name].get(key)

        return Database(
            key[0],
            figure("database_size_bytes"),
            figure("database_sessions"),
            figure("database_connection_limit"),
            figure("commits_per_second"),
            figure("cache_hit_ratio"),
            figure("database_xid_age"),
            figure("database_deadlocks_total"),
            figure("database_checksum_failures_total"),
            pgvector.get(key[0]),
        )

    return sorted(map(database, names), key=lambda one: (-(one.size_bytes or 0.0), one.name))
