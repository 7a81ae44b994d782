"""The fleet: is every promise kept, and where not?"""

from __future__ import annotations

from dashboards._builder.frame import dashboard
from dashboards._builder.panels import NO_YES, UP_DOWN, YES_NO, Column, Json, Query, ranking, row, series, stat, table

_LATE = ((1, "yellow"), (1.25, "red"))  # of what is promised; the rules allow a quarter more
_PROMISES = (
    Column("Server", "max by (environment, tier) (custode_up{$ENV})", "none", words=UP_DOWN),
    Column(
        "Reachable in this time",
        "avg by (environment, tier) (avg_over_time(custode_up{$ENV}[$__range]))",
        "percentunit",
        ((0.999, "green"),),
        "red",
    ),
    Column(
        "Backup age of promised",
        """(time() - max by (environment, tier) (custode_backup_recovery_point_timestamp_seconds{$ENV}))
        / max by (environment, tier) (custode_policy_backup_max_age_seconds{$ENV})""",
        "percentunit",
        _LATE,
    ),
    Column(
        "Restore test age of promised",
        """(time() - max by (environment, tier) (custode_restore_test_last_success_timestamp_seconds{$ENV}))
        / max by (environment, tier) (custode_policy_restore_test_interval_seconds{$ENV})""",
        "percentunit",
        _LATE,
    ),
    Column(
        "Restore time of promised",
        """max by (environment, tier) (
            custode_restore_test_last_queryable_seconds{$ENV} or custode_restore_test_last_duration_seconds{$ENV}
        ) / max by (environment, tier) (custode_policy_recovery_time_seconds{$ENV})""",
        "percentunit",
        ((0.8, "yellow"), (1, "red")),
    ),
    Column(
        "Free disk of promised",
        """min by (environment, tier) (custode_disk_available_bytes{$ENV} / custode_disk_size_bytes{$ENV})
        / max by (environment, tier) (custode_policy_disk_free_ratio{$ENV})""",
        "percentunit",
        ((1, "yellow"), (1.5, "green")),
        "red",
    ),
    Column(
        "Schema as the reference",
        "min by (environment, tier) (custode_schema_matches_reference{$ENV})",
        "none",
        words=YES_NO,
    ),
    Column(
        "Revisions behind",
        "max by (environment, tier) (custode_schema_revisions_behind{$ENV})",
        steps=((1, "red"),),
    ),
    Column(
        "Invalid indexes",
        "sum by (environment, tier) (1 - custode_index_valid{$ENV})",
        steps=((1, "red"),),
    ),
    Column(
        "Lowest recall of promised",
        """min by (environment, tier) (
            custode_vector_index_recall_ratio{$ENV}
            * on (environment, datname, schemaname, relname, indexrelname) group_left (method)
            max by (environment, datname, schemaname, relname, indexrelname, method) (custode_vector_index_info{$ENV})
            / on (environment, method) group_left ()
            max by (environment, method) (custode_policy_recall_ratio{$ENV})
        )""",
        "percentunit",
        ((1, "green"),),
        "red",
    ),
    Column(
        "Data age of promised",
        """(time() - max by (environment, tier) (custode_refresh_last_success_timestamp_seconds{$ENV}))
        / max by (environment, tier) (custode_policy_refresh_interval_seconds{$ENV})""",
        "percentunit",
        ((1, "red"),),
    ),
    Column(
        "Left to people",
        """max by (environment) (custode_action_breaker_open{$ENV}) * on (environment) group_right ()
        max by (environment, tier) (custode_policy_same_schema{$ENV} >= bool 0)""",
        "none",
        words=NO_YES,
    ),
)


def build() -> Json:
    return dashboard(
        "fleet",
        "the fleet",
        "Every environment and whether its promises are kept: the first look, and who is broken.",
        [
            stat(
                "Environments",
                "How many environments are watched.",
                "count(max by (environment) (custode_up{$ENV}))",
                page="/",
            ),
            stat(
                "Down",
                "Environments whose server does not answer.",
                "count(max by (environment) (custode_up{$ENV}) == 0) or vector(0)",
                steps=((1, "red"),),
                page="/",
            ),
            stat(
                "Not watched",
                "Environments that are configured, and that no daemon looks at.",
                """count(
                    max by (environment) (custode_policy_same_schema{$ENV}) unless on (environment) custode_up{$ENV}
                ) or vector(0)""",
                steps=((1, "red"),),
                page="/",
            ),
            stat(
                "Alerts firing",
                "Alerts of Custode's rules that fire, of all environments of the chosen daemons.",
                'sum(custode_alerts{$SELF,state="firing"})',
                steps=((1, "orange"),),
                page="/alerts",
            ),
            stat(
                "Waiting for people",
                "Actions that wait until somebody approves or rejects them.",
                'sum(max by (environment) (custode_action_runs{$ENV,state="waiting"})) or vector(0)',
                steps=((1, "yellow"),),
                page="/actions",
            ),
            stat(
                "Collectors failing",
                "Collectors whose last run failed: what they watch is unknown just now.",
                "count(max by (environment, collector) (custode_collector_success{$ENV}) == 0) or vector(0)",
                steps=((1, "red"),),
                page="/",
            ),
            table(
                "Promises",
                "One line for each environment. Of promised: 100 % is the limit. Empty is not promised, or not known.",
                {"environment": "Environment", "tier": "Tier"},
                *_PROMISES,
                height=10,
                worst="Backup age of promised",
                page="/",
            ),
            table(
                "Alerts firing now",
                "What fires, where. Needs Custode's rules in Prometheus, as in the sample prometheus.yml, or Custode "
                "itself as the data source.",
                {"environment": "Environment", "alertname": "Alert", "severity": "Severity", "promise": "Promise"},
                Column(
                    "Alerts",
                    'count by (environment, alertname, severity, promise) (ALERTS{environment=~"$environment",'
                    'alertstate="firing",severity!="none"})',
                ),
                page="/alerts",
            ),
            row("How it goes"),
            series(
                "Alerts",
                "Alerts by state, of the chosen daemons. A rise that stays is work for somebody.",
                Query("sum by (state) (custode_alerts{$SELF})", "{{state}}"),
                page="/alerts",
            ),
            series(
                "Fullest disk",
                "Free space of the fullest disk of each tier, as a part of its size.",
                Query("min by (tier) (custode_disk_available_bytes{$ENV} / custode_disk_size_bytes{$ENV})", "{{tier}}"),
                unit="percentunit",
                most=1,
                page="/",
            ),
            series(
                "Transactions",
                "Transactions committed each second, by tier. None at all: nobody reaches the databases.",
                Query("sum by (tier) (rate(custode_database_commits_total{$ENV}[$__rate_interval]))", "{{tier}}"),
                unit="ops",
            ),
            series(
                "Sessions",
                "Client sessions, by tier.",
                Query("sum by (tier) (custode_sessions{$ENV})", "{{tier}}"),
                stacked=True,
            ),
            ranking(
                "Most sessions of those allowed",
                "The ten environments whose servers are nearest to refusing connections.",
                """topk(10,
                    sum by (environment) (custode_sessions{$ENV})
                    / sum by (environment) (custode_server_max_connections{$ENV})
                )""",
                "{{environment}}",
                unit="percentunit",
                steps=((0.8, "yellow"), (0.95, "red")),
            ),
            ranking(
                "Largest databases",
                "The ten largest databases of the fleet.",
                "topk(10, max by (environment, datname) (custode_database_size_bytes{$ENV}))",
                "{{environment}}: {{datname}}",
                unit="bytes",
            ),
        ],
    )
