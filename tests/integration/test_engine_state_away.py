"""The state database goes away in the middle of everything, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from actions import Job, Plan, Verdict
from daemon.actions import Result
from daemon.actions.ledger import SPOOL
from daemon.actions.port import NotAllowedError
from daemon.actions.views import LedgerFilter
from fleet.errors import ActionError, StateAwayError
from tests.integration.engines import Daemon, MakeDaemon, Outage, TestWorld, request, until
from tests.integration.scripted import SOON, Gate, Raises, Scripted, Size


def tries(logs: Sequence[Mapping[str, Any]]) -> int:
    """In vain, of turns that waited and went on."""
    return sum(each["tries"] for each in logs if each["event"] == "turn_goes_on")


async def noticed(daemon: Daemon) -> None:
    await until(lambda: daemon.state.away is not None)


async def test_what_is_asked_meanwhile_is_refused_and_on_record_afterwards(
    make_daemon: MakeDaemon, outage: Outage
) -> None:
    daemon = await make_daemon(Scripted())
    spool = daemon.engine.means.ledger.data_dir / SPOOL
    async with outage():
        await noticed(daemon)
        for key in ("k1", "k2"):
            with pytest.raises(StateAwayError):
                await daemon.people.submit(request(key))
        with pytest.raises(NotAllowedError):
            await daemon.people.submit(request(by="dario"))
        assert len(spool.read_text().splitlines()) == 3
        assert spool.stat().st_mode & 0o777 == 0o600
    await asyncio.wait_for(daemon.state.returned(), SOON)
    await daemon.engine.sweep()
    await daemon.engine.sweep()
    assert not spool.exists()
    entries = await daemon.people.entries(LedgerFilter())
    assert [(each.entry, each.facts["decision"], each.facts.get("key"), each.person) for each in entries] == [
        ("requested", "refused", None, "dario"),
        ("guard", "refused", "k2", None),
        ("guard", "refused", "k1", None),
    ]
    assert entries[1].facts["ground"] == "state_away"
    assert entries[1].facts["reason"]
    run = await daemon.until(await daemon.ask(request("k1")))
    assert run.result is Result.FIXED


async def test_a_step_goes_on_and_is_on_record_once_when_it_returns(
    make_daemon: MakeDaemon, world: TestWorld, outage: Outage
) -> None:
    gate, after = Gate(), Gate()
    action = Scripted(first=gate, second=after)
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await gate.until_reached()
    with capture_logs() as logs:
        async with outage():
            await noticed(daemon)
            gate.go.set()
            await until(lambda: action.done == ["qa/first"])
            await asyncio.sleep(0.3)
            assert not after.reached.is_set(), "the next step does not begin before this one is on record"
        after.go.set()
        run = await daemon.until_after(run)
    assert (run.result, run.attempt, run.deaths) == (Result.FIXED, 1, 0)
    assert action.done == ["qa/first", "qa/second"]
    assert (await daemon.entries(run)).count("step first finished") == 1
    assert world.told().count("first done") == 1
    assert 0 < tries(logs) < 10, "it waits, and does not spin"


class SlowToVerify(Scripted):
    gate: Gate

    async def verify(self, job: Job, _parameters: Size, _plan: Plan) -> Verdict:
        await self.gate(job)
        return Verdict(True, "it is done")


@pytest.mark.parametrize("where", ["planning", "verify", "undo"])
async def test_every_stage_waits_for_it(make_daemon: MakeDaemon, outage: Outage, where: str) -> None:
    gate = Gate()
    if where == "planning":
        action = Scripted(planning=gate)
    elif where == "undo":
        action = Scripted(first=Raises(ActionError("no")), undoing=gate)
    else:
        action = SlowToVerify()
        action.gate = gate
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await gate.until_reached()
    async with outage():
        await noticed(daemon)
        gate.go.set()
    run = await daemon.until_after(run)
    assert run.attempt == 1
    assert run.result is (Result.FAILED if where == "undo" else Result.FIXED)
    assert (await daemon.entries(run)).count(f"outcome {run.result}") == 1


async def test_two_daemons_go_on_where_they_were(make_daemon: MakeDaemon, outage: Outage) -> None:
    gate = Gate()
    action = Scripted(first=gate)
    one = await make_daemon(action, environments=["qa"])
    two = await make_daemon(action, environments=["qa2"])
    runs = [await one.ask(request(name, name)) for name in ("qa", "qa2")]
    await until(lambda: len(one.engine.running()) + len(two.engine.running()) == 2)
    await gate.until_reached()
    async with outage():
        await noticed(one)
        await noticed(two)
        gate.go.set()
    ended = [await one.until_after(run) for run in runs]
    assert [(run.result, run.attempt) for run in ended] == [(Result.FIXED, 1)] * 2
    assert sorted(action.done) == ["qa/first", "qa/second", "qa2/first", "qa2/second"]


async def test_work_is_taken_again_soon_after(make_daemon: MakeDaemon, outage: Outage) -> None:
    daemon = await make_daemon(Scripted())
    await daemon.until(await daemon.ask(request("before")))
    async with outage():
        await noticed(daemon)
    await asyncio.wait_for(daemon.state.returned(), SOON)
    assert (await daemon.until(await daemon.ask(request()))).result is Result.FIXED


async def test_no_room_for_connections_is_waited_out_without_spinning(make_daemon: MakeDaemon, outage: Outage) -> None:
    """New sessions are refused while the one that watches still answers."""
    gate = Gate()
    action = Scripted(first=gate)
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await gate.until_reached()
    with capture_logs() as logs:
        async with outage(spare=True):
            gate.go.set()
            await until(lambda: action.done == ["qa/first"])
            await asyncio.sleep(0.5)
        assert (await daemon.until_after(run)).result is Result.FIXED
    assert 0 < tries(logs) < 20
