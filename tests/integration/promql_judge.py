"""What promtool answers to expressions at times, told through the differences that it reports."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rules import Labels
from tests.integration.promql_series import INTERVAL, STEPS, Row, notation

Element = tuple[Labels, float]

_NOTHING = "vector(1) unless vector(1)"
_CASE = re.compile(
    r'^    expr: "[^\n]* # (\d+)", time: [^ ,]+, ?(?:\n        exp: nil\n        got: (.*)|err: (.*))$', re.MULTILINE
)
_ELEMENT = re.compile(r'\{((?:\w+="(?:\\.|[^"\\])*"(?:, )?)*)\} (NaN|[-+]?Inf|[-+\d.E]+)')
_LABEL = re.compile(r'(\w+)="((?:\\.|[^"\\])*)"')


@dataclass(frozen=True, slots=True)
class Verdict:
    """Elements in the order of their labels, or an error."""

    elements: list[Element]
    error: str = ""


def ask(
    promtool: str, folder: Path, series: dict[Labels, Row], questions: Sequence[tuple[str, float]]
) -> list[Verdict]:
    """Each question is an expression and a time in seconds. No result is expected, so promtool reports each."""
    cases = [
        {"expr": f"{text} # {number}", "eval_time": f"{round(time * 1000)}ms"}
        for number, (text, time) in enumerate(questions)
    ]
    # promtool loads no sample behind the last evaluation
    cases.append({"expr": _NOTHING, "eval_time": f"{round(STEPS * INTERVAL)}s"})
    interval = f"{INTERVAL:.0f}s"
    test = {"interval": interval, "input_series": [notation(*one) for one in series.items()], "promql_expr_test": cases}
    path = folder / "differential.yml"
    path.write_text(json.dumps({"evaluation_interval": interval, "tests": [test]}))
    result = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False, timeout=300)
    found = [Verdict([]) for _ in questions]
    for number, got, error in _CASE.findall(result.stdout + result.stderr):
        found[int(number)] = Verdict([], error) if error else Verdict(_elements(got))
    return found


def _elements(text: str) -> list[Element]:
    found = [(_labels(match[1]), float(match[2])) for match in _ELEMENT.finditer(text)]
    assert len(found) == len(_ELEMENT.sub("", text).split(",")), f"promtool's result was not understood: {text}"
    return found


def _labels(text: str) -> Labels:
    return Labels({name: json.loads(f'"{value}"') for name, value in _LABEL.findall(text)})
