"""Long work of the loop in slices: all of it is done, and of several such works one slice each time it comes round."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from daemon.page import slices
from daemon.page.slices import Slices


async def test_others_have_their_turn_and_of_several_works_one_is_done_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)  # each piece is a slice
    rounds, made = 0, dict[int, list[int]]()

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    def pieces(size: int) -> Iterator[int]:
        for number in range(size):
            made.setdefault(rounds, []).append(size)
            yield number

    shared = Slices()
    counting = asyncio.create_task(count())
    assert await asyncio.gather(*(shared.all(pieces(size)) for size in (3, 50, 4))) == [
        [0, 1, 2],
        list(range(50)),
        [0, 1, 2, 3],
    ]
    counting.cancel()
    assert max(map(len, made.values())) == 1
    order = [size for each in made.values() for size in each]
    assert order[-1] == 50, "the short ones do not wait until the long one is done"


async def test_nothing_and_what_breaks_leave_it_to_the_next() -> None:
    shared = Slices()

    def broken() -> Iterator[int]:
        yield 1
        raise KeyError(2)

    assert await shared.all([]) == []
    with pytest.raises(KeyError, match="2"):
        await shared.all(broken())
    assert await shared.all("ab") == ["a", "b"]
