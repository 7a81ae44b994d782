"""Runs unit tests on our own engine, as promtool runs them on Prometheus's.

At every evaluation interval from the start to the last moment that is asked about, the samples up to then land and all
groups are evaluated in order. Alerts are judged at the evaluation before (or at) their time; expressions at the end, on
the samples that landed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rules.alerts import State
from rules.engine import RuleEngine
from rules.errors import QueryError, RuleError, RuleFileError
from rules.files import load_files
from rules.labels import Labels, in_braces
from rules.model import Group
from rules.promql import Dialect, Query
from rules.store import LOOKBACK, SampleStore
from rules.templates import Context
from rules.unittests.notation import expand
from rules.unittests.outcome import Failure, Outcome, write_value
from rules.unittests.reading import read_suite
from rules.unittests.suite import AlertCase, ExprCase, Scenario, Suite

_MOST_STEPS = 1_000_000
_MOST_SAMPLES = 5_000_000

Sample = tuple[Labels, float]
AlertTexts = tuple[dict[str, str], dict[str, str]]  # labels and annotations


def run_file(path: Path, dialect: Dialect) -> Outcome:
    """Run a file's tests. Whatever is wrong is in the outcome."""
    try:
        suite = read_suite(path)
        # each test has rules of its own: they remember what they have seen
        failures = tuple(
            failure
            for scenario in suite.scenarios
            for failure in _ScenarioRun(suite, scenario, _load_groups(suite, dialect), dialect).failures()
        )
    except RuleFileError as error:
        return Outcome(str(path), 0, 0, problems=error.problems)
    cases = sum(len(scenario.alerts) + len(scenario.exprs) for scenario in suite.scenarios)
    warnings = tuple(f"no file matches {pattern}" for pattern in suite.missing)
    return Outcome(suite.file, len(suite.scenarios), cases, failures=failures, warnings=warnings)


def _load_groups(suite: Suite, dialect: Dialect) -> list[Group]:
    """The groups in the order in which they are evaluated; those that the file does not order come with the first."""
    order = {name: place for place, name in enumerate(suite.group_order)}
    groups = sorted(load_files(suite.rule_files, dialect=dialect), key=lambda group: order.get(group.name, 0))
    # the interval does not count here, except that recorded series of a slow group would be visible for longer
    return [replace(group, interval=LOOKBACK / 2) for group in groups]


class _ScenarioRun:
    def __init__(self, suite: Suite, scenario: Scenario, groups: Sequence[Group], dialect: Dialect) -> None:
        self._suite = suite
        self._scenario = scenario
        self._dialect = replace(dialect, subquery_step=suite.evaluation_interval)
        self._store = SampleStore(floor=math.inf)
        self._engine = RuleEngine(self._store, groups, context=self._context)
        self._landed = 0
        # of two equal series the last one counts
        runs = {series.labels: series.runs for series in scenario.series}
        self._series = [(labels, expand(values)) for labels, values in runs.items()]

    def failures(self) -> Iterator[Failure]:
        """What is not as expected. An evaluation that fails ends the test."""
        scenario, interval = self._scenario, self._suite.evaluation_interval
        evaluations = scenario.moments(interval)
        if max(evaluations, scenario.moments(scenario.interval)) > _MOST_STEPS or scenario.samples > _MOST_SAMPLES:
            message = f"would take {evaluations:,} evaluations and {scenario.samples:,} samples, which is too much"
            yield self._failure(scenario.line, "test", "", 0.0, error=message)
            return
        cases = sorted(scenario.alerts, key=lambda case: case.eval_time)
        for step in range(evaluations):
            elapsed = round(step * interval, 3)
            errors = list(self._evaluate(elapsed))
            yield from errors
            if errors:
                return
            while cases and cases[0].eval_time < round(elapsed + interval, 3):
                yield from self._judge_alert(cases.pop(0))
        for asked in scenario.exprs:
            yield from self._judge_expr(asked)

    def _context(self, now: float) -> Context:
        scenario = self._scenario

        def query(text: str) -> list[Sample]:
            return Query.compile(text, self._dialect).evaluate(self._store, now)

        return Context(scenario.external_labels, scenario.external_url, query, now)

    def _failure(self, line: int, kind: str, subject: str, time: float, *, error: str) -> Failure:
        return Failure(self._scenario.name, line, kind, subject, time, error=error)

    def _evaluate(self, elapsed: float) -> Iterator[Failure]:
        line = self._scenario.line
        try:
            self._land(elapsed)
        except RuleError as error:
            yield self._failure(line, "test", "", elapsed, error=error.message)
            return
        self._engine.evaluate_all(self._scenario.start + elapsed)
        for rule in self._engine.rules():
            if rule.last_error:
                yield self._failure(line, "rule", rule.name, elapsed, error=rule.last_error)

    def _land(self, elapsed: float) -> None:
        """Let the samples up to then land. Raises StoreFullError."""
        interval, start = self._scenario.interval, self._scenario.start
        while round(self._landed * interval, 3) <= elapsed:
            time = round(start + self._landed * interval, 3)
            for labels, values in self._series:
                value = next(values, None)
                if value is not None:
                    self._store.fill(labels, [time], [value])
            self._landed += 1

    def _judge_alert(self, case: AlertCase) -> Iterator[Failure]:
        found: list[AlertTexts] = [
            (dict(alert.labels), dict(alert.annotations))
            for alert in self._engine.alerts()
            if alert.name == case.alertname and alert.state is State.FIRING
        ]
        expected: list[AlertTexts] = [
            ({**alert.labels, "alertname": case.alertname}, dict(alert.annotations)) for alert in case.expected
        ]
        got, wanted = sorted(map(_alert_text, found)), sorted(map(_alert_text, expected))
        if got != wanted:
            yield Failure(
                self._scenario.name, case.line, "alertname", case.alertname, case.eval_time, tuple(wanted), tuple(got)
            )

    def _judge_expr(self, case: ExprCase) -> Iterator[Failure]:
        try:
            found = Query.compile(case.expr, self._dialect).evaluate(self._store, self._scenario.start + case.eval_time)
        except QueryError as error:
            yield self._failure(case.line, "expr", case.expr, case.eval_time, error=error.message)
            return
        got = sorted(found, key=_order)
        expected = sorted(((one.labels, one.value) for one in case.expected), key=_order)
        if not self._same(expected, got):
            wanted, seen = tuple(map(_sample_text, expected)), tuple(map(_sample_text, got))
            yield Failure(self._scenario.name, case.line, "expr", case.expr, case.eval_time, wanted, seen)

    def _same(self, expected: Sequence[Sample], got: Sequence[Sample]) -> bool:
        if len(expected) != len(got):
            return False
        for (labels, value), (other, found) in zip(expected, got, strict=True):
            near = self._suite.fuzzy and found in (math.nextafter(value, math.inf), math.nextafter(value, -math.inf))
            # as with promtool, NaN is never what is expected
            if labels != other or (value != found and not near):
                return False
        return True


def _order(sample: Sample) -> tuple[tuple[tuple[str, str], ...], float]:
    return sample[0].pairs, sample[1]


def _sample_text(sample: Sample) -> str:
    return f"{in_braces(sample[0])} {write_value(sample[1])}"


def _alert_text(alert: AlertTexts) -> str:
    return f"Labels:{in_braces(alert[0])}\nAnnotations:{in_braces(alert[1])}"
