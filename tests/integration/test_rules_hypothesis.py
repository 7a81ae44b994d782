"""Generated expressions and rule files: our verdict against promtool's.

Hypothesis makes the examples, promtool judges all of them in a few processes, so that thousands take seconds. Set
CUSTODE_TEST_SEED to see others; a failure tells the seed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from rules import Dialect, RuleFileError, parse_text
from tests.integration.rule_grammar import KNOWN, expressions, rule_files

PROMTOOL = shutil.which("promtool")
SEED = int(os.environ.get("CUSTODE_TEST_SEED", "0"))
OLD = Dialect(compat=2)
_BATCH = 500

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian package prometheus)"),
]


def generated(strategy: st.SearchStrategy[str], count: int) -> list[str]:
    """That many examples, each once."""
    found: dict[str, None] = {}

    @seed(SEED)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: str) -> None:
        found[example] = None

    collect()
    return list(found)


def promtool_accepts(folder: Path, texts: list[str]) -> list[bool]:
    """Promtool's verdict on each file."""
    assert PROMTOOL is not None
    verdicts: dict[int, bool] = {}
    for first in range(0, len(texts), _BATCH):
        paths = []
        for place, text in enumerate(texts[first : first + _BATCH], first):
            paths.append(folder / f"{place}.yml")
            paths[-1].write_bytes(text.encode())
        done = subprocess.run(
            [PROMTOOL, "check", "rules", "--lint=none", *map(str, paths)],
            capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        for block in done.stdout.decode(errors="replace").split("Checking ")[1:]:
            name, _, said = block.partition("\n")
            verdicts[int(Path(name).stem)] = "SUCCESS" in said
    return [verdicts[place] for place in range(len(texts))]


def our_problems(text: str) -> str:
    try:
        parse_text(text, "f.yml", dialect=OLD)
    except RuleFileError as error:
        return str(error)
    return ""


def disagreements(folder: Path, texts: list[str]) -> tuple[list[str], list[bool]]:
    """The files judged differently, shortest first, and promtool's verdicts."""
    accepted = promtool_accepts(folder, texts)
    found = []
    for text, theirs in sorted(zip(texts, accepted, strict=True), key=lambda pair: len(pair[0])):
        problems = our_problems(text)
        if theirs is bool(problems):
            found.append(
                f"promtool {'accepts' if theirs else 'refuses'} (seed {SEED}): {text!r}, we say {problems or 'nothing'}"
            )
    return found, accepted


def rule(expression: str) -> str:
    return f"groups: [{{name: g, rules: [{{alert: A, expr: {json.dumps(expression)}}}]}}]"


def test_expressions(tmp_path: Path) -> None:
    texts = [rule(text) for text in generated(expressions(), 6000)]
    found, accepted = disagreements(tmp_path, texts)
    assert found == []
    # a generator that only makes rubbish, or only what is good, would prove little
    assert 0.3 < sum(accepted) / len(texts) < 0.8


def test_rule_files(tmp_path: Path) -> None:
    texts = generated(rule_files(), 4000)
    found, accepted = disagreements(tmp_path, texts)
    assert found == []
    assert 0.2 < sum(accepted) / len(texts) < 0.8


@pytest.mark.parametrize("expression", KNOWN)
@pytest.mark.xfail(reason="promql-parser 0.12 accepts it")
def test_what_the_parser_gets_wrong(tmp_path: Path, expression: str) -> None:
    found, _ = disagreements(tmp_path, [rule(expression)])
    assert found == []
