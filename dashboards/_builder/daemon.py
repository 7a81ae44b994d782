"""The daemon itself: does it watch, judge and tell, and what does that cost?"""

from __future__ import annotations

from dashboards._builder.frame import ALERTS, CUSTODE_STARTS, ENVIRONMENTS, dashboard
from dashboards._builder.panels import UP_DOWN, YES_NO, Column, Json, Query, ranking, row, series, stat, table

_BY_INSTANCE = "{{instance}}"


def build() -> Json:
    return dashboard(
        "daemon",
        "the daemon itself",
        "Whether Custode watches, judges and tells people in time, and what that takes.",
        [*_now(), *_costs(), *_watching(), *_telling()],
        variables=(ENVIRONMENTS,),
        annotations=(ALERTS, CUSTODE_STARTS),
    )


def _now() -> list[Json]:
    return [
        stat(
            "Daemons",
            "Daemons that can be scraped, of those that are chosen.",
            "count(custode_build_info{$SELF})",
            width=3,
        ),
        stat(
            "Version",
            "Which version of Custode runs.",
            "max by (version) (custode_build_info{$SELF})",
            legend="{{version}}",
            unit="none",
            base="text",
            name=True,
            width=3,
        ),
        stat(
            "Started",
            "When the daemon was started that runs for the shortest time.",
            "max(process_start_time_seconds{$SELF}) * 1000",
            unit="dateTimeFromNow",
            base="text",
            width=3,
        ),
        stat(
            "Configuration",
            "Whether the last change of the configuration was taken over.",
            "min(custode_config_last_reload_successful{$SELF})",
            unit="none",
            words={0: ("refused", "red"), 1: ("taken over", "green")},
            width=3,
            page="/configuration",
        ),
        stat(
            "State database",
            "Whether the state database can be used. Without it nothing is done.",
            "min(custode_state_up{$SELF})",
            unit="none",
            words=UP_DOWN,
            width=3,
        ),
        stat(
            "Journal",
            "Whether the journal of alerts can be written, before anybody is told.",
            "min(custode_alert_journal_last_write_successful{$SELF})",
            unit="none",
            words={0: ("fails", "red"), 1: ("written", "green")},
            width=3,
        ),
        stat(
            "Sharing the fleet",
            "Daemons that share the state database.",
            "max(custode_members{$SELF})",
            base="text",
            width=3,
        ),
        stat(
            "Slowest moment",
            "Largest delay of the event loop in the last minute. Alerts are to be known within a second.",
            "max(custode_event_loop_lag_seconds{$SELF})",
            unit="s",
            steps=((0.25, "yellow"), (1, "red")),
            width=3,
        ),
    ]


def _costs() -> list[Json]:
    return [
        row("What it takes"),
        series(
            "CPU",
            "Time on a processor each second: 100 % is one core.",
            Query("sum by (instance) (rate(process_cpu_seconds_total{$SELF}[$__rate_interval]))", _BY_INSTANCE),
            unit="percentunit",
        ),
        series(
            "Memory",
            "Resident memory of the daemon.",
            Query("sum by (instance) (process_resident_memory_bytes{$SELF})", _BY_INSTANCE),
            unit="bytes",
        ),
        series(
            "Event loop",
            "Largest delay of the event loop in the last minute. Above a second everything is late.",
            Query("max by (instance) (custode_event_loop_lag_seconds{$SELF})", _BY_INSTANCE),
            unit="s",
            steps=((1, "red"),),
        ),
        series(
            "Files and sockets",
            "Open file descriptors, of those that the system allows.",
            Query("max by (instance) (process_open_fds{$SELF} / process_max_fds{$SELF})", _BY_INSTANCE),
            unit="percentunit",
            steps=((0.8, "red"),),
        ),
    ]


def _watching() -> list[Json]:
    return [
        row("Watching and judging"),
        ranking(
            "Slowest collectors",
            "The ten runs of collectors that took longest.",
            "topk(10, max by (environment, collector) (custode_collector_duration_seconds{$ENV}))",
            "{{environment}}: {{collector}}",
            unit="s",
            steps=((5, "yellow"), (15, "red")),
        ),
        series(
            "Collectors that fail",
            "On how many environments each collector failed when it last ran.",
            Query(
                "sum by (collector) (1 - max by (environment, collector) (custode_collector_success{$ENV}))",
                "{{collector}}",
            ),
            stacked=True,
        ),
        series(
            "Series",
            "Series that each collector exports, and those left out because there were too many.",
            Query("sum by (collector) (custode_collector_series{$ENV})", "{{collector}}"),
            Query("sum(custode_collector_series_dropped{$ENV})", "left out"),
        ),
        series(
            "Sample store",
            "Memory for samples in use, of what is allowed. When it is full, samples are refused.",
            Query(
                "max by (instance) (custode_store_samples{$SELF} / custode_store_limit_samples{$SELF})", _BY_INSTANCE
            ),
            unit="percentunit",
            steps=((0.8, "red"),),
        ),
        table(
            "Rule groups",
            "How long the last evaluation of each group took, of its interval; failed rules, and missed intervals.",
            {"rule_group": "Group"},
            Column(
                "Of its interval",
                """max by (rule_group) (
                    custode_rule_group_last_duration_seconds{$SELF} / custode_rule_group_interval_seconds{$SELF}
                )""",
                "percentunit",
                ((0.5, "yellow"), (1, "red")),
            ),
            Column("Took", "max by (rule_group) (custode_rule_group_last_duration_seconds{$SELF})", "s"),
            Column(
                "Last evaluated",
                "1000 * min by (rule_group) (custode_rule_group_last_evaluation_timestamp_seconds{$SELF})",
                "dateTimeFromNow",
            ),
            Column("Rules", "max by (rule_group) (custode_rule_group_rules{$SELF})"),
            Column(
                "Failed in this time",
                "round(sum by (rule_group) (increase(custode_rule_evaluation_failures_total{$SELF}[$__range])))",
                steps=((1, "red"),),
            ),
            Column(
                "Missed in this time",
                "round(sum by (rule_group) (increase(custode_rule_group_iterations_missed_total{$SELF}[$__range])))",
                steps=((4, "yellow"),),
            ),
            worst="Of its interval",
            page="/rules",
        ),
    ]


def _telling() -> list[Json]:
    return [
        row("Telling people"),
        series(
            "Notifications",
            "Notifications each second by notifier: taken, failed and tried again, given up.",
            Query("sum by (notifier) (rate(custode_outbox_sent_total{$SELF}[$__rate_interval]))", "{{notifier}}"),
            Query(
                "sum by (notifier) (rate(custode_outbox_failed_total{$SELF}[$__rate_interval]))", "{{notifier}}, failed"
            ),
            Query(
                "sum by (notifier) (rate(custode_outbox_dead_total{$SELF}[$__rate_interval]))", "{{notifier}}, given up"
            ),
            unit="ops",
        ),
        series(
            "Not told yet",
            "Notifications that wait, by notifier, and those in memory only because the state database is away.",
            Query("max by (notifier) (custode_outbox_waiting{$SELF})", "{{notifier}}"),
            Query("sum(custode_outbox_spooled{$SELF})", "in memory only"),
        ),
        series(
            "Alertmanagers",
            "Alerts sent to each Alertmanager each second, errors, and those given up. Empty without an Alertmanager.",
            Query(
                "sum by (alertmanager) (rate(custode_notifications_sent_total{$SELF}[$__rate_interval]))",
                "{{alertmanager}}",
            ),
            Query(
                "sum by (alertmanager) (rate(custode_notifications_errors_total{$SELF}[$__rate_interval]))",
                "{{alertmanager}}, failed",
            ),
            Query(
                "sum by (alertmanager) (rate(custode_notifications_dropped_total{$SELF}[$__rate_interval]))",
                "{{alertmanager}}, given up",
            ),
            unit="ops",
        ),
        table(
            "Who takes pages",
            "Whether each Alertmanager took the last batch, and how much waits for it. Empty without an Alertmanager.",
            {"alertmanager": "Alertmanager"},
            Column("Takes alerts", "min by (alertmanager) (custode_alertmanager_up{$SELF})", "none", words=YES_NO),
            Column(
                "Waiting", "max by (alertmanager) (custode_notifications_queue_length{$SELF})", steps=((100, "red"),)
            ),
            Column("Last batch took", "max by (alertmanager) (custode_notifications_latency_seconds{$SELF})", "s"),
            width=12,
            page="/alerts",
        ),
    ]
