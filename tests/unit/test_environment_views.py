"""What is made of samples for people: pure, from answers written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import actions
import collectors
from actions import Action
from collectors import Collector
from daemon.actions.operators import Operators
from daemon.config import parse
from daemon.page import charts
from daemon.status import Board
from daemon.views.copies import backups_in_short
from daemon.views.databases import databases
from daemon.views.disks import disks
from daemon.views.environment import QUESTIONS, EnvironmentView, view
from daemon.views.indexes import indexes
from daemon.views.policy import policy_view
from daemon.views.samples import Question, Samples
from daemon.views.schema import schema
from daemon.views.scrapes import scrapes
from daemon.views.security import security
from daemon.views.server import connections, replication, server
from daemon.views.tables import tables
from daemon.views.vectors import vector_indexes
from fleet.environment import Environment
from fleet.plugins import load_plugins
from fleet.policy import TIER_DEFAULTS, Policy, Tier
from fleet.secrets import SecretText
from rules import Labels
from rules.promql.query import Query
from rules.store import SampleStore

NOW = 1_700_000_000.0
DAY = 86_400.0
DOCS = {"datname": "app", "schemaname": "public", "relname": "docs"}
HNSW = DOCS | {"indexrelname": "docs_hnsw"}
QA = TIER_DEFAULTS[Tier.QA]


def samples(*said: tuple[str, dict[str, str], float]) -> Samples:
    return Samples.of(said)


def environment(policy: Policy = QA, name: str = "qa") -> Environment:
    return Environment(name=name, tier=Tier.QA, dsn=SecretText("postgresql://u@h/d"), policy=policy)


def exported() -> set[str]:
    families = (family for kind in load_plugins(collectors, Collector).values() for family in kind.families)
    told = {metric.name for family in families for metric in family.metrics}
    about = {"up", "success", "duration_seconds", "last_success_timestamp_seconds", "series", "series_dropped"}
    told |= {f"custode_{'' if name == 'up' else 'collector_'}{name}" for name in about} | {"custode_collector_gap_info"}
    kinds = load_plugins(actions, Action).items()
    told |= {f"custode_{measure.metric}" for _, kind in kinds for measure in kind.measures}
    told |= {f"custode_{name}_measured_timestamp_seconds" for name, kind in kinds if kind.measures}
    return told | {"custode_disk_full_seconds"}  # recorded by rules/disks.yml


def test_only_metrics_are_asked_for_that_exist() -> None:
    asked = {f"custode_{metric}" for question in QUESTIONS for metric in question.metrics}
    assert asked - exported() == set()


@pytest.mark.parametrize("name", ["qa", 'q"a', "back\\slash", "new\nline", '"} or vector(1) #', "$environment"])
def test_the_name_of_an_environment_is_a_text_of_promql(name: str) -> None:
    store = SampleStore()
    for question in QUESTIONS:
        for expression in question.expressions(name).values():
            assert Query.compile(expression).instant(store, NOW).vector == []
    asked = Question(("up",)).expressions(name)[""]
    assert Query.compile(asked).text == asked


def test_what_is_no_number_is_not_known() -> None:
    found = samples(("custode_server_max_connections", {}, float("nan")), ("custode_up", {}, 1.0))
    assert (found.one("server_max_connections"), found.one("up")) == (None, 1.0)


def test_collectors_that_fail_come_first_and_say_why() -> None:
    options = {name: Collector.Options() for name in ("server", "tables", "recall")}
    options["recall"] = Collector.Options(enabled=False)
    found = scrapes(
        samples(
            ("custode_collector_success", {"collector": "server"}, 1.0),
            ("custode_collector_success", {"collector": "tables"}, 0.0),
            ("collector_run_at", {"collector": "tables"}, NOW - 5),
            ("custode_collector_series_dropped", {"collector": "tables"}, 3.0),
            ("custode_collector_gap_info", {"collector": "server", "what": "slots", "reason": "no right"}, 1.0),
        ),
        options,
        {"tables": "TimeoutError"},
    )
    assert [(one.collector, one.success, one.error) for one in found] == [
        ("tables", False, "TimeoutError"),
        ("server", True, None),
        ("recall", None, None),
    ]
    assert (found[0].run_at, found[0].series_dropped, found[0].interval_seconds) == (NOW - 5, 3.0, 15.0)
    assert [(gap.what, gap.reason) for gap in found[1].gaps] == [("slots", "no right")]


def test_connections_leave_out_what_is_reserved() -> None:
    found = connections(
        samples(
            ("custode_server_max_connections", {}, 100.0),
            ("custode_server_reserved_connections", {}, 3.0),
            ("custode_database_sessions", {"datname": "app"}, 40.0),
            ("custode_database_sessions", {"datname": "other"}, 8.5),
            ("custode_sessions", {"datname": "app", "state": "active"}, 2.0),
            ("custode_sessions", {"datname": "app", "state": "idle"}, 38.0),
            ("custode_sessions", {"datname": "app", "state": "disabled"}, 0.0),
            ("custode_transaction_max_age_seconds", {"datname": "app", "state": "active"}, 12.0),
        )
    )
    assert (found.used, found.available, found.used_ratio, found.blocked) == (48.5, 97.0, 0.5, None)
    assert [(one.state, one.count, one.longest_seconds) for one in found.sessions] == [
        ("idle", 38.0, None),
        ("active", 2.0, 12.0),
    ]


def test_nothing_known_is_nothing_told() -> None:
    none = samples()
    assert connections(none).used is None
    assert connections(none).used_ratio is None
    assert (server(none).version, server(none).standby) == (None, None)
    assert (replication(none).standbys, replication(none).slots) == ((), ())
    assert (databases(none), tables(none, NOW), indexes(none), vector_indexes(none, QA), disks(none)) == (
        [],
        [],
        [],
        [],
        [],
    )
    assert security(none, QA).tls_enabled is None
    assert backups_in_short(none).copies == ()


def test_standbys_and_slots() -> None:
    standby, slot = {"application_name": "s1", "state": "streaming"}, {"slot_name": "old", "slot_type": "physical"}
    found = replication(
        samples(
            ("custode_replication_lag_bytes", standby, 4096.0),
            ("custode_replication_replay_lag_seconds", standby, 0.5),
            ("custode_replication_slot_active", slot, 0.0),
            ("custode_replication_slot_retained_bytes", slot, 1e9),
        )
    )
    assert (found.standbys[0].lag_bytes, found.standbys[0].replay_lag_seconds) == (4096.0, 0.5)
    assert (found.slots[0].active, found.slots[0].retained_bytes) == (False, 1e9)


def test_a_table_is_as_large_as_all_of_it_and_keeps_rows_as_long_as_the_policy_says() -> None:
    small = DOCS | {"relname": "small"}
    old = samples(
        ("custode_table_size_bytes", DOCS, 100.0),
        ("custode_table_toast_size_bytes", DOCS, 20.0),
        ("custode_table_indexes_size_bytes", DOCS, 50.0),
        ("custode_table_live_tuples", DOCS, 75.0),
        ("custode_table_dead_tuples", DOCS, 25.0),
        ("custode_table_last_vacuum_timestamp_seconds", DOCS, NOW - 50),
        ("custode_table_last_autovacuum_timestamp_seconds", DOCS, NOW - 10),
        ("custode_table_oldest_row_timestamp_seconds", DOCS, NOW - 91 * DAY),
        ("custode_policy_row_retention_seconds", {"schemaname": "public", "relname": "docs"}, 90 * DAY),
        ("custode_policy_row_retention_seconds", {"schemaname": "public", "relname": "small"}, 90 * DAY),
        ("custode_table_size_bytes", small, 8.0),
    )
    docs, other = tables(old, NOW)
    assert (docs.size_bytes, docs.indexes_size_bytes, docs.dead_ratio) == (170.0, 50.0, 0.25)
    assert (docs.last_vacuum_at, docs.last_analyze_at) == (NOW - 10, None)
    assert (docs.keep_seconds, docs.past_retention) == (90 * DAY, True)
    assert tables(old, NOW - 2 * DAY)[0].past_retention is False
    assert (other.name, other.size_bytes, other.rows, other.past_retention) == ("small", 8.0, None, None)


def test_indexes_in_trouble_come_first() -> None:
    broken, large = DOCS | {"indexrelname": "broken"}, DOCS | {"indexrelname": "large"}
    built = DOCS | {"indexrelname": "built"}
    info = {"method": "btree", "unique": "true", "primary": "false", "constraint": "false"}
    found = indexes(
        samples(
            *(("custode_index_info", info | one, 1.0) for one in (large, broken, built)),
            ("custode_index_valid", broken, 0.0),
            ("custode_index_valid", large, 1.0),
            ("custode_index_valid", built, 0.0),
            ("custode_index_size_bytes", large, 1e9),
            ("custode_index_bytes_per_tuple", large, 60.0),
            ("custode_index_best_bytes_per_tuple", large, 20.0),
            ("custode_index_build_progress_ratio", built | {"command": "CREATE INDEX", "phase": "building"}, 0.4),
            ("custode_index_build_remaining_seconds", built | {"command": "CREATE INDEX", "phase": "building"}, 9.0),
        )
    )
    assert [(one.name, one.valid) for one in found] == [("broken", False), ("built", False), ("large", True)]
    assert found[2].bloat == 3.0
    assert found[2].enforces
    build = found[1].build
    assert build is not None
    assert (build.ratio, build.remaining_seconds, build.phase) == (0.4, 9.0, "building")


def test_disks_with_their_forecast() -> None:
    root, data = {"mountpoint": "/", "source": "local"}, {"mountpoint": "/data", "source": "cloud"}
    first, second = disks(
        samples(
            ("custode_disk_size_bytes", data, 1000.0),
            ("custode_disk_available_bytes", data, 250.0),
            ("custode_disk_full_seconds", data, 3600.0),
            ("in_a_day_bytes", data, -10.0),
            ("custode_disk_size_bytes", root, 500.0),
            ("custode_policy_disk_free_ratio", {}, 0.1),
        )
    )
    assert (first.mountpoint, first.free_ratio, first.full_seconds) == ("/", None, None)
    assert (second.free_ratio, second.promised_ratio, second.full_seconds, second.in_a_day_bytes) == (
        0.25,
        0.1,
        3600.0,
        -10.0,
    )


def test_the_schema_and_how_much_of_it_differs() -> None:
    there = {"datname": "app"}
    said = samples(
        ("custode_schema_revision_info", there | {"revision": "b2"}, 1.0),
        ("custode_schema_revision_info", there | {"revision": "a1"}, 1.0),
        ("custode_schema_revision_info", {"datname": "other", "revision": "zz"}, 1.0),
        ("custode_schema_fingerprint_info", there | {"fingerprint": "ab" * 32}, 1.0),
        ("custode_schema_migrating", there, 0.0),
        ("custode_schema_matches_reference", there, 0.0),
        ("custode_schema_revisions_behind", there, 2.0),
        ("custode_schema_objects", there | {"kind": "table"}, 7.0),
        ("custode_schema_differences", there | {"kind": "index", "change": "add"}, 3.0),
    )
    found = schema(said, environment(), "production")
    (one,) = found.databases
    assert (found.reference, found.is_reference) == ("production", False)
    assert (one.revisions, one.behind, one.migrating) == (("a1", "b2"), 2.0, False)
    assert (one.matches_reference, one.matches_scripts) == (False, None)
    assert [(count.kind, count.change, count.count) for count in one.differences] == [("index", "add", 3.0)]
    assert [(count.kind, count.count) for count in one.objects] == [("table", 7.0)]
    apart = QA.model_copy(update={"same_schema": False})
    assert schema(said, environment(apart), "production").reference is None
    reference = schema(said, environment(name="production"), "production")
    assert (reference.reference, reference.is_reference) == (None, True)


def test_security_tells_what_is_promised_beside_what_is_seen() -> None:
    access = QA.access.model_copy(update={"superusers": ("postgres",), "read_only_roles": ("reader", "unseen")})
    found = security(
        samples(
            ("custode_tls_enabled", {}, 0.0),
            ("custode_superusers", {}, 2.0),
            ("custode_unexpected_superuser_info", {"rolname": "<b>"}, 1.0),
            ("custode_role_can_write", {"rolname": "reader"}, 1.0),
            ("custode_hba_lines", {"method": "trust"}, 2.0),
            ("custode_role_password_expiry_timestamp_seconds", {"rolname": "app"}, NOW + DAY),
        ),
        QA.model_copy(update={"access": access}),
    )
    assert (found.tls_enabled, found.tls_required, found.certificate_expires_at) == (False, False, None)
    assert (found.allowed_superusers, found.unexpected_superusers) == (("postgres",), ("<b>",))
    assert [(role.name, role.can_write) for role in found.read_only_roles] == [("reader", True), ("unseen", None)]
    assert [(line.method, line.count) for line in found.hba] == [("trust", 2.0)]
    assert [(one.role, one.expires_at) for one in found.passwords] == [("app", NOW + DAY)]


def test_the_policy_in_words_and_who_may_approve(tmp_path: Path) -> None:
    text = """
environments:
  qa: {tier: qa, dsn: postgresql://u@h/d}
  prod: {tier: production, dsn: postgresql://u@h/d}
operators:
  ada: {}
  ben: {environments: [qa]}
  eve: {may: [request]}
"""
    settings = parse(text, tmp_path / "custode.yml")
    operators = Operators(settings.operators, "custode")
    prod = policy_view(settings.environments["prod"], operators)
    assert prod.approvers == ("ada",)
    assert policy_view(settings.environments["qa"], operators).approvers == ("ada", "ben")
    assert prod.window == "sun from 02:00 for 4h (UTC)"
    assert (prod.recovery_time, prod.backup_interval) == (900.0, 3600.0)
    assert prod.retention["hourly"] == DAY
    assert {one.what: one.consent for one in prod.consents}["reset"] == "forbidden"
    assert ("public.messages", 90 * DAY) in {(one.table, one.keep_seconds) for one in prod.rows_kept}


def test_an_environment_of_which_nothing_is_known_yet(tmp_path: Path) -> None:
    settings = parse("environments:\n  qa: {tier: qa, dsn: postgresql://u@h/d}\n", tmp_path / "custode.yml")
    found = view(
        settings.environments["qa"],
        settings,
        samples(),
        board=Board(NOW, (), ()),
        alerts=[],
        runs=[],
        probes=[],
        problem="the state database is away",
        operators=Operators({}, "custode"),
        errors={},
        now=NOW,
    )
    assert isinstance(found, EnvironmentView)
    assert (found.summary.up, found.summary.watched, found.promises) == (None, False, ())
    assert {one.success for one in found.collectors} == {None}
    assert found.actions_problem == "the state database is away"
    assert replace(found, actions_problem=None).policy.approvers == ()


def test_charts_ask_for_what_is_there_whatever_it_is_called(tmp_path: Path) -> None:
    settings = parse("environments:\n  qa: {tier: qa, dsn: postgresql://u@h/d}\n", tmp_path / "custode.yml")
    odd = {"environment": "qa", "mountpoint": '/"}\n\\ or up', "source": "s"}
    known = samples(
        ("custode_disk_size_bytes", odd, 1000.0),
        ("custode_disk_full_seconds", odd, 60.0),
        ("custode_policy_disk_free_ratio", {}, 0.1),
    )
    found = view(
        settings.environments["qa"],
        settings,
        known,
        board=Board(NOW, (), ()),
        alerts=[],
        runs=[],
        probes=[],
        problem=None,
        operators=Operators({}, "custode"),
        errors={},
        now=NOW,
    )
    store = SampleStore()
    store.land("qa/disks", NOW, [(Labels(odd | {"__name__": "custode_disk_available_bytes"}), 7.0)])
    ((disk, chart),) = charts.disks(found)
    assert [value for _, value in Query.compile(chart.query).instant(store, NOW).vector] == [7.0]
    assert (disk.mountpoint, chart.limit, chart.full_seconds) == (odd["mountpoint"], 100.0, 60.0)
    for one in (charts.connections(found), charts.database_sizes(found)):
        assert Query.compile(one.query).instant(store, NOW).vector == []
