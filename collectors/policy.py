"""What the configuration promises, as series, so that a rule can compare a fact with its promise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from collectors import Collector, Family, Rows, Target, gauge, info
from fleet.durations import Duration
from fleet.environment import Environment
from fleet.policy import BackupPolicy

PROMISES = Family(
    (),
    (
        gauge("policy_backup_interval_seconds", "A backup is promised at least this often, in seconds."),
        gauge(
            "policy_backup_max_age_seconds",
            "The newest backup is promised to be at most this old: the shorter of interval and RPO, in seconds.",
        ),
        gauge("policy_restore_test_interval_seconds", "A proven restore is promised at least this often, in seconds."),
        gauge("policy_restore_test_every_backup", "1 where each new backup is restored for proof, else 0."),
        gauge("policy_recovery_time_seconds", "Recovery time objective (RTO), in seconds."),
        gauge("policy_recovery_point_seconds", "Recovery point objective (RPO), in seconds."),
        gauge("policy_tls_required", "1 where every network session must use TLS, else 0."),
        gauge("policy_pii_allowed", "1 where personal data may be kept, else 0."),
        gauge("policy_refresh_interval_seconds", "Sanitised data is promised to be at most this old, in seconds."),
        gauge("policy_data_scan_interval_seconds", "Personal data is looked for at least this often, in seconds."),
        gauge("policy_disk_free_ratio", "Free disk space below this ratio (0 to 1) is trouble."),
        gauge("policy_same_schema", "1 where the schema must match the reference environment's, else 0."),
        gauge(
            "policy_schema_follows", "1 where the schema is decided elsewhere: in the reference environment, else 0."
        ),
        gauge("policy_schema_reference", "1 on the environment whose schema the others must match, else 0."),
    ),
)
BACKUP_RETENTION = Family(
    ("retention",),
    (gauge("policy_backup_retention_seconds", "Backups of this frequency are kept this long, in seconds."),),
)
BACKUP_COPY = Family(
    ("copy",),
    (
        info("policy_backup_copy_info", "1 for each store that is to hold a further copy of the backups."),
        gauge(
            "policy_backup_copy_interval_seconds",
            "This copy is promised to be at most so much behind the newest backup elsewhere, in seconds.",
        ),
    ),
)
ROW_RETENTION = Family(
    ("schemaname", "relname"),
    (gauge("policy_row_retention_seconds", "Rows of this table are kept this long, in seconds."),),
)
RECALL = Family(
    ("method",),
    (gauge("policy_recall_ratio", "Recall (0 to 1) promised to searches through indexes of this method."),),
)


class PolicyCollector(Collector):
    name = "policy"
    summary = "the configured promises, for rules to compare facts with"
    families = (PROMISES, BACKUP_RETENTION, BACKUP_COPY, ROW_RETENTION, RECALL)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)

    async def collect(self, target: Target) -> list[Rows]:
        policy = target.environment.policy
        recall = {"ivfflat": policy.vectors.ivfflat_recall, "hnsw": policy.vectors.hnsw_recall}
        return [
            PROMISES.rows([_promises(target.environment)]),
            BACKUP_RETENTION.rows(
                [(name, _seconds(kept)) for name, kept in policy.backup.retention if isinstance(kept, timedelta)]
            ),
            BACKUP_COPY.rows([(name, 1, _seconds(copy.interval)) for name, copy in policy.backup.copies.items()]),
            ROW_RETENTION.rows([(*rule.qualified, _seconds(rule.keep)) for rule in policy.data.row_retention]),
            RECALL.rows([(method, ratio) for method, ratio in recall.items() if ratio is not None]),
        ]


def _promises(environment: Environment) -> Sequence[Any]:
    policy = environment.policy
    return (
        _seconds(policy.backup.interval),
        _seconds(_max_age(policy.backup)),
        _seconds(policy.backup.restore_test_interval),
        int(policy.backup.test_every_backup),
        _seconds(policy.backup.recovery_time),
        _seconds(policy.backup.recovery_point),
        int(policy.tls.required),
        int(policy.data.pii_allowed),
        _seconds(policy.data.refresh_interval),
        _seconds(policy.data.scan_interval),
        policy.disk_free_ratio,
        int(policy.same_schema),
        int(policy.same_schema and not environment.schema_reference),
        int(environment.schema_reference),
    )


def _max_age(policy: BackupPolicy) -> timedelta | None:
    return min((age for age in (policy.interval, policy.recovery_point) if age is not None), default=None)


def _seconds(promised: timedelta | None) -> float | None:
    return None if promised is None else promised.total_seconds()
