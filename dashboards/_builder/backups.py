"""Backups and recovery: what would be lost now, how long would it take, is it proven?"""

from __future__ import annotations

from dashboards._builder.frame import dashboard
from dashboards._builder.panels import Column, Json, Query, row, series, stat, table, top

_COPY = {"environment": "Environment", "copy": "Copy"}
_BY_COPY = "max by (environment, copy)"
_AGE = "(time() - max by (environment) (custode_backup_recovery_point_timestamp_seconds{$ENV}))"
_RESTORED = (
    "max by (environment) (custode_restore_test_last_queryable_seconds{$ENV}"
    " or custode_restore_test_last_duration_seconds{$ENV})"
)


def build() -> Json:
    return dashboard(
        "backups",
        "backups and recovery",
        "How much would be lost if a server was gone now, how long coming back would take, and when that was proven.",
        [*_now(), *_backups(), *_recovery()],
    )


def _now() -> list[Json]:
    return [
        stat(
            "Oldest, of promised",
            "Of the environment that is worst off: age of the state that its newest backup holds, of what is promised.",
            f"max({_AGE} / max by (environment) (custode_policy_backup_max_age_seconds{{$ENV}}))",
            unit="percentunit",
            steps=((1, "yellow"), (1.25, "red")),
            page="/backups",
        ),
        stat(
            "Without a backup",
            "Environments that are promised backups and have none.",
            """count(
                max by (environment) (custode_policy_backup_interval_seconds{$ENV})
                unless on (environment) custode_backup_last_success_timestamp_seconds{$ENV}
            ) or vector(0)""",
            steps=((1, "red"),),
            page="/backups",
        ),
        stat(
            "Last one failed",
            "Environments whose last backup failed, with no good one since.",
            """count(
                max by (environment) (custode_backup_last_failure_timestamp_seconds{$ENV})
                > max by (environment) (custode_backup_last_success_timestamp_seconds{$ENV,copy!="files"})
            ) or vector(0)""",
            steps=((1, "red"),),
            page="/backups",
        ),
        stat(
            "Never restored",
            "Environments that are promised restore tests, and of which no backup was ever restored.",
            """count(
                max by (environment) (custode_policy_restore_test_interval_seconds{$ENV})
                unless on (environment) custode_restore_test_last_success_timestamp_seconds{$ENV}
            ) or vector(0)""",
            steps=((1, "red"),),
            page="/backups",
        ),
        stat(
            "Broken files",
            "Files of other programs' backups that are empty, cut off, unreadable or unfinished.",
            "sum(max by (environment) (custode_backup_files_broken{$ENV})) or vector(0)",
            steps=((1, "red"),),
            page="/backups",
        ),
        stat(
            "Stored",
            "What all backups take in all stores.",
            f"sum({_BY_COPY} (custode_backup_stored_size_bytes{{$ENV}}))",
            unit="bytes",
            base="text",
            page="/backups",
        ),
    ]


def _backups() -> list[Json]:
    return [
        table(
            "Backups by copy",
            "The newest good backup of each copy, and what the copy holds. Age is that of the state it brings back.",
            _COPY,
            Column("Age", f"time() - {_BY_COPY} (custode_backup_recovery_point_timestamp_seconds{{$ENV}})", "s"),
            Column("Took", f"{_BY_COPY} (custode_backup_last_duration_seconds{{$ENV}})", "s"),
            Column("Size", f"{_BY_COPY} (custode_backup_last_size_bytes{{$ENV}})", "bytes"),
            Column("New in it", f"{_BY_COPY} (custode_backup_last_added_bytes{{$ENV}})", "bytes"),
            Column("Backups", f"{_BY_COPY} (custode_backup_stored{{$ENV}})"),
            Column("All of them", f"{_BY_COPY} (custode_backup_stored_size_bytes{{$ENV}})", "bytes"),
            Column("Pinned", f"{_BY_COPY} (custode_backup_pinned{{$ENV}})"),
            Column("To prune", f"{_BY_COPY} (custode_backup_prunable{{$ENV}})", steps=((24, "yellow"),)),
            worst="Age",
            page="/backups",
        ),
        series(
            "Age of the newest, of promised",
            "A saw: it falls with each backup. Above 125 % it is an alert.",
            Query(
                top(f"{_AGE} / max by (environment) (custode_policy_backup_max_age_seconds{{$ENV}})"),
                "{{environment}}",
            ),
            unit="percentunit",
            steps=((1.25, "red"),),
            page="/backups",
        ),
        series(
            "Size of the newest",
            "A sudden fall is a backup that holds too little.",
            Query(top(f"{_BY_COPY} (custode_backup_last_size_bytes{{$ENV}})"), "{{environment}} in {{copy}}"),
            unit="bytes",
        ),
        series(
            "Backups kept, by retention",
            "How many backups each retention series keeps: hourly, daily, weekly, monthly.",
            Query(
                "sum by (retention) (max by (environment, copy, retention) (custode_backup_stored_by_retention{$ENV}))",
                "{{retention}}",
            ),
            stacked=True,
            page="/backups",
        ),
        series(
            "How long a backup takes",
            "Duration of the newest backup. One that takes half of the promised age is too slow.",
            Query(top(f"{_BY_COPY} (custode_backup_last_duration_seconds{{$ENV}})"), "{{environment}} in {{copy}}"),
            unit="s",
        ),
    ]


def _recovery() -> list[Json]:
    return [
        row("Recovery"),
        table(
            "Proven restores",
            "The last time that a backup was restored and compared. Promised: recovery time objective, recovery point.",
            {"environment": "Environment"},
            Column(
                "Proven",
                "1000 * max by (environment) (custode_restore_test_last_success_timestamp_seconds{$ENV})",
                "dateTimeFromNow",
            ),
            Column("Back in service after", _RESTORED, "s"),
            Column(
                "Promised",
                "max by (environment) (custode_policy_recovery_time_seconds{$ENV})",
                "s",
            ),
            Column(
                "State of the backup",
                "1000 * max by (environment) (custode_restore_test_recovery_point_timestamp_seconds{$ENV})",
                "dateTimeFromNow",
            ),
            Column("Would be lost now", _AGE, "s"),
            Column("May be lost", "max by (environment) (custode_policy_recovery_point_seconds{$ENV})", "s"),
            worst="Would be lost now",
            page="/backups",
        ),
        series(
            "Restore time, of promised",
            "How long it took until the restored database answered, of the recovery time objective.",
            Query(
                top(f"{_RESTORED} / max by (environment) (custode_policy_recovery_time_seconds{{$ENV}})"),
                "{{environment}}",
            ),
            unit="percentunit",
            steps=((0.8, "yellow"), (1, "red")),
            page="/backups",
        ),
        series(
            "Age of the last proof",
            "Time since a restore was last proven, of the interval that is promised.",
            Query(
                top(
                    "(time() - max by (environment) (custode_restore_test_last_success_timestamp_seconds{$ENV}))"
                    " / max by (environment) (custode_policy_restore_test_interval_seconds{$ENV})"
                ),
                "{{environment}}",
            ),
            unit="percentunit",
            steps=((1.25, "red"),),
            page="/backups",
        ),
        series(
            "Archived log",
            "Files of write-ahead log archived each second, and failures. Nothing where archiving is off.",
            Query(
                top("sum by (environment) (rate(custode_archiver_archived_total{$ENV}[$__rate_interval]))"),
                "{{environment}}",
            ),
            Query(
                top("sum by (environment) (rate(custode_archiver_failed_total{$ENV}[$__rate_interval]))"),
                "{{environment}}, failed",
            ),
            unit="ops",
        ),
        series(
            "Log kept for standbys",
            "Write-ahead log that replication slots keep on the disk, and that standbys have not replayed. Empty "
            "without any.",
            Query(
                top("max by (environment, slot_name) (custode_replication_slot_retained_bytes{$ENV})"),
                "{{environment}}: slot {{slot_name}}",
            ),
            Query(
                top("max by (environment, application_name) (custode_replication_lag_bytes{$ENV})"),
                "{{environment}}: {{application_name}}",
            ),
            unit="bytes",
        ),
    ]
