"""What the README says of adding a collector, a rule, an action and a notifier: its own examples, at work."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg
import pytest
from aiohttp import web

import actions
import collectors
import daemon.notifiers
from collectors import Collector
from daemon.actions import Result
from daemon.config import load
from daemon.dispatch import request_for
from daemon.notifiers import Message, Notifier, Permanent, Retryable, Severity
from daemon.parts import make_actions, make_notifiers
from fleet.plugins import load_plugins
from fleet.policy import TIER_DEFAULTS, Tier
from fleet.secrets import Secrets
from rules import AlertView, Dialect, Labels, RuleEngine, SampleStore, load_files
from rules.unittests import run_file
from tests.conftest import EnvironmentMaker
from tests.integration.engines import MakeDaemon, TestWorld, request
from tests.scraping import scraping

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
HAS, OFFERED = "1.5", "1.6"  # pg_trgm of an older release, and of the server's
VERSION = "select extversion from pg_extension where extname = 'pg_trgm'"
MESSAGE = Message("m1", "alert", Severity.CRITICAL, "Città: no backup", 1_800_000_000.0, "qa", "for three hours")


def example(title: str, number: int = 0) -> str:
    """A code block of the section of that title."""
    if not README.exists():
        pytest.skip("the README is not part of an installed wheel")
    text = README.read_text(encoding="utf-8").partition("\n## Extending\n")[2].partition("\n## ")[0]
    section = text.partition(f"\n### {title}\n")[2].partition("\n### ")[0]
    blocks: list[str] = re.findall(r"^```(?:python|yaml)\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return blocks[number]


Adding = Callable[[ModuleType, str, str], None]


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Adding]:
    """Put an example into the folder of its package, as far as the loader can tell."""
    before = set(sys.modules)

    def adding(package: ModuleType, name: str, title: str) -> None:
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(example(title), encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        importlib.invalidate_caches()

    yield adding
    for name in set(sys.modules) - before:
        owner, _, module = name.rpartition(".")
        if module in {"extensions", "update_extension", "ntfy"}:
            del sys.modules[name]
            if hasattr(sys.modules[owner], module):
                delattr(sys.modules[owner], module)


@pytest.fixture
async def outdated(sql: asyncpg.Connection) -> None:
    await sql.execute(f"create extension pg_trgm version '{HAS}'")


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    path = tmp_path / "extensions.yml"
    path.write_text(example("A rule"), encoding="utf-8")
    return path


@pytest.mark.usefixtures("outdated")
async def test_the_collector_shows_on_the_metrics_page(
    add: Adding, make_environment: EnvironmentMaker, database: str
) -> None:
    add(collectors, "extensions", "A collector")
    kind = load_plugins(collectors, Collector)["extensions"]
    async with scraping(make_environment(), collectors=(kind,)) as running:
        [batch] = await running.scraper.scrape_now("qa")
        where = {"environment": "qa", "tier": "qa", "datname": database}
        assert batch.success
        for extension, value in (("pg_trgm", "1"), ("unaccent", "0"), ("vector", "0")):
            assert running.value("custode_extension_outdated", extension=extension, **where) == value


def firing(rule_file: Path, datname: str) -> AlertView:
    """The alert that the rule makes of a series, two minutes later."""
    store = SampleStore()
    engine = RuleEngine(store, load_files([rule_file], dialect=Dialect()))
    facts = {"environment": "qa", "datname": datname, "extension": "pg_trgm"}
    series = Labels({"__name__": "custode_extension_outdated", **facts})
    for moment in (0.0, 60.0, 120.0):
        store.land("test", moment, [(series, 1.0)])
        engine.evaluate_all(moment)
    (alert,) = engine.alerts()
    return alert


def test_the_rule_passes_its_test_and_the_commands(rule_file: Path) -> None:
    tests = rule_file.with_name("extensions_test.yml")
    tests.write_text(example("A rule", 1), encoding="utf-8")
    outcome = run_file(tests, Dialect())
    assert (outcome.problems, outcome.failures) == ((), ())
    for command, file in (("check", rule_file), ("test", tests)):
        custode = [str(Path(sys.executable).with_name("custode")), "rules", command, file.name]
        done = subprocess.run(custode, cwd=rule_file.parent, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    tests.write_text(example("A rule", 1).replace("0 1 1 1", "0 0 1 1"), encoding="utf-8")
    assert run_file(tests, Dialect()).failures


class Watched(TestWorld):
    """The alert fires for as long as the extension is old, as is seen when the world is read again."""

    __test__ = False
    sql: asyncpg.Connection

    async def reread(self, environment: str, subjects: Sequence[str]) -> None:
        await super().reread(environment, subjects)
        self.firing = await self.sql.fetchval(VERSION) == HAS


@pytest.fixture
async def watched(
    outdated: None, sql: asyncpg.Connection, make_environment: EnvironmentMaker
) -> AsyncIterator[Watched]:
    del outdated
    policy = TIER_DEFAULTS[Tier.QA].model_copy(update={"window": None})
    world = Watched({"qa": make_environment(policy=policy)}, firing=True)
    world.sql = sql
    yield world
    await world.close()


async def test_the_alert_asks_for_the_action_which_helps(
    add: Adding, make_daemon: MakeDaemon, watched: Watched, rule_file: Path, database: str
) -> None:
    add(actions, "update_extension", "An action")
    known = make_actions()
    daemon = await make_daemon(known["update_extension"], around=watched)

    asked = request_for(firing(rule_file, database), time.time(), known)
    assert (asked.action, asked.parameters) == ("update_extension", {"datname": database, "extension": "pg_trgm"})
    preview = await daemon.people.preview(asked)
    assert (preview.decision, preview.reason) == ("allowed", "nothing speaks against it")
    assert preview.plan is not None
    assert preview.plan.summary == f"update pg_trgm from {HAS} to {OFFERED}"
    assert preview.plan.commands == (f"ALTER EXTENSION pg_trgm UPDATE TO '{OFFERED}'",)
    assert await watched.sql.fetchval(VERSION) == HAS

    run = await daemon.until(await daemon.ask(asked))
    assert (run.result, run.outcome) == (Result.FIXED, f"pg_trgm is at {OFFERED}, the server has {OFFERED}")
    assert await watched.sql.fetchval(VERSION) == OFFERED
    assert watched.read == [("qa", ("extensions",))]

    again = {"datname": database, "extension": "pg_trgm"}
    run = await daemon.until(await daemon.ask(request("k2", action="update_extension", parameters=again)))
    assert run.outcome == f"nothing had to be done: pg_trgm is at {OFFERED} already"
    missing = again | {"extension": "none"}
    run = await daemon.until(await daemon.ask(request("k3", action="update_extension", parameters=missing)))
    assert (run.result, run.outcome) == (Result.FAILED, f"{database} has no extension 'none'")


@pytest.fixture
async def ntfy() -> AsyncIterator[tuple[str, list[dict[str, Any]], list[int]]]:
    """A server's address, what it hears, and the statuses that it answers with."""
    heard: list[dict[str, Any]] = []
    answers: list[int] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response(status=answers.pop(0) if answers else 200)

    application = web.Application()
    application.router.add_post("/", hear)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", heard, answers
    await runner.cleanup()


@pytest.fixture
def notifier(
    add: Adding, ntfy: tuple[str, list[dict[str, Any]], list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Notifier:
    """The example, as a daemon makes it of its configuration."""
    add(daemon.notifiers, "ntfy", "A notifier")
    monkeypatch.setenv("NTFY_TOPIC", "hunter2")
    (tmp_path / "custode.yml").write_text(
        f"data_dir: {tmp_path}\nenvironments: {{dev: {{tier: development, dsn: 'postgresql:///app'}}}}\n"
        f"notifiers: {{ntfy: {{url: '{ntfy[0]}', topic: env:NTFY_TOPIC}}}}\n"
    )
    return make_notifiers(load(tmp_path / "custode.yml"), Secrets(time.monotonic))["ntfy"]


async def test_the_notifier_pushes_a_message(
    notifier: Notifier, ntfy: tuple[str, list[dict[str, Any]], list[int]]
) -> None:
    assert (await notifier.send(MESSAGE)).reference == "200"
    assert ntfy[1] == [{"topic": "hunter2", "title": MESSAGE.title, "message": MESSAGE.text, "priority": 5}]


@pytest.mark.parametrize(("status", "error"), [(429, Retryable), (503, Retryable), (403, Permanent)])
async def test_the_notifier_says_whether_trying_again_can_help(
    notifier: Notifier, ntfy: tuple[str, list[dict[str, Any]], list[int]], status: int, error: type[Exception]
) -> None:
    ntfy[2].append(status)
    with pytest.raises(error, match=str(status)) as raised:
        await notifier.send(MESSAGE)
    assert "hunter2" not in str(raised.value)


async def test_the_notifier_waits_for_a_server_that_is_away(notifier: Notifier, unused_tcp_port: int) -> None:
    away = notifier.Options.model_validate({"url": f"http://127.0.0.1:{unused_tcp_port}", "topic": "env:NTFY_TOPIC"})
    with pytest.raises(Retryable, match="does not answer"):
        await type(notifier)(away, Secrets(time.monotonic)).send(MESSAGE)
