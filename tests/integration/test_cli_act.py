"""`custode act` and `custode actions follow`: asking, watching, leaving."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from daemon.actions.request import Result as Ended
from daemon.actions.views import Progress, RunState
from daemon.cli._console import out
from fleet.errors import CustodeError
from tests.integration.action_commands import app
from tests.integration.action_site import PLAN, TOKEN, Site, served


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with served(tmp_path) as site:
        yield site


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "_width", 160)
    monkeypatch.delenv("CUSTODE_TOKEN", raising=False)
    monkeypatch.delenv("CUSTODE_URL", raising=False)


def run(site: Site, *arguments: str) -> Result:
    result = CliRunner().invoke(app, [*arguments, "-c", str(site.config)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_it_asks_and_follows_to_the_end(site: Site) -> None:
    result = run(site, "act", "analyze", "qa", "-p", "tables=[docs, chunks]", "-p", "sample=22:00", "--reason", "slow")
    assert result.exit_code == 0
    made = next(iter(site.port.details.values())).run
    assert (made.requested_by, made.reason) == ("ada", "slow")
    assert made.parameters == {"tables": ["docs", "chunks"], "sample": "22:00"}
    lines = result.stdout.splitlines()
    assert lines[0] == f"{made.id}  analyze on qa"
    assert lines[1] == "waits: another run is at work there"
    assert lines[2].strip() == "✓ 1/2 docs  2s  rows 12"
    assert lines[3].strip() == "✓ 2/2 chunks  2s  rows 12"
    assert lines[4].startswith("✓ fixed: as it should be (")
    table = {
        row[1]: row[2:4] for row in ([cell.strip() for cell in line.split("│")] for line in lines[5:]) if len(row) > 3
    }
    assert table == {"stale_rows": ["1,200", "0"], "size_bytes": ["5 MiB", "5 MiB"]}


def test_what_did_not_help_is_1(site: Site) -> None:
    site.port.result = Ended.NOT_FIXED
    result = run(site, "act", "analyze", "qa")
    assert result.exit_code == 1
    assert "✗ not fixed: not as it should be" in result.stdout


def test_json_is_the_data_of_the_api(site: Site) -> None:
    result = run(site, "act", "analyze", "qa", "--json")
    data = json.loads(result.stdout)
    assert set(data) == {"run", "steps", "answers"}
    assert (data["run"]["result"], len(data["steps"]), data["run"]["before"]["stale_rows"]) == ("fixed", 2, 1200.0)
    data = json.loads(run(site, "act", "analyze", "qa", "--detach", "--json").stdout)
    assert (data["new"], data["run"]["state"]) == (True, "queued")
    data = json.loads(run(site, "act", "analyze", "qa", "--dry-run", "--json").stdout)
    assert (data["decision"], data["plan"]["commands"]) == ("allowed", ['ANALYZE "docs"', 'ANALYZE "chunks"'])


def test_detached_it_says_how_to_follow(site: Site) -> None:
    result = run(site, "act", "analyze", "qa", "--detach", "--key", "k")
    made = next(iter(site.port.details.values())).run
    assert result.exit_code == 0
    assert f"custode actions follow {made.id}" in result.stdout
    again = run(site, "act", "analyze", "qa", "--detach", "--key", "k")
    assert "it was asked for before" in again.stdout
    assert len(site.port.details) == 1


def test_a_dry_run_shows_everything(site: Site) -> None:
    result = run(site, "act", "analyze", "production", "--dry-run", "-p", "table=docs")
    assert result.exit_code == 0
    for said in (
        "analyze on production, a dry run: nothing is changed",
        "with     table=docs",
        "plan     ANALYZE 2 tables",
        "object   relname docs",
        "step     chunks",
        'runs     ANALYZE "docs"',
        "effect   the planner knows what is there",
        "stale_rows 1,200",
        "digest   d1",
        "risk     safe",
        "consent  two people must approve it",
        "guard    ✓ allowed: nothing speaks against it",
    ):
        assert said in result.stdout, said
    assert not site.port.details
    run(site, "stop-actions", "--reason", "fire")
    result = run(site, "act", "analyze", "qa", "--dry-run")
    assert result.exit_code == 1
    assert "✗ refused: all actions are stopped" in result.stdout


def test_what_the_daemon_refuses_is_told(site: Site) -> None:
    with pytest.raises(CustodeError, match="there is no action 'dance'") as caught:
        run(site, "act", "dance", "qa")
    assert caught.value.code == "CU511"
    site.staff.accounts.clear()
    with pytest.raises(CustodeError, match="is no operator here"):
        run(site, "act", "analyze", "qa")


@pytest.mark.parametrize("pair", ["tables", "=x", "a={b: c}", "a=[[1]]", "a=*x", "a=[", "a=!!python/object:x y"])
def test_parameters_that_are_none(site: Site, pair: str) -> None:
    result = run(site, "act", "analyze", "qa", "-p", pair)
    assert result.exit_code == 2
    assert not site.port.details
    assert run(site, "act", "analyze", "qa", "-p", "a=1", "-p", "a=2").exit_code == 2


def test_a_name_that_a_terminal_would_obey_is_shown_harmless(site: Site) -> None:
    run(site, "act", "analyze", "production", "--detach", "-p", r'table="a\e[2K\rb[bold]"')
    made = next(iter(site.port.details.values())).run
    assert made.parameters["table"] == "a\x1b[2K\rb[bold]"
    shown = run(site, "actions", "show", made.id).stdout
    assert "table=a\\x1b[2K\\rb[bold]" in shown
    assert "\x1b" not in shown


def test_another_daemon_is_asked_with_a_token(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["act", "analyze", "qa", "--detach", "--url", site.url + "/"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, CustodeError)
    assert "CUSTODE_TOKEN" in str(result.exception.hint)
    monkeypatch.setenv("CUSTODE_TOKEN", TOKEN)
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert next(iter(site.port.details.values())).run.requested_by == "carla"
    monkeypatch.setenv("CUSTODE_TOKEN", "a\nb")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "a\nb" not in result.output
    assert CliRunner().invoke(app, ["act", "analyze", "qa", "--url", "ftp://x"]).exit_code == 2


def test_without_a_socket_the_address_of_the_configuration_is_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.data_dir / "control.sock").unlink()
    monkeypatch.setenv("CUSTODE_TOKEN", TOKEN)
    run(site, "act", "analyze", "qa", "--detach")
    assert next(iter(site.port.details.values())).run.requested_by == "carla"


def command(site: Site, *arguments: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "tests.integration.action_commands", *arguments, "-c", str(site.config)]
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "160"}
    )


@pytest.mark.parametrize("first", ["act", "actions"])
def test_ctrl_c_leaves_it_running(site: Site, first: str) -> None:
    site.port.frozen = True
    if first == "actions":
        run(site, "act", "analyze", "production", "--detach")
        process = command(site, "actions", "follow", next(iter(site.port.details))[:3])
    else:
        process = command(site, "act", "analyze", "production")
    assert process.stdout is not None
    made = process.stdout.readline().split()[0]
    assert f"needs 1 approval: custode actions approve {made}" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"custode actions follow {made}" in errors
    assert f"custode actions cancel {made}" in errors
    assert "Traceback" not in errors
    assert site.port.details[made].run.state is RunState.WAITING


def test_a_terminal_sees_how_far_it_is(site: Site) -> None:
    site.port.frozen = True
    run(site, "act", "analyze", "qa", "--detach")
    made = next(iter(site.port.details))
    progress = Progress(0.25, "docs [1/4]", time.time(), 90.0)
    site.port._change(made, state=RunState.RUNNING, plan=PLAN, step="chunks", progress=progress)
    ours, theirs = os.openpty()
    environment = os.environ | {"COLUMNS": "160", "TERM": "xterm"}
    line = [
        sys.executable,
        "-m",
        "tests.integration.action_commands",
        "actions",
        "follow",
        made,
        "-c",
        str(site.config),
    ]
    process = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while b"about 1m30s left" not in seen:
        seen += os.read(ours, 4096)
    for part in (b"2/2 chunks", b" 25%", b"docs [1/4]"):
        assert part in seen
    site.port.frozen = False
    with suppress(OSError):  # the other end is closed
        while part := os.read(ours, 4096):
            seen += part
    os.close(ours)
    assert process.wait(timeout=60) == 0
    assert seen.endswith(b"\r\n")


def test_a_daemon_that_is_away_for_a_while_is_waited_for(site: Site) -> None:
    site.port.frozen = True
    process = command(site, "act", "analyze", "qa")
    assert process.stdout is not None
    process.stdout.readline()
    assert "waits" in process.stdout.readline()
    site.port.away = True
    assert "the state database is away; trying again" in process.stdout.readline()
    site.port.away = site.port.frozen = False
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "✓ fixed" in rest


def test_nobody_answers(tmp_path: Path) -> None:
    with served(tmp_path) as site:
        pass
    process = command(site, "act", "analyze", "qa")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "error CU630: no daemon answers at" in errors
    assert "hint: is it running (custode run)?" in errors
