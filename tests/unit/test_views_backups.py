"""Backups, their calendar and how far they reach, as programs and pages are told of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from actions import Plan
from daemon.actions.request import Result, Source
from daemon.actions.views import Run, RunState
from daemon.page.sketch import restore_times
from daemon.stored import Copy, Stored
from daemon.views.backups import Backups, backups_of, held
from daemon.views.calendar import Day, Month, months_of
from daemon.views.recovery import QUERY, Recovery, RestoreTest, recoveries
from fleet.backups import DatabaseDump, Manifest, Pin, Proof, backup_id
from fleet.backups.retention import decide
from fleet.environment import Environment
from fleet.policy import BackupPolicy, CopyPolicy, Policy, Retention, Tier
from fleet.secrets import SecretText
from rules import Labels, Query, SampleStore
from tests.snapshots import MemoryStore

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()
DAILY = BackupPolicy(interval=DAY, retention=Retention(daily=7 * DAY))
DUMP = DatabaseDump(name="app", key="k", size_bytes=100, plain_bytes=400, sha256="00")


def manifest(days: float, *, succeeded: bool = True, **fields: Any) -> Manifest:
    """A backup that began so many days ago."""
    at = NOW - days * 86_400
    values: dict[str, Any] = {
        "id": backup_id(at, "0123abcd"),
        "environment": "qa",
        "started_at": at,
        "finished_at": at + 60,
        "succeeded": succeeded,
        "error": None if succeeded else "the disk is full",
        "databases": (DUMP,) if succeeded else (),
    }
    return Manifest.model_validate(values | fields)


def environment(policy: BackupPolicy = DAILY, name: str = "qa", tier: Tier = Tier.QA) -> Environment:
    return Environment(name=name, tier=tier, dsn=SecretText("env:DSN"), policy=Policy(backup=policy))


def stored(policy: BackupPolicy, **copies: list[Manifest] | str) -> Stored:
    made = []
    for name, found in copies.items():
        retention = policy.retention_in(name)
        if isinstance(found, str):
            made.append(Copy(name, MemoryStore(), retention, problem=found))
        else:
            made.append(Copy(name, MemoryStore(), retention, tuple(found), tuple(decide(found, retention, NOW))))
    return Stored(environment(policy), tuple(made), ())


def shown(policy: BackupPolicy = DAILY, **copies: list[Manifest] | str) -> Backups:
    return backups_of(stored(policy, **copies))


def days_of(months: list[Month]) -> dict[date, Day]:
    return {day.date: day for month in months for week in month.weeks for day in week if day is not None}


def test_why_a_backup_is_kept_and_until_when() -> None:
    pin = Pin(at=NOW, by="anna", reason="before the migration")
    listed = shown(local=[manifest(4), manifest(3, pin=pin), manifest(2), manifest(1)])
    oldest, pinned, middle, newest = listed.stores[0].backups
    assert middle.kept_until == pytest.approx(middle.started_at + 7 * 86_400)
    assert (oldest.tiers, oldest.keep) == (("daily",), True)
    assert pinned.kept_until is None
    assert "pinned: before the migration" in pinned.reasons
    assert newest.kept_until is None, "as long as it is the last good one"


def test_a_number_of_backups_is_no_time() -> None:
    listed = shown(BackupPolicy(interval=DAY, retention=Retention(last=9)), local=[manifest(2), manifest(1)])
    assert [one.kept_until for one in listed.stores[0].backups] == [None, None]


def test_one_store_that_cannot_be_read_hides_no_other() -> None:
    listed = shown(local="it is not mounted", offsite=[manifest(1)])
    assert [(store.problem, len(store.backups)) for store in listed.stores] == [("it is not mounted", 0), (None, 1)]


def test_a_backup_is_told_once_with_all_that_hold_it() -> None:
    both, here = manifest(2), manifest(1)
    proven = both.model_copy(update={"proof": Proof(at=NOW, seconds=9.0)})
    first, second = held(shown(local=[both, here], offsite=[proven]).stores)
    assert (first.first.id, list(first.copies)) == (here.id, ["local"])
    assert (second.first.id, list(second.copies)) == (both.id, ["local", "offsite"])
    assert first.proof is None
    assert second.proof is not None
    assert second.proof.seconds == 9.0


def test_what_is_told_survives_json() -> None:
    adapter = TypeAdapter(Backups)
    listed = shown(local=[manifest(1, proof=Proof(at=NOW, seconds=9.0))], offsite="no")
    assert adapter.validate_json(adapter.dump_json(listed)) == listed


def test_a_day_without_the_backup_it_should_have_is_missing() -> None:
    months = months_of(shown(local=[manifest(number) for number in (6, 5, 3, 1)]), DAILY, NOW, 2)
    assert [month.first for month in months] == [date(2026, 3, 1)], "there was nothing before"
    days = days_of(months)
    assert months[0].missing == (date(2026, 3, 6), date(2026, 3, 8))
    assert days[date(2026, 3, 7)].state == "backed up"
    assert days[date(2026, 3, 10)].state == "none", "today is not over"
    assert days[date(2026, 3, 11)].state == "ahead"
    assert days[date(2026, 3, 2)].state == "none", "before the first one"


def test_what_the_retention_let_go_is_not_missing() -> None:
    days = days_of(months_of(shown(local=[manifest(number) for number in (40, 20, 3, 2, 1)]), DAILY, NOW, 3))
    assert days[date(2026, 2, 1)].state == "none"
    assert days[date(2026, 3, 2)].state == "none", "of the eighth day before the newest nothing is promised"
    assert days[date(2026, 3, 4)].state == "missing"


@pytest.mark.parametrize(
    "policy",
    [
        BackupPolicy(retention=Retention(daily=7 * DAY)),
        BackupPolicy(interval=7 * DAY, retention=Retention(daily=30 * DAY)),
        BackupPolicy(interval=DAY, retention=Retention(last=3)),
    ],
)
def test_where_no_day_is_promised_none_is_missing(policy: BackupPolicy) -> None:
    months = months_of(shown(policy, local=[manifest(6), manifest(1)]), policy, NOW, 2)
    assert [month.missing for month in months] == [()]


def test_days_count_by_store_and_series_and_tell_of_failures() -> None:
    both = manifest(2)
    listed = shown(local=[both, manifest(1.9), manifest(1, succeeded=False)], offsite=[both], far="away")
    days = days_of(months_of(listed, DAILY, NOW, 1))
    day = days[date(2026, 3, 8)]
    assert (day.good, day.copies, day.tiers) == (2, {"local": 2, "offsite": 1}, ("daily",))
    assert days[date(2026, 3, 9)].state == "failed"


def test_so_many_months_and_no_more() -> None:
    months = months_of(shown(local=[manifest(400), manifest(1)]), DAILY, NOW, 3)
    assert [month.first for month in months] == [date(2026, 3, 1), date(2026, 2, 1), date(2026, 1, 1)]
    assert all(len(week) == 7 for month in months for week in month.weeks)


def sample(name: str, value: float, **labels: str) -> tuple[Labels, float]:
    return Labels({"__name__": f"custode_{name}", "environment": "qa", **labels}), value


def point(copy: str, age: float) -> tuple[Labels, float]:
    return sample("backup_recovery_point_timestamp_seconds", NOW - age, copy=copy)


def run(action: str, result: Result, age: float, **fields: Any) -> Run:
    values: dict[str, Any] = {
        "id": f"r{age:.0f}",
        "key": "k",
        "source": Source.SCHEDULE,
        "environment": "qa",
        "action": action,
        "object": "",
        "parameters": {},
        "requested_by": "schedule x",
        "requested_at": NOW - age,
        "reason": "",
        "alert": None,
        "state": RunState.ENDED,
        "result": result,
        "outcome": "said",
        "ended_at": NOW - age,
    }
    return Run(**(values | fields))


def look(*samples: tuple[Labels, float], runs: list[Run] | None = None, policy: BackupPolicy = DAILY) -> Recovery:
    (found,) = recoveries({"qa": environment(policy)}, "local", samples, [] if runs is None else runs)
    return found


def test_which_copy_is_behind() -> None:
    policy = DAILY.model_copy(update={"copies": {"offsite": CopyPolicy(interval=HOUR), "archive": CopyPolicy()}})
    found = look(point("local", 60), point("offsite", 7260), point("files", 30), policy=policy)
    copies = {copy.name: copy for copy in found.copies}
    assert list(copies) == ["local", "offsite", "archive", "files"]
    assert (copies["local"].behind_seconds, copies["offsite"].behind_seconds) == (0, 7200)
    assert copies["offsite"].interval_seconds == 3600
    assert copies["archive"].recovery_point_at is None
    assert copies["files"].behind_seconds is None, "other programs promise nothing"
    assert found.recovery_point_at == NOW - 30


def test_what_is_not_known_is_none_and_a_store_out_of_reach_is_told() -> None:
    found = look(sample("collector_gap_info", 1, collector="backups", what="local", reason="refused"))
    assert (found.recovery_point_at, found.tested_at, found.failed_at) == (None, None, None)
    assert found.copies[0].problem == "refused"
    assert found.retention == {"daily": 7 * 86_400}


def test_tests_of_restores_oldest_first_without_those_that_tell_nothing() -> None:
    plan = Plan("p", (), {}, ({"backup": "b1", "store": "local"},))
    runs = [
        run("restore_test", Result.FIXED, 10, plan=plan, after={"ready_seconds": 30.0, "queryable_seconds": 20}),
        run("restore_test", Result.NOT_FIXED, 20),
        run("restore_test", Result.REFUSED, 30),
        run("verify_backups", Result.FIXED, 5, plan=Plan("p", (), {}, ({"id": "b1", "store": "local"},))),
        run("restore_test", Result.FIXED, 40, environment="other"),
    ]
    found = look(runs=runs)
    assert found.tests is not None
    assert found.verifications is not None
    assert [(one.at, one.proven) for one in found.tests] == [(NOW - 20, False), (NOW - 10, True)]
    assert (found.tests[1].seconds, found.tests[1].queryable_seconds, found.tests[1].backup) == (30.0, 20.0, "b1")
    assert [(one.backups, one.sound) for one in found.verifications] == [(frozenset({"b1"}), True)]


def test_without_the_state_database_no_test_is_known() -> None:
    (found,) = recoveries({"qa": environment()}, "local", (), None)
    assert (found.tests, found.verifications) == (None, None)


def test_the_query_finds_what_is_read() -> None:
    store = SampleStore()
    store.land("test", NOW, [point("local", 60), sample("collector_gap_info", 1, collector="disks", what="x")])
    answer = Query.compile(QUERY).instant(store, NOW, samples=1000, timeout=10)
    assert [labels.name for labels, _ in answer.vector] == ["custode_backup_recovery_point_timestamp_seconds"]


def timed(age: float, seconds: float | None, *, proven: bool = True) -> RestoreTest:
    return RestoreTest("r", NOW - age, "fixed" if proven else "not_fixed", "", None, seconds, None)


def test_a_sketch_goes_from_the_first_test_to_the_last() -> None:
    sketch = restore_times([timed(200, 10.0), timed(100, None, proven=False), timed(0, 20.0)], 40.0)
    assert sketch is not None
    first, failed, last = sketch.marks
    assert first.x < failed.x < last.x
    assert last.y < first.y < failed.y, "what took longer stands higher, what failed at the foot"
    assert sketch.limit is not None
    assert sketch.limit < last.y
    assert (sketch.longest, sketch.proven) == (20.0, 2)
    assert sketch.line == f"{first.x},{first.y} {last.x},{last.y}"


def test_a_promise_far_above_all_is_not_drawn() -> None:
    sketch = restore_times([timed(9, 2.0), timed(0, 1.0)], 900.0)
    assert sketch is not None
    assert sketch.limit is None
    assert restore_times([timed(0, 1.0)], 900.0) is None, "one is no course of time"
