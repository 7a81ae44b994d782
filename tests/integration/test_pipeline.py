"""The pipeline with real actions of its own kind, a real ledger file, and the backup of a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import asyncpg
import pytest

from actions import Verdict
from actions.backup import Backup
from daemon.actions import STOP_FILE, Ledger, Request, Result
from fleet.backups import read_manifests
from fleet.environment import Environment
from fleet.errors import ActionError, DaemonError
from fleet.policy import Tier
from fleet.stores.local import LocalStore
from tests.integration.backups import GatedStore
from tests.integration.pipelines import (
    ALERT,
    Dangerous,
    MakePipeline,
    Scripted,
    TestWorld,
    count,
    entries,
    environment,
    pass_by,
    request,
)


async def test_all_the_way(make_pipeline: MakePipeline, world: TestWorld) -> None:
    action = Scripted()
    pipeline = make_pipeline(action)
    outcome = await pipeline.run(request(alert=ALERT, parameters={"size": 7}))
    assert (outcome.result, outcome.reason, outcome.figures) == (Result.FIXED, "it is done", {"rows": 3})
    assert action.done == ["qa/first", "qa/second"]
    assert world.read == [("qa", ("tables",))]
    assert world.told() == ["requested", "planned", "first done", "second done", "fixed"]
    assert world.events[1].text == "work of size 7 on qa"
    assert entries(pipeline, outcome) == [
        ("requested",),
        ("guard", "True"),
        ("plan",),
        ("step", "first", "begun"),
        ("step", "first", "finished"),
        ("step", "second", "begun"),
        ("step", "second", "finished"),
        ("verdict",),
        ("outcome", "fixed"),
    ]
    assert [count(pipeline, result) for result in Result] == [1, 0, 0, 0, 0]
    assert pipeline.running() == []


async def test_an_alert_that_goes_on_firing_is_not_fixed(make_pipeline: MakePipeline, world: TestWorld) -> None:
    world.firing = True
    outcome = await make_pipeline(Scripted()).run(request(alert=ALERT))
    assert outcome.result is Result.NOT_FIXED
    assert "TooOld is still firing" in outcome.reason


@pytest.mark.parametrize("verdict", [Verdict(False, "no better"), ActionError("no answer"), OSError("no answer")])
async def test_what_does_not_help_or_cannot_be_verified_is_not_fixed(
    make_pipeline: MakePipeline, verdict: Verdict | Exception
) -> None:
    outcome = await make_pipeline(Scripted(verdict=verdict)).run(request())
    assert outcome.result is Result.NOT_FIXED
    assert "no " in outcome.reason


async def test_a_world_that_cannot_be_read_again_is_not_fixed(make_pipeline: MakePipeline, world: TestWorld) -> None:
    world.refuse_reread = DaemonError("the scrape timed out")
    outcome = await make_pipeline(Scripted()).run(request())
    assert outcome.result is Result.NOT_FIXED
    assert "the scrape timed out" in outcome.reason


async def fail_expected() -> None:
    raise ActionError("postgresql://u:geheim@h/x said no", hint="ask again")


async def fail_with_a_bug() -> None:
    raise KeyError("geheim=1")


@pytest.mark.parametrize(
    ("action", "said", "kept"),
    [
        (Scripted(work=fail_expected), "second: postgresql://u:***@h/x said no (ask again)", ["qa/first"]),
        (Scripted(work=fail_with_a_bug), "second: KeyError", ["qa/first"]),
        (Scripted(planning=fail_expected), "plan: ", []),
    ],
)
async def test_a_failure_is_an_outcome_and_the_steps_after_it_do_not_run(
    make_pipeline: MakePipeline, world: TestWorld, action: Scripted, said: str, kept: list[str]
) -> None:
    pipeline = make_pipeline(action)
    outcome = await pipeline.run(request())
    assert outcome.result is Result.FAILED
    assert outcome.reason.startswith(said)
    assert action.done == kept
    assert world.read == []
    assert count(pipeline, Result.FAILED) == 1
    assert (await pipeline.run(request())).reason.startswith("it failed last time")
    world.time += 61
    action.planning = action.work = pass_by
    assert (await pipeline.run(request())).result is Result.FIXED


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (request(action="nope"), "no action 'nope'"),
        (request(environment="nope"), "no environment 'nope'"),
        (request(parameters={"size": "large"}), "parameter size"),
        (request(parameters={"bytes": 1}), "parameter bytes"),
    ],
)
async def test_what_makes_no_sense_is_refused(make_pipeline: MakePipeline, asked: Request, said: str) -> None:
    action = Scripted()
    outcome = await make_pipeline(action).run(asked)
    assert outcome.result is Result.REFUSED
    assert said in outcome.reason
    assert action.done == []


async def test_the_guard_is_asked_before_anything(
    make_pipeline: MakePipeline, world: TestWorld, tmp_path: Path
) -> None:
    action = Dangerous(planning=fail_with_a_bug)
    world.environments["prod"] = environment("prod", Tier.PRODUCTION)
    pipeline = make_pipeline(action)
    outcome = await pipeline.run(request(environment="prod", action="dangerous"))
    assert outcome.result is Result.REFUSED
    assert "needs one approval" in outcome.reason
    assert entries(pipeline, outcome) == [("requested",), ("guard", "False")]
    assert world.told() == ["refused"]


async def test_the_stop_switch(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    pipeline = make_pipeline(Scripted())
    switch = tmp_path / STOP_FILE
    switch.touch()
    assert "stopped" in (await pipeline.run(request())).reason
    switch.unlink()
    assert (await pipeline.run(request())).result is Result.FIXED


async def test_the_same_refusal_is_told_once(make_pipeline: MakePipeline, world: TestWorld, tmp_path: Path) -> None:
    pipeline = make_pipeline(Scripted())
    (tmp_path / STOP_FILE).touch()
    for _ in range(5):
        await pipeline.run(request())
    assert world.told() == ["refused"]
    assert len(pipeline.ledger.entries()) == 2
    assert count(pipeline, Result.REFUSED) == 5
    await pipeline.run(request("another key"))
    assert world.told() == ["refused", "refused"]


async def test_what_is_done_is_not_repeated_even_after_a_restart(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    pipeline = make_pipeline(Scripted())
    assert (await pipeline.run(request())).result is Result.FIXED
    pipeline.ledger.close()
    again = make_pipeline(Scripted())
    assert (await again.run(request())).result is Result.REFUSED
    assert (await again.run(request("k2"))).result is Result.FIXED


@dataclass
class Gate:
    """Work that waits to be let through, and knows how many are inside."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    inside: int = 0
    most: int = 0

    async def __call__(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entered.release()
        await self.opened.wait()
        self.inside -= 1


async def test_two_requests_at_once_make_one_run(make_pipeline: MakePipeline, world: TestWorld) -> None:
    gate = Gate()
    action = Scripted(work=gate)
    pipeline = make_pipeline(action)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(pipeline.run(request("k1")))
        second = group.create_task(pipeline.run(request("k2")))
        await gate.entered.acquire()
        (run,) = pipeline.running()
        assert (run.step, run.ratio, run.doing) == ("second", 0.5, "half of it")
        gate.opened.set()
    assert first.result().result is Result.FIXED
    assert second.result().result is Result.REFUSED
    assert "already under way" in second.result().reason
    assert action.done == ["qa/first", "qa/second"]


class Other(Scripted):
    name: ClassVar[str] = "other"


async def test_one_at_a_time_on_an_environment_and_so_many_in_all(
    make_pipeline: MakePipeline, world: TestWorld
) -> None:
    gate = Gate()
    pipeline = make_pipeline(Scripted(work=gate), Other(work=gate), at_once=2)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(pipeline.serve())
        for name in ("qa", "qa2", "qa3"):
            pipeline.submit(request(f"a-{name}", name))
            pipeline.submit(request(f"b-{name}", name, "other"))
        for _ in range(2):
            await gate.entered.acquire()
        assert len(pipeline.running()) == 6
        assert gate.inside == 2
        assert len({run.request.environment for run in pipeline.running() if run.step == "second"}) == 2
        gate.opened.set()
        await world.until("fixed", 6)
        serving.cancel()
    assert gate.most == 2
    assert world.told().count("fixed") == 6


async def test_the_queue_is_bounded(make_pipeline: MakePipeline, world: TestWorld) -> None:
    pipeline = make_pipeline(Scripted(), queue=2)
    for number in range(4):
        pipeline.submit(request(f"k{number}"))
    assert world.told() == ["refused", "refused"]
    assert "too many" in world.events[0].text


async def test_waiting_too_long_is_noticed_before_the_work(
    make_pipeline: MakePipeline, world: TestWorld, tmp_path: Path
) -> None:
    gate = Gate()
    action = Other()
    pipeline = make_pipeline(Scripted(work=gate), action)
    async with asyncio.TaskGroup() as group:
        group.create_task(pipeline.run(request("k1")))
        await gate.entered.acquire()
        second = group.create_task(pipeline.run(request("k2", action="other")))
        await world.until("requested", 2)
        del world.environments["qa"]
        gate.opened.set()
    assert second.result().result is Result.REFUSED
    assert "no environment" in second.result().reason
    assert entries(pipeline, second.result()) == [("requested",), ("guard", "False"), ("outcome", "refused")]
    assert action.done == []


async def test_a_stop_in_the_middle_is_on_record(make_pipeline: MakePipeline, world: TestWorld) -> None:
    gate = Gate()
    pipeline = make_pipeline(Scripted(work=gate))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(pipeline.serve())
        pipeline.submit(request())
        await gate.entered.acquire()
        serving.cancel()
    assert world.told()[-1] == "interrupted"
    assert pipeline.ledger.unfinished() == []
    last = pipeline.ledger.entries()[-1]
    assert (last["entry"], last["result"], last["reason"]) == (
        "outcome",
        "interrupted",
        "the daemon stopped, at second",
    )
    assert count(pipeline, Result.INTERRUPTED) == 1


async def test_a_run_cut_off_by_kill_9_is_found_at_the_next_start(
    make_pipeline: MakePipeline, world: TestWorld, tmp_path: Path
) -> None:
    pipeline = make_pipeline(Scripted())
    await pipeline.run(request())
    pipeline.ledger.close()
    cut_after(tmp_path / "actions.jsonl", '"name": "second", "state": "begun"')

    again = make_pipeline(Scripted())
    await again.recover()
    assert world.told()[-1] == "interrupted"
    assert again.ledger.unfinished() == []
    assert (await again.run(request())).result is Result.REFUSED  # it may be what killed us: not at once
    world.time += 61
    assert (await again.run(request())).result is Result.FIXED
    await again.recover()
    assert world.told().count("interrupted") == 1


def cut_after(path: Path, mark: str) -> None:
    text = path.read_text()
    path.write_text(text[: text.index(mark) + len(mark) - 5])


async def test_a_ledger_that_cannot_be_written_lets_nothing_run(make_pipeline: MakePipeline, tmp_path: Path) -> None:
    class Broken(Ledger):
        def _write(self, line: bytes) -> None:
            raise DaemonError(f"{len(line)} bytes cannot be written: No space left on device")

    action = Scripted()
    pipeline = make_pipeline(action, ledger=Broken.open(tmp_path / "broken.jsonl"))
    outcome = await pipeline.run(request())
    assert outcome.result is Result.FAILED
    assert "No space left" in outcome.reason
    assert action.done == []


async def test_a_backup_asked_for_by_an_alert(
    make_pipeline: MakePipeline,
    world: TestWorld,
    make_environment: Callable[..., Environment],
    sql: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    await sql.execute("create table t (id int primary key); insert into t select generate_series(1, 100)")
    world.environments["qa"] = make_environment()
    store = LocalStore(LocalStore.Options(path=tmp_path / "store"))
    world.stores = {"local": store}
    pipeline = make_pipeline(Backup())
    outcome = await pipeline.run(request(action="backup", alert=ALERT))
    assert outcome.result is Result.FIXED, outcome.reason
    (manifest,) = await read_manifests(store, "qa")
    assert manifest.succeeded
    assert manifest.id.endswith(outcome.run_id[:8])
    assert outcome.figures["bytes"] == manifest.size_bytes
    assert world.read == [("qa", ("backups",))]
    assert world.told() == ["requested", "planned", "dump done", "record done", "fixed"]


async def test_the_daemon_stopped_in_the_middle_of_a_dump_leaves_no_success(
    make_pipeline: MakePipeline,
    world: TestWorld,
    make_environment: Callable[..., Environment],
    sql: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    await sql.execute("create table t as select md5(i::text) from generate_series(1, 200000) i")
    world.environments["qa"] = make_environment()
    store = GatedStore(GatedStore.Options(path=tmp_path / "store"))
    world.stores = {"local": store}
    pipeline = make_pipeline(Backup())
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(pipeline.serve())
        pipeline.submit(request(action="backup"))
        await store.begun.wait()
        serving.cancel()
    assert await store.list() == []
    assert world.told()[-1] == "interrupted"

    store.go.set()
    world.time += 61
    assert (await pipeline.run(request(action="backup"))).result is Result.FIXED
