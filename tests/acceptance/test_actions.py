"""Actions, as people and alerts ask one daemon for them, over the command line and over HTTP; and it is killed."""

from __future__ import annotations

import os
import pwd
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

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
    sql,
    stored,
)

ACCOUNT = pwd.getpwuid(os.geteuid()).pw_name
OPERATORS = {
    "anna": {"local_user": ACCOUNT, "token": "env:ANNA"},
    "bob": {"token": "env:BOB"},
    "carl": {"token": "env:CARL", "may": ["request"]},
}
TOKENS = {"ANNA": "anna-s3cret", "BOB": "bob-s3cret", "CARL": "carl-s3cret"}
NAMES = ("hand", "dev", "prod", "two")


@dataclass
class Site:
    """A daemon with four environments: `hand`, where no alert asks, and those whose policies differ."""

    daemon: Daemon
    dsns: dict[str, str]
    store: Path

    def asked_by_alert(self, place: str, index: str) -> dict[str, Any]:
        """The run by which the alert about this index asks."""
        found: dict[str, Any] = until(
            lambda: next(
                (run for run in self.daemon.runs_of("drop_invalid_index", place) if index in run["object"]), 0
            ),
            f"the alert about {index} asks",
            SECONDS,
        )
        assert found["requested_by"] == "alert IndexInvalid"
        return found


@pytest.fixture(scope="module")
def site(scratch: Path, server: EmbeddedServer) -> Iterator[Site]:
    folder = scratch / "site"
    names = databases(server, len(NAMES))
    policies: tuple[dict[str, Any], ...] = ({}, {}, {"window": None}, {"consent": {"guarded": "two_approvals"}})
    places = {
        place: environment(server, database, "production" if place == "prod" else "development", **policy)
        for place, database, policy in zip(NAMES, names, policies, strict=True)
    }
    shipped = (resources.files("rules") / "indexes.yml").read_text()
    folder.mkdir()
    (folder / "own.yml").write_text(
        shipped.replace("custode_index_valid == 0", 'custode_index_valid{environment!="hand"} == 0')
    )
    settings = {
        "rules": {"interval": "1s", "shipped": False, "files": ["own.yml"]},
        "stores": {"local": {"type": "local", "path": str(folder / "store")}},
        "operators": OPERATORS,
        "environments": places,
    }
    daemon = Daemon(folder, settings, TOKENS)
    dsns = {place: server.dsn(database) for place, database in zip(NAMES, names, strict=True)}
    try:
        daemon.start()
        yield Site(daemon, dsns, folder / "store")
        assert "Traceback" not in daemon.log.read_text()
    finally:
        daemon.close()
        drop(server, names)


def test_it_says_where_its_state_is(site: Site) -> None:
    said = site.daemon.log.read_text()
    assert re.search(f"state_database_embedded +path={site.daemon.data / 'state'}\n", said), said


def test_analyze_is_shown_then_done_then_needless(site: Site) -> None:
    analyzed = "select analyze_count from pg_stat_user_tables where relname = 'notes'"
    sql(site.dsns["hand"], "create table notes (id int) with (autovacuum_enabled = false)")
    sql(site.dsns["hand"], "insert into notes select generate_series(1, 1000)")
    shown = site.daemon.custode("act", "analyze", "hand", "--dry-run", status=0).stdout
    for word in ("ANALYZE public.notes", "nobody has to approve it", "nothing speaks against it", "safe"):
        assert word in shown
    assert sql(site.dsns["hand"], analyzed)[0][0] == 0
    assert site.daemon.runs_of("analyze") == []
    assert site.daemon.ledger() == []
    done = site.daemon.custode("act", "analyze", "hand", "--reason", "after a load", status=0).stdout
    assert "fixed: 1 table(s) were analyzed" in done
    again = site.daemon.ended(site.daemon.ask_for("analyze", "hand", TOKENS["ANNA"]))
    assert (again["result"], again["outcome"]) == ("fixed", "nothing had to be done: the statistics are fresh")
    assert sql(site.dsns["hand"], analyzed)[0][0] == 1


def test_vacuum_and_drop_invalid_index_by_hand(site: Site) -> None:
    dsn = site.dsns["hand"]
    sql(dsn, "create table dead (id int) with (autovacuum_enabled = false)")
    sql(dsn, "insert into dead select generate_series(1, 1000)", "delete from dead")
    seen = site.daemon.command("act", "vacuum", "hand", "--dry-run")
    assert (seen["decision"], seen["plan"]["commands"]) == ("allowed", ["VACUUM public.dead"])
    run = site.daemon.command("act", "vacuum", "hand")["run"]
    assert (run["result"], run["requested_by"], run["before"]["dead_rows"], run["after"]["dead_rows"]) == (
        "fixed",
        "anna",
        1000,
        0,
    )
    leave_invalid(dsn, "by_hand")
    named = site.daemon.custode("act", "drop_invalid_index", "hand", "-p", "indexrelname=by_hand", status=0).stdout
    assert "fixed: none of 1 invalid index(es) is left" in named
    assert indexes(dsn, "by_hand") == 0


def test_what_makes_no_sense_is_exit_status_2_and_no_run(site: Site) -> None:
    before = len(site.daemon.ledger())
    refused = site.daemon.custode("act", "drop_everything", "hand", status=2)
    assert "there is no action 'drop_everything'" in refused.stderr
    assert "hint: known are: analyze, backup" in refused.stderr
    assert len(site.daemon.ledger()) == before


def test_an_alert_leads_to_a_fixed_run_and_is_resolved(site: Site) -> None:
    leave_invalid(site.dsns["dev"], "by_alert")
    run = site.daemon.ended(site.asked_by_alert("dev", "by_alert")["id"])
    assert (run["result"], run["attempt"]) == ("fixed", 1), run["outcome"]
    assert indexes(site.dsns["dev"], "by_alert") == 0
    told = "dev IndexInvalid resolved: index by_alert of dev is invalid"
    until(lambda: told in site.daemon.messages(), "the end of the alert is told", SECONDS)
    assert ("IndexInvalid", "dev") not in site.daemon.alerts()
    assert "dev drop_invalid_index fixed" in site.daemon.messages("action")


def test_in_production_it_waits_for_a_person_also_over_a_kill_9(site: Site) -> None:
    leave_invalid(site.dsns["prod"], "by_night")
    run_id = site.asked_by_alert("prod", "by_night")["id"]
    site.daemon.until_run(run_id, "waiting")
    site.daemon.kill()
    site.daemon.start()
    listed = site.daemon.command("actions", "list", "--state", "waiting")
    assert [run["id"] for run in listed] == [run_id]
    assert "needs 1 approval" in site.daemon.custode("actions", "show", run_id[:6], status=0).stdout
    assert indexes(site.dsns["prod"], "by_night") == 1
    site.daemon.custode("actions", "approve", run_id, "--yes", "--reason", "looked at", status=0)
    run = site.daemon.ended(run_id)
    assert (run["result"], run["deaths"]) == ("fixed", 0), run["outcome"]
    assert indexes(site.dsns["prod"], "by_night") == 0
    (answer,) = site.daemon.ledger(run=run_id, entry="answer")
    assert answer["person"] == "anna"
    assert {"approved": True, "via": "cli", "reason": "looked at"}.items() <= answer["facts"].items()
    resolved = "prod IndexInvalid resolved: index by_night of prod is invalid"
    until(lambda: resolved in site.daemon.messages(), "the end of the alert is told", SECONDS)


def test_reject_retry_and_cancel(site: Site) -> None:
    leave_invalid(site.dsns["prod"], "by_day")
    run_id = site.asked_by_alert("prod", "by_day")["id"]
    site.daemon.until_run(run_id, "waiting")
    rejected = site.daemon.command("actions", "reject", run_id, "--reason", "not now")
    assert (rejected["state"], rejected["result"]) == ("ended", "refused")
    assert rejected["outcome"] == "rejected by anna: not now"
    again = site.daemon.command("actions", "retry", run_id, "--detach")["run"]
    site.daemon.until_run(again["id"], "waiting")
    cancelled = site.daemon.command("actions", "cancel", again["id"])
    assert (cancelled["result"], cancelled["outcome"]) == ("cancelled", "cancelled by anna")
    assert site.daemon.ask(f"/api/v1/actions/{again['id']}/cancel", {}, TOKENS["ANNA"])[0] == 409
    assert indexes(site.dsns["prod"], "by_day") == 1
    sql(site.dsns["prod"], "drop index by_day")


def test_everything_can_be_stopped_and_released(site: Site) -> None:
    stopped = site.daemon.command("stop-actions", "--reason", "look first")
    assert (stopped["stopped"], stopped["by"]) == (True, "anna")
    until(lambda: site.daemon.metrics()["custode_actions_stopped", ""] == 1, "it is on the page", SECONDS)
    refused = site.daemon.custode("act", "analyze", "hand", status=1).stdout
    assert "refused: all actions are stopped, by anna: look first" in refused
    assert "actions are not stopped" in site.daemon.custode("stop-actions", "--release", status=0).stdout
    assert site.daemon.ended(site.daemon.ask_for("analyze", "hand", TOKENS["ANNA"]))["result"] == "fixed"
    entries = site.daemon.command("ledger", "--entry", "switch")
    assert [(one["person"], one["facts"]["stopped"]) for one in entries] == [("anna", False), ("anna", True)]


def test_two_people_over_http_and_nobody_else(site: Site) -> None:
    daemon = site.daemon
    leave_invalid(site.dsns["two"], "by_two")
    run_id = site.asked_by_alert("two", "by_two")["id"]
    daemon.until_run(run_id, "waiting")

    def approve(token: str | None) -> int:
        return daemon.ask(f"/api/v1/actions/{run_id}/approve", {}, token)[0]

    assert (approve("wrong"), approve(None)) == (401, 401)
    assert approve(TOKENS["CARL"]) == 403
    assert approve(TOKENS["ANNA"]) == 200
    assert approve(TOKENS["ANNA"]) == 409, "one person is one answer"
    assert daemon.run(run_id)["state"] == "waiting"
    assert indexes(site.dsns["two"], "by_two") == 1
    assert approve(TOKENS["BOB"]) == 200
    assert daemon.ended(run_id)["result"] == "fixed"
    assert indexes(site.dsns["two"], "by_two") == 0
    answers = [(one["person"], one["facts"]["decision"]) for one in daemon.ledger(run=run_id, entry="answer")]
    assert answers == [("carl", "refused"), ("anna", "counted"), ("anna", "refused"), ("bob", "counted")]
    entries = [one["entry"] for one in daemon.ledger(run=run_id)]
    order = ["requested", "plan", "asked", "answer", "guard", "step", "verdict", "outcome"]
    assert [entry for entry in order if entry in entries] == order
    assert not any(token in daemon.log.read_text() + str(daemon.ledger()) for token in TOKENS.values())


def test_a_backup_goes_on_after_kill_9_and_is_one(site: Site) -> None:
    with dump_waits(site.dsns["hand"]):
        run_id = site.daemon.ask_for("backup", "hand", TOKENS["ANNA"])
        site.daemon.in_step(run_id, "copy")
        site.daemon.kill()
        site.daemon.start()
        site.daemon.in_step(run_id, "copy", attempt=2)
    run = site.daemon.ended(run_id)
    assert (run["result"], run["attempt"], run["deaths"]) == ("fixed", 2, 1), run["outcome"]
    assert stored(site.store, "hand") == [".json", ".zst"]
    (taken_over,) = site.daemon.ledger(run=run_id, entry="taken_over")
    assert taken_over["facts"]["attempt"] == 2


def test_a_vacuum_is_handed_over_on_sigterm_and_done_once(site: Site) -> None:
    dsn = site.dsns["hand"]
    database = dsn.partition("?")[0].rpartition("/")[2]
    sql(dsn, "create table slow (id int, t text) with (autovacuum_enabled = false)")
    sql(dsn, "insert into slow select i, repeat('x', 900) from generate_series(1, 4000) i", "delete from slow")
    # some hundred pages, and a long pause after each
    sql(
        dsn,
        f"alter database {database} set vacuum_cost_delay = 100",
        f"alter database {database} set vacuum_cost_limit = 1",
    )
    run_id = site.daemon.ask_for("vacuum", "hand", TOKENS["ANNA"], relname="slow")
    site.daemon.in_step(run_id, "vacuum")
    sql(dsn, f"alter database {database} reset all")
    assert site.daemon.stop() == 0
    site.daemon.start()
    run = site.daemon.ended(run_id)
    assert (run["result"], run["attempt"], run["deaths"]) == ("fixed", 2, 0), run["outcome"]
    assert sql(dsn, "select vacuum_count from pg_stat_user_tables where relname = 'slow'")[0][0] == 1


def test_a_killed_embedded_state_server_comes_back_and_a_step_goes_on(site: Site) -> None:
    pid_file = site.daemon.data / "state" / "postmaster.pid"
    before = int(pid_file.read_text().split()[0])
    entries = site.daemon.ledger()
    with dump_waits(site.dsns["hand"]):
        run_id = site.daemon.ask_for("backup", "hand", TOKENS["ANNA"])
        site.daemon.in_step(run_id, "copy")
        psutil.Process(before).send_signal(signal.SIGKILL)
        until(
            lambda: site.daemon.answers("/api/v1/actions") and int(pid_file.read_text().split()[0]) != before,
            "the daemon has started it again",
            SECONDS,
        )
    run = site.daemon.ended(run_id)
    assert (run["result"], run["attempt"]) == ("fixed", 1), run["outcome"]
    assert site.daemon.ledger()[: len(entries)] == entries
    assert stored(site.store, "hand") == [".json", ".json", ".zst", ".zst"]
