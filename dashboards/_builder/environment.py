"""One environment: what does its server do, and what is in its way?"""

from __future__ import annotations

from dashboards._builder.frame import ACTIONS, ALERTS, ENVIRONMENT, SERVER_STARTS, dashboard
from dashboards._builder.panels import NO_YES, UP_DOWN, YES_NO, Column, Json, Query, row, series, stat, table

_PAGE = "/environments/${environment}"
_TABLE = "datname, schemaname, relname"
_INDEX = f"{_TABLE}, indexrelname"


def build() -> Json:
    return dashboard(
        "environment",
        "an environment",
        "The server of one environment: load, waits, disk, vacuum, the schema, and what Custode cannot see.",
        [*_now(), *_load(), *_space(), *_upkeep()],
        variables=(ENVIRONMENT,),
        annotations=(ALERTS, ACTIONS, SERVER_STARTS),
    )


def _now() -> list[Json]:
    return [
        stat(
            "Server",
            "Whether the server answered when it was last asked.",
            "max(custode_up{$ENV})",
            unit="none",
            words=UP_DOWN,
            width=3,
            page=_PAGE,
        ),
        stat(
            "PostgreSQL",
            "The server's version.",
            "max by (version) (custode_server_info{$ENV})",
            legend="{{version}}",
            unit="none",
            base="text",
            name=True,
            width=3,
        ),
        stat(
            "Up since",
            "When the server was started.",
            "max(custode_server_start_timestamp_seconds{$ENV}) * 1000",
            unit="dateTimeFromNow",
            base="text",
        ),
        stat(
            "Connections used",
            "Client sessions, of the connections that the server allows.",
            "sum(custode_sessions{$ENV}) / max(custode_server_max_connections{$ENV})",
            unit="percentunit",
            steps=((0.8, "yellow"), (0.95, "red")),
            width=3,
        ),
        stat(
            "Disk free",
            "Free space of the fullest disk, of its size.",
            "min(custode_disk_available_bytes{$ENV} / custode_disk_size_bytes{$ENV})",
            unit="percentunit",
            steps=((0.05, "yellow"), (0.2, "green")),
            base="red",
            width=3,
            page=_PAGE,
        ),
        stat(
            "Blocks found in memory",
            "Blocks that were in shared buffers, of all that were read in the time shown.",
            """sum(increase(custode_database_blocks_hit_total{$ENV}[$__range])) / (
                sum(increase(custode_database_blocks_hit_total{$ENV}[$__range]))
                + sum(increase(custode_database_blocks_read_total{$ENV}[$__range])) > 0
            )""",
            unit="percentunit",
            steps=((0.9, "yellow"), (0.98, "green")),
            base="red",
        ),
        stat(
            "Wraparound",
            "Age of the oldest transaction id of all databases, of the 2^31 at which the server stops.",
            "max(custode_database_xid_age{$ENV}) / 2147483648",
            unit="percentunit",
            steps=((0.25, "yellow"), (0.5, "red")),
        ),
    ]


def _load() -> list[Json]:
    return [
        row("Load"),
        series(
            "Transactions",
            "Transactions ended each second. Many rollbacks are errors that people see.",
            Query("sum(rate(custode_database_commits_total{$ENV}[$__rate_interval]))", "committed"),
            Query("sum(rate(custode_database_rollbacks_total{$ENV}[$__rate_interval]))", "rolled back"),
            unit="ops",
        ),
        series(
            "Sessions",
            "Client sessions by what they do, and those that wait for a lock.",
            Query("sum by (state) (custode_sessions{$ENV})", "{{state}}"),
            Query("sum(custode_sessions_blocked{$ENV})", "waiting for a lock"),
        ),
        series(
            "Longest transaction",
            "Age of the longest open transaction by the state of its session. Old ones keep VACUUM from its work.",
            Query("max by (state) (custode_transaction_max_age_seconds{$ENV})", "{{state}}"),
            unit="s",
        ),
        series(
            "Trouble of queries",
            "Each second: deadlocks, sessions that their client lost, temporary files because work_mem was too small.",
            Query("sum(rate(custode_database_deadlocks_total{$ENV}[$__rate_interval]))", "deadlocks"),
            Query("sum(rate(custode_database_sessions_abandoned_total{$ENV}[$__rate_interval]))", "sessions lost"),
            Query("sum(rate(custode_database_temp_files_total{$ENV}[$__rate_interval]))", "temporary files"),
            unit="ops",
        ),
    ]


def _space() -> list[Json]:
    return [
        row("Space"),
        series(
            "Disk",
            "Free space of each disk, and how much of it will be left in a day if it goes on as in the last hours.",
            Query("min by (mountpoint, source) (custode_disk_available_bytes{$ENV})", "{{mountpoint}} ({{source}})"),
            Query(
                "clamp_min(min by (mountpoint, source) ("
                "predict_linear(custode_disk_available_bytes{$ENV}[$__range], 86400)), 0)",
                "{{mountpoint}} ({{source}}) in a day",
            ),
            unit="bytes",
            page=_PAGE,
        ),
        series(
            "Written",
            "Write-ahead log, and temporary files of queries, in bytes each second.",
            Query("clamp_min(sum(deriv(custode_wal_position_bytes{$ENV}[$__rate_interval])), 0)", "write-ahead log"),
            Query("sum(rate(custode_database_temp_bytes_total{$ENV}[$__rate_interval]))", "temporary files"),
            unit="Bps",
        ),
        table(
            "Largest tables",
            "The 20 largest tables: what they take, what is dead in them, and when they were last looked after.",
            {"datname": "Database", "schemaname": "Schema", "relname": "Table"},
            Column("Rows' size", f"topk(20, max by ({_TABLE}) (custode_table_size_bytes{{$ENV}}))", "bytes"),
            Column("Indexes' size", f"max by ({_TABLE}) (custode_table_indexes_size_bytes{{$ENV}})", "bytes"),
            Column("Rows", f"max by ({_TABLE}) (custode_table_live_tuples{{$ENV}})"),
            Column(
                "Dead rows",
                f"""max by ({_TABLE}) (
                    custode_table_dead_tuples{{$ENV}}
                    / (custode_table_dead_tuples{{$ENV}} + custode_table_live_tuples{{$ENV}} > 0)
                )""",
                "percentunit",
                ((0.1, "yellow"), (0.2, "red")),
            ),
            Column(
                "Vacuumed",
                f"""1000 * max by ({_TABLE}) (
                    custode_table_last_autovacuum_timestamp_seconds{{$ENV}}
                    or custode_table_last_vacuum_timestamp_seconds{{$ENV}}
                )""",
                "dateTimeFromNow",
            ),
            Column(
                "Analyzed",
                f"""1000 * max by ({_TABLE}) (
                    custode_table_last_autoanalyze_timestamp_seconds{{$ENV}}
                    or custode_table_last_analyze_timestamp_seconds{{$ENV}}
                )""",
                "dateTimeFromNow",
            ),
            worst="Rows' size",
            page=_PAGE,
        ),
        table(
            "Indexes that nobody uses",
            "The 20 largest indexes without a scan since statistics began, that enforce nothing. Whether a report of "
            "next month needs one, only people know.",
            {"datname": "Database", "schemaname": "Schema", "relname": "Table", "indexrelname": "Index"},
            Column(
                "Size",
                f"""topk(20, max by ({_INDEX}) (
                    custode_index_size_bytes{{$ENV}}
                    and on ({_INDEX}) (custode_index_scans_total{{$ENV}} == 0)
                    unless on ({_INDEX}) custode_index_info{{$ENV,unique="true"}}
                    unless on ({_INDEX}) custode_index_info{{$ENV,constraint="true"}}
                ))""",
                "bytes",
            ),
            worst="Size",
            page=_PAGE,
        ),
    ]


def _upkeep() -> list[Json]:
    return [
        row("Schema, security, and what is watched"),
        table(
            "Schema",
            "Alembic revision of each database, and how it compares with the scripts and the reference environment.",
            {"datname": "Database", "revision": "Revision"},
            Column(
                "Behind",
                "max by (datname, revision) (custode_schema_revision_info{$ENV} * on (environment, datname) "
                "group_left () max by (environment, datname) (custode_schema_revisions_behind{$ENV}))",
                steps=((1, "red"),),
            ),
            Column(
                "As its scripts make it",
                "min by (datname, revision) (custode_schema_revision_info{$ENV} * on (environment, datname) "
                "group_left () min by (environment, datname) (custode_schema_matches_scripts{$ENV}))",
                "none",
                words=YES_NO,
            ),
            width=12,
            page=_PAGE,
        ),
        table(
            "Security",
            "TLS, the end of the certificate, sessions without encryption, and superusers, beside what is promised.",
            {"tier": "Tier"},
            Column(
                "TLS",
                "max by (tier) (custode_tls_enabled{$ENV})",
                "none",
                words={0: ("off", "text"), 1: ("on", "green")},
            ),
            Column(
                "TLS promised",
                "max by (tier) (custode_policy_tls_required{$ENV})",
                "none",
                words={0: ("no", "text"), 1: ("yes", "text")},
            ),
            Column("Sessions in plaintext", "sum by (tier) (custode_plaintext_sessions{$ENV})", steps=((1, "yellow"),)),
            Column(
                "Certificate ends",
                "1000 * min by (tier) (custode_tls_certificate_expiry_timestamp_seconds{$ENV})",
                "dateTimeFromNow",
            ),
            Column("Superusers", "max by (tier) (custode_superusers{$ENV})"),
            width=12,
            page=_PAGE,
        ),
        table(
            "Collectors",
            "What Custode reads here: whether the last run went well, how long it took, when one last did.",
            {"collector": "Collector"},
            Column("Well", "min by (collector) (custode_collector_success{$ENV})", "none", words=YES_NO),
            Column("Took", "max by (collector) (custode_collector_duration_seconds{$ENV})", "s", ((5, "yellow"),)),
            Column(
                "Last success",
                "1000 * max by (collector) (custode_collector_last_success_timestamp_seconds{$ENV})",
                "dateTimeFromNow",
            ),
            Column("Series", "sum by (collector) (custode_collector_series{$ENV})"),
            Column("Left out", "sum by (collector) (custode_collector_series_dropped{$ENV})", steps=((1, "yellow"),)),
            worst="Took",
            width=12,
            page=_PAGE,
        ),
        table(
            "What cannot be seen",
            "What a collector could not look at, and what it lacks. Empty where the role may see everything.",
            {"collector": "Collector", "what": "What", "reason": "Reason"},
            Column(
                "Unseen",
                "max by (collector, what, reason) (custode_collector_gap_info{$ENV})",
                "none",
                words=NO_YES,
            ),
            width=12,
            page=_PAGE,
        ),
        series(
            "Replication lag",
            "How far standbys are behind, as they see it themselves and as their primary sees it. Empty without one.",
            Query("max(custode_replication_lag_seconds{$ENV})", "as this standby sees it"),
            Query(
                "max by (application_name) (custode_replication_replay_lag_seconds{$ENV})",
                "{{application_name}}, as the primary sees it",
            ),
            unit="s",
            width=24,
        ),
    ]
