"""One trial: plant the trouble, kill a worker at a point, let another one end it, and see what has become of it all."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import asyncpg

from tests.chaos.site import Site, Trouble, run
from tests.integration.actions_kit import CASES, until

KILLED = -int(signal.SIGKILL)
# how often it comes depends on how many sessions the pool still had, after others were used for a while
_SOMETIMES = "commit Work._turn.may_change "
_RUN = """
    select id, state, result, outcome, attempt, deaths, begun_at is not null as begun, asked, owner, ground,
        coalesce(jsonb_array_length(plan -> 'steps'), 0) as planned
    from custode.action_run
"""
_UNFINISHED = "select number, name, error from custode.action_step where finished_at is null or error is not null"
_LEDGER = "select entry, facts from custode.ledger where run_id is not null order by id"
# in the database and those that are restored beside it, and of the run wherever else
_SESSIONS = """
    select count(*) from pg_stat_activity
    where starts_with(datname, $1) and application_name ~ '^(custode|pg_dump)'
        or starts_with(application_name, 'custode/' || $2 || '/')
"""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run of an action; `cancel` is the point at which somebody cancels it."""

    action: str
    approved: bool = False
    cancel: str | None = None

    def __str__(self) -> str:
        said = f"{self.action}, approved" if self.approved else self.action
        return f"{said}, cancelled at {self.cancel}" if self.cancel else said


@dataclass(frozen=True, slots=True)
class Found:
    """What has become of it: how the run ended, how many effects it had, and what should be otherwise."""

    scenario: Scenario
    kills: tuple[str | int, ...]
    result: str
    effects: int
    deaths: int
    points: tuple[str, ...]
    problems: tuple[str, ...]
    log: str

    def __str__(self) -> str:
        where = " then ".join(map(str, self.kills)) or "no point"
        said = "; ".join(self.problems) or "ok"
        counted = f"{self.result}, {self.effects} effect(s), {self.deaths} death(s)"
        return f"{self.scenario} | killed at {where} | {counted} | {said}"


async def attempt(site: Site, scenario: Scenario, kills: Sequence[str | int] = (), effects: int | None = None) -> Found:
    """Kill a worker at each of the points in turn: one after the other, each a new process.

    A number as a point is counted in its own process, which may end before, as it may where a session need not be
    opened. `effects` is how many there must be in
    the end, by default what the case of the action says.
    """
    case = CASES[scenario.action]
    async with site.trouble(scenario.action, approved=scenario.approved) as trouble:
        problems: list[str] = []
        left: list[asyncpg.Record | None] = []  # the run, as each death left it
        cancel = scenario.cancel
        for kill in kills:
            status = await run(replace(trouble.orders, kill=kill, cancel=cancel))
            if status == 0 and (isinstance(kill, int) or kill.startswith(_SOMETIMES)):
                break
            if status != KILLED:
                problems.append(f"the worker was to be killed at {kill}, and ended with {status}")
                break
            left.append(await trouble.state.fetchrow(_RUN))
            if not await case.stands(trouble.ground):
                problems.append(f"{trouble.ground.database} is gone, after the death at {kill}")
            cancel = None if left[-1] is not None and left[-1]["asked"] == "cancel" else scenario.cancel
        if not problems:
            status = await run(replace(trouble.orders, cancel=cancel))
            if status != 0:
                problems.append(f"the last worker ended with {status}")
        expected = case.expected if effects is None else effects
        counted = await _effects(trouble, scenario, expected)
        problems += [problem async for problem in _problems(trouble, scenario, left)]
        if counted != expected and (scenario.cancel is None or effects is not None):
            problems.append(f"{counted} effects instead of {expected}")
        ended = await trouble.state.fetchrow(_RUN)
        result = "no run" if ended is None else str(ended["result"] or ended["state"])
        return Found(
            scenario, tuple(kills), result, counted, len(left), tuple(trouble.trace), tuple(problems), trouble.log
        )


async def _effects(trouble: Trouble, scenario: Scenario, expected: int) -> int:
    """Counted once nobody is left who could have another one."""
    run_id = await trouble.state.fetchval("select coalesce(min(id), 'none') from custode.action_run")

    async def alone() -> bool:
        return not await trouble.admin.fetchval(_SESSIONS, trouble.ground.database, run_id)

    await until(alone, "all sessions of the workers are gone")
    case = CASES[scenario.action]
    for _ in range(50):  # what ended a session tells its client a moment later
        counted = await case.effects(trouble.ground)
        if counted >= expected:
            break
        await asyncio.sleep(0.01)
    return counted


async def _problems(trouble: Trouble, scenario: Scenario, left: Sequence[asyncpg.Record | None]) -> AsyncIterator[str]:
    found = await trouble.state.fetch(_RUN)
    if len(found) != 1:
        yield f"{len(found)} runs instead of one"
        return
    ended = found[0]
    wanted = "cancelled" if scenario.cancel else "fixed"
    if (ended["state"], ended["result"], ended["owner"]) != ("ended", wanted, None):
        yield f"the run is {ended['state']}, {ended['result']}, of {ended['owner']}: {ended['outcome']}"
    if left_over := await CASES[scenario.action].left_overs(replace(trouble.ground, run_id=ended["id"])):
        yield f"{left_over} left over"
    # one that was killed before it had claimed the run changed nothing
    running = {run["attempt"]: run for run in left if run is not None and run["state"] == "running"}.values()
    if ended["deaths"] != len(running):
        yield f"{ended['deaths']} deaths on record instead of {len(running)}"
    ledger = await trouble.state.fetch(_LEDGER)
    told = Counter(row["entry"] for row in ledger)
    if told["taken_over"] != (begun := sum(run["begun"] for run in running)):
        yield f"the ledger tells of {told['taken_over']} takeover(s) instead of {begun}"
    once = {"requested": 1, "plan": 1, "guard": 1, "outcome": 1} | (
        {"asked": 1, "answer": 1} if scenario.approved else {}
    )
    for entry, count in once.items():
        if told[entry] != count:
            yield f"{told[entry]} times {entry} in the ledger"
    if scenario.cancel is None:
        async for problem in _unfinished(trouble, ended, ledger):
            yield problem


async def _unfinished(trouble: Trouble, ended: asyncpg.Record, ledger: Sequence[asyncpg.Record]) -> AsyncIterator[str]:
    """Each step is on record as finished, once."""
    for row in await trouble.state.fetch(_UNFINISHED):
        yield f"step {row['number']} {row['name']} is not finished: {row['error']}"
    steps = await trouble.state.fetchval("select count(*) from custode.action_step")
    if not 0 < steps == ended["planned"]:
        yield f"{steps} of {ended['planned']} steps on record"
    finished = sum(row["entry"] == "step" and '"finished"' in row["facts"] for row in ledger)
    if finished != ended["planned"]:
        yield f"{finished} steps finished in the ledger"
