"""The page and the API of the configuration: everything is shown, and no secret."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from daemon.config import parse
from daemon.telemetry import Reload, Telemetry
from tests.integration.engines import MakeDaemon
from tests.integration.page_site import PageSite, page_site

PLAIN = "hunter2-plain"
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="  # 32 bytes
PLANTED = f"""
state: {{url: "postgresql://custode:${{env:STATE_PASSWORD}}@db/state?sslmode=require"}}
environments:
  qa:
    tier: qa
    dsn: postgresql://watcher:${{env:QA_PASSWORD}}@db.example/app
    labels: {{team: "<b>search</b>"}}
stores:
  away:
    type: s3
    bucket: backups
    access_key_id: {PLAIN}-id
    secret_access_key: {PLAIN}-secret
    session_token: {PLAIN}-session
    encryption_key: {KEY}
notifiers:
  webhook: {{url: "https://user:{PLAIN}-url@hook.example/{PLAIN}-path", secret: {PLAIN}-hook, token: {PLAIN}-token}}
  email: {{host: mail, user: custode, password: {PLAIN}-mail, sender: a@b.example, to: [c@d.example]}}
heartbeat: {{url: "https://ping.example/{PLAIN}-ping"}}
alertmanager: {{urls: ["http://am:9093"], token: env:AM_TOKEN}}
operators:
  anna: {{token: env:ANNA}}
"""


@pytest.fixture
async def site(make_daemon: MakeDaemon, tmp_path: Path) -> AsyncIterator[PageSite]:
    async with page_site(await make_daemon(), tmp_path) as site:
        yield site


async def test_it_is_shown_by_section_and_by_environment(site: PageSite) -> None:
    page = await site.get("/configuration", None)
    assert page.status == 200
    assert str(site.settings[0].source) in page.text
    assert "✓ taken over" in page.text
    assert "reindex" in page.text
    one = await site.get("/configuration?environment=prod", None)
    assert "policy.backup.interval" in one.text
    assert "There is no such environment." in (await site.get("/configuration?environment=no", None)).text
    async with site.session.get("/configuration/raw") as answer:
        assert answer.content_type == "text/plain"
        raw = yaml.safe_load(await answer.text())
    assert raw["environments"]["prod"]["tier"] == "production"
    async with site.session.get("/api/v1/configuration") as answer:
        data = (await answer.json())["data"]
    assert data["configuration"] == json.loads(json.dumps(raw))
    assert data["versions"].keys() >= {"custode", "python", "pgvector", "asyncpg"}
    assert "reindex" in data["plugins"]["actions"]


async def test_a_reload_that_failed_is_told(site: PageSite) -> None:
    site.reload.append(Reload(1_800_000_000.0, "custode.yml cannot be used: <i>", 1_800_000_060.0))
    page = await site.get("/configuration", None)
    assert "✗ failed" in page.text
    assert "custode.yml cannot be used: <i>" in page.text


def test_the_last_reload_is_kept_with_what_was_wrong() -> None:
    telemetry = Telemetry()
    telemetry.note_reload(10.0)
    telemetry.note_reload(20.0, "broken")
    assert telemetry.reload == Reload(10.0, "broken", 20.0)
    assert b"custode_config_last_reload_successful 0.0" in telemetry.render(openmetrics=False)
    telemetry.note_reload(30.0)
    assert telemetry.reload == Reload(30.0)
    assert b"custode_config_last_reload_success_timestamp_seconds 30.0" in telemetry.render(openmetrics=False)


async def test_no_secret_is_shown_anywhere(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = await make_daemon()
    planted = [text.raw for _, text in parse(PLANTED, tmp_path / "custode.yml").secrets()]
    assert sum(PLAIN in raw for raw in planted) == PLANTED.count(PLAIN) - 1  # two stand in one address
    async with page_site(daemon, tmp_path, PLANTED) as site:
        for path in ("/configuration", "/configuration?environment=qa", "/configuration/raw", "/api/v1/configuration"):
            async with site.session.get(path) as answer:
                assert answer.status == 200, path
                text = await answer.text()
            assert PLAIN not in text, path
            assert KEY not in text, path
            if "environment" not in path:
                assert "env:ANNA" in text
        page = await site.get("/configuration?environment=qa", None)
        assert "<b>search</b>" in page.text
        assert page.tags.count("b") == 0
