"""The server of an environment: what it is, how many are connected, who replicates from it."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.views.samples import Question, Samples, flag, ratio

_SHOWN_SETTINGS = (
    "shared_buffers",
    "work_mem",
    "maintenance_work_mem",
    "effective_cache_size",
    "max_connections",
    "max_wal_size",
    "autovacuum",
    "fsync",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
)

SERVER = Question(
    (
        "server_info",
        "server_start_timestamp_seconds",
        "server_in_recovery",
        "settings_pending_restart",
        "setting",
        "archiver_last_archived_timestamp_seconds",
        "archiver_last_failed_timestamp_seconds",
        "oldest_xmin_age",
        "server_max_connections",
        "server_reserved_connections",
        "database_sessions",
        "sessions",
        "sessions_blocked",
        "transaction_max_age_seconds",
        "replication_lag_seconds",
        "replication_lag_bytes",
        "replication_replay_lag_seconds",
        "replication_slot_active",
        "replication_slot_retained_bytes",
    )
)


@dataclass(frozen=True, slots=True)
class Setting:
    """Numeric settings in bytes and seconds, boolean ones as 1 and 0."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Server:
    """`standby` is None where it is unknown; moments are unix seconds, `oldest_xmin_age` transactions."""

    version: str | None
    started_at: float | None
    standby: bool | None
    settings_pending_restart: float | None
    last_archived_at: float | None
    last_archive_failed_at: float | None
    oldest_xmin_age: float | None
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Sessions:
    """Client sessions of one database that do the same; `longest_seconds` is their longest open transaction."""

    datname: str
    state: str
    count: float
    longest_seconds: float | None


@dataclass(frozen=True, slots=True)
class Connections:
    """`available` are those that are not reserved, `used_ratio` what is taken of them, 0 to 1."""

    used: float | None
    available: float | None
    reserved: float | None
    used_ratio: float | None
    blocked: float | None
    sessions: tuple[Sessions, ...]


@dataclass(frozen=True, slots=True)
class Standby:
    application_name: str
    state: str
    lag_bytes: float
    replay_lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class Slot:
    name: str
    kind: str
    active: bool
    retained_bytes: float | None


@dataclass(frozen=True, slots=True)
class Replication:
    """`lag_seconds` is that of this server where it is a standby itself."""

    lag_seconds: float | None
    standbys: tuple[Standby, ...]
    slots: tuple[Slot, ...]


def server(samples: Samples) -> Server:
    version = next((labels.get("version") for labels in samples.infos("server_info")), None)
    settings = samples.by("setting", "name")
    return Server(
        version,
        samples.one("server_start_timestamp_seconds"),
        flag(samples.one("server_in_recovery")),
        samples.one("settings_pending_restart"),
        samples.one("archiver_last_archived_timestamp_seconds"),
        samples.one("archiver_last_failed_timestamp_seconds"),
        samples.one("oldest_xmin_age"),
        tuple(Setting(name, settings[(name,)]) for name in _SHOWN_SETTINGS if (name,) in settings),
    )


def connections(samples: Samples) -> Connections:
    by_database = samples.by("database_sessions", "datname")
    used = sum(by_database.values()) if by_database else None
    most, reserved = samples.one("server_max_connections"), samples.one("server_reserved_connections")
    available = None if most is None else most - (reserved or 0.0)
    blocked = samples.by("sessions_blocked", "datname")
    longest = samples.by("transaction_max_age_seconds", "datname", "state")
    sessions = [
        Sessions(datname, state, count, longest.get((datname, state)))
        for (datname, state), count in samples.by("sessions", "datname", "state").items()
        if count > 0
    ]
    return Connections(
        used,
        available,
        reserved,
        ratio(used, available),
        sum(blocked.values()) if blocked else None,
        tuple(sorted(sessions, key=lambda one: (-one.count, one.datname, one.state))),
    )


def replication(samples: Samples) -> Replication:
    replay = samples.by("replication_replay_lag_seconds", "application_name", "state")
    standbys = [
        Standby(name, state, lag, replay.get((name, state)))
        for (name, state), lag in samples.by("replication_lag_bytes", "application_name", "state").items()
    ]
    retained = samples.by("replication_slot_retained_bytes", "slot_name", "slot_type")
    slots = [
        Slot(name, kind, active > 0, retained.get((name, kind)))
        for (name, kind), active in samples.by("replication_slot_active", "slot_name", "slot_type").items()
    ]
    return Replication(
        samples.one("replication_lag_seconds"),
        tuple(sorted(standbys, key=lambda one: one.application_name)),
        tuple(sorted(slots, key=lambda one: one.name)),
    )
