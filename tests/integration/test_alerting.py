"""Batches in, transitions out, with thread, journal and store as the daemon has them; time is handed in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collectors import Family, gauge
from daemon.alerting import Alerting, FileJournal, RuleThread
from daemon.scrape import Batch
from rules import Labels, Query, SampleStore, State, Transition, parse_text
from tests.judging import told

RULES = """\
groups:
  - name: g
    interval: 15s
    rules:
      - {alert: Down, expr: custode_up == 0}
      - {alert: Large, expr: custode_size_bytes > 100, for: 30s, annotations: {summary: "{{ $value }} bytes"}}
"""
# 14,400 steps: longer than a group may keep others waiting, on any machine
SLOW = "max_over_time(vector(1)[4h:1s]) > 0"
HALF_THROUGH = f"""\
groups:
  - name: g
    rules:
      - {{alert: Down, expr: custode_up == 0}}
      - {{alert: First, expr: '{SLOW}'}}
      - {{alert: Second, expr: '{SLOW}'}}
"""
UP = Family((), (gauge("up", "Up."),))
SIZES = Family(("datname",), (gauge("size_bytes", "Size."),))
T0 = 1_000_000.0
DOWN, LARGE = ("Down", "inactive", "firing"), ("Large", "inactive", "pending")


def batch(
    at: float,
    *,
    up: bool = True,
    size: float | None = 1.0,
    environment: str = "qa",
    collector: str = "sizes",
    error: str | None = None,
    databases: int = 1,
) -> Batch:
    records = [(f"db{number}", size) for number in range(databases)] if size is not None else []
    return Batch(
        environment=environment,
        labels={"environment": environment, "tier": "qa"},
        collector=collector,
        started=at,
        duration=0.1,
        rows=() if error else (SIZES.rows(records),),
        meta=(UP.rows([(up,)]),),
        error=error,
    )


@dataclass
class World:
    """What is around an Alerting; several may follow each other in it, as processes do."""

    path: Path
    thread: RuleThread
    now: float = T0
    transitions: list[Transition] = field(default_factory=list)
    hear: Callable[[Transition], None] = lambda _: None

    def publish(self, transition: Transition) -> None:
        self.transitions.append(transition)
        self.hear(transition)

    def take(self) -> list[tuple[str, str, str]]:
        found, self.transitions = told(self.transitions), []
        return found

    async def start(self, text: str = RULES, *, store: SampleStore | None = None, collects: float = 15.0) -> Alerting:
        """As the daemon does: the rules, and then what is remembered."""
        alerting = Alerting(
            publish=self.publish,
            journal=FileJournal(self.path),
            now=lambda: self.now,
            thread=self.thread,
            store=store or SampleStore(),
            own=lambda: [(Labels({"__name__": "custode_build_info"}), 1.0)],
        )
        await alerting.reload(parse_text(text, "rules.yml"), {"sizes": collects})
        await alerting.restore()
        return alerting

    def remembered(self) -> dict[str, State]:
        """The alerts in the journal, as the next process would read it."""
        rules = FileJournal(self.path).load().rules
        return {one["alertname"]: alert.state for alerts in rules.values() for one, alert in alerts.items()}

    async def step(self, alerting: Alerting, seconds: float, *batches: Batch) -> list[tuple[str, str, str]]:
        """Time passes, batches land and are judged, groups that are due are evaluated; what was told, by name."""
        self.now += seconds
        for one in batches:
            alerting.land(one, judge=True)
        await alerting.settle()
        await alerting.tick()
        return sorted(self.take())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    thread = RuleThread()
    yield World(tmp_path / "alerts.jsonl", thread)
    thread.close()


def states(alerting: Alerting) -> dict[str, State]:
    return {view.name: view.state for view in alerting.alerts()}


async def test_a_batch_lands_soon_and_is_judged_where_that_is_wanted(world: World) -> None:
    store = SampleStore()
    alerting = await world.start(store=store)
    alerting.land(batch(T0, up=False, size=500.0), judge=False)
    assert store.sources() == []
    await alerting.settle()
    assert sorted(store.sources()) == ["qa/custode_up", "qa/sizes", "qa/sizes/run"]
    assert world.take() == []
    world.now += 1
    alerting.land(batch(T0, up=False, size=500.0), judge=True)
    alerting.land(batch(T0 + 1, up=True, size=500.0), judge=True)
    await alerting.settle()
    found = world.take()
    assert (sorted(found[:2]), found[2:]) == ([DOWN, LARGE], [("Down", "firing", "resolved")])
    assert [view.annotations for view in alerting.alerts()] == [{"summary": "500 bytes"}]
    await alerting.settle()
    assert world.take() == []


async def test_every_transition_is_in_the_journal_before_it_is_told(world: World) -> None:
    seen: list[tuple[str, bool]] = []

    def hear(one: Transition) -> None:
        name = one.labels["alertname"]
        seen.append((name, world.remembered().get(name, State.INACTIVE) == one.after))

    world.hear = hear
    alerting = await world.start()
    await world.step(alerting, 0, batch(T0, up=False, size=500.0))
    await world.step(alerting, 35, batch(T0 + 35, up=True, size=500.0))
    await world.step(alerting, 15, batch(T0 + 50, size=1.0))
    await world.step(alerting, 15, batch(T0 + 65, size=500.0))
    await alerting.reload([], {})
    assert sorted(seen) == [("Down", True)] * 2 + [("Large", True)] * 5


async def test_alerts_go_on_after_a_kill(world: World) -> None:
    alerting = await world.start()
    await world.step(alerting, 0, batch(T0, up=False, size=500.0))
    await world.step(alerting, 20, batch(T0 + 20, up=False, size=500.0))
    del alerting  # and nothing is closed
    world.now += 1000
    alerting = await world.start()
    assert world.take() == []
    assert states(alerting) == {"Down": State.FIRING, "Large": State.PENDING}
    assert await world.step(alerting, 0) == []  # nothing has landed yet
    assert await world.step(alerting, 5, batch(T0 + 1025, up=False, size=500.0)) == []
    large = next(view for view in alerting.alerts() if view.name == "Large")
    assert large.active_at == T0 + 1000  # down for 1,000 s, which do not count
    assert await world.step(alerting, 5, batch(T0 + 1030, up=True, size=500.0)) == [
        ("Down", "firing", "resolved"),
        ("Large", "pending", "firing"),
    ]
    assert world.remembered() == {"Down": State.RESOLVED, "Large": State.FIRING}


async def test_the_journal_knows_until_when_the_process_lived(world: World) -> None:
    alerting = await world.start()
    for _ in range(10):
        await world.step(alerting, 7)
    assert T0 + 70 - FileJournal(world.path).load().at < 15


async def test_before_it_has_read_the_journal_it_does_not_write_it(world: World) -> None:
    world.path.write_text('{"at":5}\n')
    alerting = Alerting(
        publish=world.publish,
        journal=FileJournal(world.path),
        now=lambda: world.now,
        thread=world.thread,
        store=SampleStore(),
    )
    await alerting.reload(parse_text(RULES, "rules.yml"), {})
    assert await world.step(alerting, 0, batch(T0, up=False)) == [DOWN]
    assert world.path.read_text() == '{"at":5}\n'
    assert alerting.journal_works


async def test_alerts_are_told_although_they_cannot_be_remembered(world: World) -> None:
    world.path.mkdir()
    alerting = await world.start()
    assert not alerting.journal_works
    assert await world.step(alerting, 0, batch(T0, up=False)) == [DOWN]
    assert not alerting.journal_works
    world.path.rmdir()
    assert await world.step(alerting, 15, batch(T0 + 15, up=False, size=500.0)) == [LARGE]
    assert alerting.journal_works
    assert world.remembered() == {"Down": State.FIRING, "Large": State.PENDING}  # also what was missed


async def test_a_long_group_does_not_hold_up_the_event_loop(world: World) -> None:
    text = """\
groups:
  - name: g
    rules:
      - {alert: Many, expr: 'sum by (datname) (custode_size_bytes * on (datname) custode_size_bytes) > 5'}
      - {record: all, expr: 'label_replace(custode_size_bytes, "short", "$1", "datname", "db(.*)")'}
"""
    alerting = await world.start(text)
    turns, done = 0, asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    async def work() -> None:
        try:
            await world.step(alerting, 0, batch(T0, databases=5000))
        finally:
            done.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(others())
        group.create_task(work())
    assert [(rule.health, rule.evaluations) for rule in alerting.rules()] == [("ok", 2), ("ok", 1)]
    assert turns > 200  # some twenty were it all done in the loop


async def test_batches_land_between_the_steps_of_a_group(world: World) -> None:
    alerting = await world.start(HALF_THROUGH)

    def hear(one: Transition) -> None:
        if one.labels["alertname"] == "First":
            alerting.land(batch(T0, up=False), judge=True)

    world.hear = hear
    await alerting.tick()
    assert world.take() == [("First", "inactive", "firing"), DOWN, ("Second", "inactive", "firing")]


async def test_a_reload_waits_for_a_group_that_is_half_through(world: World) -> None:
    alerting = await world.start(HALF_THROUGH + f"      - {{alert: Third, expr: '{SLOW}'}}\n")
    half_through = asyncio.Event()
    world.hear = lambda _: half_through.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(alerting.tick())
        await half_through.wait()
        assert alerting.groups()[0].evaluated_at is None
        await alerting.reload(parse_text(RULES, "rules.yml"), {})
    names = ("First", "Second", "Third")
    assert world.take() == [
        *((name, "inactive", "firing") for name in names),
        *((name, "firing", "inactive") for name in names),
    ]
    assert [rule.name for rule in alerting.rules()] == ["Down", "Large"]
    assert world.remembered() == {}
    assert await world.step(alerting, 15, batch(T0 + 15, up=False)) == [DOWN]


async def test_what_could_not_be_read_is_not_mended(world: World) -> None:
    alerting = await world.start(RULES.replace(", for: 30s", ""))
    assert ("Large", "inactive", "firing") in await world.step(alerting, 0, batch(T0, size=500.0))
    for number in range(1, 60):
        failed = batch(T0 + number * 15, up=False, error="no answer")
        assert await world.step(alerting, 15, failed) == ([DOWN] if number == 1 else [])
    ended = await world.step(alerting, 15, batch(T0 + 900))
    assert ended == [("Down", "firing", "resolved"), ("Large", "firing", "resolved")]


async def test_whether_it_is_up_is_one_series_of_all_collectors(world: World) -> None:
    alerting = await world.start()
    assert await world.step(alerting, 0, batch(T0)) == []
    assert await world.step(alerting, 1, batch(T0 + 1, up=False, collector="other", size=None)) == [DOWN]
    assert await world.step(alerting, 1, batch(T0 + 2)) == [("Down", "firing", "resolved")]


async def test_a_seldom_collector_counts_for_three_of_its_intervals(world: World) -> None:
    store = SampleStore()
    alerting = await world.start(store=store, collects=3600.0)
    await world.step(alerting, 0, batch(T0, size=500.0))
    query = Query.compile("custode_size_bytes")
    assert len(query.evaluate(store, T0 + 3 * 3600 - 1)) == 1
    assert query.evaluate(store, T0 + 3 * 3600) == []


async def test_a_forgotten_environment_leaves_nothing(world: World) -> None:
    store = SampleStore()
    alerting = await world.start(store=store)
    await world.step(alerting, 0, batch(T0, up=False), batch(T0, up=False, environment="qa-2"))
    await alerting.forget("qa")
    assert {source for source in store.sources() if source.startswith("qa/")} == set()
    assert await world.step(alerting, 15) == [("Down", "firing", "resolved")]
    assert [view.labels["environment"] for view in alerting.firing()] == ["qa-2"]


async def test_a_batch_that_there_is_no_room_for_is_counted_and_harms_no_other(world: World) -> None:
    alerting = await world.start(store=SampleStore(limit=500))
    await world.step(alerting, 0, batch(T0, databases=1000), batch(T0, up=False, environment="prod"))
    assert alerting.refused == {"qa/sizes": 1}
    assert [view.labels["environment"] for view in alerting.firing()] == ["prod"]


async def test_what_there_is_no_room_for_is_logged_once_until_there_is(world: World) -> None:
    store = SampleStore(limit=500)
    alerting = await world.start(store=store)
    with capture_logs() as logs:
        for limit, databases in ((500, 1000), (500, 1000), (10_000, 1000), (500, 2000), (500, 2000)):
            store.limit = limit
            await world.step(alerting, 15, batch(world.now, databases=databases))
    assert alerting.refused["qa/sizes"] == 4
    said = [entry["source"] for entry in logs if entry["event"] == "samples_refused"]
    assert said.count("qa/sizes") == 2, "one each time that it became full"


async def test_the_daemons_own_samples_land(world: World) -> None:
    text = "groups: [{name: g, rules: [{alert: Watchdog, expr: custode_build_info}]}]"
    alerting = await world.start(text)
    assert await world.step(alerting, 0) == [("Watchdog", "inactive", "firing")]
    for _ in range(30):
        assert await world.step(alerting, 15) == []


async def test_run_lands_and_evaluates_until_it_is_cancelled(world: World) -> None:
    store, fired, asked, reason = SampleStore(), asyncio.Event(), asyncio.Event(), ["not all was read yet"]

    def not_ready() -> str | None:
        asked.set()
        return reason[0] if reason else None

    alerting = await world.start(store=store)
    world.hear = lambda _: fired.set()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        running = group.create_task(alerting.run(not_ready))
        alerting.land(batch(T0, up=False), judge=False)
        await asked.wait()
        assert "qa/sizes" in store.sources()
        assert [view.evaluated_at for view in alerting.groups()] == [None]
        reason.clear()
        alerting.land(batch(T0, environment="other"), judge=False)  # wakes it
        await fired.wait()
        fired.clear()
        world.now += 1
        alerting.land(batch(T0 + 1), judge=True)
        await fired.wait()
        running.cancel()
    assert world.take() == [DOWN, ("Down", "firing", "resolved")]
    assert len(world.path.read_text().splitlines()) == 2  # written anew: the time, and the one alert
