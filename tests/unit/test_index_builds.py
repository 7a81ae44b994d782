"""How far a build is, of what the server's progress view says."""

from __future__ import annotations

import pytest

from fleet.index_builds import BuildProgress

CREATE, BESIDE = "CREATE INDEX", "REINDEX CONCURRENTLY"


@pytest.mark.parametrize(
    ("command", "phase", "counts", "ratio"),
    [
        (CREATE, "initializing", (0, 0, 0, 0), 0.0),
        (CREATE, "building index: scanning table", (50, 100, 0, 0), 0.225),
        (CREATE, "building index: loading tuples in tree", (100, 100, 50, 100), 0.775),
        (CREATE, "building index: loading tuples", (50, 100, 9, 0), 0.5),
        (CREATE, "building index: performing k-means", (0, 0, 0, 0), 0.0),
        (CREATE, "building index: loading tuples", (100, 100, 50, 100), 0.8),
        (CREATE, "building index", (50, 100, 0, 0), 0.5),
        (BESIDE, "waiting for writers before build", (0, 0, 0, 0), 0.0),
        (BESIDE, "building index: loading tuples", (100, 100, 9, 0), 0.85),
        (BESIDE, "index validation: scanning table", (50, 100, 0, 0), 0.94),
        (BESIDE, "waiting for old snapshots", (0, 0, 0, 0), 0.98),
        (BESIDE, "a phase of times to come", (50, 100, 0, 0), 0.0),
    ],
    ids=str,
)
def test_ratio(command: str, phase: str, counts: tuple[float, float, float, float], ratio: float) -> None:
    assert BuildProgress(command, phase, *counts).ratio == pytest.approx(ratio)


def test_the_rest_is_told_as_long_as_it_moves() -> None:
    assert BuildProgress(CREATE, "building index", 25, 100).remaining_seconds(60) == pytest.approx(180)
    assert BuildProgress(CREATE, "building index", 1, 100).remaining_seconds(60) is None
    waiting = BuildProgress(BESIDE, "waiting for old snapshots")
    assert waiting.waiting
    assert waiting.remaining_seconds(60) is None


def test_it_never_goes_back() -> None:
    order = [
        "initializing",
        "building index: initializing",
        "building index: performing k-means",
        "building index: assigning tuples",
        "waiting for writers before validation",
        "index validation: scanning index",
        "index validation: sorting tuples",
        "index validation: scanning table",
        "waiting for old snapshots",
        "waiting for readers before marking dead",
        "waiting for readers before dropping",
    ]
    ratios = [BuildProgress(BESIDE, phase, *counts).ratio for phase in order for counts in ((0, 9), (9, 9))]
    assert ratios == sorted(ratios)
