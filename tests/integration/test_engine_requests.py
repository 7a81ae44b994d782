"""Who asks twice gets one run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from actions import Verdict
from daemon.actions import Result, RunState, Source
from daemon.actions.port import NotAllowedError, NotPossibleError
from daemon.actions.views import LedgerFilter, RunFilter
from daemon.config import OperatorSettings
from fleet.errors import ActionError
from tests.integration.engines import ALERT, MakeDaemon, TestWorld, request
from tests.integration.scripted import Gate, Raises, Scripted, pass_by

NO_WAIT = {"cooldown": timedelta(0), "breaker_not_fixed": 10}


async def test_what_is_under_way_is_not_begun_again(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    action = Scripted(first=gate)
    daemon = await make_daemon(action)
    first = await daemon.people.submit(request())
    assert (first.new, first.note) == (True, "")
    await gate.until_reached()
    again = await daemon.people.submit(request())
    assert (again.new, again.run.id, again.note) == (False, first.run.id, "it was asked for before, and is under way")
    other_key = await daemon.people.submit(request("k2", by="anna"))
    note = f"scripted is under way there already (run {first.run.id})"
    assert (other_key.new, other_key.run.id, other_key.note) == (False, first.run.id, note)
    gate.go.set()
    await daemon.until(first.run)
    assert action.done == ["qa/first", "qa/second"]
    assert len(await daemon.people.runs(RunFilter())) == 1


@pytest.mark.parametrize("source", list(Source))
@pytest.mark.parametrize("verdict", [Verdict(True, "good"), Verdict(False, "bad")])
async def test_what_is_done_is_asked_again_only_by_an_alert_that_it_did_not_help(
    make_daemon: MakeDaemon, source: Source, verdict: Verdict
) -> None:
    daemon = await make_daemon(Scripted(verdict=verdict), **NO_WAIT)
    asked = request(source=source, requested_by="anna")
    first = await daemon.until(await daemon.ask(asked))
    again = await daemon.people.submit(asked)
    if source is not Source.ALERT or verdict.fixed:
        assert (again.new, again.run.id, again.note) == (False, first.id, "it was asked for before, and is done")
        return
    assert (again.new, again.run.key) == (True, "k1#2")
    await daemon.until(again.run)
    third = await daemon.people.submit(asked)
    assert (third.new, third.run.key) == (True, "k1#3")
    await daemon.until(third.run)
    assert await daemon.sql("select 1 from action_run where key = 'k1#4'") == []


async def test_an_alert_that_was_helped_at_last_asks_no_more_whatever_the_clocks_say(make_daemon: MakeDaemon) -> None:
    action = Scripted(first=Raises(ActionError("once"), 1))
    daemon = await make_daemon(action, **NO_WAIT)
    assert (await daemon.until(await daemon.ask(request(at=2000.0)))).result is Result.FAILED
    assert (await daemon.until(await daemon.ask(request(at=1000.0)))).result is Result.FIXED
    again = await daemon.people.submit(request(at=3000.0))
    assert (again.new, again.run.key) == (False, "k1#2")


async def test_keys_that_begin_alike_are_different(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Scripted())
    for key in ("k1_", "k1%", "k1"):
        assert (await daemon.people.submit(request(key))).new
        await daemon.until(next(iter(await daemon.people.runs(RunFilter(limit=1)))))


async def test_two_daemons_that_are_asked_at_once_make_one_run(make_daemon: MakeDaemon) -> None:
    action = Scripted()
    one, two = await make_daemon(action), await make_daemon(action, environments=[])
    asked = [daemon.people.submit(request()) for daemon in (one, two) for _ in range(4)]
    found = await asyncio.gather(*asked)
    assert sum(each.new for each in found) == 1
    (run_id,) = {each.run.id for each in found}
    run = await one.until(run_id)
    assert (run.result, action.done) == (Result.FIXED, ["qa/first", "qa/second"])
    assert (await one.entries(run)).count("requested") == 1


async def test_one_run_an_object_under_whatever_key(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    daemon = await make_daemon(Scripted(first=gate), at_once_environment=2)
    runs = {
        (await daemon.ask(request(key, parameters={"object": name}))).id
        for key, name in (("k1", "a"), ("k2", "b"), ("k3", "a"), ("k4", "b"))
    }
    assert len(runs) == 2
    gate.go.set()
    assert [(await daemon.until(run)).result for run in runs] == [Result.FIXED] * 2
    assert (await daemon.people.submit(request("k3", parameters={"object": "a"}))).new


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"action": "make_coffee"}, "there is no action 'make_coffee'"),
        ({"environment": "moon"}, "there is no environment 'moon'"),
        ({"parameters": {"size": "large"}}, "parameter size: .*integer"),
        ({"parameters": {"sise": 1}}, "parameter sise: "),
    ],
)
async def test_what_makes_no_sense_is_told_at_once(make_daemon: MakeDaemon, fields: dict[str, Any], said: str) -> None:
    daemon = await make_daemon(Scripted())
    with pytest.raises(NotPossibleError, match=said):
        await daemon.people.submit(request(**fields))
    assert await daemon.people.runs(RunFilter()) == []


async def test_who_may_not_ask_is_refused_and_that_is_on_record(make_daemon: MakeDaemon, world: TestWorld) -> None:
    daemon = await make_daemon(Scripted(), operators={"bruno": OperatorSettings(may=("approve",))})
    for person, said in (("bruno", "bruno may not ask for actions"), ("dario", "dario is no operator")):
        with pytest.raises(NotAllowedError, match=said):
            await daemon.people.submit(request(by=person))
        (entry,) = await daemon.people.entries(LedgerFilter(person=person))
        assert (entry.entry, entry.facts["decision"]) == ("requested", "refused")
        assert said in entry.facts["reason"]
    assert world.told() == []


async def test_runs_are_listed_newest_first_and_found_by_the_beginning_of_an_id(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Scripted(), environments=["qa2"])
    ids = [(await daemon.ask(request(f"k{n}", parameters={"object": str(n)}, at=1000.0 + n))).id for n in range(4)]
    ended = await daemon.until(await daemon.ask(request("k9", "qa2", at=900.0)))
    listed = [run.id for run in await daemon.people.runs(RunFilter())]
    assert listed == [*reversed(ids), ended.id]
    for wanted, found in (
        (RunFilter(environment="qa2"), [ended.id]),
        (RunFilter(states=(RunState.ENDED,)), [ended.id]),
        (RunFilter(action="other"), []),
        (RunFilter(limit=2), [ids[3], ids[2]]),
        (RunFilter(before=1002.0), [ids[1], ids[0], ended.id]),
    ):
        assert [run.id for run in await daemon.people.runs(wanted)] == found
    assert (await daemon.people.run(ended.id[:10])).run.id == ended.id


@pytest.mark.parametrize("trouble", ["refused", "no plan"])
async def test_people_hear_once_that_an_alert_asks_in_vain(
    make_daemon: MakeDaemon, world: TestWorld, trouble: str
) -> None:
    world.firing = True
    planning = Raises(ActionError("there is no such table")) if trouble == "no plan" else pass_by
    action = Scripted(planning=planning)
    daemon = await make_daemon(action)
    if trouble == "refused":
        await daemon.people.stop("anna", via="cli")
    asked = request(alert=ALERT)
    for _ in range(3):
        await daemon.until(await daemon.ask(asked))
    first = ["requested", "refused" if trouble == "refused" else "failed"]
    assert world.told() == first * 3, "all are counted"
    assert [event.title for event in world.events if not event.again] == first
    await daemon.people.release("anna", via="cli")
    action.planning, action.first = pass_by, Raises(ActionError("another trouble"))
    ended = await daemon.until(await daemon.ask(asked))
    assert [event.title for event in world.events if not event.again][2:] == ["planned", "begun", "failed"]
    assert ended.result is Result.FAILED
    assert [entry for entry in await daemon.entries(ended) if entry.startswith("outcome")] == ["outcome failed"]
