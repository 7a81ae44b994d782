from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.backups.manifest import Pin, Proof
from fleet.backups.retention import AFTER_FAILURE, Decision, decide, newest_failed
from fleet.policy import TIER_DEFAULTS, Retention, Tier

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PRODUCTION = TIER_DEFAULTS[Tier.PRODUCTION].backup.retention
START = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
FAR = START + 1e9


@dataclass(frozen=True)
class Item:
    started_at: float
    succeeded: bool = True
    pin: Pin | None = None
    proof: Proof | None = None
    names: tuple[str, ...] = ("app",)

    @property
    def id(self) -> str:
        return f"{self.started_at:.0f}"


def at(text: str) -> Item:
    return Item(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def kept(decisions: Sequence[Decision]) -> set[str]:
    return {one.id for one in decisions if one.keep}


def naive(times: Sequence[float], retention: Retention) -> set[float]:
    """What restic's documentation says, series by series."""
    wanted: set[float] = {max(times)}
    formats = {"hourly": "%Y%m%d%H", "daily": "%Y%m%d", "weekly": "%G%V", "monthly": "%Y%m", "yearly": "%Y"}
    for series, name in formats.items():
        within: timedelta | None = getattr(retention, series)
        if within:
            reach = [time for time in times if time > max(times) - within.total_seconds()]
            for time in reach:
                period = datetime.fromtimestamp(time, UTC).strftime(name)
                same = [other for other in reach if datetime.fromtimestamp(other, UTC).strftime(name) == period]
                if time in (max(same), min(times)):
                    wanted.add(time)
    if retention.last:
        wanted |= set(sorted(times)[-retention.last :])
    return wanted


durations = st.none() | st.integers(1, 24 * 400).map(lambda hours: timedelta(hours=hours))
retentions = st.builds(
    Retention,
    hourly=durations,
    daily=durations,
    weekly=durations,
    monthly=durations,
    yearly=durations,
    last=st.none() | st.integers(1, 5),
).filter(lambda retention: retention != Retention())
moments = st.lists(
    st.integers(0, 24 * 500).map(lambda hours: START + hours * 1800.0), min_size=1, max_size=40, unique=True
)


@given(moments, retentions)
def test_it_keeps_what_a_plain_reading_of_restics_documentation_keeps(times: list[float], retention: Retention) -> None:
    decisions = decide([Item(time) for time in times], retention, FAR)
    assert kept(decisions) == {Item(time).id for time in naive(times, retention)}
    assert [one.id for one in decisions] == [Item(time).id for time in sorted(times)]
    assert all(one.reasons for one in decisions)


@given(moments, retentions)
def test_pruning_twice_removes_nothing_more(times: list[float], retention: Retention) -> None:
    items = [Item(time) for time in times]
    once = kept(decide(items, retention, FAR))
    assert kept(decide([item for item in items if item.id in once], retention, FAR)) == once


@settings(max_examples=50)
@given(moments, retentions)
def test_pruning_after_each_backup_never_loses_what_pruning_at_the_end_keeps(
    times: list[float], retention: Retention
) -> None:
    there: list[Item] = []
    for time in sorted(times):
        there.append(Item(time))
        chosen = kept(decide(there, retention, FAR))
        there = [item for item in there if item.id in chosen]
    oldest = Item(min(times)).id
    assert kept(decide([Item(time) for time in times], retention, FAR)) - {oldest} <= {item.id for item in there}


@given(moments, retentions, st.data())
def test_the_last_good_the_proven_and_the_pinned_always_stay(
    times: list[float], retention: Retention, data: st.DataObject
) -> None:
    items = [
        Item(
            time,
            data.draw(st.booleans()),
            Pin(at=0, by="me", reason="audit") if data.draw(st.booleans()) else None,
            Proof(at=0, seconds=1) if data.draw(st.booleans()) else None,
        )
        for time in sorted(times)
    ]
    stay = kept(decide(items, retention, FAR, after_failure=False))
    good = [item for item in items if item.succeeded]
    assert {item.id for item in items if item.pin} <= stay
    assert {item.id for item in good[-1:]} <= stay
    assert {item.id for item in [item for item in good if item.proof][-1:]} <= stay
    if newest_failed(items, FAR):
        assert kept(decide(items, retention, FAR)) == {item.id for item in items}


def test_a_year_of_hourly_backups_under_the_guides_policy() -> None:
    items = [Item(START + hour * 3600.0) for hour in range(24 * 400)]
    decisions = [one for one in decide(items, PRODUCTION, FAR) if one.keep]
    counts = {tier: sum(tier in one.tiers for one in decisions) for tier in ("hourly", "daily", "weekly", "monthly")}
    assert counts == {"hourly": 24, "daily": 30, "weekly": 14, "monthly": 13}


def test_the_newest_of_a_natural_period_wins() -> None:
    sunday, monday = at("2025-11-16T23:00"), at("2025-11-17T00:00")
    decisions = decide([at("2025-11-12T05:00"), sunday, monday], Retention(weekly=90 * DAY), FAR)
    assert [one.keep for one in decisions] == [True, True, True]  # the first: the oldest of all
    assert decisions[0].reasons == ("oldest, weekly within 90d",)
    assert decisions[2].reasons == ("weekly within 90d", "the last good one")


def test_days_begin_at_midnight_of_the_zone() -> None:
    items = [at("2025-06-01T12:00"), at("2025-06-02T21:30"), at("2025-06-02T22:30")]
    retention = Retention(daily=30 * DAY)
    assert [one.keep for one in decide(items, retention, FAR)] == [True, False, True]
    assert all(one.keep for one in decide(items, retention, FAR, ZoneInfo("Europe/Rome")))


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    items = [at("2025-10-25T00:00"), at("2025-10-26T00:30"), at("2025-10-26T01:30")]
    assert all(one.keep for one in decide(items, Retention(hourly=2 * DAY), FAR, ZoneInfo("Europe/Rome")))


def test_a_gap_uses_up_nothing_and_the_future_makes_nothing_old() -> None:
    retention = Retention(hourly=DAY)
    old = [Item(START + hour * 3600.0) for hour in range(3)]
    assert all(one.keep for one in decide(old, retention, START + 400 * DAY.total_seconds()))
    future = Item(START + 900 * DAY.total_seconds())
    assert all(one.keep for one in decide([*old, future], retention, START + 4 * 3600))


def test_failures_stay_for_a_month_and_count_for_nothing() -> None:
    failed, good = Item(START, succeeded=False), Item(START + 60)
    early = decide([failed, good], Retention(daily=DAY), START + 29 * 86_400)
    assert early[0].reasons == ("failed within 30d",)
    late = decide([failed, good], Retention(daily=DAY), START + 31 * 86_400)
    assert late[0] == Decision(failed.id, keep=False, reasons=("failed more than 30d ago",), tiers=())
    assert late[1].keep


def test_nothing_goes_after_a_failed_run_and_the_reason_is_told() -> None:
    items = [Item(START + hour * 60.0) for hour in range(5)] + [Item(START + 9999, succeeded=False)]
    assert all(one.keep for one in decide(items, Retention(daily=DAY), FAR))
    assert decide(items, Retention(daily=DAY), FAR)[1].reasons == (AFTER_FAILURE,)
    assert kept(decide(items, Retention(daily=DAY), FAR, after_failure=False)) == {items[0].id, items[4].id}


def test_where_no_series_is_set_nothing_goes() -> None:
    decisions = decide([Item(START), Item(START + 1)], Retention(), FAR)
    assert [one.reasons[0] for one in decisions] == ["no retention is set", "the last good one"]


@pytest.mark.parametrize("items", [[], [Item(START, succeeded=False)]])
def test_there_may_be_none(items: list[Item]) -> None:
    assert kept(decide(items, PRODUCTION, START + 1)) == {item.id for item in items}


def test_a_backup_of_one_database_displaces_none_of_another() -> None:
    """As a migration takes one of its own database, after the nightly ones of all."""
    nightly = [Item(START + day * 86400.0, names=("a", "b")) for day in range(4)]
    alone = [Item(START + day * 86400.0 + 3600, names=("a",)) for day in range(10)]
    decisions = {one.id: one for one in decide([*nightly, *alone], Retention(daily=7 * DAY), FAR)}
    last = decisions[nightly[-1].id]
    assert last.keep
    assert "the last good one of b" in last.reasons
    assert "the last good one of a" in decisions[alone[-1].id].reasons
    week = {item.id for item in alone[3:]} | {nightly[3].id}
    assert {name for name, one in decisions.items() if one.keep} == week


names = st.lists(st.sampled_from("abc"), unique=True, max_size=3).map(tuple)


@given(st.lists(st.tuples(st.integers(0, 3000), names), min_size=1, max_size=40, unique_by=lambda one: one[0]))
def test_each_database_keeps_at_least_what_it_would_keep_alone(drawn: list[tuple[int, tuple[str, ...]]]) -> None:
    items = [Item(START + hours * 3600.0, names=held) for hours, held in drawn]
    newest = max(items, key=lambda item: item.started_at)
    stay = kept(decide(items, PRODUCTION, FAR))
    for name in "abc":
        own = [item for item in items if name in item.names]
        if newest in own:
            assert kept(decide([replace(item, names=(name,)) for item in own], PRODUCTION, FAR)) <= stay
        elif own:
            assert max(own, key=lambda item: item.started_at).id in stay


def test_what_a_wrong_clock_dated_later_than_now_hides_nothing() -> None:
    past = [Item(START + hour * 3600.0) for hour in range(3)]
    failed, ahead = Item(START + 3 * 3600.0, succeeded=False), Item(START + 400 * 86400.0)
    now = START + 4 * 3600.0
    assert newest_failed([*past, failed, ahead], now)
    decisions = {one.id: one for one in decide([*past, ahead], Retention(daily=DAY), now)}
    assert "the last good one" in decisions[past[-1].id].reasons
    assert decisions[ahead.id].reasons == ("dated later than now, by a clock that was wrong",)
    assert not decisions[past[1].id].keep
