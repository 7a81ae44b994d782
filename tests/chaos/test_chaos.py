"""kill -9 at a sample of the boundaries of every action; `make chaos` tries them all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from fleet.embedded import EmbeddedServer
from tests.chaos.__main__ import tried
from tests.chaos.scenarios import APPROVED, UNDOES, Task, learn
from tests.chaos.site import Site
from tests.chaos.trial import Scenario
from tests.integration.actions_kit import CASES
from tests.integration.states import state_template

__all__ = ["state_template"]

SEED = 4  # where the sample begins
EACH = 3  # kills of a scenario at most


@pytest.fixture
def site(server: EmbeddedServer, scratch: Path, state_template: str) -> Site:
    return Site(server, scratch, state_template)


async def kill_at_some(site: Site, scenario: Scenario, after: str | None = None) -> None:
    """Every k-th point, of those from `after` on."""
    found = await learn(site, scenario)
    points = found.points[0 if after is None else found.points.index(after) :]
    stride = -(-len(points) // EACH)
    chosen = points[SEED % stride :: stride]
    print(f"{scenario}: seed {SEED}, every {stride}th of {len(points)} points")

    async def wanted() -> AsyncIterator[Task]:
        for point in chosen:
            yield Task(scenario, (point,), found.effects)

    outcomes = []
    async with aclosing(tried(site, wanted(), at_once=3)) as trials:
        async for outcome in trials:
            outcomes.append(outcome)
            assert not outcome.problems, f"{outcome}\n{outcome.log}"
    assert len(outcomes) == len(chosen) >= EACH - 1


@pytest.mark.parametrize("action", sorted(CASES))
async def test_killed_anywhere_it_goes_on_and_does_all_once(site: Site, action: str) -> None:
    await kill_at_some(site, Scenario(action))


async def test_an_answer_outlives_the_process_that_took_it(site: Site) -> None:
    await kill_at_some(site, Scenario(APPROVED, approved=True), after="commit People.answer 1, before")


async def test_killed_while_it_is_undone_it_ends_cancelled_and_leaves_nothing(site: Site) -> None:
    scenario = Scenario(UNDOES, cancel="store put manifest 1, after")
    await kill_at_some(site, scenario, after="commit People.cancel 1, after")
