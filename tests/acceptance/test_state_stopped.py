"""The state database is stopped in the middle of everything, and started again: nothing is lost, nothing done twice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import psutil
import pytest

from fleet.embedded import EmbeddedServer
from tests.acceptance.conftest import until
from tests.acceptance.fleets import (
    SECONDS,
    Daemon,
    databases,
    drop,
    dump_waits,
    environment,
    indexes,
    leave_invalid,
    stored,
)

AWAY_SECONDS = 20.0
TOKEN = "anna-s3cret"  # noqa: S105 - of this test
PLACES = ("left", "right")
SETTINGS = {"fsync": "off"}  # it is the server that crashes, not the machine
RULES = """
groups:
  - name: own
    rules:
      - {alert: Watched, expr: custode_up == 1, labels: {severity: info}}
"""


@dataclass
class StateServer:
    """The server of the state database, which is crashed and started again. What was committed there is on disk."""

    path: Path
    server: EmbeddedServer

    @classmethod
    def start(cls, path: Path) -> StateServer:
        return cls(path, EmbeddedServer.start(path, settings=SETTINGS))

    def crash(self) -> None:
        """As `pg_ctl stop -m immediate` does."""
        process = psutil.Process(int((self.path / "postmaster.pid").read_text().split()[0]))
        process.send_signal(signal.SIGQUIT)
        until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "it has ended", SECONDS)

    def start_again(self) -> None:
        (self.path / "postmaster.pid").unlink(missing_ok=True)  # else the wheel takes what is left for a server
        self.server.stop()
        self.server = EmbeddedServer.start(self.path, settings=SETTINGS)


@dataclass
class Site:
    state: StateServer
    daemons: list[Daemon]
    dsns: dict[str, str]
    store: Path

    def holder(self, place: str) -> Daemon:
        (found,) = [one for one in self.daemons if place in one.scraped()]
        return found

    def firing_since(self) -> dict[str, str]:
        """When the alert about each place began."""

        def look() -> dict[str, str]:
            found = [alert for one in self.daemons for alert in one.alerts().items()]
            return {place: alert["activeAt"] for (name, place), alert in found if name == "Watched"}

        until(lambda: look().keys() == set(PLACES), "there is an alert about each", SECONDS)
        return look()

    def up(self) -> list[float]:
        return [one.metrics()["custode_state_up", ""] for one in self.daemons]

    def told(self) -> list[str]:
        return [message for one in self.daemons for message in one.messages()]


@pytest.fixture
def site(scratch: Path, server: EmbeddedServer) -> Iterator[Site]:
    folder = scratch / "stopped"
    names = databases(server, len(PLACES))
    dsns = {place: server.dsn(name) for place, name in zip(PLACES, names, strict=True)}
    state = StateServer.start(folder / "state-server")
    settings = {
        "state": {"url": state.server.dsn()},
        "rules": {"interval": "1s", "shipped": False, "files": ["own.yml", "indexes.yml"]},
        "stores": {"local": {"type": "local", "path": str(folder / "store")}},
        "operators": {"anna": {"token": "env:ANNA"}},
        "environments": {place: environment(server, name) for place, name in zip(PLACES, names, strict=True)},
    }
    daemons = [Daemon(folder / name, settings, {"ANNA": TOKEN, "CUSTODE_TOKEN": TOKEN}) for name in ("a", "b")]
    try:
        for one in daemons:
            one.config.with_name("own.yml").write_text(RULES)
            one.config.with_name("indexes.yml").write_text((resources.files("rules") / "indexes.yml").read_text())
            one.launch()
        for one in daemons:
            one.await_ready()
        found = Site(state, daemons, dsns, folder / "store")
        until(lambda: [len(one.scraped()) for one in daemons] == [1, 1], "each looks after one", SECONDS)
        yield found
        assert not any("Traceback" in one.log.read_text() for one in daemons)
    finally:
        for one in daemons:
            one.close()
        drop(server, names)
        state.server.stop()


def assert_work_goes_on(site: Site, left: Daemon, right: Daemon) -> None:
    """While the state database is away: what is said, and what is done all the same."""
    success = ("custode_collector_last_success_timestamp_seconds", "left")
    before = left.metrics()[success]
    status, text = right.ask("/api/v1/actions", {"action": "analyze", "environment": "right"}, TOKEN)
    assert (status, json.loads(text)["code"]) == (503, "CU611")
    refused = right.custode("act", "analyze", "right", "--url", f"http://127.0.0.1:{right.port}", status=2).stderr
    assert "CU611" in refused
    assert "state database" in refused
    leave_invalid(site.dsns["right"], "meanwhile")
    told = "right IndexInvalid firing: index meanwhile of right is invalid"
    until(lambda: told in right.messages(), "an alert that begins meanwhile is told", SECONDS)
    until(lambda: left.metrics()[success] > before, "scraping goes on", SECONDS)
    assert site.up() == [0, 0]
    assert [one.scraped() for one in (left, right)] == [{"left"}, {"right"}]


def test_nothing_is_lost_when_it_is_stopped_in_the_middle_of_everything(site: Site) -> None:
    left, right = site.holder("left"), site.holder("right")
    since = site.firing_since()
    with dump_waits(site.dsns["left"]):
        run_id = right.ask_for("backup", "left", TOKEN)
        right.in_step(run_id, "copy")
        entries = right.ledger()
        site.state.crash()
        stopped = time.monotonic()
        until(lambda: site.up() == [0, 0], "both notice", SECONDS)
        assert_work_goes_on(site, left, right)
    until(lambda: ".zst" in stored(site.store, "left"), "the step goes on to its end", SECONDS)
    until(lambda: time.monotonic() - stopped >= AWAY_SECONDS, "it is away for a while", SECONDS)
    assert stored(site.store, "left") == [".zst"], "the next step waits until this one is on record"
    assert indexes(site.dsns["right"], "meanwhile") == 1
    site.state.start_again()
    until(lambda: site.up() == [1, 1], "both are back", SECONDS)

    run = right.ended(run_id)
    assert (run["result"], run["attempt"], run["deaths"]) == ("fixed", 1, 0), run["outcome"]
    assert stored(site.store, "left") == [".json", ".zst"]
    until(lambda: right.runs_of("drop_invalid_index", "right"), "what the alert asks for is asked for again", SECONDS)
    (dropped,) = right.runs_of("drop_invalid_index", "right")
    assert right.ended(dropped["id"])["result"] == "fixed"
    until(lambda: any("meanwhile of right is invalid" in one for one in right.messages()[-1:]), "it is told", SECONDS)

    refusals = until(
        lambda: [one for one in right.ledger(entry="guard") if one["facts"].get("ground") == "state_away"],
        "the refusals are in the ledger",
        SECONDS,
    )
    assert [one["action"] for one in refusals if one["person"] == "anna"] == ["analyze", "analyze"]
    assert {"drop_invalid_index"} <= {one["action"] for one in refusals if one["person"] is None}
    assert right.ledger()[: len(entries)] == entries
    assert len(right.ledger(run=run_id, entry="outcome")) == 1
    assert right.runs_of("analyze") == [], "what was refused is not done later"
    assert [site.holder(place) for place in PLACES] == [left, right], "nothing has moved"
    assert site.firing_since() == since
    assert sorted(one for one in site.told() if "Watched" in one) == [
        "left Watched firing",
        "right Watched firing",
    ]
