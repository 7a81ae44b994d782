"""Retention beside the real restic: the same snapshots, the same policy, the same ones forgotten."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.backups.retention import decide
from fleet.policy import TIER_DEFAULTS, Retention, Tier

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("restic") is None, reason="restic is not installed (Debian package restic)"),
]
FAR = 1.9e9
COUNT = 30  # each call of restic takes about half a second
SERIES = ("hourly", "daily", "weekly", "monthly", "yearly")

Restic = Callable[..., str]


@pytest.fixture(scope="module")
def restic(tmp_path_factory: pytest.TempPathFactory) -> Restic:
    home = tmp_path_factory.mktemp("restic")
    variables = {"RESTIC_REPOSITORY": f"{home}/repository", "RESTIC_PASSWORD": "x", "TZ": "UTC", "HOME": str(home)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["restic", "--quiet", "--no-cache", *arguments],
            env=os.environ | variables,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    run("init")
    return run


@pytest.fixture(scope="module")
def times(restic: Restic, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """When the snapshots of the repository began, in whole seconds: dense at the end, thin before, around new years."""
    chance = random.Random(20251120)  # noqa: S311
    end = datetime(2025, 1, 3, 12, 30, tzinfo=UTC)
    backs = [chance.expovariate(1.0) * 30 for _ in range(COUNT - 20)] + [hour / 24 for hour in range(20)]
    file = tmp_path_factory.mktemp("data") / "file"
    file.write_text("x")
    chosen = sorted({int((end - timedelta(days=days**1.35)).timestamp()) for days in backs})
    for one in chosen:
        restic("backup", "--time", f"{datetime.fromtimestamp(one, UTC):%Y-%m-%d %H:%M:%S}", str(file))
    return chosen


def forget(restic: Restic, retention: Retention) -> set[int]:
    options = []
    for series in SERIES:
        within: timedelta | None = getattr(retention, series)
        if within:
            options += [f"--keep-within-{series}", f"{within // timedelta(hours=1)}h"]
    if retention.last:
        options += ["--keep-last", str(retention.last)]
    (group,) = json.loads(restic("forget", "--dry-run", "--json", *options))
    return {_seconds(snapshot) for snapshot in group["keep"] or []}


def _seconds(snapshot: dict[str, Any]) -> int:
    return int(datetime.fromisoformat(snapshot["time"]).timestamp())


def random_retention(seed: int) -> Retention:
    chance = random.Random(seed)  # noqa: S311
    values = {series: timedelta(hours=int(10 ** chance.uniform(0.3, 4))) for series in SERIES if chance.random() < 0.6}
    last = chance.randint(1, 4) if chance.random() < 0.3 or not values else None
    return Retention.model_validate({**values, "last": last})


CASES = [TIER_DEFAULTS[tier].backup.retention for tier in (Tier.QA, Tier.PREPROD, Tier.PRODUCTION)]
CASES += [random_retention(seed) for seed in range(20)]


def test_restic_keeps_the_same(restic: Restic, times: list[int]) -> None:
    same = {"succeeded": True, "pin": None, "proof": None, "names": ("app",)}
    items = [SimpleNamespace(id=str(one), started_at=float(one), **same) for one in times]
    assert len(items) > COUNT / 2
    for retention in CASES:
        ours = {int(one.id) for one in decide(items, retention, FAR) if one.keep}
        assert ours == forget(restic, retention), retention
