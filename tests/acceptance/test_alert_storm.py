"""500 alerts within a moment, while Slack asks to wait and one of two Alertmanagers is down."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import asyncpg

from fleet.embedded import EmbeddedServer
from tests.acceptance.fleets import Daemon, environment
from tests.integration.alertmanagers import alertmanagers, free_ports, needs_alertmanager
from tests.slack_fake import APP_TOKEN, TOKEN, FakeSlack

ALERTS, KINDS, SECONDS = 500, 25, 120.0
RULE = """
      - alert: TableFull{kind}
        expr: custode_table_live_tuples{{relname=~"storm_.*_{kind}"}} >= 0
        labels: {{severity: critical}}
        annotations: {{summary: "{{{{ $labels.relname }}}} is full"}}"""
RULES = "groups:\n  - name: storm\n    rules:" + "".join(RULE.format(kind=kind) for kind in range(KINDS))
_LEFT = re.compile(r"of which (\d+) still need attention")


@needs_alertmanager
async def test_a_storm(scratch: Path, server: EmbeddedServer, database: str) -> None:
    slack = FakeSlack()
    await slack.start()
    (dead,) = free_ports(1)
    async with alertmanagers(scratch, 1) as (hook, (alive,)):
        settings = {
            "rules": {"interval": "1s", "shipped": False, "files": ["own.yml"]},
            "alertmanager": {"urls": [f"http://127.0.0.1:{dead}", alive.url], "timeout": "2s"},
            "notifiers": {
                "slack": {"token": "env:S_BOT", "app_token": "env:S_APP", "channel": "#general", "api_url": slack.url}
            },
            "environments": {"qa": environment(server, database)},
        }
        daemon = Daemon(scratch / "storm", settings, {"S_BOT": TOKEN, "S_APP": APP_TOKEN})
        daemon.config.with_name("own.yml").write_text(RULES)
        connection = await asyncpg.connect(server.dsn(database))
        try:
            await asyncio.to_thread(daemon.start)
            # once it has to do with the first alerts, Slack wants it to be slower, again and again
            slack.fail("chat.postMessage", status=429, retry_after=2, times=3)
            slack.fail("chat.update", status=429, retry_after=2, times=3)
            began = time.monotonic()
            await connection.execute(_each("create table storm_{}_{} (id int)"))
            await _until(lambda: len(set(hook.told("firing", "relname"))) == ALERTS)
            print(f"all paged after {time.monotonic() - began:.1f} s")
            await slack.until(lambda: _states(slack) != [], SECONDS)
            await connection.execute(_each("drop table storm_{}_{}"))
            await _until(lambda: len(set(hook.told("resolved", "relname"))) == ALERTS)
            await slack.until(lambda: set(_states(slack)) == {"over"}, SECONDS)
            assert sorted(hook.told("firing", "relname")) == sorted(set(hook.told("firing", "relname"))), "paged once"
            texts = [root["text"] for root in slack.roots()]
            assert len(texts) == len(set(texts)), "a thread a kind of alert"
            assert sum("Many alerts at once" in text for text in texts) == 1
            assert len(texts) < 30
            assert "Traceback" not in daemon.log.read_text()
            pages = daemon.metrics()
            assert pages["custode_notifications_dropped_total", ""] == 0
        finally:
            await connection.close()
            await asyncio.to_thread(daemon.close)
            await slack.stop()


def _each(statement: str) -> str:
    return ";".join(statement.format(number, number % KINDS) for number in range(ALERTS))


def _states(slack: FakeSlack) -> list[str]:
    """Of each first message, whether what it tells of is over."""
    found = []
    for root in slack.roots():
        left = _LEFT.search(root["text"])
        over = left[1] == "0" if left else "resolved" in root["text"]
        found.append("over" if over else json.dumps(root["text"]))
    return found


async def _until(holds: object) -> None:
    assert callable(holds)
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - the hook tells nobody
            await asyncio.sleep(0.1)
