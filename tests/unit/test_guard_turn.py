"""The guard as a table: what an action waits for, among those that run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from actions import Target
from daemon.actions.guard import Ground, History, Limits, Running, Wait, decide
from daemon.actions.guard._words import lasting, size, times
from tests.deciding import case, ground, reason, running, situation

ROOMY = Limits(at_once_environment=9, at_once_store=9)
NOTHING: frozenset[str] = frozenset()
APP, LOG, BOTH = frozenset({"app"}), frozenset({"log"}), frozenset({"app", "log"})


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        pytest.param(running(), Ground.RUNNING, id="the-same"),
        pytest.param(running(environment="production"), None, id="elsewhere"),
        pytest.param(running(action="vacuum"), None, id="another-action"),
        pytest.param(running(target=Target("app.log")), None, id="another-object"),
    ],
)
def test_the_same_runs_once(run: Running, expected: Ground | None) -> None:
    assert ground(history=History([run]), limits=ROOMY) == expected


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        pytest.param(APP, APP, True, id="same"),
        pytest.param(APP, LOG, False, id="different"),
        pytest.param(BOTH, LOG, True, id="one-of-two"),
        pytest.param(None, APP, True, id="any-and-one"),
        pytest.param(APP, None, True, id="one-and-any"),
        pytest.param(None, None, True, id="any-and-any"),
        pytest.param(NOTHING, None, False, id="none-and-any"),
        pytest.param(None, NOTHING, False, id="any-and-none"),
        pytest.param(NOTHING, APP, False, id="none-and-one"),
    ],
)
@pytest.mark.parametrize("conflicts", [{"reindex": {"backup"}}, {"backup": {"reindex"}}], ids=["ours", "theirs"])
def test_what_conflicts_on_a_database_waits(
    here: frozenset[str] | None, there: frozenset[str] | None, expected: bool, conflicts: dict[str, Any]
) -> None:
    what = case(action="reindex", target=Target("x", here))
    fields = {"conflicts": conflicts, "history": History([running(target=Target("", there))]), "limits": ROOMY}
    assert ground(what, **fields) == (Ground.CONFLICT if expected else None)


@pytest.mark.parametrize(
    ("run", "conflicts"),
    [
        pytest.param(running("production"), {"reindex": {"backup"}}, id="another-environment"),
        pytest.param(running(), {"reindex": {"restore"}, "backup": {"vacuum"}}, id="other-conflicts"),
        pytest.param(running(action="unheard-of"), {"reindex": {"backup"}}, id="unknown-action"),
    ],
)
def test_what_does_not_conflict_does_not_wait(run: Running, conflicts: dict[str, Any]) -> None:
    what = case(action="reindex", target=Target("x"))
    assert ground(what, conflicts=conflicts, history=History([run]), limits=ROOMY) is None


def runs(*places: tuple[str, str | None]) -> list[Running]:
    made = (running(name, f"a{i}", Target(store=store)) for i, (name, store) in enumerate(places))
    return [replace(run, run_id=f"r{i}") for i, run in enumerate(made)]


@pytest.mark.parametrize(
    ("store", "busy", "limits", "expected"),
    [
        pytest.param(
            None, runs(("qa", None)), {"at_once_environment": 1}, Ground.ENVIRONMENT_BUSY, id="one-on-an-environment"
        ),
        pytest.param(None, runs(("qa", None)), {"at_once_environment": 2}, None, id="two-may"),
        pytest.param(None, runs(("dev", None)), {}, None, id="another-environment"),
        pytest.param("s3", runs(("dev", "s3")), {}, Ground.STORE_BUSY, id="one-with-a-store"),
        pytest.param("s3", runs(("dev", "s3")), {"at_once_store": 2}, None, id="two-with-a-store-may"),
        pytest.param("s3", runs(("dev", "local")), {}, None, id="another-store"),
        pytest.param(None, runs(("dev", "s3")), {}, None, id="no-store"),
        pytest.param(None, runs(*[(f"e{i}", None) for i in range(8)]), {}, Ground.FLEET_BUSY, id="eight-in-the-fleet"),
        pytest.param(None, runs(*[(f"e{i}", None) for i in range(7)]), {}, None, id="seven-in-the-fleet"),
        pytest.param(None, runs(("dev", None)), {"at_once": 1}, Ground.FLEET_BUSY, id="one-in-the-fleet"),
    ],
)
def test_so_many_at_once(
    store: str | None, busy: Sequence[Running], limits: dict[str, int], expected: Ground | None
) -> None:
    what = case(target=Target(store=store))
    decision = decide(what, situation(history=History(busy), limits=Limits(**limits)))
    assert (decision.ground if isinstance(decision, Wait) else None) == expected
    assert getattr(decision, "until", None) is None, "nobody knows when that ends"


@pytest.mark.parametrize(
    ("target", "run", "said"),
    [
        (Target(), running(), "waits until backup on qa (run r9) has ended, which is the same"),
        (
            Target("x", BOTH),
            running(action="vacuum", target=Target("app.t", APP)),
            "waits until vacuum of app.t on qa (run r9) has ended: backup must not run on app meanwhile",
        ),
        (
            Target("x"),
            running(action="vacuum", target=Target("all")),
            "waits until vacuum of all on qa (run r9) has ended: backup must not run on the same databases meanwhile",
        ),
        (
            Target(store="s3"),
            running("dev", target=Target(store="s3")),
            "waits for its turn with the store s3: 1 of 1 runs, such as backup on dev (run r9)",
        ),
        (
            Target("x"),
            running(action="analyze"),
            "waits for its turn on qa: 1 of 1 runs, such as analyze on qa (run r9)",
        ),
    ],
)
def test_the_reason_names_what_it_waits_for(target: Target, run: Running, said: str) -> None:
    conflicts = {"backup": frozenset({"vacuum"})}
    assert reason(case(target=target), history=History([run]), conflicts=conflicts) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "1s"), (0.2, "1s"), (59, "59s"), (59.5, "1m"), (250, "4m 10s"), (3600, "1h"), (3605, "1h"),
        (2 * 86_400 + 3 * 3600 + 59, "2d 3h"), (2 * 86_400 + 59, "2d"), (40 * 86_400, "40d"),
    ],
)  # fmt: skip
def test_times_in_words(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


def test_sizes_and_counts_in_words() -> None:
    sizes = [size(value) for value in (0, 1023, 1024, 1.5 * 1024**3, 2.0 * 1024**4, 5000.0 * 1024**4)]
    assert sizes == ["0 B", "1023 B", "1.0 KiB", "1.5 GiB", "2.0 TiB", "5000.0 TiB"]
    assert [times(1), times(2)] == ["once", "2 times in a row"]
