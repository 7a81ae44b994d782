"""The story of the demonstration, as a person sees it."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.acceptance.conftest import RunningDemo, custode, until

MENDED = {
    ("qa", "VectorIndexBuiltOnTooFewRows"),
    ("preprod", "IndexInvalid"),
    ("production", "BackupTooOld"),
}
LASTING = {
    ("qa", "SchemaRevisionBehind"),
    ("qa", "SchemaDiffers"),
    ("qa", "RefreshOverdue"),
    ("preprod", "DiskSpaceLow"),
    ("production", "IndexUnused"),
    ("production", "RowsPastRetention"),
    ("production", "ReadOnlyRoleCanWrite"),
}


def printed(demo: RunningDemo, state: str) -> set[tuple[str, str]]:
    """(environment, alert) of those whose coming into this state was printed."""
    return {
        (environment, name)
        for environment, name in LASTING | MENDED
        if any(environment in line and f"{name} {state}" in line for line in demo.lines)
    }


def servers_below(directory: Path) -> list[str]:
    listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(directory) in line and "postgres" in line]


def test_it_prints_its_address_first_and_is_ready_within_a_minute(demo: RunningDemo) -> None:
    assert demo.lines[0].startswith("http://127.0.0.1:")
    assert demo.ready_seconds < 60


def test_every_planted_fault_is_found_and_printed(demo: RunningDemo) -> None:
    until(lambda: demo.alerts() >= LASTING, f"what nobody mends fires; so far {sorted(demo.alerts())}")
    until(lambda: printed(demo, "firing") >= LASTING | MENDED, "all of them are printed")


def test_what_is_in_order_is_not_complained_about(demo: RunningDemo) -> None:
    until(lambda: demo.alerts() >= LASTING, "what nobody mends fires")
    until(lambda: printed(demo, "resolved") >= MENDED, "what is mended by itself is mended")

    def strange() -> set[tuple[str, str]]:
        known = LASTING | {("qa", "SchemaRevisionDiffers"), ("qa", "SchemaNotAsMigrated")}
        # qa can be refreshed once somebody has migrated it, and preprod's disk only be enlarged: what tries fails
        known |= {("", "ActionsFailing")}
        return {(environment, name) for environment, name in demo.alerts() - known if name != "RestoreTestMissing"}

    until(lambda: not strange(), f"nothing else is complained about: {sorted(strange())}")


def test_the_missing_backup_is_mended_by_itself_and_the_alert_resolved(demo: RunningDemo) -> None:
    def told(what: str) -> bool:
        return any("production" in line and what in line for line in demo.lines)

    until(lambda: told("backup fixed"), "the backup is taken and verified")
    until(lambda: told("BackupTooOld resolved"), "the alert is resolved")
    assert told("BackupTooOld firing")
    assert ("production", "BackupTooOld") not in demo.alerts()


def test_the_backup_is_in_the_ledger_and_on_the_page(demo: RunningDemo) -> None:
    until(lambda: any("backup fixed" in line for line in demo.lines), "the backup is taken and verified")
    asked = custode("ledger", "-c", demo.config, "--environment", "production", "--action", "backup", "--json")
    ledger = json.loads(asked.stdout)
    assert [entry["entry"] for entry in ledger[::-1] if entry["entry"] != "step"] == [
        "requested",
        "plan",
        "guard",
        "verdict",
        "outcome",
    ]
    assert 'custode_actions_total{action="backup",outcome="fixed"} 1.0' in demo.get("/metrics")


def test_events_are_written_as_json_lines(demo: RunningDemo) -> None:
    until(lambda: any("backup fixed" in line for line in demo.lines), "the backup is taken and verified")
    events = [json.loads(line) for line in (demo.directory / "events.jsonl").read_text().splitlines()]
    assert {event["kind"] for event in events} >= {"alert", "action"}


def test_status_shows_the_table_and_says_by_its_exit_status_that_all_is_not_well(demo: RunningDemo) -> None:
    until(lambda: demo.alerts() >= LASTING, "what nobody mends fires")
    shown = custode("status", "-c", demo.config)
    assert shown.returncode == 1
    for word in ("production", "Vector indexes", "DiskSpaceLow", "ReadOnlyRoleCanWrite"):
        assert word in shown.stdout
    assert shown.stderr == ""
    board = json.loads(custode("status", "-c", demo.config, "--json").stdout)
    assert [row["environment"] for row in board["rows"]] == ["development", "qa", "preprod", "production"]


def test_once_looks_by_itself(demo: RunningDemo) -> None:
    def found() -> set[tuple[str, str]]:
        looked = custode("once", "-c", demo.config, "--json")
        assert looked.returncode == 1, looked.stderr
        return {(alert["environment"], alert["name"]) for alert in json.loads(looked.stdout)["alerts"]}

    # a fact may be hidden for a moment: autovacuum locks a table to shorten it
    until(lambda: found() >= LASTING, "a look finds all that is still wrong")
    metrics = custode("once", "-c", demo.config, "--metrics").stdout
    assert 'custode_up{environment="production",tier="production"} 1' in metrics


def test_check_reaches_every_environment(demo: RunningDemo) -> None:
    checked = custode("check", "-c", demo.config, "--connect", "--json")
    findings = json.loads(checked.stdout)["findings"]
    assert checked.returncode == 0, findings
    assert {finding["environment"] for finding in findings} >= {"development", "qa", "preprod", "production"}


def test_no_secret_and_no_password_is_anywhere(demo: RunningDemo) -> None:
    assert "postgresql://" not in demo.get("/metrics") + "".join(demo.lines)


def test_a_second_start_finds_what_the_first_left_and_ctrl_c_stops_everything() -> None:
    directory = Path(tempfile.mkdtemp(prefix="custode-again-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        first = RunningDemo.start(directory)
        until(lambda: any("backup fixed" in line for line in first.lines), "the backup is taken and verified")
        assert servers_below(directory)
        assert first.stop() == 0
        assert servers_below(directory) == []
        second = RunningDemo.start(directory)
        until(lambda: ("qa", "SchemaDiffers") in second.alerts(), "what nobody mended is still there")
        assert ("production", "BackupTooOld") not in second.alerts()
        assert second.stop() == 0
        assert servers_below(directory) == []
    finally:
        shutil.rmtree(directory, ignore_errors=True)
