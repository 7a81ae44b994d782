"""`custode check` against real servers, and against configurations with every kind of fault."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml
from aiohttp.test_utils import unused_port

from daemon import clock
from daemon.check import Finding, Report, check_connect, check_offline
from daemon.config import Settings, load
from fleet.embedded import EmbeddedServer
from tests.certificates import make_certificate
from tests.integration.debian_server import BIN, DebianServer, debian_server
from tests.integration.sites import WATCHER, Site

SettingsMaker = Callable[..., Settings]


@pytest.fixture
def make_settings(tmp_path: Path) -> SettingsMaker:
    """Settings of a file in `tmp_path`; keywords are its keys."""

    def make(environments: dict[str, dict[str, Any]], **keys: object) -> Settings:
        path = tmp_path / "custode.yml"
        path.write_text(yaml.safe_dump({"data_dir": "data", "environments": environments} | keys))
        return load(path)

    return make


def levels(report: Report, environment: str | None) -> dict[str, str]:
    """The worst level of each subject."""
    found: dict[str, str] = {}
    for finding in sorted(report.findings, key=lambda f: ("ok", "warning", "error").index(f.level)):
        if finding.environment == environment:
            found[finding.subject] = finding.level
    return found


def one(report: Report, subject: str, environment: str | None = None) -> Finding:
    (finding,) = [f for f in report.findings if (f.environment, f.subject) == (environment, subject)]
    return finding


def program(folder: Path, version: str) -> Path:
    folder.mkdir()
    for name in ("pg_dump", "pg_restore"):
        path = folder / name
        path.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        path.chmod(0o755)
    return folder


async def test_offline_all_is_well(make_settings: SettingsMaker, tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: custode_up == 0}]}]")
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "1_first.py").touch()
    (tmp_path / "dsn").write_text("postgresql://u@h/d\n")
    make_certificate(tmp_path)
    tls = {"ca_file": "server.crt", "cert_file": "server.crt", "key_file": "server.key"}
    qa = {"tier": "qa", "dsn": "file:" + str(tmp_path / "dsn"), "tls": tls, "migrations": {"scripts": "versions"}}
    report = await check_offline(make_settings({"qa": qa}, rules={"files": ["*wn.yml"]}, schema_reference="qa"))
    assert {finding.level for finding in report.findings} == {"ok"}
    assert levels(report, "qa").keys() == {"dsn", "tls", "migrations"}
    assert levels(report, None).keys() >= {"pg_dump", "pg_restore", "rules", "data_dir", "stores.local.path"}
    assert report.exit_code == 0
    json.dumps([asdict(finding) for finding in report.findings])


async def test_offline_every_fault_is_found(
    make_settings: SettingsMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    (tmp_path / "file").touch()
    (tmp_path / "bad.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: 'up =='}]}]")
    environments = {
        "qa": {"tier": "qa", "dsn": "env:NOT_THERE", "tls": {"ca_file": "none.pem"}, "migrations": {"scripts": "none"}},
        "production": {"tier": "production", "dsn": "awssm:far/away", "tls": {"mode": "prefer", "key_file": "file"}},
        "other": {"tier": "production", "dsn": "postgresql://u:${file:/none}@h/d"},
        "development": {"tier": "development", "dsn": "postgresql://u:hunter2@h/d"},
    }
    settings = make_settings(
        environments,
        rules={"files": ["bad.yml", "none.yml"]},
        client_tools="tools",
        stores={"local": {"type": "local", "path": "file/backups"}},
    )
    settings.source.chmod(0o644)
    report = await check_offline(settings)
    assert levels(report, None) == {
        "configuration": "warning",
        "access": "ok",
        "data_dir": "ok",
        "schema_reference": "warning",
        "rules": "error",
        "pg_dump": "error",
        "pg_restore": "error",
        "stores.local.path": "error",
    }
    assert levels(report, "qa") == {"dsn": "error", "tls": "error", "migrations": "error"}
    assert levels(report, "production") == {"tls": "error"}
    assert levels(report, "other") == {"dsn": "error"}
    assert levels(report, "development") == {}
    assert "NOT_THERE is not set" in one(report, "dsn", "qa").message
    rules = [finding.message for finding in report.findings if finding.subject == "rules"]
    assert any("none.yml" in message for message in rules)
    assert any("bad.yml:1" in message for message in rules)
    assert report.exit_code == 1
    assert "hunter2" not in repr(report)


async def test_a_watcher_on_every_version_sees_all_it_needs(
    site: Site, make_settings: SettingsMaker, tmp_path: Path
) -> None:
    environment = site.environment()
    qa = {"tier": "qa", "dsn": environment.dsn.raw, "databases": [site.database], "tls": {"mode": "disable"}}
    settings = make_settings({"qa": qa}, client_tools=str(program(tmp_path / "tools", "99.1")))
    report = await check_connect(settings)
    found = levels(report, "qa")
    assert [f for f in report.findings if f.level == "error"] == []
    assert found.items() >= {"server": "ok", "role": "ok", "tls": "ok", "clock": "ok", "pg_dump": "ok"}.items()
    assert f"PostgreSQL {site.major}" in one(report, "server", "qa").message
    assert f"{WATCHER} is a member of pg_monitor" in one(report, "role", "qa").message
    assert "activity" in one(report, "collectors", "qa").message


async def test_what_a_poor_role_lacks(site: Site, make_settings: SettingsMaker) -> None:
    role = f"poor-role-{site.database[-6:]}"
    await site.sql.execute(f'create role "{role}" login')
    try:
        dsn = site.server.dsn(site.database, role)
        qa = {
            "tier": "qa",
            "dsn": dsn,
            "databases": [site.database],
            "tls": {"mode": "disable"},
        }
        report = await check_connect(make_settings({"qa": qa}))
    finally:
        await site.sql.execute(f'drop owned by "{role}"')
        await site.sql.execute(f'drop role "{role}"')
    finding = one(report, "role", "qa")
    assert finding.level == "warning"
    assert finding.hint == f'grant pg_monitor to "{role}"'
    lacking = [f for f in report.findings if f.subject == "collector activity"]
    assert [f.level for f in lacking] == ["warning"]
    assert "sessions of other roles" in lacking[0].message


async def test_one_bad_environment_hides_no_other(
    server: EmbeddedServer, database: str, make_settings: SettingsMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    (tmp_path / "dsn").write_text("postgresql://u:hunter2/x@h/d")
    (tmp_path / "no-dsn").write_text("hunter2:x")
    dsns = {
        "good": server.dsn(database),
        "unreachable": f"postgresql://u@127.0.0.1:{unused_port()}/d",
        "unknown-host": "postgresql://u@no-such-host.invalid/d",
        "no-role": server.dsn(database, "nobody_here"),
        "no-database": server.dsn("no_such_database"),
        "no-secret": "env:NOT_THERE",
        "bad-url": f"file:{tmp_path}/dsn",
        "no-url": f"file:{tmp_path}/no-dsn",
    }
    tls = {"mode": "disable"}
    environments = {n: {"tier": "qa", "dsn": dsn, "tls": tls, "databases": [database]} for n, dsn in dsns.items()}
    report = await check_connect(make_settings(environments))
    messages = {f.environment: f.message for f in report.findings if f.subject == "connection"}
    assert "good" not in messages
    assert levels(report, "good")["server"] == "ok"
    assert "Connect call failed" in messages.pop("unreachable")
    assert "nobody_here" in messages.pop("no-role")
    assert "no_such_database" in messages.pop("no-database")
    assert "NOT_THERE is not set" in messages.pop("no-secret")
    assert "the database URL cannot be used" in messages.pop("bad-url")
    assert "the database URL cannot be used" in messages.pop("no-url")
    assert messages.keys() == {"unknown-host"}
    assert report.exit_code == 1
    assert "hunter2" not in repr(report)


@pytest.mark.peer
async def test_a_wrong_password_and_a_server_without_tls(make_settings: SettingsMaker, scratch: Path) -> None:
    if not (BIN / "initdb").exists():
        pytest.skip("Debian's postgresql-15 is not installed")
    with debian_server(scratch / "passwords") as strict:
        admin = await asyncpg.connect(strict.dsn())
        await admin.execute("create role locked login password 'right'")
        (strict.directory / "data" / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        await admin.execute("select pg_reload_conf()")
        await admin.close()
        dsn = f"postgresql://locked:wrong@127.0.0.1:{strict.port}/postgres"
        production = {"tier": "production", "dsn": f"postgresql://u@127.0.0.1:{strict.port}/postgres"}
        environments = {"dev": {"tier": "development", "dsn": dsn}, "production": production}
        report = await check_connect(make_settings(environments))
    assert "rejected SSL upgrade" in one(report, "connection", "production").message
    finding = one(report, "connection", "dev")
    assert "password authentication failed" in finding.message
    assert finding.hint == "are user, password and pg_hba.conf right?"


async def test_a_missing_database_and_a_missing_extension(
    server: EmbeddedServer, sql: asyncpg.Connection, database: str, make_settings: SettingsMaker
) -> None:
    await sql.execute("drop extension vector")
    qa = {"tier": "qa", "dsn": server.dsn(database), "databases": [database, "gone"], "tls": {"mode": "disable"}}
    report = await check_connect(make_settings({"qa": qa}))
    assert one(report, f"database {database}", "qa").hint == "create extension vector"
    assert one(report, "database gone", "qa").level == "error"
    assert [f for f in report.findings if f.level == "error" and "gone" not in f.subject + f.message] == []


async def test_clock_and_tools_that_do_not_fit(
    server: EmbeddedServer, database: str, make_settings: SettingsMaker, tmp_path: Path
) -> None:
    qa = {"tier": "qa", "dsn": server.dsn(database), "databases": [database], "tls": {"mode": "disable"}}
    settings = make_settings({"qa": qa}, client_tools=str(program(tmp_path / "tools", "13.22")))
    report = await check_connect(settings, now=lambda: clock.now() + 90)
    assert one(report, "clock", "qa").level == "warning"
    assert "90.0 s apart" in one(report, "clock", "qa").message
    assert one(report, "pg_dump", "qa").message == "13 cannot read PostgreSQL 18"
    assert one(report, "pg_dump", "qa").hint == "install postgresql-client-18, or set client_tools"


@pytest.fixture(scope="module")
def tls_server(scratch: Path) -> Iterator[DebianServer]:
    if not (BIN / "initdb").exists():
        pytest.skip("Debian's postgresql-15 is not installed")
    directory = scratch / "check-tls"
    directory.mkdir()
    make_certificate(directory)
    files = {"ssl_cert_file": str(directory / "server.crt"), "ssl_key_file": str(directory / "server.key")}
    with debian_server(directory, settings={"ssl": "on"} | files) as server:
        yield server


@pytest.mark.peer
async def test_tls_as_promised(
    tls_server: DebianServer, server: EmbeddedServer, database: str, make_settings: SettingsMaker
) -> None:
    dsn = tls_server.dsn()
    certificate = str(tls_server.directory / "server.crt")
    environments = {
        "by-tier": {"tier": "production", "dsn": dsn},
        "by-url": {"tier": "qa", "dsn": dsn + "?sslmode=require"},
        "verified": {"tier": "qa", "dsn": dsn, "tls": {"mode": "verify-ca", "ca_file": certificate}},
        "unverified": {"tier": "qa", "dsn": dsn, "tls": {"mode": "verify-ca"}},
        "loopback": {"tier": "qa", "dsn": dsn, "tls": {"mode": "disable"}},
        "socket": {"tier": "production", "dsn": server.dsn(database)},
    }
    report = await check_connect(make_settings(environments))
    for name in ("by-tier", "by-url", "verified"):
        assert one(report, "tls", name).message.startswith("TLSv1.3, ")
    for name in ("loopback", "socket"):
        assert "does not leave this machine" in one(report, "tls", name).message
    assert "certificate verify failed" in one(report, "connection", "unverified").message
