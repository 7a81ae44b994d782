"""The guard at work in the engine: what is refused, what waits and who wakes it, what is stopped."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, ClassVar

import pytest

from actions import Verdict
from daemon.actions import Result, RunState
from daemon.actions.means import Disk
from daemon.actions.port import NotAllowedError
from daemon.actions.views import STOP_FILE, LedgerFilter, Run
from daemon.config import OperatorSettings
from fleet.errors import ActionError
from fleet.policy import Consent, ConsentPolicy, MaintenanceWindow
from tests.integration.engines import ALERT, Daemon, MakeDaemon, TestWorld, request, until
from tests.integration.scripted import Dangerous, Destructive, Gate, Guarded, Raises, Scripted

NO_WAIT = {"cooldown": timedelta(0)}


class Rival(Scripted):
    name: ClassVar[str] = "rival"
    conflicts: ClassVar[frozenset[str]] = frozenset({"scripted"})


async def parked(daemon: Daemon, run: Run, ground: str) -> Run:
    """The run once it waits for that."""
    found = run

    async def waits() -> bool:
        nonlocal found
        found = (await daemon.people.run(run.id)).run
        return found.state is RunState.QUEUED and found.ground == ground

    try:
        await until(waits)
    except TimeoutError:
        pytest.fail(f"it does not wait for {ground}: {found}")
    return found


async def test_what_the_policy_forbids_is_refused_with_the_reason(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Destructive()
    world.use("prod", consent=ConsentPolicy(destructive=Consent.FORBIDDEN))
    daemon = await make_daemon(action)
    run = await daemon.until(await daemon.ask(request(environment="prod", action="destructive", by="anna")))
    assert (run.result, run.outcome) == (Result.REFUSED, "the policy of prod forbids destructive actions")
    assert (action.done, run.plan) == ([], None)
    assert await daemon.entries(run) == ["requested", "guard refused forbidden", "outcome refused"]
    assert world.told() == ["requested", "refused"]


@pytest.mark.usefixtures("hardly_sweeps")
async def test_what_waits_for_its_window_begins_when_it_opens(make_daemon: MakeDaemon, world: TestWorld) -> None:
    opens = datetime.now(UTC).replace(hour=2, minute=0, second=0, microsecond=0) + timedelta(days=1)
    world.use("qa", window=MaintenanceWindow(days=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), start=time(2, 0)))
    daemon = await make_daemon(Guarded())
    world.shift = opens.timestamp() - world.now() - 3
    run = await parked(daemon, await daemon.ask(request(action="guarded")), "outside_window")
    assert run.not_before == opens.timestamp()
    assert run.parked is not None
    assert run.parked.startswith("waits for the maintenance window")
    run = await daemon.until(run)
    assert run.result is Result.FIXED
    assert run.begun_at is not None
    assert run.begun_at >= opens.timestamp()
    assert "guard waits outside_window" in await daemon.entries(run)
    assert world.told()[:4] == ["requested", "planned", "waits", "begun"], "it is planned while there is time"


@pytest.mark.parametrize("by", ["row", "file"])
async def test_nothing_begins_while_all_is_stopped(make_daemon: MakeDaemon, by: str) -> None:
    action = Scripted()
    daemon = await make_daemon(action, **NO_WAIT)
    file = daemon.engine.means.ledger.data_dir / STOP_FILE
    if by == "row":
        switch = await daemon.people.stop("anna", via="cli", reason="a fire")
        assert (switch.stopped, switch.by, switch.reason) == (True, "anna", "a fire")
    else:
        file.touch()
        assert (await daemon.people.release("anna", via="cli")).stopped, "only who removes the file takes it back"
    run = await daemon.until(await daemon.ask(request()))
    assert run.result is Result.REFUSED
    assert (run.outcome or "").startswith(
        "all actions are stopped, by " + ("anna: a fire" if by == "row" else "the file")
    )
    file.unlink(missing_ok=True)
    assert not (await daemon.people.release("anna", via="cli")).stopped
    again = await daemon.until(await daemon.ask(request()))
    assert (again.result, again.key, action.done) == (Result.FIXED, "k1#2", ["qa/first", "qa/second"])


@pytest.mark.parametrize("by", ["row", "file"])
async def test_what_runs_stops_between_two_steps_and_goes_on(
    make_daemon: MakeDaemon, world: TestWorld, by: str
) -> None:
    gate = Gate()
    action = Scripted(first=gate)
    daemon = await make_daemon(action)
    file = daemon.engine.means.ledger.data_dir / STOP_FILE
    run = await daemon.ask(request())
    await gate.until_reached()
    if by == "row":
        await daemon.people.stop("anna", via="cli")
    else:
        file.touch()
    gate.go.set()
    run = await parked(daemon, run, "stopped")
    assert action.done == ["qa/first"]
    await daemon.later(3000)

    async def looked_again() -> bool:
        found = (await daemon.people.run(run.id)).run
        return found.attempt > 1 and found.state is RunState.QUEUED

    await until(looked_again)
    if by == "row":
        await daemon.people.release("bruno", via="cli")
    else:
        file.unlink()
        daemon.engine.look()
    run = await daemon.until(run)
    assert (run.result, action.done) == (Result.FIXED, ["qa/first", "qa/second"])
    assert (await daemon.entries(run)).count("guard waits stopped") == 1
    assert "taken_over" not in await daemon.entries(run)
    assert world.told().count("waits") == 1


@pytest.mark.parametrize(
    "bound", [{"actions": ("other",)}, {"environments": ("prod",)}, {"risks": ()}, {"may": ("approve",)}]
)
async def test_an_alert_may_what_its_sender_may(make_daemon: MakeDaemon, bound: dict[str, Any]) -> None:
    operators = {"am": OperatorSettings(**bound), "anna": OperatorSettings()}
    daemon = await make_daemon(Scripted(), operators=operators)
    with pytest.raises(NotAllowedError, match="am may"):
        await daemon.ask(request(sender="am"))
    with pytest.raises(NotAllowedError, match="mallory is no operator"):
        await daemon.ask(request(sender="mallory"))
    entries = await daemon.people.entries(LedgerFilter(entry="requested"))
    assert [(each.person, each.facts["decision"]) for each in entries] == [("mallory", "refused"), ("am", "refused")]
    assert (await daemon.until(await daemon.ask(request(sender="anna")))).result is Result.FIXED
    assert (await daemon.until(await daemon.ask(request("k2")))).result is Result.FIXED, "our own has no sender"


async def test_a_sender_who_may_no_longer_is_refused_when_it_is_to_begin(make_daemon: MakeDaemon) -> None:
    action, operators = Dangerous(), {"am": OperatorSettings(), "anna": OperatorSettings()}
    daemon = await make_daemon(action, operators=operators)
    run = await daemon.ask(request(environment="preprod", action="dangerous", sender="am"))
    await daemon.until(run, RunState.WAITING)
    operators["am"] = OperatorSettings(may=())
    await daemon.people.answer(run.id, "anna", approved=True, via="cli")
    run = await daemon.until(run)
    assert (run.result, action.done) == (Result.REFUSED, [])
    assert "am may not ask for actions" in (run.outcome or "")


async def test_who_may_not_stop_is_refused_and_that_is_on_record(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Scripted(), operators={"bruno": OperatorSettings(may=("request",))})
    for act in (daemon.people.stop, daemon.people.release):
        with pytest.raises(NotAllowedError, match="bruno may not stop"):
            await act("bruno", via="cli")
    assert not (await daemon.people.switch()).stopped
    entries = await daemon.people.entries(LedgerFilter(entry="switch"))
    assert [each.facts["decision"] for each in entries] == ["refused"] * 2


@pytest.mark.usefixtures("hardly_sweeps")
@pytest.mark.parametrize(
    ("second", "limits", "ground"),
    [
        ({}, {"at_once_environment": 1}, "environment_busy"),
        ({"environment": "qa2"}, {"at_once": 1}, "fleet_busy"),
        ({"environment": "qa2"}, {}, "store_busy"),
        ({"action": "rival"}, {"at_once_environment": 9, "at_once_store": 9}, "conflict"),
    ],
)
async def test_the_second_waits_for_the_first_and_follows_at_once(
    make_daemon: MakeDaemon, second: dict[str, str], limits: dict[str, int], ground: str
) -> None:
    gate = Gate()
    store = "s3" if ground == "store_busy" else None
    daemon = await make_daemon(Scripted(first=gate, store=store), Rival(), **limits)
    first = await daemon.ask(request(parameters={"object": "a"}))
    await gate.until_reached()
    waiting = await daemon.ask(request("k2", parameters={"object": "b"}, **second))
    waiting = await parked(daemon, waiting, ground)
    assert waiting.not_before is None
    assert first.id in (waiting.parked or "")
    gate.go.set()
    first = await daemon.until(first)
    waiting = await daemon.until(waiting)
    assert [first.result, waiting.result] == [Result.FIXED] * 2


async def test_no_conflict_on_different_databases(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    one, other = Scripted(first=gate, databases=frozenset({"a"})), Rival(databases=frozenset({"b"}))
    daemon = await make_daemon(one, other, at_once_environment=2)
    await daemon.ask(request())
    await gate.until_reached()
    run = await daemon.until(await daemon.ask(request("k2", action="rival")))
    assert run.result is Result.FIXED
    gate.go.set()


@pytest.mark.parametrize("how", ["paused", "retry"])
async def test_what_is_held_up_in_the_middle_keeps_nobody_out_and_asks_again_for_its_place(
    make_daemon: MakeDaemon, how: str
) -> None:
    gate, meanwhile = Gate(), Gate()
    first = Scripted(first=gate) if how == "paused" else Scripted(second=Raises(TimeoutError("slow"), 1))
    daemon = await make_daemon(first, Rival(first=meanwhile), at_once_environment=9)
    run = await daemon.ask(request())
    if how == "paused":
        await gate.until_reached()
        await daemon.people.pause(run.id, "anna", via="cli")
        gate.go.set()
        await daemon.until(run, RunState.PAUSED)
    else:
        await parked(daemon, run, "retry")
    rival = await daemon.ask(request("k2", action="rival"))
    await meanwhile.until_reached()
    if how == "paused":
        await daemon.people.resume(run.id, "anna", via="cli")
    else:
        await daemon.later(6)
    await parked(daemon, run, "conflict")
    meanwhile.go.set()
    ended = [await daemon.until(each) for each in (run, rival)]
    assert [each.result for each in ended] == [Result.FIXED] * 2
    assert (ended[0].ended_at or 0) >= (ended[1].ended_at or 0)


async def test_the_breaker_opens_once_and_a_person_closes_it(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Scripted(verdict=Verdict(False, "it did not help"))
    daemon = await make_daemon(action, **NO_WAIT)

    async def ask(key: str, **fields: str) -> Run:
        return await daemon.until(await daemon.ask(request(key, **fields)))

    assert [(await ask(key)).result for key in ("k1", "k2")] == [Result.NOT_FIXED] * 2
    escalated = await daemon.people.entries(LedgerFilter(entry="escalated"))
    assert [entry.facts["reason"] for entry in escalated] == ["it did not help"]
    assert world.told().count("needs a person") == 1
    refused = await ask("k3")
    assert refused.result is Result.REFUSED
    assert "scripted on qa did not help 2 times" in (refused.outcome or "")
    assert "guard refused breaker_open" in await daemon.entries(refused)
    assert (await ask("k4", environment="qa2")).result is Result.NOT_FIXED, "another environment is not concerned"
    await daemon.stop()
    daemon = await make_daemon(action, **NO_WAIT)
    assert (await ask("k5", by="anna")).result is Result.NOT_FIXED
    assert world.told().count("needs a person") == 1, "a restart does not make it news"
    action.verdict = Verdict(True, "it helped")
    assert (await ask("k6", by="anna")).result is Result.FIXED
    assert (await ask("k7")).result is Result.FIXED


async def test_what_is_refused_hides_no_breaker(make_daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.actions.history._LATELY", 3)
    daemon = await make_daemon(Scripted(verdict=Verdict(False, "it did not help")), **NO_WAIT)
    ended = [await daemon.until(await daemon.ask(request(f"k{number}"))) for number in range(5)]
    assert [run.result for run in ended] == [Result.NOT_FIXED] * 2 + [Result.REFUSED] * 3
    await daemon.engine.sweep()
    assert daemon.engine.standing.breakers == {("qa", "scripted"): True}


async def test_each_object_has_a_breaker_of_its_own(make_daemon: MakeDaemon, world: TestWorld) -> None:
    daemon = await make_daemon(Scripted(verdict=Verdict(False, "no")), **NO_WAIT)
    for number, name in enumerate("aabb"):
        await daemon.until(await daemon.ask(request(f"k{number}", parameters={"object": name})))
    assert world.told().count("needs a person") == 2


async def test_after_a_failure_nobody_but_people_tries_at_once(make_daemon: MakeDaemon, world: TestWorld) -> None:
    daemon = await make_daemon(Scripted(first=Raises(ActionError("no"), 1)))
    assert (await daemon.until(await daemon.ask(request()))).result is Result.FAILED
    refused = await daemon.until(await daemon.ask(request("k2")))
    assert "does not try again for" in (refused.outcome or "")
    world.shift += 61
    assert (await daemon.until(await daemon.ask(request("k3")))).result is Result.FIXED


@pytest.mark.parametrize(
    ("disk", "said"),
    [
        (None, "needs 1.0 GiB on the disk of qa, and how much is free there is unknown"),
        (Disk(2.0**30, 2.0**36), "needs 1.0 GiB on the disk of qa, which has 1.0 GiB free, of which"),
        (Disk(90e9, 100e9), None),
    ],
)
async def test_room_on_the_disk(make_daemon: MakeDaemon, world: TestWorld, disk: Disk | None, said: str | None) -> None:
    world.disks = {} if disk is None else {"qa": disk}
    action = Scripted(needs=2.0**30)
    daemon = await make_daemon(action)
    run = await daemon.until(await daemon.ask(request()))
    if said is None:
        assert run.result is Result.FIXED
        return
    assert run.result is Result.REFUSED
    assert (run.outcome or "").startswith(said)
    assert (run.begun_at, action.done) == (None, [])


async def test_an_alert_that_ends_takes_back_what_it_asked_for(make_daemon: MakeDaemon, world: TestWorld) -> None:
    world.use("qa", consent=ConsentPolicy(guarded=Consent.ONE_APPROVAL))
    gate = Gate()
    daemon = await make_daemon(Scripted(first=gate), Guarded(), Rival())
    world.firing = True
    busy = await daemon.ask(request())
    await gate.until_reached()
    queued = await parked(daemon, await daemon.ask(request("k2", action="rival", alert=ALERT)), "conflict")
    waiting = await daemon.until(await daemon.ask(request("k3", action="guarded", alert=ALERT)), RunState.WAITING)
    await daemon.engine.sweep()
    assert (await daemon.people.run(waiting.id)).run.state is RunState.WAITING
    world.firing = False
    await daemon.engine.sweep()
    for run in (queued, waiting):
        ended = await daemon.until(run)
        assert ended.result is Result.CANCELLED
        assert "ended" in (ended.outcome or "")
    gate.go.set()
    assert (await daemon.until(busy)).result is Result.FIXED
    late = await daemon.until(await daemon.ask(request("k4", alert=ALERT)))
    assert (late.result, late.outcome) == (
        Result.CANCELLED,
        "the alert TooOld has ended, so nothing has to be done any more",
    )
