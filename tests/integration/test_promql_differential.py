"""Our evaluator against Prometheus's own promtool 2.42, on random expressions over random data."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rules import Dialect, Labels, Query, QueryError, SampleStore
from tests.integration.promql_grammar import Grammar
from tests.integration.promql_judge import Verdict, ask
from tests.integration.promql_series import INTERVAL, STEPS, Row, filled, random_series

PROMTOOL = shutil.which("promtool")
SEEDS = [int(seed) for seed in os.environ.get("CUSTODE_PROMQL_SEEDS", "1 2 3 4 5").split()]
EXPRESSIONS, TIMES = 500, 4  # of each seed; every expression is asked about at each of the times
DIALECT = Dialect(compat=2, subquery_step=INTERVAL)

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian package prometheus)"),
]


@dataclass(frozen=True, slots=True)
class Known:
    """Where Prometheus 2.42 and 3 differ and `promql_compat: 2` does not follow 2.42. Both patterns must be found."""

    reason: str
    expression: str
    theirs: str = ""  # in promtool's error

    def explains(self, text: str, theirs: Verdict) -> bool:
        return bool(re.search(self.expression, text) and re.search(self.theirs, theirs.error))


KNOWN = [
    Known("2.42 refuses label names that are UTF-8 only", '"bad-name"', "invalid (destination )?label name"),
    Known("2.42 finds no spread around a lone NaN or infinity: 0, in 3 NaN", "stddev|stdvar"),
    Known("2.42 leaves the metric's name to what atan2 yields", "atan2"),
    Known("2.42 fails for a k of -Inf, 3 finds nothing", r"(top|bottom)k.*-Inf", "overflows int64"),
    Known("2.42 does not take numbers for durations", r"offset [-+]?[\d.]", "expected duration"),
    Known("2.42 crashes over a subquery whose step is longer than its range", ":", "makeslice: cap out of range"),
    # what follows are faults of 2.42 in corners where nobody will miss them
    Known(
        "what `@` pins is evaluated even where a subquery has no steps", r"@.*\[.*:", "overflows int64|same labelset"
    ),
    Known("where `@` pins a vector, its aggregation has the parameter of the first step", r"scalar\(.*@.*\[.*:"),
    Known("`@` in a subquery is misread where the subquery begins just at the evaluation", r"@.*\[.*:.*(offset -|@)"),
    Known("timestamp() forgets the offset beside `@`", r"timestamp\(.*(@.*offset|offset.*@)"),
    # and these of ours
    Known("a regular expression is refused even where nothing asks for it", r'"\("'),
    Known("promql-parser forgets a plus, so that what timestamp() gets is a selector", r"timestamp\(\(*\+"),
]


def _questions(rng: random.Random) -> list[tuple[str, float]]:
    grammar = Grammar(rng)
    return [(text, _time(rng)) for _ in range(EXPRESSIONS) for text in [grammar.expression()] * TIMES]


def _time(rng: random.Random) -> float:
    """On a sample, on a whole second or on any millisecond; from the first sample until all are out of sight."""
    end = round(STEPS * INTERVAL)
    return rng.choice([rng.randrange(STEPS) * INTERVAL, float(rng.randrange(end)), rng.randrange(end * 1000) / 1000])


def _ours(text: str, store: SampleStore, time: float) -> Verdict:
    try:
        found = Query.compile(text, DIALECT).evaluate(store, time)
    except QueryError as error:
        return Verdict([], error.message)
    return Verdict(sorted(found, key=lambda element: element[0].pairs))


def _agree(ours: Verdict, theirs: Verdict) -> bool:
    if ours.error or theirs.error:
        return bool(ours.error and theirs.error)
    if [labels for labels, _ in ours.elements] != [labels for labels, _ in theirs.elements]:
        return False
    pairs = zip(ours.elements, theirs.elements, strict=True)
    return all(_equal(one, other) for (_, one), (_, other) in pairs)


def _equal(one: float, other: float) -> bool:
    """What numbers around 1 leave when they should cancel out is 0."""
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-13)


def _differences(
    series: dict[Labels, Row], questions: list[tuple[str, float]], folder: Path, counts: Counter[str]
) -> Iterator[str]:
    store = filled(series)
    assert PROMTOOL is not None
    for (text, time), theirs in zip(questions, ask(PROMTOOL, folder, series, questions), strict=True):
        ours = _ours(text, store, time)
        counts["error" if theirs.error else "elements" if theirs.elements else "nothing"] += 1
        if _agree(ours, theirs):
            continue
        known = next((one for one in KNOWN if one.explains(text, theirs)), None)
        if known is not None:
            counts[f"not compared: {known.reason}"] += 1
            continue
        yield f"{text} at {time}\n    ours:   {ours}\n    theirs: {theirs}"


@pytest.mark.parametrize("seed", SEEDS)
def test_our_evaluator_agrees_with_promtool(tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    rng, counts = random.Random(seed), Counter[str]()  # noqa: S311 - reproducible data, no secret
    series = random_series(rng)
    differing = list(_differences(series, _questions(rng), tmp_path, counts))
    with capsys.disabled():
        print(f"\nseed {seed}: " + ", ".join(f"{count} {what}" for what, count in counts.most_common()))
    assert not differing, "\n".join(differing[:10])
    assert sum(count for what, count in counts.items() if "not compared" in what) < EXPRESSIONS * TIMES / 20
    assert counts["elements"] > EXPRESSIONS * TIMES / 3  # an evaluator that never finds anything is no test
    assert counts["error"] > EXPRESSIONS * TIMES / 50


@pytest.mark.parametrize("verdict", ["accepted", "refused"])
def test_our_grammar_is_promtools(tmp_path: Path, verdict: str) -> None:
    """Spellings that no generator thinks of; what 3 alone can read is not among them."""
    texts = (Path(__file__).parent / "promql_texts" / f"{verdict}.txt").read_text(encoding="utf-8").splitlines()
    series = random_series(random.Random(5))  # noqa: S311 - reproducible data, no secret
    counts = Counter[str]()
    questions = [(text, time) for text in texts for time in (900.0, 1234.567)]
    assert list(_differences(series, questions, tmp_path, counts)) == []
    assert (counts["error"] == len(questions)) is (verdict == "refused")
    assert (counts["error"] == 0) is (verdict == "accepted")
