"""`make chaos`: every boundary of every action. Prints action, boundary and outcome; status 1 where one is wrong."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

from fleet.embedded import EmbeddedServer
from tests.chaos.scenarios import Task, tasks
from tests.chaos.site import Site, make_template
from tests.chaos.storm import storm
from tests.chaos.trial import Found, attempt
from tests.conftest import FAST
from tests.integration.actions_kit import CASES

AT_ONCE = 3


async def tried(site: Site, wanted: AsyncIterator[Task], at_once: int) -> AsyncGenerator[Found, None]:
    """The outcomes of tasks, as they come."""
    under_way: set[asyncio.Task[Found]] = set()
    async for task in wanted:
        under_way.add(asyncio.ensure_future(attempt(site, task.scenario, task.kills, task.effects)))
        if len(under_way) >= at_once:
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                yield each.result()
    for late in asyncio.as_completed(under_way):
        yield await late


async def _enumerate(site: Site, actions: Sequence[str], seed: int, at_once: int) -> int:
    """Every task; the number of those that failed."""
    begun, counted, bad = time.monotonic(), Counter[str](), 0
    async with aclosing(tried(site, tasks(site, actions, seed), at_once)) as outcomes:
        async for found in outcomes:
            print(found, flush=True)
            counted[found.scenario.action] += 1
            if found.problems:
                bad += 1
                print(f"--- its log:\n{found.log[-4000:]}\n---")
    for action, number in counted.items():
        print(f"{action}: {number} kills")
    print(f"{counted.total()} trials in {time.monotonic() - begun:.0f} s, seed {seed}, {bad} failed")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--action", action="append", choices=sorted(CASES), help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="of what is left to chance")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="trials at the same time")
    parser.add_argument("--no-trials", dest="action", action="store_const", const=[], help="nothing but the storm")
    parser.add_argument("--storm", type=float, default=60.0, metavar="SECONDS", help="of random kills; 0 for none")
    asked = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="custode-chaos-", dir="/tmp"))
    scratch.chmod(0o755)
    server = EmbeddedServer.start(scratch / "server", settings=FAST)
    print(f"seed {asked.seed}", flush=True)

    async def everything() -> int:
        await make_template(server, "t_template", scratch)
        site = Site(server, scratch, "t_template")
        actions = sorted(CASES) if asked.action is None else asked.action
        bad = await _enumerate(site, actions, asked.seed, asked.at_once)
        if asked.storm:
            told = await storm(site, scratch, asked.seed, asked.storm)
            print(told)
            if told.problems:
                print(told.logs)
            bad += len(told.problems)
        return bad

    try:
        return min(asyncio.run(everything()), 1)
    finally:
        server.stop()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
