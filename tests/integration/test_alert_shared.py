"""A daemon that does not look after the reference environment compares with it all the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text

from collectors import Family, gauge, info
from daemon.alerting import Alerting, FileJournal, RuleThread, SharedSamples, compared_metrics
from daemon.scrape import Batch
from daemon.state import StateDatabase
from rules import Query, SampleStore, Transition, parse_text
from tests.judging import told

RULES = """\
groups:
  - name: g
    rules:
      - alert: Differs
        expr: >-
          custode_fingerprint_info unless on (fingerprint)
          (custode_fingerprint_info and on (environment) custode_policy_schema_reference == 1)
          and on () (custode_policy_schema_reference == 1)
      - {alert: Here, expr: custode_fingerprint_info}
"""
POLICY = Family((), (gauge("policy_schema_reference", "."), gauge("other", ".")))
FINGERPRINT = Family(("fingerprint",), (info("fingerprint_info", "."),))
T0 = 1_000_000.0


@dataclass
class Reader:
    """The rules of a daemon that looks after qa and knows prod only from others; time is handed in."""

    state: StateDatabase
    thread: RuleThread
    path: Path
    now: float = T0
    heard: list[Transition] = field(default_factory=list)
    store: SampleStore = field(default_factory=SampleStore)

    async def start(self) -> SharedSamples:
        self.groups = parse_text(RULES, "rules.yml")
        self.alerting = Alerting(
            publish=self.heard.append,
            journal=FileJournal(self.path),
            now=lambda: self.now,
            thread=self.thread,
            store=self.store,
        )
        await self.alerting.reload(self.groups, {})
        await self.alerting.release("prod")
        return self.shared("b", {"prod"})

    def shared(self, member: str, elsewhere: set[str]) -> SharedSamples:
        return SharedSamples(
            self.state,
            self.alerting,
            member=member,
            metrics=lambda _: compared_metrics(self.groups),
            elsewhere=lambda: elsewhere,
            now=lambda: self.now,
        )

    async def judge(self, fingerprint: str) -> list[tuple[str, str, str]]:
        self.alerting.land(batch("qa", self.now, fingerprint, 0), judge=False)
        await self.alerting.settle()
        self.now += 60
        await self.alerting.tick()
        found, self.heard[:] = told(self.heard), []
        return found

    def known(self) -> set[str]:
        answer = Query.compile("custode_fingerprint_info").evaluate(self.store, self.now)
        return {labels.value("environment") for labels, _ in answer}


def batch(environment: str, at: float, fingerprint: str, reference: int, error: str | None = None) -> Batch:
    return Batch(
        environment=environment,
        labels={"environment": environment},
        collector="schema",
        started=at,
        duration=0.1,
        rows=() if error else (POLICY.rows([(reference, 7)]), FINGERPRINT.rows([(fingerprint, 1)])),
        error=error,
    )


@pytest.fixture
def thread() -> Iterator[RuleThread]:
    thread = RuleThread()
    yield thread
    thread.close()


@pytest.fixture
async def reader(state: StateDatabase, thread: RuleThread, tmp_path: Path) -> Reader:
    async with state.begin() as connection:
        await connection.execute(text("insert into lease (environment, holder) values ('prod', 'a'), ('qa', 'b')"))
    return Reader(state, thread, tmp_path / "alerts.jsonl")


async def stored(state: StateDatabase) -> list[tuple[str, list[str]]]:
    async with state.begin() as connection:
        rows = await connection.execute(text("select environment, samples from shared_samples order by 1"))
        return [(row.environment, sorted(dict(pairs)["__name__"] for pairs, _ in row.samples)) for row in rows]


async def test_it_is_compared_with_what_another_one_published_and_only_own_alerts_are_told(reader: Reader) -> None:
    ours = await reader.start()
    theirs = reader.shared("a", {"qa"})
    assert await reader.judge("x") == [("Here", "inactive", "firing")]  # nothing is known of the reference
    theirs.offer(batch("prod", reader.now, "y", 1))
    await theirs._publish()
    assert await stored(reader.state) == [
        ("prod", ["custode_fingerprint_info", "custode_policy_schema_reference"]),
    ]
    await ours.exchange()
    assert reader.known() == {"qa", "prod"}
    assert await reader.judge("x") == [("Differs", "inactive", "firing")]
    theirs.offer(batch("prod", reader.now, "", 1, error="no answer"))  # says nothing new
    theirs.offer(batch("prod", reader.now, "x", 1))
    await theirs._publish()
    await ours.exchange()
    assert await reader.judge("x") == [("Differs", "firing", "resolved")]


async def test_who_does_not_look_after_it_publishes_nothing(reader: Reader) -> None:
    ours = await reader.start()
    ours.offer(batch("prod", T0, "y", 1))
    await ours._publish()
    stranger = reader.shared("c", set())
    stranger.offer(batch("prod", T0, "y", 1))
    await stranger._publish()
    assert await stored(reader.state) == []


async def test_what_is_stale_is_dropped_and_while_the_database_is_away_it_holds_on_for_a_while(reader: Reader) -> None:
    ours = await reader.start()
    theirs = reader.shared("a", {"qa"})
    theirs.offer(batch("prod", reader.now, "y", 1))
    await theirs._publish()
    await ours.exchange()
    await reader.state.close()
    reader.now += 400  # longer than a sample counts
    await ours.exchange()
    assert reader.known() == {"prod"}
    reader.now += 400
    await ours.exchange()
    assert reader.known() == set()
    await reader.state.open()
    await ours.exchange()
    assert reader.known() == {"prod"}
    async with reader.state.begin() as connection:
        await connection.execute(text("update shared_samples set at = at - interval '1 hour'"))
    await ours.exchange()
    assert reader.known() == set()


async def test_once_it_is_ours_what_others_said_of_it_is_gone(reader: Reader) -> None:
    ours = await reader.start()
    theirs = reader.shared("a", {"qa"})
    theirs.offer(batch("prod", reader.now, "y", 1))
    await theirs._publish()
    await ours.exchange()
    await reader.alerting.adopt("prod")
    assert reader.known() == set()
    await ours.exchange()  # it has not heard of it yet
    assert reader.known() == set()
