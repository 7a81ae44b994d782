"""Two and three daemons on one state database: environments are shared, and one that dies or freezes is replaced."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleet.embedded import EmbeddedServer
from tests.acceptance.conftest import until
from tests.acceptance.fleets import SECONDS, Daemon, databases, drop, dump_waits, environment, sql, stored

ALL = {"one", "two", "three", "four"}
TOKEN = "anna-s3cret"  # noqa: S105 - of this test
TAKEN_OVER_WITHIN = 15.0  # seconds
MINUTE = 60.0
LONG = bool(os.environ.get("CUSTODE_LONG"))
RULES = """
groups:
  - name: own
    rules:
      - {alert: Watched, expr: custode_up == 1, labels: {severity: info}, annotations: {summary: as it should}}
"""


@dataclass
class Fleet:
    daemons: list[Daemon]
    dsns: dict[str, str]
    store: Path
    state: str
    ready_at: float = 0.0  # unix seconds, of the first

    def holder(self, place: str) -> Daemon:
        (found,) = [one for one in self.daemons if place in one.scraped()]
        return found

    def told(self) -> list[str]:
        return [message for one in self.daemons for message in one.messages()]


@pytest.fixture(scope="module")
def fleet(scratch: Path, server: EmbeddedServer) -> Iterator[Fleet]:
    folder = scratch / "fleet"
    names = databases(server, len(ALL) + 1)
    dsns = {place: server.dsn(name) for place, name in zip(sorted(ALL), names, strict=False)}
    state = server.dsn(names[-1])
    schedules = {"often": {"action": "analyze", "cron": "* * * * *"}}
    settings = {
        "state": {"url": state},
        "rules": {"interval": "1s", "shipped": False, "files": ["own.yml"]},
        "stores": {"local": {"type": "local", "path": str(folder / "store")}},
        "operators": {"anna": {"token": "env:ANNA"}},
        "environments": {
            place: environment(server, name, schedules=schedules)
            for place, name in zip(sorted(ALL), names, strict=False)
        },
    }
    daemons = [Daemon(folder / name, settings, {"ANNA": TOKEN}) for name in ("a", "b", "c")]
    try:
        for one in daemons:
            one.config.with_name("own.yml").write_text(RULES)
        yield Fleet(daemons, dsns, folder / "store", state)
        for one in daemons:
            assert one.log.exists()
            assert "Traceback" not in one.log.read_text()
    finally:
        for one in daemons:
            one.close()
        drop(server, names)


def shared(*daemons: Daemon) -> Callable[[], bool]:
    """Whether each environment is looked after by exactly one of these, evenly, and they say so."""

    def look() -> bool:
        pages = [one.metrics() for one in daemons]
        parts = [{place for name, place in page if name == "custode_up"} for page in pages]
        held = [page["custode_environments_held", ""] for page in pages]
        sizes = [len(part) for part in parts]
        whole = set().union(*parts) == ALL and sum(sizes) == sum(held) == len(ALL)
        return whole and max(sizes) - min(sizes) <= 1

    return look


@contextmanager
def measured(what: str) -> Iterator[None]:
    """What happens here must take no longer than a take-over may."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    print(f"{what}: {took:.1f} s")
    assert took < TAKEN_OVER_WITHIN


def instance(daemon: Daemon) -> str:
    return (daemon.data / "instance-id").read_text().strip()


def test_two_share_the_environments_and_then_three(fleet: Fleet) -> None:
    a, b, c = fleet.daemons
    a.launch()
    b.start()  # both at once on an empty database: one of them makes the tables
    a.await_ready()
    fleet.ready_at = time.time()
    until(shared(a, b), "two share them", SECONDS)
    c.start()
    until(shared(a, b, c), "three share them", SECONDS)
    leases = sql(fleet.state, "select environment, split_part(holder, '.', 1) as instance from custode.lease")
    for one in fleet.daemons:
        assert {lease["environment"] for lease in leases if lease["instance"] == instance(one)} == one.scraped()
    until(lambda: a.metrics().get(("custode_members", "")) == 3, "they know of each other", SECONDS)


def test_what_a_killed_one_looked_after_is_taken_over_by_the_others(fleet: Fleet) -> None:
    until(shared(*fleet.daemons), "all is shared", SECONDS)
    victim = max(fleet.daemons, key=lambda one: len(one.scraped()))
    others = [one for one in fleet.daemons if one is not victim]
    victim.kill()
    with measured("taken over after kill -9"):
        until(shared(*others), "the others look after all of it", SECONDS)
    victim.start()
    until(shared(*fleet.daemons), "it has its share again", SECONDS)


def test_what_a_frozen_one_was_doing_is_done_by_another_and_once(fleet: Fleet) -> None:
    until(shared(*fleet.daemons), "all is shared", SECONDS)
    place = "one"
    frozen = fleet.holder(place)
    others = [one for one in fleet.daemons if one is not frozen]
    before = frozen.alerts()["Watched", place]["activeAt"]
    with dump_waits(fleet.dsns[place]):
        run_id = others[0].ask_for("backup", place, TOKEN)
        assert others[0].in_step(run_id, "copy")["owner"].startswith(instance(frozen)), "asked here, done there"
        frozen.signal(signal.SIGSTOP)
        with measured("taken over from a frozen one"):
            until(shared(*others), "the others look after all of it", SECONDS)
            taken = others[0].in_step(run_id, "copy", attempt=2)
        (taker,) = [one for one in others if taken["owner"].startswith(instance(one))]
        assert place in taker.scraped()
        assert taker.alerts()["Watched", place]["activeAt"] == before
        sessions = "select application_name from pg_stat_activity"
        left = {row[0] for row in sql(fleet.dsns[place], sessions)}
        assert f"custode/{run_id}/1" not in left, "whoever wakes can change nothing"
        seen = len(frozen.log.read_text())
        frozen.signal(signal.SIGCONT)
        noticed = rf"environments_changed .* lost=\[[^]]*'{place}'"
        until(lambda: re.search(noticed, frozen.log.read_text()[seen:]), "it notices that it has lost it", SECONDS)
        until(shared(*fleet.daemons), "nothing is looked after twice", SECONDS)
        others[0].in_step(run_id, "copy", attempt=2)
    run = others[0].ended(run_id)
    assert run["result"] == "fixed", run["outcome"]
    assert stored(fleet.store, place) == [".json", ".zst"]
    assert len(others[0].ledger(run=run_id, entry="outcome")) == 1
    assert fleet.holder(place).alerts()["Watched", place]["activeAt"] == before
    told = [message for message in fleet.told() if message.startswith(f"{place} ")]
    assert told == [f"{place} Watched firing: as it should"], "once, and it never ended"


def wait_for(moment: float) -> None:
    until(lambda: time.time() >= moment, "the time has come", moment - time.time() + SECONDS)


def slots(fleet: Fleet, until_: float) -> list[str]:
    """The minutes since the fleet began."""
    first = int(fleet.ready_at // MINUTE) + 1
    return [
        datetime.fromtimestamp(minute * MINUTE, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for minute in range(first, int(until_ // MINUTE) + 1)
    ]


def assert_each_once(fleet: Fleet, wanted: Sequence[str]) -> None:
    asked = "select facts->>'key' as key from custode.ledger where entry = 'requested' and facts->>'key' like 'cron:%'"
    ended = "select key from custode.action_run where key like 'cron:%' and state = 'ended' and result = 'fixed'"
    keys = sorted(f"cron:{place}:often:{slot}" for place in ALL for slot in wanted)

    def since(query: str) -> list[str]:
        return sorted(row["key"] for row in sql(fleet.state, query) if row["key"].rpartition(":often:")[2] >= wanted[0])

    until(lambda: len(since(ended)) >= len(keys), f"{keys} are done", SECONDS)
    assert since(asked) == keys
    assert since(ended) == keys


def test_a_schedule_asks_at_each_of_its_times_once_whoever_lives(fleet: Fleet) -> None:
    """By itself one minute, with one daemon killed and one frozen as it ends; with CUSTODE_LONG=1 three, in turns."""
    until(shared(*fleet.daemons), "all is shared", SECONDS)
    for turn in range(3 if LONG else 1):
        killed, frozen, left = (fleet.daemons[(number + turn) % 3] for number in range(3))
        boundary = (time.time() // MINUTE + 1) * MINUTE
        wait_for(boundary - 1)
        killed.kill()
        frozen.signal(signal.SIGSTOP)
        wait_for(boundary + 1)
        assert_each_once(fleet, slots(fleet, boundary))
        assert left.runs
        frozen.signal(signal.SIGCONT)
        killed.start()
        until(shared(*fleet.daemons), "all is shared again", SECONDS)
        assert_each_once(fleet, slots(fleet, time.time() - 1))
