"""What is tried: for each action every point of a run, of an approved one, and of one that is cancelled and undone."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from tests.chaos.site import Site
from tests.chaos.trial import Found, Scenario, attempt
from tests.integration.actions_kit import CASES

APPROVED = "drop_invalid_index"  # one will do: how people are asked is the same for all
# what they did is taken back: cancelling them is tried in several places, the first one in all
UNDOES = "backup"
UNDO = frozenset({UNDOES, "restore", "recover"})
STAYS = frozenset({"refresh", "reset"})  # from the last step but one on: cancelled before that
ELSEWHERE = 2  # places to cancel
SECOND_DEATHS = 6  # points that the second worker passes at most before it is killed as well
_BEGINS = "commit _step "  # a step


@dataclass(frozen=True, slots=True)
class Task:
    """A trial to be done; `effects` as `attempt` takes them."""

    scenario: Scenario
    kills: tuple[str | int, ...]
    effects: int | None = None


class BrokenError(AssertionError):
    """Even without a kill it does not go as it should."""


async def learn(site: Site, scenario: Scenario) -> Found:
    """What happens where nobody is killed. Raises BrokenError."""
    found = await attempt(site, scenario)
    if found.problems:
        raise BrokenError(f"{found}\n{found.log}")
    return found


async def tasks(site: Site, actions: Sequence[str], seed: int) -> AsyncIterator[Task]:
    """All there is to be tried with these actions; `seed` chooses where the second of two kills falls."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    for action in actions:
        plain = Scenario(action)
        points = (await learn(site, plain)).points
        for point in points:
            yield Task(plain, (point,))
        for point in chance.sample(points, len(points) // 3):
            yield Task(plain, (point, chance.randint(1, SECOND_DEATHS)))
        if action == APPROVED:
            approved = replace(plain, approved=True)
            for point in (await learn(site, approved)).points:
                yield Task(approved, (point,))
        for cancel in _cancels(action, points, chance):
            async for task in _undoing(site, replace(plain, cancel=cancel)):
                yield task


def _cancels(action: str, points: Sequence[str], chance: random.Random) -> list[str]:
    """In the middle of the last step that changes anything; for what undoes something, at its end and elsewhere too."""
    if action in STAYS:
        begins = [at for at, point in enumerate(points) if point.startswith(_BEGINS) and point.endswith("before")]
        points = points[: begins[-2]]
    inside = [point for point in points if not point.startswith("commit")]
    if action == UNDOES or not inside:  # what only looks has nothing to be cancelled in
        return inside
    begun = max(at for at, point in enumerate(points[: points.index(inside[-1])]) if point.startswith(_BEGINS))
    first = next(point for point in points[begun:] if point in inside)
    return [first, inside[-1], *chance.sample(inside, ELSEWHERE)] if action in UNDO else [first]


async def _undoing(site: Site, scenario: Scenario) -> AsyncIterator[Task]:
    """Each point after somebody cancelled; whatever the kill does, there are the effects that there are without."""
    found = await learn(site, scenario)
    wanted = CASES[scenario.action].expected
    if found.effects >= wanted or (scenario.action in UNDO and found.effects):
        raise BrokenError(f"{found.effects} effects of a cancelled run: {found}")
    asked = found.points.index("commit People.cancel 1, after")
    for point in found.points[asked:]:
        yield Task(scenario, (point,), found.effects)
