"""What actions have measured, out of a real state database: at the start, and as environments come and go."""

from __future__ import annotations

from typing import ClassVar

import pytest

from actions import Measure, Verdict
from daemon.actions.measured import Measured
from fleet.errors import StateAwayError
from tests.integration.engines import MakeDaemon, Outage, request
from tests.integration.scripted import Scripted

INDEX = {"datname": "app", "schemaname": "public", "relname": "chunks", "indexrelname": "by_vector"}


class Measuring(Scripted):
    name: ClassVar[str] = "measuring"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("index_depth_ratio", "How deep it is.", "depth_ratio"),)


def known(measured: Measured) -> dict[tuple[str, str], float]:
    (depth, _) = measured.collect()
    return {(one.labels["environment"], one.labels["indexrelname"]): one.value for one in depth.samples}


async def test_the_last_figures_are_read_and_forgotten_with_the_environment(make_daemon: MakeDaemon) -> None:
    action = Measuring(objects=(INDEX,))
    daemon = await make_daemon(action)

    async def run(key: str, depth: float | None, environment: str = "qa", **parameters: str) -> float:
        after = {"queries": 10.0} if depth is None else {"queries": 10.0, "depth_ratio": depth}
        action.verdict = Verdict(depth is not None, "looked", after)
        asked = request(key, environment, "measuring", parameters=parameters)
        ended = (await daemon.until(await daemon.ask(asked))).ended_at
        assert ended is not None
        return ended

    await run("1", 0.1)
    last = await run("2", 0.2, object="a")  # of the same index, asked for in another way
    await run("3", None, object="b")  # and one that had no figure
    await run("4", 0.4, "dev")
    action.objects = ({**INDEX, "indexrelname": "other"},)
    await run("5", 0.5)

    measured = Measured({"measuring": Measuring, "scripted": Scripted})
    await measured.follow(daemon.state, ())
    assert known(measured) == {}
    await measured.follow(daemon.state, {"qa"})
    assert known(measured) == {("qa", "by_vector"): 0.2, ("qa", "other"): 0.5}
    (_, at) = measured.collect()
    assert {one.labels["indexrelname"]: one.value for one in at.samples}["by_vector"] == pytest.approx(last, abs=1e-3)
    await measured.follow(daemon.state, {"qa", "dev"})
    assert known(measured)["dev", "by_vector"] == 0.4
    await measured.follow(daemon.state, {"dev"})
    assert known(measured) == {("dev", "by_vector"): 0.4}


async def test_a_run_that_ends_renews_them_at_once(make_daemon: MakeDaemon) -> None:
    action = Measuring(objects=(INDEX,), verdict=Verdict(True, "looked", {"depth_ratio": 0.7}))
    daemon = await make_daemon(action)
    measured = Measured({"measuring": Measuring})
    await measured.follow(daemon.state, {"qa"})
    await daemon.until(await daemon.ask(request(action="measuring")))
    for event in daemon.world.events:
        measured.note(event)
    assert known(measured) == {("qa", "by_vector"): 0.7}


async def test_what_could_not_be_read_is_read_the_next_time(make_daemon: MakeDaemon, outage: Outage) -> None:
    action = Measuring(objects=(INDEX,), verdict=Verdict(True, "looked", {"depth_ratio": 0.7}))
    daemon = await make_daemon(action)
    await daemon.until(await daemon.ask(request(action="measuring")))
    measured = Measured({"measuring": Measuring})
    async with outage():
        with pytest.raises(StateAwayError):
            await measured.follow(daemon.state, {"qa"})
    await daemon.state.returned()
    await measured.follow(daemon.state, {"qa"})
    assert known(measured) == {("qa", "by_vector"): 0.7}
