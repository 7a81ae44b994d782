"""`custode doctor`: each usual mistake is planted, found, and told with what to do about it."""

import fcntl
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from daemon.check import Finding, Notes, Report, _server, check_connect, check_machine, check_services
from daemon.check import _machine as machine
from daemon.cli._main import build
from daemon.config import Settings, load
from daemon.data_dir import LOCK_FILE, take_data_dir
from daemon.web.control_socket import ControlSocket
from fleet.embedded import EmbeddedServer
from tests.integration.sites import Site
from tests.slack_fake import TOKEN, FakeSlack

SettingsMaker = Callable[..., Settings]
NOWHERE = {"qa": {"tier": "qa", "dsn": "postgresql://custode@127.0.0.1:1/app"}}


@pytest.fixture
def make_settings(tmp_path: Path) -> SettingsMaker:
    """Settings of a file in `tmp_path`; keywords are its keys."""

    def make(environments: dict[str, dict[str, Any]] | None = None, **keys: object) -> Settings:
        path = tmp_path / "custode.yml"
        document = {"data_dir": "data", "listen": "127.0.0.1:0", "environments": environments or NOWHERE} | keys
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o640)
        return load(path)

    return make


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    fake = FakeSlack()
    await fake.start()
    yield fake
    await fake.stop()


def seen(report: Report | Any, subject: str, environment: str | None = None) -> Finding:
    """The worst of what was found about it."""
    found = [f for f in report.findings if (f.environment, f.subject) == (environment, subject)]
    return max(found, key=lambda f: ("ok", "warning", "error").index(f.level))


def test_a_machine_without_a_fault(make_settings: SettingsMaker) -> None:
    notes = check_machine(make_settings(), {"HOME": "/root"})
    assert {f.subject: f.level for f in notes.findings} == {
        "daemon": "ok",
        "listen": "ok",
        "room": seen(notes, "room").level,  # that of the machine that tests
        "open files": "ok",
    }


def test_a_daemon_that_runs_hangs_or_is_gone(make_settings: SettingsMaker) -> None:
    settings = make_settings()
    release = take_data_dir(settings.data_dir)
    hanging = seen(check_machine(settings, {}), "daemon")
    assert (hanging.level, "does not answer" in hanging.message) == ("error", True)
    listening = ControlSocket(settings.data_dir)
    assert seen(check_machine(settings, {}), "daemon").level == "ok"
    listening.remove()
    listening.close()
    release()
    gone = seen(check_machine(settings, {}), "daemon")
    assert (gone.level, gone.hint) == ("warning", "custode run, or systemctl start custode")
    # to look takes nothing: a daemon may start meanwhile
    with (settings.data_dir / LOCK_FILE).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_faults_of_the_machine(make_settings: SettingsMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        operators = {"anna": {"token": "env:HOME"}, "bob": {"local_user": "no-such-account"}, "no-such-either": {}}
        settings = make_settings(listen=f"127.0.0.1:{other.getsockname()[1]}", operators=operators)
        settings.data_dir.mkdir()
        (settings.data_dir / "stop-actions").touch()
        settings.source.chmod(0o666)
        monkeypatch.setattr(machine, "LEAST_FREE_RATIO", 1.0)
        monkeypatch.setattr(machine, "FILES", 10**9)
        notes = check_machine(settings, {"PGPASSWORD": "hunter2"})
    levels = {f.subject: f.level for f in notes.findings}
    assert levels == {
        "daemon": "ok",
        "listen": "error",
        "room": "warning",
        "actions": "warning",
        "configuration": "error",
        "open files": "error",
        "operators": "error",
        "variables": "warning",
    }
    assert "bob (no-such-account), no-such-either (no-such-either)" in seen(notes, "operators").message
    assert "anna" not in seen(notes, "operators").message
    assert "hunter2" not in repr(notes)
    assert all(f.hint for f in notes.findings if f.level != "ok")


async def test_services_that_answer(make_settings: SettingsMaker, slack: FakeSlack, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "key").write_text("00" * 32)
    key = f"file:{tmp_path}/key"
    settings = make_settings(
        stores={"sealed": {"type": "local", "path": "backups", "encryption_key": key}},
        notifiers={
            "jsonl": {"path": str(tmp_path / "told" / "lines")},
            "webhook": {"url": slack.url},
            "slack": {"token": f"file:{tmp_path}/token", "channel": "#general", "api_url": slack.url},
        },
        heartbeat={"url": slack.url},
    )
    notes = await check_services(settings)
    assert {f.subject: f.level for f in notes.findings} == dict.fromkeys(
        ("heartbeat", "notifiers.jsonl", "notifiers.slack", "notifiers.webhook", "state", "stores.sealed"), "ok"
    )
    assert slack.calls == {"auth.test": 1}, "somebody was told, or the heartbeat sent"
    assert not (tmp_path / "told").exists()
    assert [path for path in (tmp_path / "backups").rglob("*") if path.is_file()] == []
    assert not settings.data_dir.exists(), "the state was made"


async def test_services_that_do_not(make_settings: SettingsMaker, slack: FakeSlack, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "file").touch()
    slack.scopes = "chat:write,channels:history"
    settings = make_settings(
        state={"url": "postgresql://custode@127.0.0.1:1/custode"},
        stores={"local": {"type": "local", "path": str(tmp_path / "file" / "backups")}},
        notifiers={
            "email": {"host": "127.0.0.1", "port": 1, "sender": "a@example.com", "to": ["b@example.com"]},
            "webhook": {"url": "http://127.0.0.1:1/hook/hunter2"},
            "slack": {"token": f"file:{tmp_path}/token", "channel": "#general", "api_url": slack.url},
        },
        alertmanager={"urls": ["http://127.0.0.1:1"]},
        heartbeat={"url": "http://127.0.0.1:1/hunter2"},
    )
    notes = await check_services(settings)
    assert {f.subject: f.level for f in notes.findings} == dict.fromkeys(
        (
            "alertmanager",
            "heartbeat",
            "notifiers.email",
            "notifiers.slack",
            "notifiers.webhook",
            "state",
            "stores.local",
        ),
        "error",
    )
    assert "lacks the scopes usergroups:read, users:read.email" in seen(notes, "notifiers.slack").message
    assert "hunter2" not in repr(notes)


async def test_a_token_that_slack_refuses(make_settings: SettingsMaker, slack: FakeSlack, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("xoxb-wrong")
    options = {"token": f"file:{tmp_path}/token", "channel": "#general", "api_url": slack.url}
    notes = await check_services(make_settings(notifiers={"slack": options}))
    assert "Slack refuses the token: invalid_auth" in seen(notes, "notifiers.slack").message


async def test_servers_of_every_version_are_examined(site: Site, make_settings: SettingsMaker) -> None:
    qa = {"tier": "qa", "dsn": site.environment().dsn.raw, "databases": [site.database], "tls": {"mode": "disable"}}
    report = await check_connect(make_settings({"qa": qa}), deep=True)
    assert [f for f in report.findings if f.subject == "connection"] == []
    # the servers of the tests run with fsync off
    assert seen(report, "setting fsync", "qa").level == "error"
    assert seen(report, "pg_stat_statements", "qa").level == "warning"
    assert [
        f.subject for f in (await check_connect(make_settings({"qa": qa}))).findings if "setting" in f.subject
    ] == []


async def test_mistakes_of_a_role_and_an_extension(
    server: EmbeddedServer, sql: asyncpg.Connection, database: str, make_settings: SettingsMaker
) -> None:
    role = f"doctor_{database}"
    await sql.execute(
        f"create role {role} login connection limit 1 valid until '2000-01-01'; grant pg_monitor to {role}"
    )
    await sql.execute(f"alter role {role} set statement_timeout = '5s'; alter role {role} set work_mem = '8MB'")
    await sql.execute("update pg_extension set extversion = '0.8.1' where extname = 'vector'")
    await sql.execute("update pg_database set datcollversion = '1.0' where datname = current_database()")
    try:
        qa = {"tier": "qa", "dsn": server.dsn(database, role), "databases": [database], "tls": {"mode": "disable"}}
        report = await check_connect(make_settings({"qa": qa | {"connections": 1}}), deep=True)
    finally:
        await sql.execute(f"drop owned by {role}; drop role {role}")
    told = {f.message: f for f in report.findings if f.environment == "qa"}
    assert told["may open 1 sessions, and has 1"].level == "error"
    assert told["its password has expired"].level == "warning"
    assert told["its sessions begin with statement_timeout=5s"].level == "warning"
    assert any("vector is 0.8.1, and " in message for message in told)
    assert any(message.startswith("CVE-2026-3172") for message in told)
    assert any("was made with collation version 1.0" in message for message in told)


async def test_what_keeps_the_log_and_holds_vacuum(
    sql: asyncpg.Connection, server: EmbeddedServer, database: str, make_settings: SettingsMaker
) -> None:
    slot = f"doctor_{database}"
    await sql.execute("select pg_create_physical_replication_slot($1, true)", slot)
    qa = {"tier": "qa", "dsn": server.dsn(database), "databases": [database], "tls": {"mode": "disable"}}
    try:
        quiet = await check_connect(make_settings({"qa": qa}), deep=True)
        assert [f for f in quiet.findings if f.subject == "replication slots"] == []
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(_server, "SLOT_BYTES", -1)
            report = await check_connect(make_settings({"qa": qa}), deep=True)
    finally:
        await sql.execute("select pg_drop_replication_slot($1)", slot)
    assert slot in seen(report, "replication slots", "qa").message


def test_archiving_settings_and_passwords_are_judged() -> None:
    notes = Notes("qa")
    _server._check_archiving({"archiving_fails": True, "archives": True, "failed_wal": "0001"}, notes)
    _server._check_archiving({"archiving_fails": False, "archives": False, "failed_wal": None}, notes)
    _server._check_settings({"autovacuum": "off", "data_checksums": "off", "fsync": "on"}, notes)
    role = {"limit": -1, "ours": 9, "superuser": False, "until": 86_400.0 * 20, "options": None}
    _server._check_role(role, 0.0, notes)
    _server._check_role(role | {"until": float("inf"), "limit": 10}, 0.0, notes)
    assert [(f.subject, f.level) for f in notes.findings] == [
        ("archiving", "error"),
        ("setting autovacuum", "error"),
        ("setting data_checksums", "warning"),
        ("role", "warning"),
        ("role", "error"),
    ]
    assert [f.message for f in notes.findings if f.subject == "role"] == [
        "its password expires in 20 days",
        "may open 10 sessions, and has 9",
    ]
    notes = Notes("qa")
    _server._check_settings({"autovacuum": "on", "data_checksums": "on"}, notes)
    assert [f.level for f in notes.findings] == ["ok"]


def test_the_command_says_it_all_and_exits_with_1(
    make_settings: SettingsMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings({"qa": NOWHERE["qa"], "other": {"tier": "qa", "dsn": "postgresql://u@127.0.0.1:2/d"}})
    with pytest.raises(SystemExit) as ended:
        build(["doctor"])(["doctor", "-c", str(settings.source), "--environment", "qa", "--json"])
    assert ended.value.code == 1
    findings = yaml.safe_load(capsys.readouterr().out)["findings"]
    assert {f["environment"] for f in findings} == {None, "qa"}
    told = {(f["environment"], f["subject"]): f for f in findings}
    assert told["qa", "connection"]["level"] == "error"
    assert told["qa", "promise reachable"]["hint"] == "see EnvironmentDown in the README"
    assert told[None, "daemon"]["level"] == "ok"
    with pytest.raises(SystemExit) as refused:
        build(["doctor"])(["doctor", "-c", str(settings.source), "--environment", "none"])
    assert refused.value.code == 2
    assert os.environ.get("CUSTODE_CONFIG") is None
