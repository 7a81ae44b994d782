"""What came of a file's tests, as data and as text in promtool's manner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rules.durations import format_duration
from rules.errors import Problem
from rules.strconv import exponential, quote


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that is not as expected. `error` is set where it could not be evaluated.

    `subject` names the alert, the expression or the rule; `time` is in seconds after the start of the test; `line` is
    that of the case, or of the test, in the file. What is expected and what was got may have several lines each.
    """

    test: str
    line: int
    kind: str  # alertname, expr, rule or test
    subject: str
    time: float
    expected: tuple[str, ...] = ()
    got: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`problems` are those of the file and its rule files: with any, nothing is run."""

    file: str
    tests: int
    cases: int
    problems: tuple[Problem, ...] = ()
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.problems and not self.failures


def describe_failure(file: str, failure: Failure) -> Iterator[str]:
    """The lines that tell people about a failure."""
    subject = quote(failure.subject) if failure.kind == "expr" else failure.subject
    what = f"{failure.kind}: {subject}, " if failure.kind != "test" else ""
    yield f"{file}:{failure.line}: name: {failure.test}, {what}time: {format_duration(failure.time)}"
    if failure.error is not None:
        yield f"    err: {failure.error}"
        return
    for title, texts in (("exp", failure.expected), ("got", failure.got)):
        lines = [line for text in texts for line in text.split("\n")] or ["nothing"]
        yield f"    {title}: {lines[0]}"
        yield from (f"         {line}" for line in lines[1:])


def write_value(value: float) -> str:
    """In exponent form, as promtool writes it: 1E+00, 9.95E-02."""
    return exponential(value).replace("e", "E")
