"""Prometheus's own query tests. `CUSTODE_PROMQLTEST_DIR` names another folder of `*.test` scripts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.promqltest.run import Outcome, counts, run
from tests.promqltest.scope import NATIVE, STARTED

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("CUSTODE_PROMQLTEST_DIR", ROOT / "../shared/conformance/promqltest"))
SCRIPTS = sorted(FOLDER.glob("*.test"))
OWN = sorted((ROOT / "tests/promqltest/scripts").glob("*.test"))
absent = pytest.mark.skipif(not SCRIPTS, reason=f"no query tests of Prometheus in {FOLDER}")


@cache
def outcomes(script: Path) -> list[Outcome]:
    return run(script.read_text(encoding="utf-8"))


def check(script: Path) -> None:
    assert outcomes(script), f"{script.name} asks nothing"
    failed = [outcome for outcome in outcomes(script) if outcome.state == "failed"]
    assert not failed, f"{len(failed)} evals of {script.name} fail:\n" + "\n".join(map(str, failed))


@pytest.mark.parametrize("script", OWN, ids=[script.stem for script in OWN])
def test_answers_as_prometheus_documents(script: Path) -> None:
    check(script)
    assert all(outcome.state == "passed" for outcome in outcomes(script))


@absent
@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_answers_as_prometheus_does(script: Path) -> None:
    check(script)


@absent
def test_most_of_what_is_not_native_really_ran(
    record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    every = [outcome for script in SCRIPTS for outcome in outcomes(script)]
    counted: Counter[str] = counts(every)
    with capsys.disabled():
        print(f"\n{len(every)} evals of {len(SCRIPTS)} scripts")
    for state, count in sorted(counted.items()):
        record_property(state, count)
        with capsys.disabled():
            print(f"{count:6}  {state}")
    judged = counted["passed"] + counted["failed"]
    plain = len(every) - counted[f"skipped: {NATIVE}"] - counted[f"skipped: {STARTED}"]
    assert judged > plain / 2
    assert judged > len(every) / 3
