"""`custode actions`, `ledger` and `stop-actions`, against a served engine in memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from daemon.actions.port import NotPossibleError, UnknownRunError
from daemon.actions.views import LedgerFilter, RunState
from daemon.cli._client import NoDaemonError
from daemon.cli._console import out
from fleet.errors import CustodeError
from tests.integration.action_commands import app
from tests.integration.action_site import Site, served


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path) as site:
        site.port.frozen = True
        yield site


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "_width", 160)
    monkeypatch.delenv("CUSTODE_TOKEN", raising=False)
    monkeypatch.delenv("CUSTODE_URL", raising=False)


def run(site: Site, *arguments: str, text: str | None = None) -> Result:
    result = CliRunner().invoke(app, [*arguments, "-c", str(site.config)], input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def ask(site: Site, environment: str = "production") -> str:
    data = json.loads(run(site, "act", "analyze", environment, "--detach", "--json").stdout)
    run_id: str = data["run"]["id"]
    return run_id


def test_the_list_keeps_what_has_not_ended(site: Site) -> None:
    old = ask(site)
    for _ in range(3):
        run(site, "actions", "cancel", ask(site, "qa"), "--reason", "no")
    shown = json.loads(run(site, "actions", "list", "--limit", "2", "--json").stdout)
    assert [one["state"] for one in shown] == ["ended", "ended", "waiting"]
    assert shown[-1]["id"] == old
    text = run(site, "actions", "list").stdout
    assert text.count("\n") == 2 * 4, "two lines a run"
    assert "? waiting: needs 1 approval" in text
    assert "– cancelled: cancelled by ada" in text
    only = json.loads(
        run(site, "actions", "list", "--state", "waiting", "--environment", "production", "--json").stdout
    )
    assert [one["id"] for one in only] == [old]
    assert run(site, "actions", "list", "--state", "dancing").exit_code == 2


def test_a_beginning_that_is_unique_names_a_run(site: Site) -> None:
    first, second = ask(site), ask(site)
    assert f"{first}  analyze on production" in run(site, "actions", "show", first[:2]).stdout
    run(site, "actions", "reject", second[:1], "--reason", "not now")
    assert site.port.details[second].run.outcome == "rejected: not now"
    assert site.port.details[first].run.state is RunState.WAITING
    with pytest.raises(UnknownRunError, match="no runs"):
        run(site, "actions", "show", "zz")
    for _ in range(15):
        ask(site)
    with pytest.raises(UnknownRunError, match="several runs"):
        run(site, "actions", "cancel", "1")


def test_approving_shows_the_plan_and_sends_its_digest(site: Site) -> None:
    site.port.needed = 2
    run_id = ask(site)
    shown = run(site, "actions", "approve", run_id, "--reason", "fine").stdout
    assert 'runs     ANALYZE "docs"' in shown
    assert "digest   d1" in shown
    assert "approved: 1 of 2 approvals so far" in shown
    assert site.port.details[run_id].answers[0].digest == "d1"
    with pytest.raises(NotPossibleError, match="the plan has changed"):
        run(site, "actions", "approve", run_id, "--digest", "d0")
    site.port.needed = 1
    assert "… queued" in run(site, "actions", "approve", run_id, "--yes").stdout
    shown = run(site, "actions", "show", run_id).stdout
    assert "approved by ada at" in shown
    assert "over cli: fine" in shown


def test_a_terminal_is_asked_first(site: Site) -> None:
    run_id = ask(site)
    ours, theirs = os.openpty()
    line = [
        sys.executable,
        "-m",
        "tests.integration.action_commands",
        "actions",
        "approve",
        run_id,
        "-c",
        str(site.config),
    ]
    process = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while b"Approve this plan?" not in seen:
        seen += os.read(ours, 4096)
    assert b"digest" in seen
    os.write(ours, b"n\n")
    assert process.wait(timeout=60) == 1
    os.close(ours)
    assert not site.port.details[run_id].answers


def test_rejecting_needs_a_reason(site: Site) -> None:
    run_id = ask(site)
    assert run(site, "actions", "reject", run_id).exit_code == 2
    assert "✗ refused: rejected: risky" in run(site, "actions", "reject", run_id, "--reason", "risky").stdout


def test_pause_resume_cancel_retry(site: Site) -> None:
    run_id = ask(site, "qa")
    assert "‖ paused: paused by ada" in run(site, "actions", "pause", run_id).stdout
    assert "… queued" in run(site, "actions", "resume", run_id).stdout
    data = json.loads(run(site, "actions", "cancel", run_id, "--reason", "x", "--json").stdout)
    assert (data["id"], data["result"]) == (run_id, "cancelled")
    with pytest.raises(NotPossibleError, match="has ended already"):
        run(site, "actions", "cancel", run_id)
    data = json.loads(run(site, "actions", "retry", run_id, "--detach", "--json").stdout)
    assert data["run"]["id"] != run_id
    site.port.frozen = False
    result = run(site, "actions", "retry", run_id)
    assert (result.exit_code, "✓ fixed" in result.stdout) == (0, True)


def test_show_has_everything(site: Site) -> None:
    site.port.frozen = False
    run(site, "act", "analyze", "qa", "--reason", "slow")
    run_id = next(iter(site.port.details))
    shown = run(site, "actions", "show", run_id).stdout
    for said in ("✓ fixed: as it should be", "by ada", "because  slow", "✓ 2/2 chunks", "requested", "reason=slow"):
        assert said in shown, said
    data = json.loads(run(site, "actions", "show", run_id, "--json").stdout)
    assert set(data) == {"run", "steps", "answers", "ledger"}
    assert data["ledger"][0]["entry"] == "requested"


def test_the_ledger_is_printed_newest_last(site: Site) -> None:
    run_id = ask(site)
    run(site, "actions", "approve", run_id)
    lines = run(site, "ledger").stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["requested", "answer"]
    assert "ada  approved=true  via=cli" in lines[1]
    data = json.loads(run(site, "ledger", "--json", "--limit", "1").stdout)
    assert [one["entry"] for one in data] == ["answer"]
    began = time.time()
    run(site, "ledger", "--run", run_id[:2], "--person", "ada", "--entry", "answer", "--since", "2d")
    asked = site.port.asked[-1]
    assert isinstance(asked, LedgerFilter)
    assert (asked.run_id, asked.person, asked.entry) == (run_id, "ada", "answer")
    assert asked.since == pytest.approx(began - 2 * 86_400, abs=60)
    assert run(site, "ledger", "--since", "yesterday").exit_code == 2


def test_the_ledger_is_followed_and_each_entry_comes_once(site: Site) -> None:
    ask(site)
    line = [
        sys.executable,
        "-m",
        "tests.integration.action_commands",
        "ledger",
        "--follow",
        "--json",
        "-c",
        str(site.config),
    ]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = [json.loads(process.stdout.readline())["id"]]
    made = [ask(site) for _ in range(3)]
    seen += [json.loads(process.stdout.readline())["id"] for _ in made]
    for _ in range(250):  # more than a page
        site.port._note("step", site.port.details[made[0]].run, "ada")
    seen += [json.loads(process.stdout.readline())["id"] for _ in range(250)]
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest, errors) == (130, "", "")
    assert seen == list(range(1, 255))


def test_everything_is_stopped_and_released(site: Site) -> None:
    assert "not stopped" in run(site, "stop-actions", "--status").stdout
    assert "■ all actions are stopped by ada since" in run(site, "stop-actions", "--reason", "fire").stdout
    data = json.loads(run(site, "stop-actions", "--status", "--json").stdout)
    assert (data["stopped"], data["reason"], data["by"]) == (True, "fire", "ada")
    assert "not stopped" in run(site, "stop-actions", "--release").stdout
    assert run(site, "stop-actions", "--release", "--status").exit_code == 2
    assert not (site.data_dir / "stop-actions").exists()


@pytest.mark.parametrize("away", ["daemon", "state database"])
def test_the_switch_works_where_no_daemon_can(tmp_path: Path, away: str) -> None:
    with served(tmp_path) as site:
        site.port.away = True
        if away == "state database":
            _stop_by_file(site)
    if away == "daemon":
        _stop_by_file(site)


def _stop_by_file(site: Site) -> None:
    file = site.data_dir / "stop-actions"
    result = run(site, "stop-actions", "--reason", "fire")
    assert result.exit_code == 0
    assert f"the file {file} decides" in result.stderr
    assert "all actions are stopped by the file" in result.stdout
    assert "fire" in file.read_text()
    run(site, "stop-actions", "--reason", "another")
    assert "another" not in file.read_text()  # the first reason stays
    assert json.loads(run(site, "stop-actions", "--status", "--json").stdout)["stopped"] is True
    assert "not stopped" in run(site, "stop-actions", "--release").stdout
    assert not file.exists()
    assert "not stopped" in run(site, "stop-actions", "--release").stdout


def test_who_may_not_stop_does_not_by_the_file_either(site: Site) -> None:
    site.staff.accounts.clear()
    with pytest.raises(CustodeError, match="no operator"):
        run(site, "stop-actions")
    assert not (site.data_dir / "stop-actions").exists()


def test_a_daemon_that_was_named_is_the_only_one_meant(tmp_path: Path) -> None:
    with served(tmp_path) as site:
        pass
    result = CliRunner().invoke(app, ["stop-actions", "--url", site.url])
    assert isinstance(result.exception, NoDaemonError)
    assert not (site.data_dir / "stop-actions").exists()
