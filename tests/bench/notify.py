"""From a threshold crossed to people told, from a click to work: `python -m tests.bench.notify` (make bench-notify).

The daemon as it is guards the demonstration's four servers, pages a real Alertmanager and tells a Slack of our own.
Sessions left in a failed transaction are the trouble, made and unmade on one server:

- `crossings` of them, after each of which the collector that sees it is asked to run: `page_*` from the statement to
  Alertmanager having accepted the page, `slack_*` to the request to Slack having arrived. Target: p99 below a second.
- one with nobody asked on each of the other servers (an Alertmanager that has told of a group is silent about it for
  five minutes), beside a real Prometheus that scrapes the same daemon and evaluates the same rule
  at its defaults (15 s, 15 s) for an Alertmanager at its defaults (group_wait 30 s): `ours_*` and `theirs_*` are
  seconds from the statement to the page accepted (`page`) and to people told (`told`: ours in Slack, theirs by the
  receiver). `ratio` is told by told, of medians.
- `clicks` on Approve: `click_*` from the click to the action running. Target: p99 below half a second.

The last line is one JSON object. Slack, Alertmanager's receiver and the daemon share one process and its loop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import yaml

from daemon.actions import ActionEvent
from daemon.actions.events import Happened
from daemon.actions.request import Request, Source
from daemon.app import Custode
from daemon.config import Settings, load
from daemon.demo.configuration import write_configuration
from daemon.demo.fleet import DemoFleet, temporary_directory
from daemon.demo.history import make_history
from daemon.demo.sites import SITES
from daemon.parts import make_stores
from fleet.secrets import Secrets
from tests.bench.crossing import COLLECTOR, ENVIRONMENT, ROWS, SETTLE_SECONDS, summary
from tests.bench.machine import machine
from tests.bench.notify_peers import Peers, TimedSlack
from tests.slack_fake import APP_TOKEN, TOKEN

MISSED_SECONDS = 10.0
ROUND_SECONDS = 120.0  # that a round may take: 15 + 15 + 30 s, and the way back
RULE = 'custode_sessions{state="idle in transaction (aborted)"} > 0'
OURS, THEIRS = "BenchFailedTransaction", "BenchFailedTransactionTheirs"
WORK = "backup"  # it always has something to do
PERSON, ASKER, SLACK_USER = "anna", "bench", "U0ANNA"


class Told(Custode):
    """The daemon, and when runs began."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.begun: dict[str, float] = {}
        self.changed = asyncio.Event()

    def _on_action(self, event: ActionEvent) -> None:
        if event.kind is Happened.BEGUN:
            self.begun[event.run.id] = time.perf_counter()
            self.changed.set()
        super()._on_action(event)

    async def look(self) -> None:
        """As NOTIFY custode or the interval makes it."""
        await self._scraper.scrape_now(ENVIRONMENT, [COLLECTOR])

    async def ask(self) -> str:
        """For an action that waits for an approval; its run."""
        assert self._acting is not None
        asked = Request(
            environment=ENVIRONMENT,
            action=WORK,
            key=f"person:{uuid.uuid4().hex}",
            requested_by=ASKER,
            at=time.time(),
            source=Source.PERSON,
            reason="the bench wants it",
            parameters={},
        )
        return (await self._acting.people.submit(asked)).run.id

    async def until_begun(self, run_id: str) -> float:
        async with asyncio.timeout(MISSED_SECONDS):
            while run_id not in self.begun:
                self.changed.clear()
                await self.changed.wait()
        return self.begun[run_id]


class Trouble:
    """A session on the server that is watched, left in a failed transaction or not."""

    def __init__(self, session: asyncpg.Connection) -> None:
        self._session = session

    async def make(self) -> float:
        """When the statement was sent."""
        began = time.perf_counter()
        with suppress(asyncpg.DivisionByZeroError):
            await self._session.execute("begin; select 1 / 0")
        return began

    async def end(self) -> None:
        await self._session.execute("rollback")


async def cross(daemon: Told, peers: Peers, trouble: Trouble, crossings: int) -> dict[str, Any]:
    pages, messages, missed = [], [], 0
    for number in range(crossings):
        seen = peers.seen(OURS)
        began = await trouble.make()
        await daemon.look()
        try:
            async with asyncio.timeout(MISSED_SECONDS):
                pages.append(await seen.page("firing") - began)
                messages.append(await seen.message() - began)
        except TimeoutError:
            missed += 1
            print(f"crossing {number} missed, paged: {len(pages) > number}", file=sys.stderr, flush=True)
            for told in (pages, messages):  # it counts, with the least that it took
                told.extend([MISSED_SECONDS] * (number + 1 - len(told)))
        await trouble.end()
        await daemon.look()
        with suppress(TimeoutError):
            async with asyncio.timeout(MISSED_SECONDS):
                await seen.page("resolved")
        if number % 20 == 0:
            print(f"{number} crossings", file=sys.stderr, flush=True)
        # Slack takes about a message a second in a channel: what waits for that is not what is measured
        await peers.until_quiet(1.5 + 0.03 * (number % 11))
    return {"missed": missed} | summary("page", pages) | summary("slack", messages)


async def beside(peers: Peers, fleet: DemoFleet) -> dict[str, Any]:
    found: dict[str, list[float]] = {name: [] for name in ("ours_page", "ours_told", "theirs_page", "theirs_told")}
    for number, environment in enumerate(sorted({site.name for site in SITES} - {ENVIRONMENT})):
        trouble = Trouble(await asyncpg.connect(fleet.dsn(environment)))
        ours, theirs = peers.seen(OURS), peers.seen(THEIRS)
        began = await trouble.make()
        async with asyncio.timeout(ROUND_SECONDS):
            found["ours_page"].append(await ours.page("firing") - began)
            found["ours_told"].append(await ours.message() - began)
            found["theirs_page"].append(await theirs.page("firing") - began)
            found["theirs_told"].append(await theirs.received() - began)
            await trouble.end()
            await theirs.page("resolved")
            await ours.page("resolved")
        print(f"beside in {environment}", file=sys.stderr, flush=True)
        await asyncio.sleep(3.7 * (number % 4))  # not in step with their intervals
    medians = {f"{name}_s": round(statistics.median(values), 3) for name, values in found.items()}
    return medians | {"ratio": round(medians["theirs_told_s"] / medians["ours_told_s"], 1)}


async def click(daemon: Told, slack: TimedSlack, peers: Peers, clicks: int) -> dict[str, Any]:
    found: list[float] = []
    for _ in range(clicks):
        print(f"click {len(found) + 1}", file=sys.stderr, flush=True)
        run_id = await daemon.ask()

        def asking(run_id: str = run_id) -> Mapping[str, Any] | None:
            waiting = [one for one in slack.roots() if run_id in str(one) and "approve" in slack.buttons(one)]
            return waiting[-1] if waiting else None

        await slack.until(lambda asking=asking: asking() is not None, MISSED_SECONDS)
        message = asking()
        assert message is not None
        payload = slack.payload(message, "approve", SLACK_USER)
        began = time.perf_counter()
        await slack.send(payload)
        found.append(await daemon.until_begun(run_id) - began)
        await peers.until_quiet(1.5)
    return summary("click", found)


async def configure(fleet: DemoFleet, slack: TimedSlack, peers: Peers) -> Settings:
    config = await write_configuration(fleet, None)
    rules = fleet.directory / "bench.yml"
    said = {"summary": f"{OURS} is there"}
    rule = {"alert": OURS, "expr": RULE, "labels": {"severity": "critical"}, "annotations": said}
    rules.write_text(yaml.safe_dump({"groups": [{"name": "bench", "rules": [rule]}]}), encoding="utf-8")
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content["rules"]["files"] = [str(rules)]
    content["alertmanager"] = {"urls": [peers.pages_url]}
    content["operators"] = {PERSON: {"slack": [SLACK_USER]}, ASKER: {}}
    content["notifiers"] = {
        "slack": {
            "token": "env:B_BOT",
            "app_token": "env:B_APP",
            "channel": "#general",
            "api_url": slack.url,
            "storm": 1000,
        }
    }
    content["environments"][ENVIRONMENT]["policy"]["consent"]["actions"][WORK] = "one_approval"
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load(config)


@asynccontextmanager
async def fake_slack() -> AsyncIterator[TimedSlack]:
    slack = TimedSlack()
    await slack.start()
    os.environ |= {"B_BOT": TOKEN, "B_APP": APP_TOKEN}
    try:
        yield slack
    finally:
        await slack.stop()


async def measure(directory: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    fleet = await DemoFleet.start(directory, ROWS, lambda _name, _done, _total: None)
    try:
        async with AsyncExitStack() as stack:
            slack = await stack.enter_async_context(fake_slack())
            peers = await stack.enter_async_context(Peers.start(directory / "peers", slack))
            settings = await configure(fleet, slack, peers)
            await make_history(settings, next(iter(make_stores(settings, Secrets(time.monotonic)).values())))
            daemon, ready = Told(settings), asyncio.Event()
            group = await stack.enter_async_context(asyncio.TaskGroup())
            running = group.create_task(daemon.run(lambda _: ready.set()))
            await ready.wait()
            await peers.watch(str(settings.listen), RULE, THEIRS)
            await peers.until_quiet(SETTLE_SECONDS)
            trouble = Trouble(await asyncpg.connect(fleet.dsn(ENVIRONMENT)))
            found = await cross(daemon, peers, trouble, arguments.crossings)
            print(json.dumps(found), file=sys.stderr, flush=True)  # a part that is too slow costs the others nothing
            found |= await click(daemon, slack, peers, arguments.clicks)
            print(json.dumps(found), file=sys.stderr, flush=True)
            found |= await beside(peers, fleet)
            running.cancel()
    finally:
        await fleet.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crossings", type=int, default=60)
    parser.add_argument("--clicks", type=int, default=40)
    arguments = parser.parse_args()
    directory = temporary_directory()
    try:
        found = asyncio.run(measure(directory, arguments))
    finally:
        shutil.rmtree(directory)
    print(json.dumps(vars(arguments) | found | {"machine": machine()}))


if __name__ == "__main__":
    main()
